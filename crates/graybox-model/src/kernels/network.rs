//! A whole network forward and backward, block of rows by block of rows.

use pulp::{Simd, WithSimd};

use super::tile::{self, Add, Rows, padded};
use super::{Buffer, activation, vectorize};
use crate::Activation;

/// Rows that go through all layers before the next ones do; a multiple of a tile's rows.
const BLOCK: usize = 96;

/// One linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    /// `[d_in, d_out]`
    pub(crate) weight: &'a [f32],
    /// `[d_out]`, or empty for none.
    pub(crate) bias: &'a [f32],
    pub(crate) d_in: usize,
    pub(crate) d_out: usize,
}

/// Linear layers with an activation between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network<'a> {
    pub(crate) layers: &'a [Layer<'a>],
    pub(crate) activation: Activation,
}

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    n: usize,
    /// `[n, d_in]`
    input: Buffer,
    /// After each activation, rows padded.
    hidden: Vec<Buffer>,
    /// The activation's derivative there, of `silu` alone.
    slopes: Vec<Buffer>,
}

/// Which gradients to compute.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Per layer: weight, bias.
    pub(crate) layers: Vec<(bool, bool)>,
    pub(crate) input: bool,
}

/// Gradients of a scalar; empty where they were not wanted.
#[derive(Debug, Default)]
pub(crate) struct Gradients {
    /// Per layer, `[d_in, d_out]`.
    pub(crate) weights: Vec<Vec<f32>>,
    /// Per layer, `[d_out]`.
    pub(crate) biases: Vec<Vec<f32>>,
    /// `[n, d_in]`
    pub(crate) input: Vec<f32>,
}

impl Network<'_> {
    fn d_in(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.d_in)
    }

    fn d_out(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.d_out)
    }

    /// `[n, d_in]` → `[n, d_out]`, and what the backward pass needs.
    pub(crate) fn forward(&self, n: usize, input: Buffer) -> (Vec<f32>, Trace) {
        let mut output = Vec::with_capacity(n * self.d_out());
        let (hidden, slopes) = vectorize(Forward {
            network: self,
            n,
            input: &input,
            kept: true,
            output: &mut output,
        });
        let trace = Trace {
            n,
            input,
            hidden,
            slopes,
        };
        (output, trace)
    }

    /// Appends `[n, d_out]` to the output and keeps nothing.
    pub(crate) fn infer(&self, n: usize, input: &[f32], output: &mut Vec<f32>) {
        vectorize(Forward {
            network: self,
            n,
            input,
            kept: false,
            output,
        });
    }

    /// From the gradient with respect to the output, `[n, d_out]`.
    pub(crate) fn backward(&self, trace: &Trace, output: &[f32], wanted: &Wanted) -> Gradients {
        vectorize(Backward {
            network: self,
            trace,
            output,
            wanted,
        })
    }
}

struct Forward<'a> {
    network: &'a Network<'a>,
    n: usize,
    input: &'a [f32],
    /// Keep all rows' activations, not those of one block alone.
    kept: bool,
    output: &'a mut Vec<f32>,
}

