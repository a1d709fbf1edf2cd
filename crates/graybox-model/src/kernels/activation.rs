//! Activations, a register at a time.

use pulp::{Simd, WithSimd};

use super::vectorize;
use crate::Activation;

/// Where the fit below has just passed 1 by more than its rounding; `tanh` itself is 1 in `f32` from 9.02 on.
const SATURATED: f32 = 9.6;
/// `tanh z = z P(z²)/Q(z²)`: the minimax fit of the relative error on `[0, 9.02]` (Remez), 2.1e-8. All
/// coefficients are positive, so that nothing cancels in `f32`.
const P: [f32; 5] = [
    0.999_999_98,
    0.133_797_15,
    3.494_031_7e-3,
    2.058_343_6e-5,
    1.331_901_2e-8,
];
const Q: [f32; 5] = [
    1.0,
    0.467_130_3,
    2.587_106_2e-2,
    3.283_088_3e-4,
    7.761_994_4e-7,
];

#[inline(always)]
fn polynomial<S: Simd>(simd: S, coefficients: [f32; 5], t: S::f32s) -> S::f32s {
    // A loop, not `map`, whose closure may become a function of its own.
    let mut sum = simd.splat_f32s(coefficients[4]);
    for k in [3, 2, 1, 0] {
        sum = simd.mul_add_e_f32s(sum, t, simd.splat_f32s(coefficients[k]));
    }
    sum
}

/// To `[−limit, limit]`. `min` and `max` give their second operand where one is no number.
#[inline(always)]
fn clamp<S: Simd>(simd: S, limit: f32, z: S::f32s) -> S::f32s {
    let above = simd.max_f32s(simd.splat_f32s(-limit), z);
    simd.min_f32s(simd.splat_f32s(limit), above)
}

/// `tanh` to 3 units in the last place, and exactly ±1 where it rounds to that. A NaN stays one.
#[inline(always)]
pub(super) fn tanh<S: Simd>(simd: S, z: S::f32s) -> S::f32s {
    let z = clamp(simd, SATURATED, z);
    let t = simd.mul_f32s(z, z);
    let p = simd.mul_f32s(z, polynomial(simd, P, t));
    clamp(simd, 1.0, simd.div_f32s(p, polynomial(simd, Q, t)))
}

/// `1/(1 + exp(−z)) = ½ + ½ tanh(z/2)`
#[inline(always)]
fn sigmoid<S: Simd>(simd: S, z: S::f32s) -> S::f32s {
    let half = simd.splat_f32s(0.5);
    simd.mul_add_e_f32s(tanh(simd, simd.mul_f32s(z, half)), half, half)
}

/// `tanh` of a slice of any length.
pub(crate) fn tanh_in_place(values: &mut [f32]) {
    struct Apply<'a>(&'a mut [f32]);

    impl WithSimd for Apply<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (whole, rest) = S::as_mut_simd_f32s(self.0);
            for z in whole {
                *z = tanh(simd, *z);
            }
            let last = tanh(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, last);
        }
    }

    vectorize(Apply(values));
}

/// Replaces pre-activations by activations. `slope` gets the derivative where it does not follow from the
/// activation itself, which is the case of `silu` alone.
#[inline(always)]
pub(super) fn forward<S: Simd>(
    simd: S,
    activation: Activation,
    z: &mut [f32],
    slope: Option<&mut [f32]>,
) {
    let z = S::as_mut_simd_f32s(z).0;
    match activation {
        Activation::Tanh => {
            for z in z {
                *z = tanh(simd, *z);
            }
        }
        Activation::Relu => {
            let zero = simd.splat_f32s(0.0);
            for z in z {
                *z = simd.max_f32s(zero, *z);
            }
        }
        Activation::Silu => {
            let slope = slope.map_or(&mut [][..], |slope| S::as_mut_simd_f32s(slope).0);
            let one = simd.splat_f32s(1.0);
            for (z, slope) in z.iter_mut().zip(slope) {
                let s = sigmoid(simd, *z);
                let h = simd.mul_f32s(*z, s);
                // s (1 + z (1 − s)) = s + h (1 − s)
                *slope = simd.mul_add_e_f32s(h, simd.sub_f32s(one, s), s);
                *z = h;
            }
        }
    }
}

