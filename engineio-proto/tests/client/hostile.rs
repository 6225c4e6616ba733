//! What holds against a server that says anything at any time, for an application that does anything, and for an
//! embedder that is early or late: the laws 3 to 7 and 13.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::client::{self, Details};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, Event, ExchangeId, Instant, Message, Phase, RequestError, SendError, TransportKind,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::cases::{SEED, cases};

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Op {
    Answer(Which, u16, Bytes),
    Fail(Which, RequestError),
    Opened(Which),
    Frame(Which, Frame),
    ChannelClosed(Which, ChannelEnd),
    Send(Message),
    SendAll(Vec<Message>),
    Ready,
    Recv,
    Close,
    Abort,
    Discard,
    Pull(Which),
    /// This many microseconds pass, and the client is woken or not.
    Time(u64, bool),
}

/// The request or channel that an operation is about.
#[derive(Clone, Copy, Debug)]
enum Which {
    LastGet,
    LastPost,
    Channel,
    /// Any number, which may be over, or of another kind, or of nobody.
    Any(u64),
}

/// What is called, with all numbers known.
#[derive(Clone, Debug)]
enum Call {
    Input(client::Input),
    App(Op),
    Pull(ChannelId),
}

/// What a call answered.
#[derive(Debug, PartialEq)]
enum Answer {
    Nothing,
    Ready(bool),
    Sent(Result<(), SendError>),
    SentAll(Result<(), SendError<Vec<Message>>>),
    Received(Option<Message>),
    Pulled(Option<Frame>),
}

