//! No algorithm that is measured as black-box touches an oracle's derivative.

use std::sync::Arc;

use burn::prelude::*;
use graybox::model::{HeadConfig, MlpConfig};
use graybox::oracle::{Dims, Outcome};
use graybox::{AlgorithmConfig, Silent, TrainConfig, Trainer};
use graybox_arena::{Task, TaskOracle, white_box};
use rand::RngExt;
use rand::rngs::StdRng;

/// A task whose derivative must not be asked for.
struct Opaque;

impl Task for Opaque {
    fn name(&self) -> &'static str {
        "opaque"
    }

    fn about(&self) -> &'static str {
        "a product of context and action, whose derivative is a trap"
    }

    fn dims(&self) -> Dims {
        Dims::new(1, 2, 1)
    }

    fn actions(&self) -> HeadConfig {
        HeadConfig::identity(2)
    }

    fn draw(&self, rng: &mut StdRng) -> (Vec<f64>, Vec<f64>) {
        (vec![rng.random_range(0.5..1.5)], vec![1.0])
    }

    fn evaluate(&self, x: &[f64], u: &[f64]) -> Outcome {
        Ok(vec![x[0] * u[0] + u[1]])
    }

    fn jacobian(&self, _: &[f64], _: &[f64]) -> Option<Vec<f64>> {
        panic!("the derivative was asked for");
    }

    fn smooth(&self, _: &[f64], _: &[f64]) -> Outcome {
        panic!("the formula beneath was asked for");
    }
}

fn config(algorithm: AlgorithmConfig) -> TrainConfig {
    TrainConfig {
        calls: 128,
        policy: MlpConfig::new([4]),
        algorithm,
        ..TrainConfig::default()
    }
}

#[test]
fn no_algorithm_asks_for_the_derivative() {
    let task: Arc<dyn Task> = Arc::new(Opaque);
    for algorithm in AlgorithmConfig::all() {
        let problem = task.problem(task.sample(50, 1), &Device::flex()).unwrap();
        let oracle = TaskOracle::new(Arc::clone(&task), 1);
        let run = Trainer::new(config(algorithm), problem, oracle)
            .unwrap()
            .run(&mut Silent)
            .unwrap();
        assert!(run.oracle_calls > 0);
    }
}

#[test]
fn the_trap_works_on_the_one_method_that_may_ask() {
    let caught = std::panic::catch_unwind(|| {
        let task: Arc<dyn Task> = Arc::new(Opaque);
        let problem = task.problem(task.sample(50, 1), &Device::flex()).unwrap();
        let mut trainer = white_box::reference(&task, problem, &config(AlgorithmConfig::default()));
        trainer.as_mut().unwrap().run(&mut Silent).unwrap();
    });
    let message = caught.unwrap_err();
    assert_eq!(
        message.downcast_ref::<&str>(),
        Some(&"the derivative was asked for")
    );
}
