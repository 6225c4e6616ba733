//! The ways in which a session ends. There is one exit: `finish_with`.

use super::{Client, Stage};
use crate::client::event::Output;
use crate::client::state::{State, Trigger};
use crate::parts::event::{ChannelId, CloseReason, UpgradeError};
use crate::parts::flow::Output as _;
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::at_least;
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::Payload;

pub(super) const CLOSE: Packet = Packet::text(PacketKind::Close, "");

impl Client {
    /// Closes the session in order: it stays closing until everything that was sent before is written and the server was
    /// told, for [`Config::close_timeout`](crate::client::Config::close_timeout) at most. A client that is still opening
    /// opens to that end; one that is changing its transport changes it first. Messages that arrive meanwhile can be
    /// taken.
    ///
    /// The reason of the end is [`CloseReason::ForcedClose`] if, and only if, everything was written. Without effect on a
    /// client that is closing or closed.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.phase(), Phase::Opening | Phase::Open) {
            self.closing = Some(now + at_least(self.config.close_timeout));
            if self.state() == State::Probing {
                // The server has not agreed to anything yet.
                self.fail_probe(UpgradeError::SessionClosed);
            }
        }
        self.settle();
    }

    /// Closes the session at once. What was not handed over stays [unsent](Client::unsent), and what was not taken is
    /// dropped. The server is told as far as that is possible without waiting.
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

    /// A change of the transport that waits for an application to take messages may wait for ever when the application
    /// has closed the session. What is to be delivered goes by polling then.
    pub(super) fn give_up_switch(&mut self) {
        if self.closing.is_some() && self.state() == State::Pausing && self.flow.inbox.has_body() {
            self.fail_probe(UpgradeError::SessionClosed);
        }
    }

    /// Ends a session that is closing: on a channel when everything is written. By polling, the answer to the last POST
    /// ends it. Returns whether it ended.
    pub(super) fn conclude(&mut self) -> bool {
        let done = match self.state() {
            // Nothing to deliver: to close the channel says it all.
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

    /// Ends the session and tells the server, which may not know. What becomes of that does not matter.
    pub(super) fn leave(&mut self, cause: CloseReason) {
        if self.state().is_polling() {
            self.post_close();
        } else {
            self.tell_server();
        }
        self.finish(cause);
    }

    /// A server that was not told of the change of the transport does not take the end of the channel for the end.
    pub(super) fn tell_server(&mut self) {
        if matches!(&self.stage, Stage::Channel(line) if line.owes_upgrade()) {
            self.post_close();
        }
    }

    /// Two POSTs must not be under way; where one is, its loss tells enough.
    fn post_close(&mut self) {
        if self.post.is_none() {
            self.request(Some(Payload::from_packets(self.codec, [CLOSE])));
        }
    }

    /// Ends the session. The first cause counts.
    pub(super) fn finish(&mut self, cause: CloseReason) {
        let channel = self.current_channel();
        self.finish_with(cause, channel);
    }

    /// Drops what is under way, closes the channel if there is one, stops the clocks.
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
