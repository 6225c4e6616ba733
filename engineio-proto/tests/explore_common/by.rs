//! Times by which the other side must have done something, at a host that may stand still.

use std::time::Duration;

use engineio_proto::Instant;

/// A host that looks at a time later than this after it stood still.
const LATE: Duration = Duration::from_millis(10);
/// How long a host stands still beyond the time at which it should have looked.
pub const STANDSTILL: Duration = Duration::from_millis(11);

/// Whether a host that looks now stood still since a time that has passed.
pub fn is_late(at: Instant, now: Instant) -> bool {
    now > at + LATE
}

/// How much more there is after a standstill, to read what came meanwhile. `time`: how long the other side had.
pub fn more(time: Duration) -> Duration {
    (time / 4).min(Duration::from_secs(5))
}

/// A time by which something must be done. It is moved once, if the host stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct By {
    pub at: Instant,
    /// It was moved.
    pub moved: bool,
}

impl By {
    pub const fn new(at: Instant) -> Self {
        Self { at, moved: false }
    }

    /// Whether it has passed, and is not moved.
    pub fn has_passed(&mut self, now: Instant, time: Duration) -> bool {
        if !self.moved && is_late(self.at, now) {
            *self = Self { at: now + more(time), moved: true };
        }
        self.at <= now
    }
}

/// What became of the time that a heartbeat gives after a standstill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum More {
    Unused,
    Running,
    /// The other side was heard of since, but has not done what it must.
    Used,
}

impl More {
    /// The other side has more time for another reason.
    pub fn end(&mut self) {
        if *self == Self::Running {
            *self = Self::Used;
        }
    }
}
