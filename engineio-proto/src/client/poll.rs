//! The loop of GETs, and the answers to requests.
//!
//! At most one GET and one POST are under way. No request is ever sent again: a second POST would repeat its messages,
//! and a second GET could not bring back those in the answer to the first. So a request that fails ends the session.

use alloc::boxed::Box;

use bytes::Bytes;

use super::{Client, Stage};
use crate::client::event::Details;
use crate::client::state::State;
use crate::parts::event::{CloseReason, ExchangeId, RequestError, TransportError};
use crate::parts::time::Instant;

/// So many packets of one answer may be no messages.
const MAX_IDLE_PACKETS: u32 = 1000;

/// Payload Too Large.
const TOO_LARGE: u16 = 413;

impl Client {
    /// Polls, when the last answer is done with and there is a reason to.
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

    /// When a client that pauses polls again, because the answer to its POST is withheld: the server's application does
    /// not read, perhaps because it has no room to send, and a poll makes that room.
    pub(super) fn next_stalled_poll(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Pausing(pause) if self.post.is_some() && self.may_begin_poll() => Some(pause.poll_at()),
            _ => None,
        }
    }

    /// Whether no GET is under way, and the answer to the last one was handled to its end.
    fn may_begin_poll(&self) -> bool {
        self.get.is_none() && !self.flow.inbox.has_body()
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, exchange: ExchangeId, status: u16, body: Bytes) {
        if !(200..300).contains(&status) {
            return self.exchange_failed(exchange, RequestError::Status(status), Some(&body));
        }
        if self.get == Some(exchange) && body.len() > self.config.max_payload {
            return self.exchange_failed(exchange, RequestError::TooLarge, None);
        }
        if self.get.take_if(|get| *get == exchange).is_some() {
            self.flow.inbox.push_body(self.codec.decode_payload(body), MAX_IDLE_PACKETS);
        } else if let Some(post) = self.post.take_if(|post| post.exchange == exchange) {
            self.posted(post);
        }
    }

    /// A request has no answer that helps.
    pub(super) fn exchange_failed(&mut self, exchange: ExchangeId, error: RequestError, body: Option<&Bytes>) {
        let answered = matches!(error, RequestError::Status(_));
        if self.get.take_if(|get| *get == exchange).is_some() {
            if self.post.is_some_and(|post| post.is_last) {
                // It was overtaken by the last POST, whose own answer says whether the last messages arrived.
                return;
            }
            self.keep_details(error, body);
            let reason = CloseReason::TransportError(TransportError::Poll(error));
            if self.state() == State::Opening {
                return self.fail_opening(reason);
            }
            // A server that refused a poll knows no such session any more.
            if answered { self.finish(reason) } else { self.leave(reason) }
        } else if self.post.take_if(|post| post.exchange == exchange).is_some() {
            self.keep_details(error, body);
            let reason = CloseReason::TransportError(TransportError::Post(error));
            // Only one that was answered cannot be under way any more; and only for its size the session is not over.
            if error == RequestError::Status(TOO_LARGE) { self.leave(reason) } else { self.finish(reason) }
        }
    }

    fn keep_details(&mut self, error: RequestError, body: Option<&Bytes>) {
        if let (RequestError::Status(status), Some(body)) = (error, body) {
            self.details = Some(Box::new(Details::answer(status, body)));
        }
    }
}
