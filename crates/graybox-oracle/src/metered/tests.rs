//! What is charged, what is free, and what a budget refuses.

use super::*;
use crate::{FnOracle, Rows};

fn rows(values: &[f64]) -> Rows {
    Rows::from_vec(1, values.to_vec()).unwrap()
}

#[test]
fn a_batch_the_budget_cannot_pay_for_is_refused_whole() {
    let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
    let mut metered = Metered::new(oracle, Budget::new(3).unwrap());
    let x = rows(&[0.0, 0.0]);
    assert!(metered.evaluate(Queries::new(&x, &x).unwrap()).is_ok());
    assert_eq!(
        metered.evaluate(Queries::new(&x, &x).unwrap()),
        Err(BudgetError::Exceeded { asked: 2, left: 1 }.into())
    );
    assert_eq!((metered.calls(), metered.left()), (2, 1));
}

#[test]
fn failures_are_charged_and_counted() {
    let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| {
        if u[0] > 0.0 {
            Ok([u[0]])
        } else {
            Err(RowError::Invalid)
        }
    });
    let mut metered = Metered::new(oracle, Budget::new(9).unwrap());
    let (x, u) = (rows(&[0.0, 0.0]), rows(&[1.0, -1.0]));
    let outcomes = metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap();
    assert_eq!(outcomes, vec![Ok(vec![1.0]), Err(RowError::Invalid)]);
    assert_eq!((metered.calls(), metered.failed()), (2, 1));
}

#[test]
fn what_is_not_finite_or_not_as_wide_is_a_failed_row() {
    let oracle = FnOracle::new(Dims::new(1, 1, 2), |_, u| {
        if u[0] > 0.0 {
            vec![f64::NAN, 0.0]
        } else {
            vec![1.0]
        }
    });
    let mut metered = Metered::new(oracle, Budget::new(9).unwrap());
    let (x, u) = (rows(&[0.0, 0.0]), rows(&[1.0, -1.0]));
    let outcomes = metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap();
    assert_eq!(
        outcomes,
        vec![
            Err(RowError::Malformed(
                "outcome 0 is NaN, expected a finite number".into()
            )),
            Err(RowError::Malformed(
                "oracle returned 1 values for a row, expected d_y = 2".into()
            )),
        ]
    );
    assert_eq!(metered.failed(), 2);
}

#[test]
fn rows_never_sent_are_not_charged() {
    let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, _| {
        Err::<[f64; 1], _>(RowError::Cancelled)
    });
    let mut metered = Metered::new(oracle, Budget::new(1).unwrap());
    let x = rows(&[0.0]);
    metered.evaluate(Queries::new(&x, &x).unwrap()).unwrap();
    assert_eq!((metered.calls(), metered.failed()), (0, 0));
}

#[test]
fn scores_are_taken_from_the_truth_where_it_is_known() {
    let noisy = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0] + 1.0]);
    let truth = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
    let mut metered = Metered::new(noisy, Budget::new(1).unwrap()).with_truth(truth);
    let x = rows(&[2.0]);
    let queries = Queries::new(&x, &x).unwrap();
    assert_eq!(metered.score(queries).unwrap(), [Ok(vec![2.0])]);
    assert_eq!(metered.evaluate(queries).unwrap(), [Ok(vec![3.0])]);
    let meter = metered.meter();
    assert_eq!((meter.calls, meter.scored, meter.paid), (1, 1, 1));
}

#[test]
fn scores_are_counted_apart() {
    let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
    let mut metered = Metered::new(oracle, Budget::new(1).unwrap());
    let x = rows(&[0.0, 1.0]);
    metered.score(Queries::new(&x, &x).unwrap()).unwrap();
    assert_eq!((metered.calls(), metered.scored()), (0, 2));
    assert_eq!(metered.meter().paid, 2);
}

/// An oracle that is no black box, and pulls back whatever it is asked as these rows.
struct Adjoint(Vec<Outcome>);

impl Oracle for Adjoint {
    fn dims(&self) -> Dims {
        Dims::new(1, 1, 2)
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        vec![Ok(vec![0.0; 2]); queries.len()]
    }

    fn pull_back(&self, _: Queries<'_>, _: &Rows) -> Option<Vec<Outcome>> {
        Some(self.0.clone())
    }
}

fn pull_back(pulled: &[Outcome], sensitivities: &Rows) -> (Result<Vec<Outcome>, AskError>, Meter) {
    let mut metered = Metered::new(Adjoint(pulled.to_vec()), Budget::new(9).unwrap());
    let x = rows(&[0.0, 0.0]);
    let pulled = metered.pull_back(Queries::new(&x, &x).unwrap(), sensitivities);
    (pulled.map(Option::unwrap), metered.meter())
}

#[test]
fn derivatives_of_an_oracle_that_lost_count_belong_to_no_row() {
    let sensitivities = Rows::from_vec(2, vec![1.0; 4]).unwrap();
    for found in [1, 3] {
        let (pulled, meter) = pull_back(&vec![Ok(vec![1.0]); found], &sensitivities);
        let reason = format!("{found} answers to 2 rows");
        assert_eq!(pulled, Ok(vec![Err(RowError::Malformed(reason)); 2]));
        assert_eq!((meter.calls, meter.failed, meter.paid), (2, 2, 2));
    }
    let (pulled, _) = pull_back(&[Ok(vec![1.0]), Ok(vec![1.0, 2.0])], &sensitivities);
    let reason = "oracle returned 2 values for a row, expected d_u = 1";
    let malformed = Err(RowError::Malformed(reason.into()));
    assert_eq!(pulled, Ok(vec![Ok(vec![1.0]), malformed]));
}

#[test]
fn sensitivities_that_do_not_fit_are_refused_before_anything_is_asked() {
    let few = Rows::from_vec(2, vec![1.0; 2]).unwrap();
    let narrow = Rows::from_vec(1, vec![1.0; 2]).unwrap();
    let refused = [
        (few, ShapeError::Sensitivities { rows: 2, found: 1 }),
        (
            narrow,
            ShapeError::Width {
                found: 1,
                expected: 2,
            },
        ),
    ];
    for (sensitivities, error) in refused {
        let (pulled, meter) = pull_back(&[Ok(vec![1.0]), Ok(vec![1.0])], &sensitivities);
        assert_eq!(pulled, Err(error.into()));
        assert_eq!(meter, Meter::default());
    }
}
