//! One session, with an embedder and a client that do anything at any time, against the laws of `ARCHITECTURE.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engineio_proto::http::Response;
use engineio_proto::server::{Config, Input, Output, Overflow, State};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, Event, ExchangeId, Instant, Message, Phase, Session, Sid, Transports};
use engineio_sim::decoder::{Decoded, decode_frame, decode_payload};

use crate::calls::{Answer, Call, Numbers, Step, apply, tells_time};
use crate::reader::Reader;
use crate::wire::{carried, is_message};
use crate::written::Written;

/// `data` is the beginning of the session (`p` on polling, `c` on a channel, `b` on one without binary frames), the
/// number of a configuration, and the calls; see `calls.rs`.
pub fn session(data: &[u8]) {
    let mut reader = Reader(data);
    let start = Start::read(&mut reader);
    let config = Arc::new(config(reader.below(8)));
    let mut world = World::new(Instant::ZERO, Sid::from_entropy([1; 15]), config, start);
    while !reader.is_empty() {
        match world.numbers.step(&mut reader) {
            Step::Call(call) => _ = world.play(&call),
            Step::Pass(time) => world.now += time,
            Step::Sleep(late) => world.sleep(late),
        }
    }
    world.end();
}

/// How a session begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Polling,
    Channel { base64: bool },
}

impl Start {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        match reader.letter(b"pcb") {
            b'p' => Self::Polling,
            letter => Self::Channel { base64: letter == b'b' },
        }
    }
}

/// Limits that are reached soon.
pub(crate) fn config(number: u8) -> Config {
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(100);
    config.ping_timeout = Duration::from_millis(80);
    config.upgrade_timeout = Duration::from_millis(150);
    config.close_timeout = Duration::from_millis(120);
    config.body_timeout = Duration::from_millis(200);
    config.max_payload = 24;
    config.send_limit = 160;
    config.send_low = 60;
    config.receive_limit = 100;
    if number & 1 != 0 {
        config.initial_message = Some("hello".into());
    }
    if number & 2 != 0 {
        config.overflow = Overflow::Close;
        config.max_payload = 1000;
        config.receive_limit = 1;
    }
    if number & 4 != 0 {
        config.allow_upgrades = false;
        config.transports = Transports::ALL;
        config.send_low = 0;
    }
    config
}

/// A session that is drained after every call, its twin that is drained at the end and is told the time late, and the
/// laws of both.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) session: Session,
    twin: Session,
    pub(crate) numbers: Numbers,
    pub(crate) now: Instant,
    /// The latest time that both were told.
    told: Instant,
    outputs: Vec<Output>,
    config: Arc<Config>,

    gets: BTreeSet<ExchangeId>,
    posts: BTreeSet<ExchangeId>,
    /// The POST whose body was not given yet.
    receiving: Option<ExchangeId>,
    /// The state of its messages.
    written: Written,

    /// What the client has sent by polling, and on the channel, up to the first packet that ends the session.
    posted: Vec<Decoded>,
    posted_all: bool,
    framed: Vec<Decoded>,
    framed_all: bool,
    received: Vec<Decoded>,
    /// The application discards what arrives.
    deaf: bool,

    accepted: Vec<Decoded>,
    emitted: usize,
    aborted: bool,
    base64: bool,

    /// A ping was sent, and no answer has arrived since.
    pinged: bool,
    flushing: bool,
    closed: bool,
    /// The channel that the session is on, or was at the end.
    on: Option<ChannelId>,
    calls: u8,
}

impl World {
    pub(crate) fn new(now: Instant, sid: Sid, config: Arc<Config>, start: Start) -> Self {
        let shared = Arc::clone(&config);
        let session = match start {
            Start::Polling => Session::polling(now, sid, shared),
            Start::Channel { base64 } => Session::channel(now, sid, shared, Numbers::FIRST_CHANNEL, base64),
        };
        let mut world = Self {
            twin: session.clone(),
            session,
            numbers: Numbers::new(),
            now,
            told: now,
            outputs: Vec::new(),
            gets: BTreeSet::new(),
            posts: BTreeSet::new(),
            receiving: None,
            written: Written::default(),
            posted: Vec::new(),
            posted_all: true,
            framed: Vec::new(),
            framed_all: true,
            received: Vec::new(),
            deaf: false,
            accepted: config.initial_message.iter().map(carried).collect(),
            emitted: 0,
            aborted: false,
            base64: matches!(start, Start::Channel { base64: true }),
            pinged: false,
            flushing: false,
            closed: false,
            on: matches!(start, Start::Channel { .. }).then_some(Numbers::FIRST_CHANNEL),
            calls: 0,
            config,
        };
        world.drain();
        world
    }

