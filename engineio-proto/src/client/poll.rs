//! The loop of GETs.

use super::{Client, Stage};
use crate::parts::time::Instant;

impl Client {
    /// Polls if the last answer was handled to its end and there is a reason to poll.
    pub(super) fn poll(&mut self) {
        let polls = match &self.stage {
            Stage::Polling | Stage::Probing(_) => !self.post.is_some_and(|post| post.is_last),
            Stage::Pausing(pause) => self.post.is_some() && pause.poll_at() <= self.now,
            Stage::Opening(_) | Stage::Channel(_) | Stage::Closed { .. } => false,
        };
        if polls && self.may_begin_poll() {
            self.get = Some(self.request(None));
        }
    }

    /// Returns when a pausing client polls again because the answer to its POST takes long. The server may withhold that
    /// answer because its application does not read. The application may wait for room to send, and a poll makes room.
    pub(super) fn next_stalled_poll(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Pausing(pause) if self.post.is_some() && self.may_begin_poll() => Some(pause.poll_at()),
            _ => None,
        }
    }

    /// Returns whether no GET is under way, and the answer to the last one was handled to its end.
    fn may_begin_poll(&self) -> bool {
        self.get.is_none() && !self.flow.inbox.has_body()
    }
}
