//! Predictions held to what was measured.
//!
//! For a row already asked, at action `u_i`, the outcome is known there and the surrogate only has to say how it
//! changes from there:
//!
//! `m_i(u) = F̃(x_i, u) + w · (F_i − F̃(x_i, u_i))`, `w = exp(−‖u − u_i‖² / 2r²)`
//!
//! with the distance per action, in units of the actions' scale. Within the reach r the value is the oracle's
//! and the slope the surrogate's; beyond it the measurement says nothing and the surrogate stands alone.

use burn::prelude::*;
use graybox_model::Surrogate;

use crate::Replayed;

/// What to add to `F̃(x_i, u)` for rows measured at `u_i`: `w · (F_i − F̃(x_i, u_i))`; zero for rows that failed.
///
/// # Shapes
/// `u`: `[n, d_u]`, `scale`: `[1, d_u]` → `[n, d_y]`, all constants
pub fn correction<S: Surrogate>(
    surrogate: &S,
    rows: &Replayed,
    u: Tensor<2>,
    scale: &Tensor<2>,
    reach: f64,
) -> Tensor<2> {
    let missing = rows.y.clone() - surrogate.forward(rows.x.clone(), rows.u.clone());
    let distance = ((u - rows.u.clone()) / scale.clone()).square().mean_dim(1);
    let weight = (distance / (-2.0 * reach * reach)).exp();
    missing * weight * rows.answered.clone().unsqueeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge;

    /// Predicts `u₁` whatever the oracle says.
    #[derive(Module, Debug)]
    struct First;

    impl Surrogate for First {
        fn forward(&self, _: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
            u.narrow(1, 0, 1)
        }
    }

    fn corrected(u: [[f32; 2]; 3]) -> Vec<f64> {
        let device = Device::flex();
        let rows = Replayed {
            x: Tensor::zeros([3, 1], &device),
            u: Tensor::from_data([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], &device),
            y: Tensor::from_data([[5.0], [5.0], [5.0]], &device),
            target: Tensor::zeros([3, 1], &device),
            answered: Tensor::from_data([1.0, 1.0, 0.0], &device),
        };
        let u = Tensor::<2>::from_data(u, &device);
        let scale = Tensor::from_data([[1.0, 2.0]], &device);
        let y_hat = First.forward(rows.x.clone(), u.clone());
        let y_hat = y_hat + correction(&First, &rows, u, &scale, 0.5);
        bridge::download(y_hat).as_slice().to_vec()
    }

    #[test]
    fn the_outcome_is_met_where_it_was_measured_and_a_failed_row_says_nothing() {
        let at = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]];
        assert_eq!(corrected(at), [5.0, 5.0, 2.0]);
    }

    #[test]
    fn the_measurement_fades_with_the_distance_per_action() {
        let away = [[0.0, 2.0], [1.0, 200.0], [2.0, 0.0]];
        let found = corrected(away);
        // One scale in one of two actions: distance² = 1/2, weight exp(−(1/2) / (2 · 0.5²)) = 1/e.
        assert!((found[0] - 5.0 * (-1.0f64).exp()).abs() < 1e-6, "{found:?}");
        assert!((found[1] - 1.0).abs() < 1e-6, "{found:?}");
    }
}
