//! What the losses of a run say.

use crate::{Diagnosis, Progress};

/// A run in this many parts of equal length; each counts by its median, which single bad batches do not move.
const PARTS: usize = 8;

/// The course of the measured loss.
pub(super) struct Losses {
    /// Medians of the parts; none for a run too short to part.
    parts: Option<[f64; PARTS]>,
}

impl Losses {
    pub(super) fn new(history: &[Progress]) -> Self {
        let losses: Vec<f64> = history.iter().filter_map(|line| line.loss).collect();
        let parts = (losses.len() >= 2 * PARTS).then(|| {
            std::array::from_fn(|part| {
                let (from, to) = (
                    part * losses.len() / PARTS,
                    (part + 1) * losses.len() / PARTS,
                );
                median(losses[from..to].to_vec())
            })
        });
        Self { parts }
    }

    /// The loss of the last part.
    pub(super) fn last(&self) -> Option<f64> {
        self.parts.map(|parts| parts[PARTS - 1])
    }

    /// Whether a tenth of the first loss was never reached, or was lost again.
    pub(super) fn stuck(&self) -> bool {
        self.parts
            .is_some_and(|parts| parts[PARTS - 1] > 0.1 * parts[0])
    }

    pub(super) fn rising(&self) -> Option<Diagnosis> {
        let parts = self.parts?;
        let best = parts[..PARTS - 1]
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min);
        let last = parts[PARTS - 1];
        (last > 3.0 * best).then_some(Diagnosis::LearningRateTooHigh { best, last })
    }
}

/// The middle of some numbers, the upper one of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Share of the rounds at the end that a verdict on the literal L* is based on.
const TAIL: f64 = 0.25;

pub(super) fn collusion(history: &[Progress]) -> Option<Diagnosis> {
    let rounds: Vec<[f64; 3]> = history
        .iter()
        .filter_map(|line| {
            let term = |name| line.terms.get(name).copied();
            Some([term("fit")?, line.loss?, term("balance")?])
        })
        .collect();
    let n = (TAIL * rounds.len() as f64).ceil() as usize;
    if n < 3 {
        return None;
    }
    let mean = |rounds: &[[f64; 3]], column: usize| {
        rounds.iter().map(|round| round[column]).sum::<f64>() / n as f64
    };
    let tail = &rounds[rounds.len() - n..];
    let measured = mean(tail, 1);
    let stuck = measured > 0.1 * mean(&rounds[..n], 1);
    stuck.then(|| Diagnosis::Collusion {
        apparent: mean(tail, 0),
        measured,
        balance: mean(tail, 2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(fit: f64, loss: f64) -> Progress {
        Progress {
            loss: Some(loss),
            terms: [("fit", fit), ("balance", 0.1)].into(),
            ..Progress::default()
        }
    }

    #[test]
    fn a_literal_run_that_does_not_learn_colludes() {
        let history: Vec<_> = (0..20).map(|_| literal(0.01, 2.0)).collect();
        assert!(Losses::new(&history).stuck());
        let message = collusion(&history).unwrap().to_string();
        assert!(message.contains("collusion gap 200.0x"), "{message}");
    }

    #[test]
    fn a_run_that_learns_is_not_stuck() {
        let losses = (0..20).map(|k| 2.0 * 0.5f64.powi(k));
        let history: Vec<_> = losses.map(|loss| literal(0.3 * loss, loss)).collect();
        let losses = Losses::new(&history);
        assert!(!losses.stuck());
        assert_eq!((collusion(&history), losses.rising()), (None, None));
        assert!(!Losses::new(&[]).stuck());
    }

    #[test]
    fn one_bad_batch_at_the_end_is_no_rise() {
        let mut history: Vec<_> = (0..40).map(|_| literal(0.0, 1.0)).collect();
        history[39].loss = Some(1e6);
        assert_eq!(Losses::new(&history).rising(), None);
        for line in &mut history[35..] {
            line.loss = Some(4.0);
        }
        assert_eq!(
            Losses::new(&history).rising(),
            Some(Diagnosis::LearningRateTooHigh {
                best: 1.0,
                last: 4.0
            })
        );
    }
}
