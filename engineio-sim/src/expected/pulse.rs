//! Heartbeats: when a ping is due, and when a silent peer is gone.
//!
//! A *sign of life* moves the deadline: a pong ends the wait; of other packets, the first one after each ping counts; and
//! so do a blocked connection that takes bytes again, and a body that was received, by the time that it took. While the
//! machine itself does not read, its peer cannot show anything, and is spared once more. A peer that meanwhile takes
//! nothing of what waits for it is not.

use std::time::Duration;

use engineio_proto::Instant;

/// A wait for a sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) by: Instant,
    /// The machine did not read for some time.
    deaf: bool,
    /// It was spared for that while something waited to be written, and nothing was written since.
    stuck: bool,
    /// Another packet than the awaited one has counted.
    moved: bool,
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
        Self { by: now + patience, deaf, stuck: false, moved: false }
    }

    pub(super) fn alive(&mut self, now: Instant, patience: Duration) {
        self.by = now + patience;
    }

    pub(super) fn packet(&mut self, now: Instant, patience: Duration) {
        if !self.moved {
            self.moved = true;
            self.alive(now, patience);
        }
    }

    /// A body was received, which took some time.
    pub(super) fn body(&mut self, now: Instant, took: Duration, patience: Duration) {
        self.by = (self.by + took).min(now + patience);
    }

    pub(super) fn took_something(&mut self) {
        self.stuck = false;
    }

    pub(super) fn cannot_hear(&mut self) {
        self.deaf = true;
    }

    /// Looks at the deadline. A host that stood still could be told from a silent peer here: by how late `now` is.
    pub(super) fn look(&mut self, now: Instant, patience: Duration, excuse: Excuse) -> Fate {
        if self.by > now {
            return Fate::Alive;
        }
        if !excuse.receiving {
            if self.stuck && excuse.waiting {
                return Fate::Stuck;
            }
            if !self.deaf && !excuse.deaf {
                return Fate::Silent;
            }
            (self.deaf, self.stuck) = (excuse.deaf, excuse.waiting);
        }
        self.alive(now, patience);
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
            Self::Owed(wait) if wait.by <= now && !excuse.receiving => Fate::Stuck,
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
