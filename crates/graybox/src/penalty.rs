//! L2 penalties on weights.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

/// Adds the gradient of `½ penalty · Σ w²` over all matrices of a module, whatever optimizer takes the step. They come
/// to rest where loss and penalty are in balance, to which a decay apart from the gradient does not lead.
///
/// `module`: without gradients of its own, as `valid()` returns it
pub(crate) fn add_gradient(module: &impl Module, penalty: f64, gradients: &mut GradientsParams) {
    module.visit(&mut L2 { penalty, gradients });
}

struct L2<'a> {
    penalty: f64,
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for L2<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D < 2 {
            return;
        }
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let pull = param.val() * self.penalty;
            self.gradients.register(param.id, gradient + pull);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OptimizerKind, bridge};
    use burn::nn::{Linear, LinearConfig};

    #[test]
    fn matrices_end_in_balance_with_the_loss_and_vectors_are_left_alone() {
        let device = Device::flex();
        let goal = Tensor::<2>::from_data([[1.0, -2.0], [0.5, 4.0]], &device);
        let shift = Tensor::<1>::from_data([3.0, -1.0], &device);
        let layer: Linear = LinearConfig::new(2, 2).init(&device);
        let mut layer = layer.train();
        let mut optimizer = OptimizerKind::default().init();
        for step in 0..600 {
            let mut gradients = GradientsParams::new();
            let now = layer.valid();
            let bias = now.bias.as_ref().expect("linear layers have a bias");
            // Of ½ (w − g)² and ½ (b − s)².
            gradients.register(now.weight.id, now.weight.val() - goal.clone());
            gradients.register(bias.id, bias.val() - shift.clone());
            add_gradient(&now, 0.25, &mut gradients);
            let rate = 0.05 * (1.0 - f64::from(step) / 600.0);
            layer = optimizer.step(rate, layer, gradients);
        }
        let layer = layer.valid();
        let weight = layer.weight.val() - goal / 1.25;
        let bias = layer.bias.expect("as before").val() - shift;
        let error = bridge::download(Tensor::cat(vec![weight, bias.unsqueeze()], 0));
        for value in error.as_slice() {
            assert!(value.abs() < 1e-3, "{error:?}");
        }
    }
}
