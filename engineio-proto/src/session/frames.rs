//! Frames that arrive on a channel, and frames that leave on it.

use super::poll::PING;
use super::post::Post;
use super::{Session, Stage};
use crate::parts::event::{ChannelEnd, ChannelId, CloseReason, TransportError};
use crate::parts::transport::TransportKind;
use crate::session::state::State;
use crate::wire::codec::Codec;
use crate::wire::frame::Frame;
use crate::wire::packet::{Packet, PacketKind};

const PROBE_ANSWER: Packet = Packet::text(PacketKind::Pong, "probe");

/// A channel of the session: its current one, or one that probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    channel: ChannelId,
    codec: Codec,
    /// The number of probes that were not answered yet.
    pongs: u32,
    /// The number of packets of the last announced flush that were not pulled yet.
    batch: usize,
}

impl Line {
    pub(super) const fn new(channel: ChannelId, codec: Codec) -> Self {
        Self { channel, codec, pongs: 0, batch: 0 }
    }

    pub(super) const fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(super) fn owe_pong(&mut self) {
        self.pongs = self.pongs.saturating_add(1);
    }
}

impl Session {
    /// Handles a message on a channel.
    pub(super) fn channel_frame(&mut self, channel: ChannelId, frame: Frame) {
        if self.current_channel() != Some(channel) {
            return;
        }
        let receiving = matches!(self.post, Post::Receiving { .. });
        if self.probe().is_some() {
            self.probe_frame(frame);
        } else if receiving || !self.flow.inbox.has_room(self.config.receive_limit) {
            // What waits already waits for the same.
            self.flow.inbox.push_frame(frame);
        } else {
            self.handle_packet(self.codec.decode_frame(frame));
        }
    }

    /// Notes that messages were written.
    pub(super) fn note_written(&mut self) {
        self.pinger.written();
    }

    /// Notes that a blocked connection takes bytes again.
    pub(super) fn unblocked(&mut self) {
        self.pinger.progress(self.now, self.config.times());
        self.pinger.written();
    }

    /// Handles the end of a channel.
    pub(super) fn channel_closed(&mut self, channel: ChannelId, end: ChannelEnd) {
        if self.current_channel() != Some(channel) {
            return;
        }
        if self.probe().is_some() {
            return self.fail_probe(false);
        }
        self.finish_without_channel(match end {
            ChannelEnd::Closed | ChannelEnd::Lost | ChannelEnd::Unopened => CloseReason::TransportClose,
            ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
            ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
        });
    }

    pub(super) fn pull(&mut self) -> Option<Frame> {
        let line = match &mut self.stage {
            Stage::Probing(probe) | Stage::Probed(probe) => probe.line_mut(),
            Stage::Channel(line) => line,
            Stage::Polling(_) | Stage::Closed { .. } => return None,
        };
        let codec = line.codec;
        if let Some(pongs) = line.pongs.checked_sub(1) {
            line.pongs = pongs;
            return Some(codec.encode_frame(PROBE_ANSWER));
        }
        if self.state() != State::Channel {
            return None;
        }
        if core::mem::take(&mut self.greeting.open) {
            return Some(codec.encode_frame(self.open_packet(TransportKind::WebSocket)));
        }
        if core::mem::take(&mut self.greeting.initial) {
            return self.config.initial_message.clone().map(|message| codec.encode_frame(message.into()));
        }
        let ping = self.take_ping().then_some(PING);
        let Stage::Channel(line) = &mut self.stage else { return None };
        let packet = self.flow.next_packet(&mut line.batch, ping)?;
        Some(codec.encode_frame(packet))
    }

    /// Returns whether there is anything to pull.
    pub(super) fn has_frames(&self) -> bool {
        match &self.stage {
            Stage::Probing(probe) | Stage::Probed(probe) => probe.line().pongs > 0,
            Stage::Channel(line) => {
                let greeting = self.greeting.open || self.greeting.initial;
                line.pongs > 0 || greeting || self.owes_ping() || !self.flow.outbox.is_empty()
            }
            Stage::Polling(_) | Stage::Closed { .. } => false,
        }
    }
}
