//! How a command ends, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use anyhow::Error;

/// A command that did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// All of it.
    Finished,
    /// As much as there was time for; what was learned is saved.
    Interrupted,
    /// It was asked to find faults, and found one in the oracle.
    FoundFault,
}

impl Done {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Finished => 0,
            Self::FoundFault => 3,
            Self::Interrupted => 130,
        })
    }
}

/// Why a command could not do what it was asked, and whose the fault is.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: Error,
}

impl Failure {
    /// The command line, a settings file or the data.
    pub(crate) fn usage(error: impl Into<Error>) -> Self {
        Self {
            code: 2,
            error: error.into(),
        }
    }

    /// The oracle.
    pub(crate) fn oracle(error: impl Into<Error>) -> Self {
        Self {
            code: 3,
            error: error.into(),
        }
    }

    /// The same with what led to it.
    pub(crate) fn because(self, reason: &'static str) -> Self {
        Self {
            error: self.error.context(reason),
            ..self
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: 1, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Says whose fault an error is.
pub(crate) trait Blame<T> {
    /// The command line, a settings file or the data: exit code 2.
    fn or_usage(self) -> Result<T, Failure>;

    /// The oracle: exit code 3.
    fn or_oracle(self) -> Result<T, Failure>;
}

impl<T, E: Into<Error>> Blame<T> for Result<T, E> {
    fn or_usage(self) -> Result<T, Failure> {
        self.map_err(Failure::usage)
    }

    fn or_oracle(self) -> Result<T, Failure> {
        self.map_err(Failure::oracle)
    }
}
