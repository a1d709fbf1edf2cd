//! The tasks, a file each.

use std::sync::Arc;

use graybox::oracle::Dims;

use crate::noise::Noise;
use crate::{Published, Task};

mod actuator;
mod asker;
mod asker_kinked;
mod asker_narrow;
mod ballistics;
mod band;
mod cannon;
mod fold;
mod network;
mod planar_arm;
mod robotic_arm;
mod rosenbrock;
mod rotation;
mod sine_wave;
mod throw;

use actuator::Actuator;
use asker::Asker;
use asker_kinked::AskerKinked;
use asker_narrow::AskerNarrow;
use ballistics::Ballistics;
use band::Band;
use cannon::Cannon;
use fold::Fold;
use network::Network;
use planar_arm::PlanarArm;
use robotic_arm::RoboticArm;
use rosenbrock::Rosenbrock;
use rotation::Rotation;
use sine_wave::SineWave;
use throw::Throw;

/// A publication and the calls its methods were given.
struct Paper {
    source: &'static str,
    calls: u64,
}

impl Paper {
    /// The loss one of its methods reached.
    const fn reached(&self, loss: f64, method: &'static str) -> Published {
        Published {
            loss,
            calls: Some(self.calls),
            method,
            source: self.source,
        }
    }
}

const REN: Paper = Paper {
    source: "Ren, Padilla & Malof, NeurIPS 2020",
    calls: 10_000,
};

/// Every task.
pub fn all() -> Vec<Arc<dyn Task>> {
    let mut tasks: Vec<Arc<dyn Task>> = vec![
        Arc::new(Asker::PLAIN),
        Arc::new(Asker::noisy(
            "asker_noisy",
            "asker with noise of standard deviation 0.05",
            Noise::Normal(0.05),
        )),
        Arc::new(Asker::noisy(
            "asker_noisy_01",
            "asker with noise of standard deviation 0.01",
            Noise::Normal(0.01),
        )),
        Arc::new(Asker::noisy(
            "asker_noisy_20",
            "asker with noise of standard deviation 0.2",
            Noise::Normal(0.2),
        )),
        Arc::new(Asker::noisy(
            "asker_heavy_tail",
            "asker with one row in ten replaced by U[-10, 10]",
            Noise::Outliers {
                share: 0.1,
                size: 10.0,
            },
        )),
        Arc::new(AskerKinked),
        Arc::new(AskerNarrow),
        Arc::new(Asker::RESCALED),
        Arc::new(RoboticArm),
        Arc::new(SineWave),
        Arc::new(Ballistics),
        Arc::new(Actuator),
        Arc::new(Rosenbrock::plain()),
        Arc::new(Rosenbrock::submanifold()),
        Arc::new(Network::new(
            "random_mlp",
            "a random network of 16 actions and 8 outcomes",
            Dims::new(8, 16, 8),
        )),
        Arc::new(Rotation::PLAIN),
        Arc::new(Rotation::noisy(
            "rotation_noisy",
            "rotation with noise of standard deviation 0.1",
            0.1,
        )),
        Arc::new(Rotation::noisy(
            "rotation_noisy_05",
            "rotation with noise of standard deviation 0.05",
            0.05,
        )),
        Arc::new(Rotation::noisy(
            "rotation_noisy_20",
            "rotation with noise of standard deviation 0.2",
            0.2,
        )),
        Arc::new(Rotation::noisy(
            "rotation_noisy_50",
            "rotation with noise of standard deviation 0.5",
            0.5,
        )),
        Arc::new(Rotation::QUANTISED),
        Arc::new(Rotation::KINKED),
        Arc::new(Throw),
        Arc::new(PlanarArm),
        Arc::new(Fold),
        Arc::new(Band),
        Arc::new(Cannon),
    ];
    for (name, about, d_u) in [
        ("scaling1", "a random network, 1 action, 1 outcome", 1),
        ("scaling4", "a random network, 4 actions, 4 outcomes", 4),
        ("scaling16", "a random network, 16 actions, 4 outcomes", 16),
        ("scaling64", "a random network, 64 actions, 4 outcomes", 64),
    ] {
        let dims = Dims::new(4, d_u, d_u.min(4));
        tasks.push(Arc::new(Network::new(name, about, dims)));
    }
    tasks
}

