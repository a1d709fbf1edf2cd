//! Where a run keeps its state while it goes on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::{Snapshot, SnapshotError, TrainError};

/// A file that holds the state of a run, written anew every so often.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    every: Duration,
    written: Instant,
}

impl Checkpoint {
    /// What the file says it belongs to.
    const KEY: &str = "run";

    pub(crate) fn new(path: PathBuf, every: Duration) -> Self {
        Self {
            path,
            every,
            written: Instant::now(),
        }
    }

    /// The state of the run of this key, if it was ever written.
    pub(crate) fn read(&self, key: &str) -> Result<Option<Snapshot>, TrainError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let snapshot = Snapshot::read(&self.path)?;
        if snapshot.get::<String>(Self::KEY)? != key {
            return Err(TrainError::OtherRun(self.path.display().to_string()));
        }
        Ok(Some(snapshot))
    }

    /// Whether it is time to write.
    pub(crate) fn is_due(&self) -> bool {
        self.written.elapsed() >= self.every
    }

    pub(crate) fn write(&mut self, mut snapshot: Snapshot, key: &str) -> Result<(), SnapshotError> {
        snapshot.put(Self::KEY, &key)?;
        snapshot.write(&self.path)?;
        self.written = Instant::now();
        Ok(())
    }
}
