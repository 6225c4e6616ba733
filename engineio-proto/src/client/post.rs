//! The contents of a POST, within the limits of the server.

use super::Client;
use super::closing::CLOSE;
use crate::client::state::State;
use crate::parts::event::{CloseReason, ExchangeId};
use crate::wire::packet::{Packet, PacketKind};
use crate::wire::payload::Payload;

const PONG: Packet = Packet::text(PacketKind::Pong, "");

/// The POST that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) exchange: ExchangeId,
    /// The number of the last message in it; if it has none, of the last message before it.
    pub(super) message: u64,
    /// It carries more than the close packet, so `Event::Flush` was announced.
    pub(super) is_flushed: bool,
    /// It carries the close packet, so it is the last one.
    pub(super) is_last: bool,
}

impl Client {
    /// Posts what waits, if no other POST is under way.
    pub(super) fn post(&mut self) {
        let posts = matches!(self.state(), State::Polling | State::Probing);
        let leaving = self.closing.is_some();
        let some = !self.flow.outbox.is_empty() || self.owes_pong || leaving;
        if !posts || !some || self.post.is_some() || self.holds_back() {
            return;
        }
        let mut payload = self.next_payload();
        let is_flushed = !payload.packets().is_empty();
        // Within the limit if possible; otherwise the close packet gets its own POST.
        let close = self.codec.text_len(&CLOSE).saturating_add(1);
        let fits = !is_flushed
            || (payload.encoded_len().saturating_add(close) <= self.max_message()
                && payload.packets().len() < self.config.max_packets);
        let is_last = leaving && self.flow.outbox.is_empty() && fits;
        if is_flushed {
            self.flow.emit_flush(payload.packets().len());
        }
        if is_last {
            payload.push(CLOSE);
        }
        let exchange = self.request(Some(payload));
        self.post = Some(Post { exchange, message: self.flow.outbox.handed_over(), is_flushed, is_last });
    }

    /// Returns whether nothing may be handed over but the pong, and there is none.
    pub(super) fn holds_back(&self) -> bool {
        !self.owes_pong && self.is_in_doubt()
    }

    /// Hands the pong over, if one is owed.
    pub(super) fn take_pong(&mut self) -> Option<Packet> {
        let owed = core::mem::take(&mut self.owes_pong);
        if owed {
            self.flow.count_heartbeat_sent();
        }
        owed.then_some(PONG)
    }

    /// Returns the pong, if one is due, and as many messages as the server accepts at once. A message that is too large
    /// for the server goes alone: it was accepted before the limit was known.
    fn next_payload(&mut self) -> Payload {
        let mut payload = Payload::new(self.codec);
        payload.extend(self.take_pong());
        let max_len = self.max_message();
        let max_packets = if self.is_in_doubt() { 1 } else { self.config.max_packets };
        self.flow.fill(&mut payload, max_len, max_packets);
        payload
    }

    /// Handles the answer to a POST: its messages are written.
    pub(super) fn posted(&mut self, post: Post) {
        self.flow.outbox.set_written(post.message);
        self.note_written();
        if post.is_flushed {
            self.flow.emit_drain();
        }
        if post.is_last {
            self.finish(CloseReason::ForcedClose);
        }
    }
}
