//! The client's side of a session.

use std::time::Duration;

use engineio_proto::client::{Config, Input, Output, State};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, CloseReason, Event, ExchangeId, Instant, Message, Phase, RequestError, SendError,
    TransportError, TransportKind, UpgradeError,
};

use super::incoming::{Incoming, Next, Packet};
use super::outgoing::{Outgoing, Refusal};
use super::pulse::{Excuse, Fate, Limit, Wait};
use super::said::{Ask, OnChannel, Said};
use super::session::{flush, stats, tell_end};
use super::{Expected, Limits, Looks, true_reason};
use crate::decoder::{Decoded, decode_frame};
use crate::encoder::{self, Base64};

/// What a client must do.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    options: Options,
    now: Instant,
    /// The last number of a request or a channel.
    last: u64,
    at: At,
    transport: TransportKind,
    /// The transports that have not failed, in the order of the options.
    left: Vec<TransportKind>,
    upgraded: bool,
    opened: Option<Opened>,
    closing: Option<Limit>,
    reason: Option<CloseReason>,
    told: (bool, bool),
    get: Option<ExchangeId>,
    post: Option<Post>,
    pace: Pace,
    owes_pong: bool,
    /// It waits for a ping, for at most this time.
    listens: Option<(Wait, Duration)>,
    heartbeats: (u32, u32),
    incoming: Incoming,
    outgoing: Outgoing,
    said: Said,
}

#[derive(Clone, Debug)]
struct Options {
    try_all: bool,
    upgrade: bool,
    open_timeout: Duration,
    upgrade_timeout: Duration,
    close_timeout: Duration,
    max_packets: usize,
    base64: bool,
    limits: Limits,
}

/// The open packet.
#[derive(Clone, Debug)]
struct Opened {
    sid: String,
    upgrades: bool,
    patience: Duration,
    max_payload: usize,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Opening {
        limit: Limit,
        channel: Option<ChannelId>,
    },
    Polling,
    Probing {
        channel: ChannelId,
        limit: Limit,
        /// The channel is open, and `2probe` was not pulled.
        asks: bool,
    },
    Pausing {
        channel: ChannelId,
        limit: Limit,
        /// When a POST has taken so long that the client polls again.
        poll_at: Option<Instant>,
        /// After that it does not poll any more.
        poll_until: Instant,
    },
    Channel(Line),
    Over(Option<ChannelId>),
}

#[derive(Clone, Copy, Debug)]
struct Line {
    channel: ChannelId,
    owes_upgrade: bool,
    flushing: usize,
}

#[derive(Clone, Copy, Debug)]
struct Post {
    exchange: ExchangeId,
    /// The number of the last message that had left with it.
    last: u64,
    is_flushed: bool,
    /// It has the close packet.
    closes: bool,
}

/// How fast a client polls: after ten answers in a row that came within 100 ms and had no message, every 100 ms.
#[derive(Clone, Copy, Debug)]
struct Pace {
    at: Instant,
    idle: u32,
    waits: bool,
}

const GAP: Duration = Duration::from_millis(100);

impl Client {
    pub(crate) fn new(now: Instant, config: &Config) -> Self {
        let options = Options {
            try_all: config.try_all_transports,
            upgrade: config.upgrade,
            open_timeout: config.open_timeout,
            upgrade_timeout: config.upgrade_timeout,
            close_timeout: config.close_timeout,
            max_packets: config.max_packets,
            base64: config.base64,
            limits: Limits { send: config.send_limit, send_low: config.send_low, receive: config.receive_limit },
        };
        let mut client = Self {
            options,
            now,
            last: 0,
            at: At::Polling,
            transport: config.transports[0],
            left: config.transports.clone(),
            upgraded: false,
            opened: None,
            closing: None,
            reason: None,
            told: (false, false),
            get: None,
            post: None,
            pace: Pace { at: now, idle: 0, waits: false },
            owes_pong: false,
            listens: None,
            heartbeats: (0, 0),
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            said: Said::default(),
        };
        client.open();
        client.settle();
        client
    }

