//! The arithmetic of SOAP on one matrix.

use burn::prelude::*;

#[cfg(feature = "flex")]
use crate::flex::{Operand, all_plain};
#[cfg(feature = "flex")]
use crate::kernels;
use crate::{AdamStep, orthonormal};

/// One step of SOAP (Vyas et al., ICLR 2025, algorithm 3) on one matrix: Adam in the eigenbasis of the Gram
/// matrices of its gradients, `E[G Gᵀ]` and `E[Gᵀ G]`.
///
/// On burn's CPU backend it is one pass of tiled products, elsewhere burn's own operations.
#[derive(Debug, Clone, Copy)]
pub struct SoapStep {
    /// What happens in the eigenbasis.
    pub adam: AdamStep,
    /// Decay of the Gram matrices.
    pub beta_gram: f32,
    /// Share of the matrix that goes, apart from the gradient.
    pub decay: f64,
    /// Whether the bases are then brought up to date by one step of orthogonal iteration.
    pub turn: bool,
}

/// What SOAP remembers of a matrix `[m, n]`.
#[derive(Debug, Clone)]
pub struct SoapMeans {
    /// Means of the gradient and of its square, in the eigenbasis, `[m, n]`.
    pub moments: [Tensor<2>; 2],
    /// Of `E[G Gᵀ]`, `[m, m]`, and of `E[Gᵀ G]`, `[n, n]`.
    pub bases: [Eigenbasis; 2],
}

impl SoapMeans {
    /// The bases of a first gradient, on which itself no step is taken: in its own basis most of it is zero but for
    /// rounding, by which nothing can be scaled.
    ///
    /// # Shapes
    /// `gradient`: `[m, n]`, without a gradient of its own
    pub fn begin(gradient: &Tensor<2>, beta_gram: f32) -> Self {
        let mut means = Self::new(gradient);
        let transposed = gradient.clone().transpose();
        let products = [
            gradient.clone().matmul(transposed.clone()),
            transposed.matmul(gradient.clone()),
        ];
        for (basis, product) in means.bases.iter_mut().zip(products) {
            basis.observe(product, beta_gram);
            basis.turn();
        }
        means
    }

    /// Of a matrix like this one, nothing yet.
    pub(crate) fn new(like: &Tensor<2>) -> Self {
        let [m, n] = like.dims();
        let device = like.device();
        Self {
            moments: [like.zeros_like(), like.zeros_like()],
            bases: [Eigenbasis::new(m, &device), Eigenbasis::new(n, &device)],
        }
    }
}

/// A Gram matrix and what is known of its eigenvectors.
#[derive(Debug, Clone)]
pub struct Eigenbasis {
    /// `[n, n]`
    pub gram: Tensor<2>,
    /// As rows, `[n, n]`.
    pub vectors: Tensor<2>,
}

impl Eigenbasis {
    fn new(n: usize, device: &Device) -> Self {
        Self {
            gram: Tensor::zeros([n, n], device),
            vectors: Tensor::eye(n, device),
        }
    }

    fn observe(&mut self, product: Tensor<2>, beta: f32) {
        self.gram = self.gram.clone() * beta + product * (1.0 - beta);
    }

    fn turn(&mut self) {
        let towards = self.vectors.clone().matmul(self.gram.clone());
        let device = towards.device();
        let [n, _] = towards.dims();
        let [towards, mut vectors] = [towards, self.vectors.clone()].map(|tensor| {
            let values = tensor.into_data().try_to_vec_as::<f32>();
            values.expect("float tensors convert to f32")
        });
        orthonormal::rows(n, &towards, &mut vectors);
        self.vectors = Tensor::from_data(TensorData::new(vectors, [n, n]), &device);
    }
}

impl SoapStep {
    /// The new matrix, and what is remembered of it then.
    ///
    /// # Shapes
    /// `parameter`, `gradient`: `[m, n]`, without gradients of their own
    pub fn apply(
        &self,
        parameter: Tensor<2>,
        gradient: Tensor<2>,
        means: SoapMeans,
    ) -> (Tensor<2>, SoapMeans) {
        #[cfg(feature = "flex")]
        {
            let [first, second] = &means.moments;
            let [left, right] = &means.bases;
            if all_plain([&parameter, &gradient, first, second])
                && all_plain([&left.gram, &left.vectors])
                && all_plain([&right.gram, &right.vectors])
                && !parameter.shape().is_empty()
            {
                return self.fused(parameter, gradient, means);
            }
        }
        self.composed(parameter, gradient, means)
    }

    pub(crate) fn composed(
        &self,
        parameter: Tensor<2>,
        gradient: Tensor<2>,
        means: SoapMeans,
    ) -> (Tensor<2>, SoapMeans) {
        let SoapMeans {
            moments: [first, second],
            bases: [mut left, mut right],
        } = means;
        let inner = inwards(&left, &right, gradient.clone());
        let still = inner.zeros_like();
        let (step, [mut first, second]) = self.adam.composed(still, inner, [first, second]);
        let step = outwards(&left, &right, step);
        let transposed = gradient.clone().transpose();
        left.observe(gradient.clone().matmul(transposed.clone()), self.beta_gram);
        right.observe(transposed.matmul(gradient), self.beta_gram);
        if self.turn {
            // The mean gradient moves to the new basis; its square stays, as in the paper.
            let mean = outwards(&left, &right, first);
            left.turn();
            right.turn();
            first = inwards(&left, &right, mean);
        }
        let means = SoapMeans {
            moments: [first, second],
            bases: [left, right],
        };
        (parameter * (1.0 - self.decay) + step, means)
    }

