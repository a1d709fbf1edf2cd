//! What is written to a server, and what may come back.
//!
//! Everything read here comes from a server that may be wrong: answers are bounded before they get here, lists
//! are counted past their expected length but not stored, and NaN, which Python servers write as it stands with
//! status 200, is read as what it is and fails its row alone.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::expected::Expected;
use crate::wire::{Number, excerpt, parse, read_capped, text};
use crate::{Outcome, RowError};

/// Appends a request for one row.
pub(super) fn write_evaluate(
    body: &mut Vec<u8>,
    name: Option<&str>,
    blocks: &[impl serde::Serialize],
    config: &Map<String, Value>,
) {
    body.push(b'{');
    if let Some(name) = name {
        body.extend_from_slice(b"\"name\":");
        write_value(body, name);
        body.push(b',');
    }
    body.extend_from_slice(b"\"input\":");
    write_value(body, blocks);
    body.extend_from_slice(b",\"config\":");
    write_value(body, config);
    body.push(b'}');
}

/// Which derivative is asked for: that of an output with respect to an input, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrt {
    pub(super) output: usize,
    pub(super) input: usize,
}

/// What is asked of a derivative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Derivative {
    /// `sensᵀ ∂output/∂input`, as long as the input: `Gradient`.
    Gradient,
    /// `∂output/∂input · vec`, as long as the output: `ApplyJacobian`.
    Jacobian,
}

impl Derivative {
    /// Where it is asked for.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Gradient => "Gradient",
            Self::Jacobian => "ApplyJacobian",
        }
    }

    /// What the other factor is called.
    pub(super) fn factor(self) -> &'static str {
        match self {
            Self::Gradient => "sens",
            Self::Jacobian => "vec",
        }
    }
}

/// Appends a request for a derivative of one row, times the factor.
pub(super) fn write_derivative(
    body: &mut Vec<u8>,
    name: Option<&str>,
    (derivative, wrt): (Derivative, Wrt),
    blocks: &[impl serde::Serialize],
    factor: &[f64],
    config: &Map<String, Value>,
) {
    write_evaluate(body, name, blocks, config);
    let closing = body.pop();
    debug_assert_eq!(closing, Some(b'}'), "a request is an object");
    body.extend_from_slice(b",\"outWrt\":");
    write_value(body, &wrt.output);
    body.extend_from_slice(b",\"inWrt\":");
    write_value(body, &wrt.input);
    body.push(b',');
    write_value(body, derivative.factor());
    body.push(b':');
    write_value(body, factor);
    body.push(b'}');
}

fn write_value<T: serde::Serialize + ?Sized>(body: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(body, value).expect("numbers, names and JSON values are JSON");
}

/// What an answer means for the row and for its server.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The row is done.
    Outcome(Outcome),
    /// The model failed on the row, without giving a reason.
    Silent(RowError),
    /// Nobody has looked at the row: the server, or the proxy before it, has no room or no model just now.
    NotNow(String),
    /// The server will not take rows from this client at all.
    Never(String),
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Whether a status says that the server, or the proxy before it, has no room or no model just now.
pub(super) fn not_now(status: u16) -> bool {
    matches!(status, 408 | 429 | 502..=504)
}

/// Reads the answer to `Evaluate`. `output_sizes` are those of the model.
pub(super) fn read_evaluate(status: u16, body: &[u8], output_sizes: &[usize]) -> Verdict {
    read(status, body, |output| read_output(output, output_sizes))
}

/// Reads a derivative times a factor, which is one list of so many numbers.
pub(super) fn read_derivative(status: u16, body: &[u8], size: usize) -> Verdict {
    read(status, body, |output| {
        let mut product = Vec::with_capacity(size);
        read_block(output, &"`output`", size, &mut product)?;
        finite(Expected::Gradient(size), product)
    })
}

