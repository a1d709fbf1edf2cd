//! From the user's units to the network's and back.

use burn::prelude::*;

use crate::Scaler;
use crate::flex::Operand;
use crate::kernels::Buffer;

/// A change of units as two rows of numbers.
#[derive(Debug, Clone)]
pub(super) struct Units {
    shift: Operand,
    scale: Operand,
}

impl Units {
    /// Nothing if they are trained, or not of this width.
    pub(super) fn read(scaler: &Scaler, width: usize) -> Option<Self> {
        let row = |row: Tensor<2>| {
            let fits = row.dims() == [1, width];
            fits.then(|| Operand::constant(row)).flatten()
        };
        Some(Self {
            shift: row(scaler.shift.val())?,
            scale: row(scaler.scale.val())?,
        })
    }

    /// Shift and scale of every column. Looking a slice up costs as much as a row: once per pass, not per row.
    pub(super) fn columns(&self) -> (&[f32], &[f32]) {
        (self.shift.as_slice(), self.scale.as_slice())
    }

    /// `z · scale + shift`
    pub(super) fn invert(&self, values: &mut [f32]) {
        let (shift, scale) = self.columns();
        for row in values.chunks_exact_mut(scale.len()) {
            for ((value, shift), scale) in row.iter_mut().zip(shift).zip(scale) {
                *value = *value * scale + shift;
            }
        }
    }
}

/// A block of the input's columns.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) width: usize,
    pub(super) units: Option<Units>,
}

/// The inputs side by side in the network's units, `[n, d_in]`.
pub(super) fn gather(n: usize, inputs: &[(Operand, Columns)]) -> Buffer {
    let d_in: usize = inputs.iter().map(|(_, columns)| columns.width).sum();
    let mut all = Buffer::take(n * d_in);
    let mut at = 0;
    for (data, Columns { width, units }) in inputs {
        if *width == 0 {
            continue;
        }
        let to = all.chunks_exact_mut(d_in);
        let to = to.map(|row| &mut row[at..at + width]);
        let rows = to.zip(data.as_slice().chunks_exact(*width));
        if let Some((shift, scale)) = units.as_ref().map(Units::columns) {
            for (to, from) in rows {
                for (((to, v), shift), scale) in to.iter_mut().zip(from).zip(shift).zip(scale) {
                    *to = (v - shift) / scale;
                }
            }
        } else {
            for (to, from) in rows {
                to.copy_from_slice(from);
            }
        }
        at += width;
    }
    all
}
