//! Deadlines for a sign of life.
//!
//! A peer must not be taken for dead while the machine itself does not read because its application is slow: a sign of
//! life would not be seen. The deadline is extended for that, but not for a peer that meanwhile takes none of the
//! messages that wait for it.
//!
//! A host may stand still: a virtual machine is suspended, a process is stopped, a container gets no CPU time. When it runs
//! again, deadlines have passed, and what the peer sent meanwhile waits in the sockets. So a deadline that is met late is
//! put off, once, for a part of its time. See [`Deadline`].

use core::time::Duration;

use crate::parts::time::Instant;

/// A deadline that is met later than this is late. Timers and schedulers are more precise, unless the host stood still.
pub(crate) const LATE: Duration = Duration::from_millis(10);

/// The longest time for which a deadline is put off.
const MAX_PUT_OFF: Duration = Duration::from_secs(5);

/// The time for which a deadline that is met late is put off: a quarter of its own time, at most 5 s.
pub(crate) fn put_off_by(time: Duration) -> Duration {
    at_least((time / 4).min(MAX_PUT_OFF))
}

/// A time by which the peer must have done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    at: Instant,
    /// It was met late, and put off.
    put_off: bool,
}

impl Deadline {
    pub(crate) const fn new(at: Instant) -> Self {
        Self { at, put_off: false }
    }

    pub(crate) const fn at(self) -> Instant {
        self.at
    }

    /// Returns whether it was met late, and put off.
    pub(crate) const fn is_put_off(self) -> bool {
        self.put_off
    }

    /// Returns whether the deadline has passed. If it is met late for the first time, it is put off instead. `time`: the
    /// time that it gave.
    pub(crate) fn is_over(&mut self, now: Instant, time: Duration) -> bool {
        if now < self.at {
            return false;
        }
        let is_over = self.put_off || now - self.at <= LATE;
        if !is_over {
            *self = Self { at: now + put_off_by(time), put_off: true };
        }
        is_over
    }
}

/// A deadline for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    deadline: Instant,
    lateness: Lateness,
    /// The machine has not read for some time since the wait began.
    paused: bool,
    /// When the deadline was extended for that, messages waited for the peer, and none was written since.
    stalled: bool,
}

/// Whether a deadline was put off because it was met late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    /// It was not.
    Never,
    /// It is now.
    Now,
    /// It was. The peer has had more time since, but has not given the sign of life that is waited for.
    Before,
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
    /// The deadline was met late, and put off: what the peer sent may not have been read yet.
    PutOff,
    /// The peer is gone. If `slow`, it takes nothing of what is sent to it.
    Dead { slow: bool },
}

impl Wait {
    /// Starts to wait. `paused`: the machine does not read at the moment.
    pub(crate) fn new(now: Instant, patience: Duration, paused: bool) -> Self {
        Self { deadline: now + at_least(patience), lateness: Lateness::Never, paused, stalled: false }
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns whether the deadline is put off because it was met late.
    pub(crate) const fn is_put_off(&self) -> bool {
        matches!(self.lateness, Lateness::Now)
    }

    /// Extends the deadline.
    pub(crate) fn extend(&mut self, now: Instant, patience: Duration) {
        self.move_to(now + at_least(patience));
    }

    /// Extends the deadline as if the wait began now: it can be put off again.
    pub(crate) fn renew(&mut self, now: Instant, patience: Duration) {
        self.extend(now, patience);
        self.lateness = Lateness::Never;
    }

    /// Notes that a body was received, and how long that took. The time does not count, but the peer has no more time than
    /// at first.
    pub(crate) fn received(&mut self, now: Instant, took: Duration, patience: Duration) {
        self.move_to((self.deadline + took).min(now + at_least(patience)));
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
                return self.expire(now, patience, slow);
            }
            self.paused = situation.paused;
            self.stalled = situation.waiting;
        }
        self.extend(now, patience);
        Verdict::Alive
    }

    /// Ends the wait at its deadline, or puts it off.
    pub(crate) fn expire(&mut self, now: Instant, patience: Duration, slow: bool) -> Verdict {
        if self.lateness != Lateness::Never || now - self.deadline <= LATE {
            return Verdict::Dead { slow };
        }
        self.deadline = now + put_off_by(patience);
        self.lateness = Lateness::Now;
        Verdict::PutOff
    }

    fn move_to(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if self.is_put_off() {
            self.lateness = Lateness::Before;
        }
    }
}

/// Returns the earlier of two deadlines. The first one may not exist.
pub(crate) fn earliest(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// No time may be so short that a timer would fire again at once.
pub(crate) fn at_least(duration: Duration) -> Duration {
    duration.max(Duration::from_micros(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MICRO: Duration = Duration::from_micros(1);
    const START: Instant = Instant::from_millis(1000);

    #[test]
    fn r120_a_deadline_that_is_met_late_is_put_off_once() {
        let at = START + 8 * SECOND;
        let mut deadline = Deadline::new(at);
        assert!(!deadline.is_over(START + 7 * SECOND, 8 * SECOND));
        assert!(deadline.is_over(at, 8 * SECOND), "it is met in time");
        assert!(deadline.is_over(at + LATE, 8 * SECOND), "a timer is not exact");
        let late = at + LATE + MICRO;
        assert!(!deadline.is_over(late, 8 * SECOND));
        assert_eq!(deadline.at(), late + 2 * SECOND);
        assert!(!deadline.is_over(late + (2 * SECOND - MICRO), 8 * SECOND));
        assert!(deadline.is_over(late + 2 * SECOND, 8 * SECOND), "it is put off once");
        assert!(deadline.is_over(late + 100 * SECOND, 8 * SECOND), "even if the host stands still again");
    }

    #[test]
    fn r120_the_time_for_which_a_deadline_is_put_off_is_bounded() {
        for (time, by) in [(8, 2), (20, 5), (3600, 5)] {
            assert_eq!(put_off_by(time * SECOND), by * SECOND);
        }
        assert_eq!(put_off_by(MICRO), MICRO);
        assert_eq!(put_off_by(Duration::MAX), 5 * SECOND);
    }
}