    // What the transports do.

    pub(crate) fn input(&mut self, now: Instant, input: &Input) {
        self.advance(now);
        match input {
            Input::Answered { exchange, status, body } => self.answered(*exchange, *status, body),
            Input::Failed { exchange, error } => self.failed(*exchange, *error),
            Input::ChannelOpened { channel } => match &mut self.at {
                At::Probing { channel: own, asks, .. } if own == channel => *asks = true,
                _ => (),
            },
            Input::ChannelFrame { channel, frame } => self.frame(*channel, frame),
            Input::ChannelWritten { channel, messages } => return self.channel_written(now, *channel, *messages),
            Input::ChannelClosed { channel, end, .. } => self.closed(*channel, *end),
            Input::Unblocked => return self.unblocked(now),
        }
        self.settle();
    }

    fn answered(&mut self, exchange: ExchangeId, status: u16, body: &[u8]) {
        if !(200..300).contains(&status) {
            return self.failed(exchange, RequestError::Status(status));
        }
        if self.get == Some(exchange) {
            self.get = None;
            let next = self.pace.at + GAP;
            if self.now < next {
                self.pace.idle += 1;
                if self.pace.idle >= 10 {
                    (self.pace.at, self.pace.waits) = (next, true);
                }
            } else {
                self.pace.idle = 0;
            }
            self.incoming.body(body);
        } else if let Some(post) = self.post.take_if(|post| post.exchange == exchange) {
            self.outgoing.written_up_to(post.last);
            self.took_something();
            if post.is_flushed {
                self.said.events.push_back(Event::Drain);
            }
            if post.closes {
                self.end(CloseReason::ForcedClose);
            }
        }
    }

    fn failed(&mut self, exchange: ExchangeId, error: RequestError) {
        let answered = matches!(error, RequestError::Status(_));
        if self.get == Some(exchange) {
            self.get = None;
            if self.post.is_some_and(|post| post.closes) {
                return;
            }
            let reason = CloseReason::TransportError(TransportError::Poll(error));
            match self.at {
                At::Opening { .. } => self.fail_opening(reason, self.current_channel()),
                // A server that answers does not have the session any more.
                _ if answered => self.end(reason),
                _ => self.leave(reason),
            }
        } else if self.post.take_if(|post| post.exchange == exchange).is_some() {
            let reason = CloseReason::TransportError(TransportError::Post(error));
            if error == RequestError::Status(413) { self.leave(reason) } else { self.end(reason) }
        }
    }

    fn frame(&mut self, channel: ChannelId, frame: &Frame) {
        if self.current_channel() != Some(channel) {
            return;
        }
        match self.at {
            At::Probing { .. } | At::Pausing { .. } => match decode_frame(frame) {
                Some(Decoded::Text('6', _)) => (),
                Some(Decoded::Text('3', data)) if data == "probe" => self.probe_answered(),
                _ => self.fail_probe(UpgradeError::UnexpectedPacket, Some(channel)),
            },
            _ => self.incoming.frame(frame),
        }
    }

    fn probe_answered(&mut self) {
        let At::Probing { channel, limit, asks: false } = self.at else {
            return self.fail_probe(UpgradeError::UnexpectedPacket, self.current_channel());
        };
        // The probe has taken several round trips; a POST should not take longer, and nor should a poll.
        let left = limit.by.saturating_since(self.now);
        let took = self.options.upgrade_timeout.saturating_sub(left);
        let poll_at = Some(self.now + took.max(self.options.upgrade_timeout / 10));
        self.at = At::Pausing { channel, limit, poll_at, poll_until: self.now + left.saturating_sub(took) };
        self.said.events.push_back(Event::Upgrading(TransportKind::WebSocket));
    }

