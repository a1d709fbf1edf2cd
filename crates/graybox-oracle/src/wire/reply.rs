//! What a program writes back.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Capped, Number, excerpt, parse, read_capped, text};
use crate::expected::Expected;
use crate::{Outcome, RowError};

/// One answer, taken apart but not yet read: what `y` should look like depends on the request.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply<'a> {
    #[serde(default)]
    pub(crate) id: ReplyId,
    #[serde(borrow, default)]
    y: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    describe: Option<&'a RawValue>,
}

/// What an answer gave as its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReplyId {
    /// None, or null.
    #[default]
    Missing,
    /// A whole number, possibly written as `7.0`.
    Number(u64),
    /// Something that is never an id.
    Strange,
}

impl<'a> Reply<'a> {
    /// Takes a line apart.
    pub(crate) fn parse(line: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Self, String> {
        parse(line, scratch)
    }

    /// The description, as JSON.
    pub(crate) fn describe(&self) -> Option<&'a str> {
        self.describe.map(RawValue::get)
    }

    /// The reason given for failing as a whole.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.map(text)
    }

    /// The outcome of a request for one row.
    pub(crate) fn row(&self, d_y: usize) -> Outcome {
        if let Some(reason) = self.error() {
            return Err(RowError::Failed(reason));
        }
        match self.y {
            Some(y) => read_row(y, d_y),
            None => Err(RowError::Malformed(NEITHER.into())),
        }
    }

    /// The outcomes of a request for `n` rows, or why they cannot be told apart.
    pub(crate) fn rows(&self, n: usize, d_y: usize) -> Result<Vec<Outcome>, String> {
        if let Some(reason) = self.error() {
            return Err(reason);
        }
        if let (Some(y), None) = (self.y, self.errors)
            && let Some(outcomes) = read_plain_rows(y, n, d_y)
        {
            return Ok(outcomes);
        }
        let not_rows = |error| format!("`y` is not a list of rows: {error}");
        let rows: Capped<&RawValue> = read_capped(self.y.ok_or(NEITHER)?, n).map_err(not_rows)?;
        if rows.found != n {
            return Err(format!("`y` has {} rows in answer to {n}", rows.found));
        }
        let reasons: Vec<&RawValue> = match self.errors {
            Some(errors) => {
                let not_list = |error| format!("`errors` is not a list: {error}");
                read_capped(errors, n).map_err(not_list)?.kept
            }
            None => Vec::new(),
        };
        let mut reasons = reasons.into_iter();
        let mut outcomes = Vec::with_capacity(n);
        for row in rows.kept {
            let reason = reasons.next().filter(|reason| reason.get() != "null");
            outcomes.push(match (reason, row.get()) {
                (Some(reason), _) => Err(RowError::Failed(text(reason))),
                (None, "null") => Err(RowError::Failed("no reason given".into())),
                (None, list) if list.starts_with('[') => read_row(row, d_y),
                (None, other) => return Err(not_rows_but(other)),
            });
        }
        Ok(outcomes)
    }
}

const NEITHER: &str = "it has neither `y` nor `error`";

fn not_rows_but(item: &str) -> String {
    let item = excerpt(item.as_bytes(), 40);
    format!("`y` is not a list of rows: it holds {item}")
}

/// One row of numbers, where null stands for one that is not finite.
fn read_row(row: &RawValue, d_y: usize) -> Outcome {
    let row: Capped<Number> = read_capped(row, d_y)
        .map_err(|error| RowError::Malformed(format!("`y` is not a list of numbers: {error}")))?;
    let expected = Expected::Outcome(d_y);
    if row.found != d_y {
        return Err(RowError::Malformed(expected.wrong_width(row.found)));
    }
    let y: Vec<f64> = row.kept.into_iter().map(|number| number.0).collect();
    match expected.not_finite(&y) {
        Some(reason) => Err(RowError::Malformed(reason)),
        None => Ok(y),
    }
}

/// The outcomes of a batch in which nothing went wrong: `n` rows of `d_y` finite numbers, read in one go. None
/// if there is anything else, which is then read with more care.
fn read_plain_rows(y: &RawValue, n: usize, d_y: usize) -> Option<Vec<Outcome>> {
    struct PlainRow<'a> {
        values: &'a mut Vec<f64>,
        d_y: usize,
    }

    impl<'de> DeserializeSeed<'de> for PlainRow<'_> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, row: D) -> Result<(), D::Error> {
            row.deserialize_seq(self)
        }
    }

    impl<'de> Visitor<'de> for PlainRow<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a row")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
            for _ in 0..self.d_y {
                let value = row.next_element()?;
                self.values.push(value.unwrap_or(f64::NAN));
            }
            Ok(())
        }
    }

    struct PlainRows(usize, usize);

    impl<'de> Visitor<'de> for PlainRows {
        type Value = Option<Vec<Outcome>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("rows")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
            let Self(n, d_y) = self;
            let mut outcomes = Vec::with_capacity(n);
            for _ in 0..n {
                let mut values = Vec::with_capacity(d_y);
                let row = PlainRow {
                    values: &mut values,
                    d_y,
                };
                let more = rows.next_element_seed(row)?.is_some();
                if !more || Expected::Outcome(d_y).not_finite(&values).is_some() {
                    return Ok(None);
                }
                outcomes.push(Ok(values));
            }
            Ok(Some(outcomes))
        }
    }

    serde_json::Deserializer::from_str(y.get())
        .deserialize_seq(PlainRows(n, d_y))
        .ok()?
}

