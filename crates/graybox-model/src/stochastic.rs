//! Heads that draw actions, for estimators that need the density of what was drawn.

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{Affine, Mlp, MlpConfig, ModelError, Policy, Scaler};

/// What a [`GaussianHead`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianHeadConfig {
    /// Scale of each action, in which both of the following are measured.
    pub scale: Vec<f64>,
    /// Standard deviation at the start, more than the floor.
    pub sigma: f64,
    /// It never falls to this.
    pub floor: f64,
}

impl GaussianHeadConfig {
    /// The head on a device.
    pub fn init(&self, device: &Device) -> GaussianHead {
        let row = |values: Vec<f32>| TensorData::new(values, [1, self.scale.len()]);
        let excess = (self.sigma - self.floor).max(f64::MIN_POSITIVE).ln() as f32;
        let scale = self.scale.iter().map(|s| *s as f32).collect();
        GaussianHead {
            log_excess: Param::from_data(row(vec![excess; self.scale.len()]), device),
            scale: Param::from_data(row(scale), device).set_require_grad(false),
            floor: self.floor,
        }
    }
}

/// Draws actions from `N(π(x), σ²)`: the mean is a policy's and depends on the context, σ is learned, one
/// for every action.
///
/// `σ = scale · (floor + exp ρ)`, with ρ the parameter, so that σ can come back from near its floor.
#[derive(Module, Debug)]
pub struct GaussianHead {
    /// ρ, `[1, d_u]`.
    pub log_excess: Param<Tensor<2>>,
    /// `[1, d_u]`
    pub scale: Param<Tensor<2>>,
    #[module(skip)]
    floor: f64,
}

impl GaussianHead {
    /// σ of every action in the user's units, `[1, d_u]`.
    pub fn sigma(&self) -> Tensor<2> {
        (self.log_excess.val().exp() + self.floor) * self.scale.val()
    }

    /// `log N(u; mean, σ²)` of every row, differentiable in the mean and in σ.
    ///
    /// # Shapes
    /// `[batch, d_u]`, `[batch, d_u]` → `[batch]`
    pub fn log_prob(&self, mean: Tensor<2>, u: Tensor<2>) -> Tensor<1> {
        let d_u = u.dims()[1] as f64;
        let sigma = self.sigma();
        let z = (u - mean) / sigma.clone();
        let norm = (sigma.log() * 2.0).sum() + d_u * (2.0 * std::f64::consts::PI).ln();
        ((z.clone() * z).sum_dim(1).squeeze_dim::<1>(1) + norm) * -0.5
    }
}

/// A policy that chooses one of a number of fixed actions.
pub trait DiscretePolicy: Policy {
    /// Log-probabilities of the choices, up to a constant per row.
    ///
    /// # Shapes
    /// `[batch, d_x]` → `[batch, choices]`
    fn logits(&self, x: Tensor<2>) -> Tensor<2>;

    /// The actions there are, `[choices, d_u]`.
    fn choices(&self) -> Tensor<2>;
}

/// What a [`CategoricalPolicy`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoricalPolicyConfig {
    /// Hidden layers.
    pub body: MlpConfig,
    /// Units of the contexts.
    pub context: Affine,
    /// The actions there are, at least one, all of the same width.
    pub choices: Vec<Vec<f64>>,
}

impl CategoricalPolicyConfig {
    /// Whether the policy can be built.
    ///
    /// # Errors
    /// If a hidden layer has no units, there is nothing to choose, or choices differ in width.
    pub fn check(&self) -> Result<(), ModelError> {
        self.body.check()?;
        let first = self.choices.first().map_or(0, Vec::len);
        match self
            .choices
            .iter()
            .find(|choice| choice.len() != first || first == 0)
        {
            Some(other) => Err(ModelError::Lengths {
                what: "choices",
                first,
                second: other.len(),
            }),
            None if self.choices.is_empty() => Err(ModelError::NoChoices),
            None => Ok(()),
        }
    }

    /// A policy with weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> CategoricalPolicy {
        let width = self.choices.first().map_or(0, Vec::len);
        let choices: Vec<f32> = self.choices.iter().flatten().map(|u| *u as f32).collect();
        let choices = TensorData::new(choices, [self.choices.len(), width]);
        CategoricalPolicy {
            context: self.context.init(device),
            body: (self.body).init(self.context.width(), self.choices.len(), rng, device),
            choices: Param::from_data(choices, device).set_require_grad(false),
        }
    }
}

