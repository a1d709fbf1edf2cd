//! Policies as ONNX models, for ONNX Runtime and whatever else reads them.
//!
//! An ONNX file is one protobuf message. The few kinds of message a policy needs are written here by hand: a
//! field is a number, a wire type and a value, and a message within a message is a field of bytes. Field
//! numbers are those of `onnx.proto`, IR version 8.

use burn::prelude::*;

use crate::{Activation, MlpPolicy, Squash};

/// The operator set the model is written in.
pub const OPSET: i64 = 17;

/// IR version 8 came with opset 17, so that every runtime that knows one knows the other.
const IR_VERSION: i64 = 8;

/// A policy as an ONNX model: input `x`, `[batch, d_x]`, output `u`, `[batch, d_u]`, both `float32` in the
/// user's units. Scaling and bounds are part of the graph. `metadata` goes into the file as it is.
pub fn onnx(policy: &MlpPolicy, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut graph = Graph::default();
    let mut z = graph.input.to_owned();
    z = graph.scaled("Sub", &z, "context.shift", policy.context.shift.val());
    z = graph.scaled("Div", &z, "context.scale", policy.context.scale.val());
    for (idx, layer) in policy.body.layers.iter().enumerate() {
        if idx > 0 {
            z = graph.activation(policy.body.activation(), &z);
        }
        let weight = graph.constant(&format!("body.{idx}.weight"), layer.weight.val());
        let mut inputs = vec![z, weight];
        if let Some(bias) = &layer.bias {
            inputs.push(graph.constant(&format!("body.{idx}.bias"), bias.val()));
        }
        z = graph.node("Gemm", &inputs, None);
    }
    z = match policy.head.squash() {
        Squash::None => z,
        Squash::Tanh => graph.node("Tanh", &[z], None),
        Squash::Softmax => graph.node("Softmax", &[z], Some(("axis", 1))),
    };
    z = graph.scaled("Mul", &z, "head.scale", policy.head.units.scale.val());
    z = graph.scaled("Add", &z, "head.shift", policy.head.units.shift.val());
    graph.node_to("Identity", &[z], graph.output, None);

    let [_, d_x] = policy.context.shift.val().dims();
    let [_, d_u] = policy.head.units.shift.val().dims();
    let opset = Message::new().text(1, "").int(2, OPSET);
    let mut model = Message::new()
        .int(1, IR_VERSION)
        .text(2, "graybox")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, graph.finish(d_x, d_u))
        .message(8, opset);
    for (key, value) in metadata {
        model = model.message(14, Message::new().text(1, key).text(2, value));
    }
    model.0
}

/// A graph being written.
struct Graph {
    input: &'static str,
    output: &'static str,
    nodes: Vec<Message>,
    constants: Vec<Message>,
}

impl Default for Graph {
    fn default() -> Self {
        Self {
            input: "x",
            output: "u",
            nodes: Vec::new(),
            constants: Vec::new(),
        }
    }
}

impl Graph {
    /// Adds a node and names its output.
    fn node(&mut self, op: &str, inputs: &[String], attribute: Option<(&str, i64)>) -> String {
        let output = format!("{}_{}", op.to_lowercase(), self.nodes.len());
        self.node_to(op, inputs, &output, attribute);
        output
    }

    fn node_to(
        &mut self,
        op: &str,
        inputs: &[String],
        output: &str,
        attribute: Option<(&str, i64)>,
    ) {
        let mut node = Message::new();
        for input in inputs {
            node = node.text(1, input);
        }
        node = node
            .text(2, output)
            .text(3, &format!("{op}_{}", self.nodes.len()))
            .text(4, op);
        if let Some((name, value)) = attribute {
            const INT: i64 = 2;
            node = node.message(5, Message::new().text(1, name).int(3, value).int(20, INT));
        }
        self.nodes.push(node);
    }

    fn activation(&mut self, activation: Activation, z: &str) -> String {
        let z = z.to_owned();
        match activation {
            Activation::Tanh => self.node("Tanh", &[z], None),
            Activation::Relu => self.node("Relu", &[z], None),
            Activation::Silu => {
                let gate = self.node("Sigmoid", std::slice::from_ref(&z), None);
                self.node("Mul", &[z, gate], None)
            }
        }
    }

    /// An operator between a row of the batch and a constant row.
    fn scaled(&mut self, op: &str, z: &str, name: &str, row: Tensor<2>) -> String {
        let row = self.constant(name, row);
        self.node(op, &[z.to_owned(), row], None)
    }

    /// Adds a tensor and gives its name back.
    fn constant<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> String {
        const FLOAT: i64 = 1;
        let dims = tensor.dims();
        let data = tensor.without_autodiff().into_data();
        let mut message = Message::new();
        for size in dims {
            message = message.int(1, size as i64);
        }
        let values = data
            .try_to_vec_as::<f32>()
            .expect("float tensors convert to f32");
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constants
            .push(message.int(2, FLOAT).text(8, name).bytes(9, &raw));
        name.to_owned()
    }

    fn finish(self, d_x: usize, d_u: usize) -> Message {
        let mut graph = Message::new();
        for node in self.nodes {
            graph = graph.message(1, node);
        }
        graph = graph.text(2, "policy");
        for constant in self.constants {
            graph = graph.message(5, constant);
        }
        graph
            .message(11, value_info(self.input, d_x))
            .message(12, value_info(self.output, d_u))
    }
}

/// Name and type of an input or output: `float32`, `[batch, width]`.
fn value_info(name: &str, width: usize) -> Message {
    const FLOAT: i64 = 1;
    let batch = Message::new().text(2, "batch");
    let width = Message::new().int(1, width as i64);
    let shape = Message::new().message(1, batch).message(1, width);
    let tensor = Message::new().int(1, FLOAT).message(2, shape);
    Message::new()
        .text(1, name)
        .message(2, Message::new().message(1, tensor))
}

/// A protobuf message being written.
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn int(mut self, field: u32, value: i64) -> Self {
        const VARINT: u32 = 0;
        self.varint(u64::from(field << 3 | VARINT));
        self.varint(value as u64);
        self
    }

    fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        const LENGTH_DELIMITED: u32 = 2;
        self.varint(u64::from(field << 3 | LENGTH_DELIMITED));
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u32, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// Seven bits to a byte, lowest first, the eighth says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Affine, HeadConfig, MlpConfig, MlpPolicyConfig};
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn fields_are_written_as_protobuf_has_them() {
        // The examples of the protobuf manual: 150 as field 1, "testing" as field 2.
        assert_eq!(Message::new().int(1, 150).0, [0x08, 0x96, 0x01]);
        let text = Message::new().text(2, "testing").0;
        assert_eq!(text, [&[0x12, 0x07][..], b"testing"].concat());
    }

    #[test]
    fn a_model_holds_every_number_of_the_policy_and_its_metadata() {
        let policy = MlpPolicyConfig {
            body: MlpConfig::new([5, 4]),
            context: Affine::identity(3),
            head: HeadConfig::bounded(vec![0.0], vec![2.0]).unwrap(),
        };
        let policy = policy.init(&mut StdRng::seed_from_u64(1), &Device::flex());
        let model = onnx(&policy, &[("made by", "a test")]);
        let holds = |part: &[u8]| model.windows(part.len()).any(|window| window == part);
        for layer in &policy.body.layers {
            let weight = layer
                .weight
                .val()
                .into_data()
                .try_to_vec_as::<f32>()
                .unwrap();
            let raw: Vec<u8> = weight
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            assert!(holds(&raw));
        }
        assert!(holds(b"made by") && holds(b"a test"));
    }
}
