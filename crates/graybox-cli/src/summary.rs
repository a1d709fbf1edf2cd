//! `summary.json`: every number of a report, for programs.

use graybox::Calls;
use graybox::oracle::Description;
use graybox_app::Summary;
use serde::Serialize;

use crate::scored::Scored;

/// A run in numbers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Whole {
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// Seconds that went into the networks.
    pub(crate) networks_s: f64,
    pub(crate) held_out: Option<HeldOut>,
    /// Of the calls that are kept in `calls.csv`.
    pub(crate) latest_calls: LatestCalls,
    /// Answers that other runs had paid for and this one started with.
    pub(crate) warm_start_answers: usize,
    /// Each seed, where there are several; the calls and seconds above are then those of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) seeds: Vec<OfSeed>,
}

/// The held-out rows as they were scored last.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HeldOut {
    pub(crate) rows: usize,
    pub(crate) answered: usize,
    pub(crate) outcomes: Vec<OfOutcome>,
}

/// How far an outcome is from where it should be, root mean square.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OfOutcome {
    pub(crate) name: String,
    /// Outcome and target.
    pub(crate) error: Option<f64>,
    /// What the surrogate predicts and the outcome, for the policy's actions.
    pub(crate) surrogate_error: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct LatestCalls {
    pub(crate) kept: usize,
    pub(crate) failed: usize,
}

/// One of several runs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OfSeed {
    pub(crate) seed: u64,
    /// Its results, seen from the folder of all.
    pub(crate) folder: String,
    pub(crate) true_loss_before: Option<f64>,
    pub(crate) true_loss_after: Option<f64>,
    pub(crate) oracle_calls: u64,
    pub(crate) failed_calls: u64,
    pub(crate) scoring_calls: u64,
}

impl Whole {
    pub(crate) fn new(
        summary: Summary,
        scored: Option<&Scored>,
        calls: &Calls,
        description: &Description,
    ) -> Self {
        Self {
            networks_s: (summary.wall_s - summary.oracle_s).max(0.0),
            held_out: scored.map(|scored| HeldOut::new(scored, description)),
            latest_calls: LatestCalls {
                kept: calls.len(),
                failed: calls.iter().filter(|call| call.outcome.is_err()).count(),
            },
            warm_start_answers: 0,
            summary,
            seeds: Vec::new(),
        }
    }
}

impl HeldOut {
    fn new(scored: &Scored, description: &Description) -> Self {
        let answered = || scored.outcomes.iter().enumerate();
        let answered = || answered().filter_map(|(row_idx, y)| Some((row_idx, y.as_ref().ok()?)));
        let outcomes = description.y.iter().enumerate().map(|(dim, quantity)| {
            let error = rms(answered().map(|(row_idx, y)| {
                let target = scored.data.target().row(row_idx)[dim];
                y[dim] - target
            }));
            let predicted = scored.predicted.as_ref();
            let surrogate_error = predicted.and_then(|predicted| {
                rms(answered().map(|(row_idx, y)| f64::from(predicted[row_idx][dim]) - y[dim]))
            });
            OfOutcome {
                name: quantity.name.clone(),
                error,
                surrogate_error,
            }
        });
        Self {
            rows: scored.outcomes.len(),
            answered: answered().count(),
            outcomes: outcomes.collect(),
        }
    }
}

/// Root mean square; none of none.
fn rms(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value * value, n + 1));
    (n > 0).then(|| (sum / f64::from(n)).sqrt())
}
