//! What one core can do: the same steps written by hand, with no framework and no allocation.
//!
//! The weights live in the order in which the kernels read them, and so do the gradients and Adam's means.
//! Rows go through both networks and back block by block, so that no activation leaves the cache.

#![expect(clippy::inline_always, clippy::too_many_arguments, reason = "kernels")]

use pulp::{Arch, Simd, WithSimd};
use rand::{RngExt, rngs::StdRng};

/// Rows per block, a multiple of a tile's.
const BLOCK: usize = 96;
const TILE: usize = 6;

/// Runs with AVX2 and FMA where they are.
pub(crate) fn vectorize<Op: WithSimd>(operation: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return Simd::vectorize(avx2, operation);
    }
    Arch::new().dispatch(operation)
}

/// Columns of a panel: two registers of AVX2, or one for a narrow layer.
fn panel(width: usize) -> usize {
    if width <= 8 { 8 } else { 16 }
}

fn padded(width: usize) -> usize {
    width.next_multiple_of(panel(width))
}

#[derive(Debug, Clone)]
struct Layer {
    d_in: usize,
    stride: usize,
    /// `[panel][d_in][columns]`, then the bias.
    weight: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// `[panel][d_out][columns]`
    transposed: Vec<f32>,
    d_out: usize,
    /// Activations of a block after this layer.
    out: Vec<f32>,
}

/// A network with `tanh` between its layers, its gradient and its optimizer.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    layers: Vec<Layer>,
    /// Gradients with respect to activations, two blocks.
    at: [Vec<f32>; 2],
    time: i32,
}

impl Network {
    pub(crate) fn new(widths: &[usize], rng: &mut StdRng) -> Self {
        let layers = widths.windows(2).map(|pair| {
            let (d_in, d_out) = (pair[0], pair[1]);
            let (stride, pad) = (padded(d_out), panel(d_out));
            let len = (d_in + 1) * stride;
            let limit = (6.0 / (d_in + d_out) as f32).sqrt();
            let mut weight = vec![0.0; len];
            for i in 0..d_in {
                for j in 0..d_out {
                    weight[(j / pad * d_in + i) * pad + j % pad] = rng.random_range(-limit..limit);
                }
            }
            Layer {
                d_in,
                d_out,
                stride,
                weight,
                gradient: vec![0.0; len],
                first: vec![0.0; len],
                second: vec![0.0; len],
                transposed: vec![0.0; padded(d_in) * d_out],
                out: vec![0.0; BLOCK * stride],
            }
        });
        let layers: Vec<Layer> = layers.collect();
        let widest = widths.iter().copied().max().unwrap_or(0);
        let block = vec![0.0; BLOCK * padded(widest)];
        Self {
            layers,
            at: [block.clone(), block],
            time: 0,
        }
    }

    /// The last layer's rows, padded.
    #[inline(always)]
    pub(crate) fn output(&self) -> (&[f32], usize) {
        let last = &self.layers[self.layers.len() - 1];
        (&last.out, last.stride)
    }

