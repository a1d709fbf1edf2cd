//! What a step says of itself, as burn-train's metrics.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::{ExecutionError, TensorReadError};
use burn::train::ItemLazy;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, LossInput, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric,
    NumericAttributes, NumericEntry, SerializedEntry,
};

/// Two losses of a batch, `[1]` each.
pub(crate) struct Losses {
    /// The true loss at the actions that were asked.
    pub(crate) truth: Tensor<1>,
    /// How far the surrogate is from the oracle there, in the same unit.
    pub(crate) mismatch: Tensor<1>,
}

impl ItemLazy for Losses {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for Losses {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.truth.clone())
    }
}

impl Adaptor<MismatchInput> for Losses {
    fn adapt(&self) -> MismatchInput {
        MismatchInput(self.mismatch.clone())
    }
}

pub(crate) struct MismatchInput(Tensor<1>);

/// The surrogate's error where the policy lives: while it is large, no step of the policy means anything.
#[derive(Clone, Default)]
pub(crate) struct MismatchMetric {
    state: NumericMetricState,
}

impl MismatchMetric {
    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name()).precision(2)
    }
}

impl Metric for MismatchMetric {
    type Input = MismatchInput;

    fn name(&self) -> MetricName {
        Arc::new("Mismatch".to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        let lower_is_better = NumericAttributes {
            unit: None,
            higher_is_better: false,
        };
        lower_is_better.into()
    }

    fn update(
        &mut self,
        input: &MismatchInput,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.state.update(input.0.clone().try_into_scalar()?, 1);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for MismatchMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
