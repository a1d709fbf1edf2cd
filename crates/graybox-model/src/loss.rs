//! Scalars of predictions, each as one operation.

use burn::prelude::*;

#[cfg(feature = "flex")]
use crate::flex::{Graph, Operand, Pullback};

mod excess;

pub use excess::{squared_excess, squared_excess_gradient};

/// What a prediction is compared with.
#[derive(Debug, Clone)]
pub struct Term {
    /// `[batch, d_y]`
    pub target: Tensor<2>,
    /// How much each row counts, `[batch]`.
    pub weight: Tensor<1>,
}

impl Term {
    /// All rows alike, so that the total is the mean over them.
    pub fn mean(target: Tensor<2>) -> Self {
        let n = target.dims()[0];
        let weight = Tensor::full([n], 1.0 / n.max(1) as f64, &target.device());
        Self { target, weight }
    }
}

/// `Σ_terms Σ_i weight_i Σ_j column_j (y_ij − target_ij)²`, differentiable in `y`.
///
/// # Shapes
/// `y`: `[batch, d_y]`, `columns`: `[1, d_y]` → `[1]`
pub fn squared_error(y: Tensor<2>, terms: &[Term], columns: Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(loss) = fused(&y, terms, &columns) {
        return loss;
    }
    composed(y, terms, columns)
}

/// The gradient of [`squared_error`] with respect to `y`, all operands being constants.
///
/// # Shapes
/// `y`: `[batch, d_y]`, `columns`: `[1, d_y]` → `[batch, d_y]`
pub fn squared_error_gradient(y: Tensor<2>, terms: &[Term], columns: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(gradient) = fused_gradient(&y, terms, &columns) {
        return gradient;
    }
    let term = |term: &Term| {
        let weight = term.weight.clone().unsqueeze_dim(1) * 2.0;
        (y.clone() - term.target.clone()) * weight
    };
    let sums = terms.iter().map(term).reduce(|sum, term| sum + term);
    sums.map_or_else(|| y.zeros_like(), |sum| sum * columns)
}

/// `Σ_ij y_ij coefficient_ij`, differentiable in `y`: what turns a gradient that is known into a loss that has
/// it.
///
/// # Shapes
/// `y`, `coefficients`: `[batch, d]` → `[1]`
pub fn inner_product(y: Tensor<2>, coefficients: Tensor<2>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if let Some(product) = fused_product(&y, &coefficients) {
        return product;
    }
    (y * coefficients).sum()
}

#[cfg(feature = "flex")]
fn fused_product(y: &Tensor<2>, coefficients: &Tensor<2>) -> Option<Tensor<1>> {
    let shape = y.dims();
    if coefficients.dims() != shape {
        return None;
    }
    let mut graph = Graph::default();
    let y = graph.operand(y.clone(), ())?;
    let coefficients = Operand::constant(coefficients.clone())?;
    let pairs = y.as_slice().iter().zip(coefficients.as_slice());
    let product: f64 = pairs.map(|(y, c)| f64::from(y * c)).sum();
    let gradient = Gradient {
        gradient: coefficients.as_slice().to_vec(),
        shape,
    };
    graph.finish(Operand::new(vec![product as f32], [1]), gradient)
}

/// The same in burn's own operations, on any device.
fn composed(y: Tensor<2>, terms: &[Term], columns: Tensor<2>) -> Tensor<1> {
    let sum = |term: &Term| {
        let residual = y.clone() - term.target.clone();
        let rows = (residual.clone() * residual * columns.clone()).sum_dim(1);
        (rows.squeeze_dim::<1>(1) * term.weight.clone()).sum()
    };
    let sums = terms.iter().map(sum).reduce(|sum, term| sum + term);
    sums.unwrap_or_else(|| Tensor::zeros([1], &y.device()))
}

/// One pass for the value and the gradient, which is all the backward pass needs. Nothing if anything but
/// `y` has gradients.
#[cfg(feature = "flex")]
fn fused(y: &Tensor<2>, terms: &[Term], columns: &Tensor<2>) -> Option<Tensor<1>> {
    let shape = y.dims();
    let mut graph = Graph::default();
    let predicted = graph.operand(y.clone(), ())?;
    let (loss, gradient) = value_and_gradient(&predicted, shape, terms, columns)?;
    let gradient = Gradient { gradient, shape };
    graph.finish(Operand::new(vec![loss], [1]), gradient)
}

#[cfg(feature = "flex")]
fn fused_gradient(y: &Tensor<2>, terms: &[Term], columns: &Tensor<2>) -> Option<Tensor<2>> {
    let shape = y.dims();
    let predicted = Operand::constant(y.clone())?;
    let (_, gradient) = value_and_gradient(&predicted, shape, terms, columns)?;
    Some(Operand::new(gradient, shape).into_tensor())
}

