//! Policies trained on a surrogate that is anchored at every call ever made. The default.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          ∂ℓ/∂y at `m_i(u) = F̃(x_i, u) + w · (F_i − F̃(x_i, u_i))` on rows that were measured at u_i, at F̃
//!               alone on contexts that were not, and ∂F̃/∂u for the Jacobian; many steps per call
//! Requires      F̃ able to represent F around the policy's actions; actions on the scale they are said to have
//! Oracle rows   n per round; a share of the budget is kept back to compare the last candidates
//! Failed rows   teach the surrogate nothing and count as a poor loss where policies are compared
//! Source        L* = ‖Y − F̃(x, u)‖² + λ ‖F̃(x, u) − F(x, u)‖² with the fit seen by the policy alone and the mismatch by
//!               the surrogate alone. Value from the oracle, slope from a model: Wright et al., Nature 601 (2022);
//!               the distal teacher: Jordan & Rumelhart, Cognitive Science 16 (1992); trust regions: Conn, Gould &
//!               Toint (2000)
//!
//! # Why it needs few calls
//!
//! Training with the true gradient makes one call, takes one step and throws the call away. Here every call is
//! kept, and the number of steps is not tied to the number of calls. What keeps the policy from exploiting the
//! surrogate's errors are four parts, each of which can be switched off: the [anchor](crate::anchor), the
//! [trust region](crate::trust_region), [exploration](crate::Antithetic) and several policies. When the calls are
//! spent, the surrogate is fitted once more to all of them and the policy to the surrogate, and the calls kept
//! back decide by true losses whether that was an improvement.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use graybox_model::{Ensemble, MlpConfig, MlpSurrogate, Policy, Surrogate};
use graybox_oracle::{Dims, Rows};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{Algorithm, Facts, PolicyFactory, TrainedSurrogate};
use crate::error::{at_least_one, not_negative, positive};
use crate::exploration::{Annealed, Antithetic};
use crate::snapshot::Snapshot;
use crate::student::adam;
use crate::{
    Batch, ConfigError, LearningRate, Measured, Objective, Probe, Problem, Replay, RoundReport,
    SnapshotError, Soap, SquaredError, StepError, Student, anchor, bridge, seed, trust_region,
};

mod population;
#[cfg(test)]
mod tests;

use population::{Member, Population};

pub(super) const NAME: &str = "anchored";

/// What turns gradients into steps, for policies and surrogate alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam: no products of matrices, for layers too wide for those.
    Adam,
    /// [`Soap`].
    #[default]
    Soap,
}

impl OptimizerKind {
    fn init(self) -> ModuleOptimizer {
        self.with_decay(0.0)
    }

    /// Adam goes without the decay.
    fn with_decay(self, decay: f64) -> ModuleOptimizer {
        match self {
            Self::Adam => adam(),
            Self::Soap => Soap { decay }.into(),
        }
    }
}

/// Settings of [`Anchored`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnchoredConfig {
    /// Inner steps per call: the dial to turn before buying more calls. By default 10,000 in all for 2,000
    /// calls, and as the root of the calls for other budgets.
    pub steps_per_call: Option<f64>,
    /// Policies at the start.
    pub population: usize,
    /// Policies start with one action for all contexts, drawn with this standard deviation in units of the
    /// actions' scale: contexts that start in different branches of an inverse never meet again.
    pub start: f64,
    /// Share of the budget over which the targets move from what the first action brings to what is wanted,
    /// so that residuals stay small and every context stays in its branch; 0 for the targets as they are.
    pub ramp: f64,
    /// Noise on the actions asked.
    pub exploration: Annealed,
    /// Weight of the penalty on leaving the trust region, 0 for none.
    pub trust: f64,
    /// Share of a policy's batch that are rows already measured; 0 trains on the surrogate alone.
    pub anchored: f64,
    /// Rows of a policy's batch.
    pub policy_batch: usize,
    /// Rows of the surrogate's batch.
    pub surrogate_batch: usize,
    /// For policies and surrogate.
    pub optimizer: OptimizerKind,
    /// Hidden layers of the surrogate.
    pub surrogate: MlpConfig,
    /// Number of surrogates whose mean is the prediction.
    pub ensemble: usize,
    /// The surrogate's learning rate at the start.
    pub learning_rate: f64,
    /// The surrogate's weight decay, with SOAP, where there are more than four actions per outcome: most
    /// directions of the actions are then hardly known, and of the functions that fit the calls the plainer one
    /// is the better guess. Elsewhere it would only bias the fit, and is not used.
    pub decay: f64,
    /// Steps of the closing phase for each network, as a share of the inner steps before it; 0 for no such
    /// phase.
    pub closing: f64,
    /// Share of the budget that is kept back to compare the policies before and after the closing phase,
    /// 128 calls at most.
    pub guard: f64,
}

