//! Rounds that do not wait: rows are asked about ahead, and learned from as they come back.
//!
//! Twice as many rows are on their way as the oracle answers at once, so that a lane finds its next row while the
//! networks train. A round learns from what has come back since the last one. Which rows those were is noted in the
//! record, and everything else follows from the seed: a run that is broken off and started again, with as many lanes,
//! goes the same way as far as it had come.

use graybox_model::Policy;
use graybox_oracle::{Arrival, Outcome, Queries, Rows, ShapeError};
use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::algorithm::{Asynchronous, Proposal};
use crate::{Algorithm, Batch, Observer, StepError, TrainError};

/// Rows on their way for each that the oracle answers at once.
const AHEAD: usize = 2;

/// A row on its way, with what is needed once it comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Flight {
    /// Its place among all rows of the run.
    position: u64,
    /// The round it was asked in.
    round: u64,
    /// The training row whose context it has, or from which that starts.
    index: usize,
    x: Vec<f64>,
    target: Vec<f64>,
    asked: Vec<f64>,
    own: Vec<f64>,
    chosen_by: Option<u64>,
}

impl Flight {
    /// The rows of a proposal from this position on.
    fn all_of(proposal: &Proposal, first: u64, round: u64) -> Vec<Self> {
        let batch = &proposal.batch;
        let rows = (0..batch.len()).map(|row_idx| Self {
            position: first + row_idx as u64,
            round,
            index: batch.index[row_idx],
            x: batch.x_rows.row(row_idx).to_vec(),
            target: batch.target_rows.row(row_idx).to_vec(),
            asked: proposal.asked.row(row_idx).to_vec(),
            own: proposal.own.row(row_idx).to_vec(),
            chosen_by: proposal.chosen_by[row_idx],
        });
        rows.collect()
    }
}

impl<P: Policy> Trainer<P> {
    /// One round that does not wait. False if nothing is on its way and the budget cannot pay for more.
    pub(super) fn round_ahead(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        self.metered.begin_round(self.round);
        let ahead = AHEAD * self.metered.lanes();
        while self.metered.on_their_way() < ahead && self.post(ahead)? {}
        if self.metered.on_their_way() == 0 {
            return Ok(false);
        }
        self.learn_from_arrivals(observer)?;
        Ok(true)
    }

    /// Waits for everything that is on its way, and learns from it.
    pub(super) fn land(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        while self.metered.on_their_way() > 0 {
            self.metered.begin_round(self.round);
            self.learn_from_arrivals(observer)?;
        }
        Ok(())
    }

    /// Posts again what was on its way when the state was saved, or came back unanswered.
    pub(super) fn take_off_again(&mut self) -> Result<(), TrainError> {
        if self.metered.on_their_way() > 0 {
            return Ok(());
        }
        for flight in &self.flights {
            let (x, u) = (one_row(&flight.x)?, one_row(&flight.asked)?);
            let queries = Queries::new(&x, &u).map_err(StepError::from)?;
            self.metered
                .post_at(flight.position, flight.round, queries)?;
        }
        Ok(())
    }

    /// Asks about more rows, until this many are on their way. False if nothing can be asked now.
    fn post(&mut self, ahead: usize) -> Result<bool, TrainError> {
        let room = ahead - self.metered.on_their_way();
        let Some(index) = self.draw(room) else {
            return Ok(false);
        };
        let batch = self.problem.data().batch(index);
        let proposal = self.probing(("propose", self.drawn), |algorithm, student, probe| {
            Ok(halves(algorithm)?.propose(student, &batch, probe)?)
        })?;
        let Some(proposal) = proposal else {
            return Ok(false);
        };
        let queries = Queries::new(&proposal.batch.x_rows, &proposal.asked);
        let posted = self.metered.post(queries.map_err(StepError::from)?);
        let positions = posted.map_err(StepError::from)?;
        self.drawn += batch.len() as u64;
        let flights = Flight::all_of(&proposal, positions.start, self.round);
        self.flights.extend(flights);
        Ok(true)
    }

    fn learn_from_arrivals(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let arrivals = self.metered.collect()?;
        if arrivals.is_empty() {
            return Ok(());
        }
        let (proposal, outcomes) = self.landed(arrivals).map_err(StepError::from)?;
        let report = self.probing(("round", self.round), |algorithm, student, probe| {
            let asked = proposal.asked.clone();
            let measured = probe.measured(&proposal.batch, asked, outcomes)?;
            Ok(halves(algorithm)?.learn_from(student, &proposal, &measured, probe)?)
        })?;
        self.end_round(report, observer)
    }

    /// The rows that have come back, and what came of them.
    fn landed(&mut self, arrivals: Vec<Arrival>) -> Result<(Proposal, Vec<Outcome>), ShapeError> {
        let (dims, n) = (self.problem.dims(), arrivals.len());
        let rows = |width| Rows::with_capacity(width, n);
        let (mut x, mut target) = (rows(dims.x), rows(dims.y));
        let (mut asked, mut own) = (rows(dims.u), rows(dims.u));
        let (mut index, mut chosen_by) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut outcomes = Vec::with_capacity(n);
        for arrival in arrivals {
            let is_it = |flight: &Flight| flight.position == arrival.position;
            let nth = self.flights.iter().position(is_it);
            let flight = self
                .flights
                .remove(nth.expect("what comes back was posted here"));
            x.push(&flight.x)?;
            target.push(&flight.target)?;
            asked.push(&flight.asked)?;
            own.push(&flight.own)?;
            index.push(flight.index);
            chosen_by.push(flight.chosen_by);
            outcomes.push(arrival.outcome);
        }
        let proposal = Proposal {
            batch: Batch::new(index, x, target, self.problem.device()),
            asked,
            own,
            chosen_by,
        };
        Ok((proposal, outcomes))
    }
}

/// The halves of the rounds of an algorithm that was let into an asynchronous run.
fn halves<P: Policy>(
    algorithm: &mut dyn Algorithm<P>,
) -> Result<&mut dyn Asynchronous<P>, TrainError> {
    let name = algorithm.facts().name;
    algorithm.asynchronous().ok_or(TrainError::Waits(name))
}

fn one_row(values: &[f64]) -> Result<Rows, StepError> {
    let mut rows = Rows::with_capacity(values.len(), 1);
    rows.push(values)?;
    Ok(rows)
}
