//! What must be true of a session between any two calls.

use super::{Phase, Post, Session, State};

/// A law that does not hold: a bug in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken law: {0}")]
pub struct Violation(pub(crate) &'static str);

impl Session {
    /// Tests the laws that can be seen from inside.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let closed = self.state == State::Closed;
        let laws = [
            ("byte counts are exact", self.inbox.is_exact() && self.outbox.is_exact()),
            ("the send buffer is within its limit plus one message", self.outbox.is_within(self.config.send_limit)),
            (
                "the receive buffer is within its limit plus one message",
                self.inbox.is_within(self.config.receive_limit),
            ),
            (
                "a held poll has nothing to say",
                self.get.is_none() || (self.outbox.is_empty() && !self.owed.open && !self.heartbeat.owes_ping()),
            ),
            ("a closing session holds no poll", self.phase() == Phase::Open || self.get.is_none()),
            ("a closed session holds no request", !closed || (self.get.is_none() && self.post == Post::Free)),
            ("a closed session has no clock", !closed || self.next_timeout().is_none()),
            ("an open session has a clock", closed || self.next_timeout().is_some()),
            ("a closed session has a reason", closed == self.closed.is_some()),
            (
                "there is a channel where one is used",
                self.channel.is_some() == matches!(self.state, State::Probing | State::Probed | State::Channel),
            ),
            ("frames are announced", !self.has_frames() || self.told.ready),
            ("messages are announced", self.inbox.is_empty() || self.told.readable),
            ("a POST waits for its packets", matches!(self.post, Post::Held(_)) <= self.backlog.is_some()),
            ("what waits, waits for a reason", closed || self.backlog.is_none() || !self.has_inbox_room()),
        ];
        match laws.iter().find(|(_, holds)| !holds) {
            Some((law, _)) => Err(Violation(law)),
            None => Ok(()),
        }
    }

    /// In debug builds every call ends with a check, unless long queues would make that slow.
    pub(super) fn debug_check(&self) {
        #[cfg(debug_assertions)]
        if self.inbox.len().saturating_add(self.outbox.len()) <= 256 {
            let result = self.check();
            debug_assert!(result.is_ok(), "{result:?} in {self:#?}");
        }
    }
}
