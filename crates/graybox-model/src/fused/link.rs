//! The chain walked back by hand, without burn's graph.

use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::prelude::*;

use super::{Input, Output, Pass, Role, Saved};
use crate::flex::{Graph, Operand, Pullback};
use crate::link::sweep_now_and_then;
use crate::{Mlp, ToAction, ToBoth, ToParameters};

/// The output, without gradients, and what leads back from it.
pub(crate) fn linked(
    inputs: &[Input<'_>],
    body: &Mlp,
    output: Option<Output<'_>>,
) -> Option<(Tensor<2>, Link)> {
    let mut graph = Graph::default();
    let pass = Pass::read(inputs, body, output, &mut graph)?;
    let id = |role: &Role| match *role {
        Role::Weight(l) => Some((*role, body.layers[l].weight.id)),
        Role::Bias(l) => Some((*role, body.layers[l].bias.as_ref()?.id)),
        Role::Input(_) => None,
    };
    let trained = graph.roles().iter().filter_map(id).unzip();
    let (values, saved) = pass.run(true);
    let link = Link {
        saved: saved?,
        trained,
    };
    Some((values.into_tensor(), link))
}

/// What leads from a gradient with respect to a network's output back to its inputs and parameters.
pub(crate) struct Link {
    saved: Saved,
    /// The parameters that have gradients.
    trained: (Vec<Role>, Vec<ParamId>),
}

impl Link {
    /// To an input.
    pub(crate) fn into_input(self, input: usize) -> ToAction {
        Box::new(move |gradient| {
            let mut inputs = self.pull(gradient, &[Role::Input(input)]);
            inputs.pop().expect(ONE_EACH).into_tensor()
        })
    }

    /// To the parameters.
    pub(crate) fn into_parameters(self) -> ToParameters {
        Box::new(move |gradient, all| {
            let (roles, ids) = &self.trained;
            let gradients = self.pull(gradient, roles);
            register(roles, ids, gradients, all);
        })
    }

    /// To the parameters and to an input, in one pass.
    pub(crate) fn into_both(self, input: usize) -> ToBoth {
        Box::new(move |gradient, all| {
            let (mut roles, ids) = self.trained.clone();
            roles.push(Role::Input(input));
            let mut gradients = self.pull(gradient, &roles);
            let input = gradients.pop().expect(ONE_EACH);
            register(&roles, &ids, gradients, all);
            input.into_tensor()
        })
    }

    fn pull(&self, gradient: Tensor<2>, roles: &[Role]) -> Vec<Operand> {
        let gradient = Operand::constant(gradient);
        let gradient = gradient.expect("an output's gradient is a plain tensor like the output");
        self.saved.pull(gradient.as_slice(), roles)
    }
}

fn register(roles: &[Role], ids: &[ParamId], gradients: Vec<Operand>, all: &mut GradientsParams) {
    for ((role, id), gradient) in roles.iter().zip(ids).zip(gradients) {
        match role {
            Role::Bias(_) => all.register::<1>(*id, gradient.into_tensor()),
            _ => all.register::<2>(*id, gradient.into_tensor()),
        }
    }
    sweep_now_and_then();
}

const ONE_EACH: &str = "one gradient per operand asked for";