impl Default for AnchoredConfig {
    fn default() -> Self {
        Self {
            steps_per_call: None,
            population: 4,
            start: 0.5,
            ramp: 0.2,
            exploration: Annealed::default(),
            trust: 3.0,
            anchored: 0.5,
            policy_batch: 32,
            surrogate_batch: 64,
            optimizer: OptimizerKind::Soap,
            surrogate: MlpConfig::default(),
            ensemble: 1,
            learning_rate: 3e-3,
            decay: 0.1,
            closing: 0.5,
            guard: 0.04,
        }
    }
}

impl AnchoredConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(steps) = self.steps_per_call {
            positive("anchored.steps_per_call", steps)?;
        }
        at_least_one("anchored.population", self.population)?;
        not_negative("anchored.start", self.start)?;
        share("anchored.ramp", self.ramp)?;
        self.exploration.check("anchored.exploration")?;
        not_negative("anchored.trust", self.trust)?;
        share("anchored.anchored", self.anchored)?;
        at_least_one("anchored.policy_batch", self.policy_batch)?;
        at_least_one("anchored.surrogate_batch", self.surrogate_batch)?;
        at_least_one("anchored.ensemble", self.ensemble)?;
        positive("anchored.learning_rate", self.learning_rate)?;
        not_negative("anchored.decay", self.decay)?;
        not_negative("anchored.closing", self.closing)?;
        share("anchored.guard", self.guard)?;
        if let Err(error) = self.surrogate.check() {
            let expected = "hidden layers with units";
            return Err(ConfigError::new("anchored.surrogate", error, expected));
        }
        Ok(())
    }

    /// Inner steps per call under a budget.
    fn steps_per_call(&self, budget: u64) -> f64 {
        self.steps_per_call.unwrap_or_else(|| {
            let budget = budget as f64;
            10_000.0 * (budget / 2_000.0).sqrt() / budget
        })
    }

    fn surrogate_optimizer(&self, dims: Dims) -> ModuleOptimizer {
        let many = dims.u > MANY_ACTIONS * dims.y;
        self.optimizer
            .with_decay(if many { self.decay } else { 0.0 })
    }

    /// Steps of each network in the closing phase.
    fn closing_steps(&self, budget: u64) -> usize {
        (self.steps_per_call(budget) * budget as f64 * self.closing).round() as usize
    }
}

fn share(field: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(field, value, "a share between 0 and 1"))
}

/// Actions per outcome beyond which the surrogate's weights decay.
const MANY_ACTIONS: usize = 4;
/// Steps that make a policy constant.
const SETTLING: usize = 200;
/// Most calls kept back.
const GUARD: u64 = 128;
/// What is left of the learning rates when the rounds end.
const FLOOR: f64 = 0.1;
/// Rows of the surrogate's batch in the closing phase, as a multiple of that before.
const CLOSING_BATCH: usize = 2;
/// Share of the measured rows, the newest, that policies are anchored at.
const NEWEST: f64 = 0.3;
/// Reach of a measurement and of a round, in units of the noise the policy explores with.
const ANCHOR_REACH: f64 = 2.0;

