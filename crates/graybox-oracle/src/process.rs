//! Programs as oracles: long-lived workers that speak JSON lines, each in a process group of its own, fed
//! from one queue.
//!
//! The protocol and the rules are told at [`ProcessOracle`]. `child` is one running program, `slot` one worker
//! through all its programs, `pool` the workers together, `work` the rows they share; [`wire`](crate::wire) is what
//! goes through the pipes.
//!
//! Unix only: it stands on pipes, `poll` and process groups.

mod child;
mod error;
mod pool;
mod slot;
mod work;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use child::Program;
pub use error::{SpawnError, StartError};
use pool::Pool;

use crate::oracle::in_order;
use crate::{Answer, Description, Dims, Lanes, Oracle, Outcome, Queries, seconds};

/// Which program to run, how often, and how long to wait for it.
///
/// ```
/// use graybox_oracle::ProcessConfig;
///
/// let local = ProcessConfig { workers: 4, ..ProcessConfig::new(["./solver.py", "--fine"]) };
/// let read: ProcessConfig = serde_json::from_str(
///     r#"{"command": ["./solver.py", "--fine"], "workers": 4, "time_limit": 60}"#,
/// )?;
/// assert_eq!(read, local);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// The program and its arguments. A name without a slash is looked up on the `PATH`.
    pub command: Vec<String>,
    /// Arguments put before the command, such as `["ssh", "-o", "BatchMode=yes", "node7"]`. Workers take these
    /// prefixes in turn; none means that they all run here.
    pub prefixes: Vec<Vec<String>>,
    /// How many copies of the program run; at least one for each prefix.
    pub workers: usize,
    /// The sizes, for a program that cannot describe itself. It is then not asked to, and the time it takes to
    /// start counts into its first row.
    pub dims: Option<Dims>,
    /// The longest a row may take, in seconds.
    #[serde(with = "seconds")]
    pub time_limit: Duration,
    /// The longest a program may take to start and describe itself, in seconds.
    #[serde(with = "seconds")]
    pub start_limit: Duration,
    /// The longest line a program may write, in bytes.
    pub max_line: usize,
    /// How often a row whose worker died is given to another one.
    pub retries: u32,
    /// Lines a worker holds at a time. More than one keeps a fast worker busy while its answers travel.
    pub window: usize,
    /// Rows to a line. More than one is for programs that take lists of rows, and pays off for fast ones. It
    /// falls back to one where a program turns out not to take lists.
    pub batch: usize,
    /// How many starts in a row may fail before a worker is put aside.
    pub start_attempts: u32,
    /// How long rows may still be answered after somebody asked to stop, in seconds.
    #[serde(with = "seconds")]
    pub grace: Duration,
}

impl ProcessConfig {
    /// One worker, asked one row at a time.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), StartError> {
        let refuse = |what: &str| Err(StartError::Config(what.to_owned()));
        if self.command.is_empty() {
            return Err(SpawnError::NoCommand.into());
        }
        if self.workers == 0 {
            return refuse("workers = 0, expected at least 1");
        }
        if self.window == 0 {
            return refuse("window = 0, expected at least 1 line");
        }
        if self.batch == 0 {
            return refuse("batch = 0, expected at least 1 row");
        }
        if self.max_line < 256 {
            return refuse("max_line is below 256 bytes, too short for an answer");
        }
        if self.start_attempts == 0 {
            return refuse("start_attempts = 0, expected at least 1");
        }
        if self.time_limit.is_zero() || self.start_limit.is_zero() {
            return refuse("time_limit and start_limit must be above 0 seconds");
        }
        match self.dims {
            Some(Dims { u: 0, .. } | Dims { y: 0, .. }) => refuse("d_u and d_y must be at least 1"),
            _ => Ok(()),
        }
    }

    fn worker_count(&self) -> usize {
        self.workers.max(self.prefixes.len())
    }

    /// The whole command of one worker.
    pub(crate) fn command_of(&self, worker: usize) -> Vec<String> {
        let mut command = Vec::new();
        if !self.prefixes.is_empty() {
            command.extend_from_slice(&self.prefixes[worker % self.prefixes.len()]);
        }
        command.extend_from_slice(&self.command);
        command
    }
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            prefixes: Vec::new(),
            workers: 1,
            dims: None,
            time_limit: Duration::from_mins(1),
            start_limit: Duration::from_mins(1),
            max_line: 4 << 20,
            retries: 2,
            window: 1,
            batch: 1,
            start_attempts: 5,
            grace: Duration::from_secs(2),
        }
    }
}

