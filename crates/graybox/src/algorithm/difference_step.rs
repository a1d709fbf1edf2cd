//! The step of a difference, where its two errors are equal.
//!
//! Approximates  argmin_h of truncation, which grows with h, and noise, which grows with 1/h
//! With          noise ε from a difference table of seven calls a hundredth of the scale apart, and the derivative that
//!               truncation follows from seven calls a quarter of the scale apart
//! Requires      the action's scale to be that of a large change
//! Oracle rows   52, once
//! Failed rows   a probe with a failed call says nothing; if none says anything, the step is 0.01
//! Source        Moré & Wild, Estimating Computational Noise, SIAM J. Sci. Comput. 33 (2011);
//!               Nocedal & Wright, Numerical Optimization, 2nd ed., section 8.1
//!
//! The table finds all that repeats do not average to the same smooth function: a stochastic oracle's noise,
//! rounding, the jumps of a quantiser. Repeats at one point would find the first alone.
//!
//! Where the near calls agree to the last digit and a far one does not, u lies in a dead zone: every difference
//! that stays within it is exact and says nothing. The step then reaches as far as the first far call.

use graybox_oracle::Rows;

use super::finite_difference::Scheme;
use crate::{Batch, Probe, StepError};

/// Rows looked at, each with the next of the actions.
pub(super) const PROBES: usize = 4;
/// Points of a probe on either side of its centre, near and far.
const REACH: i32 = 3;
/// Between near points, in units of the scale.
const NEAR: f64 = 0.01;
/// Between far points, in units of the scale.
const FAR: f64 = 0.25;
/// What a choice costs.
pub(super) const CALLS: usize = PROBES * (4 * REACH as usize + 1);
/// Where nothing could be measured.
const FALLBACK: f64 = 0.01;
/// Derivatives below this share of (outcome scale) / (action scale)^p are taken for it.
const LEAST_CURVATURE: f64 = 0.1;

/// The derivative that truncation follows, as a difference over far points, and how the two errors balance.
struct Balance {
    order: i32,
    /// Coefficients at −3, …, 3.
    stencil: [f64; 7],
    /// `h^power = factor · ε / M`, M the derivative of this order.
    factor: f64,
    power: f64,
}

fn balance(scheme: Scheme) -> Balance {
    match scheme {
        // h M₂/2 against √2 ε/h.
        Scheme::Forward => Balance {
            order: 2,
            stencil: [0.0, 0.0, 1.0, -2.0, 1.0, 0.0, 0.0],
            factor: 8f64.sqrt(),
            power: 2.0,
        },
        // h² M₃/6 against ε/(√2 h).
        Scheme::Central => Balance {
            order: 3,
            stencil: [0.0, -0.5, 1.0, 0.0, -1.0, 0.5, 0.0],
            factor: 3.0 / 2f64.sqrt(),
            power: 3.0,
        },
        // h⁴ M₅/480 against 1.9 ε/h.
        Scheme::Richardson => Balance {
            order: 5,
            stencil: [-0.5, 2.0, -2.5, 0.0, 2.5, -2.0, 0.5],
            factor: 228.0,
            power: 5.0,
        },
    }
}

