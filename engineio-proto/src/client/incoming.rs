//! Packets on their way to the application.
//!
//! Nothing is decoded before there is room for it. When the application is slow, an answer stays undecoded and the next
//! poll is not sent, a channel is not read, and so the server is slowed down; memory does not grow.

use super::Client;
use crate::client::state::State;
use crate::parts::event::{CloseReason, TransportError};
use crate::parts::inbox::Next;
use crate::parts::phase::Phase;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

impl Client {
    /// Handles what waits, as far as there is room.
    pub(super) fn pump(&mut self) {
        while let Some(next) = self.flow.inbox.next(self.config.receive_limit, false, self.codec) {
            if let Next::Packet(packet) = next {
                self.handle_packet(packet);
            }
        }
    }

    pub(super) fn handle_packet(&mut self, packet: Result<Packet, PacketError>) {
        let packet = match packet {
            Ok(packet) if self.state() == State::Opening => return self.handle_first(packet),
            Ok(packet) => packet,
            Err(_) if self.state() == State::Opening => {
                return self.fail_opening(CloseReason::TransportError(TransportError::InvalidHandshake));
            }
            Err(_) => {
                self.flow.inbox.drop_undecoded();
                return self.leave(CloseReason::TransportError(TransportError::InvalidPacket));
            }
        };
        let kind = packet.kind();
        let paused = self.reading_paused();
        match &mut self.listener {
            Some(listener) if kind == PacketKind::Ping => listener.ping(self.now, paused),
            Some(listener) => listener.packet(self.now),
            None => (),
        }
        match (kind, packet) {
            (PacketKind::Message, Packet::Text { data, .. }) => self.flow.inbox.deliver(Message::Text(data)),
            (PacketKind::Message, Packet::Binary(bytes)) => self.flow.inbox.deliver(Message::Binary(bytes)),
            (PacketKind::Ping, _) if self.phase() != Phase::Closed => {
                // Answered until the very end, also by a client that is closing. Very many are answered once.
                let news = !core::mem::replace(&mut self.owes_pong, true);
                self.flow.heartbeat_received(news);
            }
            (PacketKind::Close, _) => {
                // The server's last word: nothing behind it counts.
                self.flow.inbox.drop_undecoded();
                self.finish(CloseReason::TransportClose);
            }
            _ => (),
        }
    }

    /// Whether the server's packets cannot reach the client because the application is slow.
    pub(super) fn reading_paused(&self) -> bool {
        let inbox = &self.flow.inbox;
        !inbox.has_room(self.config.receive_limit) && (inbox.has_body() || self.state() == State::Channel)
    }

    /// Whether the channel is to be read.
    pub(super) fn is_reading(&self) -> bool {
        let inbox = &self.flow.inbox;
        !inbox.has_frames() && inbox.has_room(self.config.receive_limit)
    }
}
