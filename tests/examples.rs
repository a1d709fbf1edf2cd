//! The examples as a user starts them: good input, bad input, Ctrl-C.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// An example that `cargo test` has built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(Path::parent);
    let program = folder
        .expect("tests lie in deps")
        .join("examples")
        .join(name);
    assert!(
        program.exists(),
        "{name} is not built: run `cargo test --release` for all targets"
    );
    let mut command = Command::new(program);
    // A backtrace is for whoever mends graybox, not part of a message.
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUST_BACKTRACE", "0");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("an example can be started")
}

fn json(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn succeeds(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
}

/// Asserts that it ends with an error that says `what` and leaves nothing in `out`.
fn fails(command: &mut Command, out: &Path, what: &str) {
    let output = run(command.arg("--out").arg(out));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "ended well: {stderr}");
    assert!(stderr.contains(what), "{what:?} is not said in: {stderr}");
    assert!(!out.exists(), "something was left in {}", out.display());
}

fn joint(out: &Path, arguments: &[&str]) -> (Output, Value) {
    let output = run(example("joint_surrogate")
        .args(arguments)
        .arg("--out")
        .arg(out));
    succeeds(&output);
    (output, json(&out.join("summary.json")))
}

fn number(summary: &Value, key: &str) -> f64 {
    summary[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is {}", summary[key]))
}

#[test]
fn the_main_example_learns_and_keeps_up_with_the_true_gradient() {
    let folder = tempfile::tempdir().unwrap();
    for seed in ["1", "2", "3"] {
        let arguments = ["--seed", seed, "--calls", "1000"];
        let (_, summary) = joint(&folder.path().join(seed), &arguments);
        let after = number(&summary, "true_loss_after");
        assert!(
            after * 100.0 <= number(&summary, "true_loss_before"),
            "{summary}"
        );
        assert!(
            after <= 2.0 * number(&summary, "white_box_loss"),
            "{summary}"
        );
    }
}

#[test]
fn the_literal_form_does_not_learn_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (output, summary) = joint(
        &folder.path().join("out"),
        &["--routing", "literal", "--calls", "2000"],
    );
    assert!(number(&summary, "true_loss_after") * 10.0 > number(&summary, "true_loss_before"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("collusion gap"), "{stdout}");
}

#[test]
fn a_run_leaves_its_results_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| {
        let out = folder.path().join(name);
        let (_, mut summary) = joint(&out, &["--calls", "100", "--seed", "9"]);
        for key in ["wall_s", "oracle_s"] {
            assert!(number(&summary, key) > 0.0);
            summary[key] = Value::Null;
        }
        (out, summary)
    });
    assert_eq!(first.1, second.1);
    let keys = [
        "task",
        "algorithm",
        "seed",
        "device",
        "d_x",
        "d_u",
        "d_y",
        "oracle_calls",
        "failed_calls",
        "true_loss_before",
        "true_loss_after",
        "white_box_loss",
        "wall_s",
        "oracle_s",
    ];
    for key in keys {
        assert!(first.1.get(key).is_some(), "{key}");
    }
    for file in [
        "policy.safetensors",
        "surrogate.safetensors",
        "config.json",
        "history.csv",
        "learning.svg",
    ] {
        let [a, b] = [&first.0, &second.0].map(|out| std::fs::read(out.join(file)).unwrap());
        assert!(a == b && !a.is_empty(), "{file}");
    }
}

#[test]
fn bad_input_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let table = std::fs::read_to_string("assets/data/cannon.csv").unwrap();
    let broken = |name: &str, from: &str, to: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, table.replacen(from, to, 1)).unwrap();
        path
    };
    let column = broken("column.csv", "distance_m", "distance");
    let nan = broken("nan.csv", "367.160167,367.160167", "NaN,367.160167");
    let width = broken("width.csv", "367.160167,367.160167", "367.160167");
    let cases: [(&[&str], &str); 9] = [
        (
            &["--calls", "0"],
            "calls is 0, expected at least 1 oracle call",
        ),
        (
            &["--lambda", "0"],
            "joint.lambda is 0, expected a positive finite number",
        ),
        (&["--lambda", "NaN"], "joint.lambda is NaN"),
        (&["--routing", "none"], "expected split, biased or literal"),
        (
            &["--device", "gpu"],
            "expected flex, ndarray, wgpu, vulkan, cuda or cuda:N",
        ),
        (&["--data", "no/such.csv"], "no/such.csv"),
        (
            &["--data", column.to_str().unwrap()],
            "no column \"distance_m\"; the header has wind_m_s, distance,",
        ),
        (
            &["--data", nan.to_str().unwrap()],
            "line 4, column \"distance_m\": \"NaN\" is not a finite number",
        ),
        (
            &["--data", width.to_str().unwrap()],
            "line 4: 3 fields where the header has 4",
        ),
    ];
    for (arguments, what) in cases {
        fails(example("joint_surrogate").args(arguments), &out, what);
    }
}