/// Chooses a step in units of the scale, from [`PROBES`] rows and the policy's actions there.
///
/// # Errors
/// If the budget does not cover the calls.
pub(super) fn choose(
    scheme: Scheme,
    batch: &Batch,
    u: &Rows,
    outcome_scale: &[f64],
    probe: &mut Probe<'_>,
) -> Result<f64, StepError> {
    let units = probe.actions().affine();
    let bounds = probe.actions().bounds();
    let near = (-REACH..=REACH).map(|i| f64::from(i) * NEAR);
    let far = (-REACH..=REACH).filter(|i| *i != 0);
    let points: Vec<f64> = near.chain(far.map(|i| f64::from(i) * FAR)).collect();

    let mut x_asked = Rows::new(batch.x_rows.width());
    let mut u_asked = Rows::new(u.width());
    for (row_idx, center) in u.iter().enumerate() {
        let k = row_idx % u.width();
        let scale = units.scale()[k];
        let mut center = center.to_vec();
        if let Some((low, high)) = &bounds {
            let reach = f64::from(REACH) * FAR * scale;
            center[k] = center[k].clamp(low[k] + reach, high[k] - reach);
        }
        for point in &points {
            let mut moved = center.clone();
            moved[k] += point * scale;
            x_asked.push(batch.x_rows.row(row_idx))?;
            u_asked.push(&moved)?;
        }
    }
    let outcomes = probe.ask_rows(&x_asked, &u_asked)?;

    let balance = balance(scheme);
    let (mut noise, mut curvature, mut answered) = ([0.0; 3], 0.0, 0.0f64);
    let mut dead_zone = false;
    for outcomes in outcomes.chunks_exact(points.len()) {
        let answers: Option<Vec<&Vec<f64>>> = outcomes.iter().map(|y| y.as_ref().ok()).collect();
        let Some(answers) = answers else {
            continue;
        };
        answered += 1.0;
        for (dim, scale) in outcome_scale.iter().enumerate() {
            let values: Vec<f64> = answers.iter().map(|y| y[dim] / scale).collect();
            let (near, far) = values.split_at(2 * REACH as usize + 1);
            for (sum, level) in noise.iter_mut().zip(noise_levels(near)) {
                *sum += level;
            }
            let center = near[REACH as usize];
            let moves = |y: &f64| (y - center).abs() > 0.0;
            dead_zone |= !near.iter().any(moves) && far.iter().any(moves);
            let (left, right) = far.split_at(REACH as usize);
            let line = left.iter().chain([&center]).chain(right);
            let difference: f64 = line.zip(balance.stencil).map(|(y, c)| c * y).sum();
            curvature += difference.powi(2);
        }
    }
    if answered == 0.0 {
        return Ok(FALLBACK);
    }
    // A smooth part left in the table only adds to it: the least of the levels has least of it.
    let noise = noise.into_iter().fold(f64::INFINITY, f64::min) / answered;
    let amplified: f64 = balance.stencil.iter().map(|c| c * c).sum::<f64>() * noise;
    let curvature = (curvature / answered - amplified).max(0.0).sqrt() / FAR.powi(balance.order);
    let ratio = noise.sqrt() / curvature.max(LEAST_CURVATURE);
    let step = (balance.factor * ratio).powf(1.0 / balance.power);
    let least = if dead_zone { FAR } else { 1e-6 };
    Ok(step.clamp(least, 0.5))
}

