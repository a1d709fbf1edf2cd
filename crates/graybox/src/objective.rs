//! What a good outcome is.

use std::sync::{Arc, OnceLock};

use burn::prelude::*;
use graybox_model::{Term, squared_error, squared_error_gradient};

use crate::ConfigError;

/// A loss `ℓ(y, Y)` of an outcome and its target, on the device and on the host.
///
/// The two sides must agree; [`crate::testing::check_objective`] tests that they do.
pub trait Objective: Send + Sync + std::fmt::Debug {
    /// The loss of every row, differentiable in `y`.
    ///
    /// # Shapes
    /// `[batch, d_y]`, `[batch, d_y]` → `[batch]`
    fn rows(&self, y: Tensor<2>, target: Tensor<2>) -> Tensor<1>;

    /// `Σ_terms Σ_i weight_i ℓ(y_i, target_i)`, differentiable in `y`: what a network is trained on.
    ///
    /// # Shapes
    /// `y`: `[batch, d_y]` → `[1]`
    fn total(&self, y: Tensor<2>, terms: &[Term]) -> Tensor<1> {
        let term = |term: &Term| {
            let rows = self.rows(y.clone(), term.target.clone());
            (rows * term.weight.clone()).sum()
        };
        let sums = terms.iter().map(term).reduce(|sum, term| sum + term);
        sums.unwrap_or_else(|| Tensor::zeros([1], &y.device()))
    }

    /// The gradient of [`total`](Self::total) with respect to `y`, all operands being constants.
    ///
    /// # Shapes
    /// `y`: `[batch, d_y]` → `[batch, d_y]`
    fn total_gradient(&self, y: Tensor<2>, terms: &[Term]) -> Tensor<2> {
        let y = Tensor::from_inner(y).require_grad();
        let mut gradients = self.total(y.clone(), terms).backward();
        let gradient = y.grad_remove(&mut gradients);
        gradient.unwrap_or_else(|| y.without_autodiff().zeros_like())
    }

    /// The loss of one row, in `f64`.
    fn value(&self, y: &[f64], target: &[f64]) -> f64;

    /// `∂ℓ/∂y` of one row, in `f64`.
    fn gradient(&self, y: &[f64], target: &[f64]) -> Vec<f64>;

    /// The weights `w` if the loss is `Σ_j w_j (y_j − Y_j)²`, which lets an algorithm take Gauss–Newton
    /// steps and measure a surrogate's error in the same norm.
    fn least_squares(&self) -> Option<&[f64]> {
        None
    }
}

impl<O: Objective + ?Sized> Objective for Arc<O> {
    fn rows(&self, y: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
        (**self).rows(y, target)
    }

    fn total(&self, y: Tensor<2>, terms: &[Term]) -> Tensor<1> {
        (**self).total(y, terms)
    }

    fn total_gradient(&self, y: Tensor<2>, terms: &[Term]) -> Tensor<2> {
        (**self).total_gradient(y, terms)
    }

    fn value(&self, y: &[f64], target: &[f64]) -> f64 {
        (**self).value(y, target)
    }

    fn gradient(&self, y: &[f64], target: &[f64]) -> Vec<f64> {
        (**self).gradient(y, target)
    }

    fn least_squares(&self) -> Option<&[f64]> {
        (**self).least_squares()
    }
}

/// Mean over the outcomes of `((y_j − Y_j) / scale_j)²`, each with a weight.
#[derive(Debug, Clone)]
pub struct SquaredError {
    weights: Vec<f64>,
    /// `[1, d_y]`, uploaded once rather than at every step.
    on_device: OnceLock<Tensor<2>>,
}

impl SquaredError {
    /// The plain mean over outcomes of the squared error, each measured in units of its scale.
    ///
    /// # Errors
    /// If a scale is not positive and finite.
    pub fn scaled(scale: &[f64]) -> Result<Self, ConfigError> {
        Self::weighted(scale, &vec![1.0; scale.len()])
    }

    /// The weighted mean: an outcome of weight zero is not part of the loss.
    ///
    /// # Errors
    /// If a scale is not positive and finite, a weight is negative, or all weights are zero.
    pub fn weighted(scale: &[f64], weight: &[f64]) -> Result<Self, ConfigError> {
        for (dim, value) in scale.iter().enumerate() {
            crate::error::positive(&format!("objective.scale[{dim}]"), *value)?;
        }
        for (dim, value) in weight.iter().enumerate() {
            crate::error::not_negative(&format!("objective.weight[{dim}]"), *value)?;
        }
        let total: f64 = weight.iter().sum();
        if scale.len() != weight.len() || total <= 0.0 {
            return Err(ConfigError::new(
                "objective.weight",
                format!("{weight:?}"),
                format!("{} weights that are not all zero", scale.len()),
            ));
        }
        let weights = scale
            .iter()
            .zip(weight)
            .map(|(scale, weight)| weight / total / (scale * scale))
            .collect();
        Ok(Self {
            weights,
            on_device: OnceLock::new(),
        })
    }

    fn weights_on(&self, device: &Device) -> Tensor<2> {
        let upload = || {
            let weights: Vec<f32> = self.weights.iter().map(|w| *w as f32).collect();
            Tensor::from_data(TensorData::new(weights, [1, self.weights.len()]), device)
        };
        let cached = self.on_device.get_or_init(upload);
        if cached.device() == *device {
            cached.clone()
        } else {
            upload()
        }
    }
}

impl Objective for SquaredError {
    fn rows(&self, y: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
        let weights = self.weights_on(&y.device().without_autodiff());
        let residual = y - target;
        (residual.clone() * residual * weights)
            .sum_dim(1)
            .squeeze_dim(1)
    }

    fn total(&self, y: Tensor<2>, terms: &[Term]) -> Tensor<1> {
        let weights = self.weights_on(&y.device().without_autodiff());
        squared_error(y, terms, weights)
    }

    fn total_gradient(&self, y: Tensor<2>, terms: &[Term]) -> Tensor<2> {
        let weights = self.weights_on(&y.device());
        squared_error_gradient(y, terms, weights)
    }

    fn value(&self, y: &[f64], target: &[f64]) -> f64 {
        (self.weights.iter().zip(y).zip(target))
            .map(|((w, y), target)| w * (y - target).powi(2))
            .sum()
    }

    fn gradient(&self, y: &[f64], target: &[f64]) -> Vec<f64> {
        (self.weights.iter().zip(y).zip(target))
            .map(|((w, y), target)| 2.0 * w * (y - target))
            .collect()
    }

    fn least_squares(&self) -> Option<&[f64]> {
        Some(&self.weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn host_and_device_agree() {
        let objective = SquaredError::weighted(&[2.0, 0.5], &[1.0, 3.0]).unwrap();
        testing::check_objective(&objective, 2);
    }

    #[test]
    fn the_loss_is_the_mean_over_outcomes_in_units_of_the_scale() {
        let objective = SquaredError::scaled(&[1.0, 10.0]).unwrap();
        assert!((objective.value(&[1.0, 10.0], &[0.0, 0.0]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_outcome_of_weight_zero_is_not_part_of_the_loss() {
        let objective = SquaredError::weighted(&[1.0, 1.0], &[1.0, 0.0]).unwrap();
        assert!((objective.value(&[2.0, 99.0], &[0.0, 0.0]) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_scale_of_zero_is_refused_by_name() {
        let error = SquaredError::scaled(&[1.0, 0.0]).unwrap_err();
        assert_eq!(error.field, "objective.scale[1]");
    }
}
