//! Rows that are answered while nobody waits.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::{Metered, PAIRED, Shared, is_paid, lock};
use crate::expected::Expected;
use crate::{
    Answer, AskError, Asking, BudgetError, Lanes, Outcome, Purpose, Queries, Recall, RecordError,
    RowError, Rows,
};

/// What has come back of a row that was posted. It has been charged.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// The place of the row among all rows of the run.
    pub position: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// Rows on their way, and where their answers arrive.
pub(super) struct Posted {
    on_their_way: BTreeSet<u64>,
    sender: Sender<Parcel>,
    receiver: Receiver<Parcel>,
    /// Received and not yet collected.
    arrived: Vec<Parcel>,
    /// Why a row came back that the oracle never saw.
    pub(super) turned_back: Option<RowError>,
}

/// An answer, who is to be paid for it, and whether it could be kept.
struct Parcel {
    position: u64,
    outcome: Outcome,
    source: Source,
    kept: Result<(), RecordError>,
}

enum Source {
    Asked,
    Replayed,
    Duplicate,
}

impl Default for Posted {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self {
            on_their_way: BTreeSet::new(),
            sender,
            receiver,
            arrived: Vec::new(),
            turned_back: None,
        }
    }
}

impl Metered {
    /// Hands rows to an oracle that [goes on answering while nobody waits](crate::Lanes), and comes back at once with
    /// their positions. Any other oracle has answered them when this returns. Their answers are kept in the record
    /// the moment they are there; they are charged when they are [collected](Self::collect).
    ///
    /// # Errors
    /// If fewer calls are left than rows are asked, with those already on their way taken for spent; nothing is asked
    /// then. If the record cannot be read.
    pub fn post(&mut self, queries: Queries<'_>) -> Result<Range<u64>, AskError> {
        let (asked, left) = (queries.len() as u64, self.left());
        if asked > left {
            return Err(BudgetError::Exceeded { asked, left }.into());
        }
        let first = self.meter.position;
        self.meter.position += asked;
        self.post_at(first, self.round, queries)?;
        Ok(first..self.meter.position)
    }