    fn closed(&mut self, channel: ChannelId, end: ChannelEnd) {
        if self.current_channel() != Some(channel) {
            return;
        }
        let reason = match end {
            ChannelEnd::Closed => CloseReason::TransportClose,
            ChannelEnd::Lost => CloseReason::TransportLost,
            ChannelEnd::Unopened => CloseReason::TransportError(TransportError::Unopened),
            ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
            ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
        };
        match self.at {
            At::Probing { .. } | At::Pausing { .. } => self.fail_probe(UpgradeError::TransportClosed, None),
            At::Opening { .. } => self.fail_opening(reason, None),
            _ => {
                self.tell_server();
                self.end_on(reason, None);
            }
        }
    }

    // Opening.

    fn open(&mut self) {
        let limit = Limit::new(self.now + self.options.open_timeout);
        let channel = match self.transport {
            TransportKind::Polling => {
                self.get = Some(self.ask_to_get());
                None
            }
            _ => Some(self.ask_for_channel()),
        };
        self.at = At::Opening { limit, channel };
    }

    fn fail_opening(&mut self, reason: CloseReason, channel: Option<ChannelId>) {
        self.left.retain(|&kind| kind != self.transport);
        self.incoming.drop_rest();
        match self.left.first() {
            Some(&next) if self.options.try_all && self.phase() == Phase::Opening => {
                self.said.asks.extend(self.get.take().map(Ask::Cancel));
                self.said.channels.extend(channel.map(OnChannel::Close));
                self.transport = next;
                self.open();
            }
            _ => self.end_on(reason, channel),
        }
    }

    fn first_packet(&mut self, packet: Packet) {
        let At::Opening { channel, .. } = self.at else { return };
        let opened = match packet {
            Some(Decoded::Text('0', json)) => Opened::read(&json),
            _ => None,
        };
        let Some(opened) = opened else {
            let reason = CloseReason::TransportError(TransportError::InvalidHandshake);
            return self.fail_opening(reason, channel);
        };
        self.at = match channel {
            None => At::Polling,
            Some(channel) => At::Channel(Line { channel, owes_upgrade: false, flushing: 0 }),
        };
        self.pace = Pace { at: self.now, idle: 0, waits: false };
        self.listens = Some((Wait::new(self.now, opened.patience, false), opened.patience));
        let is_offered = opened.upgrades;
        self.opened = Some(opened);
        if self.phase() == Phase::Open {
            self.said.events.push_back(Event::Opened);
            let wants = self.options.upgrade && self.left.contains(&TransportKind::WebSocket);
            if is_offered && wants && channel.is_none() {
                let limit = Limit::new(self.now + self.options.upgrade_timeout);
                let channel = self.ask_for_channel();
                self.at = At::Probing { channel, limit, asks: false };
            }
        }
    }

    // The upgrade.

    fn fail_probe(&mut self, error: UpgradeError, channel: Option<ChannelId>) {
        if matches!(self.at, At::Probing { .. } | At::Pausing { .. }) {
            self.at = At::Polling;
            self.drop_probe(error, channel);
        }
    }

    fn drop_probe(&mut self, error: UpgradeError, channel: Option<ChannelId>) {
        self.said.ready = false;
        self.said.channels.extend(channel.map(OnChannel::Close));
        self.said.events.push_back(Event::UpgradeFailed(error));
    }

    /// Changes the transport, if nothing is under way on polling.
    fn switch(&mut self) {
        let At::Pausing { channel, .. } = self.at else { return };
        if self.closing.is_some() && self.incoming.has_body() {
            return self.fail_probe(UpgradeError::SessionClosed, Some(channel));
        }
        if self.get.is_none() && self.post.is_none() && !self.incoming.has_body() {
            self.at = At::Channel(Line { channel, owes_upgrade: true, flushing: 0 });
            self.transport = TransportKind::WebSocket;
            self.upgraded = true;
            self.said.events.push_back(Event::Upgraded(TransportKind::WebSocket));
        }
    }

    // Packets.