fn open_packet() -> impl Strategy<Value = String> {
    let upgrades = prop_oneof![4 => Just(r#""websocket""#), 1 => Just(""), 1 => Just(r#""x","websocket""#)];
    let timeout = prop_oneof![4 => Just(80_u64), 1 => Just(0), 1 => Just(u64::MAX)];
    (upgrades, 1_u32..60, timeout).prop_map(|(upgrades, limit, timeout)| {
        let limit = if limit > 50 { String::new() } else { format!(r#","maxPayload":{limit}"#) };
        format!(r#"0{{"sid":"abc","upgrades":[{upgrades}],"pingInterval":100,"pingTimeout":{timeout}{limit}}}"#)
    })
}

fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        5 => open_packet().prop_map(Bytes::from),
        1 => open_packet().prop_map(|open| Bytes::from(format!("{open}\x1e4a\x1e2"))),
        4 => "4[a-z]{0,9}(\u{1e}4[a-z]{0,9}){0,6}".prop_map(Bytes::from),
        4 => Just(Bytes::from_static(b"6")),
        3 => Just(Bytes::from_static(b"2")),
        2 => Just(Bytes::from_static(b"2\x1e4a\x1e2\x1e4b\x1e2")),
        1 => "4a\u{1e}(b[A-Za-z]{0,8}|1|2|3|5|6|x|0)\u{1e}4b".prop_map(Bytes::from),
        1 => vec(any::<u8>(), 0..200).prop_map(Bytes::from),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let text = |text: &str| Frame::received(text.into());
    prop_oneof![
        4 => Just(text("3probe")),
        3 => open_packet().prop_map(|text| Frame::received(text.as_str().into())),
        4 => Just(text("2")),
        1 => Just(text("6")),
        5 => "4[a-z]{0,9}".prop_map(|text| Frame::received(text.as_str().into())),
        2 => vec(any::<u8>(), 0..30).prop_map(|bytes| Frame::Binary(bytes.into())),
        1 => "[0-6bx]?.{0,3}".prop_map(|text| Frame::received(text.as_str().into())),
    ]
}

fn error() -> impl Strategy<Value = RequestError> {
    use RequestError::{Lost, Status, Timeout, TooLarge, Unreachable};
    prop_oneof![Just(Lost), Just(Timeout), Just(TooLarge), Just(Unreachable), Just(Status(400)), Just(Status(413))]
}

fn request() -> impl Strategy<Value = Which> {
    prop_oneof![6 => Just(Which::LastGet), 4 => Just(Which::LastPost), 1 => (0_u64..12).prop_map(Which::Any)]
}

fn channel() -> impl Strategy<Value = Which> {
    prop_oneof![9 => Just(Which::Channel), 1 => (0_u64..12).prop_map(Which::Any)]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        3 => "[a-z]{0,40}".prop_map(Message::from),
        1 => ".{0,9}".prop_map(Message::from),
        2 => vec(any::<u8>(), 0..40).prop_map(Message::from),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    use ChannelEnd::{Closed, TooLarge, Unopened, Violation};
    let status = prop_oneof![12 => Just(200_u16), 1 => Just(204), 1 => Just(400), 1 => any::<u16>()];
    let end = prop_oneof![Just(Closed), Just(Unopened), Just(Violation), Just(TooLarge)];
    prop_oneof![
        40 => (request(), status, body()).prop_map(|(which, status, body)| Op::Answer(which, status, body)),
        1 => (request(), error()).prop_map(|(which, error)| Op::Fail(which, error)),
        10 => channel().prop_map(Op::Opened),
        24 => (channel(), frame()).prop_map(|(which, frame)| Op::Frame(which, frame)),
        1 => (channel(), end).prop_map(|(which, end)| Op::ChannelClosed(which, end)),
        16 => message().prop_map(Op::Send),
        4 => vec(message(), 0..4).prop_map(Op::SendAll),
        2 => Just(Op::Ready),
        24 => Just(Op::Recv),
        16 => channel().prop_map(Op::Pull),
        14 => (0_u64..60_000, any::<bool>()).prop_map(|(micros, wake)| Op::Time(micros, wake)),
        1 => Just(Op::Close),
        1 => prop_oneof![Just(Op::Abort), Just(Op::Discard)],
    ]
}

/// Where a client begins, so that not all of them get stuck at the door.
#[derive(Clone, Copy, Debug)]
enum Start {
    Nothing,
    TryingAll,
    WebSocketFirst,
    Polling,
    Offered,
    OnChannel,
}

fn start() -> impl Strategy<Value = Start> {
    use Start::{Nothing, Offered, OnChannel, Polling, TryingAll, WebSocketFirst};
    prop_oneof![
        2 => Just(Nothing), 2 => Just(TryingAll), 2 => Just(WebSocketFirst),
        3 => Just(Polling), 6 => Just(Offered), 4 => Just(OnChannel),
    ]
}

/// Limits that are reached soon.
fn config() -> client::Config {
    let mut config = client::Config::default();
    config.open_timeout = Duration::from_millis(60);
    config.upgrade_timeout = Duration::from_millis(60);
    config.close_timeout = Duration::from_millis(120);
    config.max_payload = 150;
    config.send_limit = 160;
    config.send_low = 60;
    config.receive_limit = 100;
    config
}

/// How many outputs one call may lead to.
const OUTPUTS_OF_A_CALL: usize = 12;

/// One client by itself, and what its embedder knows.
#[derive(Debug)]
struct Lone {
    client: Client,
    now: Instant,
    get: ExchangeId,
    post: ExchangeId,
    channel: ChannelId,
    /// There are frames to pull.
    ready: bool,
    closed: usize,
}

impl Lone {
    fn new(start: Start) -> Self {
        let mut config = config();
        match start {
            Start::TryingAll => config.try_all_transports = true,
            Start::WebSocketFirst | Start::OnChannel => config.transports.reverse(),
            _ => (),
        }
        let client = Client::new(Instant::ZERO, Arc::new(config), 7).unwrap();
        let (none, channel) = (ExchangeId(0), ChannelId(0));
        let mut lone = Self { client, now: Instant::ZERO, get: none, post: none, channel, ready: false, closed: 0 };
        lone.drain();
        let open = |upgrades: &str| {
            format!(r#"0{{"sid":"abc","upgrades":[{upgrades}],"pingInterval":100,"pingTimeout":80,"maxPayload":50}}"#)
        };
        let answer = |body: String| Op::Answer(Which::LastGet, 200, body.into());
        match start {
            Start::Polling => _ = lone.play(&answer(open(""))),
            Start::Offered => {
                lone.play(&answer(open(r#""websocket""#)));
                lone.drain();
                lone.play(&Op::Opened(Which::Channel));
                lone.drain();
                lone.play(&Op::Pull(Which::Channel));
            }
            Start::OnChannel => {
                lone.play(&Op::Opened(Which::Channel));
                lone.play(&Op::Frame(Which::Channel, Frame::received(open("").as_str().into())));
            }
            _ => (),
        }
        lone.drain();
        lone
    }

    fn drain(&mut self) -> Vec<client::Output> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.client.poll_output()).collect();
        for output in &outputs {
            assert_eq!(self.closed, 0, "law 3: {output:?} follows the end");
            match output {
                client::Output::Request { exchange, request } if request.body.is_some() => self.post = *exchange,
                client::Output::Request { exchange, .. } => self.get = *exchange,
                client::Output::ChannelOpen { channel, .. } => (self.channel, self.ready) = (*channel, false),
                client::Output::ChannelReady { .. } => self.ready = true,
                client::Output::ChannelClose { .. } => self.ready = false,
                client::Output::Event(Event::Closed(_)) => self.closed += 1,
                _ => (),
            }
        }
        outputs
    }

    fn number(&self, which: Which) -> u64 {
        match which {
            Which::LastGet => self.get.0,
            Which::LastPost => self.post.0,
            Which::Channel => self.channel.0,
            Which::Any(number) => number,
        }
    }

    /// What an operation is for this client.
    fn call(&self, op: &Op) -> Call {
        let exchange = |which| ExchangeId(self.number(which));
        let channel = |which| ChannelId(self.number(which));
        Call::Input(match op.clone() {
            Op::Answer(which, status, body) => client::Input::Answered { exchange: exchange(which), status, body },
            Op::Fail(which, error) => client::Input::Failed { exchange: exchange(which), error },
            Op::Opened(which) => client::Input::ChannelOpened { channel: channel(which) },
            Op::Frame(which, frame) => client::Input::ChannelFrame { channel: channel(which), frame },
            Op::ChannelClosed(which, end) => {
                let details = Some(Details::CloseFrame { code: 1006, reason: String::new() });
                client::Input::ChannelClosed { channel: channel(which), end, details }
            }
            Op::Pull(which) => return Call::Pull(channel(which)),
            op => return Call::App(op),
        })
    }

    fn time(&self, op: &Op) -> Instant {
        match op {
            Op::Time(micros, _) => self.now + Duration::from_micros(*micros),
            _ => self.now,
        }
    }

    fn play(&mut self, op: &Op) -> Answer {
        let call = self.call(op);
        self.now = self.time(op);
        let answer = self.play_at(self.now, &call);
        if answer == Answer::Pulled(None) && matches!(call, Call::Pull(channel) if channel == self.channel) {
            self.ready = false;
        }
        answer
    }

    /// With a time of its own.
    fn play_at(&mut self, now: Instant, call: &Call) -> Answer {
        let answer = play(&mut self.client, now, call);
        self.client.check().unwrap();
        answer
    }

    fn wake(&mut self) {
        self.client.handle_timeout(self.now);
        self.client.check().unwrap();
        let next = self.client.next_timeout();
        let end_of_time = self.now.as_micros() == u64::MAX;
        assert!(end_of_time || next.is_none_or(|next| next > self.now), "law 5: {next:?} at {:?}", self.now);
    }

    fn check_limits(&self) {
        let config = self.client.config();
        let sent: Vec<_> = self.client.unsent().map(Message::cost).collect();
        assert_eq!(self.client.send_buffered(), sent.iter().sum::<usize>(), "law 4");
        let without_last: usize = sent.iter().rev().skip(1).sum();
        assert!(sent.len() <= 1 || without_last < config.send_limit, "law 4");
        // Broken UTF-8 grows when it is replaced.
        let largest = 3 * config.max_payload + Message::OVERHEAD;
        assert!(self.client.receive_buffered() < config.receive_limit + largest, "law 4");
    }

    /// The server is silent, time passes, and the application takes what there is.
    fn end(&mut self) {
        for _ in 0..50 {
            self.drain();
            while self.client.recv(self.now).is_some() {}
            self.drain();
            let Some(next) = self.client.next_timeout() else { break };
            self.now = self.now.max(next);
            self.wake();
        }
        self.drain();
        assert_eq!((self.closed, self.client.is_finished(), self.client.next_timeout()), (1, true, None), "law 3");
    }
}

fn play(client: &mut Client, now: Instant, call: &Call) -> Answer {
    match call {
        Call::Input(input) => client.handle_input(now, input.clone()),
        Call::Pull(channel) => return Answer::Pulled(client.next_frame(now, *channel)),
        Call::App(op) => match op {
            Op::Send(message) => return Answer::Sent(client.send(now, message.clone())),
            Op::SendAll(messages) => return Answer::SentAll(client.send_all(now, messages.clone())),
            Op::Ready => return Answer::Ready(client.poll_ready()),
            Op::Recv => return Answer::Received(client.recv(now)),
            Op::Close => client.close(now),
            Op::Abort => client.abort(now),
            Op::Discard => client.discard_incoming(),
            Op::Time(_, true) => client.handle_timeout(now),
            _ => (),
        },
    }
    Answer::Nothing
}

proptest! {
    #![proptest_config(cases(48))]

    /// Laws 3, 4, 5 and 13. Outputs are pulled now and then.
    #[test]
    fn a_hostile_server_achieves_nothing(start in start(), ops in vec((op(), 0_u8..4), 1..300)) {
        let mut lone = Lone::new(start);
        let mut calls = 0;
        for (op, drain) in &ops {
            lone.play(op);
            lone.check_limits();
            calls += 1;
            if *drain == 0 {
                let outputs = lone.drain().len();
                prop_assert!(outputs <= calls * OUTPUTS_OF_A_CALL, "{} outputs of {} calls", outputs, calls);
                calls = 0;
            }
        }
        lone.end();
    }

    /// Law 5: what was due is done, or moved into the future.
    #[test]
    fn what_is_due_is_done(start in start(), ops in vec((op(), 0_u64..60_000), 1..300)) {
        let mut lone = Lone::new(start);
        for (op, late) in &ops {
            lone.play(op);
            prop_assert!(lone.drain().len() <= OUTPUTS_OF_A_CALL);
            let Some(next) = lone.client.next_timeout() else { continue };
            // Not always, or nothing would live long.
            if *late < 20_000 {
                lone.now = lone.now.max(Instant::from_micros(next.as_micros().saturating_add(*late)));
                lone.wake();
            }
        }
        lone.end();
    }

    /// Law 6: calls without need change nothing.
    #[test]
    fn calls_without_need_change_nothing(start in start(), ops in vec(op(), 1..200)) {
        let mut lone = Lone::new(start);
        for op in &ops {
            lone.play(op);
            lone.drain();
            // Of the time it may not know yet.
            lone.client.next_frame(lone.now, ChannelId(u64::MAX));
            // And once that there is nothing means: tell me when there is.
            let empty = lone.client.receive_buffered() == 0;
            if empty {
                lone.client.recv(lone.now);
            }
            let before = lone.client.clone();
            let (now, client) = (lone.now, &mut lone.client);
            if client.next_timeout().is_none_or(|next| next > now) {
                client.handle_timeout(now);
            }
            prop_assert_eq!(client.poll_output(), None);
            if !lone.ready {
                prop_assert_eq!(client.next_frame(now, lone.channel), None);
            }
            let (exchange, channel) = (ExchangeId(u64::MAX), ChannelId(u64::MAX));
            prop_assert_eq!(client.next_frame(now, channel), None);
            for input in [
                client::Input::Answered { exchange, status: 200, body: "4a".into() },
                client::Input::Failed { exchange, error: RequestError::Lost },
                client::Input::ChannelOpened { channel },
                client::Input::ChannelFrame { channel, frame: Frame::received("3probe".into()) },
                client::Input::ChannelClosed { channel, end: ChannelEnd::Closed, details: None },
            ] {
                client.handle_input(now, input);
            }
            if matches!(client.phase(), Phase::Closing | Phase::Closed) {
                client.close(now);
            }
            // An abort also drops what could not be sent.
            if client.is_finished() && client.unsent().next().is_none() {
                client.abort(now);
            }
            if empty {
                prop_assert_eq!(client.recv(now), None);
            }
            prop_assert!(lone.client == before, "{:#?}\nis not\n{:#?}", lone.client, before);
        }
    }

    /// Law 7: drained after every call or at the end, the outputs are the same. Law 10 is this with nothing changed.
    #[test]
    fn draining_late_changes_nothing(start in start(), ops in vec(op(), 1..300)) {
        let (mut early, mut late) = (Lone::new(start), Lone::new(start));
        let mut outputs = Vec::new();
        for op in &ops {
            let call = early.call(op);
            let now = early.time(op);
            prop_assert_eq!(early.play(op), late.play_at(now, &call));
            outputs.extend(early.drain());
        }
        prop_assert_eq!(late.drain(), outputs);
        prop_assert!(late.client == early.client);
    }

    /// Law 6: a time that goes backwards counts as the latest.
    #[test]
    fn time_is_clamped(start in start(), ops in vec((op(), 0_u64..50_000), 1..200)) {
        let (mut straight, mut jumping) = (Lone::new(start), Lone::new(start));
        for (op, back) in &ops {
            let call = straight.call(op);
            let now = straight.time(op);
            straight.client.handle_timeout(now);
            jumping.client.handle_timeout(now);
            let past = Instant::from_micros(now.as_micros().saturating_sub(*back));
            prop_assert_eq!(straight.play(op), jumping.play_at(past, &call));
            prop_assert!(straight.client == jumping.client);
            prop_assert_eq!(straight.drain(), jumping.drain());
        }
    }
}

/// The strategies can make what the rules tell apart; a property about nothing would hold too.
#[test]
fn the_hostile_server_reaches_what_it_should() {
    let config = ProptestConfig { rng_seed: RngSeed::Fixed(SEED), ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let (starts, ops) = (start(), vec(op(), 60));
    let mut reached = BTreeSet::new();
    for _ in 0..1000 {
        let mut lone = Lone::new(starts.new_tree(&mut runner).unwrap().current());
        for op in ops.new_tree(&mut runner).unwrap().current() {
            lone.play(&op);
            reached.extend(lone.drain().iter().filter_map(|output| match output {
                client::Output::Event(Event::Flush { .. }) => Some("Flush".to_owned()),
                client::Output::Event(event) => Some(format!("{event:?}")),
                _ => None,
            }));
            reached.insert(format!("{:?}", lone.client.state()));
            reached.insert(format!("{:?}", lone.client.phase()));
            reached.extend(lone.client.close_reason().map(|reason| reason.to_string()));
            if lone.client.transport() == TransportKind::WebSocket && lone.client.upgraded() {
                reached.insert("upgraded, and told something".into());
            }
        }
    }
    let expected = [
        "Opening",
        "Polling",
        "Probing",
        "Pausing",
        "Channel",
        "Closed",
        "Closing",
        "Open",
        "Opened",
        "Readable",
        "Writable",
        "Flush",
        "Drain",
        "Heartbeat",
        "Upgrading(WebSocket)",
        "Upgraded(WebSocket)",
        "UpgradeFailed(TransportClosed)",
        "UpgradeFailed(UnexpectedPacket)",
        "UpgradeFailed(Timeout)",
        "UpgradeFailed(SessionClosed)",
        "transport close",
        "ping timeout",
        "forced close",
        "transport error: server error: invalid handshake",
        "transport error: server error: invalid packet",
        "transport error: the session did not open in time",
        "transport error: websocket error",
    ];
    for name in expected {
        assert!(reached.contains(name), "{name} was not reached: {reached:#?}");
    }
}

/// The clock stands still at its last moment, where no deadline lies in the future any more.
#[test]
fn the_end_of_time_ends() {
    let end = Instant::from_micros(u64::MAX);
    for start in [Start::Nothing, Start::TryingAll, Start::Polling, Start::Offered, Start::OnChannel] {
        let mut lone = Lone::new(start);
        for op in [Op::Send("a".into()), Op::Time(u64::MAX, true), Op::Send("b".into()), Op::Close] {
            lone.play(&op);
        }
        assert_eq!(lone.now, end);
        for _ in 0..9 {
            lone.client.handle_timeout(end);
            lone.client.check().unwrap();
        }
        while lone.client.recv(end).is_some() {}
        lone.drain();
        assert!(lone.client.is_finished(), "{start:?}");
    }
}
