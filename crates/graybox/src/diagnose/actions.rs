//! Where the actions lie.

use super::{Diagnosis, Evidence};

/// Within this share of its range an action counts as being at its bound: there `tanh` has lost all but 4 % of
/// its slope.
const AT_BOUND: f64 = 0.01;

/// Calls closer to the policy than this, in units of the actions' scale, tell nothing about `∂F/∂u`.
const VARIATION: f64 = 0.01;

pub(super) fn pinned(evidence: &Evidence<'_>) -> Option<Diagnosis> {
    let (low, high) = evidence.problem.actions().bounds()?;
    let (from, latest) = evidence.calls.latest()?;
    let now = || (from..from + latest.len()).map(|row_idx| evidence.actions_now.row(row_idx));
    let n = latest.len() as f64;
    let mut worst: Option<(f64, usize, f64)> = None;
    for (action, (low, high)) in low.into_iter().zip(high).enumerate() {
        for bound in [low, high] {
            let margin = AT_BOUND * (high - low);
            let there = now().filter(|u| (u[action] - bound).abs() <= margin);
            let share = there.count() as f64 / n;
            if worst.is_none_or(|(of_worst, _, _)| share > of_worst) {
                worst = Some((share, action, bound));
            }
        }
    }
    let (share, action, bound) = worst?;
    (share > 0.5).then(|| Diagnosis::Pinned {
        action: evidence.problem.names().u[action].clone(),
        bound,
        share,
    })
}

pub(super) fn unidentified(evidence: &Evidence<'_>) -> Option<Diagnosis> {
    evidence.surrogate?;
    let (from, latest) = evidence.calls.latest()?;
    let scale = evidence.problem.actions().affine();
    let mut sum = 0.0;
    for (row_idx, call) in latest.iter().enumerate() {
        let now = evidence.actions_now.row(from + row_idx);
        for ((asked, now), scale) in call.u.iter().zip(now).zip(scale.scale()) {
            sum += ((asked - now) / scale).powi(2);
        }
    }
    let variation = (sum / (latest.len() * scale.width()) as f64).sqrt();
    (variation < VARIATION).then_some(Diagnosis::Unidentified {
        variation,
        calls: latest.len(),
    })
}
