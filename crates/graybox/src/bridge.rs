//! The one place where tensors become host rows and back.
//!
//! An oracle batch crosses twice: actions come down, and what came of them goes up in one parcel. Beyond that `anchored`
//! reads the surrogate's predictions once a round, to compare its policies, and `discrete_reinforce` its draws; what
//! trains to convergence between rounds reads its losses. No step reads the device anywhere else.

use burn::prelude::*;
use graybox_oracle::{Outcome, Rows};

/// Brings `[n, d]` from the device to the host.
pub(crate) fn download(tensor: Tensor<2>) -> Rows {
    #[cfg(test)]
    tests::count_wait();
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
    #[cfg(test)]
    tests::count_wait();
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
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use graybox_model::HeadConfig;
    use graybox_oracle::{Dims, Oracle, Queries, RowError};

    use crate::{AlgorithmConfig, Dataset, Problem, Silent, TrainConfig, Trainer};

    thread_local! {
        static WAITS: Cell<u64> = const { Cell::new(0) };
    }

    /// Whatever comes down from the device is waited for.
    pub(super) fn count_wait() {
        WAITS.set(WAITS.get() + 1);
    }

    struct Sum {
        batches: Arc<AtomicU64>,
    }

    impl Oracle for Sum {
        fn dims(&self) -> Dims {
            Dims::new(1, 1, 1)
        }

        fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
            self.batches.fetch_add(1, Ordering::Relaxed);
            queries.iter().map(|(x, u)| Ok(vec![x[0] + u[0]])).collect()
        }
    }

    #[test]
    fn the_device_is_waited_for_once_per_oracle_batch_and_once_for_what_a_round_reports() {
        let x = Rows::from_vec(1, (0..64).map(|i| f64::from(i) / 64.0).collect()).unwrap();
        let target = Rows::from_vec(1, vec![0.3; 64]).unwrap();
        let data = Dataset::new(x, target).unwrap();
        let actions = HeadConfig::bounded(vec![-2.0], vec![2.0]).unwrap();
        let problem = Problem::new(data, actions, &Device::flex()).unwrap();
        // What trains to convergence between rounds looks at its losses to know when to end, and SOAP at its
        // bases; no oracle waits for that.
        let converges = |name: &str| ["anchored", "two_stage"].contains(&name);
        for algorithm in AlgorithmConfig::all() {
            let name = algorithm.name();
            if converges(name) {
                continue;
            }
            let batches = Arc::new(AtomicU64::new(0));
            let oracle = Sum {
                batches: Arc::clone(&batches),
            };
            let config = TrainConfig {
                calls: 1_024,
                algorithm,
                ..TrainConfig::default()
            };
            let mut trainer = Trainer::new(config, problem.clone(), oracle).unwrap();
            WAITS.set(0);
            let run = trainer.run(&mut Silent).unwrap();
            let (waits, batches) = (WAITS.get(), batches.load(Ordering::Relaxed));
            // What keeps a run from learning is looked for halfway and at the end.
            let diagnoses = 2;
            // The joint method is the one that reports its terms, in a transfer per round.
            let reports = if name == "joint" { run.rounds } else { 0 };
            assert!(batches >= run.rounds, "{name}");
            assert_eq!(waits, batches + reports + diagnoses, "{name}");
        }
    }

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
