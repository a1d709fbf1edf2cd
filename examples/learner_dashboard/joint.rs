//! Both networks and the black box as one module, which is what a `Learner` trains.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::data::dataloader::batcher::Batcher;
use burn::prelude::*;
use burn::train::{InferenceStep, Interrupter, TrainOutput, TrainStep};
use graybox::model::{HeadConfig, MlpPolicy, MlpSurrogate, Policy, Surrogate, Term};
use graybox::oracle::{Metered, Outcome, Queries, RowError, Rows};
use graybox::{Dataset, Objective, Problem};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::metrics::Losses;

/// Half the width of what is tried around the policy's action, in units of the actions' scale.
const EXPLORATION: f64 = 0.2;

/// The function that cannot be differentiated, and the randomness of what it is asked.
pub(crate) struct BlackBox {
    pub(crate) metered: Metered,
    pub(crate) rng: StdRng,
    pub(crate) interrupter: Interrupter,
}

/// A module's handle on the black box; its clones share one meter.
#[derive(Clone)]
struct Asked(Arc<Mutex<BlackBox>>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

/// Policy and surrogate, trained together.
#[derive(Module, Debug)]
pub(crate) struct Joint {
    pub(crate) policy: MlpPolicy,
    surrogate: MlpSurrogate,
    #[module(skip)]
    black_box: Asked,
    #[module(skip)]
    actions: HeadConfig,
    #[module(skip)]
    objective: Arc<dyn Objective>,
}

/// What the oracle was asked and said, on the device.
struct Answers {
    /// `[batch, d_u]`
    u: Tensor<2>,
    /// `[batch, d_y]`; zeros where there was no answer.
    y: Tensor<2>,
    /// `[batch]`: 0 for a failed row, equal shares of 1 for the others.
    weight: Tensor<1>,
}

/// Rows of a data set: contexts `[batch, d_x]`, targets `[batch, d_y]`.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    x: Tensor<2>,
    target: Tensor<2>,
}

/// One row of a data set.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) x: Vec<f32>,
    pub(crate) target: Vec<f32>,
}

/// Rows to tensors.
pub(crate) struct RowBatcher;

impl Batcher<Row, Batch> for RowBatcher {
    fn batch(&self, rows: Vec<Row>, device: &Device) -> Batch {
        let device = device.clone().without_autodiff();
        let tensor = |of: fn(&Row) -> &Vec<f32>| {
            let width = rows.first().map_or(0, |row| of(row).len());
            let values: Vec<f32> = rows.iter().flat_map(of).copied().collect();
            Tensor::from_data(TensorData::new(values, [rows.len(), width]), &device)
        };
        Batch {
            x: tensor(|row| &row.x),
            target: tensor(|row| &row.target),
        }
    }
}

impl Joint {
    pub(crate) fn new(
        policy: MlpPolicy,
        surrogate: MlpSurrogate,
        problem: &Problem,
        black_box: BlackBox,
    ) -> Self {
        Self {
            policy,
            surrogate,
            black_box: Asked(Arc::new(Mutex::new(black_box))),
            actions: problem.actions().clone(),
            objective: Arc::clone(problem.objective()),
        }
    }

    /// Calls charged so far.
    pub(crate) fn calls(&self) -> u64 {
        self.black_box().metered.calls()
    }

    /// Mean true loss on rows that no training sees, which is not charged.
    pub(crate) fn true_loss(&self, data: &Dataset, device: &Device) -> f64 {
        let x: Vec<f32> = data.x().as_slice().iter().map(|x| *x as f32).collect();
        let shape = [data.x().len(), data.x().width()];
        let x = Tensor::from_data(TensorData::new(x, shape), device);
        let u = host(self.policy.valid().forward(x));
        let queries = Queries::new(data.x(), &u).expect("one action per context");
        let outcomes = self.black_box().metered.score(queries);
        let outcomes = outcomes.expect("no record is kept that could fail");
        let losses: Vec<f64> = (outcomes.iter().zip(data.target().iter()))
            .filter_map(|(y, target)| Some(self.objective.value(y.as_ref().ok()?, target)))
            .collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    }

