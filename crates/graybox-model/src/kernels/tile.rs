//! Matrix products by tiles that stay in registers.
//!
//! A row of activations is padded to whole registers of `L` numbers; the right-hand matrix is packed into
//! panels of two registers (or one, the last), each panel `[k][2 L]`. A tile is six rows by one panel: twelve
//! sums, two registers of the panel and one broadcast fill the sixteen registers of AVX2.

#![expect(
    clippy::too_many_arguments,
    clippy::needless_range_loop,
    reason = "a tile is a place in three matrices, and its loops have to unroll"
)]

use pulp::Simd;

/// Rows of a tile.
const ROWS: usize = 6;

/// A width padded to whole registers.
pub(super) const fn padded<S: Simd>(width: usize) -> usize {
    width.next_multiple_of(S::F32_LANES)
}

/// Panels of a matrix `[k, width]`: `pack(row, first column, panel row)` fills `panel row` from there on.
#[inline(always)]
fn pack_by<S: Simd>(
    k: usize,
    width: usize,
    packed: &mut [f32],
    pack: impl Fn(usize, usize, &mut [f32]),
) {
    let stride = padded::<S>(width);
    let mut at = 0;
    let mut column = 0;
    while column < stride {
        let panel = (2 * S::F32_LANES).min(stride - column);
        for row in 0..k {
            pack(row, column, &mut packed[at..at + panel]);
            at += panel;
        }
        column += panel;
    }
}

/// Packs `[k, width]`, row-major. `packed` has `k · padded(width)` numbers.
#[inline(always)]
pub(super) fn pack<S: Simd>(matrix: &[f32], k: usize, width: usize, packed: &mut [f32]) {
    pack_by::<S>(k, width, packed, |row, column, panel| {
        let n = panel.len().min(width - column);
        let from = &matrix[row * width + column..][..n];
        if n < panel.len() {
            pad_row(from, panel);
            return;
        }
        // Register by register: a call of memcpy costs more than the sixteen numbers.
        let to = S::as_mut_simd_f32s(panel).0;
        for (to, from) in to.iter_mut().zip(S::as_simd_f32s(from).0) {
            *to = *from;
        }
    });
}

/// Packs the transpose of `[width, k]`, row-major. `packed` has `k · padded(width)` numbers.
#[inline(always)]
pub(super) fn pack_transposed<S: Simd>(matrix: &[f32], k: usize, width: usize, packed: &mut [f32]) {
    pack_by::<S>(k, width, packed, |row, column, panel| {
        let n = panel.len().min(width - column);
        let rows = matrix[column * k..].chunks_exact(k);
        for (value, matrix) in panel.iter_mut().zip(rows) {
            *value = matrix[row];
        }
        for value in &mut panel[n..] {
            *value = 0.0;
        }
    });
}

/// A row, and zeros up to the end. Most are a few numbers, for which a call of memcpy or memset is too much.
#[inline(always)]
pub(super) fn pad_row(from: &[f32], to: &mut [f32]) {
    let (head, tail) = to.split_at_mut(from.len());
    if from.len() <= 8 {
        for (to, from) in head.iter_mut().zip(from) {
            *to = *from;
        }
    } else {
        head.copy_from_slice(from);
    }
    for value in tail {
        *value = 0.0;
    }
}

/// Rows of a row-major matrix: `stride` apart, the first `width` numbers of each count.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.width]
    }
}

/// `out ← input · matrix + bias` for the first `n` rows. The matrix is packed, `bias` and the rows of `out`
/// are padded.
#[inline(always)]
pub(super) fn affine<S: Simd>(
    simd: S,
    n: usize,
    input: Rows<'_>,
    packed: &[f32],
    bias: &[f32],
    out: &mut [f32],
) {
    let stride = bias.len();
    let mut at = 0;
    let mut column = 0;
    while column < stride {
        let panel = (2 * S::F32_LANES).min(stride - column);
        let matrix = &packed[at..at + input.width * panel];
        let bias = &bias[column..column + panel];
        if panel > S::F32_LANES {
            affine_panel::<S, 2>(simd, n, input, matrix, bias, out, column, stride);
        } else {
            affine_panel::<S, 1>(simd, n, input, matrix, bias, out, column, stride);
        }
        at += input.width * panel;
        column += panel;
    }
}

