//! SOAP on slices: one matrix, its two bases, and Adam between them.
//!
//! Every product is a kernel of its own: in one function they are too much for the compiler to unroll.

use pulp::{Simd, WithSimd};

use super::tile::{self, Decay, Rows, Set, pad_row, padded};
use super::transpose::transpose;
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
        let shape @ [m, n] = matrix.shape;
        let [left, right] = matrix.bases;
        let [first, second] = matrix.moments;
        let gradient = matrix.gradient;

        let mut half = Buffer::take(m * n);
        let mut inner = Buffer::take(m * n);
        let mut step = Buffer::zeros(m * n);
        {
            let bases: [&[f32]; 2] = [left.vectors, right.vectors];
            inwards(shape, bases, gradient, &mut half, &mut inner);
            self.adam.step(&mut step, &inner, first, second);
            outwards(shape, bases, &step, &mut half, &mut inner);
        }
        for (parameter, step) in matrix.parameter.iter_mut().zip(inner.iter()) {
            *parameter = *parameter * self.kept + step;
        }

        observe(self.beta_gram, shape, gradient, right.gram);
        transpose(shape, gradient, &mut step);
        observe(self.beta_gram, [n, m], &step, left.gram);
        if self.turn {
            // The mean gradient moves to the new basis; its square stays, as in the paper.
            let old: [&[f32]; 2] = [left.vectors, right.vectors];
            outwards(shape, old, first, &mut half, &mut inner);
            turn(m, left.gram, left.vectors);
            turn(n, right.gram, right.vectors);
            let new: [&[f32]; 2] = [left.vectors, right.vectors];
            inwards(shape, new, &inner, &mut half, first);
        }
    }
}

/// One step of orthogonal iteration towards the eigenvectors.
fn turn(n: usize, gram: &[f32], vectors: &mut [f32]) {
    let mut towards = Buffer::take(n * n);
    product([n, n, n], Factors::Plain(vectors, gram), &mut towards);
    orthonormal::rows(n, &towards, vectors);
}

/// Into the eigenbasis: `L X Rᵀ`, the eigenvectors being rows.
fn inwards(
    [m, n]: [usize; 2],
    [left, right]: [&[f32]; 2],
    from: &[f32],
    half: &mut [f32],
    to: &mut [f32],
) {
    product([m, n, n], Factors::RightTransposed(from, right), half);
    product([m, m, n], Factors::Plain(left, half), to);
}

/// Out of the eigenbasis: `Lᵀ X R`.
fn outwards(
    [m, n]: [usize; 2],
    [left, right]: [&[f32]; 2],
    from: &[f32],
    half: &mut [f32],
    to: &mut [f32],
) {
    product([m, n, n], Factors::Plain(from, right), half);
    product([m, m, n], Factors::LeftTransposed(left, half), to);
}

/// The two factors of a product, row by row.
#[derive(Clone, Copy)]
enum Factors<'a> {
    /// `A B`
    Plain(&'a [f32], &'a [f32]),
    /// `Aᵀ B`
    LeftTransposed(&'a [f32], &'a [f32]),
    /// `A Bᵀ`
    RightTransposed(&'a [f32], &'a [f32]),
}

/// `[m, k]` times `[k, n]`.
fn product(shape: [usize; 3], factors: Factors<'_>, out: &mut [f32]) {
    vectorize(Product {
        shape,
        factors,
        out,
    });
}

struct Product<'a> {
    shape: [usize; 3],
    factors: Factors<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [m, k, n] = self.shape;
        let stride = padded::<S>(n);
        let mut wide = Buffer::take(if stride == n { 0 } else { m * stride });
        let out = if stride == n {
            &mut *self.out
        } else {
            &mut *wide
        };
        let (left, packed) = match self.factors {
            Factors::LeftTransposed(left, right) => {
                let left = Rows {
                    data: left,
                    stride: m,
                    width: m,
                };
                let mut room = Buffer::default();
                let right = widened::<S>(right, n, &mut room);
                tile::outer(simd, k, left, right, Set, out);
                (None, Buffer::default())
            }
            Factors::Plain(left, right) => {
                let mut packed = Buffer::take(k * stride);
                tile::pack::<S>(right, k, n, &mut packed);
                (Some(left), packed)
            }
            Factors::RightTransposed(left, right) => {
                let mut packed = Buffer::take(k * stride);
                tile::pack_transposed::<S>(right, k, n, &mut packed);
                (Some(left), packed)
            }
        };
        if let Some(left) = left {
            let left = Rows {
                data: left,
                stride: k,
                width: k,
            };
            tile::affine(simd, m, left, &packed, &Buffer::zeros(stride), out);
        }
        if stride != n {
            narrow(&wide, stride, n, self.out);
        }
    }
}

/// Rows padded to whole registers, in place where they are.
#[inline(always)]
fn widened<'a, S: Simd>(matrix: &'a [f32], n: usize, room: &'a mut Buffer) -> Rows<'a> {
    let stride = padded::<S>(n);
    let data = if stride == n {
        matrix
    } else {
        *room = Buffer::take(matrix.len() / n.max(1) * stride);
        let rows = room.chunks_exact_mut(stride);
        for (to, from) in rows.zip(matrix.chunks_exact(n)) {
            pad_row(from, to);
        }
        room
    };
    Rows {
        data,
        stride,
        width: n,
    }
}

/// Rows without their padding.
#[inline(always)]
fn narrow(wide: &[f32], stride: usize, n: usize, to: &mut [f32]) {
    for (to, from) in to.chunks_exact_mut(n).zip(wide.chunks_exact(stride)) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
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

/// Rows from which on it pays to compute one half of a Gram matrix alone and to copy it to the other.
const MANY: usize = 8;

impl WithSimd for Observe<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [rows, n] = self.shape;
        let stride = padded::<S>(n);
        let mut room = Buffer::default();
        let matrix = widened::<S>(self.matrix, n, &mut room);
        let mut wide = Buffer::default();
        let is_wide = stride == n;
        let gram = if is_wide {
            &mut *self.gram
        } else {
            widened::<S>(self.gram, n, &mut wide);
            &mut *wide
        };
        if rows < MANY {
            tile::outer(simd, rows, matrix, matrix, Decay(self.beta), gram);
        } else {
            tile::outer_upper(simd, rows, matrix, Decay(self.beta), gram);
            mirror(n, stride, gram);
        }
        if !is_wide {
            narrow(&wide, stride, n, self.gram);
        }
    }
}

/// Copies what is above the diagonal to below it.
#[inline(always)]
fn mirror(n: usize, stride: usize, matrix: &mut [f32]) {
    for i in 1..n {
        let (above, from) = matrix.split_at_mut(i * stride);
        let columns = above.chunks_exact(stride);
        for (to, column) in from[..i].iter_mut().zip(columns) {
            *to = column[i];
        }
    }
}