    /// The outputs of the session so far.
    pub(crate) fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub(crate) fn play(&mut self, call: &Call) -> Answer {
        self.expect(call);
        let is_lost = match call {
            Call::Input(Input::ExchangeLost { exchange }) => self.written.is_under_way(*exchange),
            _ => false,
        };
        let pongs = self.session.stats().heartbeats_received;
        // A close drops what was received, so that the packets behind it are read: the client may have closed before.
        let reads_on = matches!(call, Call::Close) && self.session.has_undecoded();
        let answer = apply(&mut self.session, self.now, call);
        // A pong that waited for a slow application may answer a ping that left after it had arrived.
        self.pinged &= self.session.stats().heartbeats_received == pongs;
        // Law 6: a repeated report may have a wrong value.
        let back = if self.told == self.now { Duration::from_millis(70) } else { Duration::ZERO };
        let past = Instant::from_micros(self.now.as_micros().saturating_sub(back.as_micros() as u64));
        assert_eq!(apply(&mut self.twin, past, call), answer, "law 7: {call:?}");
        if tells_time(call) {
            self.told = self.now;
        }
        self.heed(call, &answer);
        self.drain();
        if is_lost {
            assert_eq!(self.session.phase(), Phase::Closed, "law 2: it goes on with a hole");
        }
        if matches!(call, Call::Wake) {
            let next = self.session.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "law 5: {next:?} at {:?}", self.now);
        }
        self.numbers.settle(self.session.current_channel());
        if self.session.state() == State::Channel {
            self.on = self.session.current_channel();
        }
        self.check();
        self.written.check(&self.session, is_harmless(call) && !reads_on);
        // Not after every call, because it costs more than the call.
        self.calls = self.calls.wrapping_add(1);
        if self.calls % 4 == 0 {
            self.call_without_need();
        }
        answer
    }

    /// Waits until the session asks to be woken, and a little longer.
    pub(crate) fn sleep(&mut self, late: Duration) {
        if let Some(next) = self.session.next_timeout() {
            self.now = self.now.max(next) + late;
            self.play(&Call::Wake);
        }
    }

    /// Before a call: what it adds to the expectations.
    fn expect(&mut self, call: &Call) {
        match call {
            Call::Input(Input::Poll { exchange }) => {
                self.gets.insert(*exchange);
            }
            Call::Input(Input::AnswerWritten { exchange }) => self.written.exchange_written(*exchange),
            Call::Input(Input::ChannelWritten { channel, messages }) => self.expect_written(*channel, *messages),
            Call::Written(channel, behind) => {
                let messages = self.session.stats().messages_sent.saturating_sub((*behind).into());
                self.expect_written(*channel, messages);
            }
            Call::Input(Input::PostHead { exchange, .. }) => {
                self.posts.insert(*exchange);
                self.receiving = Some(*exchange);
            }
            Call::Input(Input::PostBody { exchange, body }) if self.receiving == Some(*exchange) => {
                self.receiving = None;
                if let (Ok(body), true) = (body, self.posts.contains(exchange)) {
                    let (packets, complete) = decode_payload(body);
                    self.heard(&packets);
                    self.posted_all &= say(&mut self.posted, packets, self.posted_all) && complete;
                }
            }
            Call::Input(Input::ChannelFrame { channel, frame }) if self.is_on(*channel) => {
                let packet = decode_frame(frame);
                let complete = packet.is_some();
                let packets: Vec<_> = packet.into_iter().collect();
                self.heard(&packets);
                self.framed_all &= say(&mut self.framed, packets, self.framed_all) && complete;
            }
            Call::Input(Input::ExchangeLost { exchange }) => {
                self.gets.remove(exchange);
                self.posts.remove(exchange);
            }
            Call::Input(Input::ChannelOpened { base64, .. }) if self.session.state() == State::Polling => {
                self.base64 = *base64;
            }
            Call::Close => {
                self.deaf = true;
                self.written.close(true);
            }
            Call::Discard => self.deaf = true,
            Call::Abort => {
                (self.deaf, self.aborted) = (true, true);
                self.written.close(false);
            }
            _ => (),
        }
    }

    /// The last frames of a session may be written after it has ended.
    fn expect_written(&mut self, channel: ChannelId, messages: u64) {
        if self.on == Some(channel) {
            self.written.channel_written(messages);
        }
    }

    fn is_on(&self, channel: ChannelId) -> bool {
        self.session.state() == State::Channel && self.session.current_channel() == Some(channel)
    }

    fn heard(&mut self, packets: &[Decoded]) {
        self.pinged &= !packets.iter().any(|packet| matches!(packet, Decoded::Text('3', _)));
    }

    /// After a call: checks its effects.
    fn heed(&mut self, call: &Call, answer: &Answer) {
        match (call, answer) {
            (Call::Send(message), Answer::Sent(result)) => match result {
                Ok(()) => {
                    self.accepted.push(carried(message));
                    self.written.accept(1);
                }
                Err(error) => assert_eq!(error.clone().into_inner(), *message, "it comes back"),
            },
            (Call::SendAll(messages), Answer::SentAll(result)) => match result {
                Ok(()) => {
                    self.accepted.extend(messages.iter().map(carried));
                    self.written.accept(messages.len());
                }
                Err(error) => assert_eq!(error.clone().into_inner(), *messages, "they come back"),
            },
            (_, Answer::Received(Some(message))) => {
                let next = self.posted.iter().chain(&self.framed).nth(self.received.len());
                assert_eq!(next, Some(&carried(message)), "law 2");
                self.received.push(carried(message));
            }
            (_, Answer::Pulled(Some(frame))) => {
                assert!(!(self.base64 && matches!(frame, Frame::Binary(_))), "the peer takes no binary");
                let packet = decode_frame(frame).expect("law 11");
                if is_message(&packet) && !self.is_initial() {
                    self.written.leave_on_channel();
                }
                self.emit(&[packet]);
            }
            (Call::Await(messages), Answer::Awaited(is_written)) => self.written.asked(*messages, *is_written),
            _ => (),
        }
    }

    /// Whether the next message is the initial message of the configuration.
    fn is_initial(&self) -> bool {
        self.config.initial_message.is_some() && self.emitted == 0
    }

    /// Packets leave.
    fn emit(&mut self, packets: &[Decoded]) {
        for packet in packets {
            match packet {
                packet if is_message(packet) => {
                    assert_eq!(self.accepted.get(self.emitted), Some(packet), "law 2");
                    self.emitted += 1;
                }
                Decoded::Text('2', data) => {
                    assert!(data.is_empty() && !self.pinged, "law 9");
                    self.pinged = true;
                }
                Decoded::Text('0', json) => {
                    let json: serde_json::Value = serde_json::from_str(json).expect("law 11");
                    assert_eq!(json["sid"], self.session.sid().as_str());
                    assert_eq!(self.emitted, 0, "it is the first packet");
                }
                Decoded::Text('1' | '6', data) => assert_eq!(data, ""),
                Decoded::Text(kind, data) => assert_eq!((*kind, data.as_str()), ('3', "probe")),
                Decoded::Binary(_) => unreachable!("it is a message"),
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            self.observe(&output);
            self.outputs.push(output);
        }
        assert!(!self.session.has_output());
    }

    fn observe(&mut self, output: &Output) {
        match output {
            Output::Respond { exchange, response } => {
                assert!(self.gets.remove(exchange) | self.posts.remove(exchange), "law 1: {output:?}");
                let is_payload = matches!(response, Response::Payload(_));
                let reply = response.clone().into_reply();
                if is_payload {
                    let (packets, complete) = decode_payload(&reply.body);
                    let is_handshake = matches!(packets.first(), Some(Decoded::Text('0', _)));
                    let fits = reply.body.len() <= self.config.max_payload || packets.len() == 1 || is_handshake;
                    assert!(complete && fits, "law 11: {packets:?}");
                    // A noop and a close packet may be lost.
                    if packets.iter().any(|packet| !matches!(packet, Decoded::Text('1' | '6', _))) {
                        let initial = usize::from(self.is_initial());
                        let messages = packets.iter().filter(|packet| is_message(packet)).count();
                        self.written.leave(*exchange, messages.saturating_sub(initial));
                        self.written.assert_bounded();
                    }
                    self.emit(&packets);
                }
            }
            Output::Abort { exchange } => assert!(self.posts.remove(exchange), "law 1: {output:?}"),
            Output::ChannelReady { .. } | Output::ChannelRead { .. } => assert!(!self.closed, "law 3: {output:?}"),
            Output::ChannelClose { .. } => (),
            Output::Event(event) => {
                assert!(!self.closed, "law 3: {event:?} behind the end");
                match event {
                    Event::Flush { .. } => assert!(!std::mem::replace(&mut self.flushing, true), "a drain is missing"),
                    Event::Drain => assert!(std::mem::replace(&mut self.flushing, false), "nothing was flushed"),
                    Event::Written => self.written.told(),
                    Event::Closed(reason) => {
                        self.closed = true;
                        assert_eq!(self.session.close_reason(), Some(*reason));
                    }
                    _ => (),
                }
            }
        }
    }

    fn check(&self) {
        let session = &self.session;
        session.check().expect("the laws that are seen from inside");
        self.twin.check().expect("the laws that are seen from inside");
        assert!(self.gets.len() <= 1 && self.posts.len() <= 1, "law 1: {:?}, {:?}", self.gets, self.posts);
        if session.phase() == Phase::Closed {
            assert!(self.gets.is_empty() && self.posts.is_empty(), "law 1: {:?}, {:?}", self.gets, self.posts);
        }
        assert_eq!(session.is_finished(), self.closed, "law 3");

        let unsent: Vec<_> = session.unsent().map(Message::cost).collect();
        assert_eq!(session.send_buffered(), unsent.iter().sum::<usize>(), "law 4");
        let without_last: usize = unsent.iter().rev().skip(1).sum();
        // Messages that are sent together may exceed the limit only if there is room for all of them.
        assert!(unsent.len() <= 1 || without_last < self.config.send_limit, "law 4: {unsent:?}");
        let largest = 3 * 255 + Message::OVERHEAD;
        assert!(session.receive_buffered() < self.config.receive_limit + largest, "law 4");
        if !self.aborted {
            let initial = usize::from(self.is_initial());
            assert_eq!(self.emitted + unsent.len() + initial, self.accepted.len(), "law 2: messages vanished");
        }
    }

    /// Law 6.
    fn call_without_need(&mut self) {
        let mut session = self.session.clone();
        // The session may not have been told the time yet. If a poll is to be released by now, that releases it.
        session.handle_input(self.now, Input::AnswerWritten { exchange: ExchangeId(u64::MAX) });
        while session.poll_output().is_some() {}
        let before = session.clone();
        if session.next_timeout().is_none_or(|next| next > self.now) {
            session.handle_timeout(self.now);
        }
        assert_eq!(session.poll_output(), None);
        let (exchange, channel) = (ExchangeId(u64::MAX), ChannelId(u64::MAX));
        assert_eq!(session.next_frame(Instant::ZERO, channel), None);
        let frame = Frame::received("4stray".into());
        for input in [
            Input::PostBody { exchange, body: Ok("4stray".into()) },
            Input::AnswerWritten { exchange },
            Input::ExchangeLost { exchange },
            Input::ChannelWritten { channel, messages: 0 },
            Input::ChannelFrame { channel, frame },
            Input::ChannelClosed { channel, end: engineio_proto::ChannelEnd::Closed },
        ] {
            session.handle_input(Instant::ZERO, input);
        }
        assert!(session == before, "law 6: {session:#?}\nis not\n{before:#?}");
    }

    /// The client is silent, and the application takes everything that has arrived, and then the end.
    pub(crate) fn end(&mut self) {
        while matches!(self.play(&Call::Recv), Answer::Received(Some(_))) {}
        if !self.deaf && self.session.phase() == Phase::Open && self.posts.is_empty() {
            let said = self.posted.len() + self.framed.len();
            assert_eq!(self.received.len(), said, "law 2: {:?}, {:?}", self.posted, self.framed);
        }
        let heard: Vec<_> = self.posted.iter().chain(&self.framed).take(self.received.len()).cloned().collect();
        assert_eq!(heard, self.received, "law 2");
        for _ in 0..50 {
            while matches!(self.play(&Call::Recv), Answer::Received(Some(_))) {}
            if self.closed {
                break;
            }
            self.sleep(Duration::ZERO);
        }
        assert!(self.closed && self.session.next_timeout().is_none(), "law 12: {:#?}", self.session);
        assert_eq!(self.session.receive_buffered(), 0, "law 12");
        let late: Vec<_> = std::iter::from_fn(|| self.twin.poll_output()).collect();
        assert_eq!(late, self.outputs, "law 7");
        assert!(self.twin == self.session, "law 7: {:#?}\nis not\n{:#?}", self.twin, self.session);
    }
}

/// Returns whether a call reports no loss, and gives the session nothing to read.
fn is_harmless(call: &Call) -> bool {
    match call {
        Call::Input(input) => {
            matches!(input, Input::AnswerWritten { .. } | Input::ChannelWritten { .. } | Input::Unblocked)
        }
        Call::Pull(_) | Call::Close | Call::Written(..) | Call::Await(_) | Call::Ready => true,
        _ => false,
    }
}

/// Adds messages to what was sent, up to a packet that ends the session. Returns whether the session continues.
fn say(said: &mut Vec<Decoded>, packets: Vec<Decoded>, goes_on: bool) -> bool {
    for packet in packets {
        match packet {
            _ if !goes_on => return false,
            Decoded::Text('1' | '2', _) => return false,
            packet if is_message(&packet) => said.push(packet),
            _ => (),
        }
    }
    goes_on
}
