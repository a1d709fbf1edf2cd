//! The arithmetic of Adam, in one pass.

use burn::prelude::*;

#[cfg(feature = "flex")]
use crate::flex::{Operand, all_plain};
#[cfg(feature = "flex")]
use crate::kernels;

/// One step of Adam (Kingma & Ba, 2015) on one parameter.
///
/// Digit by digit what burn's own optimizer computes with a dozen operations.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Decay of the mean gradient.
    pub beta_1: f32,
    /// Decay of the mean square.
    pub beta_2: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
    /// Learning rate.
    pub rate: f64,
    /// The number of this step, from 1.
    pub time: usize,
}

impl AdamStep {
    /// The new parameter, and the new means of the gradient and of its square. The first step has no means.
    ///
    /// All are of one shape, and none has gradients of its own.
    pub fn apply<const D: usize>(
        &self,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        moments: Option<[Tensor<D>; 2]>,
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let moments = moments.unwrap_or_else(|| {
            let zeros = gradient.zeros_like();
            [zeros.clone(), zeros]
        });
        #[cfg(feature = "flex")]
        if all_plain([&parameter, &gradient, &moments[0], &moments[1]]) {
            return self.fused(parameter, gradient, moments);
        }
        self.composed(parameter, gradient, moments)
    }

    /// `√(1 − β₂ᵗ)`, and the same over `1 − β₁ᵗ`.
    fn corrections(&self) -> [f32; 2] {
        let time = self.time as i32;
        let second = (1.0 - self.beta_2.powi(time)).sqrt();
        [second, second / (1.0 - self.beta_1.powi(time))]
    }

    pub(crate) fn composed<const D: usize>(
        &self,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        [first, second]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let [correction, combined] = self.corrections();
        let square = gradient.clone().square();
        let first = first * self.beta_1 + gradient * (1.0 - self.beta_1);
        let second = second * self.beta_2 + square * (1.0 - self.beta_2);
        let root = second.clone().sqrt() + self.epsilon * correction;
        let step = (first.clone() * combined) / root * self.rate;
        (parameter - step, [first, second])
    }

    #[cfg(feature = "flex")]
    pub(crate) fn kernel(&self) -> kernels::Adam {
        let [correction, combined] = self.corrections();
        kernels::Adam {
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon * correction,
            combined,
            rate: self.rate as f32,
        }
    }

    /// In place where nobody else holds the parameter or the means.
    #[cfg(feature = "flex")]
    fn fused<const D: usize>(
        &self,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        [first, second]: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        // One by one: a tensor is a few hundred bytes, and an array of them is moved more than once.
        let operand = |t| Operand::constant(t).expect("plain tensors are operands");
        let mut p = operand(parameter);
        let g = operand(gradient);
        let mut m = operand(first);
        let mut v = operand(second);
        self.kernel().step(
            p.as_mut_slice(),
            g.as_slice(),
            m.as_mut_slice(),
            v.as_mut_slice(),
        );
        (p.into_tensor(), [m.into_tensor(), v.into_tensor()])
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    #[test]
    fn the_one_pass_form_is_the_composed_form_digit_by_digit() {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut random = |scale: f32| {
            let values: Vec<f32> = (0..3 * 7)
                .map(|_| rng.random_range(-scale..scale))
                .collect();
            Tensor::<2>::from_data(TensorData::new(values, [3, 7]), &Device::flex())
        };
        let mut one = (random(1.0), None);
        let mut other = one.clone();
        for time in 1..=20 {
            let step = AdamStep {
                beta_1: 0.9,
                beta_2: 0.99,
                epsilon: 1e-8,
                rate: 3e-3,
                time,
            };
            let gradient = random(10f32.powi(time as i32 % 5 - 3));
            let zeros = || Some([gradient.zeros_like(), gradient.zeros_like()]);
            let moments = one.1.take();
            let (parameter, moments) = step.apply(one.0, gradient.clone(), moments);
            one = (parameter, Some(moments));
            let moments = other.1.take().or_else(zeros).unwrap();
            let (parameter, moments) = step.composed(other.0, gradient, moments);
            other = (parameter, Some(moments));
            let bits = |t: &Tensor<2>| t.clone().into_data().try_to_vec_as::<f32>().unwrap();
            assert_eq!(bits(&one.0), bits(&other.0));
            let (one, other) = (one.1.as_ref().unwrap(), other.1.as_ref().unwrap());
            assert_eq!(bits(&one[0]), bits(&other[0]));
            assert_eq!(bits(&one[1]), bits(&other[1]));
        }
    }

    #[test]
    fn a_parameter_that_somebody_else_holds_is_left_as_it_was() {
        let parameter = Tensor::<1>::from_data([1.0, 2.0, 3.0], &Device::flex());
        let held = parameter.clone();
        let step = AdamStep {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            rate: 0.5,
            time: 1,
        };
        let (moved, _) = step.apply(parameter, held.clone(), None);
        let values = |t: Tensor<1>| t.into_data().try_to_vec_as::<f32>().unwrap();
        assert_eq!(values(held), [1.0, 2.0, 3.0]);
        // Adam's first step is the rate times the gradient's sign.
        for (moved, expected) in values(moved).iter().zip([0.5, 1.5, 2.5]) {
            assert!((moved - expected).abs() < 1e-6);
        }
    }
}