    fn packet(&mut self, packet: Packet) {
        if matches!(self.at, At::Opening { .. }) {
            return self.first_packet(packet);
        }
        let Some(packet) = packet else {
            self.incoming.drop_rest();
            return self.leave(CloseReason::TransportError(TransportError::InvalidPacket));
        };
        let deaf = self.is_deaf();
        let is_ping = matches!(packet, Decoded::Text('2', _));
        match &mut self.listens {
            Some((wait, patience)) if is_ping => *wait = Wait::new(self.now, *patience, deaf),
            Some((wait, patience)) => wait.packet(self.now, *patience),
            None => (),
        }
        match packet {
            packet @ (Decoded::Binary(_) | Decoded::Text('4', _)) => {
                (self.pace.idle, self.pace.waits) = (0, false);
                self.incoming.deliver(packet);
            }
            Decoded::Text('2', _) if self.reason.is_none() => {
                self.heartbeats.1 += 1;
                // Several pings get one pong.
                if !std::mem::replace(&mut self.owes_pong, true) {
                    self.said.heartbeat();
                }
            }
            Decoded::Text('1', _) => {
                self.incoming.drop_rest();
                self.end(CloseReason::TransportClose);
            }
            Decoded::Text(..) => (),
        }
    }

    // Requests.

    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn ask_to_get(&mut self) -> ExchangeId {
        let exchange = ExchangeId(self.next_number());
        self.said.asks.push_back(Ask::Get(exchange));
        exchange
    }

    fn ask_to_post(&mut self, packets: &[Decoded]) -> ExchangeId {
        let exchange = ExchangeId(self.next_number());
        self.said.asks.push_back(Ask::Post(exchange, encoder::body(packets, Base64::Plain)));
        exchange
    }

    fn ask_for_channel(&mut self) -> ChannelId {
        let channel = ChannelId(self.next_number());
        self.said.asks.push_back(Ask::Open(channel));
        channel
    }

    fn post(&mut self) {
        let posts = matches!(self.at, At::Polling | At::Probing { .. }) && self.post.is_none() && !self.holds_back();
        let leaving = self.closing.is_some();
        if !posts || !(self.owes_pong || leaving || !self.outgoing.is_empty()) {
            return;
        }
        let (max_len, max_packets) = (self.max_message(), self.options.max_packets);
        let together = if self.is_doubtful() { 1 } else { max_packets };
        let mut packets = Vec::new();
        packets.extend(self.take_pong());
        let messages = self.outgoing.leave_together(packets.len(), packets.len(), (max_len, together));
        packets.extend(messages.iter().map(encoder::packet));
        let is_flushed = !packets.is_empty();
        if is_flushed {
            self.said.events.push_back(Event::Flush { packets: packets.len() });
        }
        let len = encoder::body(&packets, Base64::Plain).len();
        let fits = !is_flushed || (len + 2 <= max_len && packets.len() < max_packets);
        let closes = leaving && self.outgoing.is_empty() && fits;
        if closes {
            packets.push(close_packet());
        }
        let exchange = self.ask_to_post(&packets);
        self.post = Some(Post { exchange, last: self.outgoing.left(), is_flushed, closes });
    }

    /// The server may be gone, so nothing should leave that would be lost then.
    fn is_doubtful(&self) -> bool {
        self.listens.as_ref().is_some_and(|(wait, _)| wait.is_doubtful())
    }

    /// A pong may leave.
    fn holds_back(&self) -> bool {
        self.is_doubtful() && !self.owes_pong
    }

    fn poll(&mut self) {
        let wants = match self.at {
            At::Polling | At::Probing { .. } => !self.post.is_some_and(|post| post.closes),
            At::Pausing { poll_at: None, poll_until, .. } => self.post.is_some() && self.now <= poll_until,
            _ => false,
        };
        if wants && self.get.is_none() && !self.incoming.has_body() && !self.pace.waits {
            self.pace.at = self.now;
            self.get = Some(self.ask_to_get());
        }
    }

    fn next_poll(&self) -> Option<Instant> {
        let paced = self.pace.waits.then_some(self.pace.at);
        match self.at {
            At::Polling | At::Probing { .. } => paced,
            At::Pausing { poll_at, .. } if self.post.is_some() => poll_at.or(paced),
            _ => None,
        }
    }

