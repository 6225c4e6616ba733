//! The upgrade: the probe, the pause of polling, and the switch.

use core::time::Duration;

use super::frames::Line;
use super::{Client, Stage};
use crate::client::event::Output;
use crate::client::state::{State, Trigger};
use crate::parts::event::{ChannelId, Event, UpgradeError};
use crate::parts::flow::Output as _;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::{Deadline, at_least};
use crate::wire::frame::Frame;
use crate::wire::packet::{Packet, PacketKind};

/// A channel that the client changes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    channel: ChannelId,
    /// When the upgrade must be finished.
    deadline: Deadline,
    /// The channel is open, and `2probe` was not pulled yet.
    owes_ping: bool,
}

/// Polling comes to its end, so that the channel can take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    channel: ChannelId,
    /// When the upgrade must be finished.
    deadline: Deadline,
    /// When the client polls again if the POST is not answered by then. `None` once that time has come.
    poll_at: Option<Instant>,
    /// After this time it does not poll any more: the answer could come too late for the upgrade.
    poll_until: Instant,
}

impl Pause {
    /// Begins when the probe was answered. `timeout` is that of the upgrade.
    ///
    /// To open the channel and to probe took several round trips, so most POSTs take less than that, and so does the
    /// answer to a poll that the server releases.
    pub(super) fn new(probe: Probe, now: Instant, timeout: Duration) -> Self {
        let left = probe.deadline.at().saturating_since(now);
        let took = timeout.saturating_sub(left);
        Self {
            channel: probe.channel,
            deadline: probe.deadline,
            poll_at: Some(now + took.max(timeout / STALL)),
            poll_until: now + left.saturating_sub(took),
        }
    }

    pub(super) const fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.poll_at
    }

    /// Returns whether the POST takes so long that its answer may be withheld.
    pub(super) const fn is_stalled(&self) -> bool {
        self.poll_at.is_none()
    }

    /// Returns whether a poll can still be answered in time.
    pub(super) fn has_time_to_poll(&self, now: Instant) -> bool {
        now <= self.poll_until
    }

    pub(super) const fn stall(&mut self) {
        self.poll_at = None;
    }
}

/// A POST that takes less than this part of the time of the upgrade is waited for without polls.
const STALL: u32 = 10;

impl Probe {
    pub(super) const fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    pub(super) const fn owes_ping(&self) -> bool {
        self.owes_ping
    }

    pub(super) fn take_ping(&mut self) -> bool {
        core::mem::take(&mut self.owes_ping)
    }
}

impl Client {
    /// Returns when the upgrade must be finished, if one is under way.
    pub(super) const fn upgrade_deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Probing(probe) => Some(probe.deadline()),
            Stage::Pausing(pause) => Some(pause.deadline()),
            Stage::Opening(_) | Stage::Polling | Stage::Channel(_) | Stage::Closed { .. } => None,
        }
    }

    /// Returns whether the upgrade took too long.
    pub(super) fn is_upgrade_over(&mut self) -> bool {
        let (now, time) = (self.now, self.config.upgrade_timeout);
        match &mut self.stage {
            Stage::Probing(Probe { deadline, .. }) | Stage::Pausing(Pause { deadline, .. }) => {
                deadline.is_over(now, time)
            }
            Stage::Opening(_) | Stage::Polling | Stage::Channel(_) | Stage::Closed { .. } => false,
        }
    }

    /// Asks for a WebSocket to change to.
    pub(super) fn start_probe(&mut self) {
        self.websocket_worked = false;
        let deadline = Deadline::new(self.now + at_least(self.config.upgrade_timeout));
        let channel = self.ask_for_channel(TransportKind::WebSocket);
        self.shift(Trigger::ProbeStarted, |_| Stage::Probing(Probe { channel, deadline, owes_ping: false }));
    }

    /// Handles a channel that is open. On a channel for an upgrade, the client probes; on one that opens the session,
    /// the server sends first.
    pub(super) fn channel_opened(&mut self, channel: ChannelId) {
        if let Stage::Probing(probe) = &mut self.stage {
            probe.owes_ping |= probe.channel == channel;
        }
    }

    /// Handles a message on the channel of an upgrade.
    pub(super) fn probe_frame(&mut self, frame: Frame) {
        let asked = !matches!(&self.stage, Stage::Probing(probe) if probe.owes_ping);
        match self.codec.decode_frame(frame) {
            // Some servers send a noop that was meant for a poll on this channel.
            Ok(packet) if packet.kind() == PacketKind::Noop => (),
            Ok(Packet::Text { kind: PacketKind::Pong, data }) if data == "probe" && asked => self.probe_answered(),
            _ => self.fail_probe(UpgradeError::UnexpectedPacket),
        }
    }

    fn probe_answered(&mut self) {
        let (now, timeout) = (self.now, at_least(self.config.upgrade_timeout));
        let answered = self.shift(Trigger::ProbeAnswered, |stage| match stage {
            Stage::Probing(probe) => Stage::Pausing(Pause::new(probe, now, timeout)),
            stage => stage,
        });
        if answered {
            self.websocket_worked = true;
            self.flow.emit(Event::Upgrading(TransportKind::WebSocket));
        } else {
            // Only one answer to the probe is expected.
            self.fail_probe(UpgradeError::UnexpectedPacket);
        }
    }

    /// Ends the upgrade. The session continues on polling as if no upgrade had been tried, and does not try again.
    pub(super) fn fail_probe(&mut self, error: UpgradeError) {
        let channel = self.current_channel();
        self.fail_probe_on(error, channel);
    }

    /// As `fail_probe`, with a channel to close.
    pub(super) fn fail_probe_on(&mut self, error: UpgradeError, channel: Option<ChannelId>) {
        if self.shift(Trigger::ProbeFailed, |_| Stage::Polling) {
            self.websocket_worked = false;
            self.drop_probe(error, channel);
        }
    }

    pub(super) fn drop_probe(&mut self, error: UpgradeError, channel: Option<ChannelId>) {
        self.flow.frames_pulled();
        if let Some(channel) = channel {
            self.flow.output(Output::channel_close(channel));
        }
        self.flow.emit(Event::UpgradeFailed(error));
    }

    /// Changes to the channel once nothing is under way on polling: the last answer was handled completely, and the
    /// last POST was answered. Messages that were not posted follow on the channel, in order.
    pub(super) fn try_switch(&mut self) {
        let idle = self.get.is_none() && !self.flow.inbox.has_body() && self.post.is_none();
        if !idle || self.state() != State::Pausing {
            return;
        }
        let switched = self.shift(Trigger::Paused, |stage| match stage {
            Stage::Pausing(pause) => Stage::Channel(Line::upgraded(pause.channel)),
            stage => stage,
        });
        if switched {
            self.transport = TransportKind::WebSocket;
            self.upgraded = true;
            self.flow.emit(Event::Upgraded(TransportKind::WebSocket));
        }
    }
}
