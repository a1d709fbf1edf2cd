//! The same seeds on two CPU backends: `cargo test --release --features ndarray --test devices`.
//!
//! flex has fused kernels and ndarray composed operations, so this is also where whole runs of the two paths
//! are compared. Rounding differs in the seventh digit and training amplifies it; the runs are short enough to
//! stay close.
#![cfg(all(feature = "flex", feature = "ndarray"))]

use burn::tensor::Device;
use graybox::algorithm::{FiniteDifferenceConfig, JointConfig};
use graybox::{AlgorithmConfig, RunReport, Silent, TrainConfig, Trainer};
use graybox_app::DeviceName;
use graybox_arena::TaskOracle;

fn run(device: &Device, algorithm: AlgorithmConfig) -> RunReport {
    let task = graybox_arena::by_name("asker").expect("the arena has its asker");
    let problem = task.problem(task.training(3), device).unwrap();
    let config = TrainConfig {
        calls: 240,
        seed: 3,
        algorithm,
        ..TrainConfig::default()
    };
    let oracle = TaskOracle::new(task.clone(), config.seed);
    let mut trainer = Trainer::new(config, problem, oracle).unwrap();
    trainer = trainer.with_held_out(task.sample(256, 4));
    trainer.run(&mut Silent).unwrap()
}

#[test]
fn a_seed_gives_the_same_run_on_flex_and_on_ndarray() {
    let [flex, ndarray] = [DeviceName::Flex, DeviceName::NdArray].map(|name| name.open().unwrap());
    for algorithm in [
        AlgorithmConfig::FiniteDifference(FiniteDifferenceConfig::default()),
        AlgorithmConfig::Joint(JointConfig::default()),
    ] {
        let name = algorithm.name();
        let [a, b] = [&flex, &ndarray].map(|device| run(device, algorithm.clone()));
        assert_eq!(a.oracle_calls, b.oracle_calls, "{name}");
        let close = |a: Option<f64>, b: Option<f64>, tolerance: f64| {
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!(
                (a - b).abs() <= tolerance * b,
                "{name}: {a} on flex, {b} on ndarray"
            );
        };
        // Before training only the forward differs; afterwards every step's rounding has gone in.
        close(a.true_loss_before, b.true_loss_before, 1e-5);
        close(a.true_loss_after, b.true_loss_after, 1e-2);
    }
}
