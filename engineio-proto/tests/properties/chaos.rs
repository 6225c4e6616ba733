//! Random runs: any input with any small number, any call, at any time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::http::{Method, Rejection, Request};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, Overflow, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, Event, ExchangeId, Instant, Message, SendError, Server, Session, Sid};
use proptest::prelude::*;

/// How many sessions a crowd tries to have; the server takes one less.
pub const SESSIONS: usize = 4;

/// The exchange that opens a session on polling.
const FIRST: ExchangeId = ExchangeId(1);

/// Opens a session, on polling or on channel 1.
fn open(server: &mut Server, now: Instant, sid: Sid, on_channel: bool, base64: bool) -> Result<SessionKey, Rejection> {
    let (query, entry) = if on_channel {
        ("EIO=4&transport=websocket", Entry::Channel { channel: ChannelId(1), head: None })
    } else {
        ("EIO=4&transport=polling", Entry::Exchange { exchange: FIRST, octet_stream: false })
    };
    let query = if base64 { format!("{query}&b64=1") } else { query.into() };
    let request = Request { method: Method::Get, query: &query, origin: None, upgrade: on_channel };
    let admission = Admission::begin(&request, server.config())?;
    server.admit(now, admission, entry, Some(sid)).map_err(|error| match error {
        NotAdmitted::Rejected(rejection) => rejection,
        other => unreachable!("{other}"),
    })
}

/// One thing that an embedder may do.
#[derive(Clone, Debug)]
pub enum Op {
    Input(Input),
    Send(Message),
    SendAll(Vec<Message>),
    Ready,
    Recv,
    Close,
    Abort,
    Discard,
    Pull(ChannelId),
    /// This many microseconds pass, and the session is woken or not.
    Time(u64, bool),
}

/// What a call answered.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Nothing,
    Ready(bool),
    Sent(Result<(), SendError>),
    SentAll(Result<(), SendError<Vec<Message>>>),
    Received(Option<Message>),
    Pulled(Option<Frame>),
}

/// Few numbers, so that they meet.
fn exchange() -> impl Strategy<Value = ExchangeId> {
    (0_u64..4).prop_map(ExchangeId)
}

fn channel() -> impl Strategy<Value = ChannelId> {
    prop_oneof![3 => Just(ChannelId(1)), 1 => Just(ChannelId(2))]
}

fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => "4[a-z]{0,9}(\u{1e}4[a-z]{0,9}){0,4}".prop_map(Bytes::from),
        1 => "4a\u{1e}(b[A-Za-z]{0,8}|1|2|3|5|6|x)\u{1e}4b".prop_map(Bytes::from),
        1 => Just(Bytes::from_static(b"3")),
        1 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(Bytes::from),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let text = |text: &str| Frame::received(text.into());
    prop_oneof![
        3 => Just(text("2probe")),
        2 => Just(text("5")),
        3 => Just(text("3")),
        4 => "4[a-z]{0,9}".prop_map(|text| Frame::received(text.as_str().into())),
        2 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(|bytes| Frame::Binary(bytes.into())),
        1 => "[0-6bx]?.{0,3}".prop_map(|text| Frame::received(text.as_str().into())),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let end = prop_oneof![Just(ChannelEnd::Closed), Just(ChannelEnd::Violation), Just(ChannelEnd::TooLarge)];
    prop_oneof![
        6 => exchange().prop_map(|exchange| Input::Poll { exchange }),
        5 => (exchange(), prop::bool::weighted(0.02))
            .prop_map(|(exchange, octet_stream)| Input::PostHead { exchange, octet_stream }),
        8 => (exchange(), body()).prop_map(|(exchange, body)| Input::PostBody { exchange, body: Ok(body) }),
        1 => exchange().prop_map(|exchange| Input::PostBody { exchange, body: Err(BodyError::TooLarge) }),
        6 => exchange().prop_map(|exchange| Input::AnswerWritten { exchange }),
        3 => (channel(), 0..9_u64).prop_map(|(channel, messages)| Input::ChannelWritten { channel, messages }),
        1 => Just(Input::Unblocked),
        1 => exchange().prop_map(|exchange| Input::ExchangeLost { exchange }),
        3 => (channel(), any::<bool>()).prop_map(|(channel, base64)| Input::ChannelOpened { channel, base64 }),
        8 => (channel(), frame()).prop_map(|(channel, frame)| Input::ChannelFrame { channel, frame }),
        1 => (channel(), end).prop_map(|(channel, end)| Input::ChannelClosed { channel, end }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        3 => "[a-z]{0,40}".prop_map(Message::from),
        1 => ".{0,9}".prop_map(Message::from),
        2 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Message::from),
    ]
}

pub fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        50 => input().prop_map(Op::Input),
        16 => message().prop_map(Op::Send),
        4 => proptest::collection::vec(message(), 0..4).prop_map(Op::SendAll),
        2 => Just(Op::Ready),
        20 => Just(Op::Recv),
        16 => channel().prop_map(Op::Pull),
        24 => (0_u64..60_000, any::<bool>()).prop_map(|(micros, wake)| Op::Time(micros, wake)),
        1 => Just(Op::Close),
        1 => Just(Op::Abort),
        1 => Just(Op::Discard),
    ]
}

