//! Every answered call, kept on the device to be learned from again.

use burn::prelude::*;

use graybox_oracle::{Answered, Rows};

use crate::snapshot::Snapshot;
use crate::{Batch, Measured, SnapshotError, bridge};

/// Rows (x, u, y, target, weight) in one growing tensor.
///
/// A failed row is kept with weight 0, so that row numbers are known before the answers are.
#[derive(Debug, Clone)]
pub struct Replay {
    /// `[capacity, d_x + d_u + 2 d_y + 1]`, of which the first `len` rows are filled.
    rows: Option<Tensor<2>>,
    len: usize,
    /// How many of them, the first, are from before the run.
    recalled: usize,
    widths: [usize; 5],
}

/// Rows drawn from a [`Replay`].
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Contexts, `[batch, d_x]`.
    pub x: Tensor<2>,
    /// Actions as asked, `[batch, d_u]`.
    pub u: Tensor<2>,
    /// Outcomes, `[batch, d_y]`; zeros where there are none.
    pub y: Tensor<2>,
    /// Targets of the contexts, `[batch, d_y]`.
    pub target: Tensor<2>,
    /// 1 for an answered row, 0 for a failed one, `[batch]`.
    pub answered: Tensor<1>,
}

impl Replay {
    /// Nothing yet.
    pub fn new(d_x: usize, d_u: usize, d_y: usize) -> Self {
        Self {
            rows: None,
            len: 0,
            recalled: 0,
            widths: [d_x, d_u, d_y, d_y, 1],
        }
    }

    /// Rows kept, failed ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps what a batch brought back.
    pub fn push(&mut self, batch: &Batch, measured: &Measured) {
        let answered = measured.weight.clone().greater_elem(0.0).float();
        let new = Tensor::cat(
            vec![
                batch.x.clone(),
                measured.u.clone(),
                measured.y.clone(),
                batch.target.clone(),
                answered.unsqueeze_dim(1),
            ],
            1,
        );
        self.append(new);
    }

    /// Keeps calls that were made before the run, ahead of its own. What was wanted there is not known: their
    /// target is what came of them.
    ///
    /// # Panics
    /// If a call of the run is kept already, or the rows are not as wide as these.
    pub fn recall(&mut self, answered: &Answered, device: &Device) {
        assert!(
            self.len == self.recalled,
            "what is recalled is older than the run"
        );
        let n = answered.len();
        if n == 0 {
            return;
        }
        let [x, u, y] =
            [answered.x(), answered.u(), answered.y()].map(|rows| bridge::upload(rows, device));
        let known = Tensor::ones([n, 1], device);
        self.append(Tensor::cat(vec![x, u, y.clone(), y, known], 1));
        self.recalled += n;
    }

    /// Rows from before the run; they have the lowest numbers.
    pub fn recalled(&self) -> usize {
        self.recalled
    }

    fn append(&mut self, new: Tensor<2>) {
        let [n, width] = new.dims();
        let filled = self.len + n;
        let device = new.device();
        let rows = match self.rows.take() {
            Some(rows) if rows.dims()[0] >= filled => rows,
            Some(rows) => {
                let room = Tensor::zeros([filled.next_power_of_two(), width], &device);
                room.slice_assign([0..self.len, 0..width], rows.narrow(0, 0, self.len))
            }
            None => Tensor::zeros([filled.next_power_of_two(), width], &device),
        };
        self.rows = Some(rows.slice_assign([self.len..filled, 0..width], new));
        self.len = filled;
    }

    /// The rows with these numbers.
    ///
    /// # Shapes
    /// `index`: `[batch]`
    ///
    /// # Panics
    /// If nothing is kept yet.
    pub fn select(&self, index: Tensor<1, Int>) -> Replayed {
        let rows = self
            .rows
            .as_ref()
            .expect("rows are drawn after some were kept");
        self.part(rows.clone().select(0, index))
    }

    /// All rows, in the order they came.
    ///
    /// # Panics
    /// If nothing is kept yet.
    pub fn all(&self) -> Replayed {
        let rows = self
            .rows
            .as_ref()
            .expect("rows are drawn after some were kept");
        self.part(rows.clone().narrow(0, 0, self.len))
    }

