//! From a network's last layer to an action in the user's units.

use burn::prelude::*;
use burn::tensor::activation;
use serde::{Deserialize, Serialize};

use crate::{Affine, ModelError, Scaler};

/// What actions may be, and the scale on which they matter.
///
/// The scale is what "a small change of the action" means: steps of finite differences, exploration and
/// trust regions are all measured in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HeadConfig {
    /// Any action: `u = center + scale · z`.
    Identity {
        /// Where an untrained policy starts.
        center: Vec<f64>,
        /// The size of a large change, per action.
        scale: Vec<f64>,
    },
    /// Actions within bounds: `u = (low + high)/2 + (high − low)/2 · tanh z`.
    Bounded {
        /// Lower bounds.
        low: Vec<f64>,
        /// Upper bounds.
        high: Vec<f64>,
    },
    /// Shares that are positive and sum to one: `u = softmax z`.
    Simplex {
        /// Number of shares.
        n: usize,
    },
}

impl HeadConfig {
    /// Unbounded actions around zero with scale one.
    pub fn identity(d_u: usize) -> Self {
        Self::Identity {
            center: vec![0.0; d_u],
            scale: vec![1.0; d_u],
        }
    }

    /// Unbounded actions with the given centre and scale.
    ///
    /// # Errors
    /// If the lists are empty or differ in length, or a scale is not positive and finite.
    pub fn scaled(center: Vec<f64>, scale: Vec<f64>) -> Result<Self, ModelError> {
        let head = Self::Identity { center, scale };
        head.check().map(|()| head)
    }

    /// Actions within `[low, high]`.
    ///
    /// # Errors
    /// If the lists are empty or differ in length, or an interval is empty or not finite.
    pub fn bounded(low: Vec<f64>, high: Vec<f64>) -> Result<Self, ModelError> {
        let head = Self::Bounded { low, high };
        head.check().map(|()| head)
    }

    /// Whether the head makes sense; a config file's need not.
    ///
    /// # Errors
    /// As [`scaled`](Self::scaled) and [`bounded`](Self::bounded), and if there are no shares.
    pub fn check(&self) -> Result<(), ModelError> {
        if let Self::Bounded { low, high } = self {
            if low.len() != high.len() {
                return Err(ModelError::Lengths {
                    what: "low and high",
                    first: low.len(),
                    second: high.len(),
                });
            }
            for (column, (&low, &high)) in low.iter().zip(high).enumerate() {
                if !(low.is_finite() && high.is_finite() && low < high) {
                    return Err(ModelError::Bounds { column, low, high });
                }
            }
        }
        if self.width() == 0 {
            return Err(ModelError::NoActions);
        }
        let units = self.affine();
        Affine::new(units.shift().to_vec(), units.scale().to_vec()).map(|_| ())
    }

    /// Number of actions `d_u`.
    pub fn width(&self) -> usize {
        match self {
            Self::Identity { center, .. } => center.len(),
            Self::Bounded { low, .. } => low.len(),
            Self::Simplex { n } => *n,
        }
    }

    /// Centre and scale of every action.
    pub fn affine(&self) -> Affine {
        let (shift, scale) = match self {
            Self::Identity { center, scale } => (center.clone(), scale.clone()),
            Self::Bounded { low, high } => {
                let pairs = || low.iter().zip(high);
                (
                    pairs().map(|(l, h)| 0.5 * (l + h)).collect(),
                    pairs().map(|(l, h)| 0.5 * (h - l)).collect(),
                )
            }
            Self::Simplex { n } => (vec![1.0 / *n as f64; *n], vec![0.5; *n]),
        };
        Affine::unchecked(shift, scale)
    }

    /// Lower and upper bound of every action, where there are any.
    pub fn bounds(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        match self {
            Self::Identity { .. } => None,
            Self::Bounded { low, high } => Some((low.clone(), high.clone())),
            Self::Simplex { n } => Some((vec![0.0; *n], vec![1.0; *n])),
        }
    }

    /// Moves an action `[d_u]` to the nearest one that is allowed: within the bounds, and among shares to those that
    /// sum to one.
    pub fn clamp(&self, u: &mut [f64]) {
        if let Self::Simplex { .. } = self {
            return project_onto_simplex(u);
        }
        if let Some((low, high)) = self.bounds() {
            for ((u, low), high) in u.iter_mut().zip(low).zip(high) {
                *u = u.clamp(low, high);
            }
        }
    }

