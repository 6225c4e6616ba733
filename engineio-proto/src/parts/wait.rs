//! Deadlines for a sign of life.
//!
//! A peer must not be taken for dead while the machine itself does not read because its application is slow: a sign of
//! life would not be seen. The deadline is extended for that, but not for a peer that meanwhile takes none of the
//! messages that wait for it.

use core::time::Duration;

use crate::parts::time::Instant;

/// A deadline for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    deadline: Instant,
    /// The machine has not read for some time since the wait began.
    paused: bool,
    /// When the deadline was extended for that, messages waited for the peer, and none was written since.
    stalled: bool,
}

/// The state of a machine when a deadline is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The machine does not read at the moment because its application is slow.
    pub(crate) paused: bool,
    /// Messages wait to be written to the peer.
    pub(crate) waiting: bool,
    /// The peer is sending an HTTP body, which may have a sign of life after it. The body has its own deadline.
    pub(crate) receiving: bool,
}

/// The meaning of a deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The peer counts as alive; wait on.
    Alive,
    /// The peer is gone. If `slow`, it takes nothing of what is sent to it.
    Dead { slow: bool },
}

impl Wait {
    /// Starts to wait. `paused`: the machine does not read at the moment.
    pub(crate) fn new(now: Instant, patience: Duration, paused: bool) -> Self {
        Self { deadline: now + at_least(patience), paused, stalled: false }
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Extends the deadline.
    pub(crate) fn extend(&mut self, now: Instant, patience: Duration) {
        self.deadline = now + at_least(patience);
    }

    /// Notes that a body was received, and how long that took. The time does not count, but the peer has no more time than
    /// at first.
    pub(crate) fn received(&mut self, now: Instant, took: Duration, patience: Duration) {
        self.deadline = (self.deadline + took).min(now + at_least(patience));
    }

    /// Notes that a message that waited for the peer was written.
    pub(crate) fn written(&mut self) {
        self.stalled = false;
    }

    /// Notes that the machine has stopped reading.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Checks the deadline.
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

/// No time may be so short that a timer would fire again at once.
pub(crate) fn at_least(duration: Duration) -> Duration {
    duration.max(Duration::from_micros(1))
}
