//! One client, with an embedder and a server that do anything at any time, against the laws of `ARCHITECTURE.md`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::client::{self, Details};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, Event, ExchangeId, Instant, Message, Phase, RequestError, Text, TransportKind,
};
use engineio_sim::decoder::{Decoded, decode_frame, decode_payload};

use crate::calls::{Answer, data, text_message};
use crate::reader::Reader;
use crate::wire::{carried, is_message};
use crate::written::Written;

/// `data` is the number of a configuration, and what happens then:
///
/// * `g` the GET is answered (length, bytes), `G` with one of a few bodies (0 to 8); `h` the POST is taken;
///   `e` the GET fails, `E` the POST (0 to 7, some with a status); `A` any number is answered
/// * `o` the channel is open, `q` it ends (0 to 4); `f` a text frame (length, bytes), `F` a binary one, `j` one of the
///   few bodies as a frame, `k` the answer to a probe, `z` a stray frame
/// * `s` a text is sent (length, bytes), `S` bytes, `a` several; `r` one is taken, `y` is there room;
///   `c` close, `X` abort, `d` discard
/// * `V` what was pulled is written (but for so many messages), `m` so many messages are written, whatever was pulled;
///   `U` a connection takes more again; `l` are so many messages written
/// * `n` a frame is pulled; `t` and `T` time passes (milliseconds, tens of them), `w` a wakeup at this moment, `W` one in
///   time, or late (milliseconds)
pub fn client(data: &[u8]) {
    let mut reader = Reader(data);
    let mut world = World::new(config(reader.below(16)));
    while !reader.is_empty() {
        world.step(&mut reader);
    }
    world.end();
}

/// Limits that are reached soon.
fn config(number: u8) -> client::Config {
    let mut config = client::Config::default();
    config.open_timeout = Duration::from_millis(60);
    config.upgrade_timeout = Duration::from_millis(60);
    config.close_timeout = Duration::from_millis(120);
    config.max_payload = 150;
    config.max_packets = 4;
    config.send_limit = 160;
    config.send_low = 60;
    config.receive_limit = 100;
    if number & 1 != 0 {
        config.transports.reverse();
    }
    config.try_all_transports = number & 2 != 0;
    config.base64 = number & 4 != 0;
    if number & 8 != 0 {
        config.query = "token=a&b64=0".into();
        config.receive_limit = 1;
    }
    config
}

/// Bodies that a fuzzer would have to guess.
const BODIES: [&str; 9] = [
    r#"0{"sid":"abc","upgrades":["websocket"],"pingInterval":100,"pingTimeout":80,"maxPayload":50}"#,
    r#"0{"sid":"a/b","upgrades":[],"pingInterval":100,"pingTimeout":80}"#,
    r#"0{"sid":"abc","upgrades":["x","websocket"],"pingInterval":100,"pingTimeout":0,"maxPayload":7}"#,
    "2",
    "6",
    "4a\u{1e}2\u{1e}b\u{1e}4b",
    "1",
    "4a\u{1e}x\u{1e}4b",
    "4a\u{1e}1\u{1e}4b",
];

/// A call, with all numbers known.
#[derive(Clone, Debug)]
enum Call {
    Input(client::Input),
    Send(Message),
    SendAll(Vec<Message>),
    Ready,
    Recv,
    Close,
    Abort,
    Discard,
    Pull(ChannelId),
    Wake,
    /// Everything that was pulled is reported as written, except for this many messages.
    Written(ChannelId, u8),
    /// Asks whether this many messages are written.
    Await(u64),
}

