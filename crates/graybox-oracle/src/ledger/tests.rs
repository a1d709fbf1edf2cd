use super::*;
use crate::{Budget, FnOracle, Metered, Oracle, Outcome, Queries, RowError, Rows};

mod gradients;
mod posted;

const DIMS: Dims = Dims { x: 1, u: 1, y: 1 };

fn described() -> Description {
    Description::of_sizes("difference", DIMS)
}

fn column(values: &[f64]) -> Rows {
    Rows::from_vec(1, values.to_vec()).unwrap()
}

fn ask(metered: &mut Metered, u: &[f64]) -> Vec<Outcome> {
    let (x, u) = (column(&vec![0.5; u.len()]), column(u));
    metered.evaluate(Queries::new(&x, &u).unwrap()).unwrap()
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("ledger.sqlite")
    }

    fn open(&self) -> Ledger {
        Ledger::open(self.path(), &described()).unwrap()
    }
}

/// An oracle that fails below zero, behind this ledger.
fn metered(ledger: Ledger, run: &str) -> Metered {
    let oracle = FnOracle::new(DIMS, |x, u| {
        if u[0] < 0.0 {
            Err(RowError::Failed("no root".into()))
        } else {
            Ok([u[0] - x[0]])
        }
    });
    let plain = Metered::new(oracle, Budget::new(100).unwrap());
    plain.with_record(ledger, run).unwrap()
}

#[test]
fn a_broken_run_is_replayed_and_charged_but_not_paid_again() {
    let bench = Bench::new();
    let u = [1.0 / 3.0, -1.0, 0.1];
    let mut first = metered(bench.open(), "a");
    let outcomes = ask(&mut first, &u);
    drop(first);

    let mut again = metered(bench.open(), "a");
    assert_eq!(ask(&mut again, &u), outcomes);
    assert_eq!(ask(&mut again, &[0.7]), [Ok(vec![0.7 - 0.5])]);
    let meter = again.meter();
    assert_eq!((meter.calls, meter.failed, again.replayed()), (4, 1, 3));
    assert_eq!(meter.paid, 4);
    assert_eq!(bench.open().len().unwrap(), 4);
}

#[test]
fn an_oracle_that_lost_count_answers_no_row_of_a_ledger() {
    struct Short;

    impl Oracle for Short {
        fn dims(&self) -> Dims {
            DIMS
        }

        fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
            let answers = queries.iter().skip(1);
            answers.map(|(_, u)| Ok(u.to_vec())).collect()
        }
    }
    let bench = Bench::new();
    let plain = Metered::new(Short, Budget::new(100).unwrap());
    let mut metered = plain.with_record(bench.open(), "a").unwrap();
    for outcome in ask(&mut metered, &[0.1, 0.2, 0.3]) {
        let reason = "2 answers to 3 rows".to_owned();
        assert_eq!(outcome, Err(RowError::Malformed(reason)));
    }
    drop(metered);
    assert!(bench.open().answers().unwrap().is_empty());
}

#[test]
fn the_same_row_is_free_for_another_run_and_within_a_batch() {
    let bench = Bench::new();
    ask(&mut metered(bench.open(), "a"), &[0.1, -1.0]);
    let mut other = metered(bench.open(), "b");
    ask(&mut other, &[0.9, 0.1, 0.9, -1.0]);
    let meter = other.meter();
    assert_eq!((meter.calls, meter.duplicates, meter.paid), (4, 3, 1));
    assert_eq!((meter.failed, other.replayed()), (1, 0));
    assert_eq!(bench.open().len().unwrap(), 3);
}

/// An oracle that forgets rows below zero, and is not there for those above one.
struct Forgetful;

impl Oracle for Forgetful {
    fn dims(&self) -> Dims {
        DIMS
    }

    fn evaluate(&self, _: Queries<'_>) -> Vec<Outcome> {
        Vec::new()
    }

    fn evaluate_each(&self, queries: Queries<'_>, tell: &mut dyn FnMut(Answer)) {
        for (row, (_, u)) in queries.iter().enumerate().filter(|(_, (_, u))| u[0] >= 0.0) {
            let gone = || RowError::Unavailable("it has gone home".into());
            let outcome = Some(u.to_vec()).filter(|u| u[0] <= 1.0).ok_or_else(gone);
            tell(Answer::new(row, outcome));
        }
    }
}

