//! A whole network as one operation of burn's CPU backend, from the user's units to the user's units.
//!
//! burn records every linear layer, every activation and every change of units as an operation of its own,
//! at several microseconds each, and its `tanh` is a scalar loop that runs again in the backward pass. For
//! networks of this size that is nine tenths of a step. Here the chain from the inputs to the output is one
//! node of the graph, with the hidden activations saved by the forward pass.
//!
//! [`linked`] does without the graph: who knows the chain can walk it back by hand, which spares a step of such
//! networks as much as its arithmetic takes.
//!
//! Both answer `None` wherever they do not apply: on another device, in another precision, where a change of
//! units is trained. The caller then composes burn's own operations, which is also what the fused path is tested
//! against.

use burn::prelude::*;

use crate::flex::{Graph, Operand, Pullback};
use crate::kernels::{self, Buffer, Layer, Network, Trace, Wanted};
use crate::{Activation, Mlp, Scaler};

mod link;
mod population;
#[cfg(test)]
mod tests;
mod units;

pub(crate) use link::{Link, linked};
pub(crate) use population::population;
use units::{Columns, Units, gather};

/// Columns of the network's input.
pub(crate) struct Input<'a> {
    columns: &'a Tensor<2>,
    units: Option<&'a Scaler>,
}

impl<'a> Input<'a> {
    /// `[batch, width]`, and the units they are given in.
    pub(crate) fn new(columns: &'a Tensor<2>, units: Option<&'a Scaler>) -> Self {
        Self { columns, units }
    }
}

/// What happens after the last layer.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    /// `tanh` first.
    pub(crate) squash: bool,
    /// Inverted on the way out.
    pub(crate) units: &'a Scaler,
}

