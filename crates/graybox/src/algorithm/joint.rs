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
use burn::prelude::*;
use graybox_model::{Ensemble, MlpConfig, MlpSurrogate, Policy, Surrogate, Term, inner_product};
use graybox_oracle::Answered;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::skill::Skill;
use super::{Algorithm, Facts, TrainedSurrogate};
use crate::error::{at_least_one, not_negative, positive};
use crate::snapshot::Snapshot;
use crate::student::adam;
use crate::{
    Batch, ConfigError, DeviceData, LearningRate, Measured, Probe, Problem, Replay, RoundReport,
    SnapshotError, StepError, Student, seed,
};

pub(super) const NAME: &str = "joint";

/// Which network learns from which term of L*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// Both terms reach both networks, as the formula stands. It cannot learn, and says why.
    Literal,
    /// The fit trains the policy alone and the mismatch the surrogate alone. λ has no effect then beyond
    /// the surrogate's step size.
    #[default]
    Split,
    /// The fit trains both and the mismatch the surrogate alone: the surrogate leans towards Y by
    /// `1/(1 + λ)`, which shortens the policy's steps. The one form in which λ means something.
    Biased,
}

/// Settings of [`Joint`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JointConfig {
    /// Weight of the mismatch.
    pub lambda: f64,
    /// Which network learns from which term.
    pub routing: Routing,
    /// Standard deviation of the noise on the actions asked, in units of their scale; up to three times as
    /// much while the surrogate knows little.
    pub exploration: f64,
    /// Let the policy take no more than the share of its updates that the surrogate's `R²` on fresh rows
    /// allows. Without it, a surrogate that knows nothing yet can send the policy to the far end of its bounds,
    /// from where it does not return.
    pub patient: bool,
    /// Take `∂ℓ/∂y` at the oracle's outcome instead of the surrogate's. Not with the literal routing.
    pub value_correction: bool,
    /// Updates of both networks per round; all but the first on replayed rows. 1 with the literal routing.
    pub updates: usize,
    /// Rows of a replayed batch for the surrogate.
    pub replay_batch: usize,
    /// Hidden layers of the surrogate.
    pub surrogate: MlpConfig,
    /// Number of surrogates whose mean is the prediction.
    pub ensemble: usize,
    /// The surrogate's learning rate.
    pub learning_rate: LearningRate,
}

impl Default for JointConfig {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            routing: Routing::Split,
            exploration: 0.1,
            patient: true,
            value_correction: true,
            updates: 16,
            replay_batch: 64,
            surrogate: MlpConfig::default(),
            ensemble: 1,
            learning_rate: LearningRate {
                initial: 3e-3,
                floor: 0.03,
            },
        }
    }
}

impl JointConfig {
    /// The settings that suit a routing.
    pub fn new(routing: Routing) -> Self {
        let literal = Self {
            routing: Routing::Literal,
            exploration: 0.0,
            value_correction: false,
            updates: 1,
            ..Self::default()
        };
        match routing {
            Routing::Literal => literal,
            Routing::Split => Self::default(),
            Routing::Biased => Self {
                routing,
                value_correction: false,
                ..Self::default()
            },
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("joint.lambda", self.lambda)?;
        not_negative("joint.exploration", self.exploration)?;
        at_least_one("joint.updates", self.updates)?;
        at_least_one("joint.replay_batch", self.replay_batch)?;
        at_least_one("joint.ensemble", self.ensemble)?;
        self.learning_rate.check("joint.learning_rate")?;
        if let Err(error) = self.surrogate.check() {
            return Err(ConfigError::new(
                "joint.surrogate",
                error,
                "hidden layers with units",
            ));
        }
        if self.routing == Routing::Literal && self.updates > 1 {
            let expected = "1 with the literal routing: every update of it needs fresh outcomes";
            return Err(ConfigError::new("joint.updates", self.updates, expected));
        }
        if self.routing == Routing::Literal && self.value_correction {
            let expected = "false with the literal routing, which has no term for it";
            return Err(ConfigError::new("joint.value_correction", true, expected));
        }
        Ok(())
    }
}

/// Trains a policy and a surrogate on the same calls.
pub struct Joint<S> {
    config: JointConfig,
    surrogate: S,
    optimizer: ModuleOptimizer,
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
            optimizer: adam(),
            replay: Replay::new(dims.x, dims.u, dims.y),
            skill: Skill::default(),
            data: problem.data().clone(),
        }
    }

    /// The surrogate as it is now.
    pub fn surrogate(&self) -> S {
        self.surrogate.valid()
    }
}

/// Rows a surrogate learns from. The weights sum to one.
struct Evidence {
    x: Tensor<2>,
    u: Tensor<2>,
    y: Tensor<2>,
    target: Tensor<2>,
    weight: Tensor<1>,
}

