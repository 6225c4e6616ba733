//! Waiting for a sign of life.
//!
//! A peer is not dead while it is the machine itself that does not read, because its application is slow: then a sign
//! of life that came would not be seen. The wait is put off for that, but not for a peer that meanwhile takes nothing
//! of what waits for it.

use core::time::Duration;

use crate::parts::time::Instant;

/// A deadline for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    deadline: Instant,
    /// Since the wait began, the machine did not read for a while.
    paused: bool,
    /// When the wait was put off for that, something waited for the peer, and it took nothing since.
    stalled: bool,
}

/// What a deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait on.
    Alive,
    /// The peer is gone. When `slow`, it takes nothing of what is sent to it.
    Dead { slow: bool },
}

impl Wait {
    /// Waits from now on. `paused`: the machine does not read at the moment.
    pub(crate) fn new(now: Instant, patience: Duration, paused: bool) -> Self {
        Self { deadline: now + at_least(patience), paused, stalled: false }
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Puts the deadline off.
    pub(crate) fn extend(&mut self, now: Instant, patience: Duration) {
        self.deadline = now + at_least(patience);
    }

    /// The peer took something.
    pub(crate) fn taken(&mut self) {
        self.stalled = false;
    }

    /// The machine stopped to read.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Looks at the clock. `reading_paused`: the machine does not read at the moment. `waiting`: something waits to be
    /// taken by the peer.
    pub(crate) fn judge(&mut self, now: Instant, patience: Duration, reading_paused: bool, waiting: bool) -> Verdict {
        if now < self.deadline {
            return Verdict::Alive;
        }
        let slow = self.stalled && waiting;
        if slow || !(self.paused || reading_paused) {
            return Verdict::Dead { slow };
        }
        self.paused = reading_paused;
        self.stalled = waiting;
        self.extend(now, patience);
        Verdict::Alive
    }
}

/// No time may be so short that a timer is due again at once.
pub(crate) fn at_least(duration: Duration) -> Duration {
    duration.max(Duration::from_micros(1))
}