fn read(status: u16, body: &[u8], read_output: impl FnOnce(&RawValue) -> Outcome) -> Verdict {
    match status {
        _ if not_now(status) => return Verdict::NotNow(format!("HTTP status {status}")),
        300..=399 | 401 | 403 | 404 | 405 | 407 => {
            let said = excerpt(body, 120);
            return Verdict::Never(format!("HTTP status {status}: {said}"));
        }
        _ => {}
    }
    let mut scratch = Vec::new();
    let answer: Answer<'_> = match parse(body, &mut scratch) {
        Ok(answer) => answer,
        // Python's server answers an exception with a page of text.
        Err(_) if status >= 500 => {
            let said = excerpt(body, 120);
            let reason =
                format!("the model failed without a reason (HTTP status {status}: {said})");
            return Verdict::Silent(RowError::Failed(reason));
        }
        Err(error) => {
            let said = excerpt(body, 120);
            return malformed(format!("`{said}` is no answer: {error}"));
        }
    };
    if let Some(error) = answer.error {
        return read_error(error);
    }
    match answer.output {
        Some(output) => Verdict::Outcome(read_output(output)),
        None => malformed("it has neither `output` nor `error`".into()),
    }
}

fn malformed(reason: String) -> Verdict {
    Verdict::Outcome(Err(RowError::Malformed(reason)))
}

/// An error in the protocol's form, or anything else under its name.
fn read_error(error: &RawValue) -> Verdict {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "type", default)]
        kind: String,
        #[serde(default)]
        message: String,
    }
    let Ok(error) = serde_json::from_str::<Error>(error.get()) else {
        return Verdict::Outcome(Err(RowError::Failed(text(error))));
    };
    let message = excerpt(error.message.trim().as_bytes(), 500);
    match error.kind.as_str() {
        "ModelNotFound" | "UnsupportedFeature" => {
            Verdict::Never(format!("{}: {message}", error.kind))
        }
        _ => Verdict::Outcome(Err(RowError::Failed(message))),
    }
}

/// The blocks of an output, one after the other.
fn read_output(output: &RawValue, sizes: &[usize]) -> Outcome {
    let blocks = read_capped::<&RawValue>(output, sizes.len());
    let blocks = blocks.map_err(|error| unreadable("a list of lists", &error))?;
    if blocks.found != sizes.len() {
        let reason = format!(
            "`output` has {} lists, expected {}",
            blocks.found,
            sizes.len()
        );
        return Err(RowError::Malformed(reason));
    }
    let mut y = Vec::with_capacity(sizes.iter().sum());
    for (index, (block, &size)) in blocks.kept.into_iter().zip(sizes).enumerate() {
        let name = format_args!("list {index} of `output`");
        read_block(block, &name, size, &mut y)?;
    }
    finite(Expected::Outcome(y.len()), y)
}

fn unreadable(expected: &str, error: &dyn Display) -> RowError {
    RowError::Malformed(format!("`output` is not {expected} of numbers: {error}"))
}

/// Appends a list of numbers. `name` says which it is.
fn read_block(
    block: &RawValue,
    name: &dyn Display,
    size: usize,
    values: &mut Vec<f64>,
) -> Result<(), RowError> {
    let block = read_capped::<Number>(block, size);
    let block = block.map_err(|error| unreadable("a list", &error))?;
    if block.found != size {
        let found = block.found;
        let reason = format!("{name} has {found} numbers, expected {size}");
        return Err(RowError::Malformed(reason));
    }
    values.extend(block.kept.into_iter().map(|number| number.0));
    Ok(())
}

