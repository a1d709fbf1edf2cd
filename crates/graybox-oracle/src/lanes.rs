//! Oracles side by side, each on a thread of its own, which go on answering while nobody waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::metered::forgotten;
use crate::oracle::in_order;
use crate::{Answer, Dims, Oracle, Outcome, Queries, RowError, Rows};

/// Called with the answer to a row, on the thread that has it.
pub(crate) type Tell = Box<dyn FnOnce(Answer) + Send>;

/// Oracles side by side: each lane answers one row at a time, and takes the next as soon as it is free.
///
/// What is asked through [`Oracle::evaluate`] is spread over the lanes. Beyond that rows can be posted by a
/// [`Metered`](crate::Metered), and are answered while the networks train: that is what an asynchronous run stands
/// on. It pays where rows are slow, and most where some are much slower than others; rows of microseconds are
/// better asked in batches, of one oracle.
///
/// A lane whose oracle has [nobody left to ask](RowError::Unavailable) hands its row to the others and takes no
/// more. A row over which an oracle panics has [`Crashed`](RowError::Crashed).
///
/// ```
/// use graybox_oracle::{Dims, FnOracle, Lanes, Oracle, Queries, Rows};
///
/// let slow = FnOracle::new(Dims::new(1, 1, 1), |x, u| [x[0] * u[0]]);
/// let lanes = Lanes::sharing(slow, 4);
/// let x = Rows::from_vec(1, vec![1.0, 2.0, 3.0])?;
/// assert_eq!(lanes.evaluate(Queries::new(&x, &x)?), [1.0, 4.0, 9.0].map(|y| Ok(vec![y])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Lanes {
    dims: Dims,
    count: usize,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
}

/// A row that waits for a lane.
struct Job {
    x: Rows,
    u: Rows,
    tell: Tell,
}

/// What the lanes share.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    /// Lanes that still take rows.
    open: usize,
    /// Why the last lane that closed takes none any more.
    reason: String,
    closed: bool,
}

impl Lanes {
    /// One lane for each of these oracles, which are the same function.
    ///
    /// # Panics
    /// If there are none, or they are of different sizes.
    pub fn new(oracles: Vec<Box<dyn Oracle>>) -> Self {
        let dims = oracles.first().map(Oracle::dims);
        let dims = dims.expect("there is a lane");
        assert!(
            oracles.iter().all(|oracle| oracle.dims() == dims),
            "oracles side by side are the same function, of the same sizes"
        );
        let count = oracles.len();
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                open: count,
                reason: String::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let lane = |(number, oracle): (usize, Box<dyn Oracle>)| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.work(number, &*oracle))
        };
        Self {
            dims,
            count,
            threads: oracles.into_iter().enumerate().map(lane).collect(),
            queue,
            closing: Arc::default(),
        }
    }

    /// Lanes that ask the same oracle, for one that threads may ask at once without waiting for each other: a closure,
    /// or a model behind UM-Bridge servers.
    ///
    /// # Panics
    /// If there are to be none.
    pub fn sharing(oracle: impl Oracle + 'static, lanes: usize) -> Self {
        let oracle: Arc<dyn Oracle> = Arc::new(oracle);
        let each = (0..lanes).map(|_| Box::new(Arc::clone(&oracle)) as Box<dyn Oracle>);
        Self::new(each.collect())
    }

    /// Sets this flag when it is dropped, for oracles that listen to one: the threads are waited for, and so are the
    /// rows they hold.
    #[must_use]
    pub fn closing(mut self, flag: Arc<AtomicBool>) -> Self {
        self.closing = flag;
        self
    }

    /// How many there were at first.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Hands a row, one context and one action, to the next free lane, and comes back at once.
    pub(crate) fn post(&self, x: Rows, u: Rows, tell: Tell) {
        let mut state = self.queue.lock();
        if state.open == 0 {
            let reason = state.reason.clone();
            drop(state);
            tell(Answer::new(0, Err(RowError::Unavailable(reason))));
            return;
        }
        state.jobs.push_back(Job { x, u, tell });
        drop(state);
        self.queue.changed.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One lane's part of the work, until all are closed or its oracle has nobody to ask.
    fn work(&self, lane: usize, oracle: &dyn Oracle) {
        while let Some(job) = self.next() {
            let answer = job.ask(lane, oracle);
            if let Err(RowError::Unavailable(reason)) = &answer.outcome {
                self.close_lane(job, reason);
                return;
            }
            (job.tell)(answer);
        }
    }

    /// The next row, waited for. None when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a lane out. Its row goes to another, or fails with all that wait when it was the last.
    fn close_lane(&self, job: Job, reason: &str) {
        let mut state = self.lock();
        state.open -= 1;
        reason.clone_into(&mut state.reason);
        state.jobs.push_front(job);
        let lost = match state.open {
            0 => std::mem::take(&mut state.jobs),
            _ => VecDeque::new(),
        };
        drop(state);
        self.changed.notify_one();
        for job in lost {
            let nobody = RowError::Unavailable(reason.to_owned());
            (job.tell)(Answer::new(0, Err(nobody)));
        }
    }
}

