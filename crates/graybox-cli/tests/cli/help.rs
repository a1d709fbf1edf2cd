//! Help, manual pages and completions.

use crate::desk::Desk;

#[test]
fn help_teaches_by_example_and_lists_the_exit_codes() {
    let desk = Desk::new();
    let help = desk.ok("--help");
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
        let help = desk.ok(&format!("{command} --help"));
        assert!(help.contains(&format!("graybox {command}")), "{help}");
        assert!(help.contains("Example"), "{help}");
    }
    assert!(desk.ok("--version").contains("burn 0.22.1; backends: flex"));
    desk.refused(2, "tarin", &["unrecognized subcommand 'tarin'", "train"]);
}

#[test]
fn exit_codes_are_documented_in_one_voice_and_given() {
    let desk = Desk::with_settings();
    let help = desk.ok("--help");
    let codes = help.split("Exit codes:").nth(1).unwrap().lines();
    let codes = codes.filter_map(|line| line.trim().split_once("  "));
    let codes: Vec<(&str, &str)> = codes.map(|(code, why)| (code, why.trim())).collect();
    let readme = include_str!("../../README.md");
    for (code, why) in &codes {
        let row = format!("| {code} | {why} |");
        assert!(readme.contains(&row), "{row:?} is not in the README");
    }
    let codes: Vec<&str> = codes.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "130"]);

    let exit = |line: &str| desk.run(line).code;
    assert_eq!(exit("check run.toml"), 0);
    assert_eq!(exit("man throw.py"), 1);
    assert_eq!(exit("check no.toml"), 2);
    desk.answers_nothing();
    assert_eq!(exit("check run.toml"), 3);
    // 130 is given in `broken_off`.
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            desk.ok(&format!("completions {shell}"))
                .contains("evaluate"),
            "{shell}"
        );
    }
    desk.refused(2, "completions csh", &["bash"]);
    desk.ok("man man1");
    assert!(
        desk.read("man1/graybox-train.1")
            .contains("\\-\\-overwrite")
    );
    desk.write("taken", "");
    desk.refused(1, "man taken", &["cannot write into taken"]);
}
