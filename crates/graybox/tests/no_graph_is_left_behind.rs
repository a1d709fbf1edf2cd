//! burn keeps the graph of a tracked forward until a backward consumes it. Evaluations that never see one
//! must not pile up, neither in memory nor in the time of the steps after them.

use std::time::{Duration, Instant};

use burn::prelude::*;
use graybox::model::{Affine, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, Policy};
use graybox::{LearningRate, OptimizerKind, Student};
use rand::{SeedableRng, rngs::StdRng};

fn student() -> (Student<MlpPolicy>, Tensor<2>) {
    let device = Device::flex();
    let config = MlpPolicyConfig {
        body: MlpConfig::new([16, 16]),
        context: Affine::identity(2),
        head: HeadConfig::bounded(vec![-1.0], vec![1.0]).unwrap(),
    };
    let policy = config.init(&mut StdRng::seed_from_u64(1), &device);
    let x = Tensor::from_data([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], &device);
    (
        Student::new(
            policy,
            OptimizerKind::default(),
            LearningRate::constant(1e-3),
        ),
        x,
    )
}

/// The fastest of a few steps; a machine that is busy slows down all but it.
fn step_time(student: &mut Student<MlpPolicy>, x: &Tensor<2>) -> Duration {
    let dloss_du = Tensor::ones([3, 1], &Device::flex());
    let mut step = || {
        let start = Instant::now();
        student.follow(x.clone(), dloss_du.clone(), 0.0);
        start.elapsed()
    };
    (0..200).map(|_| step()).min().unwrap()
}

/// Bytes of memory in use; nothing where there is no /proc.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(4096 * pages)
}

fn assert_flat(before: (Duration, Option<usize>), after: (Duration, Option<usize>)) {
    assert!(
        after.0 < 4 * before.0 + Duration::from_micros(50),
        "a step took {:?} before and {:?} after",
        before.0,
        after.0
    );
    if let (Some(before), Some(after)) = (before.1, after.1) {
        let grown = after.saturating_sub(before);
        assert!(grown < 8 << 20, "memory grew by {grown} bytes");
    }
}

// One test, so that no other thread's memory is counted.
#[test]
fn neither_snapshots_nor_discarded_forwards_leave_anything() {
    let (mut student, x) = student();
    step_time(&mut student, &x);

    let before = (step_time(&mut student, &x), resident());
    let dloss_du = Tensor::ones([3, 1], &Device::flex());
    for evaluation in 0..50_000 {
        student.snapshot().forward(x.clone());
        if evaluation % 10 == 0 {
            student.follow(x.clone(), dloss_du.clone(), 0.0);
        }
    }
    assert_flat(before, (step_time(&mut student, &x), resident()));

    // Forwards on the trained policy itself, thrown away between steps.
    let discard = |student: &mut Student<MlpPolicy>| {
        for _ in 0..1_000 {
            student.policy().forward(x.clone());
        }
        step_time(student, &x)
    };
    let before = (discard(&mut student), resident());
    for _ in 0..10 {
        discard(&mut student);
    }
    assert_flat(before, (discard(&mut student), resident()));
}