    fn take_pong(&mut self) -> Option<Decoded> {
        let takes = std::mem::take(&mut self.owes_pong);
        self.heartbeats.0 += u32::from(takes);
        takes.then(|| Decoded::Text('3', String::new()))
    }

    // The end.

    /// The session ends, and the server is told, if it may not know.
    fn leave(&mut self, cause: CloseReason) {
        match self.at {
            At::Polling | At::Probing { .. } | At::Pausing { .. } => self.post_close(),
            _ => self.tell_server(),
        }
        self.end(cause);
    }

    /// A server that was not told of the new transport does not take the end of the channel for the end.
    fn tell_server(&mut self) {
        if matches!(self.at, At::Channel(Line { owes_upgrade: true, .. })) {
            self.post_close();
        }
    }

    fn post_close(&mut self) {
        if self.post.is_none() {
            self.ask_to_post(&[close_packet()]);
        }
    }

    fn end(&mut self, cause: CloseReason) {
        self.end_on(cause, self.current_channel());
    }

    fn end_on(&mut self, cause: CloseReason, channel: Option<ChannelId>) {
        if self.reason.is_some() {
            return;
        }
        let upgrading = matches!(self.at, At::Probing { .. } | At::Pausing { .. });
        let last = match self.at {
            At::Channel(line) => Some(line.channel),
            _ => None,
        };
        self.reason = Some(true_reason(cause, self.closing.is_some(), self.outgoing.is_written()));
        self.at = At::Over(last);
        self.closing = None;
        self.listens = None;
        self.owes_pong = false;
        self.outgoing.stop_waiting();
        self.said.ready = false;
        self.said.asks.extend(self.get.take().map(Ask::Cancel));
        self.said.asks.extend(self.post.take().map(|post| Ask::Cancel(post.exchange)));
        if upgrading {
            self.drop_probe(UpgradeError::SessionClosed, channel);
        } else {
            self.said.channels.extend(channel.map(OnChannel::Close));
        }
    }

    // Time.

    fn watch_server(&mut self) {
        let excuse = Excuse { deaf: self.is_deaf(), waiting: !self.outgoing.is_written(), receiving: false };
        let now = self.now;
        let fate = self.listens.as_mut().map(|(wait, patience)| wait.look(now, *patience, excuse));
        if fate.is_some_and(|fate| fate != Fate::Alive) {
            self.leave(CloseReason::PingTimeout);
        }
    }

    fn took_something(&mut self) {
        if let Some((wait, _)) = &mut self.listens {
            wait.took_something();
        }
    }

    // State.

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(crate) fn state(&self) -> State {
        match self.at {
            At::Opening { .. } => State::Opening,
            At::Polling => State::Polling,
            At::Probing { .. } => State::Probing,
            At::Pausing { .. } => State::Pausing,
            At::Channel(_) => State::Channel,
            At::Over(_) => State::Closed,
        }
    }

    fn phase(&self) -> Phase {
        match (self.reason, self.closing, self.at) {
            (Some(_), ..) => Phase::Closed,
            (None, Some(_), _) => Phase::Closing,
            (None, None, At::Opening { .. }) => Phase::Opening,
            (None, None, _) => Phase::Open,
        }
    }

    fn current_channel(&self) -> Option<ChannelId> {
        match self.at {
            At::Opening { channel, .. } => channel,
            At::Probing { channel, .. } | At::Pausing { channel, .. } => Some(channel),
            At::Channel(line) => Some(line.channel),
            At::Polling | At::Over(_) => None,
        }
    }

    pub(crate) fn owes_pong(&self) -> bool {
        self.owes_pong
    }

    fn is_deaf(&self) -> bool {
        let on_channel = matches!(self.at, At::Channel(_));
        !self.incoming.has_room(self.options.limits.receive) && (self.incoming.has_body() || on_channel)
    }