#[test]
fn an_answered_row_is_paid_or_spared_and_charged_or_scored() {
    let bench = Bench::new();
    let run = |key: &str| {
        let metered = Metered::new(Forgetful, Budget::new(100).unwrap());
        let mut metered = metered.with_record(bench.open(), key).unwrap();
        ask(&mut metered, &[0.1, 0.2, 0.1, -1.0, -1.0, 2.0, f64::NAN]);
        let held_out = column(&[0.2, 0.3, 0.3, -1.0, 2.0]);
        let scored = metered.score(Queries::new(&column(&[0.5; 5]), &held_out).unwrap());
        assert_eq!(scored.unwrap().iter().flatten().count(), 3);
        let meter = metered.meter();
        let (answered, given) = (meter.calls + meter.scored, meter.paid + meter.duplicates);
        assert_eq!(answered, given, "{key}: {meter:?}");
        (meter.calls, meter.scored, meter.paid, metered.replayed())
    };
    assert_eq!(run("a"), (6, 4, 6, 0));
    // Broken off and taken up again, it pays for nothing twice.
    assert_eq!(run("a"), (6, 4, 6, 6));
    // Another run asks again for what was forgotten, and is spared what was answered.
    assert_eq!(run("b"), (6, 4, 3, 0));
}

#[test]
fn a_noisy_oracle_is_asked_again_and_replayed_in_order() {
    use std::sync::atomic::{AtomicU32, Ordering};

    let bench = Bench::new();
    let run = |first: u32| {
        let next = AtomicU32::new(first);
        let noisy = FnOracle::new(DIMS, move |_, _| {
            [f64::from(next.fetch_add(1, Ordering::Relaxed))]
        });
        let ledger = bench.open().with_duplicates(Duplicates::AskAgain);
        let metered = Metered::new(noisy, Budget::new(100).unwrap());
        let mut metered = metered.with_record(ledger, "a").unwrap();
        ask(&mut metered, &[0.1, 0.1, 0.1])
    };
    let fresh: Vec<Outcome> = [0.0, 1.0, 2.0].map(|y| Ok(vec![y])).into();
    assert_eq!(run(0), fresh);
    assert_eq!(run(100), fresh);
}

#[test]
fn what_timed_out_is_asked_again_by_another_run() {
    let bench = Bench::new();
    let hung = FnOracle::new(DIMS, |_, _| Err::<[f64; 1], _>(RowError::TimedOut));
    let hung = Metered::new(hung, Budget::new(9).unwrap());
    let mut hung = hung.with_record(bench.open(), "a").unwrap();
    assert_eq!(ask(&mut hung, &[0.7]), [Err(RowError::TimedOut)]);
    drop(hung);
    let mut again = metered(bench.open(), "a");
    assert_eq!(ask(&mut again, &[0.7]), [Err(RowError::TimedOut)]);
    drop(again);
    let mut other = metered(bench.open(), "b");
    assert_eq!(ask(&mut other, &[0.7]), [Ok(vec![0.7 - 0.5])]);
}

#[test]
fn a_row_like_one_that_failed_fails_with_it_when_it_is_replayed() {
    let bench = Bench::new();
    let mut answers = Vec::new();
    // By the time the run is taken up again, the oracle would have answered.
    for y in [Err(RowError::TimedOut), Ok([1.0])] {
        let oracle = FnOracle::new(DIMS, move |_, _| y.clone());
        let metered = Metered::new(oracle, Budget::new(9).unwrap());
        let mut metered = metered.with_record(bench.open(), "a").unwrap();
        answers.push((ask(&mut metered, &[0.7, 0.7]), metered.meter().paid));
    }
    let failed = (vec![Err(RowError::TimedOut); 2], 1);
    assert_eq!(answers, [failed.clone(), failed]);
}

