//! What must be true of a client between any two calls.

use super::{Client, ClientState, Phase};
use crate::{TransportKind, Violation};

impl Client {
    /// Tests the laws that can be seen from inside.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        let closed = self.state == ClientState::Closed;
        let opening = self.state == ClientState::Opening;
        let on_polling = self.transport == TransportKind::Polling;
        let laws = [
            ("byte counts are exact", self.inbox.is_exact() && self.outbox.is_exact()),
            ("the send buffer is within its limit plus one message", self.outbox.is_within(self.config.send_limit)),
            (
                "the receive buffer is within its limit plus one message",
                self.inbox.is_within(self.config.receive_limit),
            ),
            ("a request is under way by polling only", {
                (self.get.is_none() && self.post.is_none()) || self.state.is_polling() || (opening && on_polling)
            }),
            ("the transport is that of the state", { closed || opening || on_polling == self.state.is_polling() }),
            ("a client on polling polls, or has a reason not to", {
                let polls = matches!(self.state, ClientState::Polling | ClientState::Probing);
                !polls || self.get.is_some() || self.backlog.is_some() || self.post.is_some_and(|post| post.last)
            }),
            ("a pausing client waits for something", {
                let waits = self.get.is_some() || self.backlog.is_some() || self.post.is_some();
                self.state != ClientState::Pausing || waits
            }),
            ("what can be posted is posted", {
                let posts = matches!(self.state, ClientState::Polling | ClientState::Probing);
                let some = !self.outbox.is_empty() || self.owed.pong || self.closing.is_some();
                !posts || !some || self.post.is_some()
            }),
            ("a closed client has no clock", !closed || self.next_timeout().is_none()),
            ("an open client has a clock", closed || self.next_timeout().is_some()),
            ("a closed client has a reason", closed == self.closed.is_some()),
            ("a client that is open knows its session", opening || closed || self.opened.is_some()),
            ("there is a channel where one is used", {
                let used = self.state.is_upgrading() || self.state == ClientState::Channel || (opening && !on_polling);
                self.channel.is_some() == used
            }),
            ("frames are announced", !self.has_frames() || self.told.ready),
            ("messages are announced", self.inbox.is_empty() || self.told.readable),
            ("what waits, waits for a reason", {
                (self.backlog.is_none() && self.held.is_empty()) || !self.has_inbox_room()
            }),
            ("a closing client has something to do", {
                let done = self.state == ClientState::Channel && !self.has_frames();
                self.phase() != Phase::Closing || !done
            }),
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
