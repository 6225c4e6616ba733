//! Heartbeats: when a ping is due, and when a silent peer is gone.
//!
//! A *sign of life* moves the deadline: a pong ends the wait; of other packets, the first one after each ping counts; and
//! so do a blocked connection that takes bytes again, and a body that was received, by the time that it took. While the
//! machine itself does not read, its peer cannot show anything, and is spared once more. A peer that meanwhile takes
//! nothing of what waits for it is not.
//!
//! A time that is noticed more than 10 ms late is no proof of anything: the host may have stood still. It is prolonged, once, by
//! a quarter of what it was, and at most by 5 s. (The core says that a deadline is *put off*: `parts/wait.rs`.)

use std::time::Duration;

use engineio_proto::Instant;

/// The time by which the other side must have done something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) by: Instant,
    pub(super) is_prolonged: bool,
}

impl Limit {
    pub(super) fn new(by: Instant) -> Self {
        Self { by, is_prolonged: false }
    }

    /// `time`: what the other side had at first.
    pub(super) fn has_passed(&mut self, now: Instant, time: Duration) -> bool {
        if self.by > now {
            return false;
        }
        let is_spared = !self.is_prolonged && is_late(self.by, now);
        if is_spared {
            *self = Self { by: now + more_time(time), is_prolonged: true };
        }
        !is_spared
    }
}

fn is_late(by: Instant, now: Instant) -> bool {
    now > by + Duration::from_millis(10)
}

fn more_time(time: Duration) -> Duration {
    (time / 4).clamp(Duration::from_micros(1), Duration::from_secs(5))
}

/// A wait for a sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) by: Instant,
    late: Late,
    /// The machine did not read for some time.
    deaf: bool,
    /// It was spared for that while something waited to be written, and nothing was written since.
    stuck: bool,
    /// Another packet than the awaited one has counted.
    moved: bool,
}

/// Whether the end of a wait was noticed late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    No,
    /// It was, and the wait is prolonged for that.
    Yes,
    /// It was, and something has come since, but not what is waited for.
    Once,
}

/// What keeps a peer from showing that it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excuse {
    /// The machine does not read now.
    pub(super) deaf: bool,
    /// Something waits to be written.
    pub(super) waiting: bool,
    /// A body is being received.
    pub(super) receiving: bool,
}

/// What has become of a peer that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Alive,
    /// It showed nothing.
    Silent,
    /// It took nothing.
    Stuck,
}

impl Wait {
    pub(super) fn new(now: Instant, patience: Duration, deaf: bool) -> Self {
        Self { by: now + patience, late: Late::No, deaf, stuck: false, moved: false }
    }

    /// The peer is certainly there: all is as at the beginning of the wait.
    pub(super) fn alive(&mut self, now: Instant, patience: Duration) {
        self.by = now + patience;
        self.late = Late::No;
    }

    fn prolong(&mut self, by: Instant) {
        self.by = by;
        if self.late == Late::Yes {
            self.late = Late::Once;
        }
    }

    pub(super) fn packet(&mut self, now: Instant, patience: Duration) {
        if !self.moved {
            self.moved = true;
            self.prolong(now + patience);
        }
    }

    /// The end was noticed late, and nothing has come since: the peer may be gone.
    pub(super) fn is_doubtful(&self) -> bool {
        self.late == Late::Yes
    }

    /// A body was received, which took some time.
    pub(super) fn body(&mut self, now: Instant, took: Duration, patience: Duration) {
        self.prolong((self.by + took).min(now + patience));
    }

    pub(super) fn took_something(&mut self) {
        self.stuck = false;
    }

    pub(super) fn cannot_hear(&mut self) {
        self.deaf = true;
    }

    /// Looks at the deadline.
    pub(super) fn look(&mut self, now: Instant, patience: Duration, excuse: Excuse) -> Fate {
        if self.by > now {
            return Fate::Alive;
        }
        if !excuse.receiving {
            if self.stuck && excuse.waiting {
                return self.expire(now, patience, Fate::Stuck);
            }
            if !self.deaf && !excuse.deaf {
                return self.expire(now, patience, Fate::Silent);
            }
            (self.deaf, self.stuck) = (excuse.deaf, excuse.waiting);
        }
        self.prolong(now + patience);
        Fate::Alive
    }

    fn expire(&mut self, now: Instant, patience: Duration, fate: Fate) -> Fate {
        if self.late != Late::No || !is_late(self.by, now) {
            return fate;
        }
        *self = Self { by: now + more_time(patience), late: Late::Yes, moved: false, ..*self };
        Fate::Alive
    }
}

/// The side that pings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pings {
    /// The next ping is due then.
    Next(Instant),
    /// It was due, and was not handed over.
    Owed(Wait),
    /// It was handed over.
    Sent(Wait),
    Over,
}

impl Pings {
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Next(at) => Some(*at),
            Self::Owed(wait) | Self::Sent(wait) => Some(wait.by),
            Self::Over => None,
        }
    }

    pub(super) fn wait(&mut self) -> Option<&mut Wait> {
        match self {
            Self::Owed(wait) | Self::Sent(wait) => Some(wait),
            Self::Next(_) | Self::Over => None,
        }
    }

    pub(super) fn pong(&mut self, now: Instant, interval: Duration, timeout: Duration) {
        match self {
            Self::Next(_) | Self::Sent(_) => *self = Self::Next(now + interval),
            // It answers nothing, but shows that the client is there.
            Self::Owed(wait) => wait.alive(now, timeout),
            Self::Over => (),
        }
    }

    pub(super) fn look(&mut self, now: Instant, timeout: Duration, excuse: Excuse) -> Fate {
        match self {
            Self::Next(at) if *at <= now => {
                *self = Self::Owed(Wait::new(now, timeout, excuse.deaf));
                Fate::Alive
            }
            // A client that does not even take a ping.
            Self::Owed(wait) if wait.by <= now && !excuse.receiving => wait.expire(now, timeout, Fate::Stuck),
            Self::Owed(wait) | Self::Sent(wait) => wait.look(now, timeout, excuse),
            Self::Next(_) | Self::Over => Fate::Alive,
        }
    }

    /// The ping is handed over.
    pub(super) fn leave(&mut self, now: Instant, timeout: Duration) {
        if let Self::Owed(mut wait) = *self {
            wait.alive(now, timeout);
            *self = Self::Sent(wait);
        }
    }
}
