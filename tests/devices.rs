//! The same seeds on different devices: `cargo test --release --features ndarray,vulkan --test devices`.
//!
//! flex has fused kernels and every other device composed operations, so this is also where whole runs of the
//! two paths are compared. Rounding differs in the seventh digit and training amplifies it; the runs are short
//! enough to stay close with Adam. SOAP turns to the eigenvectors of the gradients so far, and what a few gradients
//! have in common but for their rounding decides some of those, so that its runs part sooner: by up to 12 % here.
//! A graphics device may be one in software; without any driver it is passed over, and said so. Mesa 22.3's Vulkan in
//! software crashes on the shaders burn compiles for it; with
//! `VK_ICD_FILENAMES=/nonexistent` wgpu takes OpenGL instead.
#![cfg(feature = "flex")]

use burn::tensor::Device;
use graybox::algorithm::{FiniteDifferenceConfig, JointConfig};
use graybox::{AlgorithmConfig, OptimizerKind, RunReport, Silent, TrainConfig, Trainer};
use graybox_app::DeviceName;
use graybox_arena::TaskOracle;

/// Devices that were compiled in, beside flex.
const OTHERS: &[DeviceName] = &[
    #[cfg(feature = "ndarray")]
    DeviceName::NdArray,
    #[cfg(feature = "wgpu")]
    DeviceName::Wgpu,
    #[cfg(feature = "vulkan")]
    DeviceName::Vulkan,
    #[cfg(feature = "cuda")]
    DeviceName::Cuda(0),
];

fn run(device: &Device, algorithm: AlgorithmConfig, optimizer: OptimizerKind) -> RunReport {
    let task = graybox_arena::by_name("asker").expect("the arena has its asker");
    let problem = task.problem(task.training(3), device).unwrap();
    let config = TrainConfig {
        calls: 240,
        seed: 3,
        algorithm,
        optimizer,
        ..TrainConfig::default()
    };
    let oracle = TaskOracle::new(task.clone(), config.seed);
    let mut trainer = Trainer::new(config, problem, oracle).unwrap();
    trainer = trainer.with_held_out(task.sample(256, 4));
    trainer.run(&mut Silent).unwrap()
}

#[test]
fn a_seed_gives_the_same_run_on_every_device() {
    let flex = DeviceName::Flex.open().unwrap();
    for other in OTHERS {
        let device = match other.open() {
            Ok(device) => device,
            Err(error) => {
                println!("passed over: {error}");
                continue;
            }
        };
        for (optimizer, tolerance) in [(OptimizerKind::Adam, 1e-3), (OptimizerKind::Soap, 0.2)] {
            for algorithm in [
                AlgorithmConfig::FiniteDifference(FiniteDifferenceConfig::default()),
                AlgorithmConfig::Joint(JointConfig::default()),
            ] {
                let name = format!("{} by {optimizer:?}", algorithm.name());
                let [a, b] =
                    [&flex, &device].map(|device| run(device, algorithm.clone(), optimizer));
                assert_eq!(a.oracle_calls, b.oracle_calls, "{name}");
                let close = |a: Option<f64>, b: Option<f64>, tolerance: f64| {
                    let (a, b) = (a.unwrap(), b.unwrap());
                    println!("{name}: {a:.6e} on flex, {b:.6e} on {other}");
                    assert!(
                        (a - b).abs() <= tolerance * b,
                        "{name}: {a} on flex, {b} on {other}"
                    );
                };
                // Before training only the forward differs; afterwards every step's rounding has gone in.
                close(a.true_loss_before, b.true_loss_before, 1e-5);
                close(a.true_loss_after, b.true_loss_after, tolerance);
            }
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_named_with_what_is_missing() {
    for (name, missing) in [
        ("cuda:7", "cuda"),
        ("vulkan", "vulkan"),
        ("wgpu", "wgpu"),
        ("ndarray", "ndarray"),
    ] {
        let name: DeviceName = name.parse().unwrap();
        let Err(error) = name.open() else { continue };
        let error = error.to_string();
        let named = [
            format!("`--features {missing}`"),
            "driver".into(),
            "counted from 0".into(),
        ];
        assert!(named.iter().any(|words| error.contains(words)), "{error}");
    }
}