    /// The module that applies it on a device.
    pub fn init(&self, device: &Device) -> Head {
        Head {
            units: match self {
                Self::Simplex { n } => Affine::identity(*n).init(device),
                _ => self.affine().init(device),
            },
            squash: match self {
                Self::Identity { .. } => Squash::None,
                Self::Bounded { .. } => Squash::Tanh,
                Self::Simplex { .. } => Squash::Softmax,
            },
        }
    }
}

/// The nearest shares: all numbers are lowered by the same amount and cut off at zero, the amount being that for which
/// they sum to one (Duchi et al., ICML 2008).
fn project_onto_simplex(u: &mut [f64]) {
    let mut falling = u.to_vec();
    falling.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut lowered) = (0.0, 0.0);
    for (idx, value) in falling.iter().enumerate() {
        sum += value;
        let by = (sum - 1.0) / (idx + 1) as f64;
        if *value > by {
            lowered = by;
        }
    }
    for value in u {
        *value = (*value - lowered).max(0.0);
    }
}

/// A [`HeadConfig`] as a module.
#[derive(Module, Debug)]
pub struct Head {
    /// Centre and scale of the actions.
    pub units: Scaler,
    #[module(skip)]
    squash: Squash,
}

/// How a head keeps actions within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squash {
    /// Not at all.
    None,
    /// By `tanh`, element by element.
    Tanh,
    /// By `softmax` over the row.
    Softmax,
}

impl Head {
    /// `[batch, d_u]` of any size → `[batch, d_u]` in the user's units and within bounds.
    pub fn forward(&self, z: Tensor<2>) -> Tensor<2> {
        let z = match self.squash {
            Squash::None => z,
            Squash::Tanh => activation::tanh(z),
            Squash::Softmax => activation::softmax(z, 1),
        };
        self.units.inverse(z)
    }

    /// How actions are kept within bounds.
    pub fn squash(&self) -> Squash {
        self.squash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_actions_stay_in_bounds_whatever_the_network_says() {
        let device = Device::flex();
        let head = HeadConfig::bounded(vec![-1.0, 10.0], vec![3.0, 20.0]).unwrap();
        let z = Tensor::from_data([[-1e9, 0.0], [1e9, 1e9]], &device);
        head.init(&device)
            .forward(z)
            .to_data()
            .assert_eq(&TensorData::from([[-1.0f32, 15.0], [3.0, 20.0]]), true);
    }

    #[test]
    fn the_nearest_shares_are_found() {
        let head = HeadConfig::Simplex { n: 3 };
        let is_nearest = |mut u: [f64; 3], expected: [f64; 3]| {
            head.clamp(&mut u);
            let close = |(found, expected): (&f64, f64)| (found - expected).abs() < 1e-12;
            assert!(u.iter().zip(expected).all(close), "{u:?} {expected:?}");
        };
        is_nearest([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]);
        is_nearest([0.5, 0.6, 0.5], [0.3, 0.4, 0.3]);
        is_nearest([1.5, -0.2, 0.1], [1.0, 0.0, 0.0]);
        is_nearest([-1.0, -1.0, -2.3], [0.5, 0.5, 0.0]);
    }

    #[test]
    fn no_actions_at_all_are_refused() {
        let none = [HeadConfig::Simplex { n: 0 }, HeadConfig::identity(0)];
        for head in none {
            assert_eq!(head.check(), Err(ModelError::NoActions));
        }
    }

    #[test]
    fn shares_sum_to_one() {
        let device = Device::flex();
        let z = Tensor::<2>::from_data([[0.0, 1.0, -2.0]], &device);
        let u = HeadConfig::Simplex { n: 3 }.init(&device).forward(z);
        assert!((u.sum().into_scalar::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn empty_bounds_are_refused_by_action() {
        let head = HeadConfig::bounded(vec![0.0, 2.0], vec![1.0, 2.0]);
        assert!(matches!(head, Err(ModelError::Bounds { column: 1, .. })));
        let head = HeadConfig::bounded(vec![f64::NAN], vec![1.0]);
        assert!(matches!(head, Err(ModelError::Bounds { column: 0, .. })));
    }
}
