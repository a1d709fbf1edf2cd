//! Many networks at once, without gradients.

use burn::prelude::*;

use crate::Mlp;
use crate::flex::Operand;
use crate::kernels::{Layer, Network};

/// Many networks of one shape on the same rows, without gradients: `[members, num_params]`, `[batch, d_in]` →
/// `[members, batch, d_out]`. A network's weights are those of its layers in order, each layer's matrix before
/// its bias.
pub(crate) fn population(body: &Mlp, weights: &Tensor<2>, input: &Tensor<2>) -> Option<Tensor<3>> {
    let [members, len] = weights.dims();
    let [n, mut d_in] = input.dims();
    let shapes = body.layers.iter().map(|layer| {
        let [rows, d_out] = layer.weight.shape().dims();
        let fits = rows == d_in && d_out > 0;
        d_in = d_out;
        fits.then_some((rows, d_out, layer.bias.is_some()))
    });
    let shapes: Vec<_> = shapes.collect::<Option<_>>()?;
    let size = |(rows, d_out, bias): &(usize, usize, bool)| (rows + usize::from(*bias)) * d_out;
    let (_, d_out, _) = *shapes.last()?;
    if shapes.iter().map(size).sum::<usize>() != len {
        return None;
    }
    let weights = Operand::constant(weights.clone())?;
    let input = Operand::constant(input.clone())?;
    let mut output = Vec::with_capacity(members * n * d_out);
    let mut layers = Vec::with_capacity(shapes.len());
    for weights in weights.as_slice().chunks_exact(len) {
        let mut rest = weights;
        layers.clear();
        for (d_in, d_out, bias) in &shapes {
            let (weight, after) = rest.split_at(d_in * d_out);
            let (bias, after) = after.split_at(if *bias { *d_out } else { 0 });
            rest = after;
            layers.push(Layer {
                weight,
                bias,
                d_in: *d_in,
                d_out: *d_out,
            });
        }
        let network = Network {
            layers: &layers,
            activation: body.activation(),
        };
        network.infer(n, input.as_slice(), &mut output);
    }
    Some(Operand::new(output, [members, n, d_out]).into_tensor())
}
