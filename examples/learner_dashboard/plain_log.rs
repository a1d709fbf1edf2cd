//! A line per epoch, where there is no terminal to draw a dashboard on: burn-train's own fallback writes one per
//! batch, without a number in it.

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

/// Prints what the metrics came to over each epoch.
#[derive(Default)]
pub(crate) struct PlainLog {
    epochs: usize,
    metrics: Vec<MetricDefinition>,
    line: String,
}

impl PlainLog {
    fn add(&mut self, split: &str, state: MetricState) {
        let MetricState::Numeric(entry, Some(NumericEntry::Final(value))) = state else {
            return;
        };
        let metric = (self.metrics.iter()).find(|metric| metric.metric_id == entry.metric_id);
        if let Some(metric) = metric {
            let name = metric.name.to_lowercase();
            self.line += &format!("  {split} {name} {value:.3e}");
        }
    }
}

impl MetricsRendererTraining for PlainLog {
    fn update_train(&mut self, state: MetricState) {
        self.add("training", state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.add("validation", state);
    }
}

impl TrainingProgressLogger for PlainLog {
    fn start(&mut self, epochs: usize, _: usize, _: Option<usize>, _: Option<&str>) {
        self.epochs = epochs;
    }

    fn update_epoch(&mut self, epoch: usize) {
        let line = std::mem::take(&mut self.line);
        println!("epoch {epoch}/{}{line}", self.epochs);
    }

    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for PlainLog {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.metrics.push(definition);
    }
}

// A renderer is one for evaluations as well; there is none here.
impl MetricsRendererEvaluation for PlainLog {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for PlainLog {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}