impl WithSimd for Forward<'_> {
    /// Activations and slopes.
    type Output = (Vec<Buffer>, Vec<Buffer>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self {
            network,
            n,
            input,
            kept,
            output,
        } = self;
        let (layers, last) = (network.layers, network.layers.len() - 1);
        // A loop, not an iterator's closure, which would be a function of its own without wide registers.
        let mut packed = Vec::with_capacity(layers.len());
        for layer in layers {
            packed.push(packed_layer::<S>(layer));
        }
        let kept_rows = if kept { n } else { BLOCK.min(n) };
        let rows = |layer: &Layer<'_>| Buffer::take(kept_rows * padded::<S>(layer.d_out));
        let mut hidden: Vec<Buffer> = layers[..last].iter().map(rows).collect();
        let mut slopes: Vec<Buffer> = match network.activation {
            Activation::Silu => layers[..last].iter().map(rows).collect(),
            Activation::Tanh | Activation::Relu => Vec::new(),
        };
        let d_out = network.d_out();
        let width = padded::<S>(d_out);
        let mut block_output = Buffer::take(BLOCK.min(n) * width);

        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let kept_first = if kept { first } else { 0 };
            for (l, layer) in layers.iter().enumerate() {
                let (matrix, bias) = &packed[l];
                let (before, after) = hidden.split_at_mut(l);
                let input = match before.last() {
                    Some(h) => block::<S>(h, kept_first, rows, layer.d_in),
                    None => Rows {
                        data: &input[first * layer.d_in..],
                        stride: layer.d_in,
                        width: layer.d_in,
                    },
                };
                let Some(after) = after.first_mut() else {
                    tile::affine(simd, rows, input, matrix, bias, &mut block_output);
                    continue;
                };
                let span = kept_first * bias.len()..(kept_first + rows) * bias.len();
                let out = &mut after[span.clone()];
                tile::affine(simd, rows, input, matrix, bias, out);
                let slope = slopes.get_mut(l).map(|slope| &mut slope[span]);
                activation::forward(simd, network.activation, out, slope);
            }
            for row in block_output.chunks_exact(width.max(1)).take(rows) {
                append(output, &row[..d_out]);
            }
        }
        (hidden, slopes)
    }
}

/// Weights in panels and the bias padded.
#[inline(always)]
fn packed_layer<S: Simd>(layer: &Layer<'_>) -> (Buffer, Buffer) {
    let width = padded::<S>(layer.d_out);
    let mut matrix = Buffer::take(layer.d_in * width);
    tile::pack::<S>(layer.weight, layer.d_in, layer.d_out, &mut matrix);
    let mut bias = Buffer::zeros(width);
    bias[..layer.bias.len()].copy_from_slice(layer.bias);
    (matrix, bias)
}

/// Rows of a padded buffer.
#[inline(always)]
fn block<S: Simd>(data: &[f32], first: usize, rows: usize, width: usize) -> Rows<'_> {
    let stride = padded::<S>(width);
    Rows {
        data: &data[first * stride..(first + rows) * stride],
        stride,
        width,
    }
}

struct Backward<'a> {
    network: &'a Network<'a>,
    trace: &'a Trace,
    output: &'a [f32],
    wanted: &'a Wanted,
}