/// The task of this name, however it is punctuated: `scaling(64)` is `scaling64`.
pub fn by_name(name: &str) -> Option<Arc<dyn Task>> {
    let letters = |name: &str| -> String {
        let kept = name.chars().filter(char::is_ascii_alphanumeric);
        kept.collect::<String>().to_ascii_lowercase()
    };
    let wanted = letters(name);
    all()
        .into_iter()
        .find(|task| letters(task.name()) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use graybox::model::Affine;
    use graybox::oracle::Rows;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn names_are_unique_and_found() {
        let names: Vec<_> = all().iter().map(|task| task.name()).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
            assert!(by_name(name).is_some());
        }
    }

    #[test]
    fn a_name_is_found_however_it_is_punctuated() {
        for name in ["scaling64", "scaling(64)", "Scaling_64"] {
            assert_eq!(by_name(name).map(|task| task.name()), Some("scaling64"));
        }
        assert!(by_name("no such task").is_none());
    }

    #[test]
    fn targets_lie_where_actions_of_ordinary_size_lead() {
        for task in all() {
            let spread = |rows: &Rows| Affine::standardise(rows.width(), rows.as_slice());
            let data = task.sample(500, 3);
            let wanted = spread(data.target());
            let actions = task.actions().affine();
            let mut rng = StdRng::seed_from_u64(4);
            let mut y = Rows::new(task.dims().y);
            for x in data.x().iter() {
                let z = crate::task::normal(&mut rng, actions.width(), 0.7);
                let u: Vec<f64> = (z.iter().zip(actions.shift()).zip(actions.scale()))
                    .map(|((z, shift), scale)| shift + scale * z)
                    .collect();
                if let Ok(outcome) = task.evaluate(x, &u) {
                    y.push(&outcome).unwrap();
                }
            }
            let seen = spread(&y);
            for dim in 0..y.width() {
                let offset = (seen.shift()[dim] - wanted.shift()[dim]).abs();
                let reach = 3.0 * seen.scale()[dim];
                assert!(offset < reach, "{}, outcome {dim}", task.name());
            }
        }
    }

    #[test]
    fn rows_have_the_widths_they_are_said_to_have() {
        for task in all() {
            let dims = task.dims();
            let data = task.sample(20, 1);
            assert_eq!(data.x().width(), dims.x, "{}", task.name());
            assert_eq!(data.target().width(), dims.y, "{}", task.name());
            assert_eq!(task.actions().width(), dims.u, "{}", task.name());
            let widths = task.columns().map(|names| names.len());
            assert_eq!(widths, [dims.x, dims.u, dims.y], "{}", task.name());
        }
    }

    #[test]
    fn the_jacobian_is_that_of_the_formula() {
        for task in all() {
            let mut rng = StdRng::seed_from_u64(2);
            let actions = task.actions().affine();
            let mut compared = 0;
            for _ in 0..50 {
                let (x, _) = task.draw(&mut rng);
                let noise = crate::task::uniform(&mut rng, actions.width(), -0.7, 0.7);
                let u: Vec<f64> = (noise.iter().zip(actions.shift()).zip(actions.scale()))
                    .map(|((z, shift), scale)| shift + scale * z)
                    .collect();
                let Some(exact) = task.jacobian(&x, &u) else {
                    continue;
                };
                for k in 0..u.len() {
                    let h = 1e-6 * actions.scale()[k];
                    let moved = |h: f64| {
                        let mut u = u.clone();
                        u[k] += h;
                        task.smooth(&x, &u)
                    };
                    let (Ok(plus), Ok(minus)) = (moved(h), moved(-h)) else {
                        continue;
                    };
                    for dim in 0..plus.len() {
                        let difference = (plus[dim] - minus[dim]) / (2.0 * h);
                        let exact = exact[dim * u.len() + k];
                        let size = 1.0 + exact.abs().max(difference.abs());
                        assert!(
                            (exact - difference).abs() < 1e-4 * size,
                            "{}: ∂y{dim}/∂u{k} is {exact}, differences say {difference}",
                            task.name()
                        );
                        compared += 1;
                    }
                }
            }
            assert!(
                compared > 20,
                "{}: {compared} entries compared",
                task.name()
            );
        }
    }
}
