//! UM-Bridge over real connections: our server, and servers that do what others have been seen to do.

#![cfg(feature = "umbridge")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use graybox_oracle::{
    Budget, ConnectError, Dims, FnOracle, Metered, Model, Oracle, Outcome, Page, Queries, RowError,
    Rows, ServeConfig, ServeError, UmBridgeConfig, UmBridgeOracle, UmBridgeServer,
};
use serde_json::{Value, json};

fn anywhere() -> ServeConfig {
    ServeConfig {
        address: ([127, 0, 0, 1], 0).into(),
        ..ServeConfig::default()
    }
}

/// F(x, u) = (x + u, x u), which fails below zero.
fn forward() -> Model {
    let oracle = FnOracle::new(Dims::new(1, 1, 2), |x, u| {
        if u[0] < 0.0 {
            return Err(RowError::Failed("did not converge".into()));
        }
        Ok([x[0] + u[0], x[0] * u[0]])
    });
    Model::from_oracle("forward", oracle)
}

fn ask(oracle: &UmBridgeOracle, u: &[f64]) -> Vec<Outcome> {
    let x = Rows::from_vec(1, vec![2.0; u.len()]).unwrap();
    let u = Rows::from_vec(1, u.to_vec()).unwrap();
    oracle.evaluate(Queries::new(&x, &u).unwrap())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with outcomes, which are results"
)]
fn truth(u: f64) -> Outcome {
    Ok(vec![2.0 + u, 2.0 * u])
}

/// What a server wrote by hand says to `Evaluate`, the handshake being that of `forward`.
enum Says {
    /// This, with this status line.
    Page(&'static str, &'static str),
    /// Nothing: it closes the connection.
    Nothing,
}

/// A server that answers the n-th `Evaluate` as told. Returns its address.
fn scripted(says: impl Fn(usize) -> Says + Send + Sync + 'static) -> String {
    scripted_after(0, says)
}

/// The same behind a proxy that has no server at first, for so many requests.
fn scripted_after(unready: usize, says: impl Fn(usize) -> Says + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let says = Arc::new(says);
    let count = Arc::new(AtomicUsize::new(0));
    let unready = Arc::new(AtomicUsize::new(unready));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (says, count) = (Arc::clone(&says), Arc::clone(&count));
            let unready = Arc::clone(&unready);
            thread::spawn(move || serve_by_hand(stream, &unready, &*says, &count));
        }
    });
    url
}

fn serve_by_hand(
    stream: TcpStream,
    unready: &AtomicUsize,
    says: &dyn Fn(usize) -> Says,
    count: &AtomicUsize,
) {
    serve_stream(stream, |path, _| {
        let one_less = |left: usize| left.checked_sub(1);
        let down = unready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        match path {
            _ if down.is_ok() => Says::Page("503 Service Unavailable", "<html>"),
            "GET /Info" => Says::Page(
                "200 OK",
                r#"{"protocolVersion": 1.0, "models": ["forward"]}"#,
            ),
            "POST /ModelInfo" => Says::Page("200 OK", r#"{"support": {"Evaluate": true}}"#),
            "POST /InputSizes" => Says::Page("200 OK", r#"{"inputSizes": [1, 1]}"#),
            "POST /OutputSizes" => Says::Page("200 OK", r#"{"outputSizes": [2]}"#),
            _ => says(count.fetch_add(1, Ordering::SeqCst)),
        }
    });
}

/// Answers the requests of one connection, each by what is said to its method and path and its body.
fn serve_stream(stream: TcpStream, says: impl Fn(&str, &str) -> Says) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if path.is_empty() {
                line.trim_end()
                    .trim_end_matches(" HTTP/1.1")
                    .clone_into(&mut path);
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let Says::Page(status, body) = says(&path, &String::from_utf8(body).unwrap()) else {
            return;
        };
        let page = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if writer.write_all(page.as_bytes()).is_err() {
            return;
        }
    }
}

const GOOD: &str = r#"{"output": [[2.5, 1.0]] }"#;

#[test]
fn a_served_oracle_is_as_good_as_a_closure() {
    let server = UmBridgeServer::start(vec![forward()], anywhere()).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        connections: 4,
        ..UmBridgeConfig::new([server.url()])
    })
    .unwrap();
    assert_eq!(oracle.dims(), Dims::new(1, 1, 2));
    let u: Vec<f64> = (0..200).map(|k| f64::from(k) / 7.0).collect();
    let expected: Vec<Outcome> = u.iter().map(|u| truth(*u)).collect();
    assert_eq!(ask(&oracle, &u), expected);
    assert_eq!(
        ask(&oracle, &[-1.0, f64::NAN, 0.5]),
        [
            Err(RowError::Failed("did not converge".into())),
            Err(RowError::Invalid),
            truth(0.5)
        ]
    );
}

