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
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

impl Session {
    /// Handles what waits, as far as there is room: first the POST, then the frames behind it.
    pub(super) fn pump(&mut self) {
        loop {
            let hold_frames = matches!(self.post, Post::Receiving { .. });
            match self.flow.inbox.next(self.config.receive_limit, hold_frames, self.codec) {
                Some(Next::Packet(packet)) => self.handle_packet(packet),
                Some(Next::BodyDone) => self.end_post(Response::Accepted),
                None => break,
            }
        }
    }

    pub(super) fn handle_packet(&mut self, packet: Result<Packet, PacketError>) {
        let phase = self.phase();
        let packet = match packet {
            Ok(packet) => packet,
            Err(_) if phase == Phase::Open => return self.finish(CloseReason::ParseError),
            Err(_) => return self.drop_rest(Response::Rejected(Rejection::InvalidPayload)),
        };
        let kind = packet.kind();
        if kind == PacketKind::Pong {
            self.pinger.pong(self.now, self.config.times());
        } else {
            self.pinger.packet(self.now, self.config.times());
        }
        match (kind, packet) {
            (PacketKind::Message, Packet::Text { data, .. }) => self.deliver(Message::Text(data)),
            (PacketKind::Message, Packet::Binary(bytes)) => self.deliver(Message::Binary(bytes)),
            (PacketKind::Pong, _) if phase != Phase::Closed => self.flow.heartbeat_received(true),
            (PacketKind::Close, _) if phase != Phase::Closed => self.finish(CloseReason::TransportClose),
            (PacketKind::Ping, _) if phase == Phase::Open => {
                self.finish(CloseReason::TransportError(TransportError::HeartbeatDirection));
            }
            // What waited when the session ended counts up to the packet with which the client itself would have ended
            // it.
            (PacketKind::Close | PacketKind::Ping, _) if phase == Phase::Closed => self.drop_rest(Response::Accepted),
            _ => (),
        }
    }

    /// Adds a message for the application, unless the application has closed the session.
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
