//! When a server is gone.
//!
//! The rules, with what differs from the reference:
//!
//! * A ping must come within interval and timeout, counted from the opening or from the ping before.
//! * Any other packet extends the wait once per ping: a ping may be stuck behind much data on a slow link. The reference
//!   counts pings only.
//! * The wait is extended while the client itself does not read (its application is slow), unless the server meanwhile
//!   takes nothing of what waits for it.
//! * The deadline is looked at before each message that is sent, not only when a timer is due: a laptop may have slept. It
//!   is as good as the clock of the embedder, which should count the time of sleep.

use core::time::Duration;

use super::Client;
use crate::parts::event::{CloseReason, Event};
use crate::parts::time::Instant;
use crate::parts::wait::{Verdict, Wait};
use crate::wire::handshake::Opened;
use crate::wire::packet::PacketKind;

/// The wait for a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expectation {
    wait: Wait,
    patience: Duration,
    /// The extension by another packet was used.
    extended: bool,
}

impl Expectation {
    pub(super) fn new(now: Instant, opened: &Opened) -> Self {
        let patience = opened.ping_interval.saturating_add(opened.ping_timeout);
        Self { wait: Wait::new(now, patience, false), patience, extended: false }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.wait.deadline()
    }

    /// The server took something.
    pub(super) fn taken(&mut self) {
        self.wait.taken();
    }

    /// The client stopped to read.
    pub(super) fn pause(&mut self) {
        self.wait.pause();
    }
}

impl Client {
    /// A packet arrived.
    pub(super) fn heard(&mut self, kind: PacketKind) {
        let (now, paused) = (self.now, self.reading_paused());
        let Some(expectation) = &mut self.expectation else { return };
        let Expectation { wait, patience, extended } = expectation;
        if kind == PacketKind::Ping {
            *wait = Wait::new(now, *patience, paused);
            *extended = false;
        } else if !*extended {
            *extended = true;
            wait.extend(now, *patience);
        }
    }

    /// A ping arrived. It is answered until the very end, also by a client that is closing.
    pub(super) fn pinged(&mut self) {
        self.stats.heartbeats_received = self.stats.heartbeats_received.saturating_add(1);
        // Very many are told once, and answered once, until the answer has left.
        if !core::mem::replace(&mut self.owed.pong, true) {
            self.emit(Event::Heartbeat);
        }
    }

    /// Ends the session if the server's time is over.
    pub(super) fn watch_server(&mut self) {
        let (now, paused) = (self.now, self.reading_paused());
        let waiting = !self.outbox.is_empty() || self.post.is_some_and(|post| post.messages > 0);
        let Some(Expectation { wait, patience, .. }) = &mut self.expectation else { return };
        if let Verdict::Dead { .. } = wait.judge(now, *patience, paused, waiting) {
            let reason = self.reason_for(CloseReason::PingTimeout, 0);
            self.leave(reason);
        }
    }
}
