//! Gradients in a ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// y = u − x, which says what a sensitivity is pulled back to, but not below zero, and counts how often.
struct Slope(Arc<AtomicU64>);

impl Oracle for Slope {
    fn dims(&self) -> Dims {
        DIMS
    }

    fn evaluate(&self, queries: Queries<'_>) -> Vec<Outcome> {
        queries.iter().map(|(x, u)| Ok(vec![u[0] - x[0]])).collect()
    }

    fn pull_back(&self, queries: Queries<'_>, sensitivities: &Rows) -> Option<Vec<Outcome>> {
        self.0.fetch_add(queries.len() as u64, Ordering::Relaxed);
        let rows = queries.u().iter().zip(sensitivities.iter());
        let pulled = rows.map(|(u, s)| {
            if u[0] < 0.0 {
                Err(RowError::Failed("no slope".into()))
            } else {
                Ok(s.to_vec())
            }
        });
        Some(pulled.collect())
    }
}

#[test]
fn gradients_are_kept_apart_and_not_paid_for_twice() {
    let bench = Bench::new();
    let asked = Arc::new(AtomicU64::new(0));
    let run = |u: &[f64], s: &[f64]| {
        let plain = Metered::new(Slope(Arc::clone(&asked)), Budget::new(100).unwrap());
        let mut metered = plain.with_record(bench.open(), "a").unwrap();
        let outcomes = ask(&mut metered, u);
        let (x, u) = (column(&vec![0.5; u.len()]), column(u));
        let queries = Queries::new(&x, &u).unwrap();
        let pulled = metered.pull_back(queries, &column(s)).unwrap().unwrap();
        (outcomes, pulled, metered.meter())
    };
    let first = run(&[0.1, -1.0], &[3.0, 4.0]);
    assert_eq!(
        first.1,
        [Ok(vec![3.0]), Err(RowError::Failed("no slope".into()))]
    );
    assert_eq!((first.2.calls, first.2.failed, first.2.paid), (4, 1, 4));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let again = run(&[0.1, -1.0], &[3.0, 4.0]);
    assert_eq!((&again.0, &again.1), (&first.0, &first.1));
    assert_eq!((again.2.calls, again.2.paid), (4, 4));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // Other sensitivities are another question.
    assert_eq!(run(&[0.1, -1.0], &[5.0, 4.0]).1[0], Ok(vec![5.0]));
    assert!(asked.load(Ordering::Relaxed) > 2);

    let ledger = bench.open();
    assert_eq!(ledger.answers().unwrap().len(), 2);
    drop(ledger);
    let db = Connection::open(bench.path()).unwrap();
    let seen = "SELECT count(*) FROM answer WHERE purpose = 'gradient'";
    assert_eq!(db.query_one(seen, (), |row| row.get::<_, i64>(0)), Ok(0));
}

#[test]
fn a_gradient_is_kept_though_the_rest_of_its_batch_is_lost() {
    /// Gives up on the second row it is asked about, the first time.
    struct Breaks(Arc<AtomicU64>);

    impl Oracle for Breaks {
        fn dims(&self) -> Dims {
            DIMS
        }

        fn evaluate(&self, _: Queries<'_>) -> Vec<Outcome> {
            unreachable!("gradients alone are asked for")
        }

        fn pull_back(&self, _: Queries<'_>, _: &Rows) -> Option<Vec<Outcome>> {
            Some(Vec::new())
        }

        fn pull_back_each(
            &self,
            queries: Queries<'_>,
            sensitivities: &Rows,
            tell: &mut dyn FnMut(Answer),
        ) -> bool {
            for row in 0..queries.len() {
                assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 1, "killed");
                tell(Answer::new(row, Ok(sensitivities.row(row).to_vec())));
            }
            true
        }
    }
    let bench = Bench::new();
    let asked = Arc::new(AtomicU64::new(0));
    let run = || {
        let plain = Metered::new(Breaks(Arc::clone(&asked)), Budget::new(100).unwrap());
        let mut metered = plain.with_record(bench.open(), "a").unwrap();
        let both = column(&[0.1, 0.2]);
        let queries = Queries::new(&both, &both).unwrap();
        metered.pull_back(queries, &column(&[3.0, 4.0])).unwrap()
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert_eq!(run(), Some(vec![Ok(vec![3.0]), Ok(vec![4.0])]));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[test]
fn a_ledger_from_before_there_were_gradients_takes_them_after_it_is_opened() {
    let bench = Bench::new();
    drop(ask(&mut metered(bench.open(), "a"), &[1.0 / 3.0, -1.0]));
    let db = Connection::open(bench.path()).unwrap();
    db.execute_batch(
        "DROP VIEW answer; DROP INDEX call_row; ALTER TABLE call RENAME TO new_call;
         CREATE TABLE call (
             id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, position INTEGER,
             round INTEGER NOT NULL, purpose TEXT NOT NULL CHECK (purpose IN ('train', 'score')),
             x TEXT NOT NULL, u TEXT NOT NULL, y TEXT, error TEXT, reason TEXT,
             seconds REAL, worker INTEGER, answered TEXT NOT NULL DEFAULT (datetime('now')),
             UNIQUE (run, position), CHECK ((y IS NULL) <> (error IS NULL))
         );
         CREATE INDEX call_row ON call (u, x);
         INSERT INTO call SELECT * FROM new_call; DROP TABLE new_call; DROP TABLE learned;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(db);
    let read = Ledger::answers_in(bench.path(), &described()).unwrap();
    assert_eq!(read.u().as_slice(), [1.0 / 3.0]);

    let slope = Slope(Arc::default());
    let plain = Metered::new(slope, Budget::new(100).unwrap());
    let mut metered = plain.with_record(bench.open(), "b").unwrap();
    let one = column(&[1.0]);
    let queries = Queries::new(&one, &one).unwrap();
    assert!(metered.pull_back(queries, &one).is_ok());
    drop(metered);
    let ledger = bench.open();
    assert_eq!(ledger.len().unwrap(), 3);
    assert_eq!(ledger.answers().unwrap(), read);
}
