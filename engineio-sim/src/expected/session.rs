//! The server's side of a session.

use std::time::Duration;

use engineio_proto::http::Response;
use engineio_proto::server::{BodyError, Input, Output, State};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, CloseReason, Event, ExchangeId, Instant, Message, Phase, SendError, Stats, TransportError,
    TransportKind,
};

use super::incoming::{Incoming, Next, Packet, is_message};
use super::outgoing::{Outgoing, Refusal};
use super::pulse::{Excuse, Fate, Limit, Pings};
use super::said::{Answer, OnChannel, Said};
use super::{Expected, Limits, Looks, time, true_reason};
use crate::decoder::{Decoded, decode_frame};
use crate::encoder::{self, Base64};
use crate::settings::Settings;

/// The options that count for a session.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    interval: Duration,
    timeout: Duration,
    upgrade_timeout: Duration,
    close_timeout: Duration,
    body_timeout: Duration,
    confirm_timeout: Duration,
    max_payload: usize,
    limits: Limits,
    allow_upgrades: bool,
    greeting: Option<Message>,
    close_when_full: bool,
    /// The times and sizes in the open packet.
    announced: (u64, u64, usize),
}

impl Options {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            interval: time(settings.ping_interval),
            timeout: time(settings.ping_timeout),
            upgrade_timeout: time(settings.upgrade_timeout),
            close_timeout: time(settings.close_timeout),
            body_timeout: time(settings.body_timeout),
            confirm_timeout: time(settings.confirm_timeout),
            max_payload: settings.max_payload,
            limits: settings.limits(),
            allow_upgrades: settings.allow_upgrades,
            greeting: settings.initial_message(),
            close_when_full: settings.close_when_full,
            announced: (settings.ping_interval, settings.ping_timeout, settings.max_payload),
        }
    }
}

/// What a session of a server must do.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    options: Options,
    sid: String,
    /// When it was opened.
    since: Instant,
    now: Instant,
    at: At,
    transport: TransportKind,
    upgraded: bool,
    closing: Option<Limit>,
    /// On polling, the time for the first request that names the session, until it comes.
    unconfirmed: Option<Limit>,
    reason: Option<CloseReason>,
    /// [`Event::Ended`] was announced; [`Event::Closed`] was.
    told: (bool, bool),
    /// The open packet was not handed over; the initial message was not.
    opens: bool,
    greets: bool,
    get: Option<ExchangeId>,
    post: Post,
    pings: Pings,
    heartbeats: (u32, u32),
    incoming: Incoming,
    outgoing: Outgoing,
    said: Said,
}

/// Where packets travel.
#[derive(Clone, Copy, Debug)]
enum At {
    Polling,
    /// On polling, beside a channel that may take over.
    Probing(Probe),
    Channel(Line),
    /// Nowhere. The channel on which the session was.
    Over(Option<ChannelId>),
}

#[derive(Clone, Copy, Debug)]
struct Line {
    channel: ChannelId,
    /// It takes no binary frames.
    base64: bool,
    /// The number of `3probe` that were not pulled.
    answers: u32,
    /// The packets of the last flush that were not pulled.
    flushing: usize,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    line: Line,
    limit: Limit,
    /// `2probe` has arrived.
    is_answered: bool,
    /// The number of polls that were released, and when the next one may be.
    releases: usize,
    release_at: Instant,
}

/// The times between the releases of held polls, in milliseconds; the last one repeats.
const RELEASES: [u64; 5] = [10, 20, 40, 80, 100];

#[derive(Clone, Copy, Debug)]
enum Post {
    None,
    Receiving(ExchangeId, Upload),
    /// Its packets are being handled.
    Received(ExchangeId),
}

/// A body that is being received.
#[derive(Clone, Copy, Debug)]
struct Upload {
    /// When its head arrived.
    since: Instant,
    limit: Limit,
}