/// A fully connected policy over fixed actions. Acting, it takes the most probable one.
#[derive(Module, Debug)]
pub struct CategoricalPolicy {
    /// Units of the contexts.
    pub context: Scaler,
    /// From contexts to logits.
    pub body: Mlp,
    /// `[choices, d_u]`
    pub choices: Param<Tensor<2>>,
}

impl Policy for CategoricalPolicy {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let best = self.logits(x).argmax(1).squeeze_dim::<1>(1);
        self.choices.val().select(0, best)
    }
}

impl DiscretePolicy for CategoricalPolicy {
    fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        self.body.forward(self.context.forward(x))
    }

    fn choices(&self) -> Tensor<2> {
        self.choices.val()
    }
}

/// Log-probability of one choice per row, differentiable in the logits.
///
/// # Shapes
/// `[batch, choices]`, `[batch]` → `[batch]`
pub fn categorical_log_prob(logits: Tensor<2>, choice: Tensor<1, Int>) -> Tensor<1> {
    activation::log_softmax(logits, 1)
        .gather(1, choice.unsqueeze_dim(1))
        .squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().try_to_vec_as::<f64>().unwrap()
    }

    fn head() -> GaussianHead {
        let config = GaussianHeadConfig {
            scale: vec![1.0, 10.0],
            sigma: 0.3,
            floor: 0.1,
        };
        config.init(&Device::flex())
    }

    #[test]
    fn the_density_is_that_of_the_formula() {
        let head = head();
        let sigma = host(head.sigma());
        assert!((sigma[0] - 0.3).abs() < 1e-6 && (sigma[1] - 3.0).abs() < 1e-5);
        let device = Device::flex();
        let mean = Tensor::<2>::from_data([[0.5, -1.0]], &device);
        let u = Tensor::<2>::from_data([[0.8, 5.0]], &device);
        // z = (1, 2).
        let expected =
            -0.5 * (1.0 + 4.0) - (0.3f64.ln() + 3f64.ln()) - (2.0 * std::f64::consts::PI).ln();
        let found = host(head.log_prob(mean, u))[0];
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }

    #[test]
    fn sigma_stays_above_its_floor() {
        let mut head = head();
        head.log_excess = head.log_excess.map(|rho| rho - 100.0);
        let sigma = host(head.sigma());
        assert!((sigma[0] - 0.1).abs() < 1e-6 && (sigma[1] - 1.0).abs() < 1e-5);
    }

    fn categorical() -> CategoricalPolicyConfig {
        CategoricalPolicyConfig {
            body: MlpConfig::new([4]),
            context: Affine::identity(1),
            choices: vec![vec![-1.0, 0.0], vec![0.0, 5.0], vec![2.0, 2.0]],
        }
    }

    #[test]
    fn a_categorical_policy_takes_its_most_probable_choice() {
        let device = Device::flex();
        let policy = categorical().init(&mut StdRng::seed_from_u64(1), &device);
        let x = Tensor::<2>::from_data([[0.3], [-2.0]], &device);
        let logits = host(policy.logits(x.clone()));
        let u = host(policy.forward(x.clone()));
        for row_idx in 0..2 {
            let row = &logits[3 * row_idx..3 * row_idx + 3];
            let best = (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
            assert_eq!(u[2 * row_idx..2 * row_idx + 2], categorical().choices[best]);
        }
        // The probabilities of all choices sum to one.
        let total: f64 = (0..3)
            .map(|choice| {
                let choice = Tensor::<1, Int>::from_ints([choice, choice], &device);
                host(categorical_log_prob(policy.logits(x.clone()), choice))[0].exp()
            })
            .sum();
        assert!((total - 1.0).abs() < 1e-6);
    }

    #[test]
    fn choices_of_different_width_are_refused() {
        let mut config = categorical();
        config.choices[2] = vec![1.0];
        assert!(matches!(config.check(), Err(ModelError::Lengths { .. })));
        config.choices.clear();
        assert_eq!(config.check(), Err(ModelError::NoChoices));
    }
}
