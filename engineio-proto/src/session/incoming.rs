//! Packets on their way to the application.
//!
//! Nothing is decoded before there is room for it. When the application is slow, a POST stays undecoded and
//! unanswered, a channel is not read, and so the client is slowed down; memory does not grow.

use alloc::collections::VecDeque;

use super::{Post, Session, State};
use crate::http::rejection::Rejection;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, Event, TransportError};
use crate::parts::phase::Phase;
use crate::session::event::Output;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

impl Session {
    /// Handles what waits, as far as there is room: first the POST, then the frames behind it.
    pub(super) fn pump(&mut self) {
        while self.has_inbox_room() {
            if let Some(backlog) = &mut self.backlog {
                match backlog.next() {
                    Some(packet) => self.handle_packet(packet),
                    None => self.end_post(Response::Accepted),
                }
            } else if self.state == State::Channel && matches!(self.post, Post::Receiving(_)) {
                break;
            } else if let Some(frame) = self.held.pop_front() {
                self.handle_packet(frame.decode());
            } else {
                break;
            }
        }
        self.told.heartbeat = false;
        self.tell_reading();
        if !self.told.readable && !self.inbox.is_empty() {
            self.told.readable = true;
            self.emit(Event::Readable);
        }
        self.tell_closed();
    }

    fn handle_packet(&mut self, packet: Result<Packet, PacketError>) {
        let phase = self.phase();
        let packet = match packet {
            Ok(packet) => packet,
            Err(_) if phase == Phase::Open => return self.finish(CloseReason::ParseError),
            Err(_) => return self.drop_rest(Response::Rejected(Rejection::InvalidPayload)),
        };
        let kind = packet.kind();
        if kind == PacketKind::Pong {
            self.heartbeat.pong(self.now, &self.config);
        } else {
            self.heartbeat.packet(self.now, &self.config);
        }
        match (kind, packet) {
            (PacketKind::Message, Packet::Text { data, .. }) => self.deliver(Message::Text(data)),
            (PacketKind::Message, Packet::Binary(bytes)) => self.deliver(Message::Binary(bytes)),
            (PacketKind::Pong, _) if phase != Phase::Closed => {
                self.stats.heartbeats_received = self.stats.heartbeats_received.saturating_add(1);
                // Very many in one POST are told once.
                if !core::mem::replace(&mut self.told.heartbeat, true) {
                    self.emit(Event::Heartbeat);
                }
            }
            (PacketKind::Close, _) if phase != Phase::Closed => self.finish(CloseReason::TransportClose),
            (PacketKind::Ping, _) if phase == Phase::Open => {
                self.finish(CloseReason::TransportError(TransportError::HeartbeatDirection));
            }
            // What waited when the session ended counts up to where the client itself would have ended it.
            (PacketKind::Close | PacketKind::Ping, _) if phase == Phase::Closed => self.drop_rest(Response::Accepted),
            _ => (),
        }
    }

    /// Puts a message up for the application, unless that closed the session or does not want any.
    fn deliver(&mut self, message: Message) {
        if self.phase() == Phase::Closing || !self.told.wanted {
            return;
        }
        self.stats.messages_received += 1;
        self.stats.bytes_received += message.len() as u64;
        self.inbox.push(message);
    }

    /// Forgets what was received but not decoded.
    pub(super) fn drop_rest(&mut self, response: Response) {
        self.end_post(response);
        self.held = VecDeque::new();
    }

    /// The POST is done with; it gets its answer.
    pub(super) fn end_post(&mut self, response: Response) {
        self.backlog = None;
        if let Post::Held(exchange) = self.post {
            self.post = Post::Free;
            self.respond(exchange, response);
        }
    }

    /// Drops what was received and what will be. The embedder says this when nobody is left to call
    /// [`Session::recv`]; the session then ends without being asked for messages.
    pub fn discard_incoming(&mut self) {
        self.told.wanted = false;
        self.inbox.clear();
        self.pump();
        self.debug_check();
    }

    /// Whether one more packet may be decoded.
    pub(super) fn has_inbox_room(&self) -> bool {
        self.inbox.cost() < self.config.receive_limit
    }

    /// Whether the client's packets cannot reach us because the application is slow.
    pub(super) fn reading_paused(&self) -> bool {
        self.backlog.is_some() || (self.state == State::Channel && !self.has_inbox_room())
    }

    /// Tells that the session is over, once, and when nothing is left to be received.
    pub(super) fn tell_closed(&mut self) {
        let idle = self.inbox.is_empty() && self.backlog.is_none() && self.held.is_empty();
        if let Some((reason, told @ false)) = &mut self.closed {
            if idle {
                *told = true;
                self.outputs.push_back(Output::Event(Event::Closed(*reason)));
            }
        }
    }
}
