//! Packets on their way to the application.
//!
//! Nothing is decoded before there is room for it. When the application is slow, an answer stays undecoded and the next
//! poll is not sent, a channel is not read, and so the server is slowed down; memory does not grow.

use alloc::collections::VecDeque;

use super::{Client, Output, State};
use crate::parts::event::{CloseReason, Event, TransportError};
use crate::parts::phase::Phase;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};

/// So many packets of one answer may be no messages.
const MAX_IDLE_PACKETS: u32 = 1000;

impl Client {
    /// Handles what waits, as far as there is room, and then does what follows from it.
    pub(super) fn pump(&mut self) {
        while self.has_inbox_room() {
            if let Some(backlog) = &mut self.backlog {
                match backlog.next() {
                    Some(packet) => {
                        let packet = packet.and_then(|packet| self.count_idle(packet));
                        self.handle_packet(packet);
                    }
                    None => self.backlog = None,
                }
            } else if let Some(frame) = self.held.pop_front() {
                self.handle_packet(frame.decode());
            } else {
                break;
            }
        }
        self.give_up_switch();
        self.tell_reading();
        if !self.told.readable && !self.inbox.is_empty() {
            self.told.readable = true;
            self.emit(Event::Readable);
        }
        self.try_switch();
        self.poll();
        self.flush();
        self.tell_closed();
    }

    /// An answer has a few packets that are no messages. Millions of them would only keep us busy.
    fn count_idle(&mut self, packet: Packet) -> Result<Packet, PacketError> {
        if packet.kind() != PacketKind::Message {
            self.idle_packets += 1;
        }
        if self.idle_packets > MAX_IDLE_PACKETS { Err(PacketError::TooMany) } else { Ok(packet) }
    }

    fn handle_packet(&mut self, packet: Result<Packet, PacketError>) {
        let invalid = |error| CloseReason::TransportError(error);
        let packet = match packet {
            Ok(packet) => packet,
            Err(_) if self.state == State::Opening => {
                return self.fail_opening(invalid(TransportError::InvalidHandshake));
            }
            Err(_) => {
                self.drop_rest();
                let reason = self.reason_for(invalid(TransportError::InvalidPacket), 0);
                return self.leave(reason);
            }
        };
        if self.state == State::Opening {
            return self.handle_first(packet);
        }
        let kind = packet.kind();
        self.heard(kind);
        match (kind, packet) {
            (PacketKind::Message, Packet::Text { data, .. }) => self.deliver(Message::Text(data)),
            (PacketKind::Message, Packet::Binary(bytes)) => self.deliver(Message::Binary(bytes)),
            (PacketKind::Ping, _) if self.phase() != Phase::Closed => self.pinged(),
            (PacketKind::Close, _) => {
                // The server's last word: nothing behind it counts.
                self.drop_rest();
                self.finish(CloseReason::TransportClose);
            }
            _ => (),
        }
    }

    /// Puts a message up for the application, unless that does not want any.
    fn deliver(&mut self, message: Message) {
        if self.told.wanted {
            self.stats.messages_received += 1;
            self.stats.bytes_received += message.len() as u64;
            self.inbox.push(message);
        }
    }

    /// Forgets what was received but not decoded.
    pub(super) fn drop_rest(&mut self) {
        self.backlog = None;
        self.held = VecDeque::new();
    }

    /// Drops what was received and what will be. The embedder says this when nobody is left to call [`Client::recv`];
    /// the session then ends without being asked for messages.
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

    /// Whether the server's packets cannot reach us because the application is slow.
    pub(super) fn reading_paused(&self) -> bool {
        !self.has_inbox_room() && (self.backlog.is_some() || self.state == State::Channel)
    }

    /// Stops or resumes reading from the channel, when that is a change.
    pub(super) fn tell_reading(&mut self) {
        if self.reading_paused() {
            if let Some(expectation) = &mut self.expectation {
                expectation.pause();
            }
        }
        let Some(channel) = self.channel.filter(|_| self.state == State::Channel) else { return };
        let reading = self.held.is_empty() && self.has_inbox_room();
        if self.told.reading != reading {
            self.told.reading = reading;
            self.outputs.push_back(Output::ChannelRead { channel, enabled: reading });
        }
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
