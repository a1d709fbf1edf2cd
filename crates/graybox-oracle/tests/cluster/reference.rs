//! UM-Bridge against its reference implementation in Python: their client with our server, our client with theirs.

use std::env;
use std::fs;
use std::process::Command;

use graybox_oracle::{Dims, Oracle, Queries, RowError, Rows, UmBridgeConfig, UmBridgeOracle};

use crate::haproxy::{listens, serve};
use crate::site::{Daemon, free_port, wait_for};

fn python() -> Command {
    Command::new(env::var("GRAYBOX_PYTHON").unwrap_or_else(|_| "python3".into()))
}

pub(crate) fn is_installed() -> bool {
    let output = python().args(["-c", "import umbridge"]).output();
    output.is_ok_and(|output| output.status.success())
}

const CLIENT: &str = r#"
import sys, umbridge
url = sys.argv[1]
assert umbridge.supported_models(url) == ["forward"]
model = umbridge.HTTPModel(url, "forward")
assert model.supports_evaluate() and not model.supports_gradient()
assert model.get_input_sizes() == [1, 1] and model.get_output_sizes() == [1]
[[y]] = model([[9.81], [0.7853981633974483]])
assert abs(y - 9.81) < 1e-9, y
for wrong in [[[1.0], [-1.0]], [[1.0, 2.0], [0.5]], [[1.0]]]:
    try:
        model(wrong)
    except Exception as error:
        print(type(error).__name__, error)
    else:
        raise SystemExit(f"{wrong} was answered")
try:
    umbridge.HTTPModel(url, "backward")
except Exception as error:
    print(type(error).__name__, error)
else:
    raise SystemExit("there is no model of that name")
"#;

const SERVER: &str = r#"
import sys, umbridge

class Throw(umbridge.Model):
    def __init__(self): super().__init__("forward")
    def get_input_sizes(self, config): return [1, 2]
    def get_output_sizes(self, config): return [1, 1]
    def supports_evaluate(self): return True
    def __call__(self, parameters, config):
        [x], [u, v] = parameters
        if u < 0: raise ValueError("below the horizon")
        if v < 0: return [[float("nan")], [float("inf")]]
        return [[x + u * config.get("scale", 1)], [x * v]]

umbridge.serve_models([Throw()], int(sys.argv[1]))
"#;

pub(crate) fn test() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let ours = serve(port, folder.path());
    wait_for("our server", || listens(port));
    let url = format!("http://127.0.0.1:{port}");
    let client = python().args(["-c", CLIENT, &url]).output().unwrap();
    let said = String::from_utf8_lossy(&client.stderr).into_owned();
    assert!(client.status.success(), "{said}");
    assert_eq!(ours.lines() - 1, 2, "calls that reached the model");

    let port = free_port();
    let program = folder.path().join("server.py");
    fs::write(&program, SERVER).unwrap();
    let mut command = python();
    command.arg(&program).arg(port.to_string());
    let _theirs = Daemon::start(&mut command, &folder.path().join("theirs"));
    wait_for("their server", || listens(port));
    let config = UmBridgeConfig {
        config: serde_json::from_str(r#"{"scale": 10}"#).unwrap(),
        ..UmBridgeConfig::new([format!("http://127.0.0.1:{port}")])
    };
    let oracle = UmBridgeOracle::connect(config).unwrap();
    assert_eq!(oracle.dims(), Dims::new(1, 2, 2));
    let x = Rows::from_vec(1, vec![2.0; 4]).unwrap();
    let u = vec![0.5, 3.0, -1.0, 3.0, 0.5, -1.0, 0.25, 1.0];
    let u = Rows::from_vec(2, u).unwrap();
    let outcomes = oracle.evaluate(Queries::new(&x, &u).unwrap());
    assert_eq!(outcomes[0], Ok(vec![7.0, 6.0]));
    assert!(
        matches!(outcomes[1], Err(RowError::Failed(_))),
        "{outcomes:?}"
    );
    assert!(
        matches!(outcomes[2], Err(RowError::Malformed(_))),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[3], Ok(vec![4.5, 2.0]));
    println!(
        "cluster: reference: umbridge's Python client on our server, our client on its server"
    );
}
