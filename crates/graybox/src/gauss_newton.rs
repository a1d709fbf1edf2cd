//! Damped Gauss–Newton steps in the space of actions.
//!
//! For the loss `Σ_j w_j (y_j − Y_j)²` and the Jacobian `J = ∂F̃/∂u` of a row, the step
//!
//! `d = S Jᵀ (J S Jᵀ + W⁻¹)⁻¹ (y − Y)`, `S = diag(scale²)`, `W = diag(w)`
//!
//! goes from `u` to the minimum `u − d` of the linearised loss plus `‖d‖²` in units of the actions' scale. Where
//! the oracle is steep it is the full step to the target and no longer, where it is flat it is the gradient: rows
//! differ less in how fast they learn than they do under the gradient alone. The matrix to be solved is as large
//! as the number of outcomes.
//!
//! Source: Levenberg (1944); Nocedal & Wright, Numerical Optimization, 2nd ed., section 10.3.

use burn::prelude::*;
use graybox_model::{Surrogate, inner_product};
use graybox_oracle::Rows;

use crate::bridge;

/// What a surrogate predicts at actions, and how that changes with them.
pub struct Linearised {
    /// `[n, d_y]`, constant.
    pub y: Tensor<2>,
    /// `∂F̃/∂u` of every row, `[n, d_y · d_u]`, row-major.
    pub jacobian: Rows,
}

/// Linearises a surrogate: one pass forward and back over `n · d_y` rows.
///
/// # Shapes
/// `[n, d_x]`, `[n, d_u]`, constants
///
/// # Panics
/// If the surrogate's prediction does not depend on the actions at all.
pub fn linearise<S: Surrogate>(surrogate: &S, x: &Tensor<2>, u: &Tensor<2>) -> Linearised {
    let ([n, d_u], device) = (u.dims(), u.device());
    let d_y = surrogate.forward(x.clone().narrow(0, 0, 1), u.clone().narrow(0, 0, 1));
    let d_y = d_y.dims()[1];
    let x = Tensor::cat(vec![x.clone(); d_y], 0);
    let u = Tensor::from_inner(Tensor::cat(vec![u.clone(); d_y], 0)).require_grad();
    // Block k of the rows asks for the slope of outcome k.
    let which = (0..d_y).flat_map(|k| (0..n * d_y).map(move |e| f32::from(u8::from(e % d_y == k))));
    let which = TensorData::new(which.collect::<Vec<f32>>(), [n * d_y, d_y]);
    let y = surrogate.forward(x, u.clone());
    let mut gradients = inner_product(y.clone(), Tensor::from_data(which, &device)).backward();
    let slopes = u.grad_remove(&mut gradients);
    let slopes = bridge::download(slopes.expect("predictions depend on the actions"));
    let mut jacobian = Rows::with_capacity(d_y * d_u, n);
    for row_idx in 0..n {
        let of = |k: usize| slopes.row(k * n + row_idx);
        let row: Vec<f64> = (0..d_y).flat_map(of).copied().collect();
        jacobian.push(&row).expect("d_y slopes of d_u actions");
    }
    let y = y.without_autodiff().narrow(0, 0, n);
    Linearised { y, jacobian }
}

/// Where one step from `u` of a row leads, within what `clamp` allows. An action that would leave its bounds stays
/// there, and the others make up for it.
///
/// `jacobian` is the row's `∂F̃/∂u`, `[d_y · d_u]`, and `residual` its `y − Y`; `weights` those of the loss, one per
/// outcome; `scale` that of the actions.
pub fn step(
    u: &[f64],
    jacobian: &[f64],
    residual: &[f64],
    weights: &[f64],
    scale: &[f64],
    clamp: impl Fn(&mut [f64]),
) -> Vec<f64> {
    let d_u = u.len();
    let mut held = vec![false; d_u];
    let mut next = u.to_vec();
    loop {
        let moved = |j: usize| {
            let held = (0..d_u).filter(|k| held[*k]);
            held.map(|k| jacobian[j * d_u + k] * (next[k] - u[k]))
                .sum::<f64>()
        };
        let left = residual.iter().enumerate().map(|(j, r)| r + moved(j));
        let left: Vec<f64> = left.collect();
        let free: Vec<usize> = (0..d_u).filter(|k| !held[*k]).collect();
        let steps = damped(jacobian, &left, weights, scale, &free);
        for (k, d) in free.iter().zip(steps) {
            next[*k] = u[*k] - d;
        }
        let wanted = next.clone();
        clamp(&mut next);
        let mut leaves = false;
        for k in free {
            held[k] = next[k].total_cmp(&wanted[k]).is_ne();
            leaves |= held[k];
        }
        if !leaves {
            return next;
        }
    }
}

/// `d` in those of the actions that are free.
fn damped(
    jacobian: &[f64],
    residual: &[f64],
    weights: &[f64],
    scale: &[f64],
    free: &[usize],
) -> Vec<f64> {
    let (d_y, d_u) = (weights.len(), scale.len());
    let root = |j: usize| weights[j].sqrt();
    // In units in which the damping is one.
    let slope = |j: usize, k: usize| root(j) * jacobian[j * d_u + k] * scale[k];
    let mut normal = vec![0.0; d_y * d_y];
    for i in 0..d_y {
        for j in 0..=i {
            let product: f64 = free.iter().map(|k| slope(i, *k) * slope(j, *k)).sum();
            normal[i * d_y + j] = product + f64::from(u8::from(i == j));
        }
    }
    let mut solution: Vec<f64> = (0..d_y).map(|j| root(j) * residual[j]).collect();
    solve(&mut normal, &mut solution);
    let along = |k: usize| (0..d_y).map(|j| slope(j, k) * solution[j]).sum::<f64>();
    free.iter().map(|k| along(*k) * scale[*k]).collect()
}

