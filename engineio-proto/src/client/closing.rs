//! The ways in which a session ends. There is one exit: `finish`.

use super::polling::CLOSE;
use super::{Client, Output, Owed, State, Trigger};
use crate::parts::event::{CloseReason, Event, UpgradeError};
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::at_least;

impl Client {
    /// Closes the session in order: what was sent before is delivered first, and the server is told, within
    /// [`Config::close_timeout`](crate::client::Config::close_timeout). A client that is still opening opens to that
    /// end; one that is changing its transport changes it first. Messages that arrive meanwhile can be taken.
    ///
    /// Without effect on a client that is closing or closed.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.phase(), Phase::Opening | Phase::Open) {
            self.closing = Some(now + at_least(self.config.close_timeout));
            if self.state == State::Probing {
                // The server has not agreed to anything yet.
                self.fail_probe(UpgradeError::SessionClosed);
            }
            self.give_up_switch();
            self.flush();
            self.go_on_closing();
        }
        self.debug_check();
    }

    /// Closes the session at once. What was not handed over and what was not taken is dropped. The server is told as
    /// far as that is possible without waiting.
    ///
    /// Also ends a [`close`](Client::close) in progress.
    pub fn abort(&mut self, now: Instant) {
        self.advance(now);
        self.outbox.clear();
        self.inbox.clear();
        self.drop_rest();
        self.leave(CloseReason::ForcedClose);
        // A session that was over already may have waited for the application to take more.
        self.tell_closed();
        self.debug_check();
    }

    /// A change of the transport that waits for an application to take messages may wait for ever when the application
    /// has closed the session. What is to be delivered goes by polling then.
    pub(super) fn give_up_switch(&mut self) {
        if self.closing.is_some() && self.state == State::Pausing && self.backlog.is_some() {
            self.fail_probe(UpgradeError::SessionClosed);
        }
    }

    /// Ends a session that is closing, on a channel where everything has left. By polling, the answer to the last POST
    /// ends it.
    pub(super) fn go_on_closing(&mut self) {
        let gone = match self.state {
            // Nothing to deliver: to close the channel says it all.
            State::Opening => self.transport == TransportKind::WebSocket && self.outbox.is_empty(),
            State::Channel => !self.has_frames(),
            _ => false,
        };
        if self.closing.is_some() && gone {
            self.finish(CloseReason::ForcedClose);
        }
    }

    /// Whoever asked for the end gets the end that was asked for, also if something fails on the way to it; unless
    /// messages are lost thereby.
    pub(super) fn reason_for(&self, reason: CloseReason, lost: usize) -> CloseReason {
        let posted = self.post.map_or(0, |post| post.messages);
        let in_order = self.closing.is_some() && self.outbox.is_empty() && posted == 0 && lost == 0;
        if in_order { CloseReason::ForcedClose } else { reason }
    }

    /// Ends the session and tells the server, which may not know. What becomes of that does not matter.
    pub(super) fn leave(&mut self, reason: CloseReason) {
        // Two POSTs must not be under way; where one is, its loss tells enough. A server that was not told of the change
        // of the transport does not take the end of the channel for the end.
        if (self.state.is_polling() || self.owed.upgrade) && self.post.is_none() {
            self.request(Some([CLOSE].into_iter().collect()));
        }
        self.finish(reason);
    }

    /// Ends the session: drops what is under way, closes the channel, stops the clocks. The first reason counts.
    pub(super) fn finish(&mut self, reason: CloseReason) {
        let upgrading = self.state.is_upgrading();
        if !self.shift(Trigger::Ended) {
            return;
        }
        #[cfg(feature = "tracing")]
        tracing::debug!(sid = ?self.sid(), %reason, "closed");
        self.closed = Some((reason, false));
        self.closing = None;
        self.expectation = None;
        self.owed = Owed { probe: false, upgrade: false, pong: false };
        self.websocket_worked &= !matches!(reason, CloseReason::TransportError(_));
        if let Some(post) = &self.post {
            self.unanswered = post.messages;
        }
        let post = self.post.take().map(|post| post.exchange);
        for exchange in [self.get.take(), post].into_iter().flatten() {
            self.cancel(exchange);
        }
        if upgrading {
            self.drop_probe(UpgradeError::SessionClosed);
        }
        if let Some(channel) = self.channel.take() {
            self.outputs.push_back(Output::ChannelClose { channel });
        }
        self.told.ready = false;
        self.told.full = false;
        self.batch = 0;
        self.pump();
        if let Some((reason, false)) = self.closed {
            self.emit(Event::Ended(reason));
        }
    }
}