impl WithSimd for Backward<'_> {
    type Output = Gradients;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Gradients {
        let Self {
            network,
            trace,
            output,
            wanted,
        } = self;
        let (layers, n) = (network.layers, trace.n);
        // The pass may stop at the first layer whose parameters have gradients.
        let deepest = match wanted.layers.iter().position(|(w, b)| *w || *b) {
            _ if wanted.input => 0,
            Some(first) => first,
            None => return Gradients::default(),
        };
        let through_deepest = deepest == 0 && wanted.input;
        let mut transposed = Vec::with_capacity(layers.len());
        for (l, layer) in layers.iter().enumerate() {
            transposed.push(if l > deepest || through_deepest {
                transposed_layer::<S>(layer)
            } else {
                Buffer::default()
            });
        }
        let sums = |pick: fn(&(bool, bool)) -> bool, rows: fn(&Layer<'_>) -> usize| {
            let zeros = |(layer, wanted): (&Layer<'_>, _)| {
                let len = rows(layer) * padded::<S>(layer.d_out);
                vec![0.0; if pick(wanted) { len } else { 0 }]
            };
            let pairs = layers.iter().zip(&wanted.layers);
            pairs.map(zeros).collect::<Vec<_>>()
        };
        let mut weights = sums(|wanted| wanted.0, |layer| layer.d_in);
        let mut biases = sums(|wanted| wanted.1, |_| 1);
        let widest = layers.iter().map(|layer| layer.d_in.max(layer.d_out));
        let widest = padded::<S>(widest.max().unwrap_or(0));
        let zeros = Buffer::zeros(widest);
        let mut gradient = Buffer::take(BLOCK.min(n) * widest);
        let mut next = Buffer::take(BLOCK.min(n) * widest);
        let d_out = network.d_out();
        let mut input = Vec::new();
        if wanted.input {
            input.reserve_exact(n * network.d_in());
        }

        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            pad::<S>(&output[first * d_out..], rows, d_out, &mut gradient);
            for l in (deepest..layers.len()).rev() {
                let layer = &layers[l];
                let at_output = block::<S>(&gradient, 0, rows, layer.d_out);
                let at_input = trace.before::<S>(l, layer.d_in, first, rows);
                let (weight, bias) = wanted.layers[l];
                if weight && layer.d_in > 0 {
                    tile::outer(simd, rows, at_input, at_output, Add, &mut weights[l]);
                }
                if bias {
                    tile::add_rows(simd, rows, at_output, &mut biases[l]);
                }
                if l == deepest && !through_deepest {
                    break;
                }
                let width = padded::<S>(layer.d_in);
                tile::affine(
                    simd,
                    rows,
                    at_output,
                    &transposed[l],
                    &zeros[..width],
                    &mut next,
                );
                if let Some(before) = l.checked_sub(1) {
                    let span = first * width..(first + rows) * width;
                    activation::backward(
                        simd,
                        network.activation,
                        &mut next[..rows * width],
                        &trace.hidden[before][span.clone()],
                        trace.slopes.get(before).map(|slope| &slope[span]),
                    );
                } else {
                    for row in next.chunks_exact(width.max(1)).take(rows) {
                        append(&mut input, &row[..layer.d_in]);
                    }
                }
                std::mem::swap(&mut gradient, &mut next);
            }
        }
        let trim = |sums: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
            let pairs = sums.into_iter().zip(layers);
            pairs
                .map(|(sum, layer)| trimmed::<S>(sum, layer.d_out))
                .collect()
        };
        Gradients {
            weights: trim(weights),
            biases: trim(biases),
            input,
        }
    }
}

impl Trace {
    /// What went into layer `l`.
    #[inline(always)]
    fn before<S: Simd>(&self, l: usize, width: usize, first: usize, rows: usize) -> Rows<'_> {
        match l.checked_sub(1) {
            Some(before) => block::<S>(&self.hidden[before], first, rows, width),
            None => Rows {
                data: &self.input[first * width..],
                stride: width,
                width,
            },
        }
    }
}

/// Rows with zeros up to whole registers.
#[inline(always)]
fn pad<S: Simd>(from: &[f32], rows: usize, width: usize, to: &mut [f32]) {
    let to = to.chunks_exact_mut(padded::<S>(width)).take(rows);
    for (to, from) in to.zip(from.chunks_exact(width)) {
        tile::pad_row(from, to);
    }
}

/// Transposed weights in panels.
#[inline(always)]
fn transposed_layer<S: Simd>(layer: &Layer<'_>) -> Buffer {
    let mut matrix = Buffer::take(layer.d_out * padded::<S>(layer.d_in));
    tile::pack_transposed::<S>(layer.weight, layer.d_out, layer.d_in, &mut matrix);
    matrix
}

/// Rows without their padding.
#[inline(always)]
fn trimmed<S: Simd>(rows: Vec<f32>, width: usize) -> Vec<f32> {
    let stride = padded::<S>(width).max(1);
    if stride == width {
        return rows;
    }
    let mut out = Vec::with_capacity(rows.len() / stride * width);
    for row in rows.chunks_exact(stride) {
        append(&mut out, &row[..width]);
    }
    out
}

/// Appends a row; most are one or two numbers, for which a call of memcpy is too much.
#[inline(always)]
fn append(out: &mut Vec<f32>, row: &[f32]) {
    if row.len() <= 4 {
        for value in row {
            out.push(*value);
        }
    } else {
        out.extend_from_slice(row);
    }
}
