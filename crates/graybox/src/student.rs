//! The policy that is being trained, with its optimizer.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use graybox_model::{Policy, ToParameters};

use crate::snapshot::Snapshot;
use crate::{LearningRate, OptimizerKind, SnapshotError};

/// A policy and its optimizer.
#[derive(Clone)]
pub struct Student<P> {
    /// Away during a step of the optimizer, so that nobody else holds the weights and they change in place.
    policy: Option<P>,
    optimizer: ModuleOptimizer,
    /// The optimizer as it was before its first step.
    fresh: ModuleOptimizer,
    learning_rate: LearningRate,
}

impl<P: Policy> Student<P> {
    /// Takes a policy, on any device, and makes it trainable.
    pub fn new(policy: P, optimizer: OptimizerKind, learning_rate: LearningRate) -> Self {
        Self::with_optimizer(policy, optimizer.init(), learning_rate)
    }

    /// Trains with an optimizer of burn's or of the user's own.
    pub fn with_optimizer(
        policy: P,
        optimizer: ModuleOptimizer,
        learning_rate: LearningRate,
    ) -> Self {
        Self {
            policy: Some(policy.train()),
            fresh: optimizer.clone(),
            optimizer,
            learning_rate,
        }
    }

    /// The policy on its autodiff device. Forwards through it must be followed by a `backward`: burn
    /// keeps the graph of one that is not.
    pub fn policy(&self) -> &P {
        let policy = self.policy.as_ref();
        policy.expect("the policy is put back at the end of every step")
    }

    /// A plain snapshot of the policy, for everything that needs no gradient.
    pub fn snapshot(&self) -> P {
        self.policy().valid()
    }

    /// The policy's actions, without gradients.
    ///
    /// # Shapes
    /// `[batch, d_x]` → `[batch, d_u]`
    pub fn act(&self, x: Tensor<2>) -> Tensor<2> {
        self.snapshot().forward(x)
    }

    /// Moves the policy along a gradient with respect to its actions: one optimizer step on
    /// `Σ u · ∂L/∂u`, which is the chain rule's last factor.
    ///
    /// # Shapes
    /// `x`: `[batch, d_x]`, `dloss_du`: `[batch, d_u]`, a constant
    pub fn follow(&mut self, x: Tensor<2>, dloss_du: Tensor<2>, progress: f64) {
        let (_, to_parameters) = self.policy().linked(x);
        self.back_propagate(to_parameters, dloss_du, progress);
    }

    /// One optimizer step along a gradient with respect to the actions of a [linked](Policy::linked) forward of
    /// [`policy`](Self::policy).
    ///
    /// # Shapes
    /// `dloss_du`: `[batch, d_u]`, a constant
    pub fn back_propagate(&mut self, link: ToParameters, dloss_du: Tensor<2>, progress: f64) {
        let mut gradients = GradientsParams::new();
        link(dloss_du, &mut gradients);
        self.apply(gradients, progress);
    }

    /// One optimizer step on a scalar loss that was computed through [`policy`](Self::policy).
    pub fn step(&mut self, loss: Tensor<1>, progress: f64) {
        let mut gradients = loss.backward();
        let gradients = GradientsParams::from_module(&mut gradients, self.policy());
        self.apply(gradients, progress);
    }

    /// One optimizer step with these gradients.
    pub fn apply(&mut self, gradients: GradientsParams, progress: f64) {
        let rate = self.learning_rate.at(progress);
        let stepped = |policy| self.optimizer.step(rate, policy, gradients);
        self.policy = self.policy.take().map(stepped);
    }

    /// One step with these gradients by an optimizer of the algorithm's own.
    pub fn apply_by(
        &mut self,
        optimizer: &mut ModuleOptimizer,
        gradients: GradientsParams,
        rate: f64,
    ) {
        let stepped = |policy| optimizer.step(rate, policy, gradients);
        self.policy = self.policy.take().map(stepped);
    }

    /// Sets the policy's weights without an optimizer, whose state stays as it is.
    pub fn set_policy(&mut self, policy: P) {
        self.policy = Some(policy.train());
    }

    /// Replaces the policy by a better one; the optimizer starts afresh.
    pub fn replace(&mut self, policy: P) {
        self.policy = Some(policy.train());
        self.optimizer = self.fresh.clone();
    }

    /// How fast it learns.
    pub(crate) fn learning_rate(&self) -> LearningRate {
        self.learning_rate
    }

    pub(crate) fn save(&self, name: &str, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_module(&format!("{name}.policy"), self.policy())?;
        snapshot.put_optimizer(&format!("{name}.optimizer"), &self.optimizer)
    }

    pub(crate) fn load(&mut self, name: &str, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let policy = format!("{name}.policy");
        self.policy = Some(snapshot.get_module(&policy, self.policy().clone())?);
        let optimizer = format!("{name}.optimizer");
        self.optimizer = snapshot.get_optimizer(&optimizer, self.fresh.clone())?;
        Ok(())
    }
}