/// Solves a positive definite system by Cholesky's factorisation of its lower triangle, in place.
fn solve(matrix: &mut [f64], x: &mut [f64]) {
    let n = x.len();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| matrix[i * n + k] * matrix[j * n + k]).sum();
            let rest = matrix[i * n + j] - dot;
            matrix[i * n + j] = if i == j {
                rest.sqrt()
            } else {
                rest / matrix[j * n + j]
            };
        }
        let dot: f64 = (0..i).map(|k| matrix[i * n + k] * x[k]).sum();
        x[i] = (x[i] - dot) / matrix[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| matrix[k * n + i] * x[k]).sum();
        x[i] = (x[i] - dot) / matrix[i * n + i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(u₁², u₁ u₂ + x)`
    #[derive(Module, Debug)]
    struct Curved;

    impl Surrogate for Curved {
        fn forward(&self, x: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
            let (first, second) = (u.clone().narrow(1, 0, 1), u.narrow(1, 1, 1));
            let products = vec![first.clone() * first.clone(), first * second + x];
            Tensor::cat(products, 1)
        }
    }

    #[test]
    fn the_jacobian_is_that_of_each_row() {
        let device = Device::flex();
        let x = Tensor::from_data([[5.0], [7.0]], &device);
        let u = Tensor::from_data([[1.0, 2.0], [3.0, -4.0]], &device);
        let found = linearise(&Curved, &x, &u);
        assert_eq!(bridge::download(found.y).as_slice(), [1.0, 7.0, 9.0, -5.0]);
        assert_eq!(found.jacobian.row(0), [2.0, 0.0, 2.0, 1.0]);
        assert_eq!(found.jacobian.row(1), [6.0, 0.0, -4.0, 3.0]);
    }

    fn step_of(jacobian: &[f64], residual: &[f64], weights: &[f64], scale: &[f64]) -> Vec<f64> {
        let u = vec![0.0; scale.len()];
        let next = step(&u, jacobian, residual, weights, scale, |_| {});
        next.iter().map(|u| -u).collect()
    }

    #[test]
    fn a_steep_row_goes_all_the_way_and_a_flat_one_along_the_gradient() {
        // d = J r / (J² + 1)
        let steep = step_of(&[1e3], &[2e3], &[1.0], &[1.0]);
        assert!((steep[0] - 2.0).abs() < 1e-5, "{steep:?}");
        let flat = step_of(&[1e-3], &[2.0], &[1.0], &[1.0]);
        assert!((flat[0] - 2e-3).abs() < 1e-8, "{flat:?}");
    }

    #[test]
    fn the_step_minimises_the_damped_linear_model() {
        let (jacobian, residual) = ([2.0, -1.0, 0.5, 0.3, 1.5, -2.0], [0.7, -1.1]);
        let (weights, scale) = ([0.5, 3.0], [1.0, 2.0, 0.1]);
        let d = step_of(&jacobian, &residual, &weights, &scale);
        let model = |d: &[f64]| {
            let missed = |j: usize| {
                let change: f64 = (0..3).map(|k| jacobian[j * 3 + k] * d[k]).sum();
                weights[j] * (residual[j] - change).powi(2)
            };
            let length: f64 = d.iter().zip(scale).map(|(d, s)| (d / s).powi(2)).sum();
            missed(0) + missed(1) + length
        };
        let best = model(&d);
        for k in 0..3 {
            for away in [-1e-3, 1e-3] {
                let mut other = d.clone();
                other[k] += away * scale[k];
                assert!(model(&other) > best);
            }
        }
    }

    #[test]
    fn an_outcome_of_weight_zero_pulls_nothing() {
        let d = step_of(&[1.0, 0.0, 0.0, 1.0], &[0.0, 9.0], &[1.0, 0.0], &[1.0, 1.0]);
        assert_eq!(d, [0.0, 0.0]);
    }

    #[test]
    fn what_a_bound_stops_is_made_up_for_by_the_other_actions() {
        // The first action would do nearly all of it.
        let (jacobian, scale) = ([1e3, 1e2], [1.0, 1.0]);
        let clamp = |u: &mut [f64]| u[0] = u[0].clamp(-1.0, 1.0);
        let next = step(&[1.0, 0.0], &jacobian, &[-5e2], &[1.0], &scale, clamp);
        assert_eq!(next[..1], [1.0]);
        assert!((next[1] - 5.0).abs() < 1e-2, "{next:?}");
    }

    #[test]
    fn steps_are_the_same_in_other_units() {
        let jacobian = [2.0, -1.0, 0.5, 0.3];
        let (residual, weights) = ([0.7, -1.1], [0.5, 3.0]);
        let plain = step_of(&jacobian, &residual, &weights, &[1.0, 1.0]);
        let in_units = [2.0e-3, -1.0e2, 0.5e-3, 0.3e2];
        let scaled = step_of(&in_units, &residual, &weights, &[1e3, 1e-2]);
        assert!(
            (scaled[0] - 1e3 * plain[0]).abs() < 1e-9 * 1e3,
            "{scaled:?}"
        );
        assert!((scaled[1] - 1e-2 * plain[1]).abs() < 1e-9, "{scaled:?}");
    }
}