#[inline(always)]
fn affine_panel<S: Simd, const V: usize>(
    simd: S,
    n: usize,
    input: Rows<'_>,
    matrix: &[f32],
    bias: &[f32],
    out: &mut [f32],
    column: usize,
    stride: usize,
) {
    let matrix = S::as_simd_f32s(matrix).0.as_chunks::<V>().0;
    let Some(bias) = S::as_simd_f32s(bias).0.first_chunk::<V>() else {
        return;
    };
    let mut row = 0;
    while full_tile(n - row) {
        affine_tile::<S, ROWS, V>(simd, row, input, matrix, bias, out, column, stride);
        row += ROWS;
    }
    if n - row > 5 {
        affine_tile::<S, 4, V>(simd, row, input, matrix, bias, out, column, stride);
        row += 4;
    }
    match n - row {
        5 => affine_tile::<S, 5, V>(simd, row, input, matrix, bias, out, column, stride),
        4 => affine_tile::<S, 4, V>(simd, row, input, matrix, bias, out, column, stride),
        3 => affine_tile::<S, 3, V>(simd, row, input, matrix, bias, out, column, stride),
        2 => affine_tile::<S, 2, V>(simd, row, input, matrix, bias, out, column, stride),
        1 => affine_tile::<S, 1, V>(simd, row, input, matrix, bias, out, column, stride),
        _ => {}
    }
}

/// Whether so many rows begin with a whole tile. Seven and eight are better cut in halves: one or two rows alone
/// wait for their sums.
#[inline(always)]
fn full_tile(rows: usize) -> bool {
    rows >= ROWS && rows != 7 && rows != 8
}

#[inline(always)]
fn affine_tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    row: usize,
    input: Rows<'_>,
    matrix: &[[S::f32s; V]],
    bias: &[S::f32s; V],
    out: &mut [f32],
    column: usize,
    stride: usize,
) {
    let k = matrix.len();
    // A loop, not `from_fn`, whose closure may become a function of its own.
    let mut rows: [&[f32]; R] = [&[]; R];
    for r in 0..R {
        rows[r] = &input.row(row + r)[..k];
    }
    let mut sum = [*bias; R];
    for p in 0..k {
        let b = matrix[p];
        for r in 0..R {
            let x = simd.splat_f32s(rows[r][p]);
            for v in 0..V {
                sum[r][v] = simd.mul_add_e_f32s(x, b[v], sum[r][v]);
            }
        }
    }
    for r in 0..R {
        let at = (row + r) * stride + column;
        let out = S::as_mut_simd_f32s(&mut out[at..at + V * S::F32_LANES]).0;
        out.copy_from_slice(&sum[r]);
    }
}

/// What becomes of a place in the output when its sum is known.
pub(super) trait Store<S: Simd>: Copy {
    fn store(self, simd: S, old: S::f32s, sum: S::f32s) -> S::f32s;
}

/// `out ← sum`
#[derive(Clone, Copy)]
pub(super) struct Set;

impl<S: Simd> Store<S> for Set {
    #[inline(always)]
    fn store(self, _: S, _: S::f32s, sum: S::f32s) -> S::f32s {
        sum
    }
}

/// `out ← out + sum`
#[derive(Clone, Copy)]
pub(super) struct Add;

impl<S: Simd> Store<S> for Add {
    #[inline(always)]
    fn store(self, simd: S, old: S::f32s, sum: S::f32s) -> S::f32s {
        simd.add_f32s(old, sum)
    }
}

/// `out ← β out + (1 − β) sum`
#[derive(Clone, Copy)]
pub(super) struct Decay(pub(super) f32);

impl<S: Simd> Store<S> for Decay {
    #[inline(always)]
    fn store(self, simd: S, old: S::f32s, sum: S::f32s) -> S::f32s {
        let kept = simd.mul_f32s(old, simd.splat_f32s(self.0));
        simd.add_f32s(kept, simd.mul_f32s(sum, simd.splat_f32s(1.0 - self.0)))
    }
}

