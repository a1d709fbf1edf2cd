//! First a surrogate, then the policy through it.
//!
//! Approximates  ∇_θ E[ℓ(F(x, u), Y)],  u = π_θ(x)
//! With          the gradient of ℓ(F̃(x, u), Y) through a surrogate fitted to earlier calls and then frozen
//! Requires      calls that cover the actions the policy will choose
//! Oracle rows   n per step that collects; none while the networks are trained
//! Failed rows   are not learned from
//! Source        Jordan & Rumelhart, Cognitive Science 16 (1992), the distal teacher; iterated: Ren, Padilla & Malof, NeurIPS 2020
//!
//! A share of the calls is set aside. The fit ends when the error there stops falling, and that error, in
//! units of the loss, is reported as `validation`: a policy cannot be trained to a smaller loss than the
//! surrogate knows of. With more than one cycle the second and later ones collect around the policy as it
//! has become.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use graybox_model::{HeadConfig, MlpConfig, MlpSurrogate, Policy, Surrogate, Term};
use graybox_oracle::{Answered, Rows};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use sobol_burley::sample as sobol;

use super::{Algorithm, Facts, TrainedSurrogate, population, rows};
use crate::error::{at_least_one, positive};
use crate::snapshot::Snapshot;
use crate::student::adam;
use crate::{
    Batch, ConfigError, DeviceData, LearningRate, Probe, Problem, Replay, RoundReport,
    SnapshotError, StepError, Student, seed,
};

pub(super) const NAME: &str = "two_stage";

/// Which actions are asked in the first cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Evenly over the bounds, by a scrambled Sobol sequence (Burley, JCGT 9, 2020).
    #[default]
    Sobol,
    /// Uniformly over the bounds, each apart.
    Uniform,
    /// Normally around the policy as it is before training.
    AroundPolicy,
}

/// Settings of [`TwoStage`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwoStageConfig {
    /// Which actions are asked in the first cycle.
    pub sampling: Sampling,
    /// Where actions have no bounds, how far from their centre they are sampled, in units of their scale.
    pub reach: f64,
    /// Standard deviation of actions sampled around a policy, in units of their scale.
    pub spread: f64,
    /// Times that calls are collected, the surrogate is fitted and the policy trained.
    pub cycles: usize,
    /// Hidden layers of the surrogate.
    pub surrogate: MlpConfig,
    /// The surrogate's learning rate, over one fit.
    pub learning_rate: LearningRate,
    /// Most updates of one fit.
    pub fit_updates: usize,
    /// Share of the calls set aside to tell when a fit should end, less than 1.
    pub validation: f64,
    /// Updates of the policy through one frozen surrogate.
    pub policy_updates: usize,
    /// Rows of an update of either network.
    pub rows: usize,
}

impl Default for TwoStageConfig {
    fn default() -> Self {
        Self {
            sampling: Sampling::Sobol,
            reach: 3.0,
            spread: 0.2,
            cycles: 1,
            surrogate: MlpConfig::default(),
            learning_rate: LearningRate {
                initial: 3e-3,
                floor: 0.01,
            },
            fit_updates: 10_000,
            validation: 0.1,
            policy_updates: 6_000,
            rows: 64,
        }
    }
}

impl TwoStageConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("two_stage.reach", self.reach)?;
        positive("two_stage.spread", self.spread)?;
        at_least_one("two_stage.cycles", self.cycles)?;
        at_least_one("two_stage.fit_updates", self.fit_updates)?;
        at_least_one("two_stage.policy_updates", self.policy_updates)?;
        at_least_one("two_stage.rows", self.rows)?;
        self.learning_rate.check("two_stage.learning_rate")?;
        if !(self.validation > 0.0 && self.validation < 1.0) {
            let expected = "a share between 0 and 1";
            return Err(ConfigError::new(
                "two_stage.validation",
                self.validation,
                expected,
            ));
        }
        if let Err(error) = self.surrogate.check() {
            let expected = "hidden layers with units";
            return Err(ConfigError::new("two_stage.surrogate", error, expected));
        }
        Ok(())
    }
}

