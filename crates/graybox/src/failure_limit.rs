//! When a run gives up on an oracle that fails.

use serde::{Deserialize, Serialize};

use crate::error::at_least_one;
use crate::{ConfigError, Progress};

/// When a run gives up on an oracle that fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailureLimit {
    /// The run ends when more than this share of the last `calls` calls failed; with 1 it never does.
    pub share: f64,
    /// How many calls are looked back on.
    pub calls: u64,
}

impl Default for FailureLimit {
    fn default() -> Self {
        Self {
            share: 0.95,
            calls: 200,
        }
    }
}

impl FailureLimit {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.share) {
            let share = self.share;
            return Err(ConfigError::new("failures.share", share, "0 to 1"));
        }
        at_least_one("failures.calls", self.calls as usize)
    }

    /// Says so if more calls failed than may, counted from the first line of the history that reaches back far
    /// enough.
    pub(crate) fn exceeded(&self, history: &[Progress]) -> Option<String> {
        let now = history.last()?;
        let reaches_back = |line: &&Progress| line.calls + self.calls <= now.calls;
        let then = history.iter().rev().find(reaches_back)?;
        let (failed, calls) = (now.failed - then.failed, now.calls - then.calls);
        (failed as f64 > self.share * calls as f64).then(|| {
            format!(
                "{failed} of the last {calls} oracle calls failed, more than a share of {} is allowed to: see why they \
                 fail, or raise failures.share",
                self.share
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_once_enough_calls_are_made() {
        let limit = FailureLimit {
            share: 0.5,
            calls: 10,
        };
        let line = |calls, failed| Progress {
            calls,
            failed,
            ..Progress::default()
        };
        let early = [line(0, 0), line(5, 5)];
        assert_eq!(limit.exceeded(&early), None);
        let half = [line(0, 0), line(5, 5), line(10, 5)];
        assert_eq!(limit.exceeded(&half), None);
        let late = [line(0, 0), line(50, 0), line(55, 3), line(60, 6)];
        let reason = limit.exceeded(&late).unwrap();
        assert!(
            reason.starts_with("6 of the last 10 oracle calls failed"),
            "{reason}"
        );
    }
}
