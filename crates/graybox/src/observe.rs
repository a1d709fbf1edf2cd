//! What happens during a run, told to whoever wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

use crate::Diagnosis;

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundReport {
    /// Mean true loss of the rows the round measured, exploration included; none if every row failed.
    pub loss: Option<f64>,
    /// Parts of what was minimised, by name: `fit`, `mismatch`, …
    pub terms: BTreeMap<&'static str, f64>,
}

impl RoundReport {
    /// A report of this loss and nothing else.
    pub fn new(loss: Option<f64>) -> Self {
        Self {
            loss,
            ..Self::default()
        }
    }

    /// Adds a part of what was minimised.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.terms.insert(name, value);
        self
    }
}

/// One line of a run's history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Rounds done.
    pub round: u64,
    /// Calls charged.
    pub calls: u64,
    /// The budget.
    pub budget: u64,
    /// Charged calls that failed.
    pub failed: u64,
    /// Mean true loss of the rows the last round measured.
    pub loss: Option<f64>,
    /// Mean true loss on the held-out rows, where it was just measured.
    pub held_out: Option<f64>,
    /// Parts of what was minimised.
    #[serde(deserialize_with = "read_terms")]
    pub terms: BTreeMap<&'static str, f64>,
}

/// Reads terms back. A term that was not finite is null, and is read as NaN.
fn read_terms<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<&'static str, f64>, D::Error> {
    /// Names read so far. There are a handful in a program, and each is kept once.
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    let read: BTreeMap<String, Option<f64>> = Deserialize::deserialize(from)?;
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let terms = read.into_iter().map(|(name, value)| {
        let known = names.get(name.as_str()).copied();
        let name = known.unwrap_or_else(|| {
            let name: &'static str = name.leak();
            names.insert(name);
            name
        });
        (name, value.unwrap_or(f64::NAN))
    });
    Ok(terms.collect())
}

/// Watches a run. Every method may be left out.
pub trait Observer {
    /// A round is over, or the held-out rows were scored.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// Something is wrong that a person could mend.
    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        let _ = diagnosis;
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Keeps every line.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// In the order they came.
    pub lines: Vec<Progress>,
}

impl Observer for History {
    fn progress(&mut self, progress: &Progress) {
        self.lines.push(progress.clone());
    }
}

/// Two observers of the same run.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn progress(&mut self, progress: &Progress) {
        self.0.progress(progress);
        self.1.progress(progress);
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        self.0.diagnosis(diagnosis);
        self.1.diagnosis(diagnosis);
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn progress(&mut self, progress: &Progress) {
        (**self).progress(progress);
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        (**self).diagnosis(diagnosis);
    }
}
