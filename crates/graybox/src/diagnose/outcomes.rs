//! What the oracle's answers look like.

use std::collections::BTreeMap;

use super::losses::Losses;
use super::{Diagnosis, Evidence};

/// Fewer different calls than this tell nothing about an oracle.
const ENOUGH: usize = 30;

/// Noise from calls that repeat another exactly, against the loss that is left.
pub(super) fn noise(evidence: &Evidence<'_>, losses: &Losses) -> Option<Diagnosis> {
    let remaining = losses.last()?;
    let mut answers: BTreeMap<Vec<u64>, Vec<&Vec<f64>>> = BTreeMap::new();
    for (call, y) in evidence.calls.answered() {
        let asked = call.x.iter().chain(&call.u).map(|value| value.to_bits());
        answers.entry(asked.collect()).or_default().push(y);
    }
    let (mut noise, mut repeats) = (0.0, 0);
    for answers in answers.values().filter(|answers| answers.len() > 1) {
        let n = answers.len() as f64;
        let mean: Vec<f64> = (0..answers[0].len())
            .map(|dim| answers.iter().map(|y| y[dim]).sum::<f64>() / n)
            .collect();
        let sum: f64 = answers
            .iter()
            .map(|y| evidence.objective().value(y, &mean))
            .sum();
        // Every group estimates with n − 1 degrees of freedom; together they are weighed by them.
        noise += sum;
        repeats += answers.len() - 1;
    }
    if repeats < 4 {
        return None;
    }
    let noise = noise / repeats as f64;
    (noise > 0.5 * remaining).then_some(Diagnosis::Noise {
        noise,
        remaining,
        repeats,
    })
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
