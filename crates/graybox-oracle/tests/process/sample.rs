//! Data that programs make.

use std::time::Duration;

use graybox_oracle::{Dims, Oracle, ProcessConfig, ProcessOracle, Queries, Sample, SampleError};

use crate::{misbehaving, python};

#[test]
fn a_sample_is_what_the_program_says() {
    let lens = ProcessConfig::new(python("lens.py"));
    let dims = Dims::new(2, 1, 1);
    let sample = Sample::from_program(&lens, dims, 20, 7).unwrap();
    assert_eq!((sample.x.len(), sample.target.len()), (20, 20));
    let oracle = ProcessOracle::start(lens.clone()).unwrap();
    let feasible = sample.feasible.unwrap();
    let outcomes = oracle.evaluate(Queries::new(&sample.x, &feasible).unwrap());
    for (outcome, target) in outcomes.iter().zip(sample.target.iter()) {
        assert_eq!(outcome.as_deref(), Ok(target));
    }

    let other = Sample::from_program(&lens, Dims::new(3, 1, 1), 20, 7).unwrap_err();
    assert_eq!(
        other.to_string(),
        "line 1 of the sample: `x`: row has 2 values, expected 3"
    );
}

#[test]
fn a_program_without_samples_says_so() {
    let dims = Dims::new(1, 1, 2);
    let error = Sample::from_program(&misbehaving("dies-at-start"), dims, 5, 7).unwrap_err();
    assert!(
        matches!(&error, SampleError::Died { last_words, .. } if last_words.contains("mesh.dat")),
        "{error}"
    );
    let error = Sample::from_program(&misbehaving("prints-at-start"), dims, 5, 7).unwrap_err();
    assert!(
        matches!(error, SampleError::Line { line: 1, .. }),
        "{error}"
    );
    let error = Sample::from_program(&misbehaving("good"), dims, 5, 7).unwrap_err();
    assert!(
        matches!(error, SampleError::Count { found: 0, asked: 5 }),
        "{error}"
    );
    let mut silent = misbehaving("hangs-at-start");
    silent.start_limit = Duration::from_millis(200);
    silent.time_limit = Duration::from_millis(100);
    let error = Sample::from_program(&silent, dims, 5, 7).unwrap_err();
    assert!(
        matches!(error, SampleError::TimedOut { line: 0, .. }),
        "{error}"
    );
}
