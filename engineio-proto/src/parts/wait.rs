//! Waiting for a sign of life.
//!
//! A peer is not dead while it is the machine itself that does not read, because its application is slow: then a sign
//! of life that came would not be seen. The wait is put off for that, but not for a peer that meanwhile takes nothing
//! of the messages that wait for it.

use core::time::Duration;

use crate::parts::time::Instant;

/// A deadline for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    deadline: Instant,
    /// Since the wait began, the machine did not read for a while.
    paused: bool,
    /// When the wait was put off for that, messages waited for the peer, and none was written since.
    stalled: bool,
}

/// What a machine knows when a deadline is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The machine does not read at the moment, because its application is slow.
    pub(crate) paused: bool,
    /// Messages wait to be written to the peer.
    pub(crate) waiting: bool,
    /// The peer is sending an HTTP body, behind which a sign of life may stand. The body has a deadline of its own.
    pub(crate) receiving: bool,
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

    /// A body was received, which took so long. That time does not count, but the peer has no more time than at first.
    pub(crate) fn received(&mut self, now: Instant, took: Duration, patience: Duration) {
        self.deadline = (self.deadline + took).min(now + at_least(patience));
    }

    /// Something that waited for the peer was written.
    pub(crate) fn written(&mut self) {
        self.stalled = false;
    }

    /// The machine stopped to read.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Looks at the clock.
    pub(crate) fn judge(&mut self, now: Instant, patience: Duration, situation: Situation) -> Verdict {
        if now < self.deadline {
            return Verdict::Alive;
        }
        if !situation.receiving {
            let slow = self.stalled && situation.waiting;
            if slow || !(self.paused || situation.paused) {
                return Verdict::Dead { slow };
            }
            self.paused = situation.paused;
            self.stalled = situation.waiting;
        }
        self.extend(now, patience);
        Verdict::Alive
    }
}

/// No time may be so short that a timer is due again at once.
pub(crate) fn at_least(duration: Duration) -> Duration {
    duration.max(Duration::from_micros(1))
}
