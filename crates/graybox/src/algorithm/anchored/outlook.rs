//! What a surrogate foretells of actions, in all contexts and between them.

use burn::prelude::*;
use graybox_model::Surrogate;
use graybox_oracle::Rows;

use super::continuation::Graph;
use crate::{Objective, Probe, bridge, gauss_newton};

/// Gauss–Newton steps that take an action to the target.
const REFINING: usize = 8;

/// Contexts with their targets, and what is foretold of actions there.
pub(super) struct Outlook<'a, S> {
    pub(super) surrogate: S,
    pub(super) x: Tensor<2>,
    pub(super) target: Tensor<2>,
    pub(super) objective: &'a dyn Objective,
    /// Of the squared errors, in units of the baseline.
    pub(super) weights: Vec<f64>,
    /// `[1, d_u]`; actions below are in units of it.
    pub(super) scale: &'a Tensor<2>,
    pub(super) graph: Graph,
}

impl<S: Surrogate> Outlook<'_, S> {
    pub(super) fn losses(&self, actions: &Rows) -> Vec<f64> {
        self.losses_at(&self.x, &self.target, actions)
    }

    fn losses_at(&self, x: &Tensor<2>, target: &Tensor<2>, actions: &Rows) -> Vec<f64> {
        let u = bridge::upload(actions, &x.device()) * self.scale.clone();
        let y_hat = self.surrogate.forward(x.clone(), u);
        let losses = self.objective.rows(y_hat, target.clone());
        bridge::download(losses.unsqueeze_dim(1))
            .as_slice()
            .to_vec()
    }

    /// Losses halfway between neighbours, where a policy with these actions would be halfway between them.
    fn losses_between(&self, actions: &Rows, probe: &Probe<'_>) -> Vec<f64> {
        let (first, second) = self.graph.pairs();
        if first.is_empty() {
            return Vec::new();
        }
        let halfway = |all: &Tensor<2>| {
            let [a, b] =
                [&first, &second].map(|rows| all.clone().select(0, probe.upload_index(rows)));
            (a + b) * 0.5
        };
        let mut between = actions.select(&first);
        for (row_idx, other) in second.iter().enumerate() {
            for (u, other) in between.row_mut(row_idx).iter_mut().zip(actions.row(*other)) {
                *u = 0.5 * (*u + other);
            }
        }
        self.losses_at(&halfway(&self.x), &halfway(&self.target), &between)
    }

    /// Losses in the contexts and between them.
    pub(super) fn losses_all_over(&self, actions: &Rows, probe: &Probe<'_>) -> Vec<f64> {
        let mut losses = self.losses(actions);
        losses.extend(self.losses_between(actions, probe));
        losses
    }

    /// Mean loss in the contexts and between them.
    pub(super) fn cost(&self, actions: &Rows, probe: &Probe<'_>) -> f64 {
        mean(&self.losses_all_over(actions, probe))
    }

    /// Actions of some of the contexts, a few Gauss–Newton steps later.
    pub(super) fn refined(&self, which: &[usize], mut actions: Rows, probe: &Probe<'_>) -> Rows {
        let index = probe.upload_index(which);
        let x = self.x.clone().select(0, index.clone());
        let target = self.target.clone().select(0, index);
        let affine = probe.actions().affine();
        let scale = affine.scale();
        let clamp = |u: &mut [f64]| probe.actions().clamp(u);
        for _ in 0..REFINING {
            let u = probe.upload(&actions) * self.scale.clone();
            let linear = gauss_newton::linearise(&self.surrogate, &x, &u);
            let residual = bridge::download(linear.y - target.clone());
            for (row_idx, u) in bridge::download(u).iter().enumerate() {
                let (slopes, residual) = (linear.jacobian.row(row_idx), residual.row(row_idx));
                let next = gauss_newton::step(u, slopes, residual, &self.weights, scale, clamp);
                for ((action, u), scale) in actions.row_mut(row_idx).iter_mut().zip(next).zip(scale)
                {
                    *action = u / scale;
                }
            }
        }
        actions
    }
}

pub(super) fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}