    fn has_frames(&self) -> bool {
        match self.at {
            At::Probing { asks, .. } => asks,
            At::Channel(line) => {
                line.owes_upgrade || self.owes_pong || (!self.outgoing.is_empty() && !self.holds_back())
            }
            _ => false,
        }
    }

    fn max_message(&self) -> usize {
        self.opened.as_ref().map_or(usize::MAX, |opened| opened.max_payload)
    }

    fn message_len(&self, message: &Message) -> usize {
        match message {
            Message::Binary(bytes) if self.transport == TransportKind::WebSocket && !self.options.base64 => bytes.len(),
            message => encoder::packet_len(message),
        }
    }

    fn due(&self) -> Option<Instant> {
        let stage = match self.at {
            At::Opening { limit, .. } | At::Probing { limit, .. } | At::Pausing { limit, .. } => Some(limit.by),
            _ => None,
        };
        let ping = self.listens.as_ref().map(|(wait, _)| wait.by);
        [stage, ping, self.closing.map(|limit| limit.by), self.next_poll()].into_iter().flatten().min()
    }

    // The end of every call.

    fn settle(&mut self) {
        loop {
            if let Some(next) = self.incoming.next(self.options.limits.receive, false) {
                if let Next::Packet(packet) = next {
                    self.packet(packet);
                }
                continue;
            }
            self.switch();
            self.post();
            self.poll();
            let is_done = match self.at {
                At::Opening { .. } => self.transport == TransportKind::WebSocket && self.outgoing.is_empty(),
                At::Channel(_) => !self.has_frames() && self.outgoing.is_written(),
                _ => false,
            };
            if self.closing.is_none() || !is_done {
                break;
            }
            self.end(CloseReason::ForcedClose);
        }
        if self.is_deaf() {
            if let Some((wait, _)) = &mut self.listens {
                wait.cannot_hear();
            }
        }
        self.announce();
    }

    fn announce(&mut self) {
        if let Some(channel) = self.current_channel() {
            if self.has_frames() && !std::mem::replace(&mut self.said.ready, true) {
                self.said.channels.push_back(OnChannel::Ready(channel));
            }
            if matches!(self.at, At::Channel(_)) {
                let deaf = self.incoming.has_frames() || !self.incoming.has_room(self.options.limits.receive);
                if std::mem::replace(&mut self.said.deaf, deaf) != deaf {
                    self.said.channels.push_back(OnChannel::Read(channel, !deaf));
                }
            }
        }
        self.said.heartbeat = false;
        let events = &mut self.said.events;
        events.extend(self.incoming.tell().then_some(Event::Readable));
        events.extend(self.outgoing.tell_room(self.options.limits).then_some(Event::Writable));
        events.extend(self.outgoing.tell_written().then_some(Event::Written));
        tell_end(self.reason, &mut self.told, self.incoming.is_empty(), events);
    }

    // Outputs.

    /// The client has this output. Returns what is wrong with it.
    pub(crate) fn see(&mut self, output: &Output) -> Result<(), String> {
        let said = &mut self.said;
        match output {
            Output::Request { exchange, request } => {
                let seen = match &request.body {
                    Some(payload) => Ask::Post(*exchange, payload.clone().into_bytes().to_vec()),
                    None => Ask::Get(*exchange),
                };
                Said::see(said.asks.pop_front(), &seen)?;
                self.check_target(&request.target, TransportKind::Polling)
            }
            Output::Cancel { exchange } => Said::see(said.asks.pop_front(), &Ask::Cancel(*exchange)),
            Output::ChannelOpen { channel, target } => {
                Said::see(said.asks.pop_front(), &Ask::Open(*channel))?;
                self.check_target(target, TransportKind::WebSocket)
            }
            Output::ChannelReady { channel } => Said::see(said.channels.pop_front(), &OnChannel::Ready(*channel)),
            Output::ChannelRead { channel, enabled } => {
                Said::see(said.channels.pop_front(), &OnChannel::Read(*channel, *enabled))
            }
            Output::ChannelClose { channel } => Said::see(said.channels.pop_front(), &OnChannel::Close(*channel)),
            Output::Event(event) => Said::see(said.events.pop_front(), event),
        }
    }

