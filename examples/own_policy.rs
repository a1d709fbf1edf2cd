//! A network of your own as the policy: any burn module that maps contexts to actions trains under every
//! algorithm.
//!
//! Here a residual network: the action is a linear guess plus what hidden layers add to it.

use std::sync::Arc;

use anyhow::{Context, Result};
use burn::prelude::*;
use graybox::algorithm::PolicyFactory;
use graybox::model::{Mlp, MlpConfig, Policy};
use graybox::{AlgorithmConfig, Silent, TrainConfig, Trainer};
use graybox_arena::TaskOracle;

/// `u = W x + b + MLP(x)`
#[derive(Module, Debug)]
struct Residual {
    guess: Mlp,
    rest: Mlp,
}

impl Policy for Residual {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.guess.forward(x.clone()) + self.rest.forward(x)
    }
}

fn main() -> Result<()> {
    let device = Device::flex();
    let task = graybox_arena::by_name("asker").context("the arena has lost its asker")?;
    let problem = task.problem(task.training(1), &device)?;
    // The factory is asked for as many policies as an algorithm trains side by side.
    let new_policy: PolicyFactory<Residual> = Arc::new(move |rng| Residual {
        guess: MlpConfig::new([]).init(2, 1, rng, &device),
        rest: MlpConfig::new([32, 32]).init(2, 1, rng, &device),
    });
    println!("{:24} {:>10} {:>10}", "true loss", "before", "after");
    for algorithm in AlgorithmConfig::all() {
        let name = algorithm.name();
        let config = TrainConfig {
            calls: 1_000,
            algorithm,
            ..TrainConfig::default()
        };
        let oracle = TaskOracle::new(Arc::clone(&task), config.seed);
        let mut trainer =
            Trainer::with_policy(config, problem.clone(), oracle, Arc::clone(&new_policy))?
                .with_held_out(task.sample(500, 2));
        let run = trainer.run(&mut Silent)?;
        let shown = |loss: Option<f64>| loss.map_or("unknown".into(), |loss| format!("{loss:.2e}"));
        let (before, after) = (shown(run.true_loss_before), shown(run.true_loss_after));
        println!("{name:24} {before:>10} {after:>10}");
    }
    Ok(())
}
