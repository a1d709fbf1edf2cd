//! Asking with a record: what it knows is not asked, and what is asked is kept.

use std::time::Instant;

use super::{Metered, PAIRED, Shared, forgotten, is_paid, lock, parted};
use crate::expected::Expected;
use crate::{Answer, Asking, Outcome, Purpose, Queries, Recall, RecordError};

impl Metered {
    /// Takes from the record what it knows, and asks for the rest.
    pub(super) fn recall_or_ask(
        &mut self,
        record: &Shared,
        asking: &Asking<'_>,
    ) -> Result<Vec<Outcome>, RecordError> {
        let recalled = lock(record).recall(asking)?;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; asking.queries.len()];
        let (mut unknown, mut same) = (Vec::new(), Vec::new());
        for (row, recall) in recalled.into_iter().enumerate() {
            match recall {
                Recall::Unknown => unknown.push(row),
                Recall::SameAs(earlier) => same.push((row, earlier)),
                Recall::Replayed(outcome) => {
                    self.replayed += 1;
                    self.meter.paid += 1;
                    outcomes[row] = Some(outcome);
                }
                Recall::Duplicate(outcome) => {
                    self.meter.duplicates += 1;
                    outcomes[row] = Some(outcome);
                }
            }
        }
        self.ask_and_keep(record, asking, &unknown, &mut outcomes)?;
        for (row, earlier) in same {
            let outcome = outcomes[earlier].clone();
            self.meter.duplicates += u64::from(outcome.iter().any(|outcome| is_paid(&outcome)));
            outcomes[row] = outcome;
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(forgotten())))
            .collect())
    }

    /// Asks for the rows nothing is known of, and keeps each answer before the next is looked at.
    fn ask_and_keep(
        &mut self,
        record: &Shared,
        asking: &Asking<'_>,
        rows: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), RecordError> {
        if rows.is_empty() {
            return Ok(());
        }
        let x = asking.queries.x().select(rows);
        let u = asking.queries.u().select(rows);
        let queries = Queries::new(&x, &u).expect("as many actions as contexts were selected");
        let dims = self.oracle.dims();
        let expected = match asking.purpose {
            Purpose::Gradient => Expected::Gradient(dims.u),
            Purpose::Train | Purpose::Score => Expected::Outcome(dims.y),
        };
        let (mut lost, mut paid) = (None, 0);
        let mut take = |mut answer: Answer| {
            let Some(&row) = rows.get(answer.row) else {
                return;
            };
            if outcomes[row].is_some() {
                return;
            }
            answer.row = row;
            expected.check(&mut answer.outcome);
            if is_paid(&&answer.outcome) {
                paid += 1;
                if let Err(error) = lock(record).keep(asking, &answer) {
                    lost.get_or_insert(error);
                }
            }
            outcomes[row] = Some(answer.outcome);
        };
        let start = Instant::now();
        match asking.purpose {
            Purpose::Gradient => {
                let (actions, sensitivities) = parted(queries, dims);
                let rows = Queries::new(queries.x(), &actions).expect(PAIRED);
                self.oracle.pull_back_each(rows, &sensitivities, &mut take);
            }
            Purpose::Train | Purpose::Score => self.oracle.evaluate_each(queries, &mut take),
        }
        let seconds = start.elapsed().as_secs_f64();
        // A row the oracle never told of was given to it all the same. The others are answered already.
        for row in 0..rows.len() {
            take(Answer::new(row, Err(forgotten())));
        }
        self.count(paid, seconds, asking.purpose);
        lost.map_or(Ok(()), Err)
    }
}