/// Limits that are reached soon.
fn config() -> Config {
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(100);
    config.ping_timeout = Duration::from_millis(80);
    config.upgrade_timeout = Duration::from_millis(150);
    config.close_timeout = Duration::from_millis(120);
    config.body_timeout = Duration::from_millis(150);
    config.max_payload = 24;
    config.send_limit = 160;
    config.send_low = 60;
    config.receive_limit = 100;
    config.max_sessions = SESSIONS - 1;
    config.initial_message = Some("hello".into());
    config
}

fn play(session: &mut Session, now: Instant, op: &Op) -> Answer {
    match op {
        Op::Input(input) => session.handle_input(now, input.clone()),
        Op::Send(message) => return Answer::Sent(session.send(message.clone())),
        Op::SendAll(messages) => return Answer::SentAll(session.send_all(messages.clone())),
        Op::Ready => return Answer::Ready(session.poll_ready()),
        Op::Recv => return Answer::Received(session.recv(now)),
        Op::Close => session.close(now),
        Op::Abort => session.abort(now),
        Op::Discard => session.discard_incoming(),
        Op::Pull(channel) => return Answer::Pulled(session.next_frame(now, *channel)),
        Op::Time(_, wake) => {
            if *wake {
                session.handle_timeout(now);
            }
        }
    }
    Answer::Nothing
}

/// One session by itself.
#[derive(Debug)]
pub struct Lone {
    pub session: Session,
    pub now: Instant,
}

impl Lone {
    pub fn new(on_channel: bool) -> Self {
        let (now, sid, config) = (Instant::ZERO, Sid::from_entropy([1; 15]), Arc::new(config()));
        let session = match on_channel {
            true => Session::channel(now, sid, config, ChannelId(1), false),
            false => Session::polling(now, sid, config),
        };
        Self { session, now }
    }

    /// On polling, with limits that are large but for what is changed.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.send_low = 0;
        change(&mut config);
        let (now, sid) = (Instant::ZERO, Sid::from_entropy([1; 15]));
        Self { session: Session::polling(now, sid, Arc::new(config)), now }
    }

    /// The body that a poll is answered with, unless it is held.
    pub fn get(&mut self) -> Option<Bytes> {
        self.session.handle_input(self.now, Input::Poll { exchange: ExchangeId(1) });
        self.session.handle_input(self.now, Input::AnswerWritten { exchange: ExchangeId(1) });
        self.drain().into_iter().find_map(|output| match output {
            Output::Respond { response, .. } => Some(response.into_reply().body),
            _ => None,
        })
    }

    /// What time it is behind an operation.
    pub fn time(&self, op: &Op) -> Instant {
        match op {
            Op::Time(micros, _) => self.now + Duration::from_micros(*micros),
            _ => self.now,
        }
    }

    pub fn play(&mut self, op: &Op) -> Answer {
        self.now = self.time(op);
        self.play_at(self.now, op)
    }

    /// With a time of its own.
    pub fn play_at(&mut self, now: Instant, op: &Op) -> Answer {
        let answer = play(&mut self.session, now, op);
        self.session.check().unwrap();
        answer
    }

    pub fn drain(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }
}

/// Many sessions in a server.
#[derive(Debug)]
pub struct Crowd {
    server: Server,
    now: Instant,
    keys: [Option<SessionKey>; SESSIONS],
    opened: u8,
    closed: u8,
}

impl Crowd {
    pub fn new() -> Self {
        let mut config = config();
        config.overflow = Overflow::Close;
        let server = Server::new(config).unwrap();
        Self { server, now: Instant::ZERO, keys: [None; SESSIONS], opened: 0, closed: 0 }
    }

    /// One operation of one session; it is opened when there is none.
    pub fn play(&mut self, who: usize, op: &Op) {
        if let Op::Time(micros, wake) = op {
            self.now += Duration::from_micros(*micros);
            if *wake {
                self.wake();
            }
        } else if let Some(mut session) = self.keys[who].and_then(|key| self.server.session_mut(key)) {
            play(&mut session, self.now, op);
        } else {
            self.open(who);
        }
        // Now and then some outputs are drained.
        for _ in 0..who {
            self.pull();
        }
        self.check();
    }

    fn open(&mut self, who: usize) {
        let on_channel = self.opened % 2 == 1;
        let sid = Sid::from_entropy([self.opened; 15]);
        match open(&mut self.server, self.now, sid.clone(), on_channel, who == 0) {
            Ok(key) => {
                self.keys[who] = Some(key);
                self.opened = self.opened.wrapping_add(1);
                assert_eq!(self.server.find(&sid), Some(key));
            }
            Err(rejection) => assert_eq!(rejection.status(), 503, "{rejection}"),
        }
    }

