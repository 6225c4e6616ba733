//! The loop of GETs.

use core::time::Duration;

use super::{Client, Stage};
use crate::parts::time::Instant;

/// The rate of polls. A server answers a poll when it has something to send. One that always answers at once, without a
/// message, must not keep the client busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// When the client last polled; while it waits, when it polls next.
    at: Instant,
    /// The number of answers without a message since the last one with a message, or the last one that took longer than
    /// the gap.
    idle: u32,
    /// The client does not poll before its timer says so.
    waits: bool,
}

/// This many answers in a row may come at once and have no message before the client polls more slowly. A server that
/// releases polls during an upgrade needs fewer.
const FREE: u32 = 10;
/// The time between two polls after that.
const GAP: Duration = Duration::from_millis(100);

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: now, idle: 0, waits: false }
    }

    /// Notes that a poll was answered.
    pub(super) fn answered(&mut self, now: Instant) {
        let next = self.at + GAP;
        if next <= now {
            self.idle = 0;
            return;
        }
        self.idle = self.idle.saturating_add(1);
        if self.idle >= FREE {
            (self.at, self.waits) = (next, true);
        }
    }

    /// Notes that a message arrived.
    pub(super) const fn reset(&mut self) {
        (self.idle, self.waits) = (0, false);
    }

    const fn stop_waiting(&mut self) {
        self.waits = false;
    }

    /// Returns the time of the next poll, if the client waits for it.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waits.then_some(self.at)
    }
}

impl Client {
    /// Polls if the last answer was handled to its end and there is a reason to poll.
    pub(super) fn poll(&mut self) {
        let polls = match &self.stage {
            Stage::Polling | Stage::Probing(_) => !self.post.is_some_and(|post| post.is_last),
            Stage::Pausing(pause) => self.post.is_some() && pause.is_stalled() && pause.has_time_to_poll(self.now),
            Stage::Opening(_) | Stage::Channel(_) | Stage::Closed { .. } => false,
        };
        if polls && self.get.is_none() && !self.flow.inbox.has_body() && self.pace.next().is_none() {
            self.pace = Pace { at: self.now, ..self.pace };
            self.get = Some(self.request(None));
        }
    }

    /// Returns when a client that has stopped polling for some time polls again: because the server answers without
    /// messages, or because the answer to a POST takes long while the client pauses. The server may withhold that answer
    /// because its application does not read. The application may wait for room to send, and a poll makes room.
    pub(super) fn next_poll(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Polling | Stage::Probing(_) => self.pace.next(),
            Stage::Pausing(pause) if self.post.is_some() => pause.poll_at().or(self.pace.next()),
            _ => None,
        }
    }

    /// Notes that the time of the next poll has come.
    pub(super) fn poll_timeout(&mut self) {
        while self.next_poll().is_some_and(|at| at <= self.now) {
            match &mut self.stage {
                Stage::Pausing(pause) if !pause.is_stalled() => pause.stall(),
                _ => self.pace.stop_waiting(),
            }
        }
    }
}