impl<'de> Deserialize<'de> for ReplyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        Ok(match raw.get() {
            "null" => Self::Missing,
            json => match serde_json::from_str::<u64>(json) {
                Ok(id) => Self::Number(id),
                // MATLAB, R and Lua write whole numbers as 7.0 or 7e0; 2^53 is as far as f64 counts.
                Err(_) => match serde_json::from_str::<f64>(json) {
                    #[expect(clippy::cast_sign_loss, reason = "checked in the guard")]
                    Ok(id) if id >= 0.0 && id.fract() == 0.0 && id < 9_007_199_254_740_992.0 => {
                        Self::Number(id as u64)
                    }
                    _ => Self::Strange,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Outcome {
        Reply::parse(line.as_bytes(), &mut Vec::new())
            .unwrap()
            .row(2)
    }

    fn rows(line: &str, n: usize) -> Result<Vec<Outcome>, String> {
        Reply::parse(line.as_bytes(), &mut Vec::new())
            .unwrap()
            .rows(n, 1)
    }

    fn malformed<T>(reason: &str) -> Result<T, RowError> {
        Err(RowError::Malformed(reason.into()))
    }

    fn failed<T>(reason: &str) -> Result<T, RowError> {
        Err(RowError::Failed(reason.into()))
    }

    #[test]
    fn numbers_are_read_to_the_last_bit() {
        for value in [0.1 + 0.2, f64::MIN_POSITIVE, f64::MAX, 1.0 / 3.0, 5e-324] {
            assert_eq!(
                row(&format!("{{\"y\":[{value:e},3]}}")),
                Ok(vec![value, 3.0])
            );
        }
    }

    #[test]
    fn a_reason_is_a_failed_row() {
        assert_eq!(row(r#"{"id":1,"error":"no root"}"#), failed("no root"));
        assert_eq!(row(r#"{"error":{"code":3}}"#), failed(r#"{"code":3}"#));
        assert_eq!(row(r#"{"error":null,"y":[1,2]}"#), Ok(vec![1.0, 2.0]));
    }

    #[test]
    fn an_answer_of_the_wrong_form_says_what_is_wrong() {
        assert_eq!(row("{}"), malformed("it has neither `y` nor `error`"));
        assert_eq!(
            row(r#"{"y":[1]}"#),
            malformed("oracle returned 1 values for a row, expected d_y = 2")
        );
        assert_eq!(
            row(r#"{"y":[1,2,3,"x"]}"#),
            malformed("oracle returned 4 values for a row, expected d_y = 2")
        );
        for strange in [r#"["1",2]"#, "[1e999,2]", "3", r#"{"a":1}"#] {
            let Err(RowError::Malformed(reason)) = row(&format!("{{\"y\":{strange}}}")) else {
                panic!("{strange} is not a row");
            };
            assert!(
                reason.starts_with("`y` is not a list of numbers: "),
                "{reason}"
            );
        }
    }

    #[test]
    fn what_is_not_finite_fails_its_row_and_no_other() {
        let reason = "outcome 0 is NaN, expected a finite number";
        assert_eq!(row(r#"{"id":1,"y":[NaN,1]}"#), malformed(reason));
        assert_eq!(row(r#"{"id":1,"y":[null,1]}"#), malformed(reason));
        assert_eq!(
            rows(r#"{"a":"NaN \" NaN","y":[[-Infinity],[1e999],[2.5]]}"#, 3),
            Ok(vec![malformed(reason), malformed(reason), Ok(vec![2.5])])
        );
    }

    #[test]
    fn a_failed_row_of_a_batch_leaves_the_others() {
        assert_eq!(
            rows(r#"{"y":[[1],null,null],"errors":[null,"no root"]}"#, 3),
            Ok(vec![
                Ok(vec![1.0]),
                failed("no root"),
                failed("no reason given")
            ])
        );
    }

    #[test]
    fn a_batch_that_cannot_be_told_apart_is_refused_whole() {
        assert_eq!(
            rows(r#"{"y":[[1],[2]]}"#, 3),
            Err("`y` has 2 rows in answer to 3".into())
        );
        assert_eq!(
            rows(r#"{"error":"one row only"}"#, 3),
            Err("one row only".into())
        );
        assert_eq!(
            rows(r#"{"y":[1,2,3]}"#, 3),
            Err("`y` is not a list of rows: it holds 1".into())
        );
    }

    #[test]
    fn ids_are_whole_numbers_however_written() {
        let id = |json: &str| {
            Reply::parse(format!("{{\"id\":{json}}}").as_bytes(), &mut Vec::new())
                .unwrap()
                .id
        };
        assert_eq!(id("7"), ReplyId::Number(7));
        assert_eq!(id("7.0"), ReplyId::Number(7));
        assert_eq!(id("null"), ReplyId::Missing);
        for strange in [
            "-1",
            "7.5",
            "\"7\"",
            "[]",
            "1e30",
            "99999999999999999999999",
        ] {
            assert_eq!(id(strange), ReplyId::Strange, "{strange}");
        }
    }
}