/// Trains policies on an anchored surrogate.
pub struct Anchored<P, S> {
    config: AnchoredConfig,
    problem: Problem,
    new_policy: PolicyFactory<P>,
    surrogate: S,
    optimizer: ModuleOptimizer,
    /// What the surrogate is fitted by: squared errors in units of the outcomes' spread, whatever the
    /// objective.
    error: SquaredError,
    /// Loss of always hitting the mean of the targets: what a failed call counts as, and the unit of losses.
    baseline: f64,
    /// `[1, d_u]`
    action_scale: Tensor<2>,
    replay: Replay,
    noise: Antithetic,
    population: Population<P>,
    /// Inner steps that calls have paid for and that have not been taken.
    steps_due: f64,
    /// How fast policies learn; known from the first round on.
    learning_rate: LearningRate,
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
            surrogate: surrogate.train(),
            optimizer: config.surrogate_optimizer(dims),
            error: SquaredError::scaled(problem.outcome().scale())
                .expect("the scales of outcomes are positive and finite"),
            baseline: loss_of_the_mean(problem),
            action_scale: bridge::upload(&scale, problem.device()),
            replay: Replay::new(dims.x, dims.u, dims.y),
            noise: Antithetic::new(problem.seed(), rows.len(), dims.u),
            population: Population::new(),
            steps_due: 0.0,
            learning_rate: LearningRate::default(),
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
    // Targets that are all the same leave nothing to measure losses by.
    let loss = losses.sum::<f64>() / n;
    if loss > 0.0 { loss } else { 1.0 }
}

/// What a policy step is taken on, apart from the policy.
struct Landscape<'a, S> {
    surrogate: &'a S,
    /// Standard deviation of the exploration.
    sigma: f64,
    /// Weight of the trust region.
    trust: f64,
    progress: f64,
    /// Share of the way from what the first action brings to the targets.
    ramp: f64,
}

impl<P: Policy, S: Surrogate> Anchored<P, S> {
    /// The student's policy is the first member; each starts at an action of its own.
    fn enlist(&mut self, student: &Student<P>, probe: &mut Probe<'_>) {
        self.learning_rate = LearningRate {
            floor: FLOOR,
            ..student.learning_rate()
        };
        for id in 0..self.config.population as u64 {
            let mut member = self.new_student(id);
            if id == 0 {
                member.replace(student.snapshot());
            }
            self.settle(id, &mut member, probe);
            self.population.members.push(Member::new(id, member));
        }
    }

    /// The action that a member starts at, whatever the context, `[1, d_u]`.
    fn start(&self, id: u64, probe: &Probe<'_>) -> Tensor<2> {
        let mut rng = seed::stream(self.problem.seed(), "start", id);
        let center = self.problem.actions().affine().shift().to_vec();
        let noise = StandardNormal.sample_iter(&mut rng);
        let noise: Vec<f64> = noise.take(center.len()).collect();
        let start = probe.perturb(&center, &noise, self.config.start);
        probe.upload(&Rows::from_vec(start.len(), start).expect("one row"))
    }

    /// Makes a policy answer its first action everywhere.
    fn settle(&self, id: u64, student: &mut Student<P>, probe: &mut Probe<'_>) {
        let start = self.start(id, probe);
        let data = self.problem.data();
        for step in 0..SETTLING {
            let index = random_rows(probe, self.config.policy_batch, data.host().len());
            let x = data.x().clone().select(0, probe.upload_index(&index));
            let u = student.policy().forward(x);
            let away = (u - start.clone()) / self.action_scale.clone();
            let progress = step as f64 / SETTLING as f64;
            student.step(away.square().mean(), progress);
        }
        student.replace(student.snapshot());
    }

    fn new_student(&self, id: u64) -> Student<P> {
        let policy = (self.new_policy)(&mut seed::stream(self.problem.seed(), "policy", id));
        Student::with_optimizer(policy, self.config.optimizer.init(), self.learning_rate)
    }

