//! The file of finished runs, from which a race goes on where it was cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Entry, Finish, RaceError};

/// One JSON line per finished run: the build that ran it, its entry, its finish.
///
/// A run counts as finished only for the build that ran it: a table never mixes two versions of the code.
#[derive(Debug, Clone)]
pub struct Finished {
    path: PathBuf,
    build: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    build: String,
    device: String,
    entry: Entry,
    finish: Finish,
}

impl Finished {
    /// Reads the file, if it is there; `build` names the program that runs the race. A line that is not whole,
    /// because the machine went down in it, is left out.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub fn open(path: &Path, build: &str) -> Result<Self, RaceError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(file(path, &error)),
        };
        let lines = text.lines();
        let lines = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
        Ok(Self {
            path: path.to_path_buf(),
            build: build.to_string(),
            lines: lines.filter(|line| line.build == build).collect(),
        })
    }

    /// The finish of this entry, if this build has run it on this device.
    pub fn get(&self, entry: &Entry, device: &str) -> Option<&Finish> {
        let same = |line: &&Line| line.device == device && line.entry == *entry;
        Some(&self.lines.iter().find(same)?.finish)
    }

    /// Adds a run that was not stopped, and writes it down at once.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, entry: &Entry, device: &str, finish: &Finish) -> Result<(), RaceError> {
        let line = Line {
            build: self.build.clone(),
            device: device.to_string(),
            entry: entry.clone(),
            finish: finish.clone(),
        };
        let append = || -> std::io::Result<()> {
            // The line feed comes first: it ends a line that an interrupted write may have left.
            let text = format!("\n{}", serde_json::to_string(&line)?);
            let mut handle = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            handle.write_all(text.as_bytes())
        };
        append().map_err(|error| file(&self.path, &error))?;
        self.lines.push(line);
        Ok(())
    }
}

/// A fingerprint of a program: the 64-bit Fowler–Noll–Vo hash of its file.
///
/// # Errors
/// If it cannot be read.
pub fn build_of(program: &Path) -> Result<String, RaceError> {
    let read = || -> std::io::Result<u64> {
        let mut bytes = Vec::new();
        File::open(program)?.read_to_end(&mut bytes)?;
        let step =
            |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Ok(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
    };
    let hash = read().map_err(|error| file(program, &error))?;
    Ok(format!("{hash:016x}"))
}

fn file(path: &Path, error: &std::io::Error) -> RaceError {
    RaceError::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::Plan;
    use burn::prelude::*;
    use graybox::{Silent, Stop};

    #[test]
    fn a_finished_run_is_found_again_by_the_build_that_ran_it() {
        let plan = Plan {
            tasks: vec!["asker_narrow".into()],
            algorithms: vec!["white_box".into()],
            calls: vec![8],
            seeds: vec![1],
            rows: None,
            overrides: Vec::new(),
            references: false,
        };
        let entry = plan.entries().unwrap().remove(0);
        let device = ("flex", &Device::flex());
        let finish = entry.run(device, &Stop::new(), &mut Silent).unwrap();
        assert_eq!((finish.oracle_calls, finish.calls), (8, 8));
        let last = finish.curve.last().map(|(_, loss)| *loss);
        assert_eq!(last, finish.true_loss_after);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("finished.jsonl");
        let mut finished = Finished::open(&path, "one").unwrap();
        finished.push(&entry, "flex", &finish).unwrap();
        // A write that was cut off.
        let mut handle = OpenOptions::new().append(true).open(&path).unwrap();
        handle.write_all(b"\n{\"build\": \"one\", \"dev").unwrap();
        let mut again = Finished::open(&path, "one").unwrap();
        assert_eq!(again.get(&entry, "flex"), Some(&finish));
        assert_eq!(again.get(&entry, "cuda:0"), None);
        again.push(&entry, "cuda:0", &finish).unwrap();
        let again = Finished::open(&path, "one").unwrap();
        assert_eq!(again.get(&entry, "cuda:0"), Some(&finish));
        assert_eq!(
            Finished::open(&path, "two").unwrap().get(&entry, "flex"),
            None
        );
    }
}