impl Session {
    /// A session that was opened by a GET.
    pub(crate) fn polling(now: Instant, options: Options, sid: &str, get: ExchangeId) -> Self {
        let unconfirmed = Limit::new(now + options.confirm_timeout);
        let mut session = Self::new(now, options, sid, At::Polling, TransportKind::Polling);
        session.unconfirmed = Some(unconfirmed);
        session.input(now, &Input::Poll { exchange: get });
        session
    }

    /// A session that was opened on a channel.
    pub(crate) fn channel(now: Instant, options: Options, sid: &str, channel: ChannelId, base64: bool) -> Self {
        let line = Line { channel, base64, answers: 0, flushing: 0 };
        let mut session = Self::new(now, options, sid, At::Channel(line), TransportKind::WebSocket);
        session.settle();
        session
    }

    fn new(now: Instant, options: Options, sid: &str, at: At, transport: TransportKind) -> Self {
        Self {
            sid: sid.to_owned(),
            since: now,
            now,
            at,
            transport,
            upgraded: false,
            closing: None,
            unconfirmed: None,
            reason: None,
            told: (false, false),
            opens: true,
            greets: options.greeting.is_some(),
            get: None,
            post: Post::None,
            pings: Pings::Next(now + options.interval),
            heartbeats: (0, 0),
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            said: Said::default(),
            options,
        }
    }

    // What the transports do.

    /// Something arrives, or is reported.
    pub(crate) fn input(&mut self, now: Instant, input: &Input) {
        self.advance(now);
        let names_session = match input {
            // The GET of the handshake does not.
            Input::Poll { .. } => !self.opens,
            Input::PostHead { .. } | Input::ChannelOpened { .. } => true,
            _ => false,
        };
        if names_session {
            self.unconfirmed = None;
        }
        match input {
            Input::Poll { exchange } => self.poll(*exchange),
            Input::PostHead { exchange, octet_stream } => self.head(*exchange, *octet_stream),
            Input::PostBody { exchange, body } => self.body(*exchange, body),
            Input::AnswerWritten { exchange } => {
                let knows_sid = self.outgoing.is_under_way(*exchange);
                if self.outgoing.answer_written(*exchange) {
                    self.took_something();
                }
                if let Some(limit) = self.unconfirmed.as_mut().filter(|_| knows_sid) {
                    *limit = Limit::new(self.now + self.options.confirm_timeout);
                }
            }
            Input::ExchangeLost { exchange } => self.lost(*exchange),
            Input::ChannelOpened { channel, base64 } => self.opened(*channel, *base64),
            Input::ChannelFrame { channel, frame } => self.frame(*channel, frame),
            Input::ChannelWritten { channel, messages } => return self.channel_written(now, *channel, *messages),
            Input::ChannelClosed { channel, end } => self.closed(*channel, *end),
            Input::Unblocked => return self.unblocked(now),
        }
        self.settle();
    }

    fn poll(&mut self, exchange: ExchangeId) {
        if !self.on_polling() {
            return self.reject(exchange);
        }
        if self.get.is_some() {
            self.reply(exchange, 400, Vec::new());
            return self.end(CloseReason::TransportError(TransportError::PollOverlap));
        }
        self.get = Some(exchange);
        if self.closing.is_some() {
            // It sends no pings: this shows that the client is there.
            self.alive();
            if !self.opens && self.outgoing.is_written() {
                self.answer(&["6", "1"]);
                self.end(CloseReason::ForcedClose);
            }
        }
    }

    fn head(&mut self, exchange: ExchangeId, octet_stream: bool) {
        if !self.on_polling() {
            return self.reject(exchange);
        }
        let error = match self.post {
            Post::None if !octet_stream => {
                let limit = Limit::new(self.now + self.options.body_timeout);
                self.post = Post::Receiving(exchange, Upload { since: self.now, limit });
                return;
            }
            Post::None => TransportError::InvalidContent,
            Post::Receiving(..) | Post::Received(_) => TransportError::PostOverlap,
        };
        self.reply(exchange, 400, Vec::new());
        self.end(CloseReason::TransportError(error));
    }

