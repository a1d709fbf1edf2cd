//! The rows of one round.

use std::sync::Arc;

use burn::prelude::*;
use graybox_oracle::Rows;

use crate::{Dataset, between, bridge};

/// The data set on the host and, uploaded once, on the device.
#[derive(Debug, Clone)]
pub struct DeviceData {
    host: Arc<Dataset>,
    x: Tensor<2>,
    target: Tensor<2>,
    /// Which targets are known between the rows as well.
    known_between: Arc<[bool]>,
    /// Whether there are contexts between the rows.
    contexts_between: bool,
}

impl DeviceData {
    /// Uploads a data set.
    pub fn new(data: Dataset, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        Self {
            x: bridge::upload(data.x(), &device),
            target: bridge::upload(data.target(), &device),
            known_between: between::affine_targets(&data).into(),
            contexts_between: between::has_contexts(&data),
            host: Arc::new(data),
        }
    }

    /// The rows on the host.
    pub fn host(&self) -> &Dataset {
        &self.host
    }

    /// All contexts, `[n, d_x]`, on the plain (non-autodiff) device.
    pub fn x(&self) -> &Tensor<2> {
        &self.x
    }

    /// All targets, `[n, d_y]`, on the plain device.
    pub fn target(&self) -> &Tensor<2> {
        &self.target
    }

    /// For each of the targets, whether it is known between the rows as well: they are few, and it is an affine
    /// function of the context.
    pub fn known_between(&self) -> &[bool] {
        &self.known_between
    }

    /// Whether there are contexts between the rows that an oracle can be asked about.
    pub(crate) fn has_contexts_between(&self) -> bool {
        self.contexts_between
    }

    /// Contexts and targets at a share of the way, `[n, 1]`, from some rows to others.
    ///
    /// # Shapes
    /// `from`, `to`: `[n]`, `share`: `[n, 1]` → `[n, d_x]`, `[n, d_y]`
    pub fn between(
        &self,
        from: Tensor<1, Int>,
        to: Tensor<1, Int>,
        share: Tensor<2>,
    ) -> [Tensor<2>; 2] {
        [&self.x, &self.target].map(|all| {
            let start = all.clone().select(0, from.clone());
            let end = all.clone().select(0, to.clone());
            start.clone() + (end - start) * share.clone()
        })
    }

    /// The rows at these indices.
    pub fn batch(&self, index: Vec<usize>) -> Batch {
        let device = self.x.device();
        let rows = bridge::upload_index(&index, &device);
        Batch {
            x: self.x.clone().select(0, rows.clone()),
            target: self.target.clone().select(0, rows),
            x_rows: self.host.x().select(&index),
            target_rows: self.host.target().select(&index),
            index,
        }
    }

    /// The rows at these indices, each a share of the way to another.
    pub(crate) fn batch_between(&self, index: Vec<usize>, to: &[usize], share: &[f64]) -> Batch {
        let moved = |all: &Rows| {
            let mut rows = all.select(&index);
            for (row_idx, (to, share)) in to.iter().zip(share).enumerate() {
                for (value, end) in rows.row_mut(row_idx).iter_mut().zip(all.row(*to)) {
                    *value += share * (end - *value);
                }
            }
            rows
        };
        let (x_rows, target_rows) = (moved(self.host.x()), moved(self.host.target()));
        Batch::new(index, x_rows, target_rows, &self.x.device())
    }
}

/// Training rows, on the device and on the host.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Which rows of the data set these are, or start from.
    pub index: Vec<usize>,
    /// Contexts, `[n, d_x]`, on the plain device.
    pub x: Tensor<2>,
    /// Targets, `[n, d_y]`, on the plain device.
    pub target: Tensor<2>,
    /// Contexts on the host.
    pub x_rows: Rows,
    /// Targets on the host.
    pub target_rows: Rows,
}

impl Batch {
    /// Uploads contexts and targets that are known on the host.
    pub(crate) fn new(index: Vec<usize>, x_rows: Rows, target_rows: Rows, device: &Device) -> Self {
        Self {
            x: bridge::upload(&x_rows, device),
            target: bridge::upload(&target_rows, device),
            x_rows,
            target_rows,
            index,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}
