//! Frames that arrive on a channel, and frames that leave on it.

use super::poll::PING;
use super::post::Post;
use super::{Greeting, Session, Stage};
use crate::parts::event::{ChannelEnd, ChannelId, CloseReason, TransportError};
use crate::parts::transport::TransportKind;
use crate::session::state::State;
use crate::surface::Step;
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
    #[inline(always)]
    pub(super) fn channel_frame(&mut self, channel: ChannelId, frame: Frame) -> Step {
        match &self.stage {
            Stage::Channel(line) if line.channel() == channel => (),
            Stage::Probing(probe) | Stage::Probed(probe) if probe.channel() == channel => {
                self.probe_frame(frame);
                return Step::Other;
            }
            _ => return Step::Other,
        }
        let receiving = matches!(self.post, Post::Receiving { .. });
        if receiving || !self.flow.inbox.has_room(self.config.receive_limit) {
            // What waits already waits for the same.
            self.flow.inbox.push_frame(frame);
            return Step::Other;
        }
        self.handle_packet(self.codec.decode_frame(frame))
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

    #[inline(always)]
    pub(super) fn pull(&mut self) -> Option<Frame> {
        let has_first = self.greeting != Greeting::SENT || self.owes_ping();
        match &mut self.stage {
            Stage::Channel(line) if line.pongs == 0 && !has_first => {
                let message = self.flow.next_message(&mut line.batch)?;
                Some(line.codec.encode_frame(message.into()))
            }
            _ => self.pull_first(),
        }
    }

    /// Returns the next frame of those that go before all messages.
    fn pull_first(&mut self) -> Option<Frame> {
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
        let is_taken = self.take_ping();
        let Stage::Channel(line) = &mut self.stage else { return None };
        if is_taken {
            self.flow.heartbeat_pulled(&mut line.batch);
        }
        is_taken.then(|| codec.encode_frame(PING))
    }

    /// Returns whether there is anything to pull.
    #[inline]
    pub(super) fn has_frames(&self) -> bool {
        match &self.stage {
            Stage::Probing(probe) | Stage::Probed(probe) => probe.line().pongs > 0,
            Stage::Channel(line) => {
                let greets = self.greeting != Greeting::SENT;
                line.pongs > 0 || greets || self.owes_ping() || !self.flow.outbox.is_empty()
            }
            Stage::Polling(_) | Stage::Closed { .. } => false,
        }
    }
}
