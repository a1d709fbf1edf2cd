//! Numbers that carry a derivative, so that a task's formula written once gives its true Jacobian.
//!
//! Forward-mode differentiation with one direction: Griewank & Walther, Evaluating Derivatives, 2nd ed.,
//! chapter 3.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// What a task's formula may do with a number.
pub trait Real:
    Copy
    + From<f64>
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
{
    /// The number itself, without its derivative.
    fn value(self) -> f64;
    /// Applies a function with the given value and derivative at this number.
    #[must_use]
    fn chain(self, value: f64, derivative: f64) -> Self;

    /// Sine.
    #[must_use]
    fn sin(self) -> Self {
        let (sin, cos) = self.value().sin_cos();
        self.chain(sin, cos)
    }
    /// Cosine.
    #[must_use]
    fn cos(self) -> Self {
        let (sin, cos) = self.value().sin_cos();
        self.chain(cos, -sin)
    }
    /// Exponential.
    #[must_use]
    fn exp(self) -> Self {
        let exp = self.value().exp();
        self.chain(exp, exp)
    }
    /// Hyperbolic tangent.
    #[must_use]
    fn tanh(self) -> Self {
        let tanh = self.value().tanh();
        self.chain(tanh, 1.0 - tanh * tanh)
    }
    /// Square root.
    #[must_use]
    fn sqrt(self) -> Self {
        let sqrt = self.value().sqrt();
        self.chain(sqrt, 0.5 / sqrt)
    }
    /// Absolute value.
    #[must_use]
    fn abs(self) -> Self {
        self.chain(self.value().abs(), self.value().signum())
    }
    /// Kept within `[low, high]`; constant outside.
    #[must_use]
    fn clamp(self, low: f64, high: f64) -> Self {
        if self.value() < low {
            low.into()
        } else if self.value() > high {
            high.into()
        } else {
            self
        }
    }
}

impl Real for f64 {
    fn value(self) -> f64 {
        self
    }

    fn chain(self, value: f64, _: f64) -> Self {
        value
    }
}

/// A value and its derivative in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// Its derivative.
    pub slope: f64,
}

impl Real for Dual {
    fn value(self) -> f64 {
        self.value
    }

    fn chain(self, value: f64, derivative: f64) -> Self {
        Self {
            value,
            slope: derivative * self.slope,
        }
    }
}

impl From<f64> for Dual {
    fn from(value: f64) -> Self {
        Self { value, slope: 0.0 }
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        self.chain(-self.value, -1.0)
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            slope: self.slope + other.slope,
        }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self {
            value: self.value * other.value,
            slope: self.slope * other.value + self.value * other.slope,
        }
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self {
            value,
            slope: (self.slope - value * other.slope) / other.value,
        }
    }
}

macro_rules! with_constants {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait<f64> for Dual {
            type Output = Self;
            fn $method(self, other: f64) -> Self {
                $trait::$method(self, Self::from(other))
            }
        }
    )*};
}

with_constants!(Add add, Sub sub, Mul mul, Div div);

/// `∂f/∂u`, row-major `[d_y, d_u]`, of a formula written for any [`Real`].
pub(crate) fn jacobian<Y: AsRef<[Dual]>>(u: &[f64], f: impl Fn(&[Dual]) -> Y) -> Vec<f64> {
    let mut columns = Vec::with_capacity(u.len());
    for k in 0..u.len() {
        let seeded = |(j, &value)| Dual {
            value,
            slope: f64::from(u8::from(j == k)),
        };
        let u: Vec<Dual> = u.iter().enumerate().map(seeded).collect();
        columns.push(f(&u));
    }
    let d_y = columns.first().map_or(0, |column| column.as_ref().len());
    let entry = |dim: usize| columns.iter().map(move |column| column.as_ref()[dim].slope);
    (0..d_y).flat_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_follow_the_rules() {
        let f = |u: &[Dual]| {
            [
                (u[0] * u[1]).sin() / (u[1].exp() + 1.0),
                u[0].tanh() - u[1].sqrt(),
            ]
        };
        let plain = |u: &[f64]| {
            [
                (u[0] * u[1]).sin() / (u[1].exp() + 1.0),
                u[0].tanh() - u[1].sqrt(),
            ]
        };
        let u = [0.3, 0.7];
        let exact = jacobian(&u, f);
        for (k, h) in [[1e-6, 0.0], [0.0, 1e-6]].iter().enumerate() {
            let plus = plain(&[u[0] + h[0], u[1] + h[1]]);
            let minus = plain(&[u[0] - h[0], u[1] - h[1]]);
            for dim in 0..2 {
                let difference = (plus[dim] - minus[dim]) / 2e-6;
                assert!((exact[2 * dim + k] - difference).abs() < 1e-9);
            }
        }
    }
}
