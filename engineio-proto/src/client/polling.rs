//! The loop of GETs, and what a POST carries.
//!
//! At most one GET and one POST are under way. None is ever sent again: a second POST would double its messages, and a
//! second GET could not bring back what was in the answer to the first. So one that fails ends the session.

use alloc::boxed::Box;

use bytes::Bytes;

use super::{Client, Details, Post, State};
use crate::parts::event::{CloseReason, Event, ExchangeId, RequestError, TransportError};
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::{Payload, PayloadDecoder};

pub(super) const CLOSE: Packet = Packet::text(PacketKind::Close, "");
pub(super) const PONG: Packet = Packet::text(PacketKind::Pong, "");

/// Payload Too Large.
const TOO_LARGE: u16 = 413;

impl Client {
    /// Polls.
    pub(super) fn get(&mut self) {
        self.get = Some(self.request(None));
    }

    /// Goes on polling, when the last answer is done with and there is a reason to.
    pub(super) fn poll(&mut self) {
        let polls = matches!(self.state, State::Polling | State::Probing);
        let leaving = self.post.is_some_and(|post| post.last);
        if polls && self.get.is_none() && self.backlog.is_none() && !leaving {
            self.get();
        }
    }

    /// Posts what there is, if no other POST is under way.
    pub(super) fn post(&mut self) {
        if self.post.is_some() {
            return;
        }
        let leaving = self.closing.is_some();
        if self.outbox.is_empty() && !self.owed.pong && !leaving {
            return;
        }
        let payload = self.next_payload();
        let flushed = !payload.packets().is_empty();
        // Within the limit if it can be; the close packet is worth a POST of its own.
        let fits = !flushed
            || (payload.encoded_len().saturating_add(1 + CLOSE.encoded_len()) <= self.max_message()
                && payload.packets().len() < self.config.max_packets);
        let last = leaving && self.outbox.is_empty() && fits;
        let messages = payload.packets().iter().filter(|packet| packet.kind() == PacketKind::Message).count();
        if flushed {
            self.emit(Event::Flush { packets: payload.packets().len() });
        }
        let payload = if last { payload.packets().iter().cloned().chain([CLOSE]).collect() } else { payload };
        let exchange = self.request(Some(payload));
        self.post = Some(Post { exchange, messages, flushed, last });
        self.tell_writable();
    }

    /// The pong that is owed, then as many messages as the server takes at once. One that it would never take goes
    /// alone: it was accepted before the limit was known.
    fn next_payload(&mut self) -> Payload {
        let mut payload = Payload::default();
        let mut len = 0_usize;
        if core::mem::take(&mut self.owed.pong) {
            self.stats.heartbeats_sent = self.stats.heartbeats_sent.saturating_add(1);
            len = PONG.encoded_len();
            payload.push(PONG);
        }
        let limit = self.max_message();
        while let Some(message) = self.outbox.front() {
            let separator = usize::from(len > 0);
            let more = len.saturating_add(separator).saturating_add(message.payload_len());
            if len > 0 && (more > limit || payload.packets().len() >= self.config.max_packets) {
                break;
            }
            len = more;
            payload.extend(self.take_message().map(Packet::from));
        }
        payload
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, exchange: ExchangeId, status: u16, body: Bytes) {
        let success = (200..300).contains(&status);
        if !success {
            return self.exchange_failed(exchange, RequestError::Status(status), Some(&body));
        }
        if self.get == Some(exchange) && body.len() > self.config.max_payload {
            return self.exchange_failed(exchange, RequestError::TooLarge, None);
        }
        if self.get.take_if(|get| *get == exchange).is_some() {
            self.backlog = Some(PayloadDecoder::new(body));
            self.idle_packets = 0;
            self.pump();
        } else if let Some(post) = self.post.take_if(|post| post.exchange == exchange) {
            self.posted(post);
        }
    }

    /// The server took a POST.
    fn posted(&mut self, post: Post) {
        if let Some(expectation) = &mut self.expectation {
            expectation.taken();
        }
        if post.flushed {
            self.emit(Event::Drain);
        }
        if post.last {
            return self.finish(CloseReason::ForcedClose);
        }
        self.try_switch();
        self.flush();
    }

    /// A request has no answer that helps.
    pub(super) fn exchange_failed(&mut self, exchange: ExchangeId, error: RequestError, body: Option<&Bytes>) {
        let answered = matches!(error, RequestError::Status(_));
        if self.get.take_if(|get| *get == exchange).is_some() {
            if self.post.is_some_and(|post| post.last) {
                // It was overtaken by the goodbye, whose own answer says whether the last messages arrived.
                return;
            }
            self.keep_details(error, body);
            let error = TransportError::Poll(error);
            if self.state == State::Opening {
                return self.fail_opening(CloseReason::TransportError(error));
            }
            let reason = self.reason_for(CloseReason::TransportError(error), 0);
            // A server that refused a poll knows no such session any more.
            if answered { self.finish(reason) } else { self.leave(reason) }
        } else if let Some(post) = self.post.take_if(|post| post.exchange == exchange) {
            self.unanswered = post.messages;
            self.keep_details(error, body);
            let reason = self.reason_for(CloseReason::TransportError(TransportError::Post(error)), post.messages);
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
