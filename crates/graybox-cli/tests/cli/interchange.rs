//! Policies that leave for other programs and come back, with the real packages on the other side.
//!
//! `GRAYBOX_PYTHON` names the Python that has them, `python3` if unset: onnx and onnxruntime for one test, torch
//! and safetensors for the other. Where they are missing a test says so on standard error and ends; on a CI
//! machine, where `CI` is set, it fails.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::desk::{Desk, INIT};

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

/// A policy trained for a while, and its actions on all contexts.
fn trained() -> Desk {
    let desk = Desk::new();
    // In units of its own, so that a loss is the plain squared error.
    desk.edit(
        "throw.py",
        "\"name\": \"range\"",
        "\"scale\": 1.0, \"name\": \"range\"",
    );
    desk.ok(INIT);
    desk.ok("train run.toml --calls 160");
    desk.ok("predict run --in throw.csv --out actions.csv");
    desk
}

/// Runs a script and reads the number it prints.
fn number(desk: &Desk, script: &str, args: &str) -> f64 {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange");
    let mut python = Command::new(python());
    python.arg("-B").arg(scripts.join(script));
    python.args(args.split_whitespace());
    let output = python.current_dir(desk.path("")).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {err}");
    let said = String::from_utf8(output.stdout).unwrap();
    let number = said.trim().parse();
    number.unwrap_or_else(|_| panic!("{script} said {said:?}"))
}

#[test]
fn onnx_runtime_gives_the_actions_that_predict_gives() {
    if !has("onnx, onnxruntime") {
        return;
    }
    let desk = trained();
    desk.ok("export run --onnx policy.onnx");
    let difference = number(&desk, "onnx_runs.py", "policy.onnx actions.csv");
    assert!(difference < 1e-6, "{difference:e}");
}

#[test]
fn a_policy_goes_to_pytorch_and_comes_back() {
    if !has("torch, safetensors.torch") {
        return;
    }
    let desk = trained();
    desk.ok("export run --pytorch-layout policy.safetensors");
    let difference = number(&desk, "torch_loads.py", "policy.safetensors actions.csv");
    assert!(difference < 1e-6, "{difference:e}");

    // Held-out rows follow from the seed, so the continued run scores the rows of the first one.
    let args = "policy.safetensors trained.safetensors run/held_out.csv";
    let loss_in_torch = number(&desk, "torch_trains.py", args);
    desk.ok(
        "train run.toml --calls 16 --out more --policy trained.safetensors --policy-layout pytorch",
    );
    let summary = desk.json("more/summary.json");
    let loss_here = summary["true_loss_before"].as_f64().unwrap();
    assert!(
        (loss_in_torch - loss_here).abs() < 1e-4 * loss_here,
        "{loss_in_torch} {loss_here}"
    );
}
