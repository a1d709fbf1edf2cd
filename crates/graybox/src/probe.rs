//! How an algorithm asks the oracle.

use burn::prelude::*;
use graybox_model::HeadConfig;
use graybox_oracle::{Metered, Outcome, Queries, Rows};
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

use crate::{Batch, Calls, Objective, Problem, StepError, Stop, bridge};

/// An algorithm's only access to the oracle, to randomness and to the objective.
///
/// Every row asked through it is charged.
pub struct Probe<'a> {
    metered: &'a mut Metered,
    calls: &'a mut Calls,
    objective: &'a dyn Objective,
    actions: &'a HeadConfig,
    rng: &'a mut StdRng,
    device: &'a Device,
    stop: &'a Stop,
}

impl<'a> Probe<'a> {
    /// What an algorithm is given in a round.
    pub(crate) fn new(
        metered: &'a mut Metered,
        calls: &'a mut Calls,
        problem: &'a Problem,
        rng: &'a mut StdRng,
        stop: &'a Stop,
    ) -> Self {
        Self {
            metered,
            calls,
            objective: &**problem.objective(),
            actions: problem.actions(),
            rng,
            device: problem.device(),
            stop,
        }
    }

    /// Asks for the outcomes of one action per row of the batch.
    ///
    /// # Shapes
    /// `u`: `[batch, d_u]`
    ///
    /// # Errors
    /// If the budget does not cover the batch, or an action is not finite.
    pub fn ask(&mut self, batch: &Batch, u: Tensor<2>) -> Result<Measured, StepError> {
        self.explore(batch, u, 0.0)
    }

    /// Asks at `u + sigma · scale · N(0, 1)`, kept within the bounds of the actions. The scale is that of
    /// the actions, so `sigma` has no unit.
    ///
    /// # Shapes
    /// `u`: `[batch, d_u]`
    ///
    /// # Errors
    /// If the budget does not cover the batch, or an action is not finite.
    pub fn explore(
        &mut self,
        batch: &Batch,
        u: Tensor<2>,
        sigma: f64,
    ) -> Result<Measured, StepError> {
        let u = self.download_actions(batch, u)?;
        if sigma == 0.0 {
            return self.measure(batch, u);
        }
        let mut noisy = Rows::with_capacity(u.width(), u.len());
        for row in u.iter() {
            let noise: Vec<f64> = StandardNormal
                .sample_iter(&mut *self.rng)
                .take(row.len())
                .collect();
            noisy.push(&self.perturb(row, &noise, sigma))?;
        }
        self.measure(batch, noisy)
    }

    /// `u + sigma · scale · noise`, kept within the bounds of the actions.
    pub fn perturb(&self, u: &[f64], noise: &[f64], sigma: f64) -> Vec<f64> {
        let affine = self.actions.affine();
        let steps = affine
            .scale()
            .iter()
            .zip(noise)
            .map(|(scale, z)| sigma * scale * z);
        let mut u: Vec<f64> = u.iter().zip(steps).map(|(u, step)| u + step).collect();
        self.actions.clamp(&mut u);
        u
    }

    /// Asks for the outcomes of given actions, one per row of the batch.
    ///
    /// # Errors
    /// If the budget does not cover the batch, or the rows do not fit.
    pub fn measure(&mut self, batch: &Batch, u: Rows) -> Result<Measured, StepError> {
        let queries = Queries::new(&batch.x_rows, &u)?;
        let outcomes = self.metered.evaluate(queries)?;
        self.measured(batch, u, outcomes)
    }

    /// Takes in what came of given actions, one per row of the batch.
    pub(crate) fn measured(
        &mut self,
        batch: &Batch,
        u: Rows,
        outcomes: Vec<Outcome>,
    ) -> Result<Measured, StepError> {
        self.calls.push(Queries::new(&batch.x_rows, &u)?, &outcomes);
        let d_y = self.metered.dims().y;
        let parcel = bridge::upload_answers(&u, &outcomes, d_y, self.device);
        let answered = outcomes.iter().flatten().count();
        let losses = (outcomes.iter().zip(batch.target_rows.iter()))
            .filter_map(|(y, target)| Some(self.objective.value(y.as_ref().ok()?, target)));
        let loss = (answered > 0).then(|| losses.sum::<f64>() / answered as f64);
        Ok(Measured {
            u: parcel.u,
            y: parcel.y,
            weight: parcel.weight,
            loss,
            answered,
            u_rows: u,
            outcomes,
        })
    }

