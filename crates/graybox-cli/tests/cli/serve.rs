//! `graybox serve`.

use std::io::{BufRead, Read, Write};
use std::process::Stdio;

use crate::desk::Desk;

/// A served policy, ended when it is dropped.
pub(crate) struct Server {
    child: std::process::Child,
    pub(crate) address: String,
}

impl Server {
    /// Serves what was trained in the folder `run`.
    pub(crate) fn start(desk: &Desk) -> Self {
        let mut command = desk.command("serve run --port 0");
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
    desk.refused(2, "serve none", &["no policy.json in none"]);
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
    let lists = "predict run --format json";
    let predicted = desk.run_with_input(lists, "[[20, 1.0], [30.5, -2]]").out;
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
    let of = |name: &str, x: &str| format!(r#"{{"name":"{name}","input":[{x}]}}"#);
    refused(
        "/Evaluate",
        &of("forward", "[1,2]"),
        "ModelNotFound",
        "forward",
    );
    refused(
        "/Evaluate",
        &of("policy", "[1]"),
        "InvalidInput",
        "expected [2]",
    );
    refused("/Evaluate", "{", "InvalidInput", "cannot be read");
    for path in ["Gradient", "ApplyJacobian"] {
        refused(&format!("/{path}"), about, "UnsupportedFeature", path);
    }
    refused("/predict", "[[1]]", "InvalidInput", "row 0 has 1 numbers");
    refused("/nothing", "", "NotFound", "POST /predict");

    let taken = server.address.rsplit(':').next().unwrap();
    desk.refused(
        2,
        &format!("serve run --port {taken}"),
        &["cannot listen on 127.0.0.1"],
    );
    let nowhere = "serve run --bind nowhere.invalid";
    desk.refused(2, nowhere, &["nowhere.invalid:4242 is no address"]);
}