impl Job {
    fn ask(&self, lane: usize, oracle: &dyn Oracle) -> Answer {
        let queries = Queries::new(&self.x, &self.u).expect("one action for one context");
        let mut told = None;
        let start = Instant::now();
        let asked = catch_unwind(AssertUnwindSafe(|| {
            oracle.evaluate_each(queries, &mut |answer| told = Some(answer));
        }));
        let seconds = start.elapsed().as_secs_f64();
        let unanswered = || {
            let error = match asked {
                Ok(()) => forgotten(),
                Err(_) => RowError::Crashed("it panicked".into()),
            };
            Answer::new(0, Err(error))
        };
        let answer = told.unwrap_or_else(unanswered);
        Answer {
            row: 0,
            worker: answer.worker.or(Some(lane)),
            seconds: answer.seconds.or(Some(seconds)),
            ..answer
        }
    }
}

impl Oracle for Lanes {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        in_order(queries.len(), |tell| self.evaluate_each(queries, tell))
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        let (answers, told) = channel();
        for row in 0..queries.len() {
            let [x, u] = [queries.x(), queries.u()].map(|rows| rows.select(&[row]));
            let answers = answers.clone();
            let tell = move |answer: Answer| {
                // Nobody listens any more if the asker has panicked.
                let _ = answers.send(Answer { row, ..answer });
            };
            self.post(x, u, Box::new(tell));
        }
        drop(answers);
        told.iter().for_each(tell);
    }

    fn lanes(&self) -> Option<&Lanes> {
        Some(self)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // Its panics were caught; what an answer's listener does with it is not ours to report here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use crate::FnOracle;

    const DIMS: Dims = Dims { x: 1, u: 1, y: 1 };

    fn numbers(n: usize) -> Rows {
        Rows::from_vec(1, (0..n).map(|i| i as f64).collect()).unwrap()
    }

    #[test]
    fn rows_are_answered_side_by_side_and_in_their_own_places() {
        let together = Barrier::new(3);
        let lanes = Lanes::sharing(
            FnOracle::new(DIMS, move |x, u| {
                // Nobody gets past it before three have come.
                together.wait();
                [10.0 * x[0] + u[0]]
            }),
            3,
        );
        let x = numbers(6);
        let outcomes = lanes.evaluate(Queries::new(&x, &x).unwrap());
        let expected = [0.0, 11.0, 22.0, 33.0, 44.0, 55.0].map(|y| Ok(vec![y]));
        assert_eq!(outcomes, expected);
    }

    /// Answers so many rows, and then has nobody to ask.
    fn lasting(rows: usize) -> Box<dyn Oracle> {
        let left = AtomicUsize::new(rows);
        Box::new(FnOracle::new(DIMS, move |_, u| {
            let left =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            left.map(|_| [u[0]])
                .map_err(|_| RowError::Unavailable("all gone".into()))
        }))
    }

    #[test]
    fn what_a_lost_lane_held_goes_to_the_others_until_none_is_left() {
        let lanes = Lanes::new(vec![lasting(0), lasting(2), lasting(1)]);
        let u = numbers(5);
        let outcomes = lanes.evaluate(Queries::new(&u, &u).unwrap());
        let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(answered, 3, "{outcomes:?}");
        let lost = Err(RowError::Unavailable("all gone".into()));
        assert_eq!(
            outcomes.iter().filter(|outcome| **outcome == lost).count(),
            2
        );
        assert_eq!(lanes.evaluate(Queries::new(&u, &u).unwrap()), vec![lost; 5]);
    }

    #[test]
    fn a_row_that_panics_fails_and_its_lane_goes_on() {
        let lanes = Lanes::sharing(
            FnOracle::new(DIMS, |_, u| {
                assert!(u[0] < 1.0, "too far");
                [u[0]]
            }),
            1,
        );
        let u = Rows::from_vec(1, vec![2.0, 0.5]).unwrap();
        let outcomes = lanes.evaluate(Queries::new(&u, &u).unwrap());
        let crashed = RowError::Crashed("it panicked".into());
        assert_eq!(outcomes, [Err(crashed), Ok(vec![0.5])]);
    }
}