    fn pull(&mut self) -> bool {
        let Some((key, output)) = self.server.poll_output() else { return false };
        if let Output::Event(Event::Closed(_)) = output {
            let who = self.keys.iter().position(|known| *known == Some(key));
            self.keys[who.expect("law 3: Closed is told once")] = None;
            self.closed = self.closed.wrapping_add(1);
        }
        true
    }

    fn wake(&mut self) {
        self.server.handle_timeout(self.now);
        let next = self.server.next_timeout();
        assert!(next.is_none_or(|next| next > self.now), "law 5: {next:?} at {:?}", self.now);
    }

    fn check(&self) {
        self.server.check().unwrap();
        assert!(self.server.len() < SESSIONS);
        let config = self.server.config();
        for session in self.keys.iter().flatten().filter_map(|&key| self.server.session(key)) {
            let sent: Vec<_> = session.unsent().map(Message::cost).collect();
            assert_eq!(session.send_buffered(), sent.iter().sum::<usize>(), "law 4");
            let without_last: usize = sent.iter().rev().skip(1).sum();
            assert!(sent.len() <= 1 || without_last < config.send_limit, "law 4");
            let largest = 3 * config.max_payload + Message::OVERHEAD;
            assert!(session.receive_buffered() < config.receive_limit + largest, "law 4");
        }
    }

    /// Everybody leaves: the clients are silent, the applications take what there is. Nothing may be left.
    pub fn end(&mut self) {
        for _ in 0..200 {
            while self.pull() {}
            for key in self.keys.into_iter().flatten() {
                while self.server.session_mut(key).is_some_and(|mut session| session.recv(self.now).is_some()) {}
            }
            let Some(next) = self.server.next_timeout() else { break };
            self.now = self.now.max(next);
            self.wake();
            self.check();
        }
        while self.pull() {}
        assert!(self.server.is_empty() && self.server.next_timeout().is_none(), "law 3: {:#?}", self.server);
        assert_eq!((self.keys, self.closed), ([None; SESSIONS], self.opened), "law 3: a session leaked");
    }
}

/// Sessions in a server, and the same ones alone.
#[derive(Debug)]
pub struct Beside {
    server: Server,
    now: Instant,
    members: Vec<(SessionKey, Lone, Vec<Output>)>,
}

impl Beside {
    pub fn new() -> Self {
        let mut server = Server::new(config()).unwrap();
        let mut members = Vec::new();
        for number in 0..SESSIONS - 1 {
            let on_channel = number == 1;
            let sid = Sid::from_entropy([number as u8; 15]);
            let channel = on_channel.then_some(ChannelId(1));
            let key = open(&mut server, Instant::ZERO, sid.clone(), on_channel, false).unwrap();
            let config = Arc::clone(server.config());
            let session = match channel {
                Some(channel) => Session::channel(Instant::ZERO, sid, config, channel, false),
                None => {
                    let mut session = Session::polling(Instant::ZERO, sid, config);
                    session.handle_input(Instant::ZERO, Input::Poll { exchange: FIRST });
                    session
                }
            };
            members.push((key, Lone { session, now: Instant::ZERO }, Vec::new()));
        }
        Self { server, now: Instant::ZERO, members }
    }

    pub fn play(&mut self, who: usize, op: &Op) {
        if let Op::Time(micros, wake) = op {
            self.now += Duration::from_micros(*micros);
            if *wake {
                self.server.handle_timeout(self.now);
                for (_, alone, _) in &mut self.members {
                    // The server does not wake those that did not ask for it.
                    if alone.session.next_timeout().is_some_and(|next| next <= self.now) {
                        alone.session.handle_timeout(self.now);
                    }
                }
            }
        } else {
            let (key, alone, _) = &mut self.members[who];
            // One that has left is not there for a late request any more.
            let Some(mut session) = self.server.session_mut(*key) else { return };
            assert_eq!(play(&mut session, self.now, op), alone.play_at(self.now, op));
        }
        self.server.check().unwrap();
        for (key, alone, _) in &self.members {
            let Some(session) = self.server.session(*key) else { continue };
            assert_eq!(session.next_timeout(), alone.session.next_timeout());
            assert_eq!(session.stats(), alone.session.stats());
            assert_eq!(session.send_buffered(), alone.session.send_buffered());
            assert_eq!(session.receive_buffered(), alone.session.receive_buffered());
            assert_eq!((session.state(), session.phase()), (alone.session.state(), alone.session.phase()));
        }
    }

    pub fn pull(&mut self, most: usize) {
        for _ in 0..most {
            let Some((key, output)) = self.server.poll_output() else { break };
            let member = self.members.iter_mut().find(|member| member.0 == key);
            member.expect("one of them").2.push(output);
        }
    }

    /// Behind the last pull: the outputs are the same.
    pub fn compare(&mut self) {
        for (key, alone, outputs) in &mut self.members {
            assert_eq!(*outputs, alone.drain(), "{key:?}");
        }
    }
}
