//! The loop of GETs.

use core::time::Duration;

use super::{Client, Stage};
use crate::parts::time::Instant;

/// The rate of polls. A server answers a poll when it has something to send. One that always answers at once, without a
/// message, must not keep the client busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// When the client last polled.
    polled: Instant,
    /// The number of answers since the last message.
    idle: u32,
}

/// This many answers in a row may have no message before the client polls more slowly. A server that releases polls
/// during an upgrade needs fewer.
const FREE: u32 = 10;
/// The time between two polls after that.
const GAP: Duration = Duration::from_millis(100);

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { polled: now, idle: 0 }
    }

    /// Notes that a poll was answered.
    pub(super) const fn answered(&mut self) {
        self.idle = self.idle.saturating_add(1);
    }

    /// Notes that a message arrived.
    pub(super) const fn reset(&mut self) {
        self.idle = 0;
    }

    /// Returns the earliest time for the next poll.
    fn next(&self) -> Instant {
        if self.idle < FREE { self.polled } else { self.polled + GAP }
    }
}

impl Client {
    /// Polls if the last answer was handled to its end and there is a reason to poll.
    pub(super) fn poll(&mut self) {
        if self.next_poll().is_some_and(|at| at <= self.now) {
            self.pace.polled = self.now;
            self.get = Some(self.request(None));
        }
    }

    /// Returns when the client polls next, if it waits only for the time.
    ///
    /// A pausing client polls again if the answer to its POST takes long. The server may withhold that answer because
    /// its application does not read. The application may wait for room to send, and a poll makes room.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        if self.get.is_some() || self.flow.inbox.has_body() {
            return None;
        }
        match &self.stage {
            Stage::Polling | Stage::Probing(_) if !self.post.is_some_and(|post| post.is_last) => Some(self.pace.next()),
            Stage::Pausing(pause) if self.post.is_some() => Some(self.pace.next().max(pause.poll_at())),
            _ => None,
        }
    }
}
