//! The command as its users meet it: every subcommand, with good and with bad input.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder to work in, with a program and its data.
struct Desk {
    folder: TempDir,
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

impl Desk {
    /// With the program `throw.py` and a table of wanted outcomes.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (from, name) in [
            ("oracles/throw.py", "throw.py"),
            ("data/throw.csv", "throw.csv"),
        ] {
            fs::copy(assets().join(from), folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// The same with settings.
    fn with_settings() -> Self {
        let desk = Self::new();
        desk.ok(&[
            "init",
            "--data",
            "throw.csv",
            "--",
            "python3",
            "-S",
            "throw.py",
        ]);
        // The quickest to train, where it does not matter which.
        desk.edit(
            "run.toml",
            "algorithm.name = \"anchored\"",
            "algorithm.name = \"joint\"",
        );
        desk
    }

    /// The same with a short run in the folder `run`.
    fn with_run() -> Self {
        let desk = Self::with_settings();
        desk.ok(&["train", "run.toml", "--calls", "160"]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        self.write(name, &text.replace(from, to));
    }

    /// From now on the program gives a reason instead of an answer.
    fn answers_nothing(&self) {
        let answer = "{\"y\": [evaluate(*request[\"x\"], *request[\"u\"])]}";
        self.edit("throw.py", answer, "{\"error\": \"did not converge\"}");
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graybox"));
        command
            .args(args)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command.env_remove("BURN_DEVICE");
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::new(self.command(args).output().unwrap())
    }

    fn run_with_input(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
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
    fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}\n{}\n{}", said.out, said.err);
        said.out
    }

    /// Runs a command that must fail with this code and say all of these things.
    fn refused(&self, code: i32, args: &[&str], parts: &[&str]) {
        self.run(args).must_be(code, parts);
    }
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn must_be(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in:\n{}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

#[test]
fn help_teaches_by_example_and_lists_the_exit_codes() {
    let desk = Desk::new();
    let help = desk.ok(&["--help"]);
    for part in [
        "graybox init --data",
        "Exit codes:",
        "130  interrupted",
        "\"describe\":true",
    ] {
        assert!(help.contains(part), "{part:?} is not in:\n{help}");
    }
    for command in [
        "init", "check", "train", "predict", "evaluate", "export", "report", "race",
    ] {
        let help = desk.ok(&[command, "--help"]);
        assert!(help.contains(&format!("graybox {command}")), "{help}");
        assert!(help.contains("Example"), "{help}");
    }
    assert!(
        desk.ok(&["--version"])
            .contains("burn 0.22.1; backends: flex")
    );
    desk.refused(2, &["tarin"], &["unrecognized subcommand 'tarin'", "train"]);
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            desk.ok(&["completions", shell]).contains("evaluate"),
            "{shell}"
        );
    }
    desk.refused(2, &["completions", "csh"], &["bash"]);
    desk.ok(&["man", "man1"]);
    assert!(
        desk.read("man1/graybox-train.1")
            .contains("\\-\\-overwrite")
    );
    desk.write("taken", "");
    desk.refused(1, &["man", "taken"], &["cannot write into taken"]);
}

#[test]
fn init_writes_settings_from_what_the_program_says_and_the_data_shows() {
    let desk = Desk::with_settings();
    let text = desk.read("run.toml");
    for part in [
        "command = [\"python3\", \"-S\", \"throw.py\"]",
        "file = \"throw.csv\"",
        "x = [\"distance\", \"wind\"]",
        "target = [\"range\"]",
        "# angle = { low = 0.05, high = 0.75 }   # rad",
        "range = { scale = ",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let init = [
        "init",
        "--data",
        "throw.csv",
        "--",
        "python3",
        "-S",
        "throw.py",
    ];
    desk.refused(2, &init, &["run.toml is there already", "--overwrite"]);
}

#[test]
fn init_samples_a_program_that_draws_its_own_data() {
    let desk = Desk::new();
    let lens = assets().join("oracles/lens.py").display().to_string();
    desk.ok(&["init", "--out", "lens.toml", "--", "python3", "-S", &lens]);
    assert!(desk.read("lens.toml").contains("sample = 300"));
    let misbehaving = assets().join("oracles/misbehave.py").display().to_string();
    let none = ["init", "--", "python3", "-S", &misbehaving, "dies-at-start"];
    desk.refused(3, &none, &["cannot open mesh.dat"]);
}

#[test]
fn init_says_what_is_missing() {
    let desk = Desk::new();
    let throw = |args: &[&'static str]| {
        let program = ["--", "python3", "-S", "throw.py"];
        [&["init", "--data", "throw.csv"], args, &program].concat()
    };
    desk.refused(2, &["init"], &["<COMMAND>"]);
    desk.refused(
        3,
        &["init", "--", "./nowhere.py"],
        &["no program `./nowhere.py`"],
    );
    desk.edit("throw.py", ", \"lo\": 0.05, \"hi\": 0.75", "");
    desk.refused(
        2,
        &throw(&[]),
        &["no range for action \"angle\"", "--bounds angle=LOW..HIGH"],
    );
    desk.refused(
        2,
        &throw(&["--bounds", "angle=1..0"]),
        &["expected ACTION=LOW..HIGH"],
    );
    desk.refused(
        2,
        &throw(&["--bounds", "angel=0..1"]),
        &["\"angel\"", "actions are angle"],
    );
    desk.refused(
        2,
        &throw(&["--bounds", "angle=0..1", "--x", "wind"]),
        &["--x names 1 columns"],
    );
    desk.ok(&throw(&["--bounds", "angle=0.05..0.75"]));
    assert!(
        desk.read("run.toml")
            .contains("\nangle = { low = 0.05, high = 0.75 }")
    );

    desk.edit("throw.csv", "distance,wind,range", "far,wind,range");
    let again = throw(&["--overwrite", "--bounds", "angle=0..0.7"]);
    desk.refused(
        2,
        &again,
        &["no column \"distance\"; the header has far, wind, range"],
    );
    let named = throw(&[
        "--overwrite",
        "--bounds",
        "angle=0..0.7",
        "--x",
        "far,wind",
        "--target",
        "range",
    ]);
    desk.ok(&named);
}

#[test]
fn init_elsewhere_keeps_pointing_at_the_program_and_the_data() {
    let desk = Desk::new();
    fs::create_dir(desk.path("experiment")).unwrap();
    let init = [
        "init",
        "--out",
        "experiment/a.toml",
        "--data",
        "throw.csv",
        "--",
        "python3",
        "-S",
        "throw.py",
    ];
    desk.ok(&init);
    desk.ok(&["check", "experiment/a.toml"]);
}

#[test]
fn a_program_that_cannot_describe_itself_needs_sizes() {
    let desk = Desk::new();
    desk.edit("throw.py", "request.get(\"describe\")", "False");
    let plain = [
        "init",
        "--data",
        "throw.csv",
        "--",
        "python3",
        "-S",
        "throw.py",
    ];
    desk.refused(3, &plain, &["describe"]);
    let sized = [
        "init",
        "--sizes",
        "2,1,1",
        "--x",
        "distance,wind",
        "--target",
        "range",
        "--bounds",
        "u0=0.05..0.75",
        "--data",
        "throw.csv",
        "--",
        "python3",
        "-S",
        "throw.py",
    ];
    desk.ok(&sized);
    desk.ok(&["check", "run.toml"]);
    let odd = [
        "init",
        "--overwrite",
        "--sizes",
        "2,1",
        "--",
        "python3",
        "-S",
        "throw.py",
    ];
    desk.refused(2, &odd, &["expected three whole numbers"]);
}

#[test]
fn check_finds_a_good_program_well() {
    let desk = Desk::with_settings();
    let said = desk.ok(&["check", "run.toml"]);
    for part in [
        "throw answers",
        "every call was answered",
        "same answer",
        "27 oracle calls",
        "about",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(!said.contains("doubt") && !said.contains("FAULT"), "{said}");
}

#[test]
fn check_names_what_is_wrong_with_a_program() {
    let desk = Desk::with_settings();
    let good = desk.read("throw.py");
    let doubted = |from: &str, to: &str, parts: &[&str]| {
        desk.write("throw.py", &good);
        desk.edit("throw.py", from, to);
        let said = desk.ok(&["check", "run.toml"]);
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    };
    let result = "return 20 * math.cos(angle) * airborne + 0.2 * wind * airborne ** 2";
    doubted(
        result,
        "import random; return 30 * angle + random.random()",
        &["doubt", "same row gets different answers (range ± "],
    );
    doubted(
        result,
        "return 30 * round(angle)",
        &["doubt", "no outcome moved"],
    );
    doubted(
        result,
        "return 1e6 + angle",
        &["doubt", "lie well outside what 12 random actions gave"],
    );
    doubted(
        result,
        "return 20 if angle < 0.4 else float('nan')",
        &["doubt", "calls failed", "expected a finite number"],
    );

    desk.write("throw.py", &good);
    desk.edit("throw.py", result, "return float('nan')");
    let said = desk.run(&["check", "run.toml"]);
    assert_eq!(said.code, 3, "{}", said.out);
    assert!(
        said.out.contains("FAULT  27 of 27 calls failed: 27×"),
        "{}",
        said.out
    );

    desk.write("throw.py", "import numpi");
    desk.refused(3, &["check", "run.toml"], &["No module named 'numpi'"]);
}

#[test]
fn check_names_what_is_wrong_with_settings_and_data() {
    let desk = Desk::with_settings();
    let (settings, data) = (desk.read("run.toml"), desk.read("throw.csv"));
    desk.refused(2, &["check", "rum.toml"], &["rum.toml", "graybox init"]);
    let refused = |from: &str, to: &str, parts: &[&str]| {
        desk.write("run.toml", &settings);
        desk.edit("run.toml", from, to);
        desk.refused(2, &["check", "run.toml"], parts);
    };
    refused(
        "held_out = 0.2",
        "held_out = 1.0",
        &["data.held_out", "cannot hold out 200 of 200 rows"],
    );
    refused("calls = 2000", "calls = -1", &["calls"]);
    refused("seed = 1", "sed = 1", &["unknown field `sed`", "seed"]);
    refused(
        "[\"distance\", \"wind\"]",
        "[\"distance\"]",
        &["data.x names 1 columns"],
    );
    refused(
        "algorithm.name = \"",
        "algorithm.name = \"un",
        &["algorithm", "unknown variant"],
    );

    desk.write("run.toml", &settings);
    let lines: Vec<&str> = data.lines().collect();
    for (bad, parts) in [
        ("1.0,,2.0", ["line 3", "\"wind\"", "not a finite number"]),
        ("1.0,two,2.0", ["line 3", "\"wind\"", "\"two\""]),
        ("1.0,0,inf", ["line 3", "\"range\"", "\"inf\""]),
        ("1.0,2.0", ["line 3", "2 fields", "header has 3"]),
    ] {
        let mut lines = lines.clone();
        lines[2] = bad;
        desk.write("throw.csv", &lines.join("\n"));
        desk.refused(2, &["check", "run.toml"], &parts);
    }
    let calm: Vec<String> = (0..40)
        .map(|k| format!("{},0,{}", 10 + k % 20, 10 + k % 20))
        .collect();
    desk.write(
        "throw.csv",
        &format!("distance,wind,range\n{}\n", calm.join("\n")),
    );
    let said = desk.ok(&["check", "run.toml"]);
    assert!(
        said.contains("context \"wind\" is 0 in every row"),
        "{said}"
    );
}

#[test]
fn train_leaves_all_that_the_others_need_and_counts_every_call() {
    let desk = Desk::with_settings();
    let train = [
        "train",
        "run.toml",
        "--calls",
        "320",
        "--out",
        "out",
        "--log",
        "log.jsonl",
    ];
    let said = desk.run(&train);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("320/320 calls"), "{}", said.err);
    let summary = desk.json("out/summary.json");
    assert_eq!(summary["oracle_calls"], 320);
    assert_eq!(summary["failed_calls"], 0);
    assert_eq!(summary["task"], "throw");
    let loss = |key: &str| summary[key].as_f64().unwrap();
    assert!(
        loss("true_loss_after") < 0.2 * loss("true_loss_before"),
        "{} -> {}",
        loss("true_loss_before"),
        loss("true_loss_after")
    );
    for name in [
        "policy.safetensors",
        "policy.json",
        "config.json",
        "history.csv",
        "learning.svg",
        "run.toml",
    ] {
        assert!(desk.path("out").join(name).is_file(), "{name}");
    }
    assert_eq!(desk.read("out/held_out.csv").lines().count(), 41);

    let log = desk.read("log.jsonl");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["progress"]["calls"], 0);
    assert_eq!(lines.last().unwrap()["summary"]["oracle_calls"], 320);

    desk.refused(
        2,
        &train,
        &["out holds the results of an earlier run", "--overwrite"],
    );
}

#[test]
fn the_settings_that_init_writes_train_with_the_method_that_asks_least() {
    let desk = Desk::new();
    desk.ok(&[
        "init",
        "--data",
        "throw.csv",
        "--",
        "python3",
        "-S",
        "throw.py",
    ]);
    desk.ok(&["train", "run.toml", "--calls", "160"]);
    let summary = desk.json("run/summary.json");
    assert_eq!(summary["algorithm"], "anchored");
    let loss = |key: &str| summary[key].as_f64().unwrap();
    assert!(
        loss("true_loss_after") < 1e-3 * loss("true_loss_before"),
        "{summary}"
    );
}

#[test]
fn the_same_settings_give_the_same_policy_bit_for_bit() {
    let desk = Desk::with_settings();
    let policy = |out: &str, seed: &str| {
        desk.ok(&[
            "train", "run.toml", "--calls", "96", "--out", out, "--seed", seed,
        ]);
        fs::read(desk.path(out).join("policy.safetensors")).unwrap()
    };
    let first = policy("first", "5");
    assert!(first == policy("second", "5"));
    assert!(first != policy("third", "6"));
    // And so do the settings that the first run left.
    desk.ok(&["train", "first/run.toml", "--out", "fourth"]);
    assert!(first == fs::read(desk.path("fourth/policy.safetensors")).unwrap());
}

#[test]
fn train_refuses_what_cannot_work_before_any_call_is_paid() {
    let desk = Desk::with_settings();
    desk.refused(2, &["train", "none.toml"], &["none.toml"]);
    desk.refused(2, &["train", "run.toml", "--calls", "0"], &["calls is 0"]);
    desk.refused(
        2,
        &["train", "run.toml", "--device", "gpu"],
        &["no device \"gpu\""],
    );
    desk.refused(
        2,
        &["train", "run.toml", "--device", "cuda"],
        &["--features cuda"],
    );
    desk.refused(
        2,
        &["train", "run.toml", "--log", "no/log"],
        &["cannot write the log"],
    );
    desk.refused(
        2,
        &["train", "run.toml", "--policy", "none.safetensors"],
        &["none.safetensors"],
    );
    assert!(!desk.path("run/summary.json").exists());
    desk.edit("run.toml", "throw.py", "thrown.py");
    desk.refused(3, &["train", "run.toml"], &["thrown.py"]);
}

#[test]
fn a_run_whose_calls_all_fail_says_so_and_keeps_its_results() {
    let desk = Desk::with_settings();
    desk.answers_nothing();
    let train = ["train", "run.toml", "--calls", "48"];
    desk.refused(
        3,
        &train,
        &["every one of 48 calls failed", "graybox check run.toml"],
    );
    assert_eq!(desk.json("run/summary.json")["failed_calls"], 48);
}

#[test]
fn an_interrupted_run_saves_what_it_learned() {
    let desk = Desk::with_settings();
    // Slow enough that it cannot be over before the signal comes; 1.6 million calls would take a day.
    desk.edit(
        "throw.py",
        "airborne = 2 * 20",
        "import time; time.sleep(0.001); airborne = 2 * 20",
    );
    let mut command = desk.command(&[
        "train",
        "run.toml",
        "--calls",
        "1600000",
        "--log",
        "log.jsonl",
    ]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let rounds = || {
        fs::read_to_string(desk.path("log.jsonl"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    while rounds() < 4 {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let said = Said::new(child.wait_with_output().unwrap());
    said.must_be(130, &["what was learned is saved"]);
    assert_eq!(desk.json("run/summary.json")["ending"], "stopped");
    desk.ok(&["predict", "run", "--in", "throw.csv"]);
}

#[test]
fn a_run_goes_on_where_it_was_broken_off_and_ends_with_the_same_bits() {
    let desk = Desk::with_settings();
    desk.edit(
        "throw.py",
        "airborne = 2 * 20",
        "import time; time.sleep(0.002); airborne = 2 * 20",
    );
    let train = |out: &'static str, more: &[&'static str]| {
        let train = [
            "train",
            "run.toml",
            "--calls",
            "480",
            "--out",
            out,
            "--log",
            "log.jsonl",
        ];
        [&train[..], more].concat()
    };
    desk.ok(&train("whole", &[]));
    for (signal, out, more) in [
        ("-INT", "stopped", vec!["--resume"]),
        ("-KILL", "killed", vec![]),
    ] {
        fs::remove_file(desk.path("log.jsonl")).unwrap();
        let mut command = desk.command(&train(out, &[]));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let rounds = || {
            fs::read_to_string(desk.path("log.jsonl"))
                .unwrap_or_default()
                .lines()
                .count()
        };
        while rounds() < 5 {
            std::thread::yield_now();
        }
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(!child.wait().unwrap().success());
        if signal == "-INT" {
            desk.refused(2, &train(out, &[]), &["--resume"]);
        }
        desk.ok(&train(out, &more));
        let policy = |folder: &str| fs::read(desk.path(folder).join("policy.safetensors")).unwrap();
        assert!(policy(out) == policy("whole"), "{out}");
        assert_eq!(
            desk.json(&format!("{out}/summary.json"))["oracle_calls"],
            480
        );
    }
    // Another seed is another run.
    fs::remove_file(desk.path("killed/summary.json")).unwrap();
    desk.refused(
        2,
        &train("killed", &["--seed", "9"]),
        &["another", "checkpoint"],
    );
    desk.ok(&train("killed", &["--seed", "9", "--overwrite"]));
    assert!(desk.path("killed/ledger-1.sqlite").exists());
}

#[test]
fn runs_that_share_a_ledger_pay_once() {
    let desk = Desk::with_settings();
    let train = |out: &'static str| {
        [
            "train",
            "run.toml",
            "--calls",
            "48",
            "--out",
            out,
            "--ledger",
            "shared.sqlite",
        ]
    };
    desk.ok(&train("one"));
    desk.answers_nothing();
    desk.ok(&train("two"));
    assert_eq!(desk.json("two/summary.json")["failed_calls"], 0);
    desk.edit("throw.py", "\"name\": \"throw\"", "\"name\": \"another\"");
    desk.refused(2, &train("three"), &["shared.sqlite", "another"]);
}

#[test]
fn predict_answers_in_the_form_it_was_asked() {
    let desk = Desk::with_run();
    desk.write("some.csv", "wind,note,distance\n1.0,a,20\n-2,b,30.5\n");
    let csv = desk.ok(&["predict", "run", "--in", "some.csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "wind,note,distance,angle");
    assert!(lines[1].starts_with("1.0,a,20,0."), "{csv}");
    let lists = ["predict", "run", "--format", "json"];
    let said = desk.run_with_input(&lists, "[[20, 1.0], [30.5, -2]]");
    let answer: Vec<Vec<f64>> = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        answer[0][0].to_string(),
        lines[1].rsplit(',').next().unwrap()
    );

    desk.write(
        "some.json",
        r#"[{"distance": 20, "wind": 1.0, "note": "a"}]"#,
    );
    desk.ok(&[
        "predict",
        "run",
        "--in",
        "some.json",
        "--out",
        "actions.json",
    ]);
    let row = &desk.json("actions.json")[0];
    assert_eq!(row["angle"], answer[0][0]);
    assert_eq!(row["note"], "a");
    assert_eq!(desk.run_with_input(&lists, "[]").out, "[]\n");
}

#[test]
fn predict_names_what_it_cannot_read() {
    let desk = Desk::with_run();
    desk.refused(
        2,
        &["predict", "none"],
        &["no policy.json in none", "graybox train"],
    );
    desk.refused(2, &["predict", "run", "--in", "none.csv"], &["none.csv"]);
    desk.write("some.csv", "wind\n1\n");
    let some = ["predict", "run", "--in", "some.csv"];
    desk.refused(
        2,
        &some,
        &["some.csv", "no column \"distance\"; the header has wind"],
    );
    desk.write("some.csv", "wind,distance\n1,2\n1,far\n");
    desk.refused(
        2,
        &some,
        &["some.csv", "row 2, column \"distance\": \"far\""],
    );
    let json = ["predict", "run", "--format", "json"];
    desk.run_with_input(&json, "[[1]]")
        .must_be(2, &["row 0 has 1 numbers, expected 2"]);
    desk.run_with_input(&json, "{")
        .must_be(2, &["standard input", "JSON"]);
    desk.write("run/policy.safetensors", "nothing");
    desk.refused(2, &json, &["policy.safetensors"]);
}

#[test]
fn evaluate_asks_the_oracle_and_counts() {
    let desk = Desk::with_run();
    let said = desk.ok(&["evaluate", "run", "--out", "rows.csv"]);
    assert!(said.contains("oracle calls  40 (0 failed)"), "{said}");
    let loss = desk.json("run/summary.json")["true_loss_after"]
        .as_f64()
        .unwrap();
    assert!(
        said.contains(&format!("true loss     {loss:.3e}")),
        "{said} {loss:e}"
    );
    let without_prediction = desk.read("rows.csv");
    assert!(without_prediction.starts_with("distance,wind,wanted_range,angle,range,loss,error\n"));

    desk.write("other.csv", "distance,wind,range\n20,0,20\n");
    let said = desk.ok(&["evaluate", "run", "--data", "other.csv"]);
    assert!(said.contains("oracle calls  1 (0 failed)"), "{said}");
    desk.write("other.csv", "distance,wind\n20,0\n");
    desk.refused(
        2,
        &["evaluate", "run", "--data", "other.csv"],
        &["no column \"range\""],
    );
    desk.refused(2, &["evaluate", "none"], &["no policy.json in "]);
    desk.answers_nothing();
    desk.refused(3, &["evaluate", "run"], &["none of 40 calls was answered"]);
}

#[test]
fn export_needs_a_format_and_a_run() {
    let desk = Desk::with_run();
    desk.refused(2, &["export", "run"], &["--onnx <FILE>"]);
    desk.refused(
        2,
        &["export", "none", "--onnx", "p.onnx"],
        &["no policy.json in "],
    );
    desk.refused(
        1,
        &["export", "run", "--onnx", "no/p.onnx"],
        &["cannot write no/p.onnx"],
    );
    desk.refused(
        1,
        &["export", "run", "--safetensors", "no/p.safetensors"],
        &["no/p.safetensors"],
    );
    let said = desk.ok(&[
        "export",
        "run",
        "--onnx",
        "p.onnx",
        "--pytorch-layout",
        "p.safetensors",
    ]);
    assert_eq!(said, "wrote p.onnx\nwrote p.safetensors\n");
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let desk = Desk::with_run();
    desk.ok(&[
        "train", "run.toml", "--calls", "160", "--seed", "2", "--out", "two",
    ]);
    let page = desk.read("run/report.html");
    let scoring = &desk.json("run/summary.json")["scoring_calls"];
    assert!(page.contains(&format!(
        "calls for scores, not charged</td><td>{scoring}</td>"
    )));
    for part in [
        "<h1>throw</h1>",
        "Nothing kept this run from learning",
        "Loss against oracle calls",
        "reached range [m]",
        "surrogate's range [m]",
        "angle over wind; dashed: its bounds",
        "No call failed.",
        "prefers-color-scheme:dark",
        "width=device-width",
        "calls = 160",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    // Nothing is fetched and nothing runs.
    for part in [
        "http:", "https:", "src=", "href=", "<script", "@import", "url(",
    ] {
        assert!(!page.contains(part), "{part:?} is in the page");
    }
    assert!(!page.contains("median of 2 seeds"));
    let both = ["report", "run", "two", "--out", "both.html"];
    assert_eq!(desk.ok(&both), "wrote both.html\n");
    assert!(desk.read("both.html").contains("median of 2 seeds"));

    desk.refused(2, &["report"], &["<RUNS>"]);
    desk.refused(
        2,
        &["report", "none"],
        &["none/summary.json", "graybox train"],
    );
    desk.write("two/held_out.csv", "distance\nx\n");
    desk.refused(2, &["report", "two"], &["two/held_out.csv is broken"]);
}

#[test]
fn a_report_shows_where_calls_fail_and_what_to_do() {
    let desk = Desk::with_settings();
    // Only the flattest throws are answered, and none of them is far enough.
    let answer = "{\"y\": [evaluate(*request[\"x\"], *request[\"u\"])]}";
    let guarded = format!("{answer} if request[\"u\"][0] < 0.1 else {{\"error\": \"too steep\"}}");
    desk.edit("throw.py", answer, &format!("({guarded})"));
    let said = desk.run(&["train", "run.toml", "--calls", "160"]);
    assert!(
        said.err.contains("Calls keep failing"),
        "{}\n{}",
        said.out,
        said.err
    );
    let page = desk.read("run/report.html");
    for part in [
        "Calls keep failing",
        "Check that the bounds of the actions",
        "calls failed (orange)",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    assert!(desk.read("run/calls.csv").contains("too steep"));
}

/// A served policy, ended when it is dropped.
struct Server {
    child: std::process::Child,
    address: String,
}

impl Server {
    fn start(desk: &Desk) -> Self {
        let mut command = desk.command(&["serve", "run", "--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        std::io::BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().to_owned();
        Self { child, address }
    }

    /// Status and body of an answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_speaks_um_bridge_and_plain_json() {
    let desk = Desk::with_run();
    desk.refused(2, &["serve", "none"], &["no policy.json in none"]);
    let server = Server::start(&desk);
    let (status, info) = server.ask("GET", "/Info", "");
    assert_eq!((status, info["models"][0].as_str()), (200, Some("policy")));
    let about = r#"{"name":"policy","config":{}}"#;
    assert_eq!(
        server.ask("POST", "/InputSizes", about).1["inputSizes"],
        serde_json::json!([2])
    );
    assert_eq!(
        server.ask("POST", "/OutputSizes", about).1["outputSizes"],
        serde_json::json!([1])
    );
    assert_eq!(
        server.ask("POST", "/ModelInfo", about).1["support"]["Evaluate"],
        true
    );

    let (status, rows) = server.ask("POST", "/predict", "[[20, 1.0], [30.5, -2]]");
    assert_eq!(status, 200);
    let ask = r#"{"name":"policy","input":[[20, 1.0]],"config":{}}"#;
    let (_, said) = server.ask("POST", "/Evaluate", ask);
    let (a, b) = (
        said["output"][0][0].as_f64().unwrap(),
        rows[0][0].as_f64().unwrap(),
    );
    assert!((a - b).abs() < 1e-7, "{a} {b}");
    let lists = ["predict", "run", "--format", "json"];
    let predicted = desk.run_with_input(&lists, "[[20, 1.0], [30.5, -2]]").out;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&predicted).unwrap(),
        rows
    );

    let refused = |path: &str, body: &str, kind: &str, part: &str| {
        let (status, answer) = server.ask("POST", path, body);
        assert!(status >= 400, "{answer}");
        assert_eq!(answer["error"]["type"], kind);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    };
    refused(
        "/Evaluate",
        r#"{"name":"forward","input":[[1,2]]}"#,
        "ModelNotFound",
        "\"policy\"",
    );
    refused(
        "/Evaluate",
        r#"{"name":"policy","input":[[1]]}"#,
        "InvalidInput",
        "expected [2]",
    );
    refused("/Evaluate", "{", "InvalidInput", "cannot be read");
    refused("/Gradient", about, "UnsupportedFeature", "derivatives");
    refused("/predict", "[[1]]", "InvalidInput", "row 0 has 1 numbers");
    refused("/nothing", "", "NotFound", "POST /predict");

    let taken = server.address.rsplit(':').next().unwrap();
    desk.refused(
        2,
        &["serve", "run", "--port", taken],
        &["cannot listen at 127.0.0.1"],
    );
}

#[test]
fn race_lists_its_tasks_and_runs_one() {
    let desk = Desk::new();
    assert!(desk.ok(&["race", "--list"]).contains("asker"));
    let race = [
        "race",
        "asker",
        "--algorithm",
        "joint",
        "--calls",
        "32",
        "--seeds",
        "1",
        "--no-reference",
    ];
    let said = desk.ok(&race);
    assert!(said.contains("joint"), "{said}");
    desk.refused(2, &["race", "askew"], &["askew", "asker"]);
}

#[test]
fn a_policy_that_left_in_pytorch_layout_comes_back_to_be_continued() {
    let desk = Desk::with_run();
    desk.ok(&["export", "run", "--pytorch-layout", "p.safetensors"]);
    let train = [
        "train",
        "run.toml",
        "--calls",
        "16",
        "--out",
        "more",
        "--policy",
        "p.safetensors",
        "--policy-layout",
        "pytorch",
    ];
    desk.ok(&train);
    let after = desk.json("run/summary.json")["true_loss_after"]
        .as_f64()
        .unwrap();
    let before = desk.json("more/summary.json")["true_loss_before"]
        .as_f64()
        .unwrap();
    assert!((after - before).abs() < 1e-9 * after, "{after} {before}");
}