    fn black_box(&self) -> MutexGuard<'_, BlackBox> {
        let black_box = self.black_box.0.lock();
        black_box.expect("no thread panics while it asks")
    }

    /// Asks at these actions, `explored` by so much, and takes what came of it to the device in one parcel.
    fn ask(&self, batch: &Batch, u: Tensor<2>, exploration: f64) -> Answers {
        let (x_rows, mut u_rows) = (host(batch.x.clone()), host(u));
        let mut black_box = self.black_box();
        self.explore(&mut u_rows, exploration, &mut black_box.rng);
        let queries = Queries::new(&x_rows, &u_rows).expect("one action per context");
        let outcomes = match black_box.metered.evaluate(queries) {
            Ok(outcomes) => outcomes,
            // A step cannot fail; a learner can be told why to stop.
            Err(error) => {
                black_box.interrupter.stop(Some(&error.to_string()));
                vec![Err(RowError::Cancelled); u_rows.len()]
            }
        };
        answers(&u_rows, &outcomes, batch)
    }

    /// Actions around the policy's, within the bounds: without them nothing tells of ∂F/∂u.
    fn explore(&self, u: &mut Rows, exploration: f64, rng: &mut StdRng) {
        let affine = self.actions.affine();
        for row_idx in 0..u.len() {
            let row = u.row_mut(row_idx);
            for (value, scale) in row.iter_mut().zip(affine.scale()) {
                *value += exploration * scale * rng.random_range(-1.0..1.0);
            }
            self.actions.clamp(row);
        }
    }

    /// `ℓ(y, target)` over the rows that were answered, `[1]`.
    fn loss(&self, y: Tensor<2>, target: Tensor<2>, weight: &Tensor<1>) -> Tensor<1> {
        let weight = weight.clone();
        self.objective.total(y, &[Term { target, weight }])
    }
}

impl TrainStep for Joint {
    type Input = Batch;
    type Output = Losses;

    fn step(&self, batch: Batch) -> TrainOutput<Losses> {
        let u = self.policy.forward(batch.x.clone());
        let answers = self.ask(&batch, u.clone(), EXPLORATION);
        let Answers { y, weight, .. } = &answers;

        // The first term of L* for the policy, through the surrogate as a constant; the second for the surrogate.
        let predicted = self.surrogate.valid().forward(batch.x.clone(), u);
        let fit = self.loss(predicted, batch.target.clone(), weight);
        let predicted = self.surrogate.forward(batch.x, answers.u.clone());
        let mismatch = self.loss(predicted, y.clone(), weight);
        let gradients = (fit + mismatch.clone()).backward();
        let losses = Losses {
            truth: self.loss(y.clone(), batch.target, weight),
            mismatch: mismatch.without_autodiff(),
        };
        TrainOutput::new(self, gradients, losses)
    }
}

impl InferenceStep for Joint {
    type Input = Batch;
    type Output = Losses;

    fn step(&self, batch: Batch) -> Losses {
        let u = self.policy.forward(batch.x.clone());
        let answers = self.ask(&batch, u, 0.0);
        let Answers { y, weight, .. } = &answers;
        let predicted = self.surrogate.forward(batch.x, answers.u.clone());
        Losses {
            truth: self.loss(y.clone(), batch.target, weight),
            mismatch: self.loss(predicted, y.clone(), weight),
        }
    }
}

/// `[n, d]` from the device to the host.
fn host(tensor: Tensor<2>) -> Rows {
    let width = tensor.dims()[1];
    let values = tensor.without_autodiff().into_data();
    let values = values.try_to_vec_as::<f64>();
    Rows::from_vec(width, values.expect("floats convert to f64")).expect("a tensor has whole rows")
}

fn answers(u: &Rows, outcomes: &[Outcome], batch: &Batch) -> Answers {
    let (n, d_y) = (u.len(), batch.target.dims()[1]);
    let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let mut y = Vec::with_capacity(n * d_y);
    let mut weight = Vec::with_capacity(n);
    for outcome in outcomes {
        weight.push(outcome.as_ref().map_or(0.0, |_| 1.0 / answered as f32));
        match outcome {
            Ok(outcome) => y.extend(outcome.iter().map(|value| *value as f32)),
            Err(_) => y.resize(y.len() + d_y, 0.0),
        }
    }
    let u_values: Vec<f32> = u.as_slice().iter().map(|value| *value as f32).collect();
    let device = batch.x.device();
    Answers {
        u: Tensor::from_data(TensorData::new(u_values, [n, u.width()]), &device),
        y: Tensor::from_data(TensorData::new(y, [n, d_y]), &device),
        weight: Tensor::from_data(TensorData::new(weight, [n]), &device),
    }
}