#[test]
fn a_run_that_goes_another_way_keeps_what_it_paid_for() {
    let bench = Bench::new();
    ask(&mut metered(bench.open(), "a"), &[0.1, 0.2, 0.3]);
    let mut other_way = metered(bench.open(), "a");
    ask(&mut other_way, &[0.1, 0.9, 0.3]);
    assert_eq!(other_way.replayed(), 1);
    // 0.3 was paid for when the run still went the old way.
    assert_eq!(other_way.meter().duplicates, 1);
    drop(other_way);
    let mut again = metered(bench.open(), "a");
    ask(&mut again, &[0.1, 0.9]);
    assert_eq!(again.replayed(), 2);
    assert_eq!(bench.open().len().unwrap(), 4);
}

#[test]
fn what_is_learned_from_is_read_back_bit_for_bit() {
    let bench = Bench::new();
    let u = [0.1 + 0.2, f64::MIN_POSITIVE, 5e-324, 1.0 / 3.0];
    let mut metered = metered(bench.open(), "a");
    ask(&mut metered, &u);
    ask(&mut metered, &[-1.0]);
    let held_out = column(&[0.25]);
    let queries = Queries::new(&held_out, &held_out).unwrap();
    metered.score(queries).unwrap();
    let answered = bench.open().answers().unwrap();
    assert_eq!(answered.u().as_slice(), u);
    assert_eq!(answered.y().as_slice(), u.map(|u| u - 0.5));
}

#[test]
fn answers_are_read_from_a_ledger_in_use_and_never_make_one() {
    let bench = Bench::new();
    let missing = Ledger::answers_in(bench.path(), &described());
    assert!(matches!(missing, Err(LedgerError::File { .. })));
    assert!(!bench.path().exists());

    let mut busy = metered(bench.open(), "a");
    ask(&mut busy, &[1.0, 2.0]);
    let answered = Ledger::answers_in(bench.path(), &described()).unwrap();
    assert_eq!(answered.u().as_slice(), [1.0, 2.0]);
    let other = Ledger::answers_in(bench.path(), &Description::of_sizes("sum", DIMS));
    assert!(matches!(other, Err(LedgerError::OtherOracle { .. })));
}

#[test]
fn the_ledger_of_another_oracle_is_refused() {
    let bench = Bench::new();
    drop(bench.open());
    let open = |described: Description| {
        let error = Ledger::open(bench.path(), &described).err().unwrap();
        assert!(matches!(error, LedgerError::OtherOracle { .. }), "{error}");
        error.to_string()
    };
    let message = open(Description::of_sizes("sum", DIMS));
    assert!(
        message.contains("holds answers of `difference` (x: x0; u: u0; y: y0), not of `sum`"),
        "{message}"
    );
    open(Description::of_sizes("difference", Dims::new(2, 1, 1)));
}

#[test]
fn what_is_no_ledger_is_left_alone() {
    let bench = Bench::new();
    let foreign = |name: &str| {
        let error = Ledger::open(bench.folder.path().join(name), &described());
        assert!(matches!(error, Err(LedgerError::Foreign(_))));
    };
    std::fs::write(
        bench.folder.path().join("notes"),
        "not a database, ".repeat(99),
    )
    .unwrap();
    foreign("notes");
    let other = Connection::open(bench.folder.path().join("other")).unwrap();
    other.execute_batch("CREATE TABLE patient (id)").unwrap();
    drop(other);
    foreign("other");
    let future = Connection::open(bench.path()).unwrap();
    drop(bench.open());
    future.pragma_update(None, "user_version", 99).unwrap();
    let error = Ledger::open(bench.path(), &described());
    assert!(matches!(error, Err(LedgerError::Version { found: 99, .. })));
}

#[test]
fn two_runs_do_not_share_a_ledger_at_once() {
    let bench = Bench::new();
    let first = metered(bench.open(), "a");
    let mut second = bench.open();
    let message = second.begin("b").unwrap_err().to_string();
    assert!(message.contains("is in use by another run"), "{message}");
    drop(first);
    second.begin("b").unwrap();
}

