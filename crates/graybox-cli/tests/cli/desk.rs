//! Where a test works: a folder with a program and its data, and the command.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Settings for the program of a desk, as a new user would have them written.
pub(crate) const INIT: &str = "init --data throw.csv -- python3 -S throw.py";

/// A folder to work in, with a program and its data.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    /// With the program `throw.py` and a table of wanted outcomes.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { folder };
        desk.take("oracles/throw.py");
        desk.take("data/throw.csv");
        desk
    }

    /// Copies one of the assets here.
    pub(crate) fn take(&self, asset: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../assets")
            .join(asset);
        let name = from.file_name().unwrap();
        fs::copy(&from, self.folder.path().join(name)).unwrap();
    }

    /// The same with settings.
    pub(crate) fn with_settings() -> Self {
        let desk = Self::new();
        desk.ok(INIT);
        // The quickest to train, where it does not matter which.
        desk.edit(
            "run.toml",
            "algorithm.name = \"anchored\"",
            "algorithm.name = \"joint\"",
        );
        desk
    }

    /// The same with a short run in the folder `run`.
    pub(crate) fn with_run() -> Self {
        let desk = Self::with_settings();
        desk.ok("train run.toml --calls 160");
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    /// From now on the program gives a reason instead of an answer.
    pub(crate) fn answers_nothing(&self) {
        let answer = "{\"y\": [evaluate(*request[\"x\"], *request[\"u\"])]}";
        self.edit("throw.py", answer, "{\"error\": \"did not converge\"}");
    }

    /// From now on the program gives a reason for all angles from this one on.
    pub(crate) fn fails_beyond(&self, angle: &str) {
        let answer = "{\"y\": [evaluate(*request[\"x\"], *request[\"u\"])]}";
        let guarded =
            format!("({answer} if request[\"u\"][0] < {angle} else {{\"error\": \"too steep\"}})");
        self.edit("throw.py", answer, &guarded);
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// A command, its words parted by spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graybox"));
        command
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command.env_remove("BURN_DEVICE");
        command
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        Said::new(self.command(line).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, line: &str, input: &str) -> Said {
        let mut command = self.command(line);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        Said::new(child.wait_with_output().unwrap())
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, 0, "{line}\n{}\n{}", said.out, said.err);
        said.out
    }

    /// Runs a command that must fail with this code and say all of these things.
    pub(crate) fn refused(&self, code: i32, line: &str, parts: &[&str]) {
        self.run(line).must_be(code, parts);
    }
}

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn must_be(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in:\n{}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}