/// Trains a policy through a surrogate that was fitted before.
pub struct TwoStage {
    config: TwoStageConfig,
    actions: HeadConfig,
    surrogate: MlpSurrogate,
    replay: Replay,
    data: DeviceData,
    /// Cycles that are over.
    done: usize,
    /// Scrambles the Sobol sequence.
    scramble: u32,
}

/// How a fit went.
struct Fit {
    /// Mean loss of prediction against outcome on the rows set aside.
    validation: f64,
    updates: usize,
}

/// A fit looks at the rows set aside this often.
const CHECKS: usize = 50;
/// Checks without a better one after which a fit ends.
const PATIENCE: usize = 10;

impl TwoStage {
    /// Takes checked settings; the surrogate's weights follow from the problem's seed.
    pub fn new(config: TwoStageConfig, problem: &Problem) -> Self {
        let mut rng = seed::stream(problem.seed(), "two-stage surrogate", 0);
        let surrogate = problem.surrogate(&config.surrogate);
        let dims = problem.dims();
        Self {
            config,
            actions: problem.actions().clone(),
            surrogate: surrogate.init(&mut rng, problem.device()).train(),
            replay: Replay::new(dims.x, dims.u, dims.y),
            data: problem.data().clone(),
            done: 0,
            scramble: rng.random(),
        }
    }

    /// The actions of one round that collects.
    fn sample<P: Policy>(
        &self,
        student: &Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<Rows, StepError> {
        let d_u = self.actions.width();
        let around = self.done > 0 || self.config.sampling == Sampling::AroundPolicy;
        if around {
            let mut u = probe.download_actions(batch, student.act(batch.x.clone()))?;
            let units = self.actions.affine();
            for (row_idx, mut rng) in rows::streams(batch, probe).into_iter().enumerate() {
                let z = population::normal(d_u, &mut rng);
                for ((u, z), scale) in u.row_mut(row_idx).iter_mut().zip(z).zip(units.scale()) {
                    *u += self.config.spread * scale * z;
                }
            }
            return Ok(self.within_bounds(u));
        }
        let mut u = Rows::with_capacity(d_u, batch.len());
        for (row_idx, mut rng) in rows::streams(batch, probe).into_iter().enumerate() {
            let shares: Vec<f64> = match self.config.sampling {
                Sampling::Sobol => self.sobol(self.replay.len() + row_idx),
                _ => (0..d_u).map(|_| rng.random()).collect(),
            };
            u.push(&self.spread_out(&shares))?;
        }
        Ok(u)
    }

    /// A point of the Sobol sequence in the unit cube.
    fn sobol(&self, index: usize) -> Vec<f64> {
        // The sequence has 2^16 points of 256 numbers; beyond either another one begins.
        let (point, again) = ((index & 0xffff) as u32, (index >> 16) as u32);
        (0..self.actions.width() as u32)
            .map(|k| {
                let seed = self.scramble.wrapping_add(again << 8).wrapping_add(k >> 8);
                f64::from(sobol(point, k & 0xff, seed))
            })
            .collect()
    }

    /// From the unit cube to actions.
    fn spread_out(&self, shares: &[f64]) -> Vec<f64> {
        if let HeadConfig::Simplex { .. } = self.actions {
            // Exponential gaps are uniform on the simplex.
            let gaps: Vec<f64> = shares.iter().map(|s| -(1.0 - s).ln() + 1e-12).collect();
            let total: f64 = gaps.iter().sum();
            return gaps.iter().map(|gap| gap / total).collect();
        }
        let reach = match self.actions.bounds() {
            Some(_) => 1.0,
            None => self.config.reach,
        };
        let units = self.actions.affine();
        let parts = shares.iter().zip(units.shift()).zip(units.scale());
        parts
            .map(|((share, center), scale)| center + (2.0 * share - 1.0) * reach * scale)
            .collect()
    }

    fn within_bounds(&self, mut u: Rows) -> Rows {
        if let Some((low, high)) = self.actions.bounds() {
            for row_idx in 0..u.len() {
                for ((u, low), high) in u.row_mut(row_idx).iter_mut().zip(&low).zip(&high) {
                    *u = u.clamp(*low, *high);
                }
            }
        }
        u
    }

    /// Fits the surrogate to the answered calls until those set aside say that it gets no better, and keeps
    /// the best. None with fewer than two answers.
    fn fit(&mut self, probe: &mut Probe<'_>) -> Option<Fit> {
        let mut index = self.replay.answered();
        if index.len() < 2 {
            return None;
        }
        index.shuffle(probe.rng());
        let aside = (self.config.validation * index.len() as f64).round() as usize;
        let aside = aside.clamp(1, index.len() - 1);
        let (aside, learned) = index.split_at(aside);
        let aside = self.replay.select(probe.upload_index(aside));
        let error = |surrogate: &MlpSurrogate, probe: &Probe<'_>| {
            let y_hat = surrogate.valid().forward(aside.x.clone(), aside.u.clone());
            let losses = probe.objective().rows(y_hat, aside.y.clone());
            probe.read([losses.mean()])[0]
        };

        let mut optimizer: ModuleOptimizer = adam();
        let mut best = (error(&self.surrogate, probe), self.surrogate.clone());
        let (mut updates, mut worse) = (0, 0);
        let every = self.config.fit_updates.div_ceil(CHECKS);
        while updates < self.config.fit_updates && worse < PATIENCE && !probe.stopped() {
            let draw = |_| learned[probe.rng().random_range(0..learned.len())];
            let drawn: Vec<usize> = (0..self.config.rows).map(draw).collect();
            let rows = self.replay.select(probe.upload_index(&drawn));
            let y_hat = self.surrogate.forward(rows.x, rows.u);
            let loss = probe.objective().total(y_hat, &[Term::mean(rows.y)]);
            let mut gradients = loss.backward();
            let gradients = GradientsParams::from_module(&mut gradients, &self.surrogate);
            let progress = updates as f64 / self.config.fit_updates as f64;
            let rate = self.config.learning_rate.at(progress);
            self.surrogate = optimizer.step(rate, self.surrogate.clone(), gradients);
            updates += 1;
            if updates % every == 0 {
                let error = error(&self.surrogate, probe);
                worse += 1;
                if error < best.0 {
                    best = (error, self.surrogate.clone());
                    worse = 0;
                }
            }
        }
        self.surrogate = best.1;
        Some(Fit {
            validation: best.0,
            updates,
        })
    }

