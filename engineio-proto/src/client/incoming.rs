//! Packets on their way to the application.
//!
//! Nothing is decoded before there is room for it. If the application is slow, an answer stays undecoded, the next poll
//! is not sent, and a channel is not read. This slows the server down, and memory does not grow.

use super::Client;
use crate::client::state::State;
use crate::parts::event::{CloseReason, TransportError};
use crate::parts::inbox::Next;
use crate::parts::phase::Phase;
use crate::surface::Step;
use crate::wire::codec::Excerpt;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

impl Client {
    /// Handles packets that wait, as far as there is room.
    pub(super) fn pump(&mut self) {
        let mut excerpt = Excerpt::default();
        while let Some(next) = self.flow.inbox.next(self.config.receive_limit, false, self.codec, &mut excerpt) {
            if let Next::Packet(packet) = next {
                self.handle_packet(packet);
            }
        }
    }

    /// Handles a packet.
    pub(super) fn handle_packet(&mut self, packet: Result<Packet, PacketError>) -> Step {
        if self.state() == State::Opening {
            match packet {
                Ok(packet) => self.handle_first(packet),
                Err(_) => self.fail_opening(CloseReason::TransportError(TransportError::InvalidHandshake)),
            }
            return Step::Other;
        }
        match packet {
            Ok(Packet::Text { kind: PacketKind::Message, data }) => self.handle_message(Message::Text(data)),
            Ok(Packet::Binary(bytes)) => self.handle_message(Message::Binary(bytes)),
            packet => {
                self.handle_other(packet.map(|packet| packet.kind()));
                Step::Other
            }
        }
    }

    fn handle_message(&mut self, message: Message) -> Step {
        self.pace.reset();
        if let Some(listener) = &mut self.listener {
            listener.packet(self.now);
        }
        self.flow.inbox.deliver(message);
        Step::Received
    }

    /// Handles a packet that is not a message.
    fn handle_other(&mut self, kind: Result<PacketKind, PacketError>) {
        let Ok(kind) = kind else {
            self.flow.inbox.drop_undecoded();
            return self.leave(CloseReason::TransportError(TransportError::InvalidPacket));
        };
        let paused = self.reading_paused();
        match &mut self.listener {
            Some(listener) if kind == PacketKind::Ping => listener.ping(self.now, paused),
            Some(listener) => listener.packet(self.now),
            None => (),
        }
        match kind {
            PacketKind::Ping if self.phase() != Phase::Closed => {
                // Pings are answered until the end, also by a client that is closing. Many pings in a row get one pong.
                let news = !core::mem::replace(&mut self.owes_pong, true);
                self.flow.heartbeat_received(news);
            }
            PacketKind::Close => {
                // The close packet of the server: what comes after it does not count.
                self.flow.inbox.drop_undecoded();
                self.finish(CloseReason::TransportClose);
            }
            _ => (),
        }
    }

    /// Returns whether the channel is to be read.
    pub(super) fn is_reading(&self) -> bool {
        let inbox = &self.flow.inbox;
        !inbox.has_frames() && inbox.has_room(self.config.receive_limit)
    }
}
