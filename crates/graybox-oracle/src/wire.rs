//! JSON lines: what is written to a program, and what may come back.
//!
//! A request is one line, `{"id":7,"x":[..],"u":[..]}`, and so is its answer, `{"id":7,"y":[..]}` or
//! `{"id":7,"error":".."}`. In a batch `x`, `u` and `y` are lists of rows; a row that failed is `null` in
//! `y`, with its reason in `errors`.
//!
//! Everything read here comes from a program that may be wrong. Lines are bounded, lists are counted past
//! their expected length but not stored, and nesting is left to `serde_json`, which stops at 128 levels.
//! Strict JSON has no NaN, yet Python's `json.dumps` writes one by default: such a line is read with the
//! number taken as NaN, so that the row fails with its true reason and the rest of the line stands.

mod json;
mod lines;
mod reply;
mod request;

pub(crate) use json::{Number, excerpt, parse};
#[cfg(feature = "umbridge")]
pub(crate) use json::{read_capped, text};
pub(crate) use lines::Lines;
pub(crate) use reply::{Reply, ReplyId};
pub(crate) use request::{DESCRIBE, write_row, write_rows};
