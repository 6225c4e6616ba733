//! The ways in which a session ends. There is one exit: `finish`.

use super::polling::{CLOSE, NOOP};
use super::{Heartbeat, Post, Session, State, Trigger};
use crate::http::rejection::Rejection;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, Event, TransportError};
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::session::event::Output;

impl Session {
    /// Closes the session in order: what was sent before is handed over first, within
    /// [`Config::close_timeout`](crate::server::Config::close_timeout). What was received and not taken is dropped.
    ///
    /// Without effect on a session that is closing or closed.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.phase() == Phase::Open {
            self.closing = Some(now + self.config.close_timeout);
            self.inbox.clear();
            let done = match self.state {
                State::Channel => !self.has_frames(),
                // A poll is held only while there is nothing to send.
                _ => self.get.is_some(),
            };
            if done { self.finish(CloseReason::ForcedClose) } else { self.pump() }
        }
        self.debug_check();
    }

    /// Closes the session at once. What was not handed over and what was not taken is dropped.
    ///
    /// Also ends a [`close`](Session::close) in progress.
    pub fn abort(&mut self, now: Instant) {
        self.advance(now);
        self.outbox.clear();
        self.inbox.clear();
        self.finish(CloseReason::ForcedClose);
        // A session that was over already may have waited for the application to take more.
        self.drop_rest(Response::Accepted);
        self.tell_closed();
        self.debug_check();
    }

    /// Ends the session: answers what waits, closes the channel, stops the clocks. The first reason counts.
    pub(super) fn finish(&mut self, reason: CloseReason) {
        let on_channel = self.state == State::Channel;
        if !self.shift(Trigger::Ended) {
            return;
        }
        #[cfg(feature = "tracing")]
        tracing::debug!(sid = ?self.sid, %reason, "closed");
        self.closed = Some((reason, false));
        self.closing = None;
        self.heartbeat = Heartbeat::Off;
        self.owed.open = false;
        self.owed.initial = false;
        self.owed.pongs = 0;
        let farewell = if reason == CloseReason::TransportClose { NOOP } else { CLOSE };
        self.respond_poll([farewell].into_iter().collect());
        if let Post::Receiving(exchange) = self.post {
            self.post = Post::Free;
            self.outputs.push_back(Output::Abort { exchange });
            if on_channel {
                // Behind the POST that is lost there would be a hole.
                self.held.clear();
            }
        }
        match reason {
            CloseReason::ParseError | CloseReason::TransportError(TransportError::HeartbeatDirection) => {
                self.drop_rest(Response::Rejected(Rejection::InvalidPayload));
            }
            CloseReason::ForcedClose => self.drop_rest(Response::Accepted),
            CloseReason::TransportClose if self.channel.is_some() || !on_channel => {
                // The client's own close packet: nothing behind it counts.
                self.drop_rest(Response::Accepted);
            }
            // What arrived before the transport failed is delivered; only the POST is answered now.
            _ => {
                if let Post::Held(exchange) = self.post {
                    self.post = Post::Free;
                    self.respond(exchange, Response::Accepted);
                }
            }
        }
        if let Some(channel) = self.channel.take() {
            self.outputs.push_back(Output::ChannelClose { channel });
        }
        self.told.ready = false;
        self.told.full = false;
        self.batch = 0;
        self.pulled = None;
        self.pump();
        if let Some((reason, false)) = self.closed {
            self.emit(Event::Ended(reason));
        }
    }
}
