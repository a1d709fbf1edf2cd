//! Adam, one pass over each parameter.

use burn::optim::{AdamState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::prelude::*;
use graybox_model::AdamStep;

/// Adam as this field sets it: β = (0.9, 0.99), ε = 1e-8 (burn's own default is 1e-5).
///
/// The digits and the records are those of burn's Adam; on burn's CPU backend a step is one pass over the
/// parameter instead of a dozen.
#[derive(Debug, Clone, Copy)]
pub struct Adam;

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let (time, moments) = match state {
            Some(AdamState { momentum }) => {
                let moments = [momentum.moment_1, momentum.moment_2];
                (momentum.time + 1, Some(moments))
            }
            None => (1, None),
        };
        let step = AdamStep {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            rate,
            time,
        };
        let (parameter, [first, second]) = step.apply(parameter, gradient, moments);
        let momentum = AdaptiveMomentumState::new(time, first, second);
        (parameter, Some(AdamState { momentum }))
    }

    fn to_device<const D: usize>(mut state: AdamState<D>, device: &Device) -> AdamState<D> {
        // Asked at every step, and nearly always of the device where they are.
        if state.momentum.moment_1.device() != *device {
            state.momentum = state.momentum.to_device(device);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};

    fn trained(
        mut optimizer: ModuleOptimizer,
        steps: usize,
        linear: &Linear,
    ) -> (ModuleOptimizer, Linear) {
        let mut linear = linear.clone();
        for step in 0..steps {
            let x = Tensor::<2>::from_data([[0.3, -0.7, step as f32 * 0.1]], &Device::flex());
            let loss = linear.forward(x).powi_scalar(2).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &linear);
            linear = optimizer.step(0.01, linear, gradients);
        }
        (optimizer, linear)
    }

    fn digits(linear: &Linear) -> Vec<f32> {
        let weight = linear.weight.val().into_data();
        weight.try_to_vec_as::<f32>().unwrap()
    }

    #[test]
    fn its_digits_are_those_of_burns_own() {
        let linear = LinearConfig::new(3, 5).init(&Device::flex().autodiff());
        let burns = AdamConfig::new()
            .with_beta_2(0.99)
            .with_epsilon(1e-8)
            .init();
        let (_, ours) = trained(Adam.into(), 25, &linear);
        let (_, burns) = trained(burns, 25, &linear);
        assert_eq!(digits(&ours), digits(&burns));
    }

    #[test]
    fn a_record_restores_the_next_step_digit_by_digit() {
        let linear = LinearConfig::new(3, 5).init(&Device::flex().autodiff());
        let (optimizer, linear) = trained(Adam.into(), 7, &linear);
        let record = optimizer.into_bytes().unwrap();
        let restored = ModuleOptimizer::from(Adam).from_bytes(record).unwrap();
        let (_, went_on) = trained(optimizer, 5, &linear);
        let (_, resumed) = trained(restored, 5, &linear);
        assert_eq!(digits(&went_on), digits(&resumed));
    }
}
