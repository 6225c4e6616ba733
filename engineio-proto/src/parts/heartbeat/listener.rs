//! The side that listens for pings: the client in revision 4.
//!
//! The rules, with what differs from the reference:
//!
//! * A ping must come within interval and timeout, counted from the opening or from the ping before.
//! * Any other packet extends the wait once per ping: a ping may be stuck behind much data on a slow link. The reference
//!   counts pings only.
//! * The wait is extended while the client itself does not read because its application is slow, unless the server
//!   meanwhile takes nothing of the messages that wait for it.
//! * The wait is extended when a connection that took no more takes more again: then the server reads.
//! * The deadline is looked at before each message that is sent, not only when a timer is due: a laptop may have slept. It
//!   is as good as the clock of the embedder, which should count the time of sleep.

use core::time::Duration;

use crate::parts::time::Instant;
use crate::parts::wait::{Situation, Verdict, Wait};

/// Waits for pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    wait: Wait,
    /// From one ping to the next at most.
    patience: Duration,
    /// The extension by another packet was used.
    extended: bool,
}

impl Listener {
    pub(crate) fn new(now: Instant, patience: Duration) -> Self {
        Self { wait: Wait::new(now, patience, false), patience, extended: false }
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.wait.deadline()
    }

    /// A ping arrived.
    pub(crate) fn ping(&mut self, now: Instant, paused: bool) {
        self.wait = Wait::new(now, self.patience, paused);
        self.extended = false;
    }

    /// Another packet arrived.
    pub(crate) fn packet(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.extended, true) {
            self.wait.extend(now, self.patience);
        }
    }

    /// The server is known to read.
    pub(crate) fn progress(&mut self, now: Instant) {
        self.wait.extend(now, self.patience);
    }

    /// A message to the server was written.
    pub(crate) fn written(&mut self) {
        self.wait.written();
    }

    /// The client stopped to read.
    pub(crate) fn pause(&mut self) {
        self.wait.pause();
    }

    /// Whether the server's time is over.
    pub(crate) fn is_over(&mut self, now: Instant, situation: Situation) -> bool {
        matches!(self.wait.judge(now, self.patience, situation), Verdict::Dead { .. })
    }
}