    fn body(&mut self, exchange: ExchangeId, body: &Result<bytes::Bytes, BodyError>) {
        let Post::Receiving(receiving, upload) = self.post else { return };
        if receiving != exchange {
            return;
        }
        match body {
            Ok(body) => {
                self.post = Post::Received(exchange);
                let (now, timeout) = (self.now, self.options.timeout);
                match self.pings.wait() {
                    // The host stood still meanwhile.
                    Some(wait) if upload.limit.is_prolonged => wait.body(now, timeout, timeout),
                    Some(wait) => wait.body(now, now.saturating_since(upload.since), timeout),
                    None => (),
                }
                self.incoming.body(body);
            }
            Err(_) => self.refuse_body(413, TransportError::PayloadTooLarge),
        }
    }

    /// What is in the body is lost, and nothing may follow it.
    fn refuse_body(&mut self, status: u16, error: TransportError) {
        if let Post::Receiving(exchange, _) = self.post {
            self.post = Post::None;
            self.reply(exchange, status, Vec::new());
        }
        self.incoming.drop_frames();
        self.end(CloseReason::TransportError(error));
    }

    fn lost(&mut self, exchange: ExchangeId) {
        let error = match self.post {
            _ if self.get == Some(exchange) => {
                self.get = None;
                TransportError::PollLost
            }
            _ if self.outgoing.is_under_way(exchange) => TransportError::PollLost,
            Post::Receiving(post, _) if post == exchange => {
                self.incoming.drop_frames();
                self.post = Post::None;
                TransportError::PostLost
            }
            Post::Received(post) if post == exchange => {
                self.post = Post::None;
                TransportError::PostLost
            }
            _ => return,
        };
        self.end(CloseReason::TransportError(error));
    }

    fn opened(&mut self, channel: ChannelId, base64: bool) {
        if !self.options.allow_upgrades || !matches!(self.at, At::Polling) {
            return self.said.channels.push_back(OnChannel::Close(channel));
        }
        let line = Line { channel, base64, answers: 0, flushing: 0 };
        let limit = Limit::new(self.now + self.options.upgrade_timeout);
        self.at = At::Probing(Probe { line, limit, is_answered: false, releases: 0, release_at: self.now });
    }

    fn frame(&mut self, channel: ChannelId, frame: &Frame) {
        match self.at {
            At::Probing(probe) if probe.line.channel == channel => match decode_frame(frame) {
                Some(Decoded::Text('2', data)) if data == "probe" => {
                    let line = Line { answers: probe.line.answers + 1, ..probe.line };
                    self.at = At::Probing(Probe { line, is_answered: true, ..probe });
                    self.said.events.push_back(Event::Upgrading(TransportKind::WebSocket));
                }
                Some(Decoded::Text('5', _)) => self.switch(probe.line),
                _ => self.fail_probe(true),
            },
            At::Channel(line) if line.channel == channel => self.incoming.frame(frame),
            _ => (),
        }
    }

    fn switch(&mut self, line: Line) {
        self.at = At::Channel(line);
        self.transport = TransportKind::WebSocket;
        self.upgraded = true;
        self.answer(&["6"]);
        self.said.events.push_back(Event::Upgraded(TransportKind::WebSocket));
    }

    fn fail_probe(&mut self, closes: bool) {
        let At::Probing(probe) = self.at else { return };
        self.at = At::Polling;
        self.said.ready = false;
        if closes {
            self.said.channels.push_back(OnChannel::Close(probe.line.channel));
        }
    }

    fn closed(&mut self, channel: ChannelId, end: ChannelEnd) {
        match self.at {
            At::Probing(probe) if probe.line.channel == channel => self.fail_probe(false),
            At::Channel(line) if line.channel == channel => self.end_on(
                match end {
                    ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
                    ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
                    ChannelEnd::Closed | ChannelEnd::Lost | ChannelEnd::Unopened => CloseReason::TransportClose,
                },
                None,
            ),
            _ => (),
        }
    }

