//! The tasks, a file each.

use std::sync::Arc;

use crate::Task;

mod asker;
mod cannon;

use asker::Asker;
use cannon::Cannon;

/// Every task.
pub fn all() -> Vec<Arc<dyn Task>> {
    vec![Arc::new(Asker), Arc::new(Cannon)]
}

/// The task of this name.
pub fn by_name(name: &str) -> Option<Arc<dyn Task>> {
    all().into_iter().find(|task| task.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
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
                        task.evaluate(&x, &u)
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