#[test]
fn a_program_that_is_no_oracle_is_found_out_before_anything_is_paid() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // `--` and the program come last, so `fails` cannot append to them.
    let refused = |program: &[&str], what: &str| {
        let output = run(example("process_oracle")
            .arg("--out")
            .arg(&out)
            .arg("--")
            .args(program));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains(what),
            "{program:?}: {stderr}"
        );
        assert!(!out.exists());
    };
    refused(
        &["no-such-program"],
        "there is no program `no-such-program`",
    );
    refused(
        &["python3", "assets/oracles/misbehave.py", "dies-at-start"],
        "cannot open mesh.dat",
    );
    refused(
        &["echo", "hello"],
        "print everything else to standard error",
    );
}

#[test]
fn any_program_that_speaks_json_lines_trains_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let program = ["--", "python3", "assets/oracles/lens.py"];
    let output = run(example("process_oracle")
        .args(["--calls", "400"])
        .arg("--out")
        .arg(&out)
        .args(program));
    succeeds(&output);
    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["task"], "lens");
    assert!(number(&summary, "oracle_calls") <= 400.0);
    assert!(summary["white_box_loss"].is_null());
    assert!(
        number(&summary, "true_loss_after") < number(&summary, "true_loss_before"),
        "{summary}"
    );
}

#[test]
fn a_race_stands_beside_its_references_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("race.json"), folder.path().join("out"));
    let mut race = example("race");
    race.args(["asker_narrow", "--algorithm", "finite_difference"])
        .args(["--calls", "60", "--seeds", "1,2"])
        .arg("--json")
        .arg(&file)
        .arg("--out")
        .arg(&out);
    let first = run(&mut race);
    succeeds(&first);
    let standings = json(&file);
    assert_eq!(standings.as_array().map(Vec::len), Some(2));
    for standing in standings.as_array().unwrap() {
        assert_eq!(standing["algorithm"], "finite_difference");
        assert!(number(standing, "oracle_calls") <= 60.0);
        for key in ["white_box_loss", "white_box_replay_loss", "floor"] {
            assert!(number(standing, key) > 0.0, "{key}");
        }
        assert!(number(standing, "failed_calls") > 0.0, "{standing}");
        assert!((0.0..1.0).contains(&number(standing, "last_valid_share")));
    }
    assert!(out.join("asker_narrow-60.svg").exists() && out.join("table.md").exists());

    let again = run(&mut race);
    succeeds(&again);
    assert_eq!(again.stdout, first.stdout);
    assert!(again.stderr.is_empty(), "something was run again");
}

#[test]
fn a_race_names_what_there_is() {
    for (arguments, what) in [
        (vec!["--list"], "robotic_arm"),
        (vec!["moon"], "robotic_arm"),
        (vec!["asker", "--algorithm", "magic"], "finite_difference"),
        (vec!["asker", "--calls", "0"], "at least 1 oracle call"),
        (vec!["asker", "--set", "joint.lambda"], "NAME.path=value"),
        (vec![], "robotic_arm"),
    ] {
        let output = run(example("race").args(&arguments));
        let listed = arguments.first() == Some(&"--list");
        assert_eq!(output.status.success(), listed, "{arguments:?}");
        let said = if listed { output.stdout } else { output.stderr };
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(what), "{arguments:?}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_with_everything_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = example("joint_surrogate");
    command.args(["--calls", "1000000"]).arg("--out").arg(&out);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut heard = |what: &str| lines.any(|line| line.is_ok_and(|line| line.contains(what)));
    assert!(heard("0/1000000 calls"), "the run did not begin");
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.is_ok_and(|status| status.success()));
    assert!(
        heard("stopping after this round"),
        "the signal was not answered"
    );
    // What the program still says must have somewhere to go.
    drop(lines.map_while(Result::ok).last());
    assert!(child.wait().unwrap().success());
    let summary = json(&out.join("summary.json"));
    assert_eq!(summary["ending"], "stopped");
    assert!(number(&summary, "oracle_calls") < 1e6);
    assert!(out.join("policy.safetensors").exists());
}

#[test]
fn methods_are_compared_at_the_same_number_of_calls() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("comparison");
    let output = run(example("compare_methods")
        .args([
            "--calls",
            "200",
            "--methods",
            "spsa,open_es,joint_literal",
            "--out",
        ])
        .arg(&out));
    succeeds(&output);
    let table = String::from_utf8_lossy(&output.stdout);
    let summaries = json(&out.join("summary.json"));
    let summaries = summaries.as_array().unwrap();
    assert_eq!(summaries.len(), 3);
    for (summary, name) in summaries.iter().zip(["spsa", "open_es", "joint_literal"]) {
        assert_eq!(summary["algorithm"], name);
        assert!(table.contains(name), "{table}");
        // At most a row's calls are left over.
        let spent = number(summary, "oracle_calls");
        assert!(spent <= 200.0 && spent > 200.0 - 16.0, "{summary}");
        assert!(number(summary, "true_loss_after") > 0.0);
        assert!(number(summary, "white_box_loss") > 0.0);
    }
    assert!(out.join("comparison.svg").exists());
}

#[test]
fn an_unknown_method_or_task_is_named_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("none");
    let mut command = example("compare_methods");
    fails(
        command.args(["--methods", "spsaa"]),
        &out,
        "finite_difference, spsa",
    );
    let mut command = example("compare_methods");
    fails(command.args(["--task", "none"]), &out, "asker");
}
