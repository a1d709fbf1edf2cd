//! Products by tiles that stay in registers, and `tanh`.

#![expect(
    clippy::too_many_arguments,
    reason = "a tile is a place in three matrices"
)]

use pulp::Simd;

/// Rows per block, a multiple of a tile's.
pub(super) const BLOCK: usize = 96;
const TILE: usize = 6;

/// Columns of a panel: two registers of AVX2, or one for a narrow layer.
pub(super) fn panel(width: usize) -> usize {
    if width <= 8 { 8 } else { 16 }
}

pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(panel(width))
}

/// Eigen's shape of `tanh`: odd over even polynomial on a clamped argument.
#[inline(always)]
pub(super) fn tanh<S: Simd>(simd: S, z: S::f32s) -> S::f32s {
    let clamp = |limit: f32, z| {
        let z = simd.max_f32s(simd.splat_f32s(-limit), z);
        simd.min_f32s(simd.splat_f32s(limit), z)
    };
    let z = clamp(9.6, z);
    let t = simd.mul_f32s(z, z);
    let horner = |c: [f32; 5]| {
        let c = c.map(|c| simd.splat_f32s(c));
        let p = simd.mul_add_e_f32s(c[4], t, c[3]);
        let p = simd.mul_add_e_f32s(p, t, c[2]);
        let p = simd.mul_add_e_f32s(p, t, c[1]);
        simd.mul_add_e_f32s(p, t, c[0])
    };
    let p = horner([
        1.0,
        0.133_797_15,
        3.494_031_7e-3,
        2.058_343_6e-5,
        1.331_901_2e-8,
    ]);
    let q = horner([
        1.0,
        0.467_130_3,
        2.587_106_2e-2,
        3.283_088_3e-4,
        7.761_994_4e-7,
    ]);
    clamp(1.0, simd.div_f32s(simd.mul_f32s(z, p), q))
}

/// `out ← input · matrix + bias`, the matrix in panels.
#[inline(always)]
pub(super) fn affine<S: Simd>(
    simd: S,
    rows: usize,
    input: &[f32],
    input_stride: usize,
    k: usize,
    matrix: &[f32],
    bias: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let pad = panel(stride);
    for (panel, matrix) in matrix.chunks_exact(k.max(1) * pad).enumerate() {
        let bias = &bias[panel * pad..(panel + 1) * pad];
        let mut row = 0;
        while row < rows {
            let input = &input[row * input_stride..];
            let out = &mut out[row * stride + panel * pad..];
            let tile = (rows - row).min(TILE);
            match tile {
                6 => affine_tile::<S, 6>(simd, input, input_stride, k, matrix, bias, out, stride),
                5 => affine_tile::<S, 5>(simd, input, input_stride, k, matrix, bias, out, stride),
                4 => affine_tile::<S, 4>(simd, input, input_stride, k, matrix, bias, out, stride),
                3 => affine_tile::<S, 3>(simd, input, input_stride, k, matrix, bias, out, stride),
                2 => affine_tile::<S, 2>(simd, input, input_stride, k, matrix, bias, out, stride),
                _ => affine_tile::<S, 1>(simd, input, input_stride, k, matrix, bias, out, stride),
            }
            row += tile;
        }
    }
}

#[inline(always)]
fn affine_tile<S: Simd, const R: usize>(
    simd: S,
    input: &[f32],
    input_stride: usize,
    k: usize,
    matrix: &[f32],
    bias: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let (lanes, pad) = (S::F32_LANES, bias.len());
    let input: [&[f32]; R] = std::array::from_fn(|r| &input[r * input_stride..][..k]);
    let mut column = 0;
    while column < pad {
        if column + 2 * lanes <= pad {
            let bias = S::as_simd_f32s(&bias[column..column + 2 * lanes]).0;
            let mut sum = [[bias[0], bias[1]]; R];
            for p in 0..k {
                let b = S::as_simd_f32s(&matrix[p * pad + column..][..2 * lanes]).0;
                for r in 0..R {
                    let x = simd.splat_f32s(input[r][p]);
                    sum[r][0] = simd.mul_add_e_f32s(x, b[0], sum[r][0]);
                    sum[r][1] = simd.mul_add_e_f32s(x, b[1], sum[r][1]);
                }
            }
            for r in 0..R {
                let out = &mut out[r * stride + column..][..2 * lanes];
                S::as_mut_simd_f32s(out).0.copy_from_slice(&sum[r]);
            }
            column += 2 * lanes;
        } else {
            let bias = S::as_simd_f32s(&bias[column..column + lanes]).0;
            let mut sum = [bias[0]; R];
            for p in 0..k {
                let b = S::as_simd_f32s(&matrix[p * pad + column..][..lanes]).0;
                for r in 0..R {
                    sum[r] = simd.mul_add_e_f32s(simd.splat_f32s(input[r][p]), b[0], sum[r]);
                }
            }
            for r in 0..R {
                let out = &mut out[r * stride + column..][..lanes];
                S::as_mut_simd_f32s(out).0[0] = sum[r];
            }
            column += lanes;
        }
    }
}

/// `gradient ← gradient + inputᵀ · at`, in panels.
#[inline(always)]
pub(super) fn outer<S: Simd>(
    simd: S,
    rows: usize,
    input: &[f32],
    input_stride: usize,
    d_in: usize,
    at: &[f32],
    stride: usize,
    gradient: &mut [f32],
) {
    let (lanes, pad) = (S::F32_LANES, panel(stride));
    for (panel, gradient) in gradient.chunks_exact_mut(d_in.max(1) * pad).enumerate() {
        let mut column = 0;
        while column < pad {
            let two = column + 2 * lanes <= pad;
            let mut i = 0;
            while i < d_in {
                let tile = (d_in - i).min(TILE);
                let at = &at[panel * pad + column..];
                let to = &mut gradient[i * pad + column..];
                let input = &input[i..];
                macro_rules! tile {
                    ($($rows:literal)*) => {
                        match (tile, two) {
                            $(($rows, true) => outer_tile::<S, $rows, 2>(simd, rows, input, input_stride, at, stride, to, pad),)*
                            $(($rows, false) => outer_tile::<S, $rows, 1>(simd, rows, input, input_stride, at, stride, to, pad),)*
                            _ => {}
                        }
                    };
                }
                tile!(1 2 3 4 5 6);
                i += tile;
            }
            column += if two { 2 * lanes } else { lanes };
        }
    }
}

#[inline(always)]
fn outer_tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    rows: usize,
    input: &[f32],
    input_stride: usize,
    at: &[f32],
    stride: usize,
    to: &mut [f32],
    pad: usize,
) {
    let wide = V * S::F32_LANES;
    let mut sum: [[S::f32s; V]; R] = std::array::from_fn(|r| {
        let to = S::as_simd_f32s(&to[r * pad..][..wide]).0;
        std::array::from_fn(|v| to[v])
    });
    for row in 0..rows {
        let x = &input[row * input_stride..][..R];
        let b = S::as_simd_f32s(&at[row * stride..][..wide]).0;
        for r in 0..R {
            let x = simd.splat_f32s(x[r]);
            for v in 0..V {
                sum[r][v] = simd.mul_add_e_f32s(x, b[v], sum[r][v]);
            }
        }
    }
    for r in 0..R {
        let to = S::as_mut_simd_f32s(&mut to[r * pad..][..wide]).0;
        to.copy_from_slice(&sum[r]);
    }
}