/// Variance of the noise in seven values at equal distances, from differences of orders 4, 5 and 6.
fn noise_levels(values: &[f64]) -> [f64; 3] {
    let mut table = values.to_vec();
    let mut levels = [0.0; 3];
    // E[(Δᵏ e)²] = (2k)!/(k!)² ε².
    let mut gain = 1.0;
    for order in 1..=6usize {
        table = table.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gain *= (4 * order - 2) as f64 / order as f64;
        if order >= 4 {
            let squares: f64 = table.iter().map(|d| d * d).sum();
            levels[order - 4] = squares / table.len() as f64 / gain;
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::testing::Harness;
    use crate::{Dataset, Problem, SquaredError, seed};
    use burn::prelude::*;
    use graybox_model::HeadConfig;
    use graybox_oracle::{Dims, FnOracle};
    use rand_distr::{Distribution, StandardNormal};

    fn problem() -> Problem {
        let x = Rows::from_vec(1, vec![0.5, -1.0, 2.0, 0.0]).unwrap();
        let data = Dataset::new(x.clone(), x).unwrap();
        let problem = Problem::new(data, HeadConfig::identity(1), &Device::flex()).unwrap();
        problem.with_objective(SquaredError::scaled(&[1.0]).unwrap())
    }

    /// The step chosen for y = sin(frequency · u) with this noise and these quanta.
    fn chosen(scheme: Scheme, frequency: f64, sigma: f64, quantum: f64) -> f64 {
        let rng = Mutex::new(seed::stream(3, "noise", 0));
        chosen_for(scheme, move |u| {
            let noise: f64 = StandardNormal.sample(&mut *rng.lock().unwrap());
            let y = (frequency * u).sin() + sigma * noise;
            if quantum > 0.0 {
                (y / quantum).round() * quantum
            } else {
                y
            }
        })
    }

    /// The step chosen for this function of the action.
    fn chosen_for(scheme: Scheme, y: impl Fn(f64) -> f64 + Send + Sync + 'static) -> f64 {
        let oracle = FnOracle::new(Dims::new(1, 1, 1), move |_, u| [y(u[0])]);
        let problem = problem();
        let mut harness = Harness::new(problem.clone(), oracle, 1);
        let batch = problem.data().batch(vec![0, 1, 2, 3]);
        let u = Rows::from_vec(1, vec![0.3, -0.4, 1.0, 0.1]).unwrap();
        let step = choose(scheme, &batch, &u, &[1.0], &mut harness.probe()).unwrap();
        assert_eq!(harness.metered.calls(), CALLS as u64);
        step
    }

    #[test]
    fn noise_is_found_whatever_the_smooth_part() {
        let mut rng = seed::stream(1, "noise", 0);
        let mut levels = [0.0; 3];
        for trial in 0..2_000 {
            let values: Vec<f64> = (0..7)
                .map(|i| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    (f64::from(trial) + f64::from(i) * NEAR).sin() + 1e-3 * noise
                })
                .collect();
            for (mean, level) in levels.iter_mut().zip(noise_levels(&values)) {
                *mean += level / 2_000.0;
            }
        }
        for level in levels {
            assert!((level.sqrt() / 1e-3 - 1.0).abs() < 0.05, "{level:e}");
        }
    }

    #[test]
    fn the_step_balances_truncation_against_noise() {
        // With y = sin u: (3ε/√2)^⅓, (√8 ε)^½ and (228 ε)^⅕, within a factor of two from 52 calls.
        for (scheme, expected) in [
            (Scheme::Central, [0.0128, 0.128]),
            (Scheme::Forward, [0.00168, 0.0532]),
            (Scheme::Richardson, [0.187, 0.5]),
        ] {
            for (sigma, expected) in [1e-6, 1e-3].into_iter().zip(expected) {
                let step = chosen(scheme, 1.0, sigma, 0.0);
                assert!(
                    step / expected < 2.0 && expected / step < 2.0,
                    "{scheme:?} {sigma}: {step} for {expected}"
                );
            }
        }
    }

    #[test]
    fn a_faster_function_gets_a_smaller_step() {
        let slow = chosen(Scheme::Central, 1.0, 1e-3, 0.0);
        let fast = chosen(Scheme::Central, 5.0, 1e-3, 0.0);
        assert!(fast < 0.4 * slow, "{fast} {slow}");
    }

    #[test]
    fn in_a_dead_zone_the_step_reaches_out_of_it() {
        // Flat about three of the four actions asked, and nowhere else.
        let dead = chosen_for(Scheme::Central, |u| u - u.clamp(-0.5, 0.5));
        assert!((FAR..=0.5).contains(&dead), "{dead}");
        // An outcome that does not depend on the action at all has no zone to be left.
        let constant = chosen_for(Scheme::Central, |_| 3.0);
        assert!(constant < 1e-2, "{constant}");
    }

    #[test]
    fn without_noise_the_step_is_small_and_with_quanta_it_reaches_across_them() {
        let smooth = chosen(Scheme::Central, 1.0, 0.0, 0.0);
        assert!((1e-6..1e-2).contains(&smooth), "{smooth}");
        let quantised = chosen(Scheme::Central, 1.0, 0.0, 0.1);
        assert!(quantised > 0.1, "{quantised}");
    }
}