fn apply(client: &mut Client, now: Instant, call: &Call) -> Answer {
    match call {
        Call::Input(input) => client.handle_input(now, input.clone()),
        Call::Send(message) => return Answer::Sent(client.send(now, message.clone())),
        Call::SendAll(messages) => return Answer::SentAll(client.send_all(now, messages.clone())),
        Call::Ready => return Answer::Ready(client.poll_ready()),
        Call::Recv => return Answer::Received(client.recv(now)),
        Call::Close => client.close(now),
        Call::Abort => client.abort(now),
        Call::Discard => client.discard_incoming(),
        Call::Pull(channel) => return Answer::Pulled(client.next_frame(now, *channel)),
        Call::Wake => client.handle_timeout(now),
        &Call::Written(channel, behind) => {
            let messages = client.stats().messages_sent.saturating_sub(behind.into());
            client.handle_input(now, client::Input::ChannelWritten { channel, messages });
        }
        &Call::Await(messages) => return Answer::Awaited(client.poll_written(messages)),
    }
    Answer::Nothing
}

/// A client that is drained after every call, its twin that is drained at the end and is told the time late, and the
/// laws of both.
#[derive(Debug)]
struct World {
    client: Client,
    twin: Client,
    now: Instant,
    /// The latest time that both were told.
    told: Instant,
    outputs: Vec<client::Output>,

    /// The numbers of the last requests and channels, and the largest number.
    get: ExchangeId,
    post: ExchangeId,
    channel: ChannelId,
    largest: u64,
    /// What is under way.
    gets: BTreeSet<ExchangeId>,
    posts: BTreeSet<ExchangeId>,
    channels: BTreeSet<ChannelId>,

    /// What the server has sent, up to the packet that ends the session.
    said: Vec<Decoded>,
    goes_on: bool,
    received: Vec<Decoded>,
    pings: usize,
    pongs: usize,
    /// The application discards what arrives.
    deaf: bool,

    accepted: Vec<Decoded>,
    emitted: usize,
    written: Written,
    aborted: bool,
    flushing: bool,
    closed: bool,
    /// The channel that the client is on, or was at the end.
    on: Option<ChannelId>,
    calls: u8,
}

impl World {
    fn new(config: client::Config) -> Self {
        let client = Client::new(Instant::ZERO, Arc::new(config), 7).expect("the options make sense");
        let mut world = Self {
            twin: client.clone(),
            client,
            now: Instant::ZERO,
            told: Instant::ZERO,
            outputs: Vec::new(),
            get: ExchangeId(0),
            post: ExchangeId(0),
            channel: ChannelId(0),
            largest: 0,
            gets: BTreeSet::new(),
            posts: BTreeSet::new(),
            channels: BTreeSet::new(),
            said: Vec::new(),
            goes_on: true,
            received: Vec::new(),
            pings: 0,
            pongs: 0,
            deaf: false,
            accepted: Vec::new(),
            emitted: 0,
            written: Written::default(),
            aborted: false,
            flushing: false,
            closed: false,
            on: None,
            calls: 0,
        };
        world.drain();
        world
    }

