//! A network forward and backward, and its optimizer.

use pulp::Simd;
use rand::{RngExt, rngs::StdRng};

use super::tile::{BLOCK, affine, outer, padded, panel, tanh};

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