fn finite(expected: Expected, values: Vec<f64>) -> Outcome {
    match expected.not_finite(&values) {
        Some(reason) => Err(RowError::Malformed(reason)),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Verdict {
        read_evaluate(status, body.as_bytes(), &[2, 1])
    }

    fn failed(reason: &str) -> Verdict {
        Verdict::Outcome(Err(RowError::Failed(reason.into())))
    }

    #[test]
    fn a_request_names_the_model_only_where_there_are_several() {
        let config: Map<String, Value> = serde_json::from_str(r#"{"fidelity":2}"#).unwrap();
        let mut body = Vec::new();
        write_evaluate(
            &mut body,
            Some("forward"),
            &[vec![0.1, -2e-9], vec![3.0]],
            &config,
        );
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"name":"forward","input":[[0.1,-2e-9],[3.0]],"config":{"fidelity":2}}"#
        );
        let mut body = Vec::new();
        write_evaluate(&mut body, None, &[[0.0; 0]], &Map::new());
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"input":[[]],"config":{}}"#
        );
    }

    #[test]
    fn a_derivative_is_asked_for_by_the_numbers_of_output_and_input() {
        let wrt = Wrt {
            output: 0,
            input: 1,
        };
        for (derivative, factor) in [
            (Derivative::Gradient, r#""sens":[0.5]"#),
            (Derivative::Jacobian, r#""vec":[0.5]"#),
        ] {
            let mut body = Vec::new();
            let blocks = [[2.0], [3.0]];
            let asked = (derivative, wrt);
            write_derivative(&mut body, Some("f"), asked, &blocks, &[0.5], &Map::new());
            let start = r#"{"name":"f","input":[[2.0],[3.0]],"config":{},"outWrt":0,"inWrt":1,"#;
            let expected = format!("{start}{factor}}}");
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        }
        let read = |body: &str| read_derivative(200, body.as_bytes(), 2);
        let gradient = Verdict::Outcome(Ok(vec![1.0, -2.0]));
        assert_eq!(read(r#"{"output": [1, -2.0]}"#), gradient);
        for (body, part) in [
            (r#"{"output":[1]}"#, "`output` has 1 numbers, expected 2"),
            (r#"{"output":[[1,2]]}"#, "not a list of numbers"),
            (r#"{"output":[1,NaN]}"#, "derivative 1 is NaN"),
        ] {
            let verdict = read(body);
            let Verdict::Outcome(Err(RowError::Malformed(reason))) = verdict else {
                panic!("{body}: {verdict:?}");
            };
            assert!(reason.contains(part), "{body}: {reason}");
        }
    }

    #[test]
    fn blocks_become_one_outcome() {
        let y = Verdict::Outcome(Ok(vec![0.1 + 0.2, 2.0, -3.0]));
        assert_eq!(
            read(200, r#"{"output": [[0.30000000000000004, 2], [-3.0]] }"#),
            y
        );
    }

    #[test]
    fn a_nan_with_status_200_fails_the_row() {
        for nan in ["NaN", "nan", "null", "Infinity", "inf", "-inf"] {
            let verdict = read(200, &format!("{{\"output\": [[{nan}, 2], [3]]}}"));
            let Verdict::Outcome(Err(RowError::Malformed(reason))) = verdict else {
                panic!("{nan}: {verdict:?}");
            };
            assert!(
                reason.contains("expected a finite number"),
                "{nan}: {reason}"
            );
        }
    }

    #[test]
    fn what_the_server_means_is_told_apart() {
        let error = r#"{"error":{"type":"InvalidInput","message":"too hot"}}"#;
        assert_eq!(read(400, error), failed("too hot"));
        assert_eq!(read(200, error), failed("too hot"));
        assert_eq!(read(500, r#"{"error":"no root"}"#), failed("no root"));
        let page = "500 Internal Server Error\n\nServer got itself in trouble";
        assert!(matches!(
            read(500, page),
            Verdict::Silent(RowError::Failed(_))
        ));
        for busy in [429, 502, 503, 504] {
            assert!(matches!(read(busy, "<html>"), Verdict::NotNow(_)));
        }
        for never in [301, 401, 403, 404, 405] {
            assert!(matches!(read(never, "<html>"), Verdict::Never(_)));
        }
        let gone = r#"{"error":{"type":"ModelNotFound","message":"no"}}"#;
        assert!(matches!(read(400, gone), Verdict::Never(_)));
    }

    #[test]
    fn an_answer_of_the_wrong_form_says_what_is_wrong() {
        for (body, part) in [
            ("{}", "neither `output` nor `error`"),
            (r#"{"output":[[1,2]]}"#, "1 lists, expected 2"),
            (
                r#"{"output":[[1,2,3],[4]]}"#,
                "list 0 of `output` has 3 numbers, expected 2",
            ),
            (r#"{"output":[["1",2],[3]]}"#, "not a list of numbers"),
            (r#"{"output":3}"#, "not a list of lists of numbers"),
            ("hello", "is no answer"),
        ] {
            let verdict = read(200, body);
            let Verdict::Outcome(Err(RowError::Malformed(reason))) = verdict else {
                panic!("{body}: {verdict:?}");
            };
            assert!(reason.contains(part), "{body}: {reason}");
        }
    }
}
