//! What a ledger knows of rows that are about to be asked.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::params;

use super::columns::{outcome, text};
use super::error::Fault;
use super::{Duplicates, Ledger};
use crate::{Asking, Outcome, Recall};

impl Ledger {
    /// What is known of rows that are about to be asked. Those to be answered by hand are written down as wanted.
    pub(super) fn recall_all(&mut self, asking: &Asking<'_>) -> Result<Vec<Recall>, Fault> {
        let mut first = HashMap::new();
        let mut recalled = Vec::with_capacity(asking.queries.len());
        for (row, (x, u)) in asking.queries.iter().enumerate() {
            let finite = x.iter().chain(u).all(|value| value.is_finite());
            let (x, u) = (text(x), text(u));
            let recall = if let Some(outcome) = self.replay(asking.position + row as u64, &x, &u)? {
                // A row like it in the same batch took its answer, and was not kept itself.
                first.entry((x, u)).or_insert(row);
                Recall::Replayed(outcome)
            } else if self.duplicates == Duplicates::AskAgain || !finite {
                Recall::Unknown
            } else if let Some(outcome) = self.duplicate(&x, &u)? {
                Recall::Duplicate(outcome)
            } else {
                match first.entry((x, u)) {
                    Entry::Occupied(earlier) => Recall::SameAs(*earlier.get()),
                    Entry::Vacant(none) => {
                        none.insert(row);
                        Recall::Unknown
                    }
                }
            };
            if self.by_hand && recall == Recall::Unknown {
                self.want(asking, row)?;
            }
            recalled.push(recall);
        }
        Ok(recalled)
    }

    /// The answer this run was given at this position, unless it asks for another row there now.
    fn replay(&mut self, position: u64, x: &str, u: &str) -> Result<Option<Outcome>, Fault> {
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        if position >= run.frontier {
            return Ok(None);
        }
        let at = "SELECT y, error, reason, x, u FROM call WHERE run = ?1 AND position = ?2";
        let mut at = self.db.prepare_cached(at)?;
        let mut found = at.query(params![run.id, position])?;
        let Some(row) = found.next()? else {
            return Ok(None);
        };
        if row.get_ref(3)?.as_str()? == x && row.get_ref(4)?.as_str()? == u {
            return Ok(Some(outcome(row)?));
        }
        // The run goes another way than it did, as it may under another version of the program. The answers
        // from here on stay, but they have no place in this run any more.
        let rest = params![run.id, position];
        let part = "UPDATE call SET position = NULL WHERE run = ?1 AND position >= ?2";
        self.db.execute(part, rest)?;
        let part = "DELETE FROM wanted WHERE run = ?1 AND position >= ?2";
        self.db.execute(part, rest)?;
        run.frontier = position;
        Ok(None)
    }

    /// Notes the rows of a round, and forgets what a run that went another way noted of it and later ones.
    pub(super) fn note_learned(&self, round: u64, positions: &[u64]) -> Result<(), Fault> {
        let Some(run) = &self.run else {
            return Ok(());
        };
        let later = "DELETE FROM learned WHERE run = ?1 AND round > ?2";
        self.db
            .prepare_cached(later)?
            .execute(params![run.id, round])?;
        let note = "INSERT OR REPLACE INTO learned (run, round, positions) VALUES (?1, ?2, ?3)";
        let positions = serde_json::to_string(positions)?;
        self.db
            .prepare_cached(note)?
            .execute(params![run.id, round, positions])?;
        Ok(())
    }

    /// The rows that were noted of a round.
    pub(super) fn learned(&self, round: u64) -> Result<Option<Vec<u64>>, Fault> {
        let Some(run) = &self.run else {
            return Ok(None);
        };
        let of = "SELECT positions FROM learned WHERE run = ?1 AND round = ?2";
        let mut of = self.db.prepare_cached(of)?;
        let mut found = of.query(params![run.id, round])?;
        let Some(row) = found.next()? else {
            return Ok(None);
        };
        Ok(Some(serde_json::from_str(row.get_ref(0)?.as_str()?)?))
    }

    /// The answer to the same row anywhere, if asking again would bring the same.
    fn duplicate(&self, x: &str, u: &str) -> Result<Option<Outcome>, Fault> {
        let same = "SELECT y, error, reason FROM call
                    WHERE u = ?1 AND x = ?2 AND (error IS NULL OR error IN ('invalid', 'failed'))
                    ORDER BY id LIMIT 1";
        let mut same = self.db.prepare_cached(same)?;
        let mut found = same.query(params![u, x])?;
        found.next()?.map(|row| outcome(row)).transpose()
    }
}
