//! Message channels: the probe of an upgrade, the pause, the switch, and the frames of a client that is on one.

use alloc::boxed::Box;

use super::polling::PONG;
use super::{Client, Details, Output, State, Trigger};
use crate::parts::event::{ChannelEnd, ChannelId, CloseReason, Event, TransportError, UpgradeError};
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::at_least;
use crate::wire::frame::Frame;
use crate::wire::packet::{Packet, PacketKind};

const PROBE: Packet = Packet::text(PacketKind::Ping, "probe");
const UPGRADE: Packet = Packet::text(PacketKind::Upgrade, "");

impl Client {
    /// Asks for a WebSocket to change to.
    pub(super) fn start_probe(&mut self) {
        if self.shift(Trigger::ProbeStarted) {
            self.websocket_worked = false;
            self.upgrade_by = self.now + at_least(self.config.upgrade_timeout);
            self.ask_for_channel(TransportKind::WebSocket);
        }
    }

    /// A channel that was asked for is open. On one that is to be changed to, the server is asked whether it is there;
    /// on one that the session begins on, it speaks first.
    pub(super) fn channel_opened(&mut self, channel: ChannelId) {
        if self.channel == Some(channel) && self.state == State::Probing {
            self.owed.probe = true;
            self.tell_ready();
        }
    }

    /// A message arrived on a channel.
    pub(super) fn channel_frame(&mut self, channel: ChannelId, frame: Frame) {
        if self.channel != Some(channel) {
            return;
        }
        if !self.state.is_upgrading() {
            self.held.push_back(frame);
            return self.pump();
        }
        match frame.decode() {
            // Some servers let a noop that was meant for a poll slip in here.
            Ok(packet) if packet.kind() == PacketKind::Noop => (),
            Ok(Packet::Text { kind: PacketKind::Pong, data }) if data == "probe" && !self.owed.probe => {
                self.probe_answered();
            }
            _ => self.fail_probe(UpgradeError::UnexpectedPacket),
        }
    }

    /// A channel is gone, or could not be opened.
    pub(super) fn channel_closed(&mut self, channel: ChannelId, end: ChannelEnd, details: Option<Details>) {
        if self.channel.take_if(|current| *current == channel).is_none() {
            return;
        }
        self.told.ready = false;
        if self.state.is_upgrading() {
            return self.fail_probe(UpgradeError::TransportClosed);
        }
        self.details = details.map(Box::new);
        let reason = match end {
            ChannelEnd::Closed => CloseReason::TransportClose,
            ChannelEnd::Lost => CloseReason::TransportLost,
            ChannelEnd::Unopened => CloseReason::TransportError(TransportError::Unopened),
            ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
            ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
        };
        if self.state == State::Opening {
            return self.fail_opening(reason);
        }
        let reason = self.reason_for(reason, self.batch);
        if self.owed.upgrade { self.leave(reason) } else { self.finish(reason) }
    }

    fn probe_answered(&mut self) {
        if self.shift(Trigger::ProbeAnswered) {
            self.websocket_worked = true;
            self.emit(Event::Upgrading(TransportKind::WebSocket));
            self.try_switch();
        } else {
            // Once was enough.
            self.fail_probe(UpgradeError::UnexpectedPacket);
        }
    }

    /// Ends the upgrade; the session goes on by polling as if there had been none. It is not tried again.
    pub(super) fn fail_probe(&mut self, error: UpgradeError) {
        if !self.shift(Trigger::ProbeFailed) {
            return;
        }
        self.websocket_worked = false;
        self.drop_probe(error);
        self.poll();
        self.flush();
    }

    pub(super) fn drop_probe(&mut self, error: UpgradeError) {
        self.owed.probe = false;
        self.told.ready = false;
        if let Some(channel) = self.channel.take() {
            self.outputs.push_back(Output::ChannelClose { channel });
        }
        self.emit(Event::UpgradeFailed(error));
    }

    /// Changes to the channel, as soon as nothing is under way by polling: the last answer was handled to its end, and
    /// the last POST was taken. What was not posted follows on the channel, in order.
    pub(super) fn try_switch(&mut self) {
        let idle = self.get.is_none() && self.backlog.is_none() && self.post.is_none();
        if idle && self.shift(Trigger::Paused) {
            self.transport = TransportKind::WebSocket;
            self.upgraded = true;
            self.owed.upgrade = true;
            self.emit(Event::Upgraded(TransportKind::WebSocket));
            self.tell_reading();
            self.tell_ready();
        }
    }

    /// The next frame to write to a channel. After [`Output::ChannelReady`], pull while there is room, until
    /// `None`.
    pub fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        self.advance(now);
        if self.channel != Some(channel) {
            return None;
        }
        let packet = self.pull();
        if packet.is_none() {
            self.told.ready = false;
        }
        self.go_on_closing();
        self.debug_check();
        packet.map(|packet| Frame::encode(packet, self.config.base64))
    }

    fn pull(&mut self) -> Option<Packet> {
        if core::mem::take(&mut self.owed.probe) {
            return Some(PROBE);
        }
        if self.state != State::Channel {
            return None;
        }
        if core::mem::take(&mut self.owed.upgrade) {
            return Some(UPGRADE);
        }
        if self.batch == 0 {
            self.batch = self.outbox.len().saturating_add(usize::from(self.owed.pong));
            if self.batch > 0 {
                self.emit(Event::Flush { packets: self.batch });
            }
        } else if self.owed.pong {
            self.batch = self.batch.saturating_add(1);
        }
        let packet = if core::mem::take(&mut self.owed.pong) {
            self.stats.heartbeats_sent = self.stats.heartbeats_sent.saturating_add(1);
            PONG
        } else {
            self.take_message()?.into()
        };
        self.batch = self.batch.saturating_sub(1);
        if self.batch == 0 {
            self.emit(Event::Drain);
        }
        if let Some(expectation) = &mut self.expectation {
            expectation.taken();
        }
        self.tell_writable();
        Some(packet)
    }

    /// Whether there is anything to pull.
    pub(super) fn has_frames(&self) -> bool {
        let on_channel = self.state == State::Channel;
        self.owed.probe || (on_channel && (self.owed.upgrade || self.owed.pong || !self.outbox.is_empty()))
    }

    /// Announces frames, once until they were pulled.
    pub(super) fn tell_ready(&mut self) {
        if let Some(channel) = self.channel.filter(|_| !self.told.ready && self.has_frames()) {
            self.told.ready = true;
            self.outputs.push_back(Output::ChannelReady { channel });
        }
    }
}