    fn check_target(&self, target: &str, transport: TransportKind) -> Result<(), String> {
        let mut expected = format!("/engine.io/?EIO=4&transport={}", transport.name());
        let mut rest = target.strip_prefix(&*expected);
        // A handshake names no session, and may be seen only after the session has opened.
        if let Some(opened) = &self.opened {
            let sid = format!("&sid={}", opened.sid);
            rest = rest.map(|rest| rest.strip_prefix(&*sid).unwrap_or(rest));
            expected += &sid;
        }
        let is_valid = rest.is_some_and(|rest| {
            let rest = if self.options.base64 { rest.strip_suffix("&b64=1") } else { Some(rest) };
            match transport {
                TransportKind::Polling => {
                    rest.and_then(|rest| rest.strip_prefix("&t=")).is_some_and(|stamp| stamp.len() == 8)
                }
                _ => rest == Some(""),
            }
        });
        if is_valid { Ok(()) } else { Err(format!("asks for {target}, expected {expected}")) }
    }

    /// Returns an output that is missing, when the client has no more.
    pub(crate) fn missing(&self) -> Option<String> {
        self.said.missing()
    }
}

impl Opened {
    /// Reads what servers of this project write.
    fn read(json: &str) -> Option<Self> {
        let behind = |name: &str| json.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest);
        let number = |name: &str| {
            let rest = behind(name)?;
            rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        Some(Self {
            sid: behind("sid")?.split('"').nth(1)?.to_owned(),
            upgrades: behind("upgrades")?.starts_with("[\"websocket\"]"),
            patience: Duration::from_millis(number("pingInterval")? + number("pingTimeout")?),
            max_payload: usize::try_from(number("maxPayload")?).ok()?,
        })
    }
}

fn close_packet() -> Decoded {
    Decoded::Text('1', String::new())
}

impl Expected for Client {
    fn send(&mut self, now: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.advance(now);
        self.watch_server();
        let has_separator = |message: &Message| matches!(message, Message::Text(text) if text.contains('\u{1e}'));
        let may_poll = self.transport == TransportKind::Polling
            || (matches!(self.at, At::Opening { .. })
                && self.options.try_all
                && self.left.contains(&TransportKind::Polling));
        let refusal: Option<Refusal> = if !matches!(self.phase(), Phase::Opening | Phase::Open) {
            Some(SendError::Closed)
        } else if may_poll && messages.iter().any(has_separator) {
            Some(SendError::Separator)
        } else if messages.iter().any(|message| self.message_len(message) > self.max_message()) {
            Some(SendError::Oversized)
        } else {
            self.outgoing.room_for(&messages, self.options.limits).err()
        };
        let result = match refusal {
            Some(refusal) => Err(refusal(messages)),
            None => {
                self.outgoing.accept(messages);
                Ok(())
            }
        };
        self.settle();
        result
    }

    fn recv(&mut self, now: Instant) -> Option<Message> {
        self.advance(now);
        let message = self.incoming.take();
        self.settle();
        message
    }

    fn pull(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        self.advance(now);
        let is_current = self.current_channel() == Some(channel);
        let pulled = if is_current { self.pull_packet() } else { None };
        if is_current && pulled.is_none() {
            self.said.ready = false;
        }
        self.settle();
        pulled.map(|packet| encoder::frame(&packet, !self.options.base64, Base64::Plain))
    }

    fn poll_written(&mut self, messages: u64) -> bool {
        match self.reason {
            None => self.outgoing.wait_until_written(messages),
            Some(_) => self.outgoing.written >= messages,
        }
    }

    fn poll_ready(&mut self) -> bool {
        let accepts = matches!(self.phase(), Phase::Opening | Phase::Open);
        let is_ready = !accepts || self.outgoing.cost() < self.options.limits.send;
        if !is_ready {
            self.outgoing.wait_for_room();
        }
        is_ready
    }

