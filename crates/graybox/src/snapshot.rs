//! The state of a run between two rounds, as named entries in one file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SnapshotError;

/// Named entries: networks and optimizers in burn's own format, everything else as JSON.
///
/// The file is a safetensors container with one byte tensor per entry. It is written aside, synced and
/// renamed, so that a reader finds the old state or the new one and never half of either.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    entries: BTreeMap<String, Vec<u8>>,
}

impl Snapshot {
    /// Nothing saved yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Saves a module's parameters and their identities, which the optimizer's state is keyed by.
    ///
    /// # Errors
    /// If the module cannot be encoded.
    pub fn put_module(&mut self, name: &str, module: &impl Module) -> Result<(), SnapshotError> {
        let bytes = module.valid().into_record().into_bytes();
        let bytes = bytes.map_err(|error| unreadable(name, &error))?;
        self.entries.insert(name.to_string(), bytes.to_vec());
        Ok(())
    }

    /// Restores a module saved under this name into one of the same shape.
    ///
    /// # Errors
    /// If there is no such entry or it does not fit the module.
    pub fn get_module<M: Module>(&self, name: &str, module: M) -> Result<M, SnapshotError> {
        let bytes = Bytes::from_bytes_vec(self.entry(name)?.to_vec());
        let record = ModuleRecord::from_bytes(bytes).map_err(|error| unreadable(name, &error))?;
        let plain = module.valid().try_load_record(record);
        Ok(plain.map_err(|error| unreadable(name, &error))?.train())
    }

    /// Saves an optimizer's state.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn put_optimizer(
        &mut self,
        name: &str,
        optimizer: &ModuleOptimizer,
    ) -> Result<(), SnapshotError> {
        let bytes = optimizer.into_bytes();
        let bytes = bytes.map_err(|error| unreadable(name, &error))?;
        self.entries.insert(name.to_string(), bytes.to_vec());
        Ok(())
    }

    /// Restores an optimizer's state into a fresh optimizer of the same configuration.
    ///
    /// # Errors
    /// If there is no such entry or it cannot be decoded.
    pub fn get_optimizer(
        &self,
        name: &str,
        fresh: ModuleOptimizer,
    ) -> Result<ModuleOptimizer, SnapshotError> {
        let bytes = Bytes::from_bytes_vec(self.entry(name)?.to_vec());
        let optimizer = fresh.from_bytes(bytes);
        optimizer.map_err(|error| unreadable(name, &error))
    }

    /// Saves anything serde can write.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn put<T: Serialize>(&mut self, name: &str, value: &T) -> Result<(), SnapshotError> {
        let bytes = serde_json::to_vec(value).map_err(|error| unreadable(name, &error))?;
        self.entries.insert(name.to_string(), bytes);
        Ok(())
    }

    /// Restores what [`put`](Self::put) saved.
    ///
    /// # Errors
    /// If there is no such entry or it is of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, SnapshotError> {
        serde_json::from_slice(self.entry(name)?).map_err(|error| unreadable(name, &error))
    }

    fn entry(&self, name: &str) -> Result<&[u8], SnapshotError> {
        let entry = self.entries.get(name);
        Ok(entry.ok_or_else(|| SnapshotError::Missing(name.to_string()))?)
    }

    /// Writes the file: aside first, then synced, then renamed over an older one.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), SnapshotError> {
        let views = self.entries.iter().map(|(name, bytes)| {
            let view = TensorView::new(Dtype::U8, vec![bytes.len()], bytes)
                .expect("one byte per element of a byte tensor");
            (name, view)
        });
        let bytes = safetensors::serialize(views, None).map_err(|error| file(path, &error))?;
        // Added, not put in place of an extension: two files of one folder must not share it.
        let mut aside = path.as_os_str().to_owned();
        aside.push(".tmp");
        let write = || -> std::io::Result<()> {
            let mut handle = File::create(&aside)?;
            handle.write_all(&bytes)?;
            handle.sync_all()?;
            std::fs::rename(&aside, path)
        };
        write().map_err(|error| file(path, &error))
    }

    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// If it is not there or not such a file.
    pub fn read(path: &Path) -> Result<Self, SnapshotError> {
        let bytes = std::fs::read(path).map_err(|error| file(path, &error))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| file(path, &error))?;
        let entries = tensors.iter();
        let entries = entries.map(|(name, view)| (name.to_string(), view.data().to_vec()));
        Ok(Self {
            entries: entries.collect(),
        })
    }
}

fn unreadable(name: &str, reason: &impl ToString) -> SnapshotError {
    SnapshotError::Unreadable {
        name: name.to_string(),
        reason: reason.to_string(),
    }
}

fn file(path: &Path, reason: &impl ToString) -> SnapshotError {
    SnapshotError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_nearly_the_same_name_is_left_alone_while_one_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["run.1", "run.tmp"].map(|name| folder.path().join(name));
        std::fs::write(&other, "somebody's").unwrap();
        Snapshot::new().write(&one).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "somebody's");
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let mut snapshot = Snapshot::new();
        snapshot.put("round", &7u64).unwrap();
        snapshot.write(&path).unwrap();
        snapshot.put("round", &8u64).unwrap();
        snapshot.write(&path).unwrap();
        let read = Snapshot::read(&path).unwrap();
        assert_eq!(read, snapshot);
        assert_eq!(read.get::<u64>("round"), Ok(8));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_or_foreign_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let message = Snapshot::read(&path).unwrap_err().to_string();
        assert!(message.contains("checkpoint"), "{message}");
        std::fs::write(&path, "not a checkpoint").unwrap();
        assert!(Snapshot::read(&path).is_err());
        assert_eq!(
            Snapshot::new().get::<u64>("round"),
            Err(SnapshotError::Missing("round".into()))
        );
    }
}
