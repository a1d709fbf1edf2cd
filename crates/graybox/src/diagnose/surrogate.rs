//! What the surrogate makes of what it was told.

use super::{Call, Diagnosis, Evidence};

/// The latest calls the surrogate is asked about.
const ASKED: usize = 512;

/// A surrogate that explains less than this share of the spread has not learned.
const MISSED: f64 = 0.25;

pub(super) fn too_small(evidence: &Evidence<'_>) -> Option<Diagnosis> {
    let surrogate = evidence.surrogate?;
    let answered: Vec<(&Call, &Vec<f64>)> = evidence.calls.answered().collect();
    let latest = &answered[answered.len().saturating_sub(ASKED)..];
    if latest.len() < 64 {
        return None;
    }
    let calls: Vec<&Call> = latest.iter().map(|(call, _)| *call).collect();
    let n = latest.len() as f64;
    let mean: Vec<f64> = (0..evidence.problem.dims().y)
        .map(|dim| latest.iter().map(|(_, y)| y[dim]).sum::<f64>() / n)
        .collect();
    let predicted = evidence.predict(surrogate, &calls);
    let objective = evidence.objective();
    let error = predicted
        .iter()
        .zip(latest)
        .map(|(y_hat, (_, y))| objective.value(y_hat, y));
    let error = error.sum::<f64>() / n;
    let spread = latest
        .iter()
        .map(|(_, y)| objective.value(&mean, y))
        .sum::<f64>()
        / n;
    (error > MISSED * spread).then_some(Diagnosis::SurrogateTooSmall { error, spread })
}