    /// [`post`](Self::post) of rows that have had their positions, from this one on, since before the run was broken
    /// off, in the round they had been asked in.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn post_at(
        &mut self,
        first: u64,
        round: u64,
        queries: Queries<'_>,
    ) -> Result<(), RecordError> {
        let asking = Asking {
            queries,
            position: first,
            round,
            purpose: Purpose::Train,
        };
        let recalled = match &self.record {
            Some(record) => lock(record).recall(&asking)?,
            None => vec![Recall::Unknown; queries.len()],
        };
        for (row, recall) in recalled.into_iter().enumerate() {
            let position = first + row as u64;
            self.posted.on_their_way.insert(position);
            match recall {
                Recall::Replayed(outcome) => self.put(position, outcome, Source::Replayed),
                Recall::Duplicate(outcome) => self.put(position, outcome, Source::Duplicate),
                // The other one is still on its way, and waiting for it would need a place of its own.
                Recall::Unknown | Recall::SameAs(_) => self.send(&asking, row),
            }
        }
        Ok(())
    }

    /// Takes an answer that need not be asked for.
    fn put(&mut self, position: u64, outcome: Outcome, source: Source) {
        self.posted.arrived.push(Parcel {
            position,
            outcome,
            source,
            kept: Ok(()),
        });
    }

    /// Hands one of the rows to the oracle, which keeps the answer before it tells of it.
    fn send(&self, asking: &Asking<'_>, row: usize) {
        let [x, u] = [asking.queries.x(), asking.queries.u()].map(|rows| rows.select(&[row]));
        let letter = Letter {
            x: x.clone(),
            u: u.clone(),
            position: asking.position + row as u64,
            round: asking.round,
            expected: Expected::Outcome(self.oracle.dims().y),
            record: self.record.clone(),
            back: self.posted.sender.clone(),
        };
        if let Some(lanes) = self.oracle.lanes() {
            lanes.post(x, u, Box::new(move |answer| letter.answered(answer)));
        } else {
            let queries = Queries::new(&x, &u).expect(PAIRED);
            let mut told = None;
            self.oracle
                .evaluate_each(queries, &mut |answer| told = Some(answer));
            letter.answered(told.unwrap_or_else(|| Answer::new(0, Err(super::forgotten()))));
        }
    }

    /// Rows that the oracle answers at once while nobody waits; 0 if it answers only those who do.
    pub fn lanes(&self) -> usize {
        self.oracle.lanes().map_or(0, Lanes::count)
    }

    /// Rows that were posted and have not been collected.
    pub fn on_their_way(&self) -> usize {
        self.posted.on_their_way.len()
    }

    /// Why a row that was posted came back without the oracle having seen it, if one did in this round.
    pub fn turned_back(&self) -> Option<&RowError> {
        self.posted.turned_back.as_ref()
    }

    /// What has come back, charged, in the order it came. Waits for the first if nothing has. Empty if nothing is on
    /// its way any more. A row that the oracle never saw is not among them: it is not charged, has
    /// [turned back](Self::turned_back), and can be [posted again](Self::post_at).
    ///
    /// Which rows a round learned from is noted in the record before it does. A run that was broken off therefore
    /// learns from the same rows in the same rounds when it is started again.
    ///
    /// # Errors
    /// If an answer could not be kept, or the record cannot be read.
    pub fn collect(&mut self) -> Result<Vec<Arrival>, RecordError> {
        let start = Instant::now();
        let noted = match &self.record {
            Some(record) => lock(record).noted(self.round)?,
            None => None,
        };
        // Where it was noted by a run that went another way, it says nothing.
        let on_their_way = &self.posted.on_their_way;
        let noted =
            noted.filter(|noted| noted.iter().all(|position| on_their_way.contains(position)));
        let parcels = match &noted {
            Some(positions) => self.wait_for(positions),
            None => self.wait_for_any(),
        };
        self.meter.seconds += start.elapsed().as_secs_f64();
        let mut arrivals = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            parcel.kept?;
            match parcel.source {
                Source::Asked => self.meter.paid += 1,
                Source::Duplicate => self.meter.duplicates += 1,
                Source::Replayed => {
                    self.replayed += 1;
                    self.meter.paid += 1;
                }
            }
            self.meter.calls += 1;
            self.meter.failed += u64::from(parcel.outcome.is_err());
            arrivals.push(Arrival {
                position: parcel.position,
                outcome: parcel.outcome,
            });
        }
        if let (Some(record), None, false) = (&self.record, noted, arrivals.is_empty()) {
            let positions: Vec<u64> = arrivals.iter().map(|arrival| arrival.position).collect();
            lock(record).note(self.round, &positions)?;
        }
        Ok(arrivals)
    }

    /// Everything that is there; at least one, if anything is on its way.
    fn wait_for_any(&mut self) -> Vec<Parcel> {
        loop {
            while let Ok(parcel) = self.posted.receiver.try_recv() {
                self.take_in(parcel);
            }
            if !self.posted.arrived.is_empty() || self.posted.on_their_way.is_empty() {
                break;
            }
            self.receive();
        }
        let parcels = std::mem::take(&mut self.posted.arrived);
        for parcel in &parcels {
            self.posted.on_their_way.remove(&parcel.position);
        }
        parcels
    }

    /// These rows, in this order, as far as they are answered.
    fn wait_for(&mut self, positions: &[u64]) -> Vec<Parcel> {
        let mut parcels = Vec::with_capacity(positions.len());
        for position in positions {
            let found = loop {
                let mut arrived = self.posted.arrived.iter();
                if let Some(nth) = arrived.position(|parcel| parcel.position == *position) {
                    break Some(self.posted.arrived.remove(nth));
                }
                if !self.posted.on_their_way.contains(position) {
                    break None;
                }
                self.receive();
            };
            self.posted.on_their_way.remove(position);
            parcels.extend(found);
        }
        parcels
    }

    fn receive(&mut self) {
        let parcel = self.posted.receiver.recv();
        self.take_in(parcel.expect("this meter holds a sender itself"));
    }

    /// Takes in what has come back, unless the oracle never saw the row.
    fn take_in(&mut self, parcel: Parcel) {
        let free = parcel
            .outcome
            .as_ref()
            .err()
            .filter(|error| error.is_free());
        if let Some(error) = free {
            self.posted.turned_back = Some(error.clone());
            self.posted.on_their_way.remove(&parcel.position);
        } else {
            self.posted.arrived.push(parcel);
        }
    }
}

/// A row that was handed to a lane, with what is needed once it is answered.
struct Letter {
    x: Rows,
    u: Rows,
    position: u64,
    round: u64,
    expected: Expected,
    record: Option<Shared>,
    back: Sender<Parcel>,
}

impl Letter {
    /// Checks the answer, keeps it, and only then tells of it.
    fn answered(&self, mut answer: Answer) {
        answer.row = 0;
        self.expected.check(&mut answer.outcome);
        let kept = match &self.record {
            Some(record) if is_paid(&&answer.outcome) => {
                let asking = Asking {
                    queries: Queries::new(&self.x, &self.u).expect(PAIRED),
                    position: self.position,
                    round: self.round,
                    purpose: Purpose::Train,
                };
                lock(record).keep(&asking, &answer)
            }
            _ => Ok(()),
        };
        // A meter that is gone has nobody left to tell.
        let _ = self.back.send(Parcel {
            position: self.position,
            outcome: answer.outcome,
            source: Source::Asked,
            kept,
        });
    }
}