    /// Calls: the rows of the batch are dealt to the policies in turn, each asks at its own actions plus noise.
    fn explore(&mut self, batch: &Batch, probe: &mut Probe<'_>) -> Result<RoundReport, StepError> {
        let sigma = self.config.exploration.at(probe.progress());
        let noise = self.noise.draw(&batch.index);
        let n = self.population.members.len();
        let mut chosen = Vec::with_capacity(n);
        for member in &mut self.population.members {
            member.reference = member.student.snapshot();
            let u = member.reference.forward(batch.x.clone());
            chosen.push(probe.download_actions(batch, u)?);
        }
        let d_u = self.problem.dims().u;
        let mut own = Rows::with_capacity(d_u, batch.len());
        let mut asked = Rows::with_capacity(d_u, batch.len());
        for row_idx in 0..batch.len() {
            let which = row_idx % n;
            let u = chosen[which].row(row_idx);
            let sigma = sigma * self.population.spread(which);
            own.push(u)?;
            asked.push(&probe.perturb(u, noise.row(row_idx), sigma))?;
        }
        let measured = probe.measure(batch, asked)?;
        self.replay.push(batch, &measured);
        self.observe(batch, &measured, &own, probe);
        Ok(RoundReport::new(measured.loss))
    }

    /// Credits each policy with the losses of its rows, carried over from where they were measured to the
    /// policy's own action: without that, those who explore further would look worse.
    fn observe(&mut self, batch: &Batch, measured: &Measured, own: &Rows, probe: &Probe<'_>) {
        let surrogate = self.surrogate.valid();
        let at = |u: Tensor<2>| surrogate.forward(batch.x.clone(), u);
        let change = bridge::download(at(probe.upload(own)) - at(measured.u.clone()));
        let n = self.population.members.len();
        for (row_idx, outcome) in measured.outcomes.iter().enumerate() {
            let loss = match outcome {
                Ok(y) => {
                    let change = change.row(row_idx);
                    let y: Vec<f64> = y.iter().zip(change).map(|(y, change)| y + change).collect();
                    probe.objective().value(&y, batch.target_rows.row(row_idx))
                }
                Err(_) => self.baseline,
            };
            self.population.members[row_idx % n].observe(loss);
        }
    }

    /// One step of the surrogate on the mismatch, on rows of any age.
    fn fit_surrogate(&mut self, n: usize, rate: f64, probe: &mut Probe<'_>) {
        let index = random_rows(probe, n, self.replay.len());
        let rows = self.replay.select(probe.upload_index(&index));
        let weight = rows.answered.clone() / rows.answered.sum().clamp_min(1.0);
        let y_hat = self.surrogate.forward(rows.x, rows.u);
        let loss = (self.error.rows(y_hat, rows.y) * weight).sum();
        let mut gradients = loss.backward();
        let gradients = GradientsParams::from_module(&mut gradients, &self.surrogate);
        let surrogate = self.surrogate.clone();
        self.surrogate = self.optimizer.step(rate, surrogate, gradients);
    }

    /// One step of a policy on the fit: on contexts that cost nothing, and on measured rows with the anchor.
    fn improve(&mut self, which: usize, landscape: &Landscape<'_, S>, probe: &mut Probe<'_>) {
        let surrogate = landscape.surrogate;
        let data = self.problem.data();
        let n = self.config.policy_batch;
        let anchored = (self.config.anchored * n as f64).round() as usize;
        let fresh = random_rows(probe, n - anchored, data.host().len());
        let fresh = probe.upload_index(&fresh);
        let rows = (anchored > 0).then(|| {
            let len = self.replay.len();
            let newest = (NEWEST * len as f64).ceil() as usize;
            let back = random_rows(probe, anchored, newest);
            let index: Vec<usize> = back.into_iter().map(|age| len - 1 - age).collect();
            self.replay.select(probe.upload_index(&index))
        });
        let mut x = data.x().clone().select(0, fresh.clone());
        let mut target = data.target().clone().select(0, fresh);
        if let Some(rows) = &rows {
            x = Tensor::cat(vec![x, rows.x.clone()], 0);
            target = Tensor::cat(vec![target, rows.target.clone()], 0);
        }

        if landscape.ramp < 1.0 {
            let start = self.start(self.population.members[which].id, probe);
            let start = start.clone().expand([x.dims()[0], start.dims()[1]]);
            let first = surrogate.forward(x.clone(), start);
            target = first.clone() + (target - first) * landscape.ramp;
        }
        let spread = self.population.spread(which);
        let member = &mut self.population.members[which];
        let radius = landscape.sigma * spread;
        let u = member.student.policy().forward(x.clone());
        let mut y_hat = surrogate.forward(x.clone(), u.clone());
        if let Some(rows) = &rows {
            let at = u.clone().without_autodiff();
            let at = at.narrow(0, n - anchored, anchored);
            let reach = ANCHOR_REACH * radius;
            let known = anchor::correction(surrogate, rows, at, &self.action_scale, reach);
            let unknown = Tensor::zeros([n - anchored, known.dims()[1]], &known.device());
            y_hat = y_hat + Tensor::cat(vec![unknown, known], 0);
        }
        let mut loss = self.problem.objective().rows(y_hat, target).mean() / self.baseline;
        if landscape.trust > 0.0 {
            let u_0 = member.reference.forward(x);
            let outside = trust_region::outside(u, u_0, &self.action_scale, radius);
            loss = loss + outside.mean() * landscape.trust;
        }
        member.student.step(loss, landscape.progress);
    }

