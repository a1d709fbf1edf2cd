//! Runs that start with what others have paid for.

use super::*;

/// Calls that somebody made at arbitrary actions.
fn earlier_calls(n: usize) -> Answered {
    let mut earlier = Answered::new(Dims::new(2, 2, 2));
    for i in 0..n {
        let share = |step: f64| (i as f64 * step).fract() * 2.0 - 1.0;
        let (x, u) = (
            [share(0.31), share(0.87)],
            [2.0 * share(0.618), 2.0 * share(0.414)],
        );
        earlier.push(&x, &u, &outcome(&x, &u)).unwrap();
    }
    earlier
}

#[test]
fn a_warm_start_is_free_and_helps_or_is_refused() {
    let mut warmed = Vec::new();
    for algorithm in quick() {
        let name = algorithm.name();
        // So few that more would help; the joint method makes no use of its first rounds.
        let calls = if name == "joint" { 96 } else { 32 };
        let run = |earlier: Option<&Answered>| -> Result<f64, TrainError> {
            let (oracle, seen) = Plane::new();
            let config = config(algorithm.clone(), calls, 5);
            let mut trainer = Trainer::new(config, problem(data(64)), oracle)?;
            if let Some(earlier) = earlier {
                trainer = trainer.with_warm_start(earlier)?;
            }
            let report = trainer.run(&mut Silent)?;
            assert_eq!(report.oracle_calls, seen.load(Ordering::Relaxed), "{name}");
            assert!(report.oracle_calls <= calls, "{name}");
            let data = data(64);
            let x = Tensor::<2>::from_data(
                burn::tensor::TensorData::new(data.x().as_slice().to_vec(), [64, 2]),
                &Device::flex(),
            );
            let u: Vec<f64> = (trainer.policy().forward(x).into_data())
                .try_to_vec_as()
                .unwrap();
            let loss = |(row, target): (usize, &[f64])| {
                let y = outcome(data.x().row(row), &u[2 * row..2 * row + 2]);
                trainer.problem().objective().value(&y, target)
            };
            Ok(data.target().iter().enumerate().map(loss).sum::<f64>() / 64.0)
        };
        match run(Some(&earlier_calls(300))) {
            Ok(warm) => {
                let cold = run(None).unwrap();
                assert!(warm < cold, "{name}: {warm:e} warm, {cold:e} cold");
                warmed.push(name);
            }
            Err(TrainError::NoWarmStart(refused)) => assert_eq!(refused, name),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert_eq!(warmed, ["anchored", "joint", "two_stage"]);
}

#[test]
fn what_several_runs_have_left_is_added_up() {
    let config = config(AlgorithmConfig::default(), 32, 5);
    let trainer = Trainer::new(config, problem(data(64)), Plane::new().0).unwrap();
    let twice = trainer
        .with_warm_start(&earlier_calls(8))
        .and_then(|trainer| trainer.with_warm_start(&earlier_calls(16)));
    assert_eq!(twice.unwrap().run(&mut Silent).unwrap().oracle_calls, 32);
}

#[test]
fn a_warm_start_of_another_oracle_is_refused() {
    let (oracle, _) = Plane::new();
    let config = config(AlgorithmConfig::default(), 96, 5);
    let trainer = Trainer::new(config, problem(data(8)), oracle).unwrap();
    let refused = trainer.with_warm_start(&Answered::new(Dims::new(2, 3, 2)));
    let message = refused.err().unwrap().to_string();
    assert_eq!(
        message,
        "action u has 2 columns in the training problem and 3 in the warm start: they must agree"
    );
}
