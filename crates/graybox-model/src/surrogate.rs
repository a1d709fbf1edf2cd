//! Networks that stand in for the black box.

use burn::module::ModuleDisplay;
use burn::optim::GradientsParams;
use burn::prelude::*;
use rand::Rng;
use serde::{Deserialize, Serialize};

#[cfg(feature = "flex")]
use crate::fused;
use crate::link::{action_through_graph, both_through_graph, parameters_through_graph};
use crate::{Affine, Mlp, MlpConfig, ModelError, Scaler, ToAction, ToBoth, ToParameters};

/// A differentiable model `F̃_φ(x, u) ≈ F(x, u)`, in the user's units.
pub trait Surrogate: Module + ModuleDisplay + 'static {
    /// `[batch, d_x]`, `[batch, d_u]` → `[batch, d_y]`
    fn forward(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2>;

    /// [`forward`](Self::forward) as a link of a chain: the predictions, without gradients, and what leads from
    /// a gradient with respect to them, `[batch, d_y]`, to those of the parameters. It is meant to be called:
    /// where it goes through a graph, burn keeps that until then.
    ///
    /// # Shapes
    /// `[batch, d_x]`, `[batch, d_u]` → `[batch, d_y]`; the link takes `[batch, d_y]`
    fn linked(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToParameters) {
        parameters_through_graph(self.clone(), self.forward(x, u))
    }

    /// The same with a link to parameters and actions at once, where both networks learn from one loss.
    ///
    /// # Shapes
    /// As [`linked`](Self::linked); the link gives `[batch, d_u]`.
    fn linked_to_both(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToBoth) {
        let leaf = Tensor::from_inner(u).require_grad();
        let y = self.forward(x, leaf.clone());
        both_through_graph(self.clone(), leaf, y)
    }

    /// The same with a link to the actions, for a module without gradients.
    ///
    /// # Shapes
    /// As [`linked_to_both`](Self::linked_to_both).
    fn linked_to_action(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToAction) {
        let leaf = Tensor::from_inner(u).require_grad();
        let y = self.forward(x, leaf.clone());
        action_through_graph(leaf, y)
    }

    /// The same surrogate, looking past these columns of the context: outcomes are known not to depend on them.
    /// One that cannot look past them stays as it is.
    #[must_use]
    fn blind_to(self, columns: &[usize]) -> Self {
        let _ = columns;
        self
    }
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

    #[cfg(feature = "flex")]
    fn linked(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToParameters) {
        match self.link(&x, &u) {
            Some((y, link)) => (y, link.into_parameters()),
            None => parameters_through_graph(self.clone(), self.composed(x, u)),
        }
    }

    #[cfg(feature = "flex")]
    fn linked_to_both(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToBoth) {
        if let Some((y, link)) = self.link(&x, &u) {
            return (y, link.into_both(1));
        }
        let leaf = Tensor::from_inner(u).require_grad();
        let y = self.composed(x, leaf.clone());
        both_through_graph(self.clone(), leaf, y)
    }

    #[cfg(feature = "flex")]
    fn linked_to_action(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToAction) {
        if let Some((y, link)) = self.link(&x, &u) {
            return (y, link.into_input(1));
        }
        let leaf = Tensor::from_inner(u).require_grad();
        let y = self.composed(x, leaf.clone());
        action_through_graph(leaf, y)
    }

    fn blind_to(self, columns: &[usize]) -> Self {
        Self {
            context: self.context.blind_to(columns),
            ..self
        }
    }
}

impl MlpSurrogate {
    #[cfg(feature = "flex")]
    pub(crate) fn fused(&self, x: &Tensor<2>, u: &Tensor<2>) -> Option<Tensor<2>> {
        fused::forward(&self.inputs(x, u), &self.body, Some(self.output()))
    }

    #[cfg(feature = "flex")]
    fn link(&self, x: &Tensor<2>, u: &Tensor<2>) -> Option<(Tensor<2>, fused::Link)> {
        fused::linked(&self.inputs(x, u), &self.body, Some(self.output()))
    }

    #[cfg(feature = "flex")]
    fn inputs<'a>(&'a self, x: &'a Tensor<2>, u: &'a Tensor<2>) -> [fused::Input<'a>; 2] {
        [
            fused::Input::new(x, Some(&self.context)),
            fused::Input::new(u, Some(&self.action)),
        ]
    }

    #[cfg(feature = "flex")]
    fn output(&self) -> fused::Output<'_> {
        fused::Output {
            squash: false,
            units: &self.outcome,
        }
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
        let each = self.members.iter();
        mean(each.map(|member| member.forward(x.clone(), u.clone())))
    }

    fn linked(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToParameters) {
        let each = self.members.iter();
        let (y, links): (Vec<_>, Vec<_>) = each
            .map(|member| member.linked(x.clone(), u.clone()))
            .unzip();
        let back = move |gradient: Tensor<2>, all: &mut GradientsParams| {
            let share = share(gradient, links.len());
            for link in links {
                link(share.clone(), all);
            }
        };
        (mean(y.into_iter()), Box::new(back))
    }

    fn linked_to_both(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToBoth) {
        let each = self.members.iter();
        let (y, links): (Vec<_>, Vec<_>) = each
            .map(|member| member.linked_to_both(x.clone(), u.clone()))
            .unzip();
        let back = move |gradient: Tensor<2>, all: &mut GradientsParams| {
            let share = share(gradient, links.len());
            let parts = links.into_iter().map(|link| link(share.clone(), all));
            parts.reduce(|sum, part| sum + part).expect(NOT_EMPTY)
        };
        (mean(y.into_iter()), Box::new(back))
    }

    fn linked_to_action(&self, x: Tensor<2>, u: Tensor<2>) -> (Tensor<2>, ToAction) {
        let each = self.members.iter();
        let (y, links): (Vec<_>, Vec<_>) = each
            .map(|member| member.linked_to_action(x.clone(), u.clone()))
            .unzip();
        let back = move |gradient: Tensor<2>| {
            let share = share(gradient, links.len());
            let parts = links.into_iter().map(|link| link(share.clone()));
            parts.reduce(|sum, part| sum + part).expect(NOT_EMPTY)
        };
        (mean(y.into_iter()), Box::new(back))
    }

    fn blind_to(self, columns: &[usize]) -> Self {
        let members = self.members.into_iter();
        Self {
            members: members.map(|member| member.blind_to(columns)).collect(),
        }
    }
}

const NOT_EMPTY: &str = "an ensemble has at least one member";

fn mean(predictions: impl ExactSizeIterator<Item = Tensor<2>>) -> Tensor<2> {
    let n = predictions.len();
    share(predictions.reduce(|sum, y| sum + y).expect(NOT_EMPTY), n)
}

/// One of `n` equal parts.
fn share(whole: Tensor<2>, n: usize) -> Tensor<2> {
    if n == 1 { whole } else { whole / n as f64 }
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
    fn what_a_surrogate_is_blind_to_changes_nothing() {
        let device = Device::flex();
        let one = config().init(&mut StdRng::seed_from_u64(3), &device);
        let both = Ensemble {
            members: vec![one.clone(), one],
        };
        let blind = both.blind_to(&[0]);
        let y = |x: [f32; 2]| {
            let x = Tensor::<2>::from_data([x], &device);
            let y = blind.forward(x, Tensor::from_data([[50.0]], &device));
            y.into_data()
        };
        y([0.1, 0.2]).assert_eq(&y([-3.0, 0.2]), true);
        assert_ne!(y([0.1, 0.2]), y([0.1, 0.3]));
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
