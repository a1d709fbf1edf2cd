//! How far rows lie outside of a ball.

use burn::prelude::*;

#[cfg(feature = "flex")]
use crate::flex::{Graph, Operand, Pullback};

/// `max(0, ‖u_i − center_i‖ − radius)²` of every row, with `‖v‖² = mean_j (v_j / scale_j)²`; differentiable in
/// `u`.
///
/// # Shapes
/// `u`, `center`: `[batch, d]`, `scale`: `[1, d]` → `[batch]`
pub fn squared_excess(u: Tensor<2>, center: Tensor<2>, scale: Tensor<2>, radius: f64) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(excess) = fused_excess(&u, &center, &scale, radius) {
        return excess;
    }
    composed_excess(u, center, scale, radius)
}

/// The gradient of the sum of [`squared_excess`] with respect to `u`, all operands being constants.
///
/// # Shapes
/// `u`, `center`: `[batch, d]`, `scale`: `[1, d]` → `[batch, d]`
pub fn squared_excess_gradient(
    u: Tensor<2>,
    center: Tensor<2>,
    scale: Tensor<2>,
    radius: f64,
) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some((_, gradient)) =
        Operand::constant(u.clone()).and_then(|u| excess(&u, &center, &scale, radius))
    {
        return Operand::new(gradient, u.dims()).into_tensor();
    }
    let d = u.dims()[1] as f64;
    let away = (u - center) / scale.clone();
    let norm = (away.clone().square().mean_dim(1) + TINY).sqrt();
    let slope = (norm.clone() - radius).clamp_min(0.0) / norm * (2.0 / d);
    away / scale * slope
}

/// Under the root: without it the norm has no slope at zero.
const TINY: f64 = 1e-12;

fn composed_excess(u: Tensor<2>, center: Tensor<2>, scale: Tensor<2>, radius: f64) -> Tensor<1> {
    let norm = (((u - center) / scale).square().mean_dim(1) + TINY).sqrt();
    let excess = (norm - radius).clamp_min(0.0);
    excess.square().squeeze_dim(1)
}

#[cfg(feature = "flex")]
fn fused_excess(
    u: &Tensor<2>,
    center: &Tensor<2>,
    scale: &Tensor<2>,
    radius: f64,
) -> Option<Tensor<1>> {
    let [n, d] = u.dims();
    let mut graph = Graph::default();
    let u = graph.operand(u.clone(), ())?;
    let (values, gradient) = excess(&u, center, scale, radius)?;
    let gradient = RowGradient {
        gradient,
        shape: [n, d],
    };
    graph.finish(Operand::new(values, [n]), gradient)
}

/// Of every row the excess and its gradient.
#[cfg(feature = "flex")]
fn excess(
    u: &Operand,
    center: &Tensor<2>,
    scale: &Tensor<2>,
    radius: f64,
) -> Option<(Vec<f32>, Vec<f32>)> {
    let [n, d] = center.dims();
    if u.as_slice().len() != n * d || scale.dims() != [1, d] || d == 0 {
        return None;
    }
    let center = Operand::constant(center.clone())?;
    let scale = Operand::constant(scale.clone())?;
    let scale = scale.as_slice();
    let mut values = Vec::with_capacity(n);
    let mut gradient = Vec::with_capacity(n * d);
    let rows = u.as_slice().chunks_exact(d);
    for (u, center) in rows.zip(center.as_slice().chunks_exact(d)) {
        let away = u.iter().zip(center).zip(scale);
        let away = away.map(|((u, center), scale)| (u - center) / scale);
        let square = away.clone().map(|v| v * v).sum::<f32>() / d as f32;
        let norm = (square + TINY as f32).sqrt();
        let excess = norm - radius as f32;
        let excess = if excess < 0.0 { 0.0 } else { excess };
        values.push(excess * excess);
        let slope = 2.0 * excess / (norm * d as f32);
        gradient.extend(away.zip(scale).map(|(v, scale)| slope * v / scale));
    }
    Some((values, gradient))
}

/// Of a function whose row i of the output follows from row i of the operand alone.
#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
struct RowGradient {
    gradient: Vec<f32>,
    shape: [usize; 2],
}

#[cfg(feature = "flex")]
impl Pullback for RowGradient {
    type Role = ();

    fn pull(&self, output: &[f32], _roles: &[()]) -> Vec<Operand> {
        let rows = self.gradient.chunks_exact(self.shape[1]).zip(output);
        let scaled = rows.flat_map(|(row, by)| row.iter().map(move |g| g * by));
        vec![Operand::new(scaled.collect(), self.shape)]
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::super::tests::random;
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn an_excess_and_its_gradient_are_those_of_the_composed_form() {
        let rng = &mut StdRng::seed_from_u64(4);
        for (n, d) in [(1, 1), (32, 3)] {
            let [u, center] = [random(rng, [n, d]), random(rng, [n, d])];
            let scale = random::<2>(rng, [1, d]).abs() + 0.5;
            let weight = random::<1>(rng, [n]);
            let u = u.autodiff().require_grad();
            let one = fused_excess(&u, &center, &scale, 0.3).unwrap();
            let by_hand =
                squared_excess_gradient(u.clone().inner(), center.clone(), scale.clone(), 0.3);
            let by_hand = by_hand * weight.clone().unsqueeze_dim(1);
            let by_hand = by_hand.into_data().try_to_vec_as::<f32>().unwrap();
            let other = composed_excess(u.clone(), center, scale, 0.3);
            let host = |t: Tensor<1>| t.inner().into_data().try_to_vec_as::<f32>().unwrap();
            let (values, others) = (host(one.clone()), host(other.clone()));
            assert!(n == 1 || values.contains(&0.0) && values.iter().any(|value| *value > 0.01));
            let gradient = |rows: Tensor<1>| {
                let gradients = (rows * weight.clone()).sum().backward();
                let gradient = u.grad(&gradients).unwrap().into_data();
                gradient.try_to_vec_as::<f32>().unwrap()
            };
            let pairs = values.into_iter().zip(others);
            let by_graph = gradient(other);
            let pairs = pairs.chain(by_hand.into_iter().zip(by_graph.clone()));
            for (one, other) in pairs.chain(gradient(one).into_iter().zip(by_graph)) {
                assert!(
                    (one - other).abs() <= 1e-6 * (1.0 + other.abs()),
                    "{one} {other}"
                );
            }
        }
    }
}