    /// The inner steps that the calls so far have paid for.
    fn learn(&mut self, probe: &mut Probe<'_>) {
        let progress = probe.progress();
        let rate = LearningRate {
            initial: self.config.learning_rate,
            floor: FLOOR,
        };
        while self.steps_due >= 1.0 && !probe.stopped() {
            self.steps_due -= 1.0;
            self.fit_surrogate(self.config.surrogate_batch, rate.at(progress), probe);
            let surrogate = self.surrogate.valid();
            let landscape = Landscape {
                surrogate: &surrogate,
                sigma: self.config.exploration.at(progress),
                trust: self.config.trust,
                progress,
                ramp: if progress < self.config.ramp {
                    progress / self.config.ramp
                } else {
                    1.0
                },
            };
            for which in 0..self.population.members.len() {
                self.improve(which, &landscape, probe);
            }
        }
    }

    /// Fits the surrogate to everything that was measured and the best policy to the surrogate, both with a
    /// learning rate that falls to zero; the trust region has done its work. False if it was asked to stop.
    fn converge(&mut self, probe: &mut Probe<'_>) -> bool {
        let steps = self.config.closing_steps(probe.budget());
        let share = |step: usize| step as f64 / steps as f64;
        let rate = LearningRate {
            initial: self.config.learning_rate,
            floor: 0.0,
        };
        self.optimizer = self.config.surrogate_optimizer(self.problem.dims());
        let batch = CLOSING_BATCH * self.config.surrogate_batch;
        for step in 0..steps {
            if probe.stopped() {
                return false;
            }
            self.fit_surrogate(batch, rate.at(share(step)), probe);
        }
        let surrogate = self.surrogate.valid();
        let best = &mut self.population.members[0];
        let rate = LearningRate {
            floor: 0.0,
            ..self.learning_rate
        };
        let policy = best.student.policy().clone();
        best.student = Student::with_optimizer(policy, self.config.optimizer.init(), rate);
        for step in 0..steps {
            if probe.stopped() {
                return false;
            }
            let landscape = Landscape {
                surrogate: &surrogate,
                sigma: self.config.exploration.at(1.0),
                trust: 0.0,
                progress: share(step),
                ramp: 1.0,
            };
            self.improve(0, &landscape, probe);
        }
        true
    }

    /// Mean true loss of a policy on these rows, each of which is a call. None without rows.
    fn measure(
        &mut self,
        policy: &P,
        index: &[usize],
        probe: &mut Probe<'_>,
    ) -> Result<Option<f64>, StepError> {
        if index.is_empty() {
            return Ok(None);
        }
        let batch = self.problem.data().batch(index.to_vec());
        let measured = probe.ask(&batch, policy.forward(batch.x.clone()))?;
        self.replay.push(&batch, &measured);
        let losses = measured.outcomes.iter().zip(batch.target_rows.iter());
        let losses = losses.map(|(outcome, target)| match outcome {
            Ok(y) => probe.objective().value(y, target),
            Err(_) => self.baseline,
        });
        Ok(Some(losses.sum::<f64>() / index.len() as f64))
    }