    /// Asks about any rows, on the host. For probes that are not one action per training row.
    ///
    /// # Errors
    /// If the budget does not cover the rows, or contexts and actions differ in number.
    pub fn ask_rows(&mut self, x: &Rows, u: &Rows) -> Result<Vec<Outcome>, StepError> {
        let queries = Queries::new(x, u)?;
        let outcomes = self.metered.evaluate(queries)?;
        self.calls.push(queries, &outcomes);
        Ok(outcomes)
    }

    /// Asks an oracle that is no black box what sensitivities of its outcomes become as sensitivities of the actions,
    /// `sᵀ ∂F/∂u`, one charged call per row.
    ///
    /// # Shapes
    /// `sensitivities`: `[n, d_y]` → `[n, d_u]`
    ///
    /// # Errors
    /// If the oracle gives no gradient, the budget does not cover the rows, or their numbers differ.
    pub fn pull_back_rows(
        &mut self,
        x: &Rows,
        u: &Rows,
        sensitivities: &Rows,
    ) -> Result<Vec<Outcome>, StepError> {
        let queries = Queries::new(x, u)?;
        let pulled = self.metered.pull_back(queries, sensitivities)?;
        pulled.ok_or(StepError::NoGradient)
    }

    /// Brings the policy's actions to the host.
    ///
    /// # Shapes
    /// `u`: `[batch, d_u]`
    ///
    /// # Errors
    /// If one is not finite.
    pub fn download_actions(&self, batch: &Batch, u: Tensor<2>) -> Result<Rows, StepError> {
        let u = bridge::download(u.without_autodiff());
        for (row, values) in batch.index.iter().zip(u.iter()) {
            if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
                return Err(StepError::Diverged { row: *row, value });
            }
        }
        Ok(u)
    }

    /// Reads scalars of the device, `[1]` each, all in one transfer.
    pub fn read<const N: usize>(&self, scalars: [Tensor<1>; N]) -> [f64; N] {
        bridge::read(scalars)
    }

    /// Takes row numbers to the device.
    ///
    /// # Shapes
    /// → `[n]`
    pub fn upload_index(&self, index: &[usize]) -> Tensor<1, Int> {
        bridge::upload_index(index, self.device)
    }

    /// Takes host rows to the device.
    ///
    /// # Shapes
    /// `n` rows of width `d` → `[n, d]`
    pub fn upload(&self, rows: &Rows) -> Tensor<2> {
        bridge::upload(rows, self.device)
    }

    /// The loss to be minimised.
    pub fn objective(&self) -> &dyn Objective {
        self.objective
    }

    /// What actions may be, and the scale on which they matter.
    pub fn actions(&self) -> &HeadConfig {
        self.actions
    }

    /// The run's source of randomness.
    pub fn rng(&mut self) -> &mut StdRng {
        self.rng
    }

    /// Calls that may still be made.
    pub fn left(&self) -> u64 {
        self.metered.left()
    }

    /// Calls that were made or are on their way.
    pub fn asked(&self) -> u64 {
        self.metered.calls() + self.metered.on_their_way() as u64
    }

    /// Rows that have been asked about and have not come back, in an [asynchronous](crate::Asynchronous) run.
    pub fn on_their_way(&self) -> usize {
        self.metered.on_their_way()
    }

    /// Calls of the whole run.
    pub fn budget(&self) -> u64 {
        self.metered.budget().calls()
    }

    /// The share of the budget that is spent, in `[0, 1]`.
    pub fn progress(&self) -> f64 {
        self.metered.calls() as f64 / self.metered.budget().calls() as f64
    }

    /// Whether the run has been asked to stop. Long inner loops look at it.
    pub fn stopped(&self) -> bool {
        self.stop.is_set()
    }
}

/// What one oracle batch brought back.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Actions as they were asked, exploration included, `[batch, d_u]`.
    pub u: Tensor<2>,
    /// Outcomes, `[batch, d_y]`; zeros where there are none.
    pub y: Tensor<2>,
    /// `[batch]`: 0 for a failed row, equal shares of 1 for the others, so that a weighted sum over rows
    /// is the mean over those that count.
    pub weight: Tensor<1>,
    /// Mean loss of the answered rows; none if every row failed.
    pub loss: Option<f64>,
    /// Rows that were answered.
    pub answered: usize,
    /// The actions on the host.
    pub u_rows: Rows,
    /// The outcomes on the host.
    pub outcomes: Vec<Outcome>,
}