impl<S: Surrogate> Joint<S> {
    /// One update of both networks on L* exactly as it is written.
    fn literal<P: Policy>(
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

    /// Updates of both networks with the two terms kept apart: the first on the rows just measured, the
    /// others on replayed rows and on contexts that cost nothing.
    fn routed<P: Policy>(
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

    fn step(&mut self, gradients: GradientsParams, progress: f64) {
        let rate = self.config.learning_rate.at(progress);
        let surrogate = self.surrogate.clone();
        self.surrogate = self.optimizer.step(rate, surrogate, gradients);
    }
}

fn random_rows(probe: &mut Probe<'_>, n: usize, among: usize) -> Vec<usize> {
    let rng = probe.rng();
    (0..n).map(|_| rng.random_range(0..among)).collect()
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
        self.optimizer = snapshot.get_optimizer("joint.optimizer", adam())?;
        self.skill = snapshot.get("joint.skill")?;
        let device = self.data.x().device();
        self.replay = Replay::load("joint.replay", snapshot, &device)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Harness;
    use crate::{Dataset, SquaredError, bridge};
    use burn::optim::SgdConfig;
    use graybox_model::{HeadConfig, MlpPolicy};
    use graybox_oracle::{Dims, FnOracle, Rows};

    /// One context, one action, one outcome, everything linear: u = w x + b, F̃ = a x + c u + d, F = 2u + x.
    /// One step of plain gradient descent, so that the parameters move by `−gradient`.
    struct Linear {
        problem: Problem,
        student: Student<MlpPolicy>,
        joint: Joint<Ensemble<MlpSurrogate>>,
        harness: Harness,
    }

    const X: [f64; 2] = [0.5, -1.5];
    const TARGET: [f64; 2] = [0.25, 1.0];

    fn linear(config: JointConfig) -> Linear {
        let x = Rows::from_vec(1, X.to_vec()).unwrap();
        let target = Rows::from_vec(1, TARGET.to_vec()).unwrap();
        let data = Dataset::new(x, target).unwrap();
        let problem = Problem::new(data, HeadConfig::identity(1), &Device::flex()).unwrap();
        let problem = problem
            .with_objective(SquaredError::scaled(&[1.0]).unwrap())
            .with_outcome(graybox_model::Affine::identity(1));
        let mut policy = problem.policy(&MlpConfig::new([]));
        policy.context = graybox_model::Affine::identity(1);
        let mut surrogate = problem.surrogate(&MlpConfig::new([]));
        surrogate.context = graybox_model::Affine::identity(1);
        let mut rng = seed::stream(5, "test", 0);
        let members = vec![surrogate.init(&mut rng, &Device::flex())];
        let mut joint = Joint::with_surrogate(config, &problem, Ensemble { members });
        joint.optimizer = SgdConfig::new().init();
        joint.config.learning_rate = LearningRate::constant(1.0);
        let policy = policy.init(&mut rng, &Device::flex());
        let sgd = SgdConfig::new().init();
        Linear {
            student: Student::with_optimizer(policy, sgd, LearningRate::constant(1.0)),
            harness: Harness::new(
                problem.clone(),
                FnOracle::new(Dims::new(1, 1, 1), |x, u| [2.0 * u[0] + x[0]]),
                1,
            ),
            problem,
            joint,
        }
    }

    impl Linear {
        /// [w, b] of the policy and [a, c, d] of the surrogate.
        fn parameters(&self) -> ([f64; 2], [f64; 3]) {
            let read = |layer: &burn::nn::Linear| -> Vec<f64> {
                let weight = bridge::download(layer.weight.val().without_autodiff());
                let bias = layer.bias.as_ref().unwrap().val().without_autodiff();
                let bias = bridge::download(bias.unsqueeze());
                [weight.as_slice(), bias.as_slice()].concat()
            };
            let policy = read(&self.student.policy().body.layers[0]);
            let surrogate = read(&self.joint.surrogate.members[0].body.layers[0]);
            (policy.try_into().unwrap(), surrogate.try_into().unwrap())
        }

        /// Gradients of one round, from how far the parameters moved.
        fn gradients(&mut self) -> ([f64; 2], [f64; 3]) {
            let (policy, surrogate) = self.parameters();
            let batch = self.problem.data().batch(vec![0, 1]);
            let mut probe = self.harness.probe();
            self.joint
                .round(&mut self.student, &batch, &mut probe)
                .unwrap();
            let (moved_policy, moved_surrogate) = self.parameters();
            (
                std::array::from_fn(|i| policy[i] - moved_policy[i]),
                std::array::from_fn(|i| surrogate[i] - moved_surrogate[i]),
            )
        }
    }

    /// The networks compute in `f32`, whose last digit is 6e-8 of a few units here.
    fn assert_close(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 3e-6 * (1.0 + expected.abs()),
                "{found} {expected}"
            );
        }
    }