/// F(x, u) = (u₁ + 2 u₂, x u₁ u₂) in two outputs, with its gradient with respect to u.
fn smooth() -> Model {
    Model::new("forward", [1, 2], [1, 1], |input: &[Vec<f64>]| {
        let (x, u) = (input[0][0], &input[1]);
        Ok::<_, String>(vec![vec![u[0] + 2.0 * u[1]], vec![x * u[0] * u[1]]])
    })
    .with_gradient(|output, input, values, sens| {
        let (x, u) = (values[0][0], &values[1]);
        if u[0] > 100.0 {
            return Err("no adjoint there".to_string());
        }
        assert_eq!(input, 1, "nobody asks for the context's");
        let row = [[1.0, 2.0], [x * u[1], x * u[0]]][output];
        Ok(row.iter().map(|value| sens[0] * value).collect())
    })
}

fn pull_back(oracle: &UmBridgeOracle, u: &[f64], sens: &[f64]) -> Option<Vec<Outcome>> {
    let u = Rows::from_vec(2, u.to_vec()).unwrap();
    let x = Rows::from_vec(1, vec![3.0; u.len()]).unwrap();
    let sens = Rows::from_vec(2, sens.to_vec()).unwrap();
    oracle.pull_back(Queries::new(&x, &u).unwrap(), &sens)
}

#[test]
fn a_model_that_may_be_asked_for_its_gradient_gives_it_row_by_row() {
    let server = UmBridgeServer::start(vec![smooth()], anywhere()).unwrap();
    let config = UmBridgeConfig {
        gradient: true,
        connections: 2,
        ..UmBridgeConfig::new([server.url()])
    };
    let oracle = UmBridgeOracle::connect(config).unwrap();
    let u = [5.0, 7.0, 101.0, 0.0, 5.0, 7.0];
    let pulled = pull_back(&oracle, &u, &[10.0, 1.0, 1.0, 0.0, 0.0, 0.0]).unwrap();
    let expected = [
        Ok(vec![10.0 + 21.0, 20.0 + 15.0]),
        Err(RowError::Failed("no adjoint there".into())),
        Ok(vec![0.0, 0.0]),
    ];
    assert_eq!(pulled, expected);
}

#[test]
fn a_gradient_is_refused_where_there_is_none_and_kept_back_where_it_is_not_allowed() {
    let server = UmBridgeServer::start(vec![forward()], anywhere()).unwrap();
    let config = UmBridgeConfig {
        gradient: true,
        ..UmBridgeConfig::new([server.url()])
    };
    let error = UmBridgeOracle::connect(config).err().unwrap().to_string();
    assert!(error.contains("`forward` offers no gradient"), "{error}");

    let server = UmBridgeServer::start(vec![smooth()], anywhere()).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([server.url()])).unwrap();
    assert_eq!(pull_back(&oracle, &[5.0, 7.0], &[1.0, 1.0]), None);
}

#[test]
fn calls_of_the_gradient_are_charged_and_a_black_box_has_none() {
    let server = UmBridgeServer::start(vec![smooth()], anywhere()).unwrap();
    let config = UmBridgeConfig {
        gradient: true,
        ..UmBridgeConfig::new([server.url()])
    };
    let oracle = UmBridgeOracle::connect(config).unwrap();
    let (x, u) = (
        Rows::from_vec(1, vec![3.0; 2]).unwrap(),
        Rows::from_vec(2, vec![5.0, 7.0, 101.0, 0.0]).unwrap(),
    );
    let queries = Queries::new(&x, &u).unwrap();
    let sens = Rows::from_vec(2, vec![1.0; 4]).unwrap();
    let mut metered = Metered::new(oracle, Budget::new(3).unwrap());
    assert!(metered.pull_back(queries, &sens).unwrap().is_some());
    assert_eq!((metered.calls(), metered.failed()), (2, 1));
    assert!(metered.pull_back(queries, &sens).is_err());

    let black = FnOracle::new(Dims::new(1, 2, 2), |_, u| [u[0], u[1]]);
    let mut metered = Metered::new(black, Budget::new(3).unwrap());
    assert_eq!(metered.pull_back(queries, &sens).unwrap(), None);
    assert_eq!(metered.calls(), 0);
}

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
fn as_many_calls_run_at_once_as_there_are_connections() {
    // Each of the four calls waits for the other three: they only end together.
    let together = Arc::new(Barrier::new(4));
    let model = Model::from_fn("forward", 2, 1, move |_| {
        together.wait();
        Ok::<_, RowError>(vec![1.0])
    });
    let config = ServeConfig {
        workers: 4,
        ..anywhere()
    };
    let server = UmBridgeServer::start(vec![model], config).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        connections: 4,
        d_x: Some(1),
        ..UmBridgeConfig::new([server.url()])
    })
    .unwrap();
    assert!(ask(&oracle, &[0.0; 8]).iter().all(Result::is_ok));
}