    /// Mean losses that the surrogate predicts for a policy on all training rows, and its own error on all
    /// calls.
    fn predicted(&self, policy: &P, probe: &Probe<'_>) -> [f64; 2] {
        let surrogate = self.surrogate.valid();
        let data = self.problem.data();
        let y_hat = surrogate.forward(data.x().clone(), policy.forward(data.x().clone()));
        let fit = self.problem.objective().rows(y_hat, data.target().clone());
        let rows = self.replay.all();
        let y_hat = surrogate.forward(rows.x, rows.u);
        let mismatch = self.error.rows(y_hat, rows.y) * rows.answered.clone();
        let answered = rows.answered.sum().clamp_min(1.0);
        probe.read([fit.mean(), mismatch.sum() / answered])
    }
}

fn random_rows(probe: &mut Probe<'_>, n: usize, among: usize) -> Vec<usize> {
    let rng = probe.rng();
    (0..n).map(|_| rng.random_range(0..among)).collect()
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
        if self.config.closing == 0.0 {
            return 0;
        }
        // The same number before and after.
        let each = (0.5 * self.config.guard * budget as f64) as u64;
        2 * each.min(GUARD / 2)
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        if self.population.members.is_empty() {
            self.enlist(student, probe);
        }
        let report = self.explore(batch, probe)?;
        self.steps_due += self.config.steps_per_call(probe.budget()) * batch.len() as f64;
        self.learn(probe);
        self.population.rank(probe.progress());
        let leader = &self.population.members[0];
        student.replace(leader.student.snapshot());
        Ok(report
            .with("own", leader.loss())
            .with("policies", self.population.members.len() as f64))
    }

    fn finish(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        if self.config.closing == 0.0 || self.population.members.is_empty() {
            return Ok(None);
        }
        let before = student.snapshot();
        let rows = self.problem.data().host().len();
        let each = (probe.left() / 2).min(GUARD / 2) as usize;
        let index = random_rows(probe, each, rows);
        let loss_before = self.measure(&before, &index, probe)?;
        if !self.converge(probe) {
            return Ok(None);
        }
        let after = self.population.members[0].student.snapshot();
        let loss_after = self.measure(&after, &index, probe)?;
        // Without calls to compare by, the converged policy is the better bet.
        let keep = loss_before.is_some_and(|before| loss_after.is_some_and(|after| after > before));
        let (policy, loss) = if keep {
            (before, loss_before)
        } else {
            (after, loss_after)
        };
        let [fit, mismatch] = self.predicted(&policy, probe);
        student.replace(policy);
        let report = RoundReport::new(loss)
            .with("fit", fit)
            .with("mismatch", mismatch);
        Ok(Some(match (loss_before, loss_after) {
            (Some(before), Some(after)) => report
                .with("before_closing", before)
                .with("after_closing", after),
            _ => report,
        }))
    }

    fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        Some(Box::new(self.surrogate()))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put_module("anchored.surrogate", &self.surrogate)?;
        snapshot.put_optimizer("anchored.optimizer", &self.optimizer)?;
        snapshot.put(
            "anchored",
            &(self.steps_due, self.learning_rate, &self.noise),
        )?;
        self.population.save("anchored.population", snapshot)?;
        self.replay.save("anchored.replay", snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.surrogate = snapshot.get_module("anchored.surrogate", self.surrogate.clone())?;
        let fresh = self.config.surrogate_optimizer(self.problem.dims());
        self.optimizer = snapshot.get_optimizer("anchored.optimizer", fresh)?;
        (self.steps_due, self.learning_rate, self.noise) = snapshot.get("anchored")?;
        let name = "anchored.population";
        self.population = Population::load(name, snapshot, |id| self.new_student(id))?;
        let device = self.problem.device();
        self.replay = Replay::load("anchored.replay", snapshot, device)?;
        Ok(())
    }
}
