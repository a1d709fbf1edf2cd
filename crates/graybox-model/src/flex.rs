//! burn's CPU backend from inside: tensors as slices, and operations of our own in its graph.
//!
//! Everything here answers `None` where it does not apply: a tensor on another device, or not in single
//! precision. The caller then composes burn's own operations.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::{Autodiff, BackendTypes};
use burn::prelude::*;
use burn::tensor::{Bytes, DType};
use burn_flex::{Flex, FlexTensor, Layout};

type Tracked = <Autodiff<Flex> as BackendTypes>::FloatTensorPrimitive;

/// What a saved tensor is known to be.
pub(crate) const ROW_MAJOR: &str = "operands are single precision and row-major";

/// Numbers in row-major order.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    tensor: FlexTensor,
    /// Where they lie in its storage. To find out takes as long as a row of a small layer, so it is asked once.
    start: usize,
    end: usize,
}

impl Operand {
    /// Of a tensor without gradients.
    pub(crate) fn constant<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        if !tensor.is_autodiff() && tensor.dtype() == DType::F32 {
            return Some(Self::contiguous(tensor.try_into_primitive::<Flex>().ok()?));
        }
        let mut graph = Graph::<()>::default();
        let operand = graph.operand(tensor, ())?;
        (!graph.is_tracked()).then_some(operand)
    }

    /// Freshly computed numbers.
    pub(crate) fn new<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Self {
        let end = values.len();
        let layout = Layout::contiguous(Shape::from(shape));
        Self {
            tensor: FlexTensor::new(Bytes::from_elems(values), layout, DType::F32),
            start: 0,
            end,
        }
    }

    fn contiguous(tensor: FlexTensor) -> Self {
        let tensor = match tensor.layout().contiguous_offsets() {
            Some((start, end)) => return Self { tensor, start, end },
            None => tensor.to_contiguous(),
        };
        let (start, end) = tensor.layout().contiguous_offsets().expect(ROW_MAJOR);
        Self { tensor, start, end }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.tensor.storage()[self.start..self.end]
    }

    /// A copy of its own, unless nobody else holds the numbers.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.tensor.storage_mut()[self.start..self.end]
    }

    /// A tensor that knows no gradients.
    pub(crate) fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(self.tensor)
    }
}

/// Whether these are [`Operand`]s without gradients, all on one device and of one shape.
pub(crate) fn all_plain<const D: usize, const N: usize>(tensors: [&Tensor<D>; N]) -> bool {
    let dims = tensors[0].dims();
    tensors[0].device() == Device::flex()
        && tensors
            .iter()
            .all(|t| t.dtype() == DType::F32 && !t.is_autodiff() && t.dims() == dims)
}

/// The vector-Jacobian product of an operation.
pub(crate) trait Pullback: Clone + Send + Debug + 'static {
    /// What an operand with gradients is to the operation.
    type Role: Clone + Send + Debug + 'static;

    /// From the gradient with respect to the output to the one with respect to each of these operands.
    fn pull(&self, output: &[f32], roles: &[Self::Role]) -> Vec<Operand>;
}

/// The operands of an operation, and those of them that have gradients.
#[derive(Debug)]
pub(crate) struct Graph<R> {
    autodiff: bool,
    parents: Vec<NodeGuard>,
    targets: Vec<NodeId>,
    roles: Vec<R>,
}

impl<R> Default for Graph<R> {
    fn default() -> Self {
        Self {
            autodiff: false,
            parents: Vec::new(),
            targets: Vec::new(),
            roles: Vec::new(),
        }
    }
}

impl<R: Clone + Send + Debug + 'static> Graph<R> {
    /// Takes an operand.
    pub(crate) fn operand<const D: usize>(
        &mut self,
        tensor: Tensor<D>,
        role: R,
    ) -> Option<Operand> {
        if tensor.dtype() != DType::F32 {
            return None;
        }
        if !tensor.is_autodiff() {
            return Some(Operand::contiguous(
                tensor.try_into_primitive::<Flex>().ok()?,
            ));
        }
        let leaf = tensor.is_require_grad();
        let tensor = tensor.try_into_primitive::<Autodiff<Flex>>().ok()?;
        self.autodiff = true;
        let tracked = tensor.is_tracked();
        let (data, guard) = tensor.into_parts();
        if tracked {
            self.targets.push(guard.id());
            self.roles.push(role);
            // A leaf's gradient is registered under its name; burn need not walk there. That spares the
            // graph an edge per parameter, each of which costs as much as a small layer.
            if !leaf {
                self.parents.push(guard);
            }
        }
        Some(Operand::contiguous(data))
    }

    /// Whether an operand has gradients.
    pub(crate) fn is_tracked(&self) -> bool {
        !self.targets.is_empty()
    }

    /// What the operands with gradients are to the operation.
    pub(crate) fn roles(&self) -> &[R] {
        &self.roles
    }

    /// An output without gradients, on an autodiff device if an operand was on one.
    pub(crate) fn finish_untracked<const D: usize>(self, output: Operand) -> Tensor<D> {
        if self.autodiff {
            from_tracked(Tracked::new(output.tensor))
        } else {
            output.into_tensor()
        }
    }

    /// Hangs an output into the graph, if an operand has gradients.
    pub(crate) fn finish<const D: usize, P: Pullback<Role = R>>(
        mut self,
        output: Operand,
        pullback: P,
    ) -> Option<Tensor<D>> {
        if !self.is_tracked() {
            return Some(self.finish_untracked(output));
        }
        let output = output.tensor;
        if self.parents.is_empty() {
            // A parent of its own: an output that never sees a backward pass takes its graph with it,
            // where a parameter as the parent would keep it alive.
            let root = Tracked::new(output.clone()).require_grad();
            self.parents.push(root.node());
        }
        let step = Box::new(Step {
            pullback,
            targets: self.targets,
            roles: self.roles,
        });
        // burn wants the number of parents at compile time.
        macro_rules! by_number_of_parents {
            ($($n:literal)*) => {
                match self.parents.len() {
                    $($n => node::<P, $n>(output, step, self.parents.try_into().ok()?),)*
                    _ => return None,
                }
            };
        }
        Some(from_tracked(by_number_of_parents!(1 2 3 4 5 6 7 8)))
    }
}

fn from_tracked<const D: usize>(tensor: Tracked) -> Tensor<D> {
    Tensor::from_primitive::<Autodiff<Flex>>(tensor)
}

#[derive(Debug, Clone)]
struct Step<P: Pullback> {
    pullback: P,
    targets: Vec<NodeId>,
    roles: Vec<P::Role>,
}

#[derive(Debug)]
struct Operation<P>(PhantomData<P>);

impl<P: Pullback, const N: usize> Backward<Flex, N> for Operation<P> {
    type State = Box<Step<P>>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let output = Operand::contiguous(grads.consume::<Flex>(&ops.node));
        let step = ops.state;
        let gradients = step.pullback.pull(output.as_slice(), &step.roles);
        for (id, gradient) in step.targets.into_iter().zip(gradients) {
            grads.register::<Flex>(id, gradient.tensor);
        }
    }
}

fn node<P: Pullback, const N: usize>(
    output: FlexTensor,
    step: Box<Step<P>>,
    parents: [NodeGuard; N],
) -> Tracked {
    match Operation(PhantomData)
        .prepare::<NoCheckpointing>(parents)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish(step, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}
