//! The probe of an upgrade, and the switch to its channel.

use alloc::boxed::Box;
use core::time::Duration;

use super::frames::Line;
use super::poll::NOOP;
use super::{Session, Stage};
use crate::parts::event::{ChannelId, Event};
use crate::parts::flow::Output as _;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::{Deadline, at_least};
use crate::session::event::Output;
use crate::session::state::Trigger;
use crate::wire::codec::Codec;
use crate::wire::frame::Frame;
use crate::wire::packet::{Packet, PacketKind};

/// After a probe was answered, held polls are released: the first one at once, the next ones with growing delays. A
/// client that polls during the upgrade continues quickly, and one that polls in a loop does not keep the server busy.
const FIRST_RELEASE_GAP: Duration = Duration::from_millis(10);
const LAST_RELEASE_GAP: Duration = Duration::from_millis(100);
const MAX_DOUBLINGS: u8 = 4;

/// A channel that probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    line: Line,
    /// When the upgrade must be finished.
    deadline: Deadline,
    /// When the next held poll may be released.
    release_at: Instant,
    /// The number of released polls, up to the point where the delays stop growing.
    releases: u8,
}

impl Probe {
    fn new(now: Instant, line: Line, timeout: Duration) -> Self {
        Self { line, deadline: Deadline::new(now + at_least(timeout)), release_at: now, releases: 0 }
    }

    pub(super) const fn channel(&self) -> ChannelId {
        self.line.channel()
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    /// Returns whether the upgrade took too long. `time`: the time that it may take.
    pub(super) fn is_over(&mut self, now: Instant, time: Duration) -> bool {
        self.deadline.is_over(now, time)
    }

    pub(super) const fn release_at(&self) -> Instant {
        self.release_at
    }

    pub(super) const fn line(&self) -> &Line {
        &self.line
    }

    pub(super) const fn line_mut(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Returns whether a poll may be released now. If so, the next one must wait.
    pub(super) fn may_release(&mut self, now: Instant) -> bool {
        let due = self.release_at <= now;
        if due {
            let gap = FIRST_RELEASE_GAP.saturating_mul(1 << self.releases);
            self.release_at = now + gap.min(LAST_RELEASE_GAP);
            self.releases = self.releases.saturating_add(1).min(MAX_DOUBLINGS);
        }
        due
    }
}

impl Session {
    pub(super) const fn probe(&self) -> Option<&Probe> {
        match &self.stage {
            Stage::Probing(probe) | Stage::Probed(probe) => Some(probe),
            Stage::Polling(_) | Stage::Channel(_) | Stage::Closed { .. } => None,
        }
    }

    pub(super) fn probe_mut(&mut self) -> Option<&mut Probe> {
        match &mut self.stage {
            Stage::Probing(probe) | Stage::Probed(probe) => Some(probe),
            Stage::Polling(_) | Stage::Channel(_) | Stage::Closed { .. } => None,
        }
    }

    /// Handles a second transport. It is used only by a session on polling, and only one at a time.
    pub(super) fn channel_opened(&mut self, channel: ChannelId, base64: bool) {
        let line = Line::new(channel, Codec::V4.with_base64(base64));
        let probe = Box::new(Probe::new(self.now, line, self.config.upgrade_timeout));
        if !self.config.allow_upgrades || !self.shift(Trigger::ProbeOpened, |_| Stage::Probing(probe)) {
            self.flow.output(Output::channel_close(channel));
        }
    }

    /// Handles a message on the channel that probes.
    pub(super) fn probe_frame(&mut self, frame: Frame) {
        match self.codec.decode_frame(frame) {
            Ok(Packet::Text { kind: PacketKind::Ping, data }) if data == "probe" => self.probe_pinged(),
            Ok(packet) if packet.kind() == PacketKind::Upgrade => self.switch(),
            _ => self.fail_probe(true),
        }
    }

    fn probe_pinged(&mut self) {
        self.shift(Trigger::ProbePinged, |stage| match stage {
            Stage::Probing(mut probe) | Stage::Probed(mut probe) => {
                probe.line.owe_pong();
                Stage::Probed(probe)
            }
            stage => stage,
        });
        self.flow.emit(Event::Upgrading(TransportKind::WebSocket));
    }

    /// Ends the probe. The session continues on polling as if there had been no probe.
    pub(super) fn fail_probe(&mut self, close: bool) {
        let channel = self.current_channel().filter(|_| close);
        if self.shift(Trigger::ProbeFailed, |_| Stage::Polling(None)) {
            self.flow.frames_pulled();
            if let Some(channel) = channel {
                self.flow.output(Output::channel_close(channel));
            }
        }
    }

    /// Switches to the channel. Messages that were not handed to a poll follow there, in order. A POST that is being
    /// received is completed first, and frames on the channel wait for it.
    fn switch(&mut self) {
        let switched = self.shift(Trigger::UpgradeReceived, |stage| match stage {
            Stage::Probing(probe) | Stage::Probed(probe) => Stage::Channel(probe.line),
            stage => stage,
        });
        if switched {
            self.transport = TransportKind::WebSocket;
            self.upgraded = true;
            // A client that has changed its transport ignores this; one that has not must not take it for the end.
            self.respond_to_poll([NOOP]);
            self.flow.emit(Event::Upgraded(TransportKind::WebSocket));
        }
    }
}
