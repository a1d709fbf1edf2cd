//! Policies that leave for other programs and come back, with the real packages on the other side.
//!
//! `GRAYBOX_PYTHON` names the Python that has them, `python3` if unset: onnx and onnxruntime for one test, torch
//! and safetensors for the other. Where they are missing a test says so on standard error and ends; on a CI
//! machine, where `CI` is set, it fails.

#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn python() -> String {
    std::env::var("GRAYBOX_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Whether these packages can be imported.
fn has(packages: &str) -> bool {
    let import = Command::new(python())
        .args(["-c", &format!("import {packages}")])
        .output();
    let found = import.as_ref().is_ok_and(|output| output.status.success());
    if !found {
        let reason = match &import {
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("SKIPPED: {} cannot import {packages}: {reason}\n", python());
        assert!(std::env::var_os("CI").is_none(), "{message}");
        // Past the capture of the test runner.
        std::io::stderr().write_all(message.as_bytes()).unwrap();
    }
    found
}

struct Desk {
    folder: TempDir,
}

impl Desk {
    /// With a policy trained for a while and its actions on all contexts.
    fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        // In units of its own, so that a loss is the plain squared error.
        let program = fs::read_to_string(assets.join("oracles/throw.py")).unwrap();
        let program = program.replace("\"name\": \"range\"", "\"scale\": 1.0, \"name\": \"range\"");
        fs::write(desk.path("throw.py"), program).unwrap();
        fs::copy(assets.join("data/throw.csv"), desk.path("throw.csv")).unwrap();
        desk.graybox(&[
            "init",
            "--data",
            "throw.csv",
            "--",
            "python3",
            "-S",
            "throw.py",
        ]);
        desk.graybox(&["train", "run.toml", "--calls", "160"]);
        desk.graybox(&[
            "predict",
            "run",
            "--in",
            "throw.csv",
            "--out",
            "actions.csv",
        ]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn graybox(&self, args: &[&str]) {
        let graybox = Command::new(env!("CARGO_BIN_EXE_graybox"));
        self.run(graybox, args);
    }

    /// Runs a script and reads the number it prints.
    fn python(&self, script: &str, args: &[&str]) -> f64 {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange");
        let mut python = Command::new(python());
        python.arg("-B").arg(scripts.join(script));
        let said = self.run(python, args);
        said.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{script} said {said:?}"))
    }

    fn run(&self, mut command: Command, args: &[&str]) -> String {
        command
            .args(args)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn onnx_runtime_gives_the_actions_that_predict_gives() {
    if !has("onnx, onnxruntime") {
        return;
    }
    let desk = Desk::new();
    desk.graybox(&["export", "run", "--onnx", "policy.onnx"]);
    let difference = desk.python("onnx_runs.py", &["policy.onnx", "actions.csv"]);
    assert!(difference < 1e-6, "{difference:e}");
}

#[test]
fn a_policy_goes_to_pytorch_and_comes_back() {
    if !has("torch, safetensors.torch") {
        return;
    }
    let desk = Desk::new();
    desk.graybox(&["export", "run", "--pytorch-layout", "policy.safetensors"]);
    let difference = desk.python("torch_loads.py", &["policy.safetensors", "actions.csv"]);
    assert!(difference < 1e-6, "{difference:e}");

    // Held-out rows follow from the seed, so the continued run scores the rows of the first one.
    let args = [
        "policy.safetensors",
        "trained.safetensors",
        "run/held_out.csv",
    ];
    let loss_in_torch = desk.python("torch_trains.py", &args);
    desk.graybox(&[
        "train",
        "run.toml",
        "--calls",
        "16",
        "--out",
        "more",
        "--policy",
        "trained.safetensors",
        "--policy-layout",
        "pytorch",
    ]);
    let summary = fs::read_to_string(desk.path("more/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let loss_here = summary["true_loss_before"].as_f64().unwrap();
    assert!(
        (loss_in_torch - loss_here).abs() < 1e-4 * loss_here,
        "{loss_in_torch} {loss_here}"
    );
}
