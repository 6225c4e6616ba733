//! Opening a session: the first transport, the next one if it fails, and the open packet.

use alloc::boxed::Box;
use core::time::Duration;

use super::frames::Line;
use super::poll::Pace;
use super::{Client, Stage};
use crate::client::event::Output;
use crate::client::state::{State, Trigger};
use crate::parts::event::{ChannelId, CloseReason, Event, TransportError};
use crate::parts::flow::Output as _;
use crate::parts::heartbeat::listener::Listener;
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::parts::wait::{Deadline, at_least};
use crate::wire::handshake::Opened;
use crate::wire::packet::{Packet, PacketKind};

/// The data of a client whose session is not open yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// When the session must be open.
    deadline: Deadline,
    /// The channel on which the session is to open. `None` on polling.
    channel: Option<ChannelId>,
}

impl Opening {
    pub(super) const fn new(deadline: Deadline) -> Self {
        Self { deadline, channel: None }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline.at()
    }

    /// Returns whether opening took too long. `time`: the time that it may take.
    pub(super) fn is_over(&mut self, now: Instant, time: Duration) -> bool {
        self.deadline.is_over(now, time)
    }

    pub(super) const fn channel(&self) -> Option<ChannelId> {
        self.channel
    }
}

impl Client {
    /// Opens the current transport.
    pub(super) fn open(&mut self) {
        let mut opening = Opening::new(Deadline::new(self.now + at_least(self.config.open_timeout)));
        match self.transport {
            TransportKind::Polling => self.get = Some(self.request(None)),
            TransportKind::WebSocket => opening.channel = Some(self.ask_for_channel(TransportKind::WebSocket)),
        }
        self.stage = Stage::Opening(opening);
    }

    /// Handles a transport that failed before the session was open. If the options allow it, the next one is tried.
    pub(super) fn fail_opening(&mut self, reason: CloseReason) {
        let channel = self.current_channel();
        self.fail_opening_on(reason, channel);
    }

    /// As `fail_opening`, with a channel to close.
    pub(super) fn fail_opening_on(&mut self, reason: CloseReason, channel: Option<ChannelId>) {
        self.websocket_worked = false;
        self.left = self.left.without(self.transport);
        // What comes after it belongs to no session.
        self.flow.inbox.drop_undecoded();
        let next = self.config.first_transport(self.left, false).filter(|_| self.config.try_all_transports);
        let Some(next) = next.filter(|_| self.phase() == Phase::Opening && self.shift(Trigger::Retried, |stage| stage))
        else {
            return self.finish_with(reason, channel);
        };
        self.details = None;
        if let Some(exchange) = self.get.take() {
            self.cancel(exchange);
        }
        if let Some(channel) = channel {
            self.flow.output(Output::channel_close(channel));
        }
        self.transport = next;
        self.open();
    }

    /// Handles the first packet of the server, which must be a valid open packet.
    pub(super) fn handle_first(&mut self, packet: Packet) {
        let opened = match &packet {
            Packet::Text { kind: PacketKind::Open, data } => Opened::parse(data),
            _ => None,
        };
        let Some(opened) = opened else {
            return self.fail_opening(CloseReason::TransportError(TransportError::InvalidHandshake));
        };
        match self.current_channel() {
            None => self.shift(Trigger::OpenedByPolling, |_| Stage::Polling),
            Some(channel) => self.shift(Trigger::OpenedOnChannel, |_| Stage::Channel(Line::new(channel))),
        };
        self.details = None;
        self.pace = Pace::new(self.now);
        self.websocket_worked = self.transport == TransportKind::WebSocket;
        let patience = opened.ping_interval.saturating_add(opened.ping_timeout);
        self.listener = Some(Listener::new(self.now, patience));
        let offered = opened.upgrades.contains(TransportKind::WebSocket);
        self.opened = Some(Box::new(opened));
        // An application that has given up is not told; the server is.
        if self.phase() == Phase::Open {
            self.flow.emit(Event::Opened);
            let allowed = self.config.upgrade && self.left.contains(TransportKind::WebSocket);
            if offered && allowed && self.state() == State::Polling {
                self.start_probe();
            }
        }
    }
}