    // Packets.

    fn packet(&mut self, packet: Packet) {
        let phase = self.phase();
        let Some(packet) = packet else {
            return if phase == Phase::Open {
                self.end(CloseReason::ParseError);
            } else {
                self.drop_rest(400, BAD_REQUEST.into());
            };
        };
        let Options { interval, timeout, .. } = self.options;
        let is_pong = matches!(packet, Decoded::Text('3', _));
        if is_pong {
            self.pings.pong(self.now, interval, timeout);
        } else if let Some(wait) = self.pings.wait() {
            wait.packet(self.now, timeout);
        }
        match (packet, phase) {
            (packet, Phase::Closing) if is_message(&packet) => (),
            (packet, _) if is_message(&packet) => self.incoming.deliver(packet),
            (Decoded::Text('3', _), Phase::Open | Phase::Closing) => {
                self.heartbeats.1 += 1;
                self.said.heartbeat();
            }
            (Decoded::Text('1', _), Phase::Open | Phase::Closing) => self.end(CloseReason::TransportClose),
            (Decoded::Text('2', _), Phase::Open) => {
                self.end(CloseReason::TransportError(TransportError::HeartbeatDirection));
            }
            (Decoded::Text('1' | '2', _), Phase::Closed) => self.drop_rest(200, b"ok".into()),
            _ => (),
        }
    }

    fn drop_rest(&mut self, status: u16, body: Vec<u8>) {
        self.incoming.drop_rest();
        self.end_post(status, body);
    }

    fn end_post(&mut self, status: u16, body: Vec<u8>) {
        if let Post::Received(exchange) = self.post {
            self.post = Post::None;
            self.reply(exchange, status, body);
        }
    }

    // Answers.

    fn reply(&mut self, exchange: ExchangeId, status: u16, body: Vec<u8>) {
        self.said.answers.insert(exchange, Answer::Reply { status, body });
    }

    /// A request that a session on polling would have taken.
    fn reject(&mut self, exchange: ExchangeId) {
        let body = if matches!(self.at, At::Channel(_)) { BAD_REQUEST } else { UNKNOWN_SID };
        self.reply(exchange, 400, body.into());
    }

    /// The held poll is answered with packets that may be lost.
    fn answer(&mut self, packets: &[&str]) {
        if let Some(get) = self.get.take() {
            self.reply(get, 200, packets.join("\u{1e}").into_bytes());
        }
    }

    /// The held poll is answered if there is a reason.
    fn answer_poll(&mut self) {
        let Some(get) = self.get else { return };
        if self.opens {
            let mut packets = vec![self.open_packet()];
            packets.extend(self.options.greeting.as_ref().map(encoder::packet));
            (self.opens, self.greets) = (false, false);
            return self.hand_over(get, &packets);
        }
        if (self.owes_ping() || !self.outgoing.is_empty()) && self.outgoing.may_answer() {
            let mut packets = Vec::new();
            if self.take_ping() {
                packets.push(Decoded::Text('2', String::new()));
            }
            let limits = (self.options.max_payload, usize::MAX);
            let messages = self.outgoing.leave_together(packets.len(), packets.len(), limits);
            packets.extend(messages.iter().map(encoder::packet));
            self.said.events.extend([Event::Flush { packets: packets.len() }, Event::Drain]);
            return self.hand_over(get, &packets);
        }
        if self.closing.is_some() && self.outgoing.is_written() {
            return self.end(CloseReason::ForcedClose);
        }
        if let At::Probing(probe) = &mut self.at {
            if probe.is_answered && probe.release_at <= self.now {
                let gap = RELEASES[probe.releases.min(RELEASES.len() - 1)];
                probe.release_at = self.now + Duration::from_millis(gap);
                probe.releases += 1;
                self.answer(&["6"]);
            }
        }
    }

