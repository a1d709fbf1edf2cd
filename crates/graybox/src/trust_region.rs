//! How far a policy may go before somebody asks the oracle.
//!
//! Measured in actions, not in weights: what a surrogate knows is where actions were tried, and a policy whose
//! actions stay there may change its weights as it likes.

use burn::prelude::*;
use graybox_model::{squared_excess, squared_excess_gradient};

/// `max(0, ‖u − u₀‖ − radius)²` of every row, the distance per action and in units of the actions' scale: a
/// penalty that is zero within the radius around the actions `u₀` of the policy that chose the last calls.
///
/// # Shapes
/// `[n, d_u]`, `[n, d_u]`, `scale`: `[1, d_u]` → `[n]`
pub fn penalty(u: Tensor<2>, u_0: Tensor<2>, scale: &Tensor<2>, radius: f64) -> Tensor<1> {
    squared_excess(u, u_0, scale.clone(), radius)
}

/// The gradient of the sum of [`penalty`] with respect to `u`, all operands being constants.
///
/// # Shapes
/// `[n, d_u]`, `[n, d_u]`, `scale`: `[1, d_u]` → `[n, d_u]`
pub fn penalty_gradient(u: Tensor<2>, u_0: Tensor<2>, scale: &Tensor<2>, radius: f64) -> Tensor<2> {
    squared_excess_gradient(u, u_0, scale.clone(), radius)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge;

    #[test]
    fn nothing_is_penalised_within_the_radius_and_the_gradient_is_outwards_beyond() {
        let device = Device::flex();
        let u = Tensor::<2>::from_data([[0.5, 0.0], [0.0, 0.0], [30.0, 40.0]], &device);
        let u = Tensor::from_inner(u).require_grad();
        let scale = Tensor::from_data([[10.0, 10.0]], &device);
        let rows = penalty(u.clone(), u.zeros_like().inner(), &scale, 0.1);
        let expected = (5.0 / 2f64.sqrt() - 0.1).powi(2);
        let found = bridge::download(rows.clone().inner().unsqueeze_dim(1));
        assert_eq!(found.as_slice()[..2], [0.0, 0.0]);
        assert!((found.as_slice()[2] - expected).abs() < 1e-5);

        let mut gradients = rows.sum().backward();
        let by_graph = bridge::download(u.grad_remove(&mut gradients).unwrap());
        let u = u.inner();
        let by_hand = penalty_gradient(u.clone(), u.zeros_like(), &scale, 0.1);
        let by_hand = bridge::download(by_hand);
        for (by_graph, by_hand) in by_graph.as_slice().iter().zip(by_hand.as_slice()) {
            assert!((by_graph - by_hand).abs() < 1e-5);
        }
        assert_eq!(by_hand.as_slice()[..4], [0.0; 4]);
        // Along u, and 4/3 as strong in the second action.
        let [first, second] = [by_hand.as_slice()[4], by_hand.as_slice()[5]];
        assert!(first > 0.0 && (second / first - 4.0 / 3.0).abs() < 1e-5);
    }
}
