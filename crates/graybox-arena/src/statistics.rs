//! What a handful of seeds says: median, quartiles, and how far the median can be trusted.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// Order statistics of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Numbers in the sample.
    pub n: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// First and third quartile, interpolated linearly between neighbours.
    pub quartiles: [f64; 2],
    /// 95 % interval of the median by the percentile bootstrap (Efron & Tibshirani, An Introduction to the
    /// Bootstrap, 1993, chapter 13).
    pub interval: [f64; 2],
    /// The largest.
    pub worst: f64,
}

const RESAMPLES: usize = 2_000;

impl Spread {
    /// Describes a sample; none of an empty one.
    pub fn of(sample: &[f64]) -> Option<Self> {
        let sorted = sorted(sample.to_vec());
        let worst = *sorted.last()?;
        let mut rng = StdRng::seed_from_u64(sample.len() as u64);
        let medians = (0..RESAMPLES).map(|_| {
            let draw = |_| sorted[rng.random_range(0..sorted.len())];
            quantile(&self::sorted((0..sorted.len()).map(draw).collect()), 0.5)
        });
        let medians = self::sorted(medians.collect());
        Some(Self {
            n: sorted.len(),
            median: quantile(&sorted, 0.5),
            quartiles: [quantile(&sorted, 0.25), quantile(&sorted, 0.75)],
            interval: [quantile(&medians, 0.025), quantile(&medians, 0.975)],
            worst,
        })
    }
}

/// The middle of a sample; none of an empty one.
pub fn median(sample: &[f64]) -> Option<f64> {
    (!sample.is_empty()).then(|| quantile(&sorted(sample.to_vec()), 0.5))
}

fn sorted(mut sample: Vec<f64>) -> Vec<f64> {
    sample.sort_by(f64::total_cmp);
    sample
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        let (median, worst, quartiles) = (spread.median, spread.worst, spread.quartiles);
        assert_eq!((median, worst, quartiles), (2.5, 4.0, [1.75, 3.25]));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn the_interval_of_a_sure_thing_is_a_point() {
        let spread = Spread::of(&[2.0; 5]);
        assert_eq!(spread.map(|spread| spread.interval), Some([2.0, 2.0]));
    }

    /// For n = 5 the bootstrap median is the smallest number when three of five draws are: 5.8 %.
    #[test]
    fn the_interval_of_five_numbers_is_their_range() {
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(spread.map(|spread| spread.interval), Some([1.0, 5.0]));
    }
}
