//! What comes before the first row.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use graybox_oracle::{ConnectError, Dims, Oracle, UmBridgeConfig, UmBridgeOracle, UmBridgeServer};

use crate::by_hand::{GOOD, Says, scripted_after, serve_stream};
use crate::{anywhere, ask, forward, truth};

#[test]
fn a_server_of_the_older_protocol_is_asked_in_its_own_words() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let says = |path: &str, body: &str| match path {
                "GET /Info" => r#"{"protocolVersion": 0.9, "support": {"Evaluate": true}}"#,
                "GET /GetInputSizes" => r#"{"inputSizes": [1, 1]}"#,
                "GET /GetOutputSizes" => r#"{"outputSizes": [2]}"#,
                "POST /Evaluate" if body == r#"{"input":[[2.0],[0.5]],"config":{}}"# => GOOD,
                _ => r#"{"error": {"type": "InvalidInput", "message": "not in 0.9"}}"#,
            };
            serve_stream(stream, |path, body| Says::Page("200 OK", says(path, body)));
        }
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([url])).unwrap();
    assert_eq!(oracle.dims(), Dims::new(1, 1, 2));
    assert_eq!(ask(&oracle, &[0.5]), [truth(0.5)]);
}

#[test]
fn what_cannot_be_connected_says_why() {
    let server = UmBridgeServer::start(vec![forward()], anywhere()).unwrap();
    let connect = |config: UmBridgeConfig| UmBridgeOracle::connect(config).err().unwrap();
    let here = || UmBridgeConfig::new([server.url()]);

    let error = connect(UmBridgeConfig {
        model: "backward".into(),
        ..here()
    });
    assert!(
        matches!(&error, ConnectError::NoModel { known, .. } if known == "forward"),
        "{error}"
    );
    let error = connect(UmBridgeConfig {
        d_x: Some(2),
        ..here()
    });
    assert!(matches!(error, ConnectError::Sizes { .. }), "{error}");
    let error = connect(UmBridgeConfig {
        token_variable: Some("GRAYBOX_TEST_NO_SUCH_TOKEN".into()),
        ..here()
    });
    assert!(matches!(error, ConnectError::NoToken(_)), "{error}");
    let secret = connect(UmBridgeConfig::new(["http://user:hunter2@localhost:1"])).to_string();
    assert!(!secret.contains("hunter2"), "{secret}");
    let gone = server.url();
    drop(server);
    let error = connect(UmBridgeConfig::new([gone]));
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[test]
fn a_proxy_that_has_no_server_yet_is_waited_for_before_the_first_row() {
    let url = scripted_after(3, |_| Says::Page("200 OK", GOOD));
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([url])).unwrap();
    assert_eq!(ask(&oracle, &[0.5]), [truth(0.5)]);

    let url = scripted_after(usize::MAX, |_| Says::Nothing);
    let error = UmBridgeOracle::connect(UmBridgeConfig {
        patience: Duration::from_millis(120),
        ..UmBridgeConfig::new([url])
    });
    let error = error.err().unwrap();
    assert!(matches!(error, ConnectError::NotReady { .. }), "{error}");
}

#[test]
fn a_limit_beyond_all_time_is_no_limit() {
    // It is waited for twice, before the first row and at it.
    let url = scripted_after(1, |n| match n {
        0 => Says::Page("503 Service Unavailable", "<html>"),
        _ => Says::Page("200 OK", GOOD),
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        time_limit: Duration::MAX,
        patience: Duration::MAX,
        ..UmBridgeConfig::new([url])
    })
    .unwrap();
    assert_eq!(ask(&oracle, &[0.5]), [truth(0.5)]);
}
