//! What the workers share: rows on their way to an answer.

use std::collections::VecDeque;

use crate::{Answer, Description, Dims};

/// One row on its way to an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// Its place among the rows asked.
    pub(super) row: usize,
    /// How many workers died over it while they held nothing else.
    pub(super) deaths: u32,
    /// The worker that died over it last.
    pub(super) avoid: Option<usize>,
}

/// What the workers share: the rows to be asked, and the answers.
#[derive(Debug)]
pub(super) struct Work {
    /// Rows not yet asked.
    pub(super) queue: VecDeque<Task>,
    /// Rows that were in doubtful company and are asked again alone.
    pub(super) suspects: VecDeque<Task>,
    /// Rows and what came of them.
    pub(super) answers: Vec<Answer>,
    /// Rows to a line. Falls to one if the first list of rows is refused.
    pub(super) batch: usize,
    /// Whether a list of rows has ever been answered.
    pub(super) takes_lists: bool,
    /// The sizes, once known.
    pub(super) dims: Option<Dims>,
    /// What the first worker said of itself.
    pub(super) description: Option<Description>,
    pub(super) next_id: u64,
}