#[cfg(feature = "flex")]
fn value_and_gradient(
    y: &Operand,
    [n, d_y]: [usize; 2],
    terms: &[Term],
    columns: &Tensor<2>,
) -> Option<(f32, Vec<f32>)> {
    if columns.dims() != [1, d_y] || d_y == 0 {
        return None;
    }
    let columns = Operand::constant(columns.clone())?;
    let mut gradient = vec![0.0f32; n * d_y];
    let mut loss = 0.0f64;
    for term in terms {
        if term.target.dims() != [n, d_y] || term.weight.dims() != [n] {
            return None;
        }
        let target = Operand::constant(term.target.clone())?;
        let weight = Operand::constant(term.weight.clone())?;
        let [y, target] = [y, &target].map(Operand::as_slice);
        let (weight, columns) = (weight.as_slice(), columns.as_slice());
        loss += match d_y {
            1 => add_narrow::<1>(y, target, weight, columns, &mut gradient),
            2 => add_narrow::<2>(y, target, weight, columns, &mut gradient),
            3 => add_narrow::<3>(y, target, weight, columns, &mut gradient),
            4 => add_narrow::<4>(y, target, weight, columns, &mut gradient),
            _ => {
                let rows = y.chunks_exact(d_y).zip(target.chunks_exact(d_y));
                let rows = rows.zip(gradient.chunks_exact_mut(d_y)).zip(weight);
                rows.map(|(((y, target), gradient), weight)| {
                    add_row(y, target, *weight, columns, gradient)
                })
                .sum()
            }
        };
    }
    Some((loss as f32, gradient))
}

/// Adds a term's gradient to what is there, and tells its value. Rows of a known width are a few instructions each.
#[cfg(feature = "flex")]
fn add_narrow<const D: usize>(
    y: &[f32],
    target: &[f32],
    weight: &[f32],
    columns: &[f32],
    gradient: &mut [f32],
) -> f64 {
    let Some(columns) = columns.first_chunk::<D>() else {
        return 0.0;
    };
    let rows = y.as_chunks::<D>().0.iter().zip(target.as_chunks::<D>().0);
    let rows = rows.zip(gradient.as_chunks_mut::<D>().0).zip(weight);
    rows.map(|(((y, target), gradient), weight)| add_row(y, target, *weight, columns, gradient))
        .sum()
}

#[cfg(feature = "flex")]
#[expect(
    clippy::inline_always,
    reason = "where the width is known, so is the length of its loop"
)]
#[inline(always)]
fn add_row(y: &[f32], target: &[f32], weight: f32, columns: &[f32], gradient: &mut [f32]) -> f64 {
    let mut row = 0.0;
    for (((y, target), column), gradient) in y.iter().zip(target).zip(columns).zip(gradient) {
        let residual = y - target;
        row += column * residual * residual;
        *gradient += 2.0 * weight * column * residual;
    }
    f64::from(weight * row)
}

#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
struct Gradient {
    gradient: Vec<f32>,
    shape: [usize; 2],
}

#[cfg(feature = "flex")]
impl Pullback for Gradient {
    type Role = ();

    fn pull(&self, output: &[f32], _roles: &[()]) -> Vec<Operand> {
        let scaled = self.gradient.iter().map(|g| g * output[0]).collect();
        vec![Operand::new(scaled, self.shape)]
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

    pub(super) fn random<const D: usize>(rng: &mut impl Rng, shape: [usize; D]) -> Tensor<D> {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn value_and_gradient_are_those_of_the_composed_form() {
        let rng = &mut StdRng::seed_from_u64(1);
        for (n, d_y) in [(1, 1), (64, 2), (9, 5)] {
            let columns = random(rng, [1, d_y]);
            let terms: Vec<Term> = (0..2)
                .map(|_| Term {
                    target: random(rng, [n, d_y]),
                    weight: random(rng, [n]) / n as f64,
                })
                .collect();
            let y = random(rng, [n, d_y]).autodiff().require_grad();
            let value = |loss: &Tensor<1>| loss.clone().inner().into_scalar::<f32>();
            let one = fused(&y, &terms, &columns).unwrap();
            let other = composed(y.clone(), &terms, columns.clone());
            assert!((value(&one) - value(&other)).abs() < 1e-6);
            let gradient = |loss: Tensor<1>| {
                let gradients = (loss * 3.0).backward();
                let gradient = y.grad(&gradients).unwrap().into_data();
                gradient.try_to_vec_as::<f32>().unwrap()
            };
            let by_graph = gradient(one);
            for (one, other) in by_graph.iter().zip(gradient(other)) {
                assert!((one - other).abs() <= 1e-6 * (1.0 + other.abs()));
            }
            let by_hand = squared_error_gradient(y.clone().inner(), &terms, columns) * 3.0;
            let by_hand = by_hand.into_data().try_to_vec_as::<f32>().unwrap();
            for (one, other) in by_hand.iter().zip(by_graph) {
                assert!((one - other).abs() <= 1e-6 * (1.0 + other.abs()));
            }
        }
    }

    #[test]
    fn an_inner_product_has_its_coefficients_for_a_gradient() {
        let rng = &mut StdRng::seed_from_u64(3);
        let [y, coefficients] = [random(rng, [5, 3]), random(rng, [5, 3])];
        let y = y.autodiff().require_grad();
        let product = inner_product(y.clone(), coefficients.clone());
        let composed = (y.clone() * coefficients.clone()).sum().inner();
        let difference = product.clone().inner() - composed;
        assert!(difference.into_scalar::<f32>().abs() < 1e-6);
        let gradient = y.grad(&product.backward()).unwrap();
        gradient.to_data().assert_eq(&coefficients.to_data(), true);
    }

    #[test]
    fn a_target_with_gradients_is_left_to_burn() {
        let rng = &mut StdRng::seed_from_u64(2);
        let [y, columns] = [random(rng, [3, 2]), random(rng, [1, 2])];
        let target = random(rng, [3, 2]).autodiff().require_grad();
        let terms = [Term {
            target: target.clone(),
            weight: random(rng, [3]),
        }];
        let gradients = squared_error(y, &terms, columns).backward();
        assert!(target.grad(&gradients).is_some());
    }
}
