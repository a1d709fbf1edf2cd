//! `graybox train`, from beginning to end.

use crate::desk::{Desk, INIT};

#[test]
fn train_leaves_all_that_the_others_need_and_counts_every_call() {
    let desk = Desk::with_settings();
    let train = "train run.toml --calls 320 --out out --log log.jsonl";
    let said = desk.run(train);
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
        train,
        &["out holds the results of an earlier run", "--overwrite"],
    );
}

#[test]
fn the_settings_that_init_writes_train_with_the_method_that_asks_least() {
    let desk = Desk::new();
    desk.ok(INIT);
    desk.ok("train run.toml --calls 160");
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
        desk.ok(&format!(
            "train run.toml --calls 96 --out {out} --seed {seed}"
        ));
        desk.bytes(&format!("{out}/policy.safetensors"))
    };
    let first = policy("first", "5");
    assert!(first == policy("second", "5"));
    assert!(first != policy("third", "6"));
    // And so do the settings that the first run left.
    desk.ok("train first/run.toml --out fourth");
    assert!(first == desk.bytes("fourth/policy.safetensors"));
}

#[test]
fn a_run_file_gives_the_same_numbers_on_another_desk() {
    let (here, there) = (Desk::new(), Desk::new());
    here.ok(INIT);
    let settings = here.read("run.toml");
    let workers = settings.lines().find(|line| line.starts_with("workers = "));
    there.write(
        "run.toml",
        &settings.replace(workers.unwrap(), "workers = 3"),
    );
    let train = "train run.toml --calls 96";
    here.ok(train);
    // Other workers and one thread instead of all there are: how fast it goes, and nothing else.
    let mut command = there.command(train);
    let output = command.env("RAYON_NUM_THREADS", "1").output().unwrap();
    assert!(output.status.success());
    for name in [
        "policy.safetensors",
        "surrogate.safetensors",
        "history.csv",
        "held_out.csv",
        "calls.csv",
    ] {
        let name = format!("run/{name}");
        assert!(here.bytes(&name) == there.bytes(&name), "{name}");
    }
}

#[test]
fn train_refuses_what_cannot_work_before_any_call_is_paid() {
    let desk = Desk::with_settings();
    desk.refused(2, "train none.toml", &["none.toml"]);
    desk.refused(2, "train run.toml --calls 0", &["calls is 0"]);
    desk.refused(2, "train run.toml --device gpu", &["no device \"gpu\""]);
    desk.refused(2, "train run.toml --device cuda", &["--features cuda"]);
    desk.refused(2, "train run.toml --log no/log", &["cannot write the log"]);
    desk.refused(
        2,
        "train run.toml --policy none.safetensors",
        &["none.safetensors"],
    );
    assert!(!desk.path("run/summary.json").exists());
    desk.edit("run.toml", "throw.py", "thrown.py");
    desk.refused(3, "train run.toml", &["thrown.py"]);
}

#[test]
fn a_run_whose_calls_all_fail_says_so_and_keeps_its_results() {
    let desk = Desk::with_settings();
    desk.answers_nothing();
    let train = "train run.toml --calls 48";
    desk.refused(
        3,
        train,
        &["every one of 48 calls failed", "graybox check run.toml"],
    );
    assert_eq!(desk.json("run/summary.json")["failed_calls"], 48);
}

#[test]
fn a_good_policy_that_goes_on_too_fast_is_told_so() {
    let desk = Desk::with_settings();
    desk.ok("train run.toml --calls 640 --out good");
    let fast = "learning_rate = { initial = 1.0, floor = 1.0 }";
    desk.edit("run.toml", "\nseed = 1", &format!("\nseed = 1\n{fast}"));
    desk.ok("train run.toml --calls 320 --out fast --policy good/policy.safetensors");
    let page = desk.read("fast/report.html");
    assert!(page.contains("The learning rate is too high"), "{page}");
}