    /// Sums over the two rows `Σ ½ · f(x, u, F̃, F, Y)`.
    fn mean<const N: usize>(
        ([w, b], [a, c, d]): ([f64; 2], [f64; 3]),
        f: impl Fn(f64, f64, f64, f64, f64) -> [f64; N],
    ) -> [f64; N] {
        let mut sum = [0.0; N];
        for (x, target) in X.into_iter().zip(TARGET) {
            let u = w * x + b;
            let part = f(x, u, a * x + c * u + d, 2.0 * u + x, target);
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum += 0.5 * part;
            }
        }
        sum
    }

    #[test]
    fn literal_gradients_are_those_of_the_formula_as_it_stands() {
        let lambda = 0.7;
        let mut linear = linear(JointConfig {
            lambda,
            ..JointConfig::new(Routing::Literal)
        });
        let at = linear.parameters();
        let c = at.1[1];
        let residual = |v: f64, f: f64, target: f64| 2.0 * ((v - target) + lambda * (v - f));
        let policy = mean(at, |x, _, v, f, target| {
            let through = residual(v, f, target) * c;
            [through * x, through]
        });
        let surrogate = mean(at, |x, u, v, f, target| {
            let residual = residual(v, f, target);
            [residual * x, residual * u, residual]
        });
        let found = linear.gradients();
        assert_close(&found.0, &policy);
        assert_close(&found.1, &surrogate);
    }

    #[test]
    fn split_trains_the_policy_on_the_fit_and_the_surrogate_on_the_mismatch() {
        let lambda = 0.7;
        let config = JointConfig {
            lambda,
            exploration: 0.0,
            patient: false,
            value_correction: false,
            updates: 1,
            ..JointConfig::new(Routing::Split)
        };
        let mut linear = linear(config);
        let at = linear.parameters();
        let surrogate = mean(at, |x, u, v, f, _| {
            let residual = 2.0 * lambda * (v - f);
            [residual * x, residual * u, residual]
        });
        // The policy follows the surrogate as it is after its own step.
        let after: [f64; 3] = std::array::from_fn(|i| at.1[i] - surrogate[i]);
        let policy = mean((at.0, after), |x, _, v, _, target| {
            let through = 2.0 * (v - target) * after[1];
            [through * x, through]
        });
        let found = linear.gradients();
        assert_close(&found.1, &surrogate);
        assert_close(&found.0, &policy);
    }

    #[test]
    fn value_correction_takes_the_residual_from_the_oracle() {
        let config = JointConfig {
            exploration: 0.0,
            patient: false,
            updates: 1,
            ..JointConfig::new(Routing::Split)
        };
        let mut linear = linear(config);
        let at = linear.parameters();
        let found = linear.gradients();
        let after: [f64; 3] = std::array::from_fn(|i| at.1[i] - found.1[i]);
        let policy = mean(at, |x, _, _, f, target| {
            let through = 2.0 * (f - target) * after[1];
            [through * x, through]
        });
        assert_close(&found.0, &policy);
    }

    #[test]
    fn biased_lets_the_surrogate_lean_towards_the_target() {
        let lambda = 0.7;
        let config = JointConfig {
            lambda,
            exploration: 0.0,
            patient: false,
            updates: 1,
            ..JointConfig::new(Routing::Biased)
        };
        let mut linear = linear(config);
        let at = linear.parameters();
        let surrogate = mean(at, |x, u, v, f, target| {
            let residual = 2.0 * ((v - target) + lambda * (v - f));
            [residual * x, residual * u, residual]
        });
        let after: [f64; 3] = std::array::from_fn(|i| at.1[i] - surrogate[i]);
        let policy = mean((at.0, after), |x, _, v, _, target| {
            let through = 2.0 * (v - target) * after[1];
            [through * x, through]
        });
        let found = linear.gradients();
        assert_close(&found.1, &surrogate);
        assert_close(&found.0, &policy);
    }

    #[test]
    fn settings_outside_their_meaning_are_refused_by_name() {
        let refused = |config: JointConfig| config.check().unwrap_err().field;
        for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let config = JointConfig {
                lambda,
                ..JointConfig::default()
            };
            assert_eq!(refused(config), "joint.lambda");
        }
        let config = JointConfig {
            exploration: -0.1,
            ..JointConfig::default()
        };
        assert_eq!(refused(config), "joint.exploration");
        let config = JointConfig {
            routing: Routing::Literal,
            ..JointConfig::default()
        };
        assert_eq!(refused(config), "joint.updates");
    }
}
