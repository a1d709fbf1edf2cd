//! What the oracle's answers look like.

use std::collections::BTreeMap;

use super::losses::Losses;
use super::{Call, Diagnosis, Evidence};

/// Fewer different calls than this tell nothing about an oracle.
const ENOUGH: usize = 30;

/// Fewer pairs of neighbours than this tell nothing about noise.
const PAIRS: usize = 6;

/// Neighbours that differ by this much more, in the square, than any slope explains, differ by noise. A slope at
/// the policy may well be ten times what is seen over a distance.
const UNEXPLAINED: f64 = 100.0;

/// Noise, from pairs of calls in the same context with nearly the same action, against the loss that is left.
///
/// The outcomes of a smooth oracle differ in proportion to the actions, so that a pair ten times closer differs ten
/// times less. What the closest pairs still differ by, however close they are, is noise.
pub(super) fn noise(evidence: &Evidence<'_>, losses: &Losses) -> Option<Diagnosis> {
    let remaining = losses.last()?;
    let (mut near, slope) = neighbours(evidence);
    near.sort_by(|a, b| a.apart.total_cmp(&b.apart));
    // The closest quarter, and all that repeat a call exactly.
    let exact = near.iter().filter(|pair| pair.apart <= 0.0).count();
    near.truncate(exact.max(near.len().div_ceil(4)));
    if near.len() < PAIRS {
        return None;
    }
    let mean = |of: fn(&Pair) -> f64| near.iter().map(of).sum::<f64>() / near.len() as f64;
    let (apart, differ) = (mean(|pair| pair.apart), mean(|pair| pair.differ));
    near.sort_by(|a, b| a.differ.total_cmp(&b.differ));
    // Where a few pairs straddle a step and the others are equal, the oracle is not noisy but in steps.
    let everywhere = near[near.len() / 2].differ > 0.1 * differ;
    let unexplained = differ > UNEXPLAINED * slope * apart;
    // Two answers are each half their squared difference from what they should be.
    let noise = 0.5 * differ;
    (everywhere && unexplained && noise > 0.5 * remaining).then_some(Diagnosis::Noise {
        noise,
        remaining,
        pairs: near.len(),
        apart: apart.sqrt(),
    })
}

/// Two calls in the same context.
struct Pair {
    /// Squared distance of the actions, in units of their scale.
    apart: f64,
    /// The objective between their outcomes.
    differ: f64,
}

/// Every call with its nearest neighbour in the same context, and the steepest slope between the most distant ones,
/// of which noise makes little.
fn neighbours(evidence: &Evidence<'_>) -> (Vec<Pair>, f64) {
    let mut contexts: BTreeMap<Vec<u64>, Vec<(&Call, &Vec<f64>)>> = BTreeMap::new();
    for (call, y) in evidence.calls.answered() {
        let context = call.x.iter().map(|value| value.to_bits()).collect();
        contexts.entry(context).or_default().push((call, y));
    }
    let scale = evidence.problem.actions().affine();
    let pair = |a: &(&Call, &Vec<f64>), b: &(&Call, &Vec<f64>)| {
        let steps = a.0.u.iter().zip(&b.0.u).zip(scale.scale());
        Pair {
            apart: steps.map(|((a, b), scale)| ((a - b) / scale).powi(2)).sum(),
            differ: evidence.objective().value(a.1, b.1),
        }
    };
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for calls in contexts.values() {
        for (k, call) in calls.iter().enumerate().skip(1) {
            let pairs = || calls[..k].iter().map(|other| pair(call, other));
            let nearest = pairs().min_by(|a, b| a.apart.total_cmp(&b.apart));
            let farthest = pairs().max_by(|a, b| a.apart.total_cmp(&b.apart));
            near.extend(nearest);
            far.extend(farthest.filter(|pair| pair.apart > 0.0));
        }
    }
    far.sort_by(|a, b| b.apart.total_cmp(&a.apart));
    far.truncate(far.len().div_ceil(4));
    let slopes = far.iter().map(|pair| pair.differ / pair.apart);
    (near, slopes.fold(0.0, f64::max))
}

pub(super) fn quantised(evidence: &Evidence<'_>, losses: &Losses) -> Option<Diagnosis> {
    let mut different: BTreeMap<Vec<u64>, &Vec<f64>> = BTreeMap::new();
    for (call, y) in evidence.calls.answered() {
        let asked = call.x.iter().chain(&call.u).map(|value| value.to_bits());
        different.insert(asked.collect(), y);
    }
    if different.len() < ENOUGH {
        return None;
    }
    let remaining = losses.last()?;
    for dim in (0..evidence.problem.dims().y).filter(|dim| evidence.counts(*dim)) {
        let mut values: Vec<f64> = different.values().map(|y| y[dim]).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        if 2 * values.len() > different.len() {
            continue;
        }
        let steps = values.windows(2).map(|pair| pair[1] - pair[0]);
        let step = steps.min_by(f64::total_cmp);
        // Steps that are small against the error that is left are not in its way.
        let of_half_step = step.map_or(f64::INFINITY, |step| {
            let mut y = vec![0.0; evidence.problem.dims().y];
            let target = y.clone();
            y[dim] = 0.5 * step;
            evidence.objective().value(&y, &target)
        });
        if losses.stuck() || of_half_step > 0.5 * remaining {
            return Some(Diagnosis::Quantised {
                outcome: evidence.problem.names().y[dim].clone(),
                values: values.len(),
                calls: different.len(),
                step,
            });
        }
    }
    None
}

pub(super) fn out_of_reach(evidence: &Evidence<'_>) -> Option<Diagnosis> {
    let answered = evidence.calls.answered().count();
    if answered < ENOUGH {
        return None;
    }
    let targets = evidence.problem.data().host().target();
    for dim in (0..targets.width()).filter(|dim| evidence.counts(*dim)) {
        let [low, high] = range(evidence.calls.answered().map(|(_, y)| y[dim]));
        let margin = 0.05 * (high - low);
        let outside = |target: &&[f64]| target[dim] < low - margin || target[dim] > high + margin;
        let share = targets.iter().filter(outside).count() as f64 / targets.len() as f64;
        if share > 0.1 {
            return Some(Diagnosis::OutOfReach {
                outcome: evidence.problem.names().y[dim].clone(),
                share,
                reached: [low, high],
                wanted: range(targets.iter().map(|target| target[dim])),
            });
        }
    }
    None
}

fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
        [low.min(value), high.max(value)]
    })
}
