//! What servers do instead of answering, and what becomes of the rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use graybox_oracle::{
    Outcome, RowError, ServeConfig, UmBridgeConfig, UmBridgeOracle, UmBridgeServer,
};

use crate::by_hand::{GOOD, Says, scripted};
use crate::{anywhere, ask, forward, truth};

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
