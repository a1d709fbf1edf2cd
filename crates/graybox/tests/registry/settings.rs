//! What is refused before any call is paid.

use super::*;

/// Every algorithm with its default settings, and those whose settings the defaults leave out.
fn with_every_setting() -> Vec<AlgorithmConfig> {
    let learned = WeightReinforceConfig {
        learned_sigma: Some(LearnedSigma {
            rate: 0.05,
            floor: 0.03,
            ceiling: 0.3,
        }),
        ..WeightReinforceConfig::default()
    };
    let fixed = FiniteDifferenceConfig {
        step: Step::Fixed(0.1),
        ..FiniteDifferenceConfig::default()
    };
    let stated = AnchoredConfig {
        steps_per_call: Some(1.0),
        ..AnchoredConfig::default()
    };
    let more = [
        AlgorithmConfig::WeightReinforce(learned),
        AlgorithmConfig::FiniteDifference(fixed),
        AlgorithmConfig::Anchored(stated),
        AlgorithmConfig::Joint(JointConfig::new(Routing::Biased)),
        AlgorithmConfig::Joint(JointConfig::new(Routing::Literal)),
    ];
    AlgorithmConfig::all().into_iter().chain(more).collect()
}

/// A value with each of its numbers replaced in turn, by the number's path.
fn spoiled(value: &Value, by: f64) -> Vec<(String, Value)> {
    let joined = |key: String, path: String| {
        if path.is_empty() {
            key
        } else {
            format!("{key}.{path}")
        }
    };
    match value {
        // A count is replaced by a count, where there is one.
        Value::Number(number) if number.is_u64() && by >= 0.0 => {
            vec![(String::new(), Value::from(by as u64))]
        }
        Value::Number(_) => vec![(String::new(), Value::from(by))],
        Value::Object(fields) => {
            let mut all = Vec::new();
            for (key, inner) in fields {
                for (path, spoiled) in spoiled(inner, by) {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), spoiled);
                    all.push((joined(key.clone(), path), Value::Object(fields)));
                }
            }
            all
        }
        Value::Array(items) => {
            let mut all = Vec::new();
            for (idx, inner) in items.iter().enumerate() {
                for (path, spoiled) in spoiled(inner, by) {
                    let mut items = items.clone();
                    items[idx] = spoiled;
                    all.push((joined(idx.to_string(), path), Value::Array(items)));
                }
            }
            all
        }
        _ => Vec::new(),
    }
}

/// What a trainer says to these settings, if it refuses them. It never asks the oracle.
fn refusal(algorithm: AlgorithmConfig) -> Option<String> {
    let (oracle, seen) = Plane::new();
    let train = TrainConfig {
        algorithm,
        ..TrainConfig::default()
    };
    let refused = Trainer::new(train, problem(data(8)), oracle).err();
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    refused.map(|error| error.to_string())
}

/// Whether a refusal names the setting at this path: its last part that is a word.
fn names(refusal: &str, path: &str) -> bool {
    let mut words = path.rsplit('.').filter(|part| part.parse::<u8>().is_err());
    refusal.contains(words.next().unwrap_or_default())
}

#[test]
fn a_negative_setting_is_refused_by_name_before_any_call() {
    for config in with_every_setting() {
        let written = serde_json::to_value(&config).unwrap();
        for (path, value) in spoiled(&written, -1.0) {
            // A count cannot even be read if it is negative.
            let Ok(read) = serde_json::from_value::<AlgorithmConfig>(value) else {
                continue;
            };
            if MAY_BE_NEGATIVE.contains(&path.as_str()) {
                continue;
            }
            let refused = refusal(read).unwrap_or_default();
            let name = config.name();
            assert!(names(&refused, &path), "{name}: {path} = -1: {refused:?}");
        }
    }
}

/// A loss may be negative.
const MAY_BE_NEGATIVE: [&str; 1] = ["baseline.fixed"];