    /// `input`: `[rows, d_in]` with this stride.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(&mut self, simd: S, rows: usize, input: &[f32], stride: usize) {
        let count = self.layers.len();
        for l in 0..count {
            let (before, after) = self.layers.split_at_mut(l);
            let layer = &mut after[0];
            let (input, stride) = match before.last() {
                Some(before) => (before.out.as_slice(), before.stride),
                None => (input, stride),
            };
            let (matrix, bias) = layer.weight.split_at(layer.d_in * layer.stride);
            affine(
                simd,
                rows,
                input,
                stride,
                layer.d_in,
                matrix,
                bias,
                &mut layer.out,
                layer.stride,
            );
            if l + 1 < count {
                let out = &mut layer.out[..rows * layer.stride];
                for z in S::as_mut_simd_f32s(out).0 {
                    *z = tanh(simd, *z);
                }
            }
        }
    }

    /// Where the gradient with respect to the output goes, padded with zeros.
    #[inline(always)]
    pub(crate) fn at_output(&mut self) -> (&mut [f32], usize) {
        let stride = self.layers[self.layers.len() - 1].stride;
        (&mut self.at[0], stride)
    }

    /// Adds the gradient of a block; `input` as in the forward pass.
    #[inline(always)]
    pub(crate) fn backward<S: Simd>(
        &mut self,
        simd: S,
        rows: usize,
        input: &[f32],
        stride: usize,
        to_input: bool,
    ) -> (&[f32], usize) {
        let [mut at, mut next] = std::mem::take(&mut self.at);
        let mut width = 0;
        for l in (0..self.layers.len()).rev() {
            let (before, after) = self.layers.split_at_mut(l);
            let layer = &mut after[0];
            let (input, stride) = match before.last() {
                Some(before) => (before.out.as_slice(), before.stride),
                None => (input, stride),
            };
            let (matrix, bias) = layer.gradient.split_at_mut(layer.d_in * layer.stride);
            outer(
                simd,
                rows,
                input,
                stride,
                layer.d_in,
                &at,
                layer.stride,
                matrix,
            );
            for row in at.chunks_exact(layer.stride).take(rows) {
                for (sum, g) in bias.iter_mut().zip(row) {
                    *sum += g;
                }
            }
            if l == 0 && !to_input {
                break;
            }
            width = padded(layer.d_in);
            let zeros = [0.0; 1024];
            affine(
                simd,
                rows,
                &at,
                layer.stride,
                layer.d_out,
                &layer.transposed,
                &zeros[..width],
                &mut next,
                width,
            );
            if let Some(before) = before.last() {
                let next = S::as_mut_simd_f32s(&mut next[..rows * width]).0;
                for (g, h) in next.iter_mut().zip(S::as_simd_f32s(&before.out).0) {
                    let gh = simd.mul_f32s(*g, *h);
                    *g = simd.negate_mul_add_e_f32s(gh, *h, *g);
                }
            }
            std::mem::swap(&mut at, &mut next);
        }
        self.at = [at, next];
        (&self.at[0], width)
    }

    /// Moves the weights by Adam, clears the gradient and transposes for the next backward pass.
    #[inline(always)]
    pub(crate) fn step<S: Simd>(&mut self, simd: S, rate: f32) {
        self.time += 1;
        let correction = (1.0 - 0.99f32.powi(self.time)).sqrt();
        let rate = rate * correction / (1.0 - 0.9f32.powi(self.time));
        let [b1, c1, b2, c2] = [0.9, 0.1, 0.99, 0.01].map(|c| simd.splat_f32s(c));
        let (rate, epsilon) = (simd.splat_f32s(-rate), simd.splat_f32s(1e-8 * correction));
        for layer in &mut self.layers {
            let p = S::as_mut_simd_f32s(&mut layer.weight).0.iter_mut();
            let g = S::as_mut_simd_f32s(&mut layer.gradient).0.iter_mut();
            let m = S::as_mut_simd_f32s(&mut layer.first).0.iter_mut();
            let v = S::as_mut_simd_f32s(&mut layer.second).0.iter_mut();
            for (((p, g), m), v) in p.zip(g).zip(m).zip(v) {
                *m = simd.mul_add_e_f32s(*m, b1, simd.mul_f32s(*g, c1));
                *v = simd.mul_add_e_f32s(*v, b2, simd.mul_f32s(simd.mul_f32s(*g, *g), c2));
                let root = simd.add_f32s(simd.sqrt_f32s(*v), epsilon);
                *p = simd.mul_add_e_f32s(rate, simd.div_f32s(*m, root), *p);
                *g = simd.splat_f32s(0.0);
            }
        }
        self.transpose();
    }

    /// Makes the transposed copies that the backward pass reads.
    #[inline(always)]
    pub(crate) fn transpose(&mut self) {
        for layer in &mut self.layers {
            let (d_in, d_out) = (layer.d_in, layer.d_out);
            let (wide, pad) = (panel(d_in), panel(d_out));
            for (panel, to) in layer.transposed.chunks_exact_mut(d_out * wide).enumerate() {
                let first = panel * wide;
                for i in first..(first + wide).min(d_in) {
                    for j in 0..d_out {
                        to[j * wide + i - first] =
                            layer.weight[(j / pad * d_in + i) * pad + j % pad];
                    }
                }
            }
        }
    }

    /// Replaces the weights by `center + sign · sigma · noise`, for a member of a population.
    #[inline(always)]
    pub(crate) fn perturb<S: Simd>(&mut self, simd: S, center: &Self, noise: &[f32], sigma: f32) {
        let mut noise = S::as_simd_f32s(noise).0.iter();
        let sigma = simd.splat_f32s(sigma);
        for (layer, center) in self.layers.iter_mut().zip(&center.layers) {
            let to = S::as_mut_simd_f32s(&mut layer.weight).0.iter_mut();
            let center = S::as_simd_f32s(&center.weight).0;
            for ((to, center), e) in to.zip(center).zip(noise.by_ref()) {
                *to = simd.mul_add_e_f32s(sigma, *e, *center);
            }
        }
    }

    /// Adds `weight · noise` to the gradient.
    #[inline(always)]
    pub(crate) fn add_to_gradient<S: Simd>(&mut self, simd: S, noise: &[f32], weight: f32) {
        let mut noise = S::as_simd_f32s(noise).0.iter();
        let weight = simd.splat_f32s(weight);
        for layer in &mut self.layers {
            let g = S::as_mut_simd_f32s(&mut layer.gradient).0.iter_mut();
            for (g, e) in g.zip(noise.by_ref()) {
                *g = simd.mul_add_e_f32s(weight, *e, *g);
            }
        }
    }

    /// Numbers that hold all weights, padding included.
    pub(crate) fn len(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight.len()).sum()
    }
}

