//! Rows that were answered while nobody waited, and what a broken run makes of them.

use super::*;
use crate::{Arrival, Lanes};

/// An oracle of two lanes behind this ledger, which notes the actions it is asked about.
fn metered(ledger: Ledger, asked: &std::sync::Arc<std::sync::Mutex<Vec<f64>>>) -> Metered {
    let asked = std::sync::Arc::clone(asked);
    let oracle = FnOracle::new(DIMS, move |x, u| {
        asked.lock().unwrap().push(u[0]);
        [u[0] - x[0]]
    });
    let plain = Metered::new(Lanes::sharing(oracle, 2), Budget::new(100).unwrap());
    plain.with_record(ledger, "run").unwrap()
}

fn post(metered: &mut Metered, u: &[f64]) {
    let (x, u) = (column(&vec![0.5; u.len()]), column(u));
    metered.post(Queries::new(&x, &u).unwrap()).unwrap();
}

fn collect(metered: &mut Metered, n: usize) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    while arrivals.len() < n {
        arrivals.extend(metered.collect().unwrap());
    }
    arrivals
}

#[test]
fn a_broken_run_learns_from_the_same_rows_in_the_same_rounds_and_pays_for_none_again() {
    let bench = Bench::new();
    let asked = std::sync::Arc::default();
    let rounds = |metered: &mut Metered| {
        let mut learned = Vec::new();
        for round in 0..20 {
            metered.begin_round(round);
            post(
                metered,
                &[f64::from(round as u32), f64::from(round as u32) + 0.25],
            );
            learned.push(metered.collect().unwrap());
        }
        learned
    };
    let mut first = metered(bench.open(), &asked);
    let learned = rounds(&mut first);
    // What was still on its way when it was broken off is answered all the same, and kept.
    drop(first);
    let mut again = metered(bench.open(), &asked);
    assert_eq!(rounds(&mut again), learned);
    let left = again.on_their_way();
    again.begin_round(20);
    collect(&mut again, left);
    let meter = again.meter();
    assert_eq!((meter.calls, meter.paid, meter.duplicates), (40, 40, 0));
    assert_eq!(asked.lock().unwrap().len(), 40);
}

#[test]
fn a_row_that_is_known_from_elsewhere_is_spared() {
    let bench = Bench::new();
    let asked = std::sync::Arc::default();
    let mut metered = metered(bench.open(), &asked);
    ask(&mut metered, &[1.0]);
    post(&mut metered, &[1.0, 2.0]);
    let mut arrivals = collect(&mut metered, 2);
    arrivals.sort_by_key(|arrival| arrival.position);
    assert_eq!(arrivals[0].outcome, Ok(vec![0.5]));
    let meter = metered.meter();
    assert_eq!((meter.calls, meter.paid, meter.duplicates), (3, 2, 1));
    assert_eq!(*asked.lock().unwrap(), [1.0, 2.0]);
}

#[test]
fn what_a_run_that_went_another_way_noted_is_void() {
    let bench = Bench::new();
    let asked = std::sync::Arc::default();
    let mut first = metered(bench.open(), &asked);
    post(&mut first, &[1.0, 2.0, 3.0]);
    collect(&mut first, 3);
    first.begin_round(1);
    post(&mut first, &[4.0]);
    collect(&mut first, 1);
    drop(first);
    // One row fewer, so that the rows noted of the first round are not all there.
    let mut second = metered(bench.open(), &asked);
    post(&mut second, &[1.0, 2.0]);
    collect(&mut second, 2);
    second.begin_round(1);
    post(&mut second, &[5.0]);
    collect(&mut second, 1);
    assert_eq!((second.calls(), second.replayed()), (3, 2));
    assert_eq!(asked.lock().unwrap().last(), Some(&5.0));
}