    /// Numbers of the rows that were answered.
    pub(crate) fn answered(&self) -> Vec<usize> {
        if self.is_empty() {
            return Vec::new();
        }
        let answered = bridge::download(self.all().answered.unsqueeze_dim(1));
        (0..self.len)
            .filter(|row_idx| answered.row(*row_idx)[0] > 0.0)
            .collect()
    }

    pub(crate) fn save(&self, name: &str, snapshot: &mut Snapshot) -> Result<(), SnapshotError> {
        let rows = self.rows.as_ref().map(|rows| {
            let rows = bridge::download(rows.clone().narrow(0, 0, self.len));
            rows.as_slice().to_vec()
        });
        snapshot.put(
            name,
            &(self.widths, self.recalled, rows.unwrap_or_default()),
        )
    }

    pub(crate) fn load(
        name: &str,
        snapshot: &Snapshot,
        device: &Device,
    ) -> Result<Self, SnapshotError> {
        let (widths, recalled, values): ([usize; 5], usize, Vec<f64>) = snapshot.get(name)?;
        let mut replay = Self {
            rows: None,
            len: 0,
            recalled,
            widths,
        };
        let rows = Rows::from_vec(widths.iter().sum(), values).map_err(|error| {
            SnapshotError::Unreadable {
                name: name.to_string(),
                reason: error.to_string(),
            }
        })?;
        if !rows.is_empty() {
            replay.append(bridge::upload(&rows, device));
        }
        Ok(replay)
    }

    fn part(&self, rows: Tensor<2>) -> Replayed {
        let mut start = 0;
        let mut column = |width: usize| {
            let part = rows.clone().narrow(1, start, width);
            start += width;
            part
        };
        let [x, u, y, target, answered] = self.widths.map(&mut column);
        Replayed {
            x,
            u,
            y,
            target,
            answered: answered.squeeze_dim(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge;

    fn keep(replay: &mut Replay, values: &[f32]) {
        let n = values.len();
        let column = || Tensor::<1>::from_floats(values, &Device::flex()).reshape([n, 1]);
        replay.append(Tensor::cat(
            vec![
                column(),
                column() * 10.0,
                column() * 100.0,
                column(),
                column().ones_like(),
            ],
            1,
        ));
    }

    #[test]
    fn rows_keep_their_number_while_the_store_grows() {
        let mut replay = Replay::new(1, 1, 1);
        for k in 0..7 {
            keep(&mut replay, &[k as f32, k as f32 + 0.5]);
        }
        assert_eq!(replay.len(), 14);
        let index = Tensor::<1, Int>::from_ints([13, 0], &Device::flex());
        let drawn = replay.select(index);
        assert_eq!(bridge::download(drawn.x).as_slice(), &[6.5, 0.0]);
        assert_eq!(bridge::download(drawn.y).as_slice(), &[650.0, 0.0]);
        assert_eq!(
            bridge::download(replay.all().u).as_slice()[4..6],
            [20.0, 25.0]
        );
    }

    #[test]
    fn what_is_recalled_comes_first_and_is_told_apart_after_a_save() {
        let mut old = Answered::new(graybox_oracle::Dims::new(1, 1, 1));
        old.push(&[1.0], &[2.0], &[3.0]).unwrap();
        old.push(&[4.0], &[5.0], &[6.0]).unwrap();
        let mut replay = Replay::new(1, 1, 1);
        replay.recall(&old, &Device::flex());
        keep(&mut replay, &[7.0]);

        let mut snapshot = Snapshot::new();
        replay.save("replay", &mut snapshot).unwrap();
        let replay = Replay::load("replay", &snapshot, &Device::flex()).unwrap();
        assert_eq!((replay.len(), replay.recalled()), (3, 2));
        let all = replay.all();
        assert_eq!(bridge::download(all.y).as_slice(), &[3.0, 6.0, 700.0]);
        assert_eq!(replay.answered(), [0, 1, 2]);
    }
}
