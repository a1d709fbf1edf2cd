//! Rounds in two halves, between which nobody waits.
//!
//! An algorithm that learns from calls of any age need not wait for those it has just made: what to ask about is
//! chosen now, and each answer is learned from when it comes, whatever was learned meanwhile. The trainer keeps the
//! oracle's [lanes](graybox_oracle::Lanes) busy in this way while the networks train, and the slowest row keeps nobody
//! waiting.

use graybox_model::Policy;
use graybox_oracle::Rows;

use crate::{Batch, Measured, Probe, RoundReport, StepError, Student};

/// An algorithm whose rounds can be taken apart.
pub trait Asynchronous<P: Policy> {
    /// What to ask about in the contexts of this batch, or in others like them. None if something that is
    /// [on its way](Probe::on_their_way) must have come back first.
    ///
    /// # Errors
    /// If training has diverged.
    fn propose(
        &mut self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Option<Proposal>, StepError>;

    /// Learns from answers in the order they came, of one proposal or of several.
    ///
    /// # Errors
    /// If training has diverged.
    fn learn_from(
        &mut self,
        student: &mut Student<P>,
        proposal: &Proposal,
        measured: &Measured,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError>;
}

/// Rows that an algorithm asks about, and what it wants to know of them when their answers come.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Contexts and targets.
    pub batch: Batch,
    /// The actions to ask at, `[n, d_u]`.
    pub asked: Rows,
    /// What the policy would have done, `[n, d_u]`.
    pub own: Rows,
    /// For each row the number of the policy that it was, where the algorithm has several; none where it was nobody's.
    pub chosen_by: Vec<Option<u64>>,
}