#[test]
fn threads_may_ask_at_once() {
    let server = UmBridgeServer::start(vec![forward()], anywhere()).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        connections: 2,
        ..UmBridgeConfig::new([server.url()])
    });
    let oracle = Arc::new(oracle.unwrap());
    let (told, heard) = channel();
    for thread in 0..4 {
        let (oracle, told) = (Arc::clone(&oracle), told.clone());
        thread::spawn(move || {
            for round in 0..25 {
                let first = f64::from(100 * thread + round);
                // As many rows as no other thread asks for.
                let rows = 0..=2 * thread;
                let u: Vec<f64> = rows.map(|row| first + f64::from(row) / 8.0).collect();
                let expected: Vec<Outcome> = u.iter().map(|u| truth(*u)).collect();
                // The receiver is gone only if the test has failed.
                let _ = told.send((ask(&oracle, &u), expected));
            }
        });
    }
    // A call that waits for the rows of another would wait for ever.
    for _ in 0..4 * 25 {
        let (outcomes, expected) = heard.recv_timeout(Duration::from_mins(1)).unwrap();
        assert_eq!(outcomes, expected);
    }
}

#[test]
fn a_model_that_panics_fails_its_row_alone() {
    let model = Model::from_fn("forward", 2, 1, |xu| {
        assert!(xu[1] >= 0.0, "a bug in the model");
        Ok::<_, RowError>(vec![xu[1]])
    });
    let server = UmBridgeServer::start(vec![model], anywhere()).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        d_x: Some(1),
        ..UmBridgeConfig::new([server.url()])
    })
    .unwrap();
    let outcomes = ask(&oracle, &[1.0, -1.0, 2.0]);
    assert_eq!(
        (&outcomes[0], &outcomes[2]),
        (&Ok(vec![1.0]), &Ok(vec![2.0]))
    );
    assert!(matches!(&outcomes[1], Err(RowError::Failed(reason)) if reason.contains("panicked")));
}

#[test]
fn a_server_that_is_dropped_closes_its_connections_and_waits_for_its_models() {
    let (begun, begins) = channel();
    let (ending, ends) = channel::<()>();
    let (ended, has_ended) = channel();
    let ends = Mutex::new(ends);
    let model = Model::from_fn("forward", 2, 1, move |_| {
        begun.send(()).unwrap();
        ends.lock().unwrap().recv().unwrap();
        ended.send(()).unwrap();
        Ok::<_, RowError>(vec![1.0])
    });
    let server = UmBridgeServer::start(vec![model], anywhere()).unwrap();
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        d_x: Some(1),
        retries: 0,
        ..UmBridgeConfig::new([server.url()])
    })
    .unwrap();
    let asking = thread::spawn(move || ask(&oracle, &[0.5]));
    begins.recv().unwrap();
    let dropping = thread::spawn(move || drop(server));
    // The call is over while its model is still at work.
    let outcomes = asking.join().unwrap();
    assert!(
        matches!(outcomes[..], [Err(RowError::Crashed(_))]),
        "{outcomes:?}"
    );
    assert!(has_ended.try_recv().is_err());
    ending.send(()).unwrap();
    dropping.join().unwrap();
    assert!(has_ended.try_recv().is_ok());
}

