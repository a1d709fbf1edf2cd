//! Where F is asked around one action, and what the answers say together.

use serde::{Deserialize, Serialize};

/// Which differences are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// `(F(u + h) − F(u − h)) / 2h`, error O(h²).
    #[default]
    Central,
    /// `(F(u + h) − F(u)) / h`, error O(h).
    Forward,
    /// Central differences at h and h/2, extrapolated to h = 0, error O(h⁴).
    Richardson,
}

impl Scheme {
    /// Where F is asked, in units of the step.
    pub(in crate::algorithm) fn points(self) -> &'static [f64] {
        match self {
            Self::Central => &[1.0, -1.0],
            Self::Forward => &[0.0, 1.0],
            Self::Richardson => &[1.0, -1.0, 0.5, -0.5],
        }
    }

    /// As many points on the one side, with the same order of error.
    pub(super) fn one_sided(self) -> &'static [f64] {
        match self {
            Self::Central => &[0.0, 1.0, 2.0],
            Self::Forward => &[0.0, 1.0],
            Self::Richardson => &[0.0, 0.5, 1.0, 1.5, 2.0],
        }
    }
}

/// Points of one action, as offsets from `u_k`, and what they say together.
pub(super) struct Stencil {
    pub(super) offsets: Vec<f64>,
    /// Weights of the slope at offset 0.
    pub(super) slope: Vec<f64>,
    /// Weights of the value at offset 0.
    pub(super) value: Vec<f64>,
}

impl Stencil {
    /// The polynomial through the points, by Lagrange's basis.
    pub(super) fn new(offsets: Vec<f64>) -> Self {
        let others = |i: usize| (0..offsets.len()).filter(move |j| *j != i);
        let factor = |i: usize, j: usize| -offsets[j] / (offsets[i] - offsets[j]);
        let value = |i: usize| others(i).map(|j| factor(i, j)).product();
        let slope = |i: usize| {
            let term = |m: usize| {
                let rest: f64 = others(i)
                    .filter(|j| *j != m)
                    .map(|j| factor(i, j))
                    .product();
                rest / (offsets[i] - offsets[m])
            };
            others(i).map(term).sum()
        };
        Self {
            slope: (0..offsets.len()).map(slope).collect(),
            value: (0..offsets.len()).map(value).collect(),
            offsets,
        }
    }

    /// Offsets that have to be asked beside u itself.
    pub(super) fn moved(&self) -> impl Iterator<Item = f64> {
        self.offsets.iter().copied().filter(|offset| *offset != 0.0)
    }
}
