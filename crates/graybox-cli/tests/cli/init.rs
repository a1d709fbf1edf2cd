//! `graybox init`.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::desk::{Desk, INIT};

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
    desk.refused(2, INIT, &["run.toml is there already", "--overwrite"]);
}

#[test]
fn init_samples_a_program_that_draws_its_own_data() {
    let desk = Desk::new();
    desk.take("oracles/lens.py");
    desk.ok("init --out lens.toml -- python3 -S lens.py");
    assert!(desk.read("lens.toml").contains("sample = 300"));
    desk.take("oracles/misbehave.py");
    let none = "init -- python3 -S misbehave.py dies-at-start";
    desk.refused(3, none, &["cannot open mesh.dat"]);
}

#[test]
fn init_says_what_is_missing() {
    let desk = Desk::new();
    let throw = |args: &str| INIT.replace(" --data", &format!(" {args} --data"));
    desk.refused(2, "init", &["<COMMAND>"]);
    desk.refused(3, "init -- ./nowhere.py", &["no program `./nowhere.py`"]);
    desk.edit("throw.py", ", \"lo\": 0.05, \"hi\": 0.75", "");
    desk.refused(
        2,
        &throw(""),
        &["no range for action \"angle\"", "--bounds angle=LOW..HIGH"],
    );
    desk.refused(
        2,
        &throw("--bounds angle=1..0"),
        &["expected ACTION=LOW..HIGH"],
    );
    desk.refused(
        2,
        &throw("--bounds angel=0..1"),
        &["\"angel\"", "actions are angle"],
    );
    desk.refused(
        2,
        &throw("--bounds angle=0..1 --x wind"),
        &["--x names 1 columns"],
    );
    desk.ok(&throw("--bounds angle=0.05..0.75"));
    assert!(
        desk.read("run.toml")
            .contains("\nangle = { low = 0.05, high = 0.75 }")
    );

    desk.edit("throw.csv", "distance,wind,range", "far,wind,range");
    let again = throw("--overwrite --bounds angle=0..0.7");
    desk.refused(
        2,
        &again,
        &["no column \"distance\"; the header has far, wind, range"],
    );
    desk.ok(&throw(
        "--overwrite --bounds angle=0..0.7 --x far,wind --target range",
    ));
}

#[test]
fn init_asks_for_a_missing_range_on_a_terminal_and_only_there() {
    let desk = Desk::new();
    desk.edit("throw.py", ", \"lo\": 0.05, \"hi\": 0.75", "");
    desk.refused(2, INIT, &["no range for action \"angle\""]);
    // `script` is a terminal for those who have none.
    let line = format!("{} {INIT}", env!("CARGO_BIN_EXE_graybox"));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]);
    let mut child = terminal
        .current_dir(desk.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = child.stdin.take().unwrap();
    answers.write_all(b"1..0\n0.05..0.75\n").unwrap();
    drop(answers);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("range of action angle in rad"), "{said}");
    assert!(said.contains("the lower first"), "{said}");
    let settings = desk.read("run.toml");
    assert!(settings.contains("\nangle = { low = 0.05, high = 0.75 }"));
}

#[test]
fn init_elsewhere_keeps_pointing_at_the_program_and_the_data() {
    let desk = Desk::new();
    fs::create_dir(desk.path("experiment")).unwrap();
    desk.ok("init --out experiment/a.toml --data throw.csv -- python3 -S throw.py");
    desk.ok("check experiment/a.toml");
}

#[test]
fn a_program_that_cannot_describe_itself_needs_sizes() {
    let desk = Desk::new();
    desk.edit("throw.py", "request.get(\"describe\")", "False");
    desk.refused(3, INIT, &["describe"]);
    desk.ok(
        "init --sizes 2,1,1 --x distance,wind --target range --bounds u0=0.05..0.75 --data throw.csv \
         -- python3 -S throw.py",
    );
    desk.ok("check run.toml");
    let odd = "init --overwrite --sizes 2,1 -- python3 -S throw.py";
    desk.refused(2, odd, &["expected three whole numbers"]);
}
