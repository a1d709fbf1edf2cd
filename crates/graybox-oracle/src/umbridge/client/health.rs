//! How a server is doing, as far as the rows of one call have shown.

use std::time::{Duration, Instant};

use crate::RowError;

/// How long a row that finds out whether a server is up again is alone with it.
const PROBE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    down: Option<Down>,
    /// Rows it failed in a row without a reason.
    silent: u32,
    /// Why it is not asked any more.
    given_up: Option<String>,
}

#[derive(Debug, Clone)]
struct Down {
    since: Instant,
    attempts: u32,
    again: Instant,
}

impl Health {
    /// Why it is not asked any more, if it is not.
    pub(super) fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }

    /// Whether it may be sent a row now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.given_up.is_none() && self.down.as_ref().is_none_or(|down| now >= down.again)
    }

    /// How long until it is tried again, if it is down.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let down = self.down.as_ref()?;
        Some(down.again.saturating_duration_since(now))
    }

    /// It is being sent a row.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(down) = &mut self.down {
            // One row finds out whether it is up again; the others wait or go elsewhere. A server that is still
            // down says so at once, so that they need not wait for the answer.
            down.again = now + PROBE;
        }
    }

    /// It has answered a row.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It has failed a row without a reason, which it may do `most` times, less one, in a row.
    pub(super) fn fell_silent(&mut self, url: &str, error: &RowError, most: u32) {
        self.down = None;
        self.silent += 1;
        if self.silent >= most {
            let n = self.silent;
            self.given_up = Some(format!("{url} failed {n} rows in a row: {error}"));
        }
    }

    /// It cannot be reached, or broke a connection, and is tried again with growing pauses for as long as `patience`
    /// says.
    pub(super) fn set_down(&mut self, url: &str, reason: &str, patience: Duration) {
        let now = Instant::now();
        let down = self.down.get_or_insert(Down {
            since: now,
            attempts: 0,
            again: now,
        });
        down.attempts += 1;
        down.again = now + Duration::from_millis(25 << down.attempts.min(5));
        if now.saturating_duration_since(down.since) > patience {
            self.give_up(url, reason);
        }
    }

    pub(super) fn give_up(&mut self, url: &str, reason: &str) {
        self.given_up = Some(format!("{url}: {reason}"));
    }
}
