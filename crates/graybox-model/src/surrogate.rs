//! Networks that stand in for the black box.

use burn::module::ModuleDisplay;
use burn::prelude::*;
use rand::Rng;
use serde::{Deserialize, Serialize};

#[cfg(feature = "flex")]
use crate::fused;
use crate::{Affine, Mlp, MlpConfig, ModelError, Scaler};

/// A differentiable model `F̃_φ(x, u) ≈ F(x, u)`, in the user's units.
pub trait Surrogate: Module + ModuleDisplay + 'static {
    /// `[batch, d_x]`, `[batch, d_u]` → `[batch, d_y]`
    fn forward(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2>;
}

/// What an [`MlpSurrogate`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpSurrogateConfig {
    /// Hidden layers.
    pub body: MlpConfig,
    /// Units of the contexts.
    pub context: Affine,
    /// Units of the actions.
    pub action: Affine,
    /// Units of the outcomes.
    pub outcome: Affine,
}

impl MlpSurrogateConfig {
    /// Whether the surrogate can be built.
    ///
    /// # Errors
    /// If a hidden layer has no units.
    pub fn check(&self) -> Result<(), ModelError> {
        self.body.check()
    }

    /// A surrogate with weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> MlpSurrogate {
        let d_in = self.context.width() + self.action.width();
        MlpSurrogate {
            context: self.context.init(device),
            action: self.action.init(device),
            body: self.body.init(d_in, self.outcome.width(), rng, device),
            outcome: self.outcome.init(device),
        }
    }
}

/// A fully connected surrogate of the context and the action side by side.
#[derive(Module, Debug)]
pub struct MlpSurrogate {
    /// Units of the contexts.
    pub context: Scaler,
    /// Units of the actions.
    pub action: Scaler,
    /// The network itself.
    pub body: Mlp,
    /// Units of the outcomes.
    pub outcome: Scaler,
}

impl Surrogate for MlpSurrogate {
    fn forward(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(y) = self.fused(&x, &u) {
            return y;
        }
        self.composed(x, u)
    }
}

impl MlpSurrogate {
    #[cfg(feature = "flex")]
    pub(crate) fn fused(&self, x: &Tensor<2>, u: &Tensor<2>) -> Option<Tensor<2>> {
        let inputs = [
            fused::Input::new(x, Some(&self.context)),
            fused::Input::new(u, Some(&self.action)),
        ];
        let output = fused::Output {
            squash: false,
            units: &self.outcome,
        };
        fused::forward(&inputs, &self.body, Some(output))
    }

    /// The same in burn's own operations, on any device.
    pub(crate) fn composed(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        let input = Tensor::cat(vec![self.context.forward(x), self.action.forward(u)], 1);
        self.outcome.inverse(self.body.composed(input))
    }
}

/// Several surrogates that predict their mean. Where they disagree, none has seen enough.
#[derive(Module, Debug)]
pub struct Ensemble<S> {
    /// Its members, at least one.
    pub members: Vec<S>,
}

impl<S: Surrogate> Surrogate for Ensemble<S> {
    fn forward(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        let n = self.members.len() as f64;
        let sum = self
            .members
            .iter()
            .map(|member| member.forward(x.clone(), u.clone()))
            .reduce(|sum, y| sum + y)
            .expect("an ensemble has at least one member");
        sum / n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn config() -> MlpSurrogateConfig {
        MlpSurrogateConfig {
            body: MlpConfig::new([4]),
            context: Affine::identity(2),
            action: Affine::new(vec![0.0], vec![100.0]).unwrap(),
            outcome: Affine::new(vec![5.0, 0.0], vec![1.0, 1e3]).unwrap(),
        }
    }

    #[test]
    fn a_change_of_units_changes_nothing_else() {
        let device = Device::flex();
        let rng = || StdRng::seed_from_u64(3);
        let user = config().init(&mut rng(), &device);
        let plain = MlpSurrogateConfig {
            action: Affine::identity(1),
            outcome: Affine::identity(2),
            ..config()
        }
        .init(&mut rng(), &device);

        let x = Tensor::<2>::from_data([[0.1, 0.2]], &device);
        let y = user.forward(x.clone(), Tensor::from_data([[50.0]], &device));
        let z = plain.forward(x, Tensor::from_data([[0.5]], &device));
        let expected =
            z * Tensor::from_data([[1.0, 1e3]], &device) + Tensor::from_data([[5.0, 0.0]], &device);
        y.to_data().assert_eq(&expected.to_data(), true);
    }

    #[test]
    fn an_ensemble_predicts_the_mean_of_its_members() {
        let device = Device::flex();
        let rng = &mut StdRng::seed_from_u64(3);
        let members = vec![config().init(rng, &device), config().init(rng, &device)];
        let x = Tensor::<2>::from_data([[0.1, 0.2]], &device);
        let u = Tensor::<2>::from_data([[50.0]], &device);
        let mean = (members[0].forward(x.clone(), u.clone())
            + members[1].forward(x.clone(), u.clone()))
            / 2.0;
        let y = Ensemble { members }.forward(x, u);
        y.to_data().assert_eq(&mean.to_data(), true);
    }
}
