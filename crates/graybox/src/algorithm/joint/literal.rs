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

        let u = student.policy().forward(batch.x.clone()) + noise;
        let y_hat = self.surrogate.forward(batch.x.clone(), u);
        let terms = [fit.clone(), mismatch.clone()];
        let mut gradients = probe.objective().total(y_hat.clone(), &terms).backward();
        let for_surrogate = GradientsParams::from_module(&mut gradients, &self.surrogate);
        let for_policy = GradientsParams::from_module(&mut gradients, student.policy());
        self.step(for_surrogate, probe.progress());
        student.apply(for_policy, probe.progress());

        let y_hat = y_hat.without_autodiff();
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
