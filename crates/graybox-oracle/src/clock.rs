//! Times that a setting may put beyond what any clock counts to.

use std::time::{Duration, Instant};

/// As good as never, and still a time that can be added to another.
pub(crate) const NEVER: Duration = Duration::from_hours(24 * 365 * 30);

/// A later time, or one that never comes.
pub(crate) fn after(now: Instant, pause: Duration) -> Instant {
    now + pause.min(NEVER)
}
