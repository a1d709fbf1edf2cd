//! The guide: what the problem is, and how to get a trained policy out of it.
//!
//! Each chapter is short and its programs are run by the documentation tests.

#[doc = include_str!("guide/problem.md")]
pub mod problem {}

#[doc = include_str!("guide/choosing.md")]
pub mod choosing {}

#[doc = include_str!("guide/units.md")]
pub mod units {}

#[doc = include_str!("guide/lambda.md")]
pub mod lambda {}

#[doc = include_str!("guide/budgets.md")]
pub mod budgets {}

#[doc = include_str!("guide/slow_calls.md")]
pub mod slow_calls {}

#[doc = include_str!("guide/algorithm.md")]
pub mod algorithm {}

#[doc = include_str!("guide/leaving.md")]
pub mod leaving {}
