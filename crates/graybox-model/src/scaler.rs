//! Units: between the user's numbers and those a network likes.

use burn::module::Param;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// A shift and a positive scale per column: `z = (v − shift) / scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Affine {
    shift: Vec<f64>,
    scale: Vec<f64>,
}

/// An [`Affine`] as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    shift: Vec<f64>,
    scale: Vec<f64>,
}

impl TryFrom<Written> for Affine {
    type Error = ModelError;

    fn try_from(written: Written) -> Result<Self, ModelError> {
        Self::new(written.shift, written.scale)
    }
}

impl Affine {
    /// A shift and a scale for every column.
    ///
    /// # Errors
    /// If the lists differ in length, a shift is not finite, or a scale is not positive and finite.
    pub fn new(shift: Vec<f64>, scale: Vec<f64>) -> Result<Self, ModelError> {
        if shift.len() != scale.len() {
            return Err(ModelError::Lengths {
                what: "shift and scale",
                first: shift.len(),
                second: scale.len(),
            });
        }
        if let Some(column) = shift.iter().position(|v| !v.is_finite()) {
            let value = shift[column];
            return Err(ModelError::Shift { column, value });
        }
        if let Some(column) = scale.iter().position(|v| !(v.is_finite() && *v > 0.0)) {
            let value = scale[column];
            return Err(ModelError::Scale { column, value });
        }
        Ok(Self { shift, scale })
    }

    /// For lists that are checked elsewhere.
    pub(crate) fn unchecked(shift: Vec<f64>, scale: Vec<f64>) -> Self {
        Self { shift, scale }
    }

    /// Leaves `width` columns as they are.
    pub fn identity(width: usize) -> Self {
        Self {
            shift: vec![0.0; width],
            scale: vec![1.0; width],
        }
    }

    /// Mean and standard deviation of each column of a row-major buffer `[n, width]`. A column that does
    /// not vary keeps scale 1.
    pub fn standardise(width: usize, data: &[f64]) -> Self {
        let n = data.chunks_exact(width.max(1)).len().max(1) as f64;
        let mut shift = vec![0.0; width];
        let mut scale = vec![0.0; width];
        for row in data.chunks_exact(width.max(1)) {
            for (sum, value) in shift.iter_mut().zip(row) {
                *sum += value / n;
            }
        }
        for row in data.chunks_exact(width.max(1)) {
            for ((sum, value), mean) in scale.iter_mut().zip(row).zip(&shift) {
                *sum += (value - mean).powi(2) / n;
            }
        }
        for (variance, mean) in scale.iter_mut().zip(&shift) {
            let deviation = variance.sqrt();
            // Rounding leaves a constant column a deviation of the order of its own last digit.
            let varies = deviation > 1e-12 * mean.abs();
            *variance = if varies { deviation } else { 1.0 };
        }
        Self { shift, scale }
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.shift.len()
    }

    /// The shift of every column.
    pub fn shift(&self) -> &[f64] {
        &self.shift
    }

    /// The scale of every column.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// The module that applies it on a device.
    pub fn init(&self, device: &Device) -> Scaler {
        Scaler {
            shift: row_constant(&self.shift, device),
            scale: row_constant(&self.scale, device),
        }
    }
}

/// An [`Affine`] as a module: constants that travel with the weights and are never trained.
#[derive(Module, Debug)]
pub struct Scaler {
    /// `[1, d]`
    pub shift: Param<Tensor<2>>,
    /// `[1, d]`
    pub scale: Param<Tensor<2>>,
}

impl Scaler {
    /// From the user's units to the network's: `(v − shift) / scale`.
    ///
    /// # Shapes
    /// `[batch, d]` → `[batch, d]`
    pub fn forward(&self, v: Tensor<2>) -> Tensor<2> {
        (v - self.shift.val()) / self.scale.val()
    }

    /// From the network's units back to the user's: `z · scale + shift`.
    ///
    /// # Shapes
    /// `[batch, d]` → `[batch, d]`
    pub fn inverse(&self, z: Tensor<2>) -> Tensor<2> {
        z * self.scale.val() + self.shift.val()
    }
}

/// How much smaller than the others a column becomes that is to be looked past: beyond the last digit of an `f32`,
/// and far from where squares of gradients underflow.
const UNSEEN: f64 = 1e9;

impl Scaler {
    /// The same, but for columns that come out as good as zero whatever goes in.
    ///
    /// # Panics
    /// If there is no such column.
    #[must_use]
    pub fn blind_to(self, columns: &[usize]) -> Self {
        let mut factor = vec![1.0; self.scale.dims()[1]];
        for &column in columns {
            factor[column] = UNSEEN;
        }
        let factor = row_constant(&factor, &self.scale.device()).val();
        Self {
            scale: self.scale.map(|scale| scale * factor),
            ..self
        }
    }
}

fn row_constant(values: &[f64], device: &Device) -> Param<Tensor<2>> {
    let data: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    let shape = [1, data.len()];
    Param::from_data(TensorData::new(data, shape), device).set_require_grad(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardising_gives_mean_and_deviation() {
        let affine = Affine::standardise(2, &[1.0, 7.0, 3.0, 7.0]);
        assert_eq!(affine.shift(), &[2.0, 7.0]);
        assert_eq!(
            affine.scale(),
            &[1.0, 1.0],
            "a constant column keeps scale 1"
        );
    }

    #[test]
    fn a_constant_column_with_rounding_noise_is_still_constant() {
        let affine = Affine::standardise(1, &[0.1 + 0.2, 0.3, 0.3]);
        assert_eq!(affine.scale(), &[1.0]);
    }

    #[test]
    fn inverse_undoes_forward() {
        let scaler = Affine::new(vec![10.0, -1.0], vec![2.0, 0.5])
            .unwrap()
            .init(&Device::flex());
        let v = Tensor::<2>::from_data([[12.0, -1.5], [8.0, 0.0]], &Device::flex());
        let z = scaler.forward(v.clone());
        z.to_data()
            .assert_eq(&TensorData::from([[1.0f32, -1.0], [-1.0, 2.0]]), true);
        scaler.inverse(z).to_data().assert_eq(&v.to_data(), true);
    }

    #[test]
    fn what_it_is_blind_to_comes_out_as_nothing() {
        let device = Device::flex().autodiff();
        let scaler = Affine::new(vec![1.0; 2], vec![2.0; 2])
            .unwrap()
            .init(&device)
            .train()
            .blind_to(&[1]);
        let v = Tensor::<2>::from_data([[5.0, 5.0]], &device);
        let z: Vec<f32> = scaler.forward(v).into_data().try_to_vec().unwrap();
        assert!((z[0] - 2.0).abs() < 1e-6 && z[1].abs() < 1e-8, "{z:?}");
        assert!(!scaler.scale.val().is_require_grad());
    }

    #[test]
    fn constants_are_not_trained() {
        let scaler = Affine::identity(2).init(&Device::flex().autodiff());
        assert!(!scaler.shift.val().is_require_grad());
        assert!(!scaler.train().scale.val().is_require_grad());
    }

    #[test]
    fn a_scale_of_zero_is_refused_by_column() {
        assert_eq!(
            Affine::new(vec![0.0, 0.0], vec![1.0, 0.0]),
            Err(ModelError::Scale {
                column: 1,
                value: 0.0
            })
        );
    }
}
