//! What is charged, what is free, and what a budget refuses.

use super::*;
use crate::{Arrival, FnOracle, Lanes, Rows};

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

/// Answers a row once somebody has let it go, and only then: as many as there are lanes are held at once.
fn held_back(lanes: usize) -> (Lanes, std::sync::mpsc::Sender<()>) {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = Mutex::new(wait);
    let oracle = FnOracle::new(Dims::new(1, 1, 1), move |_, u| {
        wait.lock().unwrap().recv().unwrap();
        if u[0] < 0.0 {
            Err(RowError::Invalid)
        } else {
            Ok([u[0]])
        }
    });
    (Lanes::sharing(oracle, lanes), go)
}

#[test]
fn what_is_on_its_way_is_spoken_for_and_charged_when_it_comes() {
    let (lanes, go) = held_back(2);
    let mut metered = Metered::new(lanes, Budget::new(3).unwrap());
    let u = rows(&[1.0, -1.0]);
    let posted = metered.post(Queries::new(&u, &u).unwrap()).unwrap();
    assert_eq!(posted, 0..2);
    assert_eq!(
        (metered.calls(), metered.left(), metered.on_their_way()),
        (0, 1, 2)
    );
    let refused = metered.post(Queries::new(&u, &u).unwrap());
    assert_eq!(
        refused,
        Err(BudgetError::Exceeded { asked: 2, left: 1 }.into())
    );

    for _ in 0..2 {
        go.send(()).unwrap();
    }
    let mut arrivals = Vec::new();
    while metered.on_their_way() > 0 {
        arrivals.extend(metered.collect().unwrap());
    }
    arrivals.sort_by_key(|arrival| arrival.position);
    let outcomes = arrivals.into_iter().map(|arrival| arrival.outcome);
    assert_eq!(
        outcomes.collect::<Vec<_>>(),
        [Ok(vec![1.0]), Err(RowError::Invalid)]
    );
    assert_eq!(
        (metered.calls(), metered.failed(), metered.left()),
        (2, 1, 1)
    );
    assert_eq!(metered.meter().paid, 2);
    assert_eq!(
        metered.collect(),
        Ok(Vec::new()),
        "nothing is waited for when nothing is on its way"
    );
}

#[test]
fn nobody_waits_for_the_slowest_row() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let oracle = FnOracle::new(Dims::new(1, 1, 1), move |_, u| {
        if u[0] > 1.0 {
            wait.lock().unwrap().recv().unwrap();
        }
        [u[0]]
    });
    let mut metered = Metered::new(Lanes::sharing(oracle, 2), Budget::new(9).unwrap());
    let u = rows(&[2.0, 0.0, 1.0]);
    metered.post(Queries::new(&u, &u).unwrap()).unwrap();
    let mut positions = Vec::new();
    while positions.len() < 2 {
        positions.extend(
            metered
                .collect()
                .unwrap()
                .into_iter()
                .map(|arrival| arrival.position),
        );
    }
    assert_eq!((positions, metered.on_their_way()), (vec![1, 2], 1));
    go.send(()).unwrap();
    let last = Arrival {
        position: 0,
        outcome: Ok(vec![2.0]),
    };
    assert_eq!(metered.collect(), Ok(vec![last]));
}

#[test]
fn rows_that_were_never_sent_are_neither_charged_nor_on_their_way() {
    let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, _| {
        Err::<[f64; 1], _>(RowError::Cancelled)
    });
    let mut metered = Metered::new(Lanes::sharing(oracle, 1), Budget::new(1).unwrap());
    let u = rows(&[0.0]);
    metered.post(Queries::new(&u, &u).unwrap()).unwrap();
    assert_eq!(metered.collect(), Ok(Vec::new()));
    assert_eq!(metered.turned_back(), Some(&RowError::Cancelled));
    assert_eq!(
        (metered.calls(), metered.left(), metered.on_their_way()),
        (0, 1, 0)
    );
}

#[test]
fn an_oracle_that_answers_only_who_waits_has_answered_what_is_posted() {
    let oracle = FnOracle::new(Dims::new(1, 1, 1), |_, u| [u[0]]);
    let mut metered = Metered::new(oracle, Budget::new(2).unwrap());
    let u = rows(&[3.0, 4.0]);
    metered.post(Queries::new(&u, &u).unwrap()).unwrap();
    let positions = metered
        .collect()
        .unwrap()
        .into_iter()
        .map(|arrival| arrival.position);
    assert_eq!(positions.collect::<Vec<_>>(), [0, 1]);
}
