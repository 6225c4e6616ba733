//! The side that listens for pings: the client in revision 4.
//!
//! The rules, with the differences from the reference:
//!
//! * A ping must arrive within interval plus timeout, counted from the opening or from the previous ping.
//! * Any other packet extends the deadline once per ping, because a ping may be delayed by much data on a slow link.
//!   The reference counts pings only.
//! * The deadline is extended while the client itself does not read because its application is slow, unless the server
//!   meanwhile takes none of the messages that wait for it.
//! * The deadline is extended when a blocked connection takes bytes again, because then the server reads.
//! * The deadline is checked before each message that is sent, not only when a timer fires, because a laptop may have
//!   slept. This requires that the clock of the embedder counts the time of sleep.
//! * A deadline that is met late, because the host stood still or slept, is put off once, by a quarter of its time: a ping
//!   may wait in a socket. Until a packet arrives, the client is *in doubt*: it hands no messages over, so that they are
//!   not lost if the server is gone. Another packet extends the deadline, even if that was used. A client that did not read
//!   because its application is slow is not in doubt: its deadline is extended in full.

use core::time::Duration;

use crate::parts::time::Instant;
use crate::parts::wait::{Situation, Verdict, Wait};

/// The deadline for the next ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    wait: Wait,
    /// The maximum time between two pings.
    patience: Duration,
    /// The extension for another packet was used.
    extended: bool,
}

impl Listener {
    pub(crate) fn new(now: Instant, patience: Duration) -> Self {
        Self { wait: Wait::new(now, patience, false), patience, extended: false }
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.wait.deadline()
    }

    /// Handles a ping.
    pub(crate) fn ping(&mut self, now: Instant, paused: bool) {
        self.wait = Wait::new(now, self.patience, paused);
        self.extended = false;
    }

    /// Handles another packet.
    pub(crate) fn packet(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.extended, true) {
            self.wait.extend(now, self.patience);
        }
    }

    /// Notes that the server reads.
    pub(crate) fn progress(&mut self, now: Instant) {
        self.wait.renew(now, self.patience);
    }

    /// Returns whether the deadline was met late and no packet has arrived since.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.wait.is_put_off()
    }

    /// Notes that a message to the server was written.
    pub(crate) fn written(&mut self) {
        self.wait.written();
    }

    /// Notes that the client has stopped reading.
    pub(crate) fn pause(&mut self) {
        self.wait.pause();
    }

    /// Returns whether the deadline has passed.
    pub(crate) fn is_over(&mut self, now: Instant, situation: Situation) -> bool {
        let verdict = self.wait.judge(now, self.patience, situation);
        self.extended &= verdict != Verdict::PutOff;
        matches!(verdict, Verdict::Dead { .. })
    }
}
