//! The one place where tensors become host rows and back.
//!
//! An oracle batch crosses twice: actions come down, and what came of them goes up in one parcel. No step
//! reads the device anywhere else.

use burn::prelude::*;
use graybox_oracle::{Outcome, Rows};

/// Brings `[n, d]` from the device to the host.
pub(crate) fn download(tensor: Tensor<2>) -> Rows {
    let [n, width] = tensor.dims();
    let values = tensor
        .into_data()
        .try_to_vec_as::<f64>()
        .expect("float tensors convert to f64");
    let mut rows = Rows::with_capacity(width, n);
    for row in values.chunks_exact(width.max(1)) {
        rows.push(row).expect("chunks are as wide as the tensor");
    }
    rows
}

/// Takes `[n, d]` from the host to the device.
pub(crate) fn upload(rows: &Rows, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = rows.as_slice().iter().map(|v| *v as f32).collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), rows.width()]), device)
}

/// Takes row numbers to the device.
pub(crate) fn upload_index(index: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = index.iter().map(|row_idx| *row_idx as i64).collect();
    let n = rows.len();
    Tensor::from_data(TensorData::new(rows, [n]), device)
}

/// Reads tensors of one element, all in one transfer.
pub(crate) fn read<const N: usize>(scalars: [Tensor<1>; N]) -> [f64; N] {
    let values = Tensor::cat(scalars.to_vec(), 0).into_data();
    let values = values.try_to_vec_as::<f64>();
    let values = values.expect("float tensors convert to f64");
    values.try_into().expect("one value per scalar")
}

/// What one oracle batch brought back, on the device.
pub(crate) struct Parcel {
    /// Actions as they were asked, `[n, d_u]`.
    pub(crate) u: Tensor<2>,
    /// Outcomes, `[n, d_y]`; zeros where there are none.
    pub(crate) y: Tensor<2>,
    /// `1 / answered` for an answered row and 0 for a failed one, `[n]`, so that a weighted sum over rows
    /// is the mean over those that count.
    pub(crate) weight: Tensor<1>,
}

/// Takes the actions asked and their outcomes to the device in one transfer.
pub(crate) fn upload_answers(
    u: &Rows,
    outcomes: &[Outcome],
    d_y: usize,
    device: &Device,
) -> Parcel {
    let (n, d_u) = (u.len(), u.width());
    let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let share = 1.0 / answered.max(1) as f32;
    let width = d_u + d_y + 1;
    let mut values = Vec::with_capacity(n * width);
    for (u, outcome) in u.iter().zip(outcomes) {
        values.extend(u.iter().map(|v| *v as f32));
        match outcome {
            Ok(y) => {
                values.extend(y.iter().map(|v| *v as f32));
                values.push(share);
            }
            Err(_) => values.resize(values.len() + d_y + 1, 0.0),
        }
    }
    let all = Tensor::<2>::from_data(TensorData::new(values, [n, width]), device);
    Parcel {
        u: all.clone().narrow(1, 0, d_u),
        y: all.clone().narrow(1, d_u, d_y),
        weight: all.narrow(1, d_u + d_y, 1).squeeze_dim(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graybox_oracle::RowError;

    #[test]
    fn rows_survive_the_round_trip() {
        let rows = Rows::from_vec(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(download(upload(&rows, &Device::flex())), rows);
    }

    #[test]
    fn a_failed_row_weighs_nothing_and_the_others_share_one() {
        let u = Rows::from_vec(1, vec![0.1, 0.2, 0.3]).unwrap();
        let outcomes = [Ok(vec![5.0]), Err(RowError::Invalid), Ok(vec![7.0])];
        let parcel = upload_answers(&u, &outcomes, 1, &Device::flex());
        let weight = parcel.weight.into_data().try_to_vec_as::<f64>().unwrap();
        assert_eq!(weight, [0.5, 0.0, 0.5]);
        let y = download(parcel.y);
        assert_eq!(y.as_slice(), &[5.0, 0.0, 7.0]);
    }
}