    /// What follows on the calls of a cycle: the fit, then the policy.
    fn end_cycle<P: Policy>(
        &mut self,
        student: &mut Student<P>,
        report: RoundReport,
        probe: &mut Probe<'_>,
    ) -> RoundReport {
        self.done += 1;
        let Some(fit) = self.fit(probe) else {
            return report;
        };
        self.train_policy(student, probe);
        report
            .with("validation", fit.validation)
            .with("fit_updates", fit.updates as f64)
    }

    /// Trains the policy through the frozen surrogate on all contexts, whose outcomes nobody has to pay for.
    fn train_policy<P: Policy>(&self, student: &mut Student<P>, probe: &mut Probe<'_>) {
        let frozen = self.surrogate.valid();
        let updates = self.config.policy_updates;
        for update in 0..updates {
            if probe.stopped() {
                break;
            }
            let among = self.data.host().len();
            let draw = |_| probe.rng().random_range(0..among);
            let batch = self.data.batch((0..self.config.rows).map(draw).collect());
            let u = student.policy().forward(batch.x.clone());
            let y_hat = frozen.forward(batch.x, u);
            let loss = probe.objective().total(y_hat, &[Term::mean(batch.target)]);
            student.step(loss, update as f64 / updates as f64);
        }
    }
}

impl<P: Policy> Algorithm<P> for TwoStage {
    fn facts(&self) -> Facts {
        Facts {
            name: NAME,
            calls_per_row: 1,
            estimates: "the gradient of the loss under a surrogate fitted beforehand",
            bias: "the surrogate's error, largest where no actions were sampled",
        }
    }