/// Eigen's shape of `tanh`: odd over even polynomial on a clamped argument.
#[inline(always)]
fn tanh<S: Simd>(simd: S, z: S::f32s) -> S::f32s {
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
fn affine<S: Simd>(
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
fn outer<S: Simd>(
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

/// The joint step on L*, by hand.
pub(crate) struct Joint {
    policy: Network,
    surrogate: Network,
    /// `[n, 2]`
    x: Vec<f32>,
    target: Vec<f32>,
    /// A block of contexts and actions side by side.
    both: Vec<f32>,
    pub(crate) loss: f32,
}

impl Joint {
    pub(crate) fn new(width: [usize; 2], x: Vec<f32>, target: Vec<f32>, rng: &mut StdRng) -> Self {
        let mut joint = Self {
            policy: Network::new(&[2, width[0], width[0], 1], rng),
            surrogate: Network::new(&[3, width[1], width[1], 2], rng),
            x,
            target,
            both: vec![0.0; BLOCK * 3],
            loss: 0.0,
        };
        joint.policy.transpose();
        joint.surrogate.transpose();
        joint
    }

    pub(crate) fn step(&mut self) {
        vectorize(JointStep(self));
    }
}

struct JointStep<'a>(&'a mut Joint);

impl WithSimd for JointStep<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Joint {
            policy,
            surrogate,
            x,
            target,
            both,
            loss,
        } = self.0;
        let n = x.len() / 2;
        let share = 1.0 / n as f32;
        *loss = 0.0;
        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let x = &x[first * 2..(first + rows) * 2];
            let target = &target[first * 2..(first + rows) * 2];
            policy.forward(simd, rows, x, 2);
            let (u, stride) = policy.output();
            let actions = u.chunks_exact(stride).map(|u| u[0]);
            for ((both, x), u) in both.chunks_exact_mut(3).zip(x.chunks_exact(2)).zip(actions) {
                both.copy_from_slice(&[x[0], x[1], u]);
            }
            surrogate.forward(simd, rows, both, 3);
            let mut outcomes = [[0.0f32; 2]; BLOCK];
            for (y, both) in outcomes.iter_mut().zip(both.chunks_exact(3)).take(rows) {
                *y = crate::joint::oracle([both[0], both[1]], both[2]);
            }
            let (_, stride) = surrogate.output();
            for row in 0..rows {
                let mut at = [0.0; 2];
                for j in 0..2 {
                    let y_hat = surrogate.output().0[row * stride + j];
                    let fit = y_hat - target[row * 2 + j];
                    let mismatch = y_hat - outcomes[row][j];
                    let lambda = crate::joint::LAMBDA;
                    *loss += 0.5 * share * (fit * fit + lambda * mismatch * mismatch);
                    at[j] = share * (fit + lambda * mismatch);
                }
                let (to, stride) = surrogate.at_output();
                let to = &mut to[row * stride..(row + 1) * stride];
                to.fill(0.0);
                to[..2].copy_from_slice(&at);
            }
            let (at_input, width) = surrogate.backward(simd, rows, both, 3, true);
            let (to, stride) = policy.at_output();
            for (to, at) in to
                .chunks_exact_mut(stride)
                .zip(at_input.chunks_exact(width))
                .take(rows)
            {
                to.fill(0.0);
                to[0] = at[2];
            }
            policy.backward(simd, rows, x, 2, false);
        }
        policy.step(simd, crate::joint::RATE);
        surrogate.step(simd, crate::joint::RATE);
    }
}