/// A program as an oracle.
///
/// It reads one request a line on standard input, `{"id":7,"x":[..],"u":[..]}`, and writes one answer a line
/// on standard output, `{"id":7,"y":[..]}` or `{"id":7,"error":"did not converge"}`, flushed after each. It may
/// answer out of order. Standard error is its own; what it wrote there last is quoted when it dies. To
/// `{"id":0,"describe":true}` it answers `{"id":0,"describe":{..}}`, a [`Description`], so that a wrong program
/// is found out before any call is paid for. It ends when its input does. A worker finds its number in the
/// environment, as `GRAYBOX_WORKER`.
///
/// If it takes lists of rows (see [`ProcessConfig::batch`]), `x`, `u` and `y` are lists of rows, and a row that
/// failed is null: `{"id":8,"y":[[..],null],"errors":[null,"did not converge"]}`.
///
/// Nothing goes through a shell: the command is a list of arguments. A prefix to that list is how a worker gets
/// to another machine: `srun -n1 -u`, `ssh -o BatchMode=yes host`, a container runner.
///
/// # Whom a failure is blamed on
/// A row is blamed for the death, the silence or the gibberish of a worker only if it was the only row that
/// worker held. Where a worker held several, they are asked again one at a time, so that one bad row never
/// loses its neighbours. A row that kills its worker is given to another one up to `retries` times, and then
/// fails as [`Crashed`](crate::RowError::Crashed); silence ([`TimedOut`](crate::RowError::TimedOut)) and
/// gibberish ([`Malformed`](crate::RowError::Malformed)) fail the row at once. Whatever the worker did, it is
/// replaced.
///
/// # When the clock runs
/// A worker takes its rows in turn. The clock of a row starts when it has been written to a worker that held
/// none, or else when that worker gave its previous answer. It does not run while a row waits in the queue, nor
/// behind other rows of the same worker. A line of `n` rows has `n` times the limit.
///
/// # When it ends
/// Dropping it closes the programs' input, gives them half a second to end, then terminates and at last kills
/// what is left of their process groups. The keyboard's Ctrl-C reaches only the trainer, which should end by
/// dropping its oracle; so that it need not wait for rows that take minutes, it can hand its stop flag to
/// [`with_stop`](Self::with_stop). A trainer that is killed outright leaves programs that see their input end.
///
/// ```
/// use graybox_oracle::{Oracle, ProcessConfig, ProcessOracle, Queries, Rows};
///
/// let lens = ProcessOracle::start(ProcessConfig::new(["python3", "../../assets/oracles/lens.py"]))?;
/// assert_eq!(lens.description().u[0].name, "focal_length");
///
/// let x = Rows::from_vec(2, vec![4.0, 4.0, 1.0, 4.0])?;
/// let u = Rows::from_vec(1, vec![2.0, 2.0])?;
/// let outcomes = lens.evaluate(Queries::new(&x, &u)?);
/// assert_eq!(outcomes[0].as_deref(), Ok(&[4.0][..]));
/// assert_eq!(outcomes[1].as_ref().unwrap_err().to_string(), "the oracle failed: no real image");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ProcessOracle {
    description: Description,
    dims: Dims,
    pool: Mutex<Pool>,
}

impl ProcessOracle {
    /// Starts the workers and waits until one has described itself; the others join when they are ready.
    ///
    /// # Errors
    /// If no worker starts. The error is that of the first worker, and says what to do.
    pub fn start(config: ProcessConfig) -> Result<Self, StartError> {
        config.check()?;
        let workers = 0..config.worker_count();
        Self::start_workers(config, workers)
    }

    fn start_workers(config: ProcessConfig, workers: Range<usize>) -> Result<Self, StartError> {
        let (pool, description) = Pool::start(config, workers)?;
        Ok(Self {
            dims: description.dims(),
            description,
            pool: Mutex::new(pool),
        })
    }

    /// Starts the workers side by side, each in a [lane](Lanes) of its own, for runs that are asynchronous, with what
    /// the first said of itself. A lane asks one row at a time, so that `window` and `batch` have no effect. This flag
    /// ends the waiting for rows, as in [`with_stop`](Self::with_stop).
    ///
    /// # Errors
    /// If none of them starts. The error is that of the first, and says what to do. One that does not start while
    /// others do, or is of other sizes than the first that did, has no lane.
    pub fn start_lanes(
        config: &ProcessConfig,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Lanes, Description), StartError> {
        config.check()?;
        let single = ProcessConfig {
            window: 1,
            batch: 1,
            ..config.clone()
        };
        let start = |worker: usize| Self::start_workers(single.clone(), worker..worker + 1);
        let start = &start;
        let started: Vec<Result<Self, StartError>> = thread::scope(|scope| {
            let workers = 0..config.worker_count();
            let workers: Vec<_> = workers
                .map(|worker| scope.spawn(move || start(worker)))
                .collect();
            let joined = workers.into_iter().map(ScopedJoinHandle::join);
            joined
                .map(|started| started.expect("starting a program does not panic"))
                .collect()
        });
        let (mut lanes, mut failed) = (Vec::<Self>::new(), None);
        for started in started {
            match started {
                Ok(oracle) if lanes.first().is_none_or(|first| first.dims == oracle.dims) => {
                    lanes.push(oracle);
                }
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let Some(first) = lanes.first() else {
            return Err(failed.unwrap_or(StartError::Config("there are no workers".into())));
        };
        let description = first.description.clone();
        let closing = Arc::<AtomicBool>::default();
        let listening = lanes.into_iter().map(|oracle| -> Box<dyn Oracle> {
            Box::new(
                oracle
                    .with_stop(Arc::clone(stop))
                    .with_stop(Arc::clone(&closing)),
            )
        });
        Ok((
            Lanes::new(listening.collect()).closing(closing),
            description,
        ))
    }

    /// Listens to a flag that ends the run, beside those it listens to already. Once it is set, rows may be answered for the time of
    /// [`grace`](ProcessConfig::grace), so that a quick round is not lost; then those without an answer are [`Cancelled`](crate::RowError::Cancelled) and the
    /// programs at work on them ended.
    #[must_use]
    pub fn with_stop(self, flag: Arc<AtomicBool>) -> Self {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.stop_at(flag);
        drop(pool);
        self
    }

    /// What the program said of itself, or its bare sizes where the configuration gave them.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl Oracle for ProcessOracle {
    fn dims(&self) -> Dims {
        self.dims
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        in_order(queries.len(), |tell| self.evaluate_each(queries, tell))
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.evaluate(queries, tell);
    }
}