    /// In place where nobody else holds the parameter or what is remembered.
    #[cfg(feature = "flex")]
    fn fused(
        &self,
        parameter: Tensor<2>,
        gradient: Tensor<2>,
        means: SoapMeans,
    ) -> (Tensor<2>, SoapMeans) {
        let operand = |t| Operand::constant(t).expect("plain tensors are operands");
        let shape = parameter.dims();
        let [mut parameter, gradient] = [parameter, gradient].map(operand);
        let mut moments = means.moments.map(operand);
        let mut bases = means
            .bases
            .map(|basis| [basis.gram, basis.vectors].map(operand));
        let soap = kernels::Soap {
            adam: self.adam.kernel(),
            beta_gram: self.beta_gram,
            kept: (1.0 - self.decay) as f32,
            turn: self.turn,
        };
        soap.step(kernels::Matrix {
            shape,
            parameter: parameter.as_mut_slice(),
            gradient: gradient.as_slice(),
            moments: moments.each_mut().map(Operand::as_mut_slice),
            bases: bases.each_mut().map(|[gram, vectors]| kernels::Basis {
                gram: gram.as_mut_slice(),
                vectors: vectors.as_mut_slice(),
            }),
        });
        let means = SoapMeans {
            moments: moments.map(Operand::into_tensor),
            bases: bases.map(|basis| {
                let [gram, vectors] = basis.map(Operand::into_tensor);
                Eigenbasis { gram, vectors }
            }),
        };
        (parameter.into_tensor(), means)
    }
}

/// Into the eigenbasis.
fn inwards(left: &Eigenbasis, right: &Eigenbasis, matrix: Tensor<2>) -> Tensor<2> {
    let half = left.vectors.clone().matmul(matrix);
    half.matmul(right.vectors.clone().transpose())
}

/// Out of the eigenbasis.
fn outwards(left: &Eigenbasis, right: &Eigenbasis, matrix: Tensor<2>) -> Tensor<2> {
    let half = matrix.matmul(right.vectors.clone());
    left.vectors.clone().transpose().matmul(half)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn step(time: usize) -> SoapStep {
        SoapStep {
            adam: AdamStep {
                beta_1: 0.95,
                beta_2: 0.95,
                epsilon: 1e-8,
                rate: 3e-3,
                time,
            },
            beta_gram: 0.95,
            decay: 1e-3,
            turn: time % 10 == 1,
        }
    }

    fn host(tensor: &Tensor<2>) -> Vec<f32> {
        tensor.to_data().try_to_vec_as::<f32>().unwrap()
    }

    fn assert_close(one: &Tensor<2>, other: &Tensor<2>, within: f32) {
        for (one, other) in host(one).into_iter().zip(host(other)) {
            let error = (one - other).abs();
            assert!(error <= within * (1.0 + other.abs()), "{one} {other}");
        }
    }

    /// Gradients of full rank whose directions differ in scale, so that the eigenvectors are those of the
    /// matrix and not of its rounding.
    fn gradient(rng: &mut StdRng, [m, n]: [usize; 2]) -> Tensor<2> {
        let entry = |idx: usize| {
            let (row, column) = (idx / n, idx % n);
            let size = 0.7f32.powi((row + 2 * column) as i32 % 5);
            size * rng.random_range(-1.0..1.0f32)
        };
        let values: Vec<f32> = (0..m * n).map(entry).collect();
        Tensor::from_data(TensorData::new(values, [m, n]), &Device::flex())
    }

    #[test]
    fn each_step_is_that_of_the_composed_form() {
        let rng = &mut StdRng::seed_from_u64(1);
        for shape in [[1, 1], [3, 3], [7, 5], [16, 16], [9, 24]] {
            // The Gram matrices of one gradient need not have full rank, and any basis will do for what they
            // have not seen.
            let parameter = gradient(rng, shape);
            let means = SoapMeans::new(&parameter);
            let (mut parameter, mut means) = step(1).apply(parameter, gradient(rng, shape), means);
            for time in 2..=40 {
                let step = step(time);
                let gradient = gradient(rng, shape);
                let (other, others) =
                    step.composed(parameter.clone(), gradient.clone(), means.clone());
                (parameter, means) = step.apply(parameter, gradient, means);
                assert_close(&parameter, &other, 1e-6);
                for (one, other) in means.moments.iter().zip(&others.moments) {
                    assert_close(one, other, 1e-5);
                }
                for (one, other) in means.bases.iter().zip(&others.bases) {
                    assert_close(&one.gram, &other.gram, 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_bases_stay_orthonormal() {
        let rng = &mut StdRng::seed_from_u64(2);
        let mut parameter = gradient(rng, [8, 3]);
        let mut means = SoapMeans::new(&parameter);
        for time in 1..=200 {
            let gradient = gradient(rng, [8, 3]);
            (parameter, means) = step(time).apply(parameter, gradient, means);
        }
        for basis in &means.bases {
            let vectors = basis.vectors.clone();
            let product = vectors.clone().matmul(vectors.transpose());
            let identity = Tensor::eye(product.dims()[0], &Device::flex());
            assert_close(&product, &identity, 1e-6);
        }
    }

    #[test]
    fn what_somebody_else_holds_is_left_as_it_was() {
        let rng = &mut StdRng::seed_from_u64(3);
        let parameter = gradient(rng, [3, 4]);
        let means = SoapMeans::new(&parameter);
        let held = (parameter.clone(), means.clone());
        let before = [&held.0, &held.1.moments[0], &held.1.bases[1].vectors].map(host);
        let gradient = gradient(rng, [3, 4]);
        let (moved, _) = step(1).apply(parameter, gradient, means);
        assert_ne!(host(&moved), host(&held.0));
        let after = [&held.0, &held.1.moments[0], &held.1.bases[1].vectors].map(host);
        assert_eq!(before, after);
    }
}
