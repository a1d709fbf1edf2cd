//! Values with what leads back from them: the chain rule by hand.
//!
//! A graph finds out which operations lie between a loss and a parameter. Where that is known beforehand, as for
//! `ℓ(F̃(x, π(x)))`, each link can give its value at once and keep what turns a gradient with respect to the value
//! into one with respect to what it came from. For networks of a few thousand weights the bookkeeping of a graph
//! costs as much as their arithmetic. Where a link has no short cut, it goes through a graph of its own.

#[cfg(feature = "flex")]
use std::cell::Cell;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Gradients;

use crate::inner_product;

/// From the gradient with respect to an output to those with respect to a module's parameters, which are
/// registered.
pub type ToParameters = Box<dyn FnOnce(Tensor<2>, &mut GradientsParams)>;

/// From the gradient with respect to an outcome, `[batch, d_y]`, to the one with respect to the action,
/// `[batch, d_u]`.
pub type ToAction = Box<dyn FnOnce(Tensor<2>) -> Tensor<2>>;

/// Both at once: registers the gradients of the parameters and gives the one with respect to the action.
pub type ToBoth = Box<dyn FnOnce(Tensor<2>, &mut GradientsParams) -> Tensor<2>>;

/// Backward passes by hand between two sweeps.
#[cfg(feature = "flex")]
const SWEEP: u32 = 16;

/// Lets burn forget parameters that are gone. It keeps an entry for every parameter there ever was until a
/// backward pass ends somewhere in the process, and chains by hand have none: one of a single number will do.
#[cfg(feature = "flex")]
pub(crate) fn sweep_now_and_then() {
    thread_local! {
        static PASSES: Cell<u32> = const { Cell::new(0) };
    }
    PASSES.set((PASSES.get() + 1) % SWEEP);
    if PASSES.get() == 0 {
        let number = Tensor::<1>::zeros([1], &Device::flex());
        let _ = Tensor::from_inner(number).require_grad().sum().backward();
    }
}

/// The link of a module whose output was computed on its autodiff device.
pub(crate) fn parameters_through_graph<M: Module + 'static>(
    module: M,
    output: Tensor<2>,
) -> (Tensor<2>, ToParameters) {
    let value = output.clone().without_autodiff();
    let back = move |gradient: Tensor<2>, all: &mut GradientsParams| {
        let gradients = &mut inner_product(output, gradient).backward();
        module.visit(&mut Register { gradients, all });
    };
    (value, Box::new(back))
}

/// The link of an outcome computed on a module's autodiff device to its parameters and to the action, a leaf.
pub(crate) fn both_through_graph<M: Module + 'static>(
    module: M,
    action: Tensor<2>,
    outcome: Tensor<2>,
) -> (Tensor<2>, ToBoth) {
    let value = outcome.clone().without_autodiff();
    let back = move |gradient: Tensor<2>, all: &mut GradientsParams| {
        let gradients = &mut inner_product(outcome, gradient).backward();
        module.visit(&mut Register { gradients, all });
        let gradient = action.grad_remove(gradients);
        gradient.unwrap_or_else(|| action.without_autodiff().zeros_like())
    };
    (value, Box::new(back))
}

struct Register<'a> {
    gradients: &'a mut Gradients,
    all: &'a mut GradientsParams,
}

impl ModuleVisitor for Register<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if !parameter.is_require_grad() {
            return;
        }
        if let Some(gradient) = parameter.val().grad_remove(self.gradients) {
            self.all.register(parameter.id, gradient);
        }
    }
}

/// The link of an outcome to its action, the leaf of the outcome's graph.
pub(crate) fn action_through_graph(action: Tensor<2>, outcome: Tensor<2>) -> (Tensor<2>, ToAction) {
    let value = outcome.clone().without_autodiff();
    let back = move |gradient: Tensor<2>| {
        let mut gradients = inner_product(outcome, gradient).backward();
        let gradient = action.grad_remove(&mut gradients);
        // An outcome that does not depend on the action leaves no gradient.
        gradient.unwrap_or_else(|| action.without_autodiff().zeros_like())
    };
    (value, Box::new(back))
}