/// Multiplies gradients with respect to activations by the derivative: those of the pre-activations.
#[inline(always)]
pub(super) fn backward<S: Simd>(
    simd: S,
    activation: Activation,
    gradient: &mut [f32],
    h: &[f32],
    slope: Option<&[f32]>,
) {
    let gradient = S::as_mut_simd_f32s(gradient).0;
    let h = S::as_simd_f32s(h).0;
    match activation {
        Activation::Tanh => {
            for (g, h) in gradient.iter_mut().zip(h) {
                // g (1 − h²) = g − (g h) h
                let gh = simd.mul_f32s(*g, *h);
                *g = simd.sub_f32s(*g, simd.mul_f32s(gh, *h));
            }
        }
        Activation::Relu => {
            let zero = simd.splat_f32s(0.0);
            for (g, h) in gradient.iter_mut().zip(h) {
                *g = simd.select_f32s(simd.greater_than_f32s(*h, zero), *g, zero);
            }
        }
        Activation::Silu => {
            let slope = slope.map_or(&[][..], |slope| S::as_simd_f32s(slope).0);
            for (g, slope) in gradient.iter_mut().zip(slope) {
                *g = simd.mul_f32s(*g, *slope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Apply<'a>(Activation, &'a mut [f32], &'a mut [f32]);

    impl WithSimd for Apply<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            forward(simd, self.0, self.1, Some(self.2));
        }
    }

    fn apply(activation: Activation, z: &[f32]) -> (Vec<f32>, Vec<f32>) {
        // Whole registers of any width.
        let mut values = z.to_vec();
        values.resize(z.len().next_multiple_of(16), 0.0);
        let mut slope = vec![0.0; values.len()];
        vectorize(Apply(activation, &mut values, &mut slope));
        values.truncate(z.len());
        slope.truncate(z.len());
        (values, slope)
    }

    #[test]
    fn tanh_is_within_three_units_in_the_last_place() {
        let z: Vec<f32> = (0..400_000).map(|i| (i as f32 - 2e5) * 6e-5).collect();
        let z: Vec<f32> = z.iter().map(|z| z * z.abs().min(1.0)).collect();
        let (h, _) = apply(Activation::Tanh, &z);
        for (z, h) in z.iter().zip(h) {
            let exact = f64::from(*z).tanh();
            let error = (f64::from(h) - exact).abs();
            assert!(error <= 3.0 * 1.2e-7 * exact.abs(), "{z}: {h} {exact}");
            assert!(h.abs() <= 1.0, "{z}: {h}");
        }
    }

    #[test]
    fn tanh_saturates_at_one() {
        let extremes = [f32::INFINITY, 1e9, 9.7, -9.7, f32::NEG_INFINITY, 0.0];
        let (h, _) = apply(Activation::Tanh, &extremes);
        assert_eq!(h, [1.0, 1.0, 1.0, -1.0, -1.0, 0.0]);
    }

    #[test]
    fn no_activation_hides_a_nan() {
        for activation in [Activation::Tanh, Activation::Relu, Activation::Silu] {
            let (h, _) = apply(activation, &[f32::NAN]);
            assert!(h[0].is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn silu_and_its_slope_are_those_of_the_formula() {
        let z: Vec<f32> = (-90..=90).map(|i| i as f32 * 0.1).collect();
        let (h, slope) = apply(Activation::Silu, &z);
        for ((z, h), slope) in z.iter().zip(h).zip(slope) {
            let z = f64::from(*z);
            let s = 1.0 / (1.0 + (-z).exp());
            assert!((f64::from(h) - z * s).abs() < 1e-6, "{z}");
            assert!((f64::from(slope) - s * (1.0 + z * (1.0 - s))).abs() < 1e-6);
        }
    }
}
