//! Where calls fail.

use super::{Call, Diagnosis, Evidence, Region};

/// The latest calls may fail this often without anything being said.
const TOLERATED: f64 = 0.25;

pub(super) fn failing(evidence: &Evidence<'_>) -> Option<Diagnosis> {
    let (_, latest) = evidence.calls.latest()?;
    let failed = latest.iter().filter(|call| call.outcome.is_err()).count();
    let too_often = failed as f64 > TOLERATED * latest.len() as f64;
    too_often.then(|| Diagnosis::Failing {
        failed,
        calls: latest.len(),
        region: region(evidence),
    })
}

/// The side of the threshold that parts failed from answered calls best, if it parts them well.
fn region(evidence: &Evidence<'_>) -> Option<Region> {
    let calls: Vec<&Call> = evidence.calls.iter().collect();
    let failed = calls.iter().filter(|call| call.outcome.is_err()).count();
    let names = evidence.problem.names();
    let dims = evidence.problem.dims();
    let mut best: Option<(f64, Region)> = None;
    for column in 0..dims.x + dims.u {
        let (name, value): (_, &dyn Fn(&Call) -> f64) = if column < dims.x {
            (&names.x[column], &|call| call.x[column])
        } else {
            (&names.u[column - dims.x], &|call| call.u[column - dims.x])
        };
        let mut sorted: Vec<(f64, bool)> = calls
            .iter()
            .map(|call| (value(call), call.outcome.is_err()))
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut failed_below = 0;
        for below in 1..sorted.len() {
            failed_below += usize::from(sorted[below - 1].1);
            let (left, right) = (sorted[below - 1].0, sorted[below].0);
            let above = sorted.len() - below;
            // A threshold between equal values parts nothing, and a side of a few calls proves nothing.
            if left >= right || below.min(above) < 6 {
                continue;
            }
            let share_below = failed_below as f64 / below as f64;
            let share_above = (failed - failed_below) as f64 / above as f64;
            // How much of the Gini impurity the threshold removes.
            let weight = below as f64 * above as f64 / (sorted.len() as f64).powi(2);
            let gain = weight * (share_below - share_above).powi(2);
            if best.as_ref().is_none_or(|(of_best, _)| gain > *of_best) {
                let fails_above = share_above > share_below;
                let region = Region {
                    name: name.clone(),
                    threshold: 0.5 * (left + right),
                    above: fails_above,
                    inside: share_above.max(share_below),
                    outside: share_above.min(share_below),
                };
                best = Some((gain, region));
            }
        }
    }
    best.map(|(_, region)| region)
        .filter(|region| region.inside > 0.7 && region.outside < 0.5 * region.inside)
}