/// The network's output `[batch, d_out]`, or nothing if this path does not apply.
pub(crate) fn forward(
    inputs: &[Input<'_>],
    body: &Mlp,
    output: Option<Output<'_>>,
) -> Option<Tensor<2>> {
    let mut graph = Graph::default();
    let pass = Pass::read(inputs, body, output, &mut graph)?;
    let tracked = graph.is_tracked();
    match pass.run(tracked) {
        (values, Some(saved)) => graph.finish(values, saved),
        (values, None) => Some(graph.finish_untracked(values)),
    }
}

/// A forward pass whose operands are known to fit.
struct Pass {
    n: usize,
    columns: Vec<(Operand, Columns)>,
    layers: Vec<Parameters>,
    activation: Activation,
    squash: bool,
    units: Option<Units>,
}

impl Pass {
    fn read(
        inputs: &[Input<'_>],
        body: &Mlp,
        output: Option<Output<'_>>,
        graph: &mut Graph<Role>,
    ) -> Option<Self> {
        let mut n = None;
        let mut columns = Vec::with_capacity(inputs.len());
        for input in inputs {
            let [rows, width] = input.columns.dims();
            if *n.get_or_insert(rows) != rows {
                return None;
            }
            let data = graph.operand(input.columns.clone(), Role::Input(columns.len()))?;
            let units = match input.units {
                Some(units) => Some(Units::read(units, width)?),
                None => None,
            };
            columns.push((data, Columns { width, units }));
        }
        let n = n?;

        let mut layers = Vec::with_capacity(body.layers.len());
        let mut d_in: usize = columns.iter().map(|(_, columns)| columns.width).sum();
        for (l, layer) in body.layers.iter().enumerate() {
            let weight = layer.weight.val();
            let [rows, d_out] = weight.dims();
            if rows != d_in || d_out == 0 {
                return None;
            }
            let weight = graph.operand(weight, Role::Weight(l))?;
            let bias = match &layer.bias {
                Some(bias) => Some(graph.operand(bias.val(), Role::Bias(l))?),
                None => None,
            };
            layers.push(Parameters {
                weight,
                bias,
                d_in,
                d_out,
            });
            d_in = d_out;
        }
        let d_out = layers.last()?.d_out;
        let units = match output {
            Some(output) => Some(Units::read(output.units, d_out)?),
            None => None,
        };
        Some(Self {
            n,
            columns,
            layers,
            activation: body.activation(),
            squash: output.is_some_and(|output| output.squash),
            units,
        })
    }

    /// The output, and what the backward pass needs if there is to be one.
    fn run(self, kept: bool) -> (Operand, Option<Saved>) {
        let n = self.n;
        let d_out = self.layers.last().map_or(0, |layer| layer.d_out);
        let input = gather(n, &self.columns);
        let (mut values, trace) = with_network(&self.layers, self.activation, |network| {
            if kept {
                let (values, trace) = network.forward(n, input);
                return (values, Some(trace));
            }
            let mut values = Vec::with_capacity(n * d_out);
            network.infer(n, &input, &mut values);
            (values, None)
        });
        if self.squash {
            kernels::tanh_in_place(&mut values);
        }
        let squashed = (self.squash && kept).then(|| values.clone());
        if let Some(units) = &self.units {
            units.invert(&mut values);
        }
        let saved = trace.map(|trace| Saved {
            n,
            columns: self
                .columns
                .into_iter()
                .map(|(_, columns)| columns)
                .collect(),
            layers: self.layers,
            activation: self.activation,
            trace,
            squashed,
            units: self.units,
        });
        (Operand::new(values, [n, d_out]), saved)
    }
}

/// What an operand is to the network.
#[derive(Debug, Clone, Copy)]
enum Role {
    Input(usize),
    Weight(usize),
    Bias(usize),
}

/// One layer's weights.
#[derive(Debug, Clone)]
struct Parameters {
    weight: Operand,
    bias: Option<Operand>,
    d_in: usize,
    d_out: usize,
}

impl Parameters {
    fn layer(&self) -> Layer<'_> {
        Layer {
            weight: self.weight.as_slice(),
            bias: self.bias.as_ref().map_or(&[], Operand::as_slice),
            d_in: self.d_in,
            d_out: self.d_out,
        }
    }
}

fn with_network<T>(
    layers: &[Parameters],
    activation: Activation,
    run: impl FnOnce(&Network<'_>) -> T,
) -> T {
    let layers: Vec<Layer<'_>> = layers.iter().map(Parameters::layer).collect();
    run(&Network {
        layers: &layers,
        activation,
    })
}

/// What the backward pass needs.
#[derive(Debug, Clone)]
struct Saved {
    n: usize,
    columns: Vec<Columns>,
    layers: Vec<Parameters>,
    activation: Activation,
    trace: Trace,
    /// The `tanh` of the last layer, where there is one.
    squashed: Option<Vec<f32>>,
    units: Option<Units>,
}

impl Pullback for Saved {
    type Role = Role;

    fn pull(&self, output: &[f32], roles: &[Role]) -> Vec<Operand> {
        let mut at_last = Buffer::take(output.len());
        at_last.copy_from_slice(output);
        if let Some(units) = &self.units {
            let (_, scale) = units.columns();
            for row in at_last.chunks_exact_mut(scale.len()) {
                row.iter_mut().zip(scale).for_each(|(g, s)| *g *= s);
            }
        }
        if let Some(squashed) = &self.squashed {
            let pairs = at_last.iter_mut().zip(squashed);
            pairs.for_each(|(g, h)| *g *= 1.0 - h * h);
        }
        let mut wanted = Wanted {
            layers: vec![(false, false); self.layers.len()],
            input: false,
        };
        for role in roles {
            match *role {
                Role::Input(_) => wanted.input = true,
                Role::Weight(l) => wanted.layers[l].0 = true,
                Role::Bias(l) => wanted.layers[l].1 = true,
            }
        }
        let mut all = with_network(&self.layers, self.activation, |network| {
            network.backward(&self.trace, &at_last, &wanted)
        });
        let gradient = |role: &Role| match *role {
            Role::Input(i) => {
                let part = self.scatter(&all.input, i);
                Operand::new(part, [self.n, self.columns[i].width])
            }
            Role::Weight(l) => {
                let Parameters { d_in, d_out, .. } = self.layers[l];
                Operand::new(std::mem::take(&mut all.weights[l]), [d_in, d_out])
            }
            Role::Bias(l) => {
                let d_out = self.layers[l].d_out;
                Operand::new(std::mem::take(&mut all.biases[l]), [d_out])
            }
        };
        roles.iter().map(gradient).collect()
    }
}

impl Saved {
    /// One input's part of the gradient with respect to all, in its own units.
    fn scatter(&self, all: &[f32], input: usize) -> Vec<f32> {
        let d_in: usize = self.columns.iter().map(|columns| columns.width).sum();
        let at: usize = self.columns[..input].iter().map(|c| c.width).sum();
        let Columns { width, units } = &self.columns[input];
        let mut part = Vec::with_capacity(self.n * width);
        let rows = all.chunks_exact(d_in.max(1));
        let rows = rows.map(|row| &row[at..at + width]);
        if let Some((_, scale)) = units.as_ref().map(Units::columns) {
            for row in rows {
                part.extend(row.iter().zip(scale).map(|(g, scale)| g / scale));
            }
        } else {
            rows.for_each(|row| part.extend_from_slice(row));
        }
        part
    }
}
