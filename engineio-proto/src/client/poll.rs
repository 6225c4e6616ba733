//! The loop of GETs.

use super::{Client, Stage};
use crate::parts::time::Instant;

impl Client {
    /// Polls if the last answer was handled to its end and there is a reason to poll.
    pub(super) fn poll(&mut self) {
        let polls = match &self.stage {
            Stage::Polling | Stage::Probing(_) => !self.post.is_some_and(|post| post.is_last),
            Stage::Pausing(pause) => self.post.is_some() && pause.is_stalled(),
            Stage::Opening(_) | Stage::Channel(_) | Stage::Closed { .. } => false,
        };
        if polls && self.get.is_none() && !self.flow.inbox.has_body() {
            self.get = Some(self.request(None));
        }
    }

    /// Returns when a pausing client polls again because the answer to its POST takes long. The server may withhold that
    /// answer because its application does not read. The application may wait for room to send, and a poll makes room.
    pub(super) fn next_stalled_poll(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Pausing(pause) if self.post.is_some() => pause.poll_at(),
            _ => None,
        }
    }
}
