//! The ways to end a session. All of them use `finish_with`.

use super::{Client, Stage};
use crate::client::event::Output;
use crate::client::state::{State, Trigger};
use crate::parts::event::{ChannelId, CloseReason, UpgradeError};
use crate::parts::flow::Output as _;
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::{Deadline, at_least};
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::Payload;

pub(super) const CLOSE: Packet = Packet::text(PacketKind::Close, "");

impl Client {
    /// Closes the session in order. It stays closing until everything that was sent before is written and the server
    /// has been told, for at most [`Config::close_timeout`](crate::client::Config::close_timeout). A client that is
    /// still opening opens first; one that is changing its transport changes it first. Messages that arrive meanwhile
    /// can be taken.
    ///
    /// The close reason is [`CloseReason::ForcedClose`] if and only if everything was written. Has no effect on a
    /// client that is closing or closed.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.phase(), Phase::Opening | Phase::Open) {
            self.closing = Some(Deadline::new(now + at_least(self.config.close_timeout)));
            if self.state() == State::Probing {
                // The server has not agreed to anything yet.
                self.fail_probe(UpgradeError::SessionClosed);
            }
        }
        self.settle();
    }

    /// Closes the session at once. Messages that were not handed over stay [unsent](Client::unsent), and messages that
    /// were not taken are dropped. The server is told if that is possible without waiting.
    ///
    /// Also ends a [`close`](Client::close) in progress.
    pub fn abort(&mut self, now: Instant) {
        self.advance(now);
        self.closing = None;
        self.flow.inbox.drop_messages();
        self.flow.inbox.drop_undecoded();
        self.leave(CloseReason::ForcedClose);
        self.settle();
    }

    /// Returns to polling. A change of the transport waits until the application takes messages; after it has closed
    /// the session, that may never happen. The remaining messages are then delivered by polling.
    pub(super) fn give_up_switch(&mut self) {
        if self.closing.is_some() && self.state() == State::Pausing && self.flow.inbox.has_body() {
            self.fail_probe(UpgradeError::SessionClosed);
        }
    }

    /// Ends a session that is closing: on a channel, when everything is written. On polling, the answer to the last
    /// POST ends it. Returns whether the session ended.
    pub(super) fn conclude(&mut self) -> bool {
        let done = match self.state() {
            // There is nothing to deliver, and closing the channel tells the server.
            State::Opening => self.transport == TransportKind::WebSocket && self.flow.outbox.is_empty(),
            State::Channel => !self.has_frames() && self.flow.outbox.is_written(),
            State::Polling | State::Probing | State::Pausing | State::Closed => false,
        };
        let done = done && self.closing.is_some();
        if done {
            self.finish(CloseReason::ForcedClose);
        }
        done
    }

    /// Ends the session and tells the server, which may not know. The result of that does not matter.
    pub(super) fn leave(&mut self, cause: CloseReason) {
        if self.state().is_polling() {
            self.post_close();
        } else {
            self.tell_server();
        }
        self.finish(cause);
    }

    /// Tells a server that does not know of the change of the transport: it does not take the end of the channel for
    /// the end of the session.
    pub(super) fn tell_server(&mut self) {
        if matches!(&self.stage, Stage::Channel(line) if line.owes_upgrade()) {
            self.post_close();
        }
    }

    /// Only one POST may be under way. If there is one, its loss tells the server.
    fn post_close(&mut self) {
        if self.post.is_none() {
            self.request(Some(Payload::from_packets(self.codec, [CLOSE])));
        }
    }

    /// Ends the session. Only the first cause counts.
    pub(super) fn finish(&mut self, cause: CloseReason) {
        let channel = self.current_channel();
        self.finish_with(cause, channel);
    }

    /// Drops what is under way, closes the channel if there is one, and stops the timers.
    pub(super) fn finish_with(&mut self, cause: CloseReason, channel: Option<ChannelId>) {
        let upgrading = self.state().is_upgrading();
        let reason = self.flow.reason_for(cause, self.closing.is_some());
        if !self.shift(Trigger::Ended, |stage| Stage::Closed { last: stage.carrier() }) {
            return;
        }
        #[cfg(feature = "tracing")]
        tracing::debug!(sid = ?self.sid(), %reason, "closed");
        self.flow.finish(reason);
        self.closing = None;
        self.listener = None;
        self.owes_pong = false;
        self.websocket_worked &= !matches!(reason, CloseReason::TransportError(_));
        let post = self.post.take().map(|post| post.exchange);
        for exchange in [self.get.take(), post].into_iter().flatten() {
            self.cancel(exchange);
        }
        if upgrading {
            self.drop_probe(UpgradeError::SessionClosed, channel);
        } else if let Some(channel) = channel {
            self.flow.output(Output::channel_close(channel));
        }
    }
}
