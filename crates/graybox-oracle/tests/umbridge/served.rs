//! Our server and our client together.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use graybox_oracle::{
    Dims, Lanes, Model, Oracle, Outcome, Page, Queries, RowError, Rows, ServeConfig, ServeError,
    UmBridgeConfig, UmBridgeOracle, UmBridgeServer,
};
use serde_json::{Value, json};

use crate::{anywhere, ask, forward, truth};

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
fn rows_that_are_asked_one_by_one_are_spread_over_the_servers_as_well() {
    // A server answers one row at a time, and none before the other server has one.
    let together = Arc::new(Barrier::new(2));
    let servers = [(); 2].map(|()| {
        let together = Arc::clone(&together);
        let model = Model::from_fn("forward", 2, 1, move |_| {
            together.wait();
            Ok::<_, RowError>(vec![1.0])
        });
        let alone = ServeConfig {
            workers: 1,
            ..anywhere()
        };
        UmBridgeServer::start(vec![model], alone).unwrap()
    });
    let oracle = UmBridgeOracle::connect(UmBridgeConfig {
        d_x: Some(1),
        time_limit: Duration::from_secs(20),
        ..UmBridgeConfig::new(servers.iter().map(UmBridgeServer::url))
    })
    .unwrap();
    let connections = oracle.connections();
    let lanes = Lanes::sharing(oracle, connections);
    let u = Rows::from_vec(1, vec![0.0; 6]).unwrap();
    let outcomes = lanes.evaluate(Queries::new(&u, &u).unwrap());
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
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
