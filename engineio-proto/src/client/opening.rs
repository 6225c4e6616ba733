//! From nothing to an open session: the first transport, the next one if it fails, and the open packet.

use alloc::boxed::Box;
use alloc::string::String;

use base64::Engine as _;

use super::heartbeat::Expectation;
use super::{Client, Output, Request, State, Trigger};
use crate::parts::event::{ChannelId, CloseReason, Event, ExchangeId, TransportError};
use crate::parts::phase::Phase;
use crate::parts::transport::TransportKind;
use crate::parts::wait::at_least;
use crate::wire::handshake::Opened;
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::Payload;

impl Client {
    /// Asks for the transport that it is on to be opened.
    pub(super) fn open(&mut self) {
        self.opening = self.now + at_least(self.config.open_timeout);
        match self.transport {
            TransportKind::Polling => self.get(),
            TransportKind::WebSocket => self.ask_for_channel(TransportKind::WebSocket),
        }
    }

    /// The transport failed before the session was open. The next one is tried where that is allowed.
    pub(super) fn fail_opening(&mut self, reason: CloseReason) {
        self.websocket_worked = false;
        self.left = self.left.without(self.transport);
        // What came behind belongs to no session.
        self.drop_rest();
        let next = self.config.first_transport(self.left, false).filter(|_| self.config.try_all_transports);
        let Some(next) = next.filter(|_| self.phase() == Phase::Opening && self.shift(Trigger::Retried)) else {
            let reason = self.reason_for(reason, 0);
            return self.finish(reason);
        };
        self.details = None;
        if let Some(exchange) = self.get.take() {
            self.cancel(exchange);
        }
        if let Some(channel) = self.channel.take() {
            self.outputs.push_back(Output::ChannelClose { channel });
        }
        self.transport = next;
        self.open();
    }

    /// The first packet of the server. Anything but a valid open packet is no beginning.
    pub(super) fn handle_first(&mut self, packet: Packet) {
        let opened = match &packet {
            Packet::Text { kind: PacketKind::Open, data } => Opened::parse(data),
            _ => None,
        };
        let Some(opened) = opened else {
            return self.fail_opening(CloseReason::TransportError(TransportError::InvalidHandshake));
        };
        let trigger = match self.transport {
            TransportKind::Polling => Trigger::OpenedByPolling,
            TransportKind::WebSocket => Trigger::OpenedOnChannel,
        };
        self.shift(trigger);
        self.websocket_worked = self.transport == TransportKind::WebSocket;
        self.expectation = Some(Expectation::new(self.now, &opened));
        let offered = opened.upgrades.contains(TransportKind::WebSocket);
        self.opened = Some(Box::new(opened));
        // Whoever gave up meanwhile does not want to hear of it; the server is told.
        if self.phase() == Phase::Open {
            self.emit(Event::Opened);
            let allowed = self.config.upgrade && self.left.contains(TransportKind::WebSocket);
            if offered && allowed && self.state == State::Polling {
                self.start_probe();
            }
        }
        self.go_on_closing();
        self.flush();
    }

    pub(super) fn ask_for_channel(&mut self, transport: TransportKind) {
        let channel = ChannelId(self.next_number());
        let target = self.next_target(transport);
        self.channel = Some(channel);
        self.outputs.push_back(Output::ChannelOpen { channel, target });
    }

    pub(super) fn request(&mut self, body: Option<Payload>) -> ExchangeId {
        let exchange = ExchangeId(self.next_number());
        let target = self.next_target(TransportKind::Polling);
        self.outputs.push_back(Output::Request { exchange, request: Request { target, body } });
        exchange
    }

    pub(super) fn cancel(&mut self, exchange: ExchangeId) {
        self.outputs.push_back(Output::Cancel { exchange });
    }

    fn next_target(&mut self, transport: TransportKind) -> String {
        let stamp = stamp(self.stamp);
        self.stamp = self.stamp.wrapping_add(STEP);
        self.config.target(transport, self.opened.as_ref().map(|opened| opened.sid.as_str()), &stamp)
    }
}

/// Odd, so that it visits every number, and with its bits spread, so that neighbours look nothing alike.
const STEP: u64 = 0x9e37_79b9_7f4b;

/// Eight characters that are the same for no two requests of a client, nor likely for those of two clients.
fn stamp(number: u64) -> String {
    let [_, _, bytes @ ..] = number.to_be_bytes();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn c013_stamps_have_eight_characters_and_differ() {
        let mut seen = BTreeSet::new();
        let mut number = 0_u64;
        for _ in 0..10_000 {
            let stamp = stamp(number);
            assert!(
                stamp.len() == 8 && stamp.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
            assert!(seen.insert(stamp));
            number = number.wrapping_add(STEP);
        }
    }
}
