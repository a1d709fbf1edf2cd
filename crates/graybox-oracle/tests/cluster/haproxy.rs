//! UM-Bridge servers behind HAProxy, as `assets/cluster/haproxy.cfg` sets it up.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use graybox_oracle::{UmBridgeConfig, UmBridgeOracle};

use crate::site::{Daemon, every_row_once, find, free_port, repository, wait_for};

/// A server in a process of its own, so that it can be killed.
pub(crate) fn serve(port: u16, folder: &Path) -> Daemon {
    let test = std::env::current_exe().unwrap();
    let serve = test.ancestors().nth(2).unwrap().join("examples/serve");
    assert!(
        serve.exists(),
        "{} is not built: run `cargo test --features ledger,umbridge` for all targets",
        serve.display()
    );
    let log = folder.join(format!("serve-{port}"));
    let mut command = Command::new(serve);
    Daemon::start(command.args([&port.to_string(), "0.02"]), &log)
}

pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn connect(url: &str) -> UmBridgeOracle {
    let config = UmBridgeConfig {
        connections: 2,
        ..UmBridgeConfig::new([url])
    };
    UmBridgeOracle::connect(config).unwrap()
}

/// The published settings with ports that are free here.
fn settings(folder: &Path, ports: [u16; 3]) -> PathBuf {
    let text = fs::read_to_string(repository().join("assets/cluster/haproxy.cfg")).unwrap();
    let [front, first, second] = ports.map(|port| format!("127.0.0.1:{port}"));
    let text = text
        .replace("127.0.0.1:4242", &front)
        .replace("127.0.0.1:4251", &first)
        .replace("127.0.0.1:4252", &second);
    let path = folder.join("haproxy.cfg");
    fs::write(&path, text).unwrap();
    path
}

pub(crate) fn test() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    let [front, first_port, second_port] = ports;
    let path = folder.path().to_owned();
    let first = serve(first_port, &path);
    let second = serve(second_port, &path);
    let mut haproxy = Command::new(find("haproxy").unwrap());
    haproxy.arg("-f").arg(settings(&path, ports));
    let _haproxy = Daemon::start(&mut haproxy, &path.join("haproxy"));
    wait_for("haproxy", || listens(front));
    let url = format!("http://127.0.0.1:{front}");

    let n = 100;
    let seconds = every_row_once(connect(&url), n, &path, |_| {});
    let (a, b) = (first.lines() - 1, second.lines() - 1);
    assert!(a.min(b) >= n / 4, "spread over the servers: {a} and {b}");
    println!("cluster: haproxy: {n} calls of 20 ms, {a} and {b} on two servers, {seconds:.2} s");

    // One server is killed in mid-run and comes back.
    let first = Arc::new(Mutex::new(first));
    let killed = Arc::new(Mutex::new(0));
    let (watched, before, folder_of) = (Arc::clone(&first), Arc::clone(&killed), path.clone());
    every_row_once(connect(&url), 2 * n, &path, move |answered| {
        let mut first = watched.lock().unwrap();
        if answered == n / 4 {
            first.kill();
            *before.lock().unwrap() = first.lines();
        } else if answered == n / 2 {
            *first = serve(first_port, &folder_of);
        }
    });
    let again = first.lock().unwrap().lines() - *killed.lock().unwrap() - 1;
    assert!(again > 0, "the server that came back was not used");
    println!(
        "cluster: haproxy: a server killed and restarted in mid-run: {} rows once each, {again} on it since",
        2 * n
    );

    // A client that comes while all servers are gone waits for one.
    first.lock().unwrap().kill();
    drop(second);
    let late = {
        let url = url.clone();
        thread::spawn(move || connect(&url))
    };
    let _first = serve(first_port, &path);
    every_row_once(late.join().unwrap(), 10, &path, |_| {});
    println!("cluster: haproxy: a client that came while no server was up was served");
}
