//! Policies trained on a surrogate that is anchored at every call ever made. The default.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          ∂ℓ/∂y at `m_i(u) = F̃(x_i, u) + w · (F_i − F̃(x_i, u_i))` on rows that were measured at u_i, at F̃
//!               alone on contexts that were not, and ∂F̃/∂u for the Jacobian; many steps per call
//! Requires      F̃ able to represent F around the policy's actions; actions on the scale they are said to have
//! Oracle rows   n per round; a share of the budget is spent on a survey first, another kept back to compare the last
//!               candidates; at most twelve more in the first round where targets are a part of the context
//! Failed rows   teach the surrogate nothing and count as a poor loss where policies are compared; with `feasibility`
//!               policies learn from them where not to go
//! Source        L* = ‖Y − F̃(x, u)‖² + λ ‖F̃(x, u) − F(x, u)‖² with the fit seen by the policy alone and the mismatch by
//!               the surrogate alone. Value from the oracle, slope from a model: Wright et al., Nature 601 (2022);
//!               the distal teacher: Jordan & Rumelhart, Cognitive Science 16 (1992); trust regions: Conn, Gould &
//!               Toint (2000)
//!
//! # Why it needs few calls
//!
//! Training with the true gradient makes one call, takes one step and throws the call away. Here every call is
//! kept, and the number of steps is not tied to the number of calls. What keeps the policy from exploiting the
//! surrogate's errors are the [anchor](crate::anchor), the [trust region](crate::trust_region) and
//! [exploration](crate::Antithetic), and that the surrogate is not shown the target where that is a part of the
//! context. What keeps it from ending where no gradient leads on are several policies that start in different ways,
//! halved by their true losses, and one added at a cut where the surrogate sees a way past what the best of them is
//! stuck at. Where training rows are few, contexts between them are asked about as well. When the calls are spent,
//! the surrogate is fitted once more to all of them and the policy to the surrogate, and the calls kept back decide by
//! true losses whether that was an improvement. Every part can be switched off: see [`AnchoredConfig`].

use burn::optim::ModuleOptimizer;
use burn::prelude::*;
use graybox_model::{Ensemble, MlpSurrogate, Policy, Surrogate};
use graybox_oracle::{Answered, Rows};

use super::rows::random_rows;
use super::{Algorithm, Asynchronous, Facts, PolicyFactory, TrainedSurrogate};
use crate::exploration::Antithetic;
use crate::feasibility::Feasibility;
use crate::snapshot::Snapshot;
use crate::{
    Batch, LearningRate, Objective, Probe, Problem, Replay, RoundReport, SnapshotError,
    SquaredError, StepError, Student, bridge, seed,
};

mod blind;
mod closing;
mod config;
mod continuation;
mod mend;
mod outlook;
mod population;
mod rounds;
mod start;
mod steps;
#[cfg(test)]
mod tests;

use closing::Before;
pub use config::AnchoredConfig;
use population::Population;

pub(super) const NAME: &str = "anchored";

/// Trains policies on an anchored surrogate.
pub struct Anchored<P, S> {
    config: AnchoredConfig,
    problem: Problem,
    new_policy: PolicyFactory<P>,
    surrogate: S,
    /// The surrogate before its first step.
    untaught: S,
    /// Columns of the context that both of them look past.
    unread: Vec<usize>,
    optimizer: ModuleOptimizer,
    /// Of the surrogate's weights; known from the first round on, as is the next.
    decay: f64,
    /// How fast policies learn.
    learning_rate: LearningRate,
    /// What the surrogate is fitted by: squared errors in units of the outcomes' spread, whatever the
    /// objective.
    error: SquaredError,
    /// Loss of always hitting the mean of the targets: what a failed call counts as, and the unit of losses.
    baseline: f64,
    /// `[1, d_u]`
    action_scale: Tensor<2>,
    replay: Replay,
    /// Where the oracle answers; nothing before the first call that fails.
    feasibility: Option<Feasibility>,
    /// Rows of the survey, from the moment on that nothing more is learned from them.
    forgotten: usize,
    noise: Antithetic,
    population: Population<P>,
    /// Inner steps that calls have paid for and that have not been taken.
    steps_due: f64,
    /// What is known of the policy before the closing phase, once that has begun.
    before: Option<Before>,
}

