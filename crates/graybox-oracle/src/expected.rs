//! What an answer has to be: as many numbers as were asked for, all of them finite.

use crate::oracle::counted;
use crate::{Outcome, RowError};

/// What was asked for, and its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An outcome of `d_y` numbers.
    Outcome(usize),
    /// Derivatives with respect to the `d_u` numbers of an action.
    Gradient(usize),
}

impl Expected {
    /// Turns answers that cannot be used into failed rows.
    pub(crate) fn check_all(self, answers: Vec<Outcome>, n: usize) -> Vec<Outcome> {
        let mut answers = counted(answers, n);
        for answer in &mut answers {
            self.check(answer);
        }
        answers
    }

    /// Turns an answer that cannot be used into a failed row.
    pub(crate) fn check(self, answer: &mut Outcome) {
        if let Ok(values) = answer
            && let Some(reason) = self.fault(values)
        {
            *answer = Err(RowError::Malformed(reason));
        }
    }

    /// What is wrong with an answer, if anything.
    fn fault(self, values: &[f64]) -> Option<String> {
        let (Self::Outcome(width) | Self::Gradient(width)) = self;
        if values.len() != width {
            return Some(self.wrong_width(values.len()));
        }
        self.not_finite(values)
    }

    pub(crate) fn wrong_width(self, found: usize) -> String {
        let (name, width) = match self {
            Self::Outcome(d_y) => ("d_y", d_y),
            Self::Gradient(d_u) => ("d_u", d_u),
        };
        format!("oracle returned {found} values for a row, expected {name} = {width}")
    }

    pub(crate) fn not_finite(self, values: &[f64]) -> Option<String> {
        let dim = values.iter().position(|value| !value.is_finite())?;
        let name = match self {
            Self::Outcome(_) => "outcome",
            Self::Gradient(_) => "derivative",
        };
        Some(format!(
            "{name} {dim} is {}, expected a finite number",
            values[dim]
        ))
    }
}
