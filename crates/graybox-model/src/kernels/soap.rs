//! SOAP on slices: one matrix, its two bases, and Adam between them.
//!
//! Every product is a kernel of its own: in one function they are too much for the compiler to unroll.

use pulp::{Simd, WithSimd};

use super::tile::{self, Rows, pad_row, padded};
use super::{Adam, Buffer, orthonormal, vectorize};

/// The numbers of one step; see [`crate::SoapStep`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Soap {
    pub(crate) adam: Adam,
    pub(crate) beta_gram: f32,
    /// What the step leaves of the parameter before it is moved.
    pub(crate) kept: f32,
    pub(crate) turn: bool,
}

/// A parameter `[rows, columns]` and what is remembered of it.
pub(crate) struct Matrix<'a> {
    pub(crate) shape: [usize; 2],
    pub(crate) parameter: &'a mut [f32],
    pub(crate) gradient: &'a [f32],
    /// In the eigenbasis.
    pub(crate) moments: [&'a mut [f32]; 2],
    /// Of the rows' side and of the columns'.
    pub(crate) bases: [Basis<'a>; 2],
}

/// A Gram matrix and its eigenvectors as rows, both `[n, n]`.
pub(crate) struct Basis<'a> {
    pub(crate) gram: &'a mut [f32],
    pub(crate) vectors: &'a mut [f32],
}

impl Soap {
    pub(crate) fn step(self, matrix: Matrix<'_>) {
        let [m, n] = matrix.shape;
        let [left, right] = matrix.bases;
        let [first, second] = matrix.moments;
        let gradient = matrix.gradient;

        observe(self.beta_gram, [m, n], gradient, right.gram);
        observe(
            self.beta_gram,
            [n, m],
            &transposed([m, n], gradient),
            left.gram,
        );
        let mut inner = Buffer::take(m * n);
        if self.turn {
            // The mean gradient moves to the new basis; its square stays, as in the paper.
            outwards([m, n], [left.vectors, right.vectors], first, &mut inner);
            turn(m, left.gram, left.vectors);
            turn(n, right.gram, right.vectors);
            inwards([m, n], [left.vectors, right.vectors], &inner, first);
        }
        let bases: [&[f32]; 2] = [left.vectors, right.vectors];
        inwards([m, n], bases, gradient, &mut inner);
        let mut step = Buffer::zeros(m * n);
        self.adam.step(&mut step, &inner, first, second);
        outwards([m, n], bases, &step, &mut inner);
        for (parameter, step) in matrix.parameter.iter_mut().zip(inner.iter()) {
            *parameter = *parameter * self.kept + step;
        }
    }
}

/// One step of orthogonal iteration towards the eigenvectors.
fn turn(n: usize, gram: &[f32], vectors: &mut [f32]) {
    let mut towards = Buffer::take(n * n);
    product([n, n, n], vectors, Right::Plain(gram), &mut towards);
    orthonormal::rows(n, &towards, vectors);
}

/// Into the eigenbasis: `L X Rᵀ`, the eigenvectors being rows.
fn inwards([m, n]: [usize; 2], [left, right]: [&[f32]; 2], from: &[f32], to: &mut [f32]) {
    let mut half = Buffer::take(m * n);
    product([m, m, n], left, Right::Plain(from), &mut half);
    product([m, n, n], &half, Right::Transposed(right), to);
}

/// Out of the eigenbasis: `Lᵀ X R`.
fn outwards([m, n]: [usize; 2], [left, right]: [&[f32]; 2], from: &[f32], to: &mut [f32]) {
    let mut half = Buffer::take(m * n);
    product([m, n, n], from, Right::Plain(right), &mut half);
    let left = transposed([m, m], left);
    product([m, m, n], &left, Right::Plain(&half), to);
}

/// The transpose of `[m, n]`.
fn transposed([m, n]: [usize; 2], matrix: &[f32]) -> Buffer {
    let mut out = Buffer::take(m * n);
    for (j, column) in out.chunks_exact_mut(m).enumerate() {
        for (to, row) in column.iter_mut().zip(matrix.chunks_exact(n)) {
            *to = row[j];
        }
    }
    out
}

/// A product's right-hand side.
#[derive(Clone, Copy)]
enum Right<'a> {
    /// `[k, n]`
    Plain(&'a [f32]),
    /// `[n, k]`
    Transposed(&'a [f32]),
}

/// `out ← A B` of `A`, `[m, k]`, and `B`, `[k, n]`.
fn product(shape: [usize; 3], left: &[f32], right: Right<'_>, out: &mut [f32]) {
    vectorize(Product {
        shape,
        left,
        right,
        out,
    });
}

struct Product<'a> {
    shape: [usize; 3],
    left: &'a [f32],
    right: Right<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [m, k, n] = self.shape;
        let stride = padded::<S>(n);
        let mut packed = Buffer::take(k * stride);
        match self.right {
            Right::Plain(right) => tile::pack::<S>(right, k, n, &mut packed),
            Right::Transposed(right) => tile::pack_transposed::<S>(right, k, n, &mut packed),
        }
        let zeros = Buffer::zeros(stride);
        let left = Rows {
            data: self.left,
            stride: k,
            width: k,
        };
        let mut wide = Buffer::take(if stride == n { 0 } else { m * stride });
        let out = if stride == n {
            &mut *self.out
        } else {
            &mut *wide
        };
        tile::affine(simd, m, left, &packed, &zeros, out);
        if stride != n {
            let rows = self.out.chunks_exact_mut(n).zip(wide.chunks_exact(stride));
            rows.for_each(|(to, from)| to.copy_from_slice(&from[..n]));
        }
    }
}

/// `gram ← β gram + (1 − β) GᵀG` of `G`, `[rows, n]`.
fn observe(beta: f32, shape: [usize; 2], matrix: &[f32], gram: &mut [f32]) {
    vectorize(Observe {
        beta,
        shape,
        matrix,
        gram,
    });
}

struct Observe<'a> {
    beta: f32,
    shape: [usize; 2],
    matrix: &'a [f32],
    gram: &'a mut [f32],
}

impl WithSimd for Observe<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [rows, n] = self.shape;
        let stride = padded::<S>(n);
        let mut wide = Buffer::take(rows * stride);
        for (to, from) in wide
            .chunks_exact_mut(stride)
            .zip(self.matrix.chunks_exact(n))
        {
            pad_row(from, to);
        }
        let mut product = Buffer::zeros(n * stride);
        let input = Rows {
            data: &wide,
            stride,
            width: n,
        };
        tile::add_outer(simd, rows, input, input, &mut product);
        let grams = self.gram.chunks_exact_mut(n);
        for (gram, product) in grams.zip(product.chunks_exact(stride)) {
            for (gram, product) in gram.iter_mut().zip(product) {
                *gram = *gram * self.beta + product * (1.0 - self.beta);
            }
        }
    }
}
