//! L* exactly as it is written, and how much is left of the residual that both networks receive.

use burn::optim::GradientsParams;
use burn::prelude::*;
use graybox_model::{Policy, Surrogate, Term};

use super::{Joint, report};
use crate::{Batch, Measured, Probe, RoundReport, Student};

impl<S: Surrogate> Joint<S> {
    /// One update of both networks on L* exactly as it is written.
    pub(super) fn literal<P: Policy>(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        measured: &Measured,
        noise: Tensor<2>,
        probe: &Probe<'_>,
    ) -> RoundReport {
        let lambda = self.config.lambda;
        let (target, y) = (batch.target.clone(), measured.y.clone());
        let mean = |rows: Tensor<1>| (rows * measured.weight.clone()).sum();
        let fit = Term {
            target: target.clone(),
            weight: measured.weight.clone(),
        };
        let mut mismatch = Term {
            target: y.clone(),
            weight: measured.weight.clone() * lambda,
        };

        let (u, to_policy) = student.policy().linked(batch.x.clone());
        let (y_hat, to_both) = self.surrogate.linked_to_both(batch.x.clone(), u + noise);
        let terms = [fit.clone(), mismatch.clone()];
        let dloss_dy = probe.objective().total_gradient(y_hat.clone(), &terms);
        let mut for_surrogate = GradientsParams::new();
        let dloss_du = to_both(dloss_dy, &mut for_surrogate);
        self.step(for_surrogate, probe.progress());
        student.back_propagate(to_policy, dloss_du, probe.progress());

        mismatch.weight = measured.weight.clone();
        let value = |term: Term| probe.objective().total(y_hat.clone(), &[term]);
        let [fit, mismatch] = [fit, mismatch].map(value);
        let towards_target = y_hat.clone() - target;
        let towards_oracle = (y_hat - y) * lambda;
        let norm =
            |residual: Tensor<2>| mean((residual.clone() * residual).sum_dim(1).squeeze_dim(1));
        let [fit, mismatch, both, first, second] = probe.read([
            fit,
            mismatch,
            norm(towards_target.clone() + towards_oracle.clone()),
            norm(towards_target),
            norm(towards_oracle),
        ]);
        let balance = both.sqrt() / (first.sqrt() + second.sqrt()).max(f64::MIN_POSITIVE);
        report(measured, fit, mismatch, lambda).with("balance", balance)
    }
}