    fn hand_over(&mut self, get: ExchangeId, packets: &[Decoded]) {
        self.get = None;
        self.outgoing.answer(get);
        self.reply(get, 200, encoder::body(packets, Base64::Plain));
    }

    fn open_packet(&self) -> Decoded {
        let upgrades = match self.transport {
            TransportKind::Polling if self.options.allow_upgrades => r#""websocket""#,
            _ => "",
        };
        let ((interval, timeout, max), sid) = (self.options.announced, &self.sid);
        let json = format!(
            r#"{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":{max}}}"#
        );
        Decoded::Text('0', json)
    }

    // The end.

    fn end(&mut self, cause: CloseReason) {
        self.end_on(cause, self.current_channel());
    }

    /// `channel` is to be closed.
    fn end_on(&mut self, cause: CloseReason, channel: Option<ChannelId>) {
        if self.reason.is_some() {
            return;
        }
        let (was_on_channel, last) = match self.at {
            At::Channel(line) => (true, Some(line.channel)),
            _ => (false, None),
        };
        self.reason = Some(true_reason(cause, self.closing.is_some(), self.outgoing.is_written()));
        self.at = At::Over(last);
        self.closing = None;
        self.unconfirmed = None;
        self.pings = Pings::Over;
        (self.opens, self.greets) = (false, false);
        self.outgoing.stop_waiting();
        self.said.ready = false;
        self.answer(if cause == CloseReason::TransportClose { &["6"] } else { &["1"] });
        if let Post::Receiving(exchange, _) = self.post {
            self.post = Post::None;
            self.said.answers.insert(exchange, Answer::Dropped);
            self.incoming.drop_frames();
        }
        let direction = CloseReason::TransportError(TransportError::HeartbeatDirection);
        if cause == CloseReason::ParseError || cause == direction {
            self.drop_rest(400, BAD_REQUEST.into());
        } else if cause == CloseReason::TransportClose && (channel.is_some() || !was_on_channel) {
            // The client has closed the session; nothing behind that counts.
            self.drop_rest(200, b"ok".into());
        } else {
            self.end_post(200, b"ok".into());
        }
        self.said.channels.extend(channel.map(OnChannel::Close));
    }

    // Time.

    fn look_at_pulse(&mut self) {
        let excuse = Excuse {
            deaf: self.is_deaf(),
            waiting: !self.outgoing.is_written(),
            receiving: matches!(self.post, Post::Receiving(..)),
        };
        let on_channel = matches!(self.at, At::Channel(_));
        match self.pings.look(self.now, self.options.timeout, excuse) {
            Fate::Alive => (),
            Fate::Stuck if on_channel || self.outgoing.is_room_awaited() => {
                self.end(CloseReason::TransportError(TransportError::SlowConsumer));
            }
            Fate::Stuck | Fate::Silent => self.end(CloseReason::PingTimeout),
        }
    }

    /// A client that has not got the answer to its handshake cannot name its session.
    fn look_at_handshake(&mut self) {
        let (now, time) = (self.now, self.options.confirm_timeout);
        let Some(limit) = self.unconfirmed.as_mut().filter(|_| self.closing.is_none()) else { return };
        if !limit.has_passed(now, time) {
            return;
        }
        if self.outgoing.has_answers() {
            *limit = Limit::new(now + time);
        } else {
            self.end(CloseReason::TransportError(TransportError::Unconfirmed));
        }
    }

    /// Returns from when on the session may be ended for another one. `None` once its client has shown more than its
    /// handshake.
    pub(crate) fn evictable_from(&self) -> Option<Instant> {
        self.unconfirmed.map(|_| self.since + self.options.confirm_timeout / 10)
    }

    /// Another client needs the place.
    pub(crate) fn evict(&mut self, now: Instant) {
        self.advance(now);
        self.end(CloseReason::TransportError(TransportError::Unconfirmed));
        self.settle();
    }

