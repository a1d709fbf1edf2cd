//! Policy and surrogate trained at once on L*.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          ∂F/∂u ≈ ∂F̃_φ/∂u of a surrogate fitted to every call so far; with value correction ∂ℓ/∂y is taken at F itself
//! Requires      F̃ to see actions beside π(x): a deterministic policy tells nothing of ∂F/∂u
//! Oracle rows   n per step
//! Failed rows   weigh nothing, in either network
//! Source        L* = ‖Y − F̃(x, u)‖² + λ ‖F̃(x, u) − F(x, u)‖²; Jordan & Rumelhart, Cognitive Science 16 (1992);
//!               value correction: Wright et al., Nature 601 (2022)
//!
//! # Why the literal L* cannot learn
//!
//! With F a constant, both networks receive the same residual `r = (F̃ − Y) + λ (F̃ − F)`. The surrogate
//! drives it to zero at `F̃ = (Y + λ F)/(1 + λ)`, and the policy's gradient `(∂F̃/∂u)ᵀ r` vanishes exactly
//! there: every policy is stationary. One cut repairs it: [`Routing::Split`] and [`Routing::Biased`].

use burn::optim::{GradientsParams, ModuleOptimizer};
use graybox_model::{Ensemble, MlpSurrogate, Policy, Surrogate};
use graybox_oracle::Answered;

use super::skill::Skill;
use super::{Algorithm, Facts, TrainedSurrogate};
use crate::snapshot::Snapshot;
use crate::{
    Batch, DeviceData, Measured, OptimizerKind, Probe, Problem, Replay, RoundReport, SnapshotError,
    StepError, Student, seed,
};

mod config;
mod literal;
mod routed;

pub use config::{JointConfig, Routing};

pub(super) const NAME: &str = "joint";

/// Trains a policy and a surrogate on the same calls.
pub struct Joint<S> {
    config: JointConfig,
    surrogate: S,
    optimizer: ModuleOptimizer,
    trained_by: OptimizerKind,
    replay: Replay,
    skill: Skill,
    data: DeviceData,
}

impl Joint<Ensemble<MlpSurrogate>> {
    /// Takes checked settings; the surrogates' weights follow from the problem's seed.
    pub fn new(config: JointConfig, problem: &Problem) -> Self {
        let mut rng = seed::stream(problem.seed(), "joint surrogate", 0);
        let surrogate = problem.surrogate(&config.surrogate);
        let members = (0..config.ensemble)
            .map(|_| surrogate.init(&mut rng, problem.device()))
            .collect();
        Self::with_surrogate(config, problem, Ensemble { members })
    }
}

impl<S: Surrogate> Joint<S> {
    /// Trains a surrogate of the user's own. `config.surrogate` and `config.ensemble` have no effect.
    pub fn with_surrogate(config: JointConfig, problem: &Problem, surrogate: S) -> Self {
        let dims = problem.dims();
        Self {
            config,
            surrogate: surrogate.train(),
            optimizer: problem.optimizer().init(),
            trained_by: problem.optimizer(),
            replay: Replay::new(dims.x, dims.u, dims.y),
            skill: Skill::default(),
            data: problem.data().clone(),
        }
    }

    /// The surrogate as it is now.
    pub fn surrogate(&self) -> S {
        self.surrogate.valid()
    }

    /// One step of the surrogate.
    fn step(&mut self, gradients: GradientsParams, progress: f64) {
        let rate = self.config.learning_rate.at(progress);
        let surrogate = self.surrogate.clone();
        self.surrogate = self.optimizer.step(rate, surrogate, gradients);
    }
}

fn report(measured: &Measured, fit: f64, mismatch: f64, lambda: f64) -> RoundReport {
    RoundReport::new(measured.loss)
        .with("fit", fit)
        .with("mismatch", mismatch)
        .with("l_star", fit + lambda * mismatch)
}

impl<P: Policy, S: Surrogate> Algorithm<P> for Joint<S> {
    fn facts(&self) -> Facts {
        let (estimates, bias) = match self.config.routing {
            Routing::Literal => (
                "the gradient of L* with the oracle held constant",
                "unrelated to the gradient of the true loss: it vanishes where the surrogate has converged",
            ),
            Routing::Split => (
                "the gradient of the true loss, with the surrogate's Jacobian",
                "the surrogate's error in ∂F/∂u, and in F where it was not just measured",
            ),
            Routing::Biased => (
                "the gradient of the loss under a surrogate that leans towards the target",
                "the surrogate's lean 1/(1 + λ) and its error",
            ),
        };
        Facts {
            name: NAME,
            calls_per_row: 1,
            estimates,
            bias,
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64
    }

    fn recall(&mut self, answered: &Answered) -> bool {
        // The other routings need to know what was wanted, or never look back.
        let useful = self.config.routing == Routing::Split;
        if useful {
            self.replay.recall(answered, &self.data.x().device());
        }
        useful
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let u = student.act(batch.x.clone());
        let ignorance = 1.0 - self.skill.share();
        let sigma = self.config.exploration * (1.0 + 2.0 * ignorance);
        let measured = probe.explore(batch, u.clone(), sigma)?;
        if measured.answered == 0 {
            return Ok(RoundReport::new(None));
        }
        self.replay.push(batch, &measured);
        Ok(match self.config.routing {
            Routing::Literal => {
                let noise = measured.u.clone() - u;
                self.literal(student, batch, &measured, noise, probe)
            }
            Routing::Split | Routing::Biased => self.routed(student, batch, &measured, probe),
        })
    }

    fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        Some(Box::new(self.surrogate()))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_module("joint.surrogate", &self.surrogate)?;
        snapshot.put_optimizer("joint.optimizer", &self.optimizer)?;
        snapshot.put("joint.skill", &self.skill)?;
        self.replay.save("joint.replay", snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.surrogate = snapshot.get_module("joint.surrogate", self.surrogate.clone())?;
        self.optimizer = snapshot.get_optimizer("joint.optimizer", self.trained_by.init())?;
        self.skill = snapshot.get("joint.skill")?;
        let device = self.data.x().device();
        self.replay = Replay::load("joint.replay", snapshot, &device)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