impl<P: Policy> Anchored<P, Ensemble<MlpSurrogate>> {
    /// Takes checked settings; all weights follow from the problem's seed.
    pub fn new(config: AnchoredConfig, problem: &Problem, new_policy: &PolicyFactory<P>) -> Self {
        let mut rng = seed::stream(problem.seed(), "anchored surrogate", 0);
        let surrogate = problem.surrogate(&config.surrogate);
        let members = (0..config.ensemble)
            .map(|_| surrogate.init(&mut rng, problem.device()))
            .collect();
        Self::with_surrogate(config, problem, new_policy, Ensemble { members })
    }
}

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// Trains a surrogate of the user's own. `config.surrogate` and `config.ensemble` have no effect.
    pub fn with_surrogate(
        config: AnchoredConfig,
        problem: &Problem,
        new_policy: &PolicyFactory<P>,
        surrogate: S,
    ) -> Self {
        let dims = problem.dims();
        let rows = problem.data().host();
        let scale = Rows::from_vec(dims.u, problem.actions().affine().scale().to_vec());
        let scale = scale.expect("one scale per action");
        Self {
            untaught: surrogate.clone().train(),
            unread: Vec::new(),
            surrogate: surrogate.train(),
            optimizer: problem.optimizer().init(),
            decay: 0.0,
            learning_rate: LearningRate::default(),
            error: SquaredError::scaled(problem.outcome().scale())
                .expect("the scales of outcomes are positive and finite"),
            baseline: loss_of_the_mean(problem),
            action_scale: bridge::upload(&scale, problem.device()),
            replay: Replay::new(dims.x, dims.u, dims.y),
            feasibility: None,
            forgotten: 0,
            noise: Antithetic::new(problem.seed(), rows.len(), dims.u),
            population: Population::new(),
            steps_due: 0.0,
            before: None,
            problem: problem.clone(),
            new_policy: new_policy.clone(),
            config,
        }
    }

    /// The surrogate as it is now.
    pub fn surrogate(&self) -> S {
        self.surrogate.valid()
    }
}

fn loss_of_the_mean(problem: &Problem) -> f64 {
    let target = problem.data().host().target();
    let n = target.len() as f64;
    let mut mean = vec![0.0; target.width()];
    for row in target.iter() {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value / n;
        }
    }
    let losses = target
        .iter()
        .map(|row| problem.objective().value(&mean, row));
    let loss = losses.sum::<f64>() / n;
    // Targets that are all the same, but for the rounding of their mean, leave nothing to measure losses by.
    let rounding = 1e-12 * problem.objective().value(&mean, &vec![0.0; mean.len()]);
    if loss > rounding { loss } else { 1.0 }
}

impl<P: Policy, S: Surrogate> Algorithm<P> for Anchored<P, S> {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 1,
            estimates: "the gradient of the true loss, its value from the oracle where a call is near, its \
                        Jacobian from a surrogate of all calls",
            bias: "the surrogate's error in ∂F/∂u, and in F away from all calls",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64
    }

    fn reserve(&self, budget: u64) -> u64 {
        self.guard(budget)
    }

    fn recall(&mut self, answered: &Answered) -> bool {
        self.replay.recall(answered, self.problem.device());
        true
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let proposal = self.choose(student, batch, 0, probe)?;
        let proposal = proposal.expect("nothing is on its way");
        let measured = probe.measure(&proposal.batch, proposal.asked.clone())?;
        self.learn_from(student, &proposal, &measured, probe)
    }

    fn asynchronous(&mut self) -> Option<&mut dyn Asynchronous<P>> {
        Some(self)
    }

    fn finish(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        if self.config.closing == 0.0 || self.population.members.is_empty() {
            return Ok(None);
        }
        self.close(student, probe)
    }

    fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        Some(Box::new(self.surrogate()))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_module("anchored.surrogate", &self.surrogate)?;
        snapshot.put_optimizer("anchored.optimizer", &self.optimizer)?;
        snapshot.put(
            "anchored",
            &(
                self.steps_due,
                self.forgotten,
                self.decay,
                self.learning_rate,
                &self.noise,
                &self.before,
                &self.unread,
            ),
        )?;
        if let Some(feasibility) = &self.feasibility {
            feasibility.save("anchored.feasibility", snapshot)?;
        }
        self.population.save("anchored.population", snapshot)?;
        self.replay.save("anchored.replay", snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.surrogate = snapshot.get_module("anchored.surrogate", self.surrogate.clone())?;
        (
            self.steps_due,
            self.forgotten,
            self.decay,
            self.learning_rate,
            self.noise,
            self.before,
            self.unread,
        ) = snapshot.get("anchored")?;
        self.untaught = self.untaught.clone().blind_to(&self.unread);
        let fresh = self.problem.optimizer().with_decay(self.decay);
        self.optimizer = snapshot.get_optimizer("anchored.optimizer", fresh)?;
        self.feasibility = Feasibility::load("anchored.feasibility", snapshot, &self.problem)?;
        let name = "anchored.population";
        self.population = Population::load(name, snapshot, |id| self.new_student(id))?;
        let device = self.problem.device();
        self.replay = Replay::load("anchored.replay", snapshot, device)?;
        Ok(())
    }
}
