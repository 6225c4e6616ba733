//! The ways to end a session. All of them use `finish`.

use super::poll::{CLOSE, NOOP};
use super::{Greeting, Session, Stage};
use crate::http::rejection::Rejection;
use crate::http::response::Response;
use crate::parts::event::{ChannelId, CloseReason, TransportError};
use crate::parts::flow::Output as _;
use crate::parts::heartbeat::pinger::Pinger;
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::parts::wait::Deadline;
use crate::session::event::Output;
use crate::session::state::{State, Trigger};

impl Session {
    /// Closes the session in order. It stays closing until everything that was sent before is written, for at most
    /// [`Config::close_timeout`](crate::server::Config::close_timeout). Received messages that were not taken are
    /// dropped.
    ///
    /// The close reason is [`CloseReason::ForcedClose`] if and only if everything was written. Has no effect on a
    /// session that is closing or closed.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.close_drops_messages() {
            self.closing = Some(Deadline::new(now + self.config.close_timeout));
            self.flow.inbox.drop_messages();
        }
        self.settle();
    }

    /// Returns whether [`close`](Session::close) would drop the received messages that were not taken: only a session that
    /// is open can be closed, and drops them then. An embedder that has taken messages ahead must drop them too.
    pub fn close_drops_messages(&self) -> bool {
        self.phase() == Phase::Open
    }

    /// Closes the session at once. Messages that were not handed over stay [unsent](Session::unsent), and messages that
    /// were not taken are dropped.
    ///
    /// Also ends a [`close`](Session::close) in progress.
    pub fn abort(&mut self, now: Instant) {
        self.advance(now);
        self.closing = None;
        self.flow.inbox.drop_messages();
        self.finish(CloseReason::ForcedClose);
        // A session that had already ended may have waited for the application to take more messages.
        self.drop_rest(Response::Accepted);
        self.settle();
    }

    /// Ends a session that is closing on a channel, once its last message is written. On polling, the answer to a poll
    /// ends it. Returns whether the session ended.
    pub(super) fn conclude(&mut self) -> bool {
        let on_channel = self.state() == State::Channel;
        let done = self.closing.is_some() && on_channel && !self.has_frames() && self.flow.outbox.is_written();
        if done {
            self.finish(CloseReason::ForcedClose);
        }
        done
    }

    /// Ends the session. Only the first cause counts.
    pub(super) fn finish(&mut self, cause: CloseReason) {
        self.end(cause, self.current_channel());
    }

    /// Ends a session whose channel is gone.
    pub(super) fn finish_without_channel(&mut self, cause: CloseReason) {
        self.end(cause, None);
    }

    /// Answers what waits, closes the channel, and stops the timers.
    fn end(&mut self, cause: CloseReason, channel: Option<ChannelId>) {
        let was_on_channel = self.state() == State::Channel;
        let reason = self.flow.reason_for(cause, self.closing.is_some());
        if !self.shift(Trigger::Ended, |stage| Stage::Closed { last: stage.carrier() }) {
            return;
        }
        #[cfg(feature = "tracing")]
        tracing::debug!(sid = ?self.sid, %reason, "closed");
        self.flow.finish(reason);
        self.closing = None;
        self.pinger = Pinger::Off;
        self.greeting = Greeting::SENT;
        let farewell = if cause == CloseReason::TransportClose { NOOP } else { CLOSE };
        self.respond_to_poll([farewell]);
        self.abort_post();
        match cause {
            CloseReason::ParseError | CloseReason::TransportError(TransportError::HeartbeatDirection) => {
                self.drop_rest(Response::Rejected(Rejection::InvalidPayload));
            }
            CloseReason::TransportClose if channel.is_some() || !was_on_channel => {
                // The client's own close packet: what comes after it does not count.
                self.drop_rest(Response::Accepted);
            }
            // What arrived before the transport failed is delivered; only the POST is answered now. After an orderly
            // close nothing waits.
            _ => self.end_post(Response::Accepted),
        }
        if let Some(channel) = channel {
            self.flow.output(Output::channel_close(channel));
        }
    }
}