#[test]
fn any_tool_can_read_the_numbers_by_their_names() {
    let bench = Bench::new();
    let mut metered = metered(bench.open(), "a");
    metered.begin_round(7);
    ask(&mut metered, &[0.75, -1.0]);
    let db = Connection::open(bench.path()).unwrap();
    let (u, y, round): (f64, f64, i64) = db
        .query_one(
            "SELECT u_u0, y_y0, round FROM answer WHERE error IS NULL",
            (),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((u, y, round), (0.75, 0.25, 7));
    let failed = "SELECT error || ': ' || reason FROM answer WHERE y_y0 IS NULL";
    let failed: String = db.query_one(failed, (), |row| row.get(0)).unwrap();
    assert_eq!(failed, "failed: no root");
}

#[test]
fn an_oracle_of_more_numbers_than_a_table_has_columns_has_no_view_and_keeps_its_answers() {
    // The view has ten columns besides the numbers, and SQLite reads up to 2,000.
    for (d_x, readable) in [(1988, true), (1989, false), (4000, false)] {
        let bench = Bench::new();
        let dims = Dims::new(d_x, 1, 1);
        let described = Description::of_sizes("wide", dims);
        let x = Rows::from_vec(d_x, vec![0.25; d_x]).unwrap();
        let u = column(&[0.5]);
        for replayed in [0, 1] {
            let ledger = Ledger::open(bench.path(), &described).unwrap();
            let oracle = FnOracle::new(dims, |x, u| [x[0] + u[0]]);
            let metered = Metered::new(oracle, Budget::new(9).unwrap());
            let mut metered = metered.with_record(ledger, "a").unwrap();
            let outcomes = metered.evaluate(Queries::new(&x, &u).unwrap());
            assert_eq!(outcomes, Ok(vec![Ok(vec![0.75])]));
            assert_eq!(metered.replayed(), replayed, "{d_x}");
        }
        let answered = Ledger::answers_in(bench.path(), &described).unwrap();
        assert_eq!(answered.x(), &x);

        let db = Connection::open(bench.path()).unwrap();
        let view = "SELECT count(*) FROM sqlite_schema WHERE name = 'answer'";
        let views: i64 = db.query_one(view, (), |row| row.get(0)).unwrap();
        assert_eq!(views, i64::from(readable), "{d_x}");
        if readable {
            let all = "SELECT * FROM answer";
            let y: f64 = db.query_one(all, (), |row| row.get("y_y0")).unwrap();
            assert_eq!(y.to_bits(), 0.75_f64.to_bits());
        }
    }
}

#[test]
fn outcomes_are_told_in_any_order_and_once() {
    let bench = Bench::new();
    let run = |u: &[f64]| {
        let metered = Metered::new(Lab::new(DIMS), Budget::new(100).unwrap());
        let ledger = bench.open().answered_by_hand();
        let mut metered = metered.with_record(ledger, "a").unwrap();
        let outcomes = ask(&mut metered, u);
        (outcomes, metered.calls(), metered.unanswered().cloned())
    };
    let (outcomes, calls, unanswered) = run(&[0.1, 0.2, 0.3]);
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(calls, 0);
    assert!(unanswered.is_some());

    let mut ledger = bench.open();
    let wanted = ledger.wanted().unwrap();
    let u: Vec<f64> = wanted.iter().map(|row| row.u[0]).collect();
    assert_eq!(u, [0.1, 0.2, 0.3]);
    ledger.tell(wanted[2].id, Ok(vec![3.0])).unwrap();
    let failed = Err(RowError::Failed("the sample broke".into()));
    ledger.tell(wanted[0].id, failed.clone()).unwrap();
    let bad = ledger.tell(wanted[1].id, Ok(vec![])).unwrap_err();
    assert!(matches!(&bad, LedgerError::BadOutcome { id, .. } if *id == wanted[1].id));
    let message = bad.to_string();
    assert!(message.contains("expected d_y = 1"), "{message}");
    let again = ledger.tell(wanted[0].id, Ok(vec![1.0]));
    assert!(matches!(again, Err(LedgerError::NotWanted(id)) if id == wanted[0].id));
    assert_eq!(ledger.wanted().unwrap(), [wanted[1].clone()]);

    let (outcomes, calls, _) = run(&[0.1, 0.2, 0.3]);
    assert_eq!((&outcomes[0], &outcomes[2]), (&failed, &Ok(vec![3.0])));
    assert_eq!(calls, 2);
    // The row is still wanted under the same number; another one in its place would have a number of its own.
    assert_eq!(ledger.wanted().unwrap(), [wanted[1].clone()]);
    run(&[0.1, 0.25, 0.3]);
    assert_ne!(ledger.wanted().unwrap()[0].id, wanted[1].id);
    drop(ledger);
}
