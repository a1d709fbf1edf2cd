//! A fully connected network.

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::ModelError;
#[cfg(feature = "flex")]
use crate::fused;

/// What stands between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `tanh`: smooth, so that derivatives of the network are worth something. The default.
    #[default]
    Tanh,
    /// `max(0, z)`.
    Relu,
    /// `z · sigmoid(z)`.
    Silu,
}

impl Activation {
    /// Applies it to every element; the shape stays.
    pub fn forward(self, z: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Tanh => activation::tanh(z),
            Self::Relu => activation::relu(z),
            Self::Silu => activation::silu(z),
        }
    }
}

/// Hidden layers and activation of an [`Mlp`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Units of each hidden layer; none makes the network linear.
    pub hidden: Vec<usize>,
    /// Between the layers.
    pub activation: Activation,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64],
            activation: Activation::Tanh,
        }
    }
}

impl MlpConfig {
    /// These hidden layers, with `tanh` between them.
    pub fn new(hidden: impl Into<Vec<usize>>) -> Self {
        Self {
            hidden: hidden.into(),
            ..Self::default()
        }
    }

    /// Whether the network can be built.
    ///
    /// # Errors
    /// If a hidden layer has no units.
    pub fn check(&self) -> Result<(), ModelError> {
        match self.hidden.iter().position(|units| *units == 0) {
            Some(layer) => Err(ModelError::EmptyLayer { layer }),
            None => Ok(()),
        }
    }

    /// A network with weights drawn from `U(−a, a)`, `a = √(6 / (in + out))` (Glorot & Bengio, 2010), and
    /// biases from `U(−1/√in, 1/√in)`.
    ///
    /// The numbers come from `rng` alone, never from burn's process-wide generator.
    pub fn init(&self, d_in: usize, d_out: usize, rng: &mut impl Rng, device: &Device) -> Mlp {
        let mut widths = vec![d_in];
        widths.extend(&self.hidden);
        widths.push(d_out);
        let layers = widths
            .windows(2)
            .map(|pair| linear(pair[0], pair[1], rng, device))
            .collect();
        Mlp {
            layers,
            activation: self.activation,
        }
    }
}

/// A stack of [`Linear`] layers with an activation between them and none after the last.
#[derive(Module, Debug)]
pub struct Mlp {
    /// From the input to the output.
    pub layers: Vec<Linear>,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// `[batch, d_in]` → `[batch, d_out]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        if let Some(output) = fused::forward(&[fused::Input::new(&input, None)], self, None) {
            return output;
        }
        self.composed(input)
    }

    /// The same in burn's own operations, on any device.
    pub(crate) fn composed(&self, input: Tensor<2>) -> Tensor<2> {
        let mut z = input;
        for (idx, layer) in self.layers.iter().enumerate() {
            if idx > 0 {
                z = self.activation.forward(z);
            }
            z = layer.forward(z);
        }
        z
    }

    /// Many networks of this shape at once. A network's weights are those of its layers in order, each
    /// layer's matrix before its bias.
    ///
    /// # Shapes
    /// `weights`: `[members, num_params]`, `input`: `[batch, d_in]` → `[members, batch, d_out]`
    pub fn forward_population(&self, weights: Tensor<2>, input: Tensor<2>) -> Tensor<3> {
        #[cfg(feature = "flex")]
        if let Some(output) = fused::population(self, &weights, &input) {
            return output;
        }
        self.composed_population(weights, input)
    }

    /// The same in batched products of burn's own, on any device.
    pub(crate) fn composed_population(&self, weights: Tensor<2>, input: Tensor<2>) -> Tensor<3> {
        let members = weights.dims()[0];
        let mut start = 0;
        let mut part = |rows: usize, columns: usize| {
            let part = weights.clone().narrow(1, start, rows * columns);
            start += rows * columns;
            part.reshape([members, rows, columns])
        };
        let [batch, d_in] = input.dims();
        let mut z = input.unsqueeze::<3>().expand([members, batch, d_in]);
        for (idx, layer) in self.layers.iter().enumerate() {
            if idx > 0 {
                let [_, _, units] = z.dims();
                let flat = self.activation.forward(z.reshape([members * batch, units]));
                z = flat.reshape([members, batch, units]);
            }
            let [d_in, d_out] = layer.weight.shape().dims();
            z = z.matmul(part(d_in, d_out));
            if layer.bias.is_some() {
                z = z + part(1, d_out);
            }
        }
        z
    }

    /// What stands between the layers.
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

fn linear(d_in: usize, d_out: usize, rng: &mut impl Rng, device: &Device) -> Linear {
    let glorot = (6.0 / (d_in + d_out) as f32).sqrt();
    let lecun = 1.0 / (d_in.max(1) as f32).sqrt();
    let mut uniform = |limit: f32, n: usize| -> Vec<f32> {
        (0..n).map(|_| rng.random_range(-limit..=limit)).collect()
    };
    let weight = TensorData::new(uniform(glorot, d_in * d_out), [d_in, d_out]);
    let bias = TensorData::new(uniform(lecun, d_out), [d_out]);

    let mut layer = LinearConfig::new(d_in, d_out).init(device);
    layer.weight = Param::from_data(weight, device);
    layer.bias = Some(Param::from_data(bias, device));
    layer
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn mlp(seed: u64) -> Mlp {
        MlpConfig::new([3]).init(2, 1, &mut StdRng::seed_from_u64(seed), &Device::flex())
    }

    #[test]
    fn the_seed_alone_decides_the_weights() {
        let x = Tensor::<2>::from_data([[0.3, -0.2]], &Device::flex());
        let y = mlp(7).forward(x.clone()).to_data();
        y.assert_eq(&mlp(7).forward(x.clone()).to_data(), true);
        assert_ne!(y, mlp(8).forward(x).to_data());
    }

    #[test]
    fn forward_is_affine_tanh_affine() {
        let net = mlp(1);
        let host = |t: Tensor<2>| t.into_data().try_to_vec_as::<f32>().unwrap();
        let w1 = host(net.layers[0].weight.val());
        let w2 = host(net.layers[1].weight.val());
        let b1 = host(net.layers[0].bias.as_ref().unwrap().val().unsqueeze());
        let b2 = host(net.layers[1].bias.as_ref().unwrap().val().unsqueeze());
        let x = [0.3f32, -0.2];
        let mut expected = b2[0];
        for j in 0..3 {
            expected += w2[j] * (x[0] * w1[j] + x[1] * w1[3 + j] + b1[j]).tanh();
        }
        let y = net.forward(Tensor::from_data([x], &Device::flex()));
        assert!((y.into_scalar::<f32>() - expected).abs() < 1e-6);
    }

    #[test]
    fn a_layer_of_no_units_is_refused() {
        assert_eq!(
            MlpConfig::new([8, 0]).check(),
            Err(ModelError::EmptyLayer { layer: 1 })
        );
    }
}
