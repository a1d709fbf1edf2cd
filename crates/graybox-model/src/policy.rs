//! Networks that choose actions.

use burn::module::ModuleDisplay;
use burn::prelude::*;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::link::parameters_through_graph;
use crate::{
    Affine, FlatLayout, Head, HeadConfig, Mlp, MlpConfig, ModelError, Scaler, ToParameters,
};
#[cfg(feature = "flex")]
use crate::{Squash, fused};

/// A network `π_θ` from contexts to actions, both in the user's units.
///
/// Any burn module can be one; everything that trains policies asks for no more than this.
pub trait Policy: Module + ModuleDisplay + 'static {
    /// `[batch, d_x]` → `[batch, d_u]`
    fn forward(&self, x: Tensor<2>) -> Tensor<2>;

    /// [`forward`](Self::forward) as a link of a chain: the actions, without gradients, and what leads from a
    /// gradient with respect to them, `[batch, d_u]`, to those of the parameters. It is meant to be called:
    /// where it goes through a graph, burn keeps that until then.
    ///
    /// # Shapes
    /// `[batch, d_x]` → `[batch, d_u]`
    fn linked(&self, x: Tensor<2>) -> (Tensor<2>, ToParameters) {
        parameters_through_graph(self.clone(), self.forward(x))
    }

    /// The actions of many policies that differ from this one in their trained weights alone. One after
    /// the other, unless a policy knows better.
    ///
    /// # Shapes
    /// `weights`: `[members, layout.len()]`, `x`: `[batch, d_x]` → `[members, batch, d_u]`
    fn forward_population(
        &self,
        layout: &FlatLayout,
        weights: Tensor<2>,
        x: Tensor<2>,
    ) -> Tensor<3> {
        one_by_one(self, layout, weights, x)
    }
}

fn one_by_one<P: Policy>(
    policy: &P,
    layout: &FlatLayout,
    weights: Tensor<2>,
    x: Tensor<2>,
) -> Tensor<3> {
    let members = weights.dims()[0];
    let actions = (0..members).map(|member| {
        let own = weights.clone().narrow(0, member, 1).squeeze_dim(0);
        layout.unflatten(policy.clone(), own).forward(x.clone())
    });
    Tensor::stack(actions.collect(), 0)
}

/// What an [`MlpPolicy`] is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpPolicyConfig {
    /// Hidden layers.
    pub body: MlpConfig,
    /// Units of the contexts.
    pub context: Affine,
    /// Units and bounds of the actions.
    pub head: HeadConfig,
}

impl MlpPolicyConfig {
    /// Whether the policy can be built.
    ///
    /// # Errors
    /// If a hidden layer has no units or the head's bounds or scales make no sense.
    pub fn check(&self) -> Result<(), ModelError> {
        self.body.check()?;
        self.head.check()
    }

    /// A policy with weights drawn from `rng`.
    pub fn init(&self, rng: &mut impl Rng, device: &Device) -> MlpPolicy {
        let (d_x, d_u) = (self.context.width(), self.head.width());
        MlpPolicy {
            context: self.context.init(device),
            body: self.body.init(d_x, d_u, rng, device),
            head: self.head.init(device),
        }
    }
}

/// A fully connected policy.
#[derive(Module, Debug)]
pub struct MlpPolicy {
    /// Units of the contexts.
    pub context: Scaler,
    /// The network itself.
    pub body: Mlp,
    /// Units and bounds of the actions.
    pub head: Head,
}

impl Policy for MlpPolicy {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(u) = self.fused(&x) {
            return u;
        }
        self.composed(x)
    }

    #[cfg(feature = "flex")]
    fn linked(&self, x: Tensor<2>) -> (Tensor<2>, ToParameters) {
        let link = |squash| {
            let input = fused::Input::new(&x, Some(&self.context));
            let units = &self.head.units;
            fused::linked(&[input], &self.body, Some(fused::Output { squash, units }))
        };
        let linked = match self.head.squash() {
            Squash::None => link(false),
            Squash::Tanh => link(true),
            Squash::Softmax => None,
        };
        match linked {
            Some((u, link)) => (u, link.into_parameters()),
            None => parameters_through_graph(self.clone(), self.forward(x)),
        }
    }

    /// All members at once, by batched matrix products, where it is the whole body that is trained.
    fn forward_population(
        &self,
        layout: &FlatLayout,
        weights: Tensor<2>,
        x: Tensor<2>,
    ) -> Tensor<3> {
        if layout.len() != self.body.num_params() {
            return one_by_one(self, layout, weights, x);
        }
        let z = self
            .body
            .forward_population(weights, self.context.forward(x));
        let [members, batch, d_u] = z.dims();
        let u = self.head.forward(z.reshape([members * batch, d_u]));
        u.reshape([members, batch, d_u])
    }
}

impl MlpPolicy {
    #[cfg(feature = "flex")]
    pub(crate) fn fused(&self, x: &Tensor<2>) -> Option<Tensor<2>> {
        let input = fused::Input::new(x, Some(&self.context));
        let units = &self.head.units;
        let output = |squash| fused::Output { squash, units };
        match self.head.squash() {
            Squash::None => fused::forward(&[input], &self.body, Some(output(false))),
            Squash::Tanh => fused::forward(&[input], &self.body, Some(output(true))),
            Squash::Softmax => {
                let z = fused::forward(&[input], &self.body, None)?;
                Some(self.head.forward(z))
            }
        }
    }

    /// The same in burn's own operations, on any device.
    pub(crate) fn composed(&self, x: Tensor<2>) -> Tensor<2> {
        let z = self.body.composed(self.context.forward(x));
        self.head.forward(z)
    }
}
