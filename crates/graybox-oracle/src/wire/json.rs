//! JSON as others write it: with NaN, with longer lists than were asked for, with anything at all.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Reads a line of JSON in which numbers may be NaN or infinite. `scratch` is used only if one is.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    line: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<T, String> {
    let strict = match serde_json::from_slice(line) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if blank_non_finite(line, scratch)
        && let Ok(value) = serde_json::from_slice(scratch)
    {
        return Ok(value);
    }
    Err(strict.to_string())
}

/// A list of which only the expected number of items is stored.
pub(crate) struct Capped<T> {
    pub(crate) kept: Vec<T>,
    pub(crate) found: usize,
}

pub(crate) fn read_capped<'a, T: Deserialize<'a>>(
    list: &'a RawValue,
    n: usize,
) -> serde_json::Result<Capped<T>> {
    struct CappedVisitor<T>(Capped<T>, usize);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for CappedVisitor<T> {
        type Value = Capped<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
            while self.0.found < self.1
                && let Some(item) = list.next_element()?
            {
                self.0.kept.push(item);
                self.0.found += 1;
            }
            while list.next_element::<IgnoredAny>()?.is_some() {
                self.0.found += 1;
            }
            Ok(self.0)
        }
    }

    let empty = Capped {
        kept: Vec::new(),
        found: 0,
    };
    serde_json::Deserializer::from_str(list.get()).deserialize_seq(CappedVisitor(empty, n))
}

/// A number; null is read as NaN.
pub(crate) struct Number(pub(crate) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number(f64::NAN))
            }
        }

        deserializer.deserialize_any(NumberVisitor)
    }
}

/// What an error says: its text if it is a string, otherwise its JSON, in either case not all of a novel.
pub(crate) fn text(error: &RawValue) -> String {
    let said = serde_json::from_str(error.get()).unwrap_or_else(|_| error.get().to_owned());
    excerpt(said.trim().as_bytes(), 500)
}

/// Copies a line with every bare number that is not finite (`NaN`, `-Infinity`, `1e999`) turned into null.
/// Returns whether there was one.
fn blank_non_finite(line: &[u8], copy: &mut Vec<u8>) -> bool {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    copy.clear();
    let mut found = false;
    let mut rest = line;
    while let Some(&byte) = rest.first() {
        let token = if byte == b'"' {
            string_len(rest)
        } else if bare(byte) {
            rest.iter().take_while(|byte| bare(**byte)).count()
        } else {
            1
        };
        let (token, after) = rest.split_at(token);
        let number = std::str::from_utf8(token)
            .ok()
            .and_then(|token| token.parse::<f64>().ok());
        if number.is_some_and(|number| !number.is_finite()) {
            copy.extend_from_slice(b"null");
            found = true;
        } else {
            copy.extend_from_slice(token);
        }
        rest = after;
    }
    found
}

/// The length of the JSON string at the start, with its quotes; of all that is left if it never ends.
fn string_len(json: &[u8]) -> usize {
    let mut escaped = false;
    for (at, &byte) in json.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

/// What a line begins with, on one line and fit to be shown.
pub(crate) fn excerpt(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * limit)]);
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limit)
        .collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}