/// `inputᵀ · other` over the first `n` rows, stored into `out`, `[input.width, other.stride]`.
#[inline(always)]
pub(super) fn outer<S: Simd>(
    simd: S,
    n: usize,
    input: Rows<'_>,
    other: Rows<'_>,
    store: impl Store<S>,
    out: &mut [f32],
) {
    let mut column = 0;
    while column < other.stride {
        let i = 0..input.width;
        column += outer_columns(simd, n, i, input, other, store, out, column);
    }
}

/// `rowsᵀ · rows`, of which the part above the diagonal, and some of what is below, is stored.
#[inline(always)]
pub(super) fn outer_upper<S: Simd>(
    simd: S,
    n: usize,
    rows: Rows<'_>,
    store: impl Store<S>,
    out: &mut [f32],
) {
    let mut column = 0;
    while column < rows.stride {
        let i = 0..rows.width.min(column + 2 * S::F32_LANES);
        column += outer_columns(simd, n, i, rows, rows, store, out, column);
    }
}

/// The number of columns done.
#[inline(always)]
fn outer_columns<S: Simd>(
    simd: S,
    n: usize,
    i: std::ops::Range<usize>,
    input: Rows<'_>,
    other: Rows<'_>,
    store: impl Store<S>,
    out: &mut [f32],
    column: usize,
) -> usize {
    if other.stride - column > S::F32_LANES {
        outer_panel::<S, 2>(simd, n, i, input, other, store, out, column);
        2 * S::F32_LANES
    } else {
        outer_panel::<S, 1>(simd, n, i, input, other, store, out, column);
        S::F32_LANES
    }
}

#[inline(always)]
fn outer_panel<S: Simd, const V: usize>(
    simd: S,
    n: usize,
    range: std::ops::Range<usize>,
    input: Rows<'_>,
    other: Rows<'_>,
    store: impl Store<S>,
    out: &mut [f32],
    column: usize,
) {
    let mut i = range.start;
    while full_tile(range.end - i) {
        outer_tile::<S, ROWS, V>(simd, n, input, other, store, out, i, column);
        i += ROWS;
    }
    if range.end - i > 5 {
        outer_tile::<S, 4, V>(simd, n, input, other, store, out, i, column);
        i += 4;
    }
    match range.end - i {
        5 => outer_tile::<S, 5, V>(simd, n, input, other, store, out, i, column),
        4 => outer_tile::<S, 4, V>(simd, n, input, other, store, out, i, column),
        3 => outer_tile::<S, 3, V>(simd, n, input, other, store, out, i, column),
        2 => outer_tile::<S, 2, V>(simd, n, input, other, store, out, i, column),
        1 => outer_tile::<S, 1, V>(simd, n, input, other, store, out, i, column),
        _ => {}
    }
}

#[inline(always)]
fn outer_tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    n: usize,
    input: Rows<'_>,
    other: Rows<'_>,
    store: impl Store<S>,
    out: &mut [f32],
    i: usize,
    column: usize,
) {
    let wide = V * S::F32_LANES;
    let mut sum = [[simd.splat_f32s(0.0); V]; R];
    let inputs = input.data.chunks_exact(input.stride);
    let others = other.data.chunks_exact(other.stride);
    for (input, other) in inputs.zip(others).take(n) {
        let x = &input[i..i + R];
        let b = S::as_simd_f32s(&other[column..column + wide]).0;
        for r in 0..R {
            let x = simd.splat_f32s(x[r]);
            for v in 0..V {
                sum[r][v] = simd.mul_add_e_f32s(x, b[v], sum[r][v]);
            }
        }
    }
    for r in 0..R {
        let at = (i + r) * other.stride + column;
        let out = S::as_mut_simd_f32s(&mut out[at..at + wide]).0;
        for v in 0..V {
            out[v] = store.store(simd, out[v], sum[r][v]);
        }
    }
}

/// `out ← out + Σ rows`, padded.
#[inline(always)]
pub(super) fn add_rows<S: Simd>(simd: S, n: usize, rows: Rows<'_>, out: &mut [f32]) {
    let out = S::as_mut_simd_f32s(out).0;
    for row in rows.data.chunks_exact(rows.stride).take(n) {
        for (sum, value) in out.iter_mut().zip(S::as_simd_f32s(row).0) {
            *sum = simd.add_f32s(*sum, *value);
        }
    }
}