/// One step of antithetic evolution strategies, by hand.
pub(crate) struct Population {
    policy: Network,
    member: Network,
    x: Vec<f32>,
    target: Vec<f32>,
    /// One row of padded weights per pair.
    noise: Vec<f32>,
}

impl Population {
    pub(crate) fn new(pairs: usize, x: Vec<f32>, target: Vec<f32>, rng: &mut StdRng) -> Self {
        let policy = Network::new(&[2, 32, 32, 1], rng);
        let noise = (0..pairs * policy.len()).map(|_| rng.random_range(-1.7..1.7));
        Self {
            member: policy.clone(),
            noise: noise.collect(),
            policy,
            x,
            target,
        }
    }

    pub(crate) fn step(&mut self) {
        vectorize(PopulationStep(self));
    }
}

struct PopulationStep<'a>(&'a mut Population);

impl WithSimd for PopulationStep<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Population {
            policy,
            member,
            x,
            target,
            noise,
        } = self.0;
        let sigma = crate::population::SIGMA;
        let n = x.len() / 2;
        let pairs = noise.len() / policy.len();
        for noise in noise.chunks_exact(policy.len()) {
            let mut difference = 0.0;
            for sign in [1.0, -1.0] {
                member.perturb(simd, policy, noise, sign * sigma);
                let mut loss = 0.0f32;
                for first in (0..n).step_by(BLOCK) {
                    let rows = BLOCK.min(n - first);
                    let x = &x[first * 2..(first + rows) * 2];
                    let target = &target[first * 2..(first + rows) * 2];
                    member.forward(simd, rows, x, 2);
                    let (u, stride) = member.output();
                    let rows = x.chunks_exact(2).zip(target.chunks_exact(2));
                    for ((x, target), u) in rows.zip(u.chunks_exact(stride)) {
                        let y = crate::joint::oracle([x[0], x[1]], u[0]);
                        loss += (y[0] - target[0]).powi(2) + (y[1] - target[1]).powi(2);
                    }
                }
                difference += sign * loss / n as f32;
            }
            let weight = difference / (2.0 * sigma * pairs as f32);
            policy.add_to_gradient(simd, noise, weight);
        }
        policy.step(simd, crate::joint::RATE);
    }
}
