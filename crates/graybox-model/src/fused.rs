//! A whole network as one operation of burn's CPU backend, from the user's units to the user's units.
//!
//! burn records every linear layer, every activation and every change of units as an operation of its own,
//! at several microseconds each, and its `tanh` is a scalar loop that runs again in the backward pass. For
//! networks of this size that is nine tenths of a step. Here the chain from the inputs to the output is one
//! node of the graph, with the hidden activations saved by the forward pass.
//!
//! [`forward`] answers `None` wherever it does not apply: on another device, in another precision, where a
//! change of units is trained. The caller then composes burn's own operations, which is also what the fused
//! path is tested against.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::prelude::*;
use burn::tensor::{Bytes, DType};
use burn_flex::{Flex, FlexTensor, Layout};

use crate::kernels::{self, Buffer, Layer, Network, Trace, Wanted};
use crate::{Activation, Mlp, Scaler};

type Tracked = <Autodiff<Flex> as burn::backend::BackendTypes>::FloatTensorPrimitive;

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

    let input = gather(n, &columns)?;
    let activation = body.activation();
    let (mut values, trace) = with_network(&layers, activation, |net| net.forward(n, input))?;
    let squashed = output.is_some_and(|output| output.squash).then(|| {
        kernels::tanh_in_place(&mut values);
        values.clone()
    });
    if let Some(units) = &units {
        units.invert(&mut values);
    }
    let values = flex(values, [n, d_out]);
    let saved = Saved {
        n,
        columns: columns.into_iter().map(|(_, columns)| columns).collect(),
        layers,
        activation,
        trace,
        squashed,
        units,
        roles: graph.roles,
    };
    finish(values, Box::new(saved), graph.guards, graph.autodiff)
}

/// The tensors that take part, and those of them that have gradients.
#[derive(Default)]
struct Graph {
    autodiff: bool,
    guards: Vec<NodeGuard>,
    /// What each guard is to the network.
    roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Input(usize),
    Weight(usize),
    Bias(usize),
}

impl Graph {
    /// The tensor's data in row-major order, if it is single precision and on this backend.
    fn operand<const D: usize>(&mut self, tensor: Tensor<D>, role: Role) -> Option<FlexTensor> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        if !tensor.is_autodiff() {
            return Some(contiguous(tensor.try_into_primitive::<Flex>().ok()?));
        }
        let tensor = tensor.try_into_primitive::<Autodiff<Flex>>().ok()?;
        self.autodiff = true;
        let tracked = tensor.is_tracked();
        let (data, guard) = tensor.into_parts();
        if tracked {
            self.guards.push(guard);
            self.roles.push(role);
        }
        Some(contiguous(data))
    }
}

fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

fn flex<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    let layout = Layout::contiguous(Shape::from(shape));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// A change of units as two rows of numbers.
#[derive(Debug, Clone)]
struct Units {
    shift: FlexTensor,
    scale: FlexTensor,
}

impl Units {
    /// Nothing if they are trained, or not of this width.
    fn read(scaler: &Scaler, width: usize) -> Option<Self> {
        let mut graph = Graph::default();
        let mut row = |row: Tensor<2>| {
            let fits = row.dims() == [1, width];
            fits.then(|| graph.operand(row, Role::Input(0))).flatten()
        };
        let (shift, scale) = (row(scaler.shift.val())?, row(scaler.scale.val())?);
        graph.guards.is_empty().then_some(Self { shift, scale })
    }

    fn rows(&self) -> Option<impl Iterator<Item = (&f32, &f32)> + Clone> {
        let (shift, scale) = (self.shift.as_slice()?, self.scale.as_slice()?);
        Some(shift.iter().zip(scale))
    }

    /// `z · scale + shift`
    fn invert(&self, values: &mut [f32]) {
        if let Some(units) = self.rows() {
            for (value, (shift, scale)) in values.iter_mut().zip(units.cycle()) {
                *value = *value * scale + shift;
            }
        }
    }

    fn scale(&self) -> Option<&[f32]> {
        self.scale.as_slice()
    }
}

/// A block of the input's columns.
#[derive(Debug, Clone)]
struct Columns {
    width: usize,
    units: Option<Units>,
}

/// The inputs side by side in the network's units, `[n, d_in]`.
fn gather(n: usize, inputs: &[(FlexTensor, Columns)]) -> Option<Buffer> {
    let d_in: usize = inputs.iter().map(|(_, columns)| columns.width).sum();
    let mut all = Buffer::take(n * d_in);
    let mut at = 0;
    for (data, Columns { width, units }) in inputs {
        if *width == 0 {
            continue;
        }
        let from = data.as_slice::<f32>()?.chunks_exact(*width);
        for (to, from) in all.chunks_exact_mut(d_in).zip(from) {
            let to = &mut to[at..at + width];
            match units {
                Some(units) => {
                    let pairs = to.iter_mut().zip(from).zip(units.rows()?);
                    pairs.for_each(|((to, v), (shift, scale))| *to = (v - shift) / scale);
                }
                None => to.copy_from_slice(from),
            }
        }
        at += width;
    }
    Some(all)
}

/// One layer's weights.
#[derive(Debug, Clone)]
struct Parameters {
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    d_in: usize,
    d_out: usize,
}