    fn calls(&self, n: usize) -> u64 {
        n as u64
    }

    fn recall(&mut self, answered: &Answered) -> bool {
        self.replay.recall(answered, &self.data.x().device());
        true
    }

    fn round(
        &mut self,
        student: &mut Student<P>,
        batch: &Batch,
        probe: &mut Probe<'_>,
    ) -> Result<RoundReport, StepError> {
        let u = self.sample(student, batch, probe)?;
        let measured = probe.measure(batch, u)?;
        self.replay.push(batch, &measured);
        let report = RoundReport::new(measured.loss);
        let cycle = self.done + 1;
        let due = probe.progress() >= cycle as f64 / self.config.cycles as f64;
        Ok(if cycle < self.config.cycles && due {
            self.end_cycle(student, report, probe)
        } else {
            report
        })
    }

    /// The last cycle ends when the calls are spent.
    fn finish(
        &mut self,
        student: &mut Student<P>,
        probe: &mut Probe<'_>,
    ) -> Result<Option<RoundReport>, StepError> {
        Ok(Some(self.end_cycle(student, RoundReport::new(None), probe)))
    }

    fn surrogate(&self) -> Option<Box<dyn TrainedSurrogate>> {
        Some(Box::new(self.surrogate.valid()))
    }

    fn save(&self, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        snapshot.put("two_stage.done", &self.done)?;
        snapshot.put_module("two_stage.surrogate", &self.surrogate)?;
        self.replay.save("two_stage.replay", snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.done = snapshot.get("two_stage.done")?;
        self.surrogate = snapshot.get_module("two_stage.surrogate", self.surrogate.clone())?;
        let device = self.data.x().device();
        self.replay = Replay::load("two_stage.replay", snapshot, &device)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Harness;
    use crate::{Dataset, bridge};
    use graybox_model::MlpPolicy;
    use graybox_oracle::{Dims, FnOracle, Outcome, RowError};

    fn problem(actions: HeadConfig) -> Problem {
        let x: Vec<f64> = (0..32).map(|i| f64::from(i) / 16.0 - 1.0).collect();
        let x = Rows::from_vec(1, x).unwrap();
        Problem::new(
            Dataset::new(x.clone(), x).unwrap(),
            actions,
            &Device::flex(),
        )
        .unwrap()
    }

    fn bounded() -> HeadConfig {
        HeadConfig::bounded(vec![-1.0, 10.0], vec![1.0, 30.0]).unwrap()
    }

    fn student(problem: &Problem) -> Student<MlpPolicy> {
        let policy = problem.policy(&MlpConfig::new([8]));
        let policy = policy.init(&mut seed::stream(1, "test", 0), &Device::flex());
        Student::new(policy, LearningRate::default())
    }

    fn outcome(x: &[f64], u: &[f64]) -> Outcome {
        if x[0] > 0.8 {
            return Err(RowError::Invalid);
        }
        Ok(vec![u[0] + 0.05 * u[1] - 1.0 + 0.3 * x[0]])
    }

    fn harness(problem: &Problem) -> Harness {
        let oracle = FnOracle::new(Dims::new(1, 2, 1), outcome);
        Harness::new(problem.clone(), oracle, 1)
    }

    #[test]
    fn samples_fill_the_bounds_and_sobol_points_do_so_evenly() {
        let problem = problem(bounded());
        // How far the shares of 16 boxes are from even, among 256 points.
        let unevenness = |sampling| {
            let config = TwoStageConfig {
                sampling,
                ..TwoStageConfig::default()
            };
            let mut method = TwoStage::new(config, &problem);
            let student = student(&problem);
            let mut harness = harness(&problem);
            let mut counts = [0i32; 16];
            for _ in 0..8 {
                let batch = problem.data().batch((0..32).collect());
                let mut probe = harness.probe();
                let u = method.sample(&student, &batch, &mut probe).unwrap();
                for u in u.iter() {
                    assert!((-1.0..=1.0).contains(&u[0]) && (10.0..=30.0).contains(&u[1]));
                    let cell = |share: f64| ((4.0 * share) as usize).min(3);
                    counts[4 * cell(0.5 * (u[0] + 1.0)) + cell((u[1] - 10.0) / 20.0)] += 1;
                }
                let measured = probe.measure(&batch, u).unwrap();
                method.replay.push(&batch, &measured);
            }
            counts.iter().map(|count| (count - 16).abs()).max().unwrap()
        };
        assert_eq!(unevenness(Sampling::Sobol), 0);
        assert!(unevenness(Sampling::Uniform) > 3);
    }

    /// Collects `n` calls without training.
    fn collected(problem: &Problem, n: usize) -> (TwoStage, Harness) {
        let mut method = TwoStage::new(TwoStageConfig::default(), problem);
        let mut student = student(problem);
        let mut harness = harness(problem);
        for start in (0..n).step_by(16) {
            let index = (start..start + 16).map(|i| i % 32).collect();
            let batch = problem.data().batch(index);
            let mut probe = harness.probe();
            method.round(&mut student, &batch, &mut probe).unwrap();
        }
        (method, harness)
    }

    #[test]
    fn the_fit_leaves_failed_rows_out_and_reports_its_error() {
        let problem = problem(bounded());
        let (mut method, mut harness) = collected(&problem, 512);
        method.config.fit_updates = 2_000;
        let fit = method.fit(&mut harness.probe()).unwrap();
        // Targets have a standard deviation of 0.58, so the loss's unit is 3 times the squared error.
        assert!(fit.validation < 1e-2, "{:e}", fit.validation);
        let x = Tensor::<2>::from_data([[0.25]], &Device::flex());
        let u = Tensor::<2>::from_data([[0.5, 20.0]], &Device::flex());
        let y = bridge::download(method.surrogate.valid().forward(x, u));
        assert!((y.row(0)[0] - 0.575).abs() < 0.1, "{}", y.row(0)[0]);
    }

    #[test]
    fn a_fit_to_noise_ends_early_and_keeps_its_best() {
        let problem = problem(bounded());
        let noise = std::sync::Mutex::new(seed::stream(4, "noise", 0));
        let oracle = FnOracle::new(Dims::new(1, 2, 1), move |_, _| {
            population::normal(1, &mut *noise.lock().unwrap())
        });
        let mut harness = Harness::new(problem.clone(), oracle, 1);
        let mut method = TwoStage::new(TwoStageConfig::default(), &problem);
        let mut student = student(&problem);
        for _ in 0..4 {
            let batch = problem.data().batch((0..32).collect());
            let mut probe = harness.probe();
            method.round(&mut student, &batch, &mut probe).unwrap();
        }
        let fit = method.fit(&mut harness.probe()).unwrap();
        assert!(fit.updates < method.config.fit_updates, "{}", fit.updates);
    }

    #[test]
    fn the_surrogate_is_frozen_while_the_policy_learns_through_it() {
        let problem = problem(bounded());
        let (mut method, mut harness) = collected(&problem, 64);
        method.config.policy_updates = 5;
        let layout = graybox_model::FlatLayout::of(&method.surrogate);
        let weights = |method: &TwoStage| layout.flatten(&method.surrogate).into_data();
        let before = weights(&method);
        let mut student = student(&problem);
        let policy = student.act(problem.data().x().clone());
        method.train_policy(&mut student, &mut harness.probe());
        weights(&method).assert_eq(&before, true);
        let moved = student.act(problem.data().x().clone()) - policy;
        assert!(moved.abs().max().into_scalar::<f32>() > 1e-4);
    }

    #[test]
    fn settings_outside_their_meaning_are_refused_by_name() {
        let config = TwoStageConfig {
            validation: 1.0,
            ..TwoStageConfig::default()
        };
        assert_eq!(config.check().unwrap_err().field, "two_stage.validation");
        let config = TwoStageConfig {
            cycles: 0,
            ..TwoStageConfig::default()
        };
        assert_eq!(config.check().unwrap_err().field, "two_stage.cycles");
    }
}