#[test]
fn pages_stand_beside_the_protocol_and_not_in_its_way() {
    let double = Page::post("/double", |body: &[u8]| {
        let number: f64 = serde_json::from_slice(body)?;
        Ok::<_, serde_json::Error>(json!(2.0 * number))
    });
    let pages = vec![Page::get("/", || json!("hello")), double];
    let server = UmBridgeServer::start_with(vec![forward()], pages, anywhere()).unwrap();
    let agent = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = ureq::Agent::new_with_config(agent.build());
    let said = |mut response: ureq::http::Response<ureq::Body>| {
        let text = response.body_mut().read_to_string().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        (response.status().as_u16(), value)
    };
    let url = |path: &str| format!("{}{path}", server.url());
    let read = |path: &str| said(agent.get(url(path)).call().unwrap());
    let send = |path: &str, body: &str| said(agent.post(url(path)).send(body).unwrap());

    assert_eq!(read("/"), (200, json!("hello")));
    assert_eq!(send("/double", "4"), (200, json!(8.0)));
    let (status, refused) = send("/double", "four");
    assert_eq!(
        (status, &refused["error"]["type"]),
        (400, &json!("InvalidInput"))
    );
    let (status, missing) = read("/double");
    assert_eq!(
        (status, &missing["error"]["type"]),
        (404, &json!("NotFound"))
    );
    let message = missing["error"]["message"].as_str().unwrap();
    assert!(message.contains("POST /double"), "{message}");
    assert_eq!(read("/Info").1["models"], json!(["forward"]));

    for path in ["/Info", "double", "/{all}"] {
        let pages = vec![Page::get(path, || json!(0))];
        let refused = UmBridgeServer::start_with(vec![forward()], pages, anywhere());
        assert!(matches!(refused, Err(ServeError::Models(_))), "{path}");
    }
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
fn an_exception_and_a_nan_fail_their_rows_alone() {
    let url = scripted(|n| match n {
        0 => Says::Page(
            "500 Internal Server Error",
            "500: Server got itself in trouble",
        ),
        1 => Says::Page("200 OK", r#"{"output": [[nan, inf]] }"#),
        _ => Says::Page("200 OK", GOOD),
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([url])).unwrap();
    let outcomes = ask(&oracle, &[0.5; 3]);
    assert!(matches!(&outcomes[0], Err(RowError::Failed(reason)) if reason.contains("500")));
    assert!(matches!(&outcomes[1], Err(RowError::Malformed(reason)) if reason.contains("finite")));
    assert_eq!(outcomes[2], truth(0.5));
}

#[test]
fn a_broken_connection_is_tried_again_a_stated_number_of_times() {
    let once = scripted(|n| match n {
        0 => Says::Nothing,
        _ => Says::Page("200 OK", GOOD),
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([once])).unwrap();
    assert_eq!(ask(&oracle, &[0.5]), [truth(0.5)]);

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let always = scripted(move |n| {
        counted.store(n + 1, Ordering::SeqCst);
        Says::Nothing
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        retries: 1,
        ..UmBridgeConfig::new([always])
    })
    .unwrap();
    assert!(matches!(
        ask(&oracle, &[0.5])[..],
        [Err(RowError::Crashed(_))]
    ));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_busy_proxy_is_waited_for() {
    let url = scripted(|n| match n {
        0 | 1 => Says::Page(
            "503 Service Unavailable",
            "<html>No server is available</html>",
        ),
        _ => Says::Page("200 OK", GOOD),
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig::new([url])).unwrap();
    assert_eq!(ask(&oracle, &[0.5; 2]), [truth(0.5), truth(0.5)]);
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

#[test]
fn the_rows_of_a_server_that_is_gone_go_to_the_others() {
    let (a, b) = (
        UmBridgeServer::start(vec![forward()], anywhere()).unwrap(),
        UmBridgeServer::start(vec![forward()], anywhere()).unwrap(),
    );
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        patience: Duration::from_millis(200),
        ..UmBridgeConfig::new([a.url(), b.url()])
    })
    .unwrap();
    let u = [0.0, 0.25, 0.5, 0.75];
    assert_eq!(ask(&oracle, &u), u.map(truth));
    drop(a);
    assert_eq!(ask(&oracle, &u), u.map(truth));
    let address = b.address();
    drop(b);
    for outcome in ask(&oracle, &u) {
        assert!(
            matches!(outcome, Err(RowError::Unavailable(_))),
            "{outcome:?}"
        );
    }
    // One that comes back is used again.
    let again = ServeConfig {
        address,
        ..ServeConfig::default()
    };
    let _b = UmBridgeServer::start(vec![forward()], again).unwrap();
    assert_eq!(ask(&oracle, &u), u.map(truth));
}

#[test]
fn a_server_that_only_fails_is_given_up() {
    let url = scripted(|_| Says::Page("500 Internal Server Error", "in trouble"));
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        silent_failures: 3,
        ..UmBridgeConfig::new([url])
    })
    .unwrap();
    let outcomes = ask(&oracle, &[0.5; 5]);
    let failed = |outcome: &&Outcome| matches!(outcome, Err(RowError::Failed(_)));
    let gone = |outcome: &&Outcome| matches!(outcome, Err(RowError::Unavailable(_)));
    assert_eq!(outcomes.iter().filter(failed).count(), 3);
    assert_eq!(outcomes.iter().filter(gone).count(), 2);
}
