//! L* with its two terms kept apart: the mismatch trains the surrogate, the fit the policy.

use burn::optim::GradientsParams;
use burn::prelude::*;
use graybox_model::{Policy, Surrogate, Term, inner_product};

use super::{Joint, Routing, report};
use crate::algorithm::rows::random_rows;
use crate::{Batch, Measured, Probe, RoundReport, Student};

/// Rows a surrogate learns from. The weights sum to one.
struct Evidence {
    x: Tensor<2>,
    u: Tensor<2>,
    y: Tensor<2>,
    target: Tensor<2>,
    weight: Tensor<1>,
}

impl<S: Surrogate> Joint<S> {
    /// Updates of both networks with the two terms kept apart: the first on the rows just measured, the
    /// others on replayed rows and on contexts that cost nothing.
    pub(super) fn routed<P: Policy>(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        measured: &Measured,
        probe: &mut Probe<'_>,
    ) -> RoundReport {
        let progress = probe.progress();
        let y_hat = self
            .surrogate()
            .forward(batch.x.clone(), measured.u.clone());
        let value = |target: &Tensor<2>| {
            let term = Term {
                target: target.clone(),
                weight: measured.weight.clone(),
            };
            probe.objective().total(y_hat.clone(), &[term])
        };
        let [fit, mismatch] = probe.read([&batch.target, &measured.y].map(value));

        let fresh = Evidence {
            x: batch.x.clone(),
            u: measured.u.clone(),
            y: measured.y.clone(),
            target: batch.target.clone(),
            weight: measured.weight.clone(),
        };
        self.fit_surrogate(fresh, &student.snapshot(), probe, progress);
        self.skill.observe(measured, mismatch, probe);
        let share = if self.config.patient {
            self.skill.share()
        } else {
            1.0
        };
        let trusted = (share * self.config.updates as f64).round() as usize;
        if trusted > 0 {
            let value = self.config.value_correction.then_some(measured);
            self.improve_policy(student, batch, value, probe, progress);
        }
        for update in 1..self.config.updates {
            let replayed = self.replayed(probe);
            self.fit_surrogate(replayed, &student.snapshot(), probe, progress);
            let index = random_rows(probe, batch.len(), self.data.host().len());
            let batch = self.data.batch(index);
            if update < trusted {
                self.improve_policy(student, &batch, None, probe, progress);
            }
        }
        report(measured, fit, mismatch, self.config.lambda)
    }

    fn replayed(&self, probe: &mut Probe<'_>) -> Evidence {
        let index = random_rows(probe, self.config.replay_batch, self.replay.len());
        let rows = self.replay.select(probe.upload_index(&index));
        let answered = rows.answered.clone().sum().clamp_min(1.0);
        Evidence {
            x: rows.x,
            u: rows.u,
            y: rows.y,
            target: rows.target,
            weight: rows.answered / answered,
        }
    }

    /// One surrogate step on `λ · mismatch`, and on the fit as well where the routing is biased.
    fn fit_surrogate<P: Policy>(
        &mut self,
        rows: Evidence,
        policy: &P,
        probe: &Probe<'_>,
        progress: f64,
    ) {
        let y_hat = self.surrogate.forward(rows.x.clone(), rows.u);
        let mismatch = Term {
            target: rows.y,
            weight: rows.weight.clone() * self.config.lambda,
        };
        let mut loss = probe.objective().total(y_hat, &[mismatch]);
        if self.config.routing == Routing::Biased {
            let u = policy.forward(rows.x.clone());
            let y_hat = self.surrogate.forward(rows.x, u);
            let fit = Term {
                target: rows.target,
                weight: rows.weight,
            };
            loss = loss + probe.objective().total(y_hat, &[fit]);
        }
        let mut gradients = loss.backward();
        let gradients = GradientsParams::from_module(&mut gradients, &self.surrogate);
        self.step(gradients, progress);
    }

    /// One policy step on the fit, through the surrogate as a constant. With outcomes measured on this
    /// batch, `∂ℓ/∂y` is taken there and only the Jacobian is the surrogate's.
    fn improve_policy<P: Policy>(
        &self,
        student: &mut Student<P>,
        batch: &Batch,
        value: Option<&Measured>,
        probe: &Probe<'_>,
        progress: f64,
    ) {
        let u = student.policy().forward(batch.x.clone());
        let y_hat = self.surrogate().forward(batch.x.clone(), u);
        let target = batch.target.clone();
        let loss = if let Some(measured) = value {
            let y = Tensor::from_inner(measured.y.clone()).require_grad();
            let weight = measured.weight.clone();
            let term = Term { target, weight };
            let mut gradients = probe.objective().total(y.clone(), &[term]).backward();
            let dloss_dy = y
                .grad_remove(&mut gradients)
                .expect("a leaf of the loss has a gradient");
            inner_product(y_hat, dloss_dy)
        } else {
            probe.objective().total(y_hat, &[Term::mean(target)])
        };
        student.step(loss, progress);
    }
}