    fn step(&mut self, reader: &mut Reader<'_>) {
        const LETTERS: &[u8] = b"gGheEAoqfFjkzsSaryncXdtTwWVmUl";
        let frame = |frame| client::Input::ChannelFrame { channel: self.channel, frame };
        let well_known = |reader: &mut Reader<'_>| BODIES[usize::from(reader.below(BODIES.len() as u8))];
        let input = match reader.letter(LETTERS) {
            b'g' => client::Input::Answered { exchange: self.get, status: 200, body: data(reader) },
            b'G' => client::Input::Answered { exchange: self.get, status: 200, body: well_known(reader).into() },
            b'h' => client::Input::Answered { exchange: self.post, status: 200, body: Bytes::from_static(b"ok") },
            fail @ (b'e' | b'E') => {
                let exchange = if fail == b'e' { self.get } else { self.post };
                failure(exchange, reader.below(8))
            }
            b'A' => client::Input::Answered {
                exchange: ExchangeId(reader.below(16).into()),
                status: 200,
                body: Bytes::from_static(b"4stray"),
            },
            b'o' => client::Input::ChannelOpened { channel: self.channel },
            b'q' => {
                use ChannelEnd::{Closed, Lost, TooLarge, Unopened, Violation};
                let end = [Closed, Lost, Unopened, Violation, TooLarge][usize::from(reader.below(5))];
                let details = Some(Details::CloseFrame { code: 1006, reason: String::new() });
                client::Input::ChannelClosed { channel: self.channel, end, details }
            }
            b'f' => frame(Frame::received(Text::from_utf8_lossy(data(reader)))),
            b'F' => frame(Frame::Binary(data(reader))),
            b'j' => frame(Frame::received(well_known(reader).into())),
            b'k' => frame(Frame::received("3probe".into())),
            b'z' => client::Input::ChannelFrame { channel: ChannelId(0), frame: Frame::received("4stray".into()) },
            b's' => return self.play(&Call::Send(text_message(reader))).ignore(),
            b'S' => return self.play(&Call::Send(data(reader).into())).ignore(),
            b'a' => {
                let count = reader.below(4);
                let messages = (0..count).map(|_| text_message(reader)).collect();
                return self.play(&Call::SendAll(messages)).ignore();
            }
            b'r' => return self.play(&Call::Recv).ignore(),
            b'y' => return self.play(&Call::Ready).ignore(),
            b'n' => return self.play(&Call::Pull(self.channel)).ignore(),
            b'V' => return self.play(&Call::Written(self.channel, reader.below(10))).ignore(),
            b'm' => client::Input::ChannelWritten { channel: self.channel, messages: reader.below(255).into() },
            b'U' => client::Input::Unblocked,
            b'l' => return self.play(&Call::Await(reader.below(255).into())).ignore(),
            b'c' => return self.play(&Call::Close).ignore(),
            b'X' => return self.play(&Call::Abort).ignore(),
            b'd' => return self.play(&Call::Discard).ignore(),
            b't' => return self.now += Duration::from_millis(reader.below(255).into()),
            b'T' => return self.now += Duration::from_millis(10 * u64::from(reader.below(255))),
            b'W' => return self.sleep(Duration::from_millis(reader.below(255).into())),
            _ => return self.play(&Call::Wake).ignore(),
        };
        self.play(&Call::Input(input)).ignore();
    }

