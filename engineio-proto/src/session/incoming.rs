//! Packets on their way to the application.
//!
//! Nothing is decoded before there is room for it. If the application is slow, a POST stays undecoded and unanswered,
//! and a channel is not read. This slows the client down, and memory does not grow.

use super::Session;
use super::post::Post;
use crate::http::rejection::Rejection;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, TransportError};
use crate::parts::inbox::Next;
use crate::parts::phase::Phase;
use crate::surface::Step;
use crate::wire::codec::Excerpt;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

impl Session {
    /// Handles what waits, as far as there is room: first the POST, then the frames behind it.
    pub(super) fn pump(&mut self) {
        let mut excerpt = Excerpt::default();
        loop {
            let hold_frames = matches!(self.post, Post::Receiving { .. });
            match self.flow.inbox.next(self.config.receive_limit, hold_frames, self.codec, &mut excerpt) {
                Some(Next::Packet(packet)) => {
                    self.handle_packet(packet);
                }
                Some(Next::BodyDone) => self.end_post(Response::Accepted),
                None => break,
            }
        }
    }

    /// Handles a packet.
    #[inline(always)]
    pub(super) fn handle_packet(&mut self, packet: Result<Packet, PacketError>) -> Step {
        match packet {
            Ok(Packet::Text { kind: PacketKind::Message, data }) => self.handle_message(Message::Text(data)),
            Ok(Packet::Binary(bytes)) => self.handle_message(Message::Binary(bytes)),
            packet => {
                self.handle_other(packet.map(|packet| packet.kind()));
                Step::Other
            }
        }
    }

    #[inline(always)]
    fn handle_message(&mut self, message: Message) -> Step {
        self.pinger.packet(self.now, self.config.times());
        self.deliver(message);
        Step::Received
    }

    /// Handles a packet that is not a message.
    fn handle_other(&mut self, kind: Result<PacketKind, PacketError>) {
        let phase = self.phase();
        let kind = match kind {
            Ok(kind) => kind,
            Err(_) if phase == Phase::Open => return self.finish(CloseReason::ParseError),
            Err(_) => return self.drop_rest(Response::Rejected(Rejection::InvalidPayload)),
        };
        if kind == PacketKind::Pong {
            self.pinger.pong(self.now, self.config.times());
        } else {
            self.pinger.packet(self.now, self.config.times());
        }
        match kind {
            PacketKind::Pong if phase != Phase::Closed => self.flow.heartbeat_received(true),
            PacketKind::Close if phase != Phase::Closed => self.finish(CloseReason::TransportClose),
            PacketKind::Ping if phase == Phase::Open => {
                self.finish(CloseReason::TransportError(TransportError::HeartbeatDirection));
            }
            // What waited when the session ended counts up to the packet with which the client itself would have ended
            // it.
            PacketKind::Close | PacketKind::Ping if phase == Phase::Closed => self.drop_rest(Response::Accepted),
            _ => (),
        }
    }

    /// Adds a message for the application, unless the application has closed the session.
    #[inline(always)]
    fn deliver(&mut self, message: Message) {
        if self.phase() == Phase::Closing {
            self.flow.inbox.drop_message();
        } else {
            self.flow.inbox.deliver(message);
        }
    }

    /// Drops what was received and not decoded.
    pub(super) fn drop_rest(&mut self, response: Response) {
        self.flow.inbox.drop_undecoded();
        self.end_post(response);
    }

    /// Returns whether the channel is to be read.
    pub(super) fn is_reading(&self) -> bool {
        let inbox = &self.flow.inbox;
        let receiving = matches!(self.post, Post::Receiving { .. });
        !inbox.has_frames() && inbox.has_room(self.config.receive_limit) && !receiving
    }
}
