//! Message channels: the probe of an upgrade, the switch, and the frames of a session that is on one.

use core::time::Duration;

use super::polling::{NOOP, PING};
use super::{Post, Session, State, Trigger};
use crate::parts::event::{ChannelEnd, ChannelId, CloseReason, Event, TransportError};
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::session::event::Output;
use crate::wire::frame::Frame;
use crate::wire::handshake::open_packet;
use crate::wire::packet::{Packet, PacketKind};

const PROBE_ANSWER: Packet = Packet::text(PacketKind::Pong, "probe");

/// After a probe was answered, held polls are released: the first at once, the following ones ever more slowly, so that
/// a client that crosses with its own polls gets on quickly and one that hammers does not keep the server busy.
const FIRST_RELEASE_GAP: Duration = Duration::from_millis(10);
const LAST_RELEASE_GAP: Duration = Duration::from_millis(100);
const MAX_DOUBLINGS: u8 = 4;

/// The clocks of a probe. They count only while a channel probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Probe {
    /// When the upgrade must be done.
    pub(super) deadline: Instant,
    /// When the next held poll may be released.
    pub(super) release_at: Instant,
    /// How many were released, up to where the gaps do not grow any more.
    releases: u8,
}

impl Probe {
    /// Whether a poll may be released now; if so, the next one must wait.
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
    /// A second transport opened. Only a session on polling has a use for it, and only for one at a time.
    pub(super) fn channel_opened(&mut self, channel: ChannelId, base64: bool) {
        if !self.config.allow_upgrades || !self.shift(Trigger::ProbeOpened) {
            self.outputs.push_back(Output::ChannelClose { channel });
            return;
        }
        self.channel = Some(channel);
        self.base64 = base64;
        self.probe = Probe {
            deadline: self.now + self.config.upgrade_timeout.max(Duration::from_micros(1)),
            release_at: self.now,
            releases: 0,
        };
    }

    /// A message arrived on a channel.
    pub(super) fn channel_frame(&mut self, channel: ChannelId, frame: Frame) {
        if self.channel != Some(channel) {
            return;
        }
        if self.state == State::Channel {
            self.held.push_back(frame);
            return self.pump();
        }
        match frame.decode() {
            Ok(Packet::Text { kind: PacketKind::Ping, data }) if data == "probe" => self.probe_pinged(),
            Ok(packet) if packet.kind() == PacketKind::Upgrade => self.switch(),
            _ => self.fail_probe(true),
        }
    }

    /// A channel is gone.
    pub(super) fn channel_closed(&mut self, channel: ChannelId, end: ChannelEnd) {
        if self.channel != Some(channel) {
            return;
        }
        if self.state != State::Channel {
            return self.fail_probe(false);
        }
        self.channel = None;
        self.finish(match end {
            ChannelEnd::Closed | ChannelEnd::Lost | ChannelEnd::Unopened => CloseReason::TransportClose,
            ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
            ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
        });
    }

    fn probe_pinged(&mut self) {
        self.shift(Trigger::ProbePinged);
        self.owed.pongs = self.owed.pongs.saturating_add(1);
        self.tell_ready();
        self.emit(Event::Upgrading(TransportKind::WebSocket));
        self.answer_poll();
    }

    /// Ends the probe; the session goes on by polling as if there had been none.
    pub(super) fn fail_probe(&mut self, close: bool) {
        if !self.shift(Trigger::ProbeFailed) {
            return;
        }
        if let Some(channel) = self.channel.take().filter(|_| close) {
            self.outputs.push_back(Output::ChannelClose { channel });
        }
        self.owed.pongs = 0;
        self.pulled = None;
        self.told.ready = false;
        self.base64 = false;
    }

    /// From here on packets travel on the channel. Messages that were not handed to a poll follow there, in order; a
    /// POST that is still on its way is received, and what comes on the channel waits for it.
    fn switch(&mut self) {
        if !self.shift(Trigger::UpgradeReceived) {
            return;
        }
        self.transport = TransportKind::WebSocket;
        self.upgraded = true;
        // A client that has really changed has no use for this; one that has not should not take it for the end.
        self.respond_poll([NOOP].into_iter().collect());
        self.emit(Event::Upgraded(TransportKind::WebSocket));
        self.tell_reading();
        if self.closing.is_some() && !self.has_frames() {
            return self.finish(CloseReason::ForcedClose);
        }
        self.tell_ready();
    }

    /// The next frame to write to a channel. After [`Output::ChannelReady`], pull while there is room, until `None`.
    pub fn next_frame(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        let now = self.advance(now);
        if self.channel != Some(channel) {
            return None;
        }
        let frame = self.pull(now);
        if frame.is_none() {
            self.told.ready = false;
        }
        self.pulled = self.has_frames().then_some(now);
        if self.state == State::Channel && self.closing.is_some() && !self.has_frames() {
            self.finish(CloseReason::ForcedClose);
        }
        self.debug_check();
        frame
    }

    fn pull(&mut self, now: Instant) -> Option<Frame> {
        if let Some(pongs) = self.owed.pongs.checked_sub(1) {
            self.owed.pongs = pongs;
            return Some(Frame::encode(PROBE_ANSWER, false));
        }
        if self.state != State::Channel {
            return None;
        }
        if self.owed.open {
            self.owed.open = false;
            return Some(Frame::encode(open_packet(&self.sid, TransportKind::WebSocket, &self.config), false));
        }
        if self.owed.initial {
            self.owed.initial = false;
            let initial = self.config.initial_message.clone();
            return initial.map(|message| Frame::encode(message.into(), self.base64));
        }
        if self.pulled.is_some_and(|at| at < now) {
            self.heartbeat.progress(now, &self.config);
        }
        let ping = self.heartbeat.owes_ping() && self.closing.is_none();
        if self.batch == 0 {
            let packets = self.outbox.len().saturating_add(usize::from(ping));
            self.batch = u32::try_from(packets).unwrap_or(u32::MAX);
            if packets > 0 {
                self.emit(Event::Flush { packets });
            }
        } else if ping {
            self.batch = self.batch.saturating_add(1);
        }
        let packet = if ping && self.heartbeat.take_ping(now, &self.config) {
            self.stats.heartbeats_sent += 1;
            PING
        } else {
            self.take_message()?.into()
        };
        self.batch = self.batch.saturating_sub(1);
        if self.batch == 0 {
            self.emit(Event::Drain);
        }
        self.tell_writable();
        Some(Frame::encode(packet, self.base64))
    }

    /// Whether there is anything to pull.
    pub(super) fn has_frames(&self) -> bool {
        let ping = self.heartbeat.owes_ping() && self.closing.is_none();
        let rest = self.owed.open || self.owed.initial || ping || !self.outbox.is_empty();
        self.owed.pongs > 0 || (self.state == State::Channel && rest)
    }

    /// Announces frames, once until they were pulled.
    pub(super) fn tell_ready(&mut self) {
        if let Some(channel) = self.channel.filter(|_| !self.told.ready && self.has_frames()) {
            self.told.ready = true;
            self.outputs.push_back(Output::ChannelReady { channel });
        }
    }

    /// Stops or resumes reading from the channel, when that is a change.
    pub(super) fn tell_reading(&mut self) {
        if self.reading_paused() {
            self.heartbeat.pause();
        }
        let Some(channel) = self.channel.filter(|_| self.state == State::Channel) else { return };
        let reading = self.held.is_empty() && self.has_inbox_room() && !matches!(self.post, Post::Receiving(_));
        if self.told.reading != reading {
            self.told.reading = reading;
            self.outputs.push_back(Output::ChannelRead { channel, enabled: reading });
        }
    }
}
