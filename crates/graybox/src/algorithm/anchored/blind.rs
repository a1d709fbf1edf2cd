//! A surrogate that is not shown what is wanted.

use graybox_model::{Policy, Surrogate};

use super::{Anchored, random_rows};
use crate::{Probe, StepError, wishes};

/// Pairs of calls, at most, and the share of the budget that they may take.
const PAIRS: usize = 6;
const SHARE: f64 = 0.02;

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// Makes the surrogate look past wishes in the context, if calls at random actions show that the oracle does.
    /// `next` calls of the round must remain.
    pub(super) fn look_past_wishes(
        &mut self,
        next: usize,
        probe: &mut Probe<'_>,
    ) -> Result<(), StepError> {
        let data = self.problem.data().clone();
        let columns = wishes::columns(data.host());
        let pairs = PAIRS.min((0.5 * SHARE * probe.budget() as f64) as usize);
        let needed = (2 * pairs + next) as u64 + self.guard(probe.budget());
        if columns.is_empty() || pairs < wishes::TELLING || probe.left() < needed {
            return Ok(());
        }
        let batch = data.batch(random_rows(probe, pairs, data.host().len()));
        let others = data.batch(random_rows(probe, pairs, data.host().len()));
        let u = self.anywhere(pairs, probe)?;
        let measured = probe.ask(&batch, u)?;
        self.keep(&batch, &measured);
        let x = wishes::exchanged(&batch.x_rows, &others.x_rows, &columns);
        let answers = probe.ask_rows(&x, &measured.u_rows)?;
        if wishes::are_unread(&measured.outcomes, &answers) {
            self.surrogate = self.surrogate.clone().blind_to(&columns);
            self.untaught = self.untaught.clone().blind_to(&columns);
            self.unread = columns;
        }
        Ok(())
    }
}
