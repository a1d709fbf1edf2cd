//! Servers written by hand, which say what others have been seen to say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a server wrote by hand says to `Evaluate`, the handshake being that of `forward`.
pub(crate) enum Says {
    /// This, with this status line.
    Page(&'static str, &'static str),
    /// Nothing: it closes the connection.
    Nothing,
}

/// The answer of `forward` at x = 2 and u = 0.5.
pub(crate) const GOOD: &str = r#"{"output": [[2.5, 1.0]] }"#;

/// A server that answers the n-th `Evaluate` as told. Returns its address.
pub(crate) fn scripted(says: impl Fn(usize) -> Says + Send + Sync + 'static) -> String {
    scripted_after(0, says)
}

/// The same behind a proxy that has no server at first, for so many requests.
pub(crate) fn scripted_after(
    unready: usize,
    says: impl Fn(usize) -> Says + Send + Sync + 'static,
) -> String {
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
pub(crate) fn serve_stream(stream: TcpStream, says: impl Fn(&str, &str) -> Says) {
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
