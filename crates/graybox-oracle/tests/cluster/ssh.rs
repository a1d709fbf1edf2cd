//! Workers on another machine through ssh: here an sshd of our own on the loopback, with keys of its own.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use graybox_oracle::{Oracle, ProcessConfig, ProcessOracle};

use crate::site::{Daemon, every_row_once, find, free_port, wait_for};

fn key(path: &Path) {
    let made = Command::new(find("ssh-keygen").unwrap())
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
}

fn sshd(folder: &Path, port: u16) -> Daemon {
    key(&folder.join("host"));
    key(&folder.join("user"));
    let at = folder.display();
    let settings = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    );
    let path = folder.join("sshd_config");
    fs::write(&path, settings).unwrap();
    // Where it puts itself between a connection and its user, which Debian's service makes.
    let _ = fs::create_dir("/run/sshd");
    let mut command = Command::new(find("sshd").unwrap());
    let daemon = Daemon::start(
        command.args(["-D", "-e", "-f"]).arg(&path),
        &folder.join("log"),
    );
    wait_for("sshd", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    daemon
}

pub(crate) fn test() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _sshd = sshd(folder.path(), port);
    let at = folder.path().display();
    let port = port.to_string();
    let known = format!("UserKnownHostsFile={at}/known");
    let user = format!("{at}/user");
    let mut prefix = vec!["ssh", "-F", "none", "-T", "-p", &port, "-i", &user];
    for option in ["BatchMode=yes", "StrictHostKeyChecking=accept-new", &known] {
        prefix.extend(["-o", option]);
    }
    prefix.push("127.0.0.1");
    let config = ProcessConfig {
        prefixes: vec![prefix.into_iter().map(String::from).collect()],
        workers: 2,
        ..crate::site::throw(folder.path())
    };

    let n = 400;
    let oracle = ProcessOracle::start(config.clone()).unwrap();
    let seconds = every_row_once(oracle, n, folder.path(), |_| {});
    let each = 1e6 * seconds / n as f64;
    println!("cluster: ssh: {n} calls on two workers, {each:.0} µs each, the ledger included");

    let oracle = ProcessOracle::start(config).unwrap();
    assert_eq!(oracle.dims().y, 1);
    let marker = folder.path().to_owned();
    every_row_once(oracle, n, folder.path(), move |answered| {
        if answered == n / 4 {
            assert!(crate::site::kill_workers(&marker) > 0, "no worker to kill");
        }
    });
    println!("cluster: ssh: all workers killed in mid-run: {n} rows once each");
}
