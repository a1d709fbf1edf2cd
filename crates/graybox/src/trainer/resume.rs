//! What a run is known by, and the state from which it goes on.

use burn::module::Module;
use graybox_model::Policy;
use graybox_oracle::Rows;

use super::Trainer;
use crate::checkpoint::Checkpoint;
use crate::snapshot::Snapshot;
use crate::{Dataset, SnapshotError, TrainError, seed};

impl<P: Policy> Trainer<P> {
    /// Begins the run in its record, and goes on from its checkpoint, with what was on its way there.
    pub(super) fn take_up(&mut self) -> Result<(), TrainError> {
        let key = self.key();
        if let Some(record) = self.record.take() {
            self.metered.keep_in(record, &key)?;
        }
        if self.round == 0
            && let Some(checkpoint) = &self.checkpoint
            && let Some(snapshot) = checkpoint.read(&key)?
        {
            self.resume(&snapshot)?;
        }
        self.take_off_again()
    }

    /// Everything that decides which rows are asked: two runs of the same key are the same run.
    pub(super) fn key(&self) -> String {
        let print = |data: &Dataset| fingerprint(&[data.x(), data.target()]);
        let mut key = serde_json::json!({
            "algorithm": self.algorithm.facts().name,
            "config": self.config,
            "parameters": Module::num_params(self.student.policy()),
            "data": print(self.problem.data().host()),
            "held_out": self.held_out.as_ref().map(print),
        });
        if let Some(warm) = &self.warm {
            key["warm_start"] = warm.as_str().into();
        }
        key.to_string()
    }

    /// Writes the checkpoint, if there is one and it is time to.
    pub(super) fn save(&mut self, now: bool) -> Result<(), TrainError> {
        let due = |checkpoint: &Checkpoint| now || checkpoint.is_due();
        if self.round > 0 && self.checkpoint.as_ref().is_some_and(due) {
            let (snapshot, key) = (self.snapshot()?, self.key());
            if let Some(checkpoint) = &mut self.checkpoint {
                checkpoint.write(snapshot, &key)?;
            }
        }
        Ok(())
    }

    /// The state between two rounds, from which [`resume`](Self::resume) goes on bit for bit.
    ///
    /// # Errors
    /// If something cannot be encoded.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let mut snapshot = Snapshot::new();
        snapshot.put(
            "trainer",
            &(
                self.round,
                self.drawn,
                self.scored,
                self.loss_before,
                self.finished,
            ),
        )?;
        snapshot.put("meter", &self.metered.meter())?;
        snapshot.put("history", &self.history.lines)?;
        snapshot.put("calls", &self.calls)?;
        snapshot.put("on_their_way", &self.flights)?;
        self.student.save("student", &mut snapshot)?;
        self.algorithm.save(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Goes on from a snapshot of a run with the same settings.
    ///
    /// # Errors
    /// If the snapshot is of another configuration.
    pub fn resume(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        (
            self.round,
            self.drawn,
            self.scored,
            self.loss_before,
            self.finished,
        ) = snapshot.get("trainer")?;
        self.metered.resume(snapshot.get("meter")?);
        self.history.lines = snapshot.get("history")?;
        self.calls = snapshot.get("calls")?;
        self.flights = snapshot.get("on_their_way")?;
        self.student.load("student", snapshot)?;
        self.algorithm.load(snapshot)
    }
}

/// How many rows there are, and a hash of their numbers.
pub(super) fn fingerprint(columns: &[&Rows]) -> String {
    let values = columns.iter().flat_map(|rows| rows.as_slice());
    let bytes: Vec<u8> = values
        .flat_map(|value| value.to_bits().to_le_bytes())
        .collect();
    let n = columns.first().map_or(0, |rows| rows.len());
    format!("{n} rows {:016x}", seed::fnv1a(&bytes))
}
