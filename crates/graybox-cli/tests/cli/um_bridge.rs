//! Oracles behind UM-Bridge servers, from `init` to `evaluate`.

use graybox::oracle::{Model, RowError, ServeConfig, UmBridgeServer};

use crate::desk::Desk;

/// A throw without wind, as its own model: two numbers, the distance wanted for nothing and the angle.
fn throws() -> UmBridgeServer {
    let range = |xu: &[f64]| {
        if xu[2] > 0.74 {
            return Err(RowError::Failed("too steep".into()));
        }
        let airborne = 2.0 * 20.0 * xu[2].sin() / 9.81;
        Ok(vec![
            20.0 * xu[2].cos() * airborne + 0.2 * xu[1] * airborne * airborne,
        ])
    };
    let config = ServeConfig {
        address: ([127, 0, 0, 1], 0).into(),
        ..ServeConfig::default()
    };
    UmBridgeServer::start(vec![Model::from_fn("throw", 3, 1, range)], config).unwrap()
}

fn init(urls: &str, more: &str) -> String {
    format!(
        "init {urls} --model throw --x distance,wind --target range --bounds angle=0.05..0.7 --data throw.csv {more}"
    )
}

#[test]
fn a_model_behind_two_servers_is_checked_trained_and_evaluated() {
    let desk = Desk::new();
    let (one, two) = (throws(), throws());
    let urls = format!("--url {} --url {}", one.url(), two.url());
    desk.ok(&init(&urls, "--connections 3"));
    let text = desk.read("run.toml");
    for part in [
        "connections = 3",
        "d_x = 2",
        "# token_variable = \"MODEL_TOKEN\"",
        "[names]",
        "u = [\"angle\"]",
        "angle = { low = 0.05, high = 0.7 }",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let said = desk.ok("check run.toml");
    assert!(
        said.contains("throw answers: 2 contexts, 1 action"),
        "{said}"
    );
    assert!(said.contains("with 3 at a time"), "{said}");

    let trains = |out: &str| {
        desk.ok(&format!("train run.toml --calls 160 --out {out}"));
        let summary = desk.json(&format!("{out}/summary.json"));
        assert_eq!(summary["oracle_calls"], 160);
        let loss = |key: &str| summary[key].as_f64().unwrap();
        assert!(
            loss("true_loss_after") < 1e-3 * loss("true_loss_before"),
            "{summary}"
        );
    };
    trains("run");
    desk.edit("run.toml", "[train]", "[train]\nasynchronous = true");
    trains("ahead");
    // The names go wherever the policy goes, and the settings that were left reach the servers again.
    assert!(
        desk.ok("predict run --in throw.csv")
            .starts_with("distance,wind,range,angle\n")
    );
    let said = desk.ok("evaluate run");
    assert!(said.contains("oracle calls  40 (0 failed)"), "{said}");
}

#[test]
fn what_is_wrong_with_servers_is_said() {
    let desk = Desk::new();
    let server = throws();
    let url = format!("--url {}", server.url());
    desk.refused(2, "init", &["<COMMAND>"]);
    desk.refused(2, &format!("init {url} -- python3 throw.py"), &["--url"]);
    desk.refused(2, "init --connections 2 -- python3 throw.py", &["--url"]);
    desk.refused(
        2,
        &format!("init {url} --model throw --x distance,wind --bounds angle=0..1"),
        &["draw no data", "--data"],
    );
    let other = format!("init {url} --model thrown --data throw.csv");
    desk.refused(3, &other, &["no model `thrown`", "throw"]);
    let bounds = "--bounds u0=0..1 --bounds u1=0..1 --bounds u2=0..1";
    let nameless = format!("init {url} --model throw --data throw.csv {bounds}");
    desk.refused(2, &nameless, &["no column", "--x and --target"]);
    desk.refused(2, &init("--url ftp://here", ""), &["begin with http://"]);

    desk.refused(2, &init("--url https://here", ""), &["https", "tunnel"]);

    let with_token = init(&url, "--token-variable GRAYBOX_TEST_TOKEN");
    desk.refused(2, &with_token, &["GRAYBOX_TEST_TOKEN is not set"]);
    let mut command = desk.command(&with_token);
    let output = command.env("GRAYBOX_TEST_TOKEN", "hunter2").output();
    assert!(output.unwrap().status.success());
    assert!(!desk.read("run.toml").contains("hunter2"));
    desk.refused(2, "check run.toml", &["GRAYBOX_TEST_TOKEN is not set"]);
    let mut command = desk.command("check run.toml");
    let output = command
        .env("GRAYBOX_TEST_TOKEN", "hunter2")
        .output()
        .unwrap();
    assert!(output.status.success());

    desk.edit("run.toml", "connections = 1", "conections = 1");
    desk.refused(
        2,
        "check run.toml",
        &["run.toml", "oracle: unknown field `conections`"],
    );
    desk.edit("run.toml", "conections = 1", "connections = 1");
    desk.edit("run.toml", "token_variable", "# token_variable");
    drop(server);
    desk.refused(
        3,
        "check run.toml",
        &["does not answer", "is the server running"],
    );
}