/// Settings for which 0 has a meaning: no noise, no momentum, nothing left of a rate at the end.
const ZERO_HAS_A_MEANING: [(&str, &[&str]); 7] = [
    (
        "anchored",
        &[
            "anchored",
            "asked_between",
            "closing",
            "constant",
            "decay",
            "feasibility",
            "guard",
            "penalty",
            "ramp",
            "start",
            "survey",
            "trust",
        ],
    ),
    ("joint", &["exploration", "learning_rate.floor"]),
    ("two_stage", &["learning_rate.floor"]),
    ("reinforce", &["sigma_rate.floor"]),
    (
        "weight_reinforce",
        &["baseline.running_mean", "learning_rate.floor"],
    ),
    ("pgpe", &["momentum", "sigma_rate", "speed.floor"]),
    ("open_es", &["learning_rate.floor"]),
];

#[test]
fn zero_is_refused_by_name_before_any_call_unless_it_has_a_meaning() {
    for config in with_every_setting() {
        let written = serde_json::to_value(&config).unwrap();
        let name = config.name();
        let mut accepted = Vec::new();
        for (path, value) in spoiled(&written, 0.0) {
            let read = serde_json::from_value::<AlgorithmConfig>(value).unwrap();
            match refusal(read) {
                Some(refused) => assert!(names(&refused, &path), "{name}: {path} = 0: {refused}"),
                None => accepted.push(path),
            }
        }
        accepted.sort();
        let of_name = ZERO_HAS_A_MEANING.iter().find(|(of, _)| *of == name);
        let expected = of_name.map_or(&[][..], |(_, paths)| *paths);
        assert_eq!(accepted, expected, "{name}");
    }
}

#[test]
fn shares_are_asked_for_that_sum_to_one_or_are_refused() {
    let mut refused = Vec::new();
    for algorithm in quick() {
        let name = algorithm.name();
        let asked = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&asked);
        let oracle = FnOracle::new(Dims::new(2, 3, 2), move |x: &[f64], u: &[f64]| {
            let whole = (u.iter().sum::<f64>() - 1.0).abs() < 1e-5;
            assert!(whole && u.iter().all(|share| *share >= 0.0), "{u:?}");
            seen.fetch_add(1, Ordering::Relaxed);
            [u[0] + x[0], u[1] - u[2]]
        });
        let actions = HeadConfig::Simplex { n: 3 };
        let problem = Problem::new(data(32), actions, &Device::flex()).unwrap();
        match Trainer::new(config(algorithm, 256, 1), problem, oracle) {
            Ok(mut trainer) => {
                trainer.run(&mut Silent).unwrap();
                assert!(asked.load(Ordering::Relaxed) > 0, "{name}");
            }
            Err(error) => {
                assert!(error.to_string().contains(name), "{error}");
                refused.push(name);
            }
        }
    }
    assert_eq!(refused, ["finite_difference", "spsa"]);
}

#[test]
fn rows_and_scores_of_other_widths_are_refused_before_any_call() {
    let (oracle, seen) = Plane::new();
    let algorithm = AlgorithmConfig::default();
    let narrow = Rows::from_vec(1, vec![0.5]).unwrap();
    let other = Dataset::new(narrow, Rows::from_vec(2, vec![0.5; 2]).unwrap()).unwrap();
    let mut trainer = Trainer::new(config(algorithm.clone(), 32, 1), problem(data(8)), oracle)
        .unwrap()
        .with_held_out(other);
    let error = trainer.run(&mut Silent).unwrap_err().to_string();
    assert_eq!(
        error,
        "context x has 2 columns in the training problem and 1 in the held-out data: they must agree"
    );
    assert_eq!(seen.load(Ordering::Relaxed), 0);

    let (oracle, seen) = Plane::new();
    let truth = FnOracle::new(Dims::new(2, 2, 1), |_: &[f64], _: &[f64]| [0.0]);
    let mut trainer = Trainer::new(config(algorithm, 32, 1), problem(data(8)), oracle)
        .unwrap()
        .with_held_out(data(8))
        .with_truth(truth);
    let error = trainer.run(&mut Silent).unwrap_err().to_string();
    assert!(error.contains("target y has 2 columns"), "{error}");
    assert_eq!(seen.load(Ordering::Relaxed), 0);
}