    fn alive(&mut self) {
        let (now, timeout) = (self.now, self.options.timeout);
        if let Some(wait) = self.pings.wait() {
            wait.alive(now, timeout);
        }
    }

    fn took_something(&mut self) {
        if let Some(wait) = self.pings.wait() {
            wait.took_something();
        }
    }

    fn owes_ping(&self) -> bool {
        matches!(self.pings, Pings::Owed(_)) && self.closing.is_none()
    }

    fn take_ping(&mut self) -> bool {
        let takes = self.owes_ping();
        if takes {
            self.pings.leave(self.now, self.options.timeout);
            self.heartbeats.0 += 1;
        }
        takes
    }

    // State.

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn on_polling(&self) -> bool {
        matches!(self.at, At::Polling | At::Probing(_))
    }

    pub(crate) fn state(&self) -> State {
        match self.at {
            At::Polling => State::Polling,
            At::Probing(probe) if probe.is_answered => State::Probed,
            At::Probing(_) => State::Probing,
            At::Channel(_) => State::Channel,
            At::Over(_) => State::Closed,
        }
    }

    pub(crate) fn transport(&self) -> TransportKind {
        self.transport
    }

    fn phase(&self) -> Phase {
        match (self.reason, self.closing) {
            (Some(_), _) => Phase::Closed,
            (None, Some(_)) => Phase::Closing,
            (None, None) => Phase::Open,
        }
    }

    fn current_channel(&self) -> Option<ChannelId> {
        match self.at {
            At::Probing(probe) => Some(probe.line.channel),
            At::Channel(line) => Some(line.channel),
            At::Polling | At::Over(_) => None,
        }
    }

    /// The client cannot show anything, because the application does not take its messages.
    fn is_deaf(&self) -> bool {
        let on_channel = matches!(self.at, At::Channel(_));
        !self.incoming.has_room(self.options.limits.receive) && (self.incoming.has_body() || on_channel)
    }

    fn has_frames(&self) -> bool {
        match self.at {
            At::Probing(probe) => probe.line.answers > 0,
            At::Channel(line) => {
                let first = line.answers > 0 || self.opens || self.greets;
                first || self.owes_ping() || !self.outgoing.is_empty()
            }
            At::Polling | At::Over(_) => false,
        }
    }

    fn due(&self) -> Option<Instant> {
        let (probe, release) = match self.at {
            At::Probing(probe) => {
                let releases = probe.is_answered && self.get.is_some();
                (Some(probe.limit.by), releases.then_some(probe.release_at))
            }
            _ => (None, None),
        };
        let body = match self.post {
            Post::Receiving(_, upload) => Some(upload.limit.by),
            Post::None | Post::Received(_) => None,
        };
        let closing = self.closing.map(|limit| limit.by);
        let unconfirmed = self.unconfirmed.filter(|_| closing.is_none()).map(|limit| limit.by);
        [self.pings.due(), closing, probe, release, body, unconfirmed].into_iter().flatten().min()
    }

    // The end of every call.

