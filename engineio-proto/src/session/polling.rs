//! GET and POST.
//!
//! At most one GET is held and one POST is under way. A second of either breaks the protocol: it is refused, and the
//! session ends.

use bytes::Bytes;

use super::{Post, Session, State};
use crate::http::rejection::Rejection;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, Event, ExchangeId, TransportError};
use crate::parts::phase::Phase;
use crate::parts::transport::TransportKind;
use crate::session::event::{BodyError, Output};
use crate::wire::handshake::open_packet;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::{Payload, PayloadDecoder};

pub(super) const CLOSE: Packet = Packet::text(PacketKind::Close, "");
pub(super) const NOOP: Packet = Packet::text(PacketKind::Noop, "");
pub(super) const PING: Packet = Packet::text(PacketKind::Ping, "");

impl Session {
    /// A GET arrived.
    pub(super) fn poll(&mut self, exchange: ExchangeId) {
        if let Some(rejection) = self.not_on_polling() {
            return self.respond(exchange, Response::Rejected(rejection));
        }
        if self.get.is_some() {
            self.respond(exchange, Response::Refused);
            return self.finish(CloseReason::TransportError(TransportError::PollOverlap));
        }
        self.get = Some(exchange);
        if self.closing.is_some() {
            // It is not pinged any more, and shows in this way that it is there.
            self.heartbeat.progress(self.now, &self.config);
        }
        self.answer_poll();
    }

    /// The head of a POST arrived.
    pub(super) fn post_head(&mut self, exchange: ExchangeId, octet_stream: bool) {
        if let Some(rejection) = self.not_on_polling() {
            return self.respond(exchange, Response::Rejected(rejection));
        }
        let error = match self.post {
            Post::Free if octet_stream => TransportError::InvalidContent,
            Post::Free => {
                self.post = Post::Receiving(exchange);
                return;
            }
            Post::Receiving(_) | Post::Held(_) => TransportError::PostOverlap,
        };
        self.respond(exchange, Response::Refused);
        self.finish(CloseReason::TransportError(error));
    }

    /// The body of a POST arrived, or it did not. The session may have left polling meanwhile: it counts all the same.
    pub(super) fn post_body(&mut self, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        if self.post != Post::Receiving(exchange) {
            return;
        }
        match body {
            Ok(body) => {
                self.post = Post::Held(exchange);
                self.backlog = Some(PayloadDecoder::new(body));
            }
            Err(BodyError::TooLarge) => {
                self.post = Post::Free;
                self.respond(exchange, Response::TooLarge);
            }
            Err(BodyError::Timeout) => {
                // Behind it there would be a hole.
                self.held.clear();
                self.post = Post::Free;
                self.respond(exchange, Response::Timeout);
                self.finish(CloseReason::TransportError(TransportError::PostTimeout));
            }
        }
        self.pump();
    }

    /// The peer of an exchange went away.
    pub(super) fn exchange_lost(&mut self, exchange: ExchangeId) {
        let error = if self.get == Some(exchange) {
            self.get = None;
            TransportError::PollLost
        } else if self.answered == Some(exchange) {
            // The messages in the answer are lost with it. The session must not go on with a hole.
            TransportError::PollLost
        } else if matches!(self.post, Post::Receiving(post) | Post::Held(post) if post == exchange) {
            // What was received whole is still delivered, so only a body on the way leaves a hole behind it.
            if matches!(self.post, Post::Receiving(_)) {
                self.held.clear();
            }
            self.post = Post::Free;
            TransportError::PostLost
        } else {
            return;
        };
        // Whoever asked for the end gets the end asked for, even if the peer leaves first.
        let closing = self.phase() == Phase::Closing;
        self.finish(if closing { CloseReason::ForcedClose } else { CloseReason::TransportError(error) });
    }

    fn not_on_polling(&self) -> Option<Rejection> {
        match self.state {
            State::Closed => Some(Rejection::UnknownSid),
            State::Channel => Some(Rejection::TransportMismatch {
                requested: TransportKind::Polling,
                current: TransportKind::WebSocket,
            }),
            State::Polling | State::Probing | State::Probed => None,
        }
    }

    /// Answers the held GET if there is anything to say.
    pub(super) fn answer_poll(&mut self) {
        if self.get.is_none() {
            return;
        }
        if self.owed.open {
            return self.answer_handshake();
        }
        let closing = self.closing.is_some();
        if !self.outbox.is_empty() || (self.heartbeat.owes_ping() && !closing) {
            let payload = self.next_payload();
            self.emit(Event::Flush { packets: payload.packets().len() });
            self.answered = self.get;
            self.respond_poll(payload);
            self.emit(Event::Drain);
            self.tell_writable();
        } else if closing {
            self.respond_poll([NOOP, CLOSE].into_iter().collect());
            self.finish(CloseReason::ForcedClose);
        } else if self.state == State::Probed && self.probe.may_release(self.now) {
            self.respond_poll([NOOP].into_iter().collect());
        }
    }

    fn answer_handshake(&mut self) {
        let mut payload = Payload::with_capacity(2);
        payload.push(open_packet(&self.sid, TransportKind::Polling, &self.config));
        payload.extend(self.config.initial_message.clone().map(Packet::from));
        self.owed.open = false;
        self.owed.initial = false;
        self.answered = self.get;
        self.respond_poll(payload);
    }

    /// The ping that is owed, then as many messages as fit. A single packet above the limit goes alone.
    fn next_payload(&mut self) -> Payload {
        let mut payload = Payload::with_capacity(self.outbox.len().saturating_add(1).min(64));
        let mut len = 0_usize;
        if self.heartbeat.take_ping(self.now, &self.config) {
            self.stats.heartbeats_sent += 1;
            len = PING.encoded_len();
            payload.push(PING);
        }
        while let Some(message) = self.outbox.front() {
            let separator = usize::from(len > 0);
            let more = len.saturating_add(separator).saturating_add(message.payload_len());
            if len > 0 && more > self.config.max_payload {
                break;
            }
            len = more;
            payload.extend(self.take_message().map(Packet::from));
        }
        payload
    }

    /// Takes the next message out of the send buffer, for good.
    pub(super) fn take_message(&mut self) -> Option<Message> {
        let message = self.outbox.pop()?;
        self.heartbeat.taken();
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += message.len() as u64;
        Some(message)
    }

    pub(super) fn respond_poll(&mut self, payload: Payload) {
        if let Some(exchange) = self.get.take() {
            self.respond(exchange, Response::Payload(payload));
        }
    }

    pub(super) fn respond(&mut self, exchange: ExchangeId, response: Response) {
        self.outputs.push_back(Output::Respond { exchange, response });
    }
}
