//! GET: the answers to polls.
//!
//! At most one GET is held. A second one violates the protocol: it is refused, and the session ends.

use super::{Session, Stage};
use crate::http::rejection::Rejection;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, ExchangeId, TransportError};
use crate::parts::transport::TransportKind;
use crate::parts::wait::{Deadline, at_least};
use crate::session::event::Output;
use crate::session::state::State;
use crate::wire::handshake::Opened;
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::Payload;

pub(super) const CLOSE: Packet = Packet::text(PacketKind::Close, "");
pub(super) const NOOP: Packet = Packet::text(PacketKind::Noop, "");
pub(super) const PING: Packet = Packet::text(PacketKind::Ping, "");

impl Session {
    /// Handles a GET.
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
            // A closing session sends no pings, so this poll is the sign of life.
            self.pinger.progress(self.now, self.config.times());
            if !self.greeting.open && self.flow.outbox.is_written() {
                self.respond_to_poll([NOOP, CLOSE]);
                self.finish(CloseReason::ForcedClose);
            }
        }
    }

    /// Answers the held GET if there is anything to send.
    pub(super) fn answer_poll(&mut self) {
        let Some(exchange) = self.get else { return };
        let closing = self.closing.is_some();
        let waiting = !self.flow.outbox.is_empty() || self.owes_ping();
        if self.greeting.open {
            let payload = self.handshake_payload();
            self.respond_with_packets(exchange, payload);
        } else if waiting && self.flow.outbox.may_answer() {
            // If too many answers are under way, this poll waits until one of them is written, or until it is released.
            let payload = self.next_payload();
            self.flow.emit_flush(payload.packets().len());
            self.respond_with_packets(exchange, payload);
            self.flow.emit_drain();
        } else if closing && self.flow.outbox.is_written() {
            self.finish(CloseReason::ForcedClose);
        } else if let Stage::Probed(probe) = &mut self.stage {
            if probe.may_release(self.now) {
                self.respond_to_poll([NOOP]);
            }
        }
    }

    /// Returns the packet that opens the session on this transport.
    pub(super) fn open_packet(&self, transport: TransportKind) -> Packet {
        let opened = Opened {
            sid: self.sid.clone(),
            upgrades: self.config.upgrades(transport),
            ping_interval: self.config.ping_interval,
            ping_timeout: self.config.ping_timeout,
            max_payload: Some(self.config.max_payload),
        };
        opened.to_packet()
    }

    fn handshake_payload(&mut self) -> Payload {
        let mut payload = Payload::with_capacity(self.codec, 2);
        payload.push(self.open_packet(TransportKind::Polling));
        payload.extend(self.config.initial_message.clone().map(Packet::from));
        self.greeting.open = false;
        self.greeting.initial = false;
        payload
    }

    /// Returns the ping that is due, and as many messages as fit. A single packet above the limit goes alone.
    fn next_payload(&mut self) -> Payload {
        let mut payload = Payload::with_capacity(self.codec, self.flow.outbox.len().saturating_add(1).min(64));
        payload.extend(self.take_ping().then_some(PING));
        self.flow.fill(&mut payload, self.config.max_payload, usize::MAX);
        payload
    }

    /// Answers the held GET with packets that must not be lost. The embedder reports whether the answer was written.
    fn respond_with_packets(&mut self, exchange: ExchangeId, payload: Payload) {
        self.get = None;
        self.flow.outbox.answer_given(exchange);
        self.respond(exchange, Response::Payload(payload));
    }

    /// Answers the held GET, if there is one, with packets that may be lost.
    pub(super) fn respond_to_poll(&mut self, packets: impl IntoIterator<Item = Packet>) {
        if let Some(exchange) = self.get.take() {
            self.respond(exchange, Response::Payload(Payload::from_packets(self.codec, packets)));
        }
    }

    /// Handles the report that an answer was completely written.
    pub(super) fn answer_written(&mut self, exchange: ExchangeId) {
        if let (true, Stage::Polling(Some(deadline))) = (self.flow.outbox.is_under_way(exchange), &mut self.stage) {
            // From now on, the client can know the id.
            *deadline = Deadline::new(self.now + at_least(self.config.confirm_timeout));
        }
        if self.flow.outbox.answer_written(exchange) {
            self.note_written();
        }
    }

    /// Handles an exchange whose peer went away.
    pub(super) fn exchange_lost(&mut self, exchange: ExchangeId) {
        let error = if self.get == Some(exchange) {
            self.get = None;
            TransportError::PollLost
        } else if self.flow.outbox.is_under_way(exchange) {
            // The packets in the answer are lost with it. The session must not continue with a gap.
            TransportError::PollLost
        } else if self.lose_post(exchange) {
            TransportError::PostLost
        } else {
            return;
        };
        self.finish(CloseReason::TransportError(error));
    }

    pub(super) fn not_on_polling(&self) -> Option<Rejection> {
        match self.state() {
            State::Closed => Some(Rejection::UnknownSid),
            State::Channel => Some(Rejection::TransportMismatch {
                requested: TransportKind::Polling,
                current: TransportKind::WebSocket,
            }),
            State::Polling | State::Probing | State::Probed => None,
        }
    }

    pub(super) fn respond(&mut self, exchange: ExchangeId, response: Response) {
        self.flow.output(Output::Respond { exchange, response });
    }
}
