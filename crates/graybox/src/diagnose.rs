//! Why a run is stuck, in words, with the evidence.

use std::fmt;

use serde::Serialize;

use crate::Progress;

/// Something that keeps a run from learning, and what to try next.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Diagnosis {
    /// The surrogate predicts the target instead of the oracle: the loss it reports is small and the
    /// measured one is not.
    Collusion {
        /// `‖Y − F̃‖²`, what training believes, mean over the last rounds.
        apparent: f64,
        /// `‖Y − F‖²`, what the oracle says on the same rows.
        measured: f64,
        /// `|r| / (|r₁| + |r₂|)` with `r = r₁ + r₂`, `r₁ = F̃ − Y`, `r₂ = λ(F̃ − F)`, the residual that
        /// drives policy and surrogate alike: 0 where the two terms of L* cancel.
        balance: f64,
    },
    /// Most calls fail.
    Failing {
        /// Calls that failed.
        failed: u64,
        /// Calls made.
        calls: u64,
    },
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collusion {
                apparent,
                measured,
                balance,
            } => write!(
                f,
                "the surrogate moves towards the target instead of the oracle: it reports a loss of \
                 {apparent:.3e} where the oracle says {measured:.3e} (collusion gap {:.1}x). With both \
                 terms of L* reaching both networks, the surrogate settles where they cancel ({:.0} % of \
                 the residual is left), and there the policy's gradient vanishes whatever the policy \
                 does, for every lambda. Use the split routing: the fit trains the policy alone, the \
                 mismatch the surrogate alone",
                measured / apparent,
                100.0 * balance
            ),
            Self::Failing { failed, calls } => write!(
                f,
                "{failed} of {calls} oracle calls failed: check that the bounds of the actions keep to \
                 where the oracle is defined"
            ),
        }
    }
}

/// Looks at a finished history and says what stands out. Silent on a healthy one.
pub fn diagnose(history: &[Progress]) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    found.extend(collusion(history));
    found.extend(failing(history));
    found
}

/// Share of the rounds at the end that a verdict is based on.
const TAIL: f64 = 0.25;

fn collusion(history: &[Progress]) -> Option<Diagnosis> {
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

fn failing(history: &[Progress]) -> Option<Diagnosis> {
    let last = history.last()?;
    let (failed, calls) = (last.failed, last.calls);
    (calls >= 20 && 2 * failed > calls).then_some(Diagnosis::Failing { failed, calls })
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
        let found = diagnose(&history);
        assert!(matches!(found[..], [Diagnosis::Collusion { .. }]));
        let message = found[0].to_string();
        assert!(message.contains("collusion gap 200.0x"), "{message}");
    }

    #[test]
    fn a_run_that_learns_is_healthy() {
        let losses = (0..20).map(|k| 2.0 * 0.5f64.powi(k));
        let history: Vec<_> = losses.map(|loss| literal(0.3 * loss, loss)).collect();
        assert_eq!(diagnose(&history), []);
        assert_eq!(diagnose(&[]), []);
    }

    #[test]
    fn mostly_failed_calls_are_named() {
        let history = [Progress {
            calls: 100,
            failed: 60,
            ..Progress::default()
        }];
        assert!(matches!(
            diagnose(&history)[..],
            [Diagnosis::Failing { failed: 60, .. }]
        ));
    }
}