    fn settle(&mut self) {
        loop {
            let awaits_body = matches!(self.post, Post::Receiving(..));
            if let Some(next) = self.incoming.next(self.options.limits.receive, awaits_body) {
                match next {
                    Next::Packet(packet) => self.packet(packet),
                    Next::BodyEnd => self.end_post(200, b"ok".into()),
                }
                continue;
            }
            self.answer_poll();
            let on_channel = matches!(self.at, At::Channel(_));
            if self.closing.is_some() && on_channel && !self.has_frames() && self.outgoing.is_written() {
                self.end(CloseReason::ForcedClose);
                continue;
            }
            break;
        }
        if self.is_deaf() {
            if let Some(wait) = self.pings.wait() {
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
                let awaits_body = matches!(self.post, Post::Receiving(..));
                let has_room = self.incoming.has_room(self.options.limits.receive);
                let deaf = self.incoming.has_frames() || !has_room || awaits_body;
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

    /// The session has this output. Returns what is wrong with it.
    pub(crate) fn see(&mut self, output: &Output) -> Result<(), String> {
        let said = &mut self.said;
        match output {
            Output::Respond { exchange, response } => {
                let seen = seen_answer(response);
                Said::see(said.answers.remove(exchange), &seen).map_err(|what| format!("{exchange:?}: {what}"))
            }
            Output::Abort { exchange } => Said::see(said.answers.remove(exchange), &Answer::Dropped),
            Output::ChannelReady { channel } => Said::see(said.channels.pop_front(), &OnChannel::Ready(*channel)),
            Output::ChannelRead { channel, enabled } => {
                Said::see(said.channels.pop_front(), &OnChannel::Read(*channel, *enabled))
            }
            Output::ChannelClose { channel } => Said::see(said.channels.pop_front(), &OnChannel::Close(*channel)),
            Output::Event(event) => Said::see(said.events.pop_front(), event),
        }
    }

    /// Returns an output that is missing, when the session has no more.
    pub(crate) fn missing(&self) -> Option<String> {
        self.said.missing()
    }
}

/// The end is announced once it is certain; and again, when the application has taken everything.
pub(super) fn tell_end(
    reason: Option<CloseReason>,
    (ended, closed): &mut (bool, bool),
    is_empty: bool,
    events: &mut std::collections::VecDeque<Event>,
) {
    match reason {
        Some(reason) if is_empty && !*closed => {
            *closed = true;
            events.push_back(Event::Closed(reason));
        }
        Some(reason) if !is_empty && !*ended && !*closed => {
            *ended = true;
            events.push_back(Event::Ended(reason));
        }
        _ => (),
    }
}

/// The bodies of rejections.
const UNKNOWN_SID: &[u8] = br#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_REQUEST: &[u8] = br#"{"code":3,"message":"Bad request"}"#;

fn seen_answer(response: &Response) -> Answer {
    let reply = response.clone().into_reply();
    Answer::Reply { status: reply.status, body: reply.body.to_vec() }
}

impl Expected for Session {
    fn send(&mut self, _: Instant, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        let has_separator = |message: &Message| matches!(message, Message::Text(text) if text.contains('\u{1e}'));
        let refusal: Option<Refusal> = if self.phase() != Phase::Open {
            Some(SendError::Closed)
        } else if !matches!(self.at, At::Channel(_)) && messages.iter().any(has_separator) {
            Some(SendError::Separator)
        } else {
            let room = self.outgoing.room_for(&messages, self.options.limits);
            let is_full = room.is_err_and(|refusal| matches!(refusal(Vec::new()), SendError::Full(_)));
            if is_full && self.options.close_when_full {
                self.end(CloseReason::TransportError(TransportError::SlowConsumer));
                Some(SendError::Closed)
            } else {
                room.err()
            }
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
        pulled.map(|(packet, base64)| encoder::frame(&packet, !base64, Base64::Plain))
    }

    fn poll_written(&mut self, messages: u64) -> bool {
        match self.reason {
            None => self.outgoing.wait_until_written(messages),
            Some(_) => self.outgoing.written >= messages,
        }
    }

    fn poll_ready(&mut self) -> bool {
        let is_ready = self.phase() != Phase::Open || self.outgoing.cost() < self.options.limits.send;
        if !is_ready {
            self.outgoing.wait_for_room();
        }
        is_ready
    }

    fn close(&mut self, now: Instant) {
        self.advance(now);
        if self.phase() == Phase::Open {
            self.closing = Some(Limit::new(self.now + self.options.close_timeout));
            self.incoming.drop_messages();
        }
        self.settle();
    }

    fn abort(&mut self, now: Instant) {
        self.advance(now);
        self.closing = None;
        self.incoming.drop_messages();
        self.end(CloseReason::ForcedClose);
        self.drop_rest(200, b"ok".into());
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
            At::Polling | At::Probing(_) => false,
        };
        if carries && self.outgoing.channel_written(messages) {
            self.took_something();
        }
        self.settle();
    }

    fn unblocked(&mut self, now: Instant) {
        self.advance(now);
        self.alive();
        self.took_something();
        self.settle();
    }

    fn timeout(&mut self, now: Instant) {
        self.advance(now);
        let now = self.now;
        if self.closing.as_mut().is_some_and(|limit| limit.has_passed(now, self.options.close_timeout)) {
            self.end(CloseReason::TransportError(TransportError::CloseTimeout));
        }
        let is_over = match &mut self.post {
            Post::Receiving(_, upload) => upload.limit.has_passed(now, self.options.body_timeout),
            Post::None | Post::Received(_) => false,
        };
        if is_over {
            self.refuse_body(408, TransportError::PostTimeout);
        }
        self.look_at_pulse();
        let is_over = match &mut self.at {
            At::Probing(probe) => probe.limit.has_passed(now, self.options.upgrade_timeout),
            At::Polling | At::Channel(_) | At::Over(_) => false,
        };
        if is_over {
            self.fail_probe(true);
        }
        self.look_at_handshake();
        self.settle();
    }

    fn looks(&self) -> Looks {
        let on_channel = matches!(self.at, At::Channel(_));
        let is_pinged = matches!(self.pings, Pings::Owed(_) | Pings::Sent(_));
        let urgent = self.outgoing.is_awaited() || self.closing.is_some() || is_pinged;
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

impl Session {
    fn pull_packet(&mut self) -> Option<(Decoded, bool)> {
        let base64 = match &mut self.at {
            At::Probing(Probe { line, .. }) | At::Channel(line) => {
                if line.answers > 0 {
                    line.answers -= 1;
                    return Some((Decoded::Text('3', "probe".into()), line.base64));
                }
                line.base64
            }
            At::Polling | At::Over(_) => return None,
        };
        if !matches!(self.at, At::Channel(_)) {
            return None;
        }
        if std::mem::take(&mut self.opens) {
            return Some((self.open_packet(), base64));
        }
        if std::mem::take(&mut self.greets) {
            return self.options.greeting.as_ref().map(|greeting| (encoder::packet(greeting), base64));
        }
        let ping = self.take_ping().then(|| Decoded::Text('2', String::new()));
        let At::Channel(line) = &mut self.at else { return None };
        flush(&mut line.flushing, ping, &mut self.outgoing, &mut self.said).map(|packet| (packet, base64))
    }
}

/// Returns the next packet on a channel: a heartbeat, or a message. Packets that wait are flushed together.
pub(super) fn flush(
    flushing: &mut usize,
    heartbeat: Option<Decoded>,
    outgoing: &mut Outgoing,
    said: &mut Said,
) -> Option<Decoded> {
    let more = usize::from(heartbeat.is_some());
    if *flushing == 0 {
        *flushing = outgoing.len() + more;
        if *flushing == 0 {
            return None;
        }
        said.events.push_back(Event::Flush { packets: *flushing });
    } else {
        *flushing += more;
    }
    let packet = heartbeat.or_else(|| outgoing.leave().as_ref().map(encoder::packet))?;
    *flushing -= 1;
    if *flushing == 0 {
        said.events.push_back(Event::Drain);
    }
    Some(packet)
}

pub(super) fn stats(incoming: &Incoming, outgoing: &Outgoing, (sent, received): (u32, u32)) -> Stats {
    let mut stats = Stats::default();
    stats.messages_received = incoming.received;
    stats.bytes_received = incoming.bytes;
    stats.messages_accepted = outgoing.accepted;
    stats.messages_sent = outgoing.left();
    stats.messages_written = outgoing.written;
    stats.bytes_sent = outgoing.bytes;
    stats.heartbeats_sent = sent;
    stats.heartbeats_received = received;
    stats
}