    fn play(&mut self, call: &Call) -> Answer {
        let packets = self.expect(call);
        let was_opening = self.client.state() == client::State::Opening;
        let answer = apply(&mut self.client, self.now, call);
        // Law 6: a repeated report may have a wrong value.
        let back = if self.told == self.now { Duration::from_millis(70) } else { Duration::ZERO };
        let past = Instant::from_micros(self.now.as_micros().saturating_sub(back.as_micros() as u64));
        assert_eq!(apply(&mut self.twin, past, call), answer, "law 7: {call:?}");
        if !matches!(call, Call::Ready | Call::Discard | Call::Await(_)) {
            self.told = self.now;
        }
        if let Some((packets, complete)) = packets {
            self.say(packets, complete, was_opening);
        }
        if self.client.state() == client::State::Channel {
            self.on = self.client.current_channel();
        }
        self.heed(call, &answer);
        self.drain();
        if matches!(call, Call::Wake) {
            let next = self.client.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "law 5: {next:?} at {:?}", self.now);
        }
        self.check();
        let harmless = match call {
            Call::Input(input) => matches!(input, client::Input::ChannelWritten { .. } | client::Input::Unblocked),
            Call::Pull(_) | Call::Written(..) | Call::Await(_) | Call::Ready => true,
            _ => false,
        };
        self.written.check(&self.client, harmless);
        // Not after every call, because it costs more than the call.
        self.calls = self.calls.wrapping_add(1);
        if self.calls % 4 == 0 {
            self.call_without_need();
        }
        answer
    }

    /// Waits until the client asks to be woken, and a little longer.
    fn sleep(&mut self, late: Duration) {
        if let Some(next) = self.client.next_timeout() {
            self.now = self.now.max(next) + late;
            self.play(&Call::Wake);
        }
    }

    /// Before a call: the packets that it brings to the session.
    fn expect(&mut self, call: &Call) -> Option<(Vec<Decoded>, bool)> {
        match call {
            Call::Input(client::Input::Answered { exchange, status: 200, body }) => {
                // The messages of a POST are written when it was answered.
                if self.posts.remove(exchange) {
                    self.written.exchange_written(*exchange);
                }
                let fits = body.len() <= self.client.config().max_payload;
                (self.gets.remove(exchange) && fits).then(|| decode_payload(body))
            }
            Call::Input(client::Input::Answered { exchange, .. } | client::Input::Failed { exchange, .. }) => {
                self.gets.remove(exchange);
                self.posts.remove(exchange);
                None
            }
            Call::Input(client::Input::ChannelFrame { channel, frame }) => {
                let is_on = self.client.current_channel() == Some(*channel)
                    && matches!(self.client.state(), client::State::Channel | client::State::Opening);
                let packet = decode_frame(frame);
                let complete = packet.is_some();
                is_on.then(|| (packet.into_iter().collect(), complete))
            }
            Call::Input(client::Input::ChannelClosed { channel, .. }) => {
                self.channels.remove(channel);
                None
            }
            Call::Input(client::Input::ChannelWritten { channel, messages }) => {
                self.expect_written(*channel, *messages);
                None
            }
            Call::Written(channel, behind) => {
                let messages = self.client.stats().messages_sent.saturating_sub((*behind).into());
                self.expect_written(*channel, messages);
                None
            }
            Call::Discard => {
                self.deaf = true;
                None
            }
            Call::Close => {
                self.written.close(true);
                None
            }
            Call::Abort => {
                (self.deaf, self.aborted) = (true, true);
                self.written.close(false);
                None
            }
            _ => None,
        }
    }

    /// The last frames of a session may be written after it has ended.
    fn expect_written(&mut self, channel: ChannelId, messages: u64) {
        if self.on == Some(channel) {
            self.written.channel_written(messages);
        }
    }

    /// The server has sent this. Without a handshake it does not count.
    fn say(&mut self, mut packets: Vec<Decoded>, complete: bool, was_opening: bool) {
        if was_opening {
            if self.client.sid().is_none() {
                return;
            }
            let open = packets.remove(0);
            assert!(matches!(&open, Decoded::Text('0', json) if is_open(json)), "{open:?} is no handshake");
        }
        for packet in packets {
            match packet {
                _ if !self.goes_on => (),
                Decoded::Text('1', _) => self.goes_on = false,
                Decoded::Text('2', _) => self.pings += 1,
                packet if is_message(&packet) => self.said.push(packet),
                _ => (),
            }
        }
        self.goes_on &= complete;
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
                assert_eq!(self.said.get(self.received.len()), Some(&carried(message)), "law 2");
                self.received.push(carried(message));
            }
            (_, Answer::Pulled(Some(frame))) => {
                let base64 = self.client.config().base64;
                assert!(!(base64 && matches!(frame, Frame::Binary(_))), "no binary is wanted");
                let packet = decode_frame(frame).expect("law 11");
                if is_message(&packet) {
                    self.written.leave_on_channel();
                }
                self.emit(&[packet]);
            }
            (Call::Await(messages), Answer::Awaited(is_written)) => self.written.asked(*messages, *is_written),
            _ => (),
        }
    }

    /// Packets leave.
    fn emit(&mut self, packets: &[Decoded]) {
        for packet in packets {
            match packet {
                packet if is_message(packet) => {
                    assert_eq!(self.accepted.get(self.emitted), Some(packet), "law 2");
                    self.emitted += 1;
                }
                Decoded::Text('3', data) => {
                    assert_eq!(data, "");
                    self.pongs += 1;
                    assert!(self.pongs <= self.pings, "nobody asked");
                }
                Decoded::Text('2', data) => assert_eq!(data, "probe"),
                Decoded::Text(kind, data) => assert!(matches!(kind, '1' | '5') && data.is_empty(), "{packet:?}"),
                Decoded::Binary(_) => unreachable!("it is a message"),
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            self.observe(&output);
            self.outputs.push(output);
        }
        assert!(!self.client.has_output());
    }

    fn observe(&mut self, output: &client::Output) {
        assert!(!self.closed, "law 3: {output:?} behind the end");
        match output {
            client::Output::Request { exchange, request } => {
                self.number(exchange.0);
                self.check_target(&request.target, TransportKind::Polling);
                if let Some(payload) = &request.body {
                    self.post = *exchange;
                    self.posts.insert(*exchange);
                    let body = payload.clone().into_bytes();
                    assert_eq!(request.headers(), client::Request::POST_HEADERS);
                    let (packets, complete) = decode_payload(&body);
                    let limit = self.client.max_payload().unwrap_or(usize::MAX);
                    assert!(complete && (body.len() <= limit || packets.len() == 1), "law 11: {packets:?}");
                    assert!(packets.len() <= self.client.config().max_packets, "law 11: {packets:?}");
                    let messages = packets.iter().filter(|packet| is_message(packet)).count();
                    if messages > 0 {
                        self.written.leave(*exchange, messages);
                    }
                    self.emit(&packets);
                } else {
                    self.get = *exchange;
                    self.gets.insert(*exchange);
                }
                assert!(self.gets.len() <= 1 && self.posts.len() <= 1, "law 1: {:?}, {:?}", self.gets, self.posts);
            }
            client::Output::Cancel { exchange } => {
                assert!(self.gets.remove(exchange) | self.posts.remove(exchange), "law 1: {output:?}");
            }
            client::Output::ChannelOpen { channel, target } => {
                self.number(channel.0);
                self.check_target(target, TransportKind::WebSocket);
                self.channel = *channel;
                self.channels.insert(*channel);
                assert_eq!(self.channels.len(), 1, "law 8");
            }
            client::Output::ChannelClose { channel } => assert!(self.channels.remove(channel), "law 1: {output:?}"),
            client::Output::ChannelReady { channel } | client::Output::ChannelRead { channel, .. } => {
                assert!(self.channels.contains(channel), "{output:?}");
            }
            client::Output::Event(event) => match event {
                Event::Flush { .. } => assert!(!std::mem::replace(&mut self.flushing, true), "a drain is missing"),
                Event::Drain => assert!(std::mem::replace(&mut self.flushing, false), "nothing was flushed"),
                Event::Written => self.written.told(),
                Event::Closed(reason) => {
                    self.closed = true;
                    assert_eq!(self.client.close_reason(), Some(*reason));
                }
                _ => (),
            },
        }
    }

    /// Numbers are given once.
    fn number(&mut self, number: u64) {
        assert!(number > self.largest, "{number} was given before");
        self.largest = number;
    }

    fn check_target(&self, target: &str, transport: TransportKind) {
        let query = target.strip_prefix("/engine.io/?").expect("the path");
        let all = |name: &str| {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.filter(|pair| pair.0 == name).map(|pair| pair.1).collect::<Vec<_>>()
        };
        assert_eq!((all("EIO"), all("transport")), (vec!["4"], vec![transport.name()]));
        assert_eq!(all("b64").len(), usize::from(self.client.config().base64));
        assert_eq!(all("t").len(), usize::from(transport == TransportKind::Polling));
        assert!(all("sid").len() <= 1);
    }

    fn check(&self) {
        let client = &self.client;
        client.check().expect("the laws that are seen from inside");
        self.twin.check().expect("the laws that are seen from inside");
        assert_eq!(client.is_finished(), self.closed, "law 3");
        if client.phase() == Phase::Closed {
            assert!(self.channels.is_empty() && self.gets.is_empty(), "law 1");
        }

        let config = client.config();
        let unsent: Vec<_> = client.unsent().map(Message::cost).collect();
        assert_eq!(client.send_buffered(), unsent.iter().sum::<usize>(), "law 4");
        let without_last: usize = unsent.iter().rev().skip(1).sum();
        assert!(unsent.len() <= 1 || without_last < config.send_limit, "law 4: {unsent:?}");
        let largest = 3 * 255 + Message::OVERHEAD;
        assert!(client.receive_buffered() < config.receive_limit + largest, "law 4");
        if !self.aborted {
            assert_eq!(self.emitted + unsent.len(), self.accepted.len(), "law 2: messages vanished");
        }
    }

    /// Law 6.
    fn call_without_need(&mut self) {
        let mut client = self.client.clone();
        // The client may not have been told the time yet.
        client.next_frame(self.now, ChannelId(u64::MAX));
        let before = client.clone();
        if client.next_timeout().is_none_or(|next| next > self.now) {
            client.handle_timeout(self.now);
        }
        assert_eq!(client.poll_output(), None);
        let (exchange, channel) = (ExchangeId(u64::MAX), ChannelId(u64::MAX));
        assert_eq!(client.next_frame(Instant::ZERO, channel), None);
        let frame = Frame::received("3probe".into());
        for input in [
            client::Input::Answered { exchange, status: 200, body: "4stray".into() },
            client::Input::Failed { exchange, error: RequestError::Lost },
            client::Input::ChannelOpened { channel },
            client::Input::ChannelWritten { channel, messages: 0 },
            client::Input::ChannelFrame { channel, frame },
            client::Input::ChannelClosed { channel, end: ChannelEnd::Closed, details: None },
        ] {
            client.handle_input(Instant::ZERO, input);
        }
        assert!(client == before, "law 6: {client:#?}\nis not\n{before:#?}");
    }

    /// The server is silent, and the application takes everything that has arrived, and then the end.
    fn end(&mut self) {
        while matches!(self.play(&Call::Recv), Answer::Received(Some(_))) {}
        if !self.deaf && matches!(self.client.phase(), Phase::Open | Phase::Closing) {
            assert_eq!(self.received, self.said, "law 2");
        }
        for _ in 0..50 {
            while matches!(self.play(&Call::Recv), Answer::Received(Some(_))) {}
            if self.closed {
                break;
            }
            self.sleep(Duration::ZERO);
        }
        assert!(self.closed && self.client.next_timeout().is_none(), "law 12: {:#?}", self.client);
        assert_eq!(self.client.receive_buffered(), 0, "law 12");
        let late: Vec<_> = std::iter::from_fn(|| self.twin.poll_output()).collect();
        assert_eq!(late, self.outputs, "law 7");
        assert!(self.twin == self.client, "law 7: {:#?}\nis not\n{:#?}", self.twin, self.client);
    }
}

fn failure(exchange: ExchangeId, number: u8) -> client::Input {
    let answered = |status| client::Input::Answered { exchange, status, body: Bytes::from_static(b"no") };
    let failed = |error| client::Input::Failed { exchange, error };
    match number {
        0 => failed(RequestError::Lost),
        1 => failed(RequestError::Timeout),
        2 => failed(RequestError::TooLarge),
        3 => failed(RequestError::Unreachable),
        4 => failed(RequestError::Status(400)),
        5 => answered(413),
        6 => answered(400),
        _ => answered(503),
    }
}

/// Returns whether it is the data of an open packet, at least of the parts that every server sends.
fn is_open(json: &str) -> bool {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(json) else { return false };
    let sid = json["sid"].as_str().is_some_and(|sid| !sid.is_empty());
    let is_number = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
        None => value.is_number(),
    };
    let upgrades = json["upgrades"].is_array() || json["upgrades"].is_null();
    sid && upgrades && is_number(&json["pingInterval"]) && is_number(&json["pingTimeout"])
}