    fn close(&mut self, now: Instant) {
        self.advance(now);
        if matches!(self.phase(), Phase::Opening | Phase::Open) {
            self.closing = Some(Limit::new(self.now + self.options.close_timeout));
            if let At::Probing { channel, .. } = self.at {
                self.fail_probe(UpgradeError::SessionClosed, Some(channel));
            }
        }
        self.settle();
    }

    fn abort(&mut self, now: Instant) {
        self.advance(now);
        self.closing = None;
        self.incoming.drop_messages();
        self.incoming.drop_rest();
        self.leave(CloseReason::ForcedClose);
        self.settle();
    }

    fn discard(&mut self) {
        self.incoming.discard();
        self.settle();
    }

    fn channel_written(&mut self, now: Instant, channel: ChannelId, messages: u64) {
        self.advance(now);
        let carries = match self.at {
            At::Channel(line) => line.channel == channel,
            At::Over(last) => last == Some(channel),
            _ => false,
        };
        if carries && self.outgoing.channel_written(messages) {
            self.took_something();
        }
        self.settle();
    }

    fn unblocked(&mut self, now: Instant) {
        self.advance(now);
        let now = self.now;
        if let Some((wait, patience)) = &mut self.listens {
            wait.alive(now, *patience);
            wait.took_something();
        }
        self.settle();
    }

    fn timeout(&mut self, now: Instant) {
        self.advance(now);
        let now = self.now;
        if self.closing.as_mut().is_some_and(|limit| limit.has_passed(now, self.options.close_timeout)) {
            self.leave(CloseReason::TransportError(TransportError::CloseTimeout));
        }
        self.watch_server();
        let channel = self.current_channel();
        match &mut self.at {
            At::Opening { limit, .. } => {
                if limit.has_passed(now, self.options.open_timeout) {
                    self.fail_opening(CloseReason::TransportError(TransportError::OpenTimeout), channel);
                }
            }
            At::Probing { limit, .. } | At::Pausing { limit, .. } => {
                if limit.has_passed(now, self.options.upgrade_timeout) {
                    self.fail_probe(UpgradeError::Timeout, channel);
                }
            }
            At::Polling | At::Channel(_) | At::Over(_) => (),
        }
        while self.next_poll().is_some_and(|at| at <= self.now) {
            match &mut self.at {
                At::Pausing { poll_at, .. } if poll_at.is_some() => *poll_at = None,
                _ => self.pace.waits = false,
            }
        }
        self.settle();
    }

    fn looks(&self) -> Looks {
        let on_channel = matches!(self.at, At::Channel(_));
        let urgent = self.outgoing.is_awaited() || self.closing.is_some() || self.is_deaf();
        let channel = self.current_channel();
        Looks {
            phase: self.phase(),
            transport: self.transport,
            upgraded: self.upgraded,
            channel,
            stats: stats(&self.incoming, &self.outgoing, self.heartbeats),
            reason: self.reason,
            send_buffered: self.outgoing.cost(),
            receive_buffered: self.incoming.cost(),
            reads: channel.is_some() && !self.said.deaf,
            wants_written: on_channel && urgent && self.outgoing.written < self.outgoing.left(),
            due: self.due(),
        }
    }
}

impl Client {
    fn pull_packet(&mut self) -> Option<Decoded> {
        match &mut self.at {
            At::Probing { asks, .. } => {
                return std::mem::take(asks).then(|| Decoded::Text('2', "probe".into()));
            }
            At::Channel(line) => {
                if std::mem::take(&mut line.owes_upgrade) {
                    return Some(Decoded::Text('5', String::new()));
                }
            }
            _ => return None,
        }
        if self.holds_back() {
            return None;
        }
        let pong = self.take_pong();
        let At::Channel(line) = &mut self.at else { return None };
        flush(&mut line.flushing, pong, &mut self.outgoing, &mut self.said)
    }
}
