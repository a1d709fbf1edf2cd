//! Runs that are stopped, killed, pay from a shared ledger, or start with what another has learned.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::desk::{Desk, Said};

/// Sends a signal to a run once its log has five lines.
fn after_some_rounds(desk: &Desk, signal: &str, child: &Child) {
    let rounds = || {
        let log = fs::read_to_string(desk.path("log.jsonl")).unwrap_or_default();
        log.lines().count()
    };
    while rounds() < 5 {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.unwrap().success());
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
    let mut command = desk.command("train run.toml --calls 1600000 --log log.jsonl");
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    after_some_rounds(&desk, "-INT", &child);
    let said = Said::new(child.wait_with_output().unwrap());
    said.must_be(130, &["what was learned is saved"]);
    assert_eq!(desk.json("run/summary.json")["ending"], "stopped");
    desk.ok("predict run --in throw.csv");
}

#[test]
fn a_run_goes_on_where_it_was_broken_off_and_ends_with_the_same_bits() {
    let desk = Desk::with_settings();
    desk.edit(
        "throw.py",
        "airborne = 2 * 20",
        "import time; time.sleep(0.002); airborne = 2 * 20",
    );
    let train = |out: &str, more: &str| {
        format!("train run.toml --calls 480 --out {out} --log log.jsonl {more}")
    };
    desk.ok(&train("whole", ""));
    for (signal, out, more) in [("-INT", "stopped", "--resume"), ("-KILL", "killed", "")] {
        fs::remove_file(desk.path("log.jsonl")).unwrap();
        let mut command = desk.command(&train(out, ""));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        after_some_rounds(&desk, signal, &child);
        assert!(!child.wait().unwrap().success());
        if signal == "-INT" {
            desk.refused(2, &train(out, ""), &["--resume"]);
        }
        desk.ok(&train(out, more));
        let policy = |folder: &str| desk.bytes(&format!("{folder}/policy.safetensors"));
        assert!(policy(out) == policy("whole"), "{out}");
        assert_eq!(
            desk.json(&format!("{out}/summary.json"))["oracle_calls"],
            480
        );
    }
    // Another seed is another run.
    fs::remove_file(desk.path("killed/summary.json")).unwrap();
    desk.refused(2, &train("killed", "--seed 9"), &["another", "checkpoint"]);
    desk.ok(&train("killed", "--seed 9 --overwrite"));
    assert!(desk.path("killed/ledger-1.sqlite").exists());
}

#[test]
fn a_run_that_does_not_wait_is_stopped_and_goes_on_and_pays_for_nothing_twice() {
    let desk = Desk::with_settings();
    desk.edit("run.toml", "[train]", "[train]\nasynchronous = true");
    desk.edit(
        "throw.py",
        "airborne = 2 * 20",
        "import time; open('asked', 'a').write('.'); time.sleep(0.01 * angle); airborne = 2 * 20",
    );
    desk.refused(2, "train run.toml", &["joint", "leave out `asynchronous`"]);
    desk.edit("run.toml", "\"joint\"", "\"anchored\"");
    let train = "train run.toml --calls 320 --log log.jsonl";
    let mut command = desk.command(train);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    after_some_rounds(&desk, "-INT", &child);
    let said = Said::new(child.wait_with_output().unwrap());
    said.must_be(130, &["what was learned is saved"]);
    let stopped = desk.json("run/summary.json");
    assert_eq!(stopped["ending"], "stopped");

    desk.ok(&format!("{train} --resume"));
    let ended = desk.json("run/summary.json");
    assert_eq!(ended["oracle_calls"], 320, "{ended}");
    let loss = |key: &str| ended[key].as_f64().unwrap();
    assert!(
        loss("true_loss_after") < 1e-2 * loss("true_loss_before"),
        "{ended}"
    );
    // Rows are spared where the same one was answered before, and asked once at most.
    let number = |key: &str| ended[key].as_u64().unwrap() as usize;
    let asked = desk.read("asked").len();
    assert!(
        (320..=320 + number("scoring_calls")).contains(&asked),
        "{asked}: {ended}"
    );
}

#[test]
fn runs_that_share_a_ledger_pay_once() {
    let desk = Desk::with_settings();
    let train = |out: &str| format!("train run.toml --calls 48 --out {out} --ledger shared.sqlite");
    desk.ok(&train("one"));
    desk.answers_nothing();
    desk.ok(&train("two"));
    assert_eq!(desk.json("two/summary.json")["failed_calls"], 0);
    desk.edit("throw.py", "\"name\": \"throw\"", "\"name\": \"another\"");
    desk.refused(2, &train("three"), &["shared.sqlite", "another"]);
}

#[test]
fn a_run_starts_with_the_answers_of_another() {
    let desk = Desk::with_settings();
    desk.ok("train run.toml --calls 320 --out first");
    // Whatever algorithm has paid for them.
    desk.edit("run.toml", "\"joint\"", "\"anchored\"");
    let train = "train run.toml --calls 16";
    desk.ok(&format!("{train} --out cold"));
    let warm = format!("{train} --out warm --warm-start first/ledger.sqlite");
    desk.ok(&warm);
    let summary = desk.json("warm/summary.json");
    assert_eq!(summary["warm_start_answers"], 320);
    assert_eq!(summary["oracle_calls"], 16);
    let loss = |run: &str| {
        desk.json(&format!("{run}/summary.json"))["true_loss_after"]
            .as_f64()
            .unwrap()
    };
    assert!(
        loss("warm") < 0.1 * loss("cold"),
        "{} {}",
        loss("warm"),
        loss("cold")
    );
    let page = desk.read("warm/report.html");
    assert!(page.contains("Started with 320 answers"), "{page}");

    let start = |from: &str| format!("{train} --out other --warm-start {from}");
    desk.refused(2, &start("none.sqlite"), &["--warm-start", "none.sqlite"]);
    desk.refused(2, &start("throw.csv"), &["throw.csv", "not a ledger"]);
    let own = format!("{train} --out first --resume --warm-start first/ledger.sqlite");
    desk.refused(2, &own, &["own answers"]);
    desk.edit("run.toml", "\"anchored\"", "\"spsa\"");
    desk.refused(2, &start("first/ledger.sqlite"), &["spsa", "anchored"]);
    desk.edit("throw.py", "\"name\": \"throw\"", "\"name\": \"another\"");
    desk.refused(
        2,
        &start("first/ledger.sqlite"),
        &["holds answers of `throw`"],
    );
}