impl Parameters {
    fn layer(&self) -> Option<Layer<'_>> {
        Some(Layer {
            weight: self.weight.as_slice()?,
            bias: match &self.bias {
                Some(bias) => bias.as_slice()?,
                None => &[],
            },
            d_in: self.d_in,
            d_out: self.d_out,
        })
    }
}

fn with_network<T>(
    layers: &[Parameters],
    activation: Activation,
    run: impl FnOnce(&Network<'_>) -> T,
) -> Option<T> {
    let layers: Vec<Layer<'_>> = layers
        .iter()
        .map(Parameters::layer)
        .collect::<Option<_>>()?;
    Some(run(&Network {
        layers: &layers,
        activation,
    }))
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
    roles: Vec<Role>,
}

#[derive(Debug)]
struct FusedNetwork;

impl<const N: usize> Backward<Flex, N> for FusedNetwork {
    type State = Box<Saved>;

    fn backward(self, ops: Ops<Box<Saved>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let saved = ops.state;
        let output = contiguous(grads.consume::<Flex>(&ops.node));
        let gradients = saved.gradients(&output);
        for ((parent, role), gradient) in ops.parents.iter().zip(&saved.roles).zip(gradients) {
            if let Some(parent) = parent {
                let tensor = match *role {
                    Role::Input(i) => flex(gradient, [saved.n, saved.columns[i].width]),
                    Role::Weight(l) => {
                        flex(gradient, [saved.layers[l].d_in, saved.layers[l].d_out])
                    }
                    Role::Bias(l) => flex(gradient, [saved.layers[l].d_out]),
                };
                grads.register::<Flex>(parent.id, tensor);
            }
        }
    }
}

impl Saved {
    /// The gradient of every role, from the one with respect to the output.
    fn gradients(&self, output: &FlexTensor) -> Vec<Vec<f32>> {
        const INVARIANT: &str = "saved tensors are contiguous and single precision";
        let output = output.as_slice::<f32>().expect(INVARIANT);
        let mut at_last = Buffer::take(output.len());
        at_last.copy_from_slice(output);
        if let Some(units) = &self.units {
            let scale = units.scale().expect(INVARIANT).iter().cycle();
            at_last.iter_mut().zip(scale).for_each(|(g, s)| *g *= s);
        }
        if let Some(squashed) = &self.squashed {
            let pairs = at_last.iter_mut().zip(squashed);
            pairs.for_each(|(g, h)| *g *= 1.0 - h * h);
        }
        let mut wanted = Wanted {
            layers: vec![(false, false); self.layers.len()],
            input: false,
        };
        for role in &self.roles {
            match *role {
                Role::Input(_) => wanted.input = true,
                Role::Weight(l) => wanted.layers[l].0 = true,
                Role::Bias(l) => wanted.layers[l].1 = true,
            }
        }
        let mut all = with_network(&self.layers, self.activation, |network| {
            network.backward(&self.trace, &at_last, &wanted)
        })
        .expect(INVARIANT);
        let gradient = |role: &Role| match *role {
            Role::Input(i) => self.scatter(&all.input, i).expect(INVARIANT),
            Role::Weight(l) => std::mem::take(&mut all.weights[l]),
            Role::Bias(l) => std::mem::take(&mut all.biases[l]),
        };
        self.roles.iter().map(gradient).collect()
    }

    /// One input's part of the gradient with respect to all, in its own units.
    fn scatter(&self, all: &[f32], input: usize) -> Option<Vec<f32>> {
        let d_in: usize = self.columns.iter().map(|columns| columns.width).sum();
        let at: usize = self.columns[..input].iter().map(|c| c.width).sum();
        let Columns { width, units } = &self.columns[input];
        let mut part = Vec::with_capacity(self.n * width);
        for row in all.chunks_exact(d_in.max(1)) {
            let row = &row[at..at + width];
            match units {
                Some(units) => {
                    part.extend(row.iter().zip(units.scale()?).map(|(g, scale)| g / scale));
                }
                None => part.extend_from_slice(row),
            }
        }
        Some(part)
    }
}

/// Hangs the output into the graph.
fn finish(
    values: FlexTensor,
    saved: Box<Saved>,
    guards: Vec<NodeGuard>,
    autodiff: bool,
) -> Option<Tensor<2>> {
    if !autodiff {
        return Some(Tensor::from_primitive::<Flex>(values));
    }
    // burn wants the number of parents at compile time.
    macro_rules! by_number_of_parents {
        ($($n:literal)*) => {
            match guards.len() {
                0 => Tracked::new(values),
                $($n => node::<$n>(values, saved, guards.try_into().ok()?),)*
                _ => return None,
            }
        };
    }
    let output = by_number_of_parents!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20);
    Some(Tensor::from_primitive::<Autodiff<Flex>>(output))
}

fn node<const N: usize>(values: FlexTensor, saved: Box<Saved>, guards: [NodeGuard; N]) -> Tracked {
    match FusedNetwork
        .prepare::<NoCheckpointing>(guards)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish(saved, values),
        OpsKind::UnTracked(prepared) => prepared.finish(values),
    }
}

#[cfg(test)]
mod tests;
