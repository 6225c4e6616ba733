//! Frames that arrive on a channel, and frames that leave on it.

use alloc::boxed::Box;

use super::{Client, Stage};
use crate::client::event::Details;
use crate::client::state::State;
use crate::parts::event::{ChannelEnd, ChannelId, CloseReason, TransportError, UpgradeError};
use crate::surface::Step;
use crate::wire::frame::Frame;
use crate::wire::packet::{Packet, PacketKind};

const PROBE: Packet = Packet::text(PacketKind::Ping, "probe");
const UPGRADE: Packet = Packet::text(PacketKind::Upgrade, "");

/// The channel that carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    channel: ChannelId,
    /// The upgrade packet was not sent yet.
    owes_upgrade: bool,
    /// The number of packets of the last announced flush that were not pulled yet.
    batch: usize,
}

impl Line {
    /// A channel on which the session started.
    pub(super) const fn new(channel: ChannelId) -> Self {
        Self { channel, owes_upgrade: false, batch: 0 }
    }

    /// A channel to which the client has changed.
    pub(super) const fn upgraded(channel: ChannelId) -> Self {
        Self { channel, owes_upgrade: true, batch: 0 }
    }

    pub(super) const fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(super) const fn owes_upgrade(&self) -> bool {
        self.owes_upgrade
    }
}

impl Client {
    /// Handles a message on a channel.
    pub(super) fn channel_frame(&mut self, channel: ChannelId, frame: Frame) -> Step {
        if self.current_channel() != Some(channel) {
            return Step::Other;
        }
        if self.state().is_upgrading() {
            self.probe_frame(frame);
        } else if !self.flow.inbox.has_room(self.config.receive_limit) {
            // What waits already waits for the same.
            self.flow.inbox.push_frame(frame);
        } else {
            self.note_first(|| match &frame {
                Frame::Text { head: "", data } => data.as_bytes().clone(),
                Frame::Text { head, data } => [head, data.as_str()].concat().into(),
                Frame::Binary(bytes) => bytes.clone(),
            });
            return self.handle_packet(self.codec.decode_frame(frame));
        }
        Step::Other
    }

    /// Notes that messages were written.
    pub(super) fn note_written(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.written();
        }
    }

    /// Notes that a blocked connection takes bytes again.
    pub(super) fn unblocked(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.progress(self.now);
            listener.written();
        }
    }

    /// Handles the end of a channel, or one that could not be opened.
    pub(super) fn channel_closed(&mut self, channel: ChannelId, end: ChannelEnd, details: Option<Details>) {
        if self.current_channel() != Some(channel) {
            return;
        }
        if self.state().is_upgrading() {
            return self.fail_probe_on(UpgradeError::TransportClosed, None);
        }
        self.details = details.map(Box::new);
        let reason = match end {
            ChannelEnd::Closed => CloseReason::TransportClose,
            ChannelEnd::Lost => CloseReason::TransportLost,
            ChannelEnd::Unopened => CloseReason::TransportError(TransportError::Unopened),
            ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
            ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
        };
        if self.state() == State::Opening {
            return self.fail_opening_on(reason, None);
        }
        self.tell_server();
        self.finish_with(reason, None);
    }

    pub(super) fn pull(&mut self) -> Option<Frame> {
        self.pull_packet().map(|packet| self.codec.encode_frame(packet))
    }

    #[inline]
    fn pull_packet(&mut self) -> Option<Packet> {
        let line = match &mut self.stage {
            Stage::Probing(probe) => return probe.take_ping().then_some(PROBE),
            Stage::Channel(line) => line,
            Stage::Opening(_) | Stage::Polling | Stage::Pausing(_) | Stage::Closed { .. } => return None,
        };
        if core::mem::take(&mut line.owes_upgrade) {
            return Some(UPGRADE);
        }
        if self.holds_back() {
            return None;
        }
        let pong = self.take_pong();
        let Stage::Channel(line) = &mut self.stage else { return None };
        if pong.is_some() {
            self.flow.heartbeat_pulled(&mut line.batch);
            return pong;
        }
        self.flow.next_message(&mut line.batch).map(Packet::from)
    }

    /// Returns whether there is anything to pull.
    pub(super) fn has_frames(&self) -> bool {
        match &self.stage {
            Stage::Probing(probe) => probe.owes_ping(),
            Stage::Channel(line) => {
                let waits = self.owes_pong || !self.flow.outbox.is_empty();
                line.owes_upgrade || (waits && !self.holds_back())
            }
            Stage::Opening(_) | Stage::Polling | Stage::Pausing(_) | Stage::Closed { .. } => false,
        }
    }
}
