//! What must happen: a second, plain telling of the rules, in terms of what client and application can see.
//!
//! Where the rules leave a choice (when exactly a poll is released, when exactly a silent client is given up), the
//! model knows the bounds only, and `judge` checks them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::{ChannelEnd, CloseReason, Config, Instant, Message, Phase, State, TransportError, Transports};

use crate::alphabet::Word;
use crate::wire::{Heard, base64_encode};

pub const START: Instant = Instant::from_millis(1000);
pub const INTERVAL: Duration = Duration::from_millis(250);
pub const TIMEOUT: Duration = Duration::from_millis(200);
pub const UPGRADE_TIMEOUT: Duration = Duration::from_millis(350);
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(325);
/// A while that is shorter than all of these.
pub const WAIT: Duration = Duration::from_millis(120);
/// Two small messages fit, a third does not.
pub const SEND_LIMIT: usize = 100;
pub const SEND_LOW: usize = 50;
/// Any message fills the receive buffer.
pub const RECEIVE_LIMIT: usize = 1;
/// A ping and a text, or a text and bytes, but not all three.
pub const MAX_PAYLOAD: usize = 9;
/// How long a poll may be held at most while a probe was answered, and how soon the next one may be released.
pub const RELEASE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

pub fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.ping_interval = INTERVAL;
    config.ping_timeout = TIMEOUT;
    config.upgrade_timeout = UPGRADE_TIMEOUT;
    config.close_timeout = CLOSE_TIMEOUT;
    config.max_payload = MAX_PAYLOAD;
    config.transports = Transports::ALL;
    config.send_limit = SEND_LIMIT;
    config.send_low = SEND_LOW;
    config.receive_limit = RECEIVE_LIMIT;
    config.validate().unwrap();
    config.into()
}

/// A message, by who sent it and as which of theirs. Odd ones are text, even ones are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Said(pub u8, pub u8);

impl Said {
    /// What it counts for in a buffer.
    pub const COST: usize = 2 + Message::OVERHEAD;

    fn is_text(self) -> bool {
        self.1 % 2 == 1
    }

    fn bytes(self) -> [u8; 2] {
        [self.0, b'0' + self.1]
    }

    pub fn message(self) -> Message {
        match self.bytes() {
            bytes if self.is_text() => Message::from(std::str::from_utf8(&bytes).unwrap()),
            bytes => Message::from(bytes.to_vec()),
        }
    }

    pub fn heard(self) -> Heard {
        Heard::new(if self.is_text() { b'4' } else { b'b' }, self.bytes())
    }

    /// The packet in the form that is always text.
    pub fn text(self) -> String {
        match self.bytes() {
            bytes if self.is_text() => format!("4{}", std::str::from_utf8(&bytes).unwrap()),
            bytes => format!("b{}", base64_encode(&bytes)),
        }
    }

    /// The frame of a WebSocket: bytes as they are.
    pub fn frame(self) -> engineio_proto::Frame {
        if self.is_text() {
            engineio_proto::Frame::received(self.text().as_str().into())
        } else {
            engineio_proto::Frame::Binary(Bytes::copy_from_slice(&self.bytes()))
        }
    }
}

/// Something of the client that waits to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Message(Said),
    Other(Word),
    /// Behind the last packet of a POST.
    PostEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Post {
    Free,
    Receiving(u64),
    Held(u64),
}

/// Where the heartbeat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ping {
    /// The next one is due then.
    Due(Instant),
    /// It was due then and has not left.
    Owed(Instant),
    /// It left then.
    Sent(Instant),
    Off,
}

/// How an exchange must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The open packet.
    Open,
    /// A ping, messages, or both.
    Data,
    /// These packets without data.
    Bare(&'static [u8]),
    Accepted,
    Refused,
    TooLarge,
    Timeout,
    /// An error with this code.
    Rejected(u8),
    Aborted,
}

/// What the step under way must bring. Empty between steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Due {
    pub answers: Vec<(u64, Answer)>,
    pub closes: Vec<u64>,
    pub heartbeats: u32,
    pub upgradings: u32,
    pub upgraded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    pub now: Instant,
    pub state: State,
    pub upgraded: bool,
    pub closing: Option<Instant>,
    pub reason: Option<CloseReason>,
    /// The application was told that the session is over.
    pub told: bool,

    /// The open packet was not handed over yet.
    pub opening: bool,
    pub get: Option<u64>,
    /// The latest GET whose answer carried messages.
    pub answered: Option<u64>,
    pub post: Post,
    pub channel: Option<u64>,
    pub probe_deadline: Instant,
    /// How many `3probe` are owed.
    pub pongs: u32,
    /// When a poll was released in this probe.
    pub released: Option<Instant>,

    /// From the client to the application: what can be taken, what is in order behind it, what waits for a POST.
    pub unread: VecDeque<Said>,
    pub waiting: VecDeque<Item>,
    pub behind: VecDeque<Item>,
    pub wanted: bool,
    /// From the application to the client.
    pub queue: VecDeque<Said>,

    pub ping: Ping,
    /// When the first other packet than a pong came since the ping was due.
    pub extended: Option<Instant>,
    /// The application was slow at some time since the ping was due, so that the client's packets could not come.
    pub excused: bool,
    /// When a frame was pulled with more behind it.
    pub left: Option<Instant>,

    /// What the embedder was told: to read, that there are frames, messages, that there is no room.
    pub reading: bool,
    pub ready: bool,
    pub readable: bool,
    pub full: bool,
    pub flushing: bool,

    pub due: Due,
}

impl Model {
    pub fn new(state: State) -> Self {
        let on_channel = state == State::Channel;
        Self {
            now: START,
            state,
            upgraded: false,
            closing: None,
            reason: None,
            told: false,
            opening: true,
            get: None,
            answered: None,
            post: Post::Free,
            channel: on_channel.then_some(1),
            probe_deadline: START,
            pongs: 0,
            released: None,
            unread: VecDeque::new(),
            waiting: VecDeque::new(),
            behind: VecDeque::new(),
            wanted: true,
            queue: VecDeque::new(),
            ping: Ping::Due(START + INTERVAL),
            extended: None,
            excused: false,
            left: None,
            reading: true,
            ready: false,
            readable: false,
            full: false,
            flushing: false,
            due: Due::default(),
        }
    }

    pub fn phase(&self) -> Phase {
        match (self.reason, self.closing) {
            (Some(_), _) => Phase::Closed,
            (None, Some(_)) => Phase::Closing,
            (None, None) => Phase::Open,
        }
    }

    pub fn on_polling(&self) -> bool {
        matches!(self.state, State::Polling | State::Probing | State::Probed)
    }

    pub fn cost(messages: &VecDeque<Said>) -> usize {
        messages.len() * Said::COST
    }

    /// Whether the ping is owed to whoever comes for packets.
    pub fn owes_ping(&self) -> bool {
        matches!(self.ping, Ping::Owed(_)) && self.closing.is_none()
    }

    pub fn has_frames(&self) -> bool {
        let on_channel = self.opening || self.owes_ping() || !self.queue.is_empty();
        self.pongs > 0 || self.state == State::Channel && on_channel
    }

    /// Whether a frame may be read from the channel.
    pub fn wants_frames(&self) -> bool {
        let receiving = matches!(self.post, Post::Receiving(_));
        self.waiting.is_empty() && self.behind.is_empty() && self.has_inbox_room() && !receiving
    }

    pub fn has_inbox_room(&self) -> bool {
        Self::cost(&self.unread) < RECEIVE_LIMIT
    }

    fn answer(&mut self, exchange: u64, answer: Answer) {
        self.due.answers.push((exchange, answer));
    }

    // What the transports do.

    pub fn get(&mut self, id: u64) {
        match (self.state, self.get) {
            (State::Closed, _) => self.answer(id, Answer::Rejected(1)),
            (State::Channel, _) => self.answer(id, Answer::Rejected(3)),
            (_, Some(_)) => {
                self.answer(id, Answer::Refused);
                self.end(CloseReason::TransportError(TransportError::PollOverlap), false);
            }
            (_, None) => {
                self.get = Some(id);
                self.answer_poll();
            }
        }
    }

    pub fn get_lost(&mut self, id: u64) {
        if self.get == Some(id) {
            self.get = None;
        } else if self.answered != Some(id) {
            return;
        }
        self.lost(TransportError::PollLost);
    }

    pub fn head(&mut self, id: u64, octet_stream: bool) {
        let error = match (self.state, self.post) {
            (State::Closed, _) => return self.answer(id, Answer::Rejected(1)),
            (State::Channel, _) => return self.answer(id, Answer::Rejected(3)),
            (_, Post::Free) if octet_stream => TransportError::InvalidContent,
            (_, Post::Free) => return self.post = Post::Receiving(id),
            _ => TransportError::PostOverlap,
        };
        self.answer(id, Answer::Refused);
        self.end(CloseReason::TransportError(error), false);
    }

    /// The body of the POST that is under way.
    pub fn body(&mut self, id: u64, items: impl Iterator<Item = Item>) {
        self.post = Post::Held(id);
        self.waiting.extend(items);
        self.waiting.push_back(Item::PostEnd);
        self.no_post_before_frames();
    }

    pub fn body_too_large(&mut self, id: u64) {
        self.post = Post::Free;
        self.answer(id, Answer::TooLarge);
        self.no_post_before_frames();
    }

    pub fn body_timeout(&mut self, id: u64) {
        self.post = Post::Free;
        self.answer(id, Answer::Timeout);
        // The messages of that body are lost, so nothing behind them counts.
        self.behind.clear();
        self.end(CloseReason::TransportError(TransportError::PostTimeout), false);
    }

    pub fn post_lost(&mut self, id: u64) {
        match self.post {
            Post::Receiving(post) if post == id => self.behind.clear(),
            Post::Held(post) if post == id => (),
            _ => return,
        }
        self.post = Post::Free;
        self.lost(TransportError::PostLost);
    }

    /// Whoever asked for the end gets it, even if the client leaves first.
    fn lost(&mut self, error: TransportError) {
        let closing = self.phase() == Phase::Closing;
        self.end(if closing { CloseReason::ForcedClose } else { CloseReason::TransportError(error) }, false);
    }

    fn no_post_before_frames(&mut self) {
        self.waiting.append(&mut self.behind);
        self.pump();
    }

    pub fn open(&mut self, id: u64) {
        if self.state != State::Polling {
            return self.due.closes.push(id);
        }
        self.state = State::Probing;
        self.channel = Some(id);
        self.probe_deadline = self.now + UPGRADE_TIMEOUT;
        self.released = None;
    }

    /// A packet on the channel of a probe.
    pub fn probe_frame(&mut self, word: Word) {
        match word {
            Word::Probe => {
                self.state = State::Probed;
                self.pongs += 1;
                self.due.upgradings += 1;
                self.answer_poll();
            }
            Word::Upgrade => {
                self.state = State::Channel;
                self.upgraded = true;
                self.due.upgraded = true;
                if let Some(id) = self.get.take() {
                    self.answer(id, Answer::Bare(b"6"));
                }
                if self.closing.is_some() && !self.has_frames() {
                    self.end(CloseReason::ForcedClose, false);
                }
            }
            _ => self.fail_probe(true),
        }
    }

    /// A packet on the channel that the session is on.
    pub fn frame(&mut self, item: Item) {
        match self.post {
            Post::Receiving(_) => self.behind.push_back(item),
            _ => self.waiting.push_back(item),
        }
        self.pump();
    }

    pub fn gone(&mut self, end: ChannelEnd) {
        match self.state {
            State::Channel => {
                self.channel = None;
                let reason = match end {
                    ChannelEnd::Closed => CloseReason::TransportClose,
                    ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
                    ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
                };
                self.end(reason, false);
            }
            _ => self.fail_probe(false),
        }
    }

    fn fail_probe(&mut self, close: bool) {
        self.state = State::Polling;
        self.due.closes.extend(self.channel.take().filter(|_| close));
        self.pongs = 0;
        self.ready = false;
        self.left = None;
    }

    // What the application does.

    pub fn send(&mut self, said: Said) {
        self.queue.push_back(said);
        self.answer_poll();
    }

    pub fn recv(&mut self) -> Option<Said> {
        let said = self.unread.pop_front();
        self.readable &= said.is_some();
        self.pump();
        said
    }

    pub fn close(&mut self) {
        if self.phase() != Phase::Open {
            return;
        }
        self.closing = Some(self.now + CLOSE_TIMEOUT);
        self.unread.clear();
        let done = if self.on_polling() { self.get.is_some() } else { !self.has_frames() };
        if done { self.end(CloseReason::ForcedClose, false) } else { self.pump() }
    }

    pub fn abort(&mut self) {
        self.queue.clear();
        self.unread.clear();
        self.end(CloseReason::ForcedClose, false);
        self.drop_waiting(Answer::Accepted);
    }

    pub fn discard(&mut self) {
        self.wanted = false;
        self.unread.clear();
        self.pump();
    }

    // What the client takes, and time.

    /// The packet that a pull must bring.
    pub fn pull(&mut self) -> Option<Heard> {
        let heard = self.next_frame();
        self.ready &= heard.is_some();
        self.left = self.has_frames().then_some(self.now);
        if self.state == State::Channel && self.closing.is_some() && !self.has_frames() {
            self.end(CloseReason::ForcedClose, false);
        }
        heard
    }

    fn next_frame(&mut self) -> Option<Heard> {
        if self.pongs > 0 {
            self.pongs -= 1;
            return Some(Heard::new(b'3', "probe"));
        }
        if self.state != State::Channel {
            return None;
        }
        if self.opening {
            self.opening = false;
            return Some(Heard::new(b'0', open_packet(&[])));
        }
        if let (Ping::Sent(_), Some(left)) = (self.ping, self.left) {
            if left < self.now {
                // The channel was full and is not any more: the client reads.
                self.ping = Ping::Sent(self.now);
            }
        }
        if self.owes_ping() {
            self.ping = Ping::Sent(self.now);
            return Some(Heard::new(b'2', ""));
        }
        self.queue.pop_front().map(Said::heard)
    }

    /// Time passed and the session was woken. `given_up`: it says that the client is dead; `judge` asks whether it may.
    pub fn tick(&mut self, given_up: Option<CloseReason>) {
        if self.closing.is_some_and(|at| at <= self.now) {
            self.end(CloseReason::ForcedClose, false);
        }
        match self.ping {
            Ping::Due(at) if at <= self.now => {
                self.ping = Ping::Owed(self.now);
                self.extended = None;
                self.excused = false;
                self.answer_poll();
            }
            Ping::Owed(_) | Ping::Sent(_) if given_up.is_some() => {
                self.may_give_up(given_up);
                self.end(given_up.unwrap(), false);
            }
            Ping::Owed(_) | Ping::Sent(_) => {
                assert!(self.excused || Some(self.now) < self.patience(), "law 9: a silent client lives on");
            }
            Ping::Due(_) | Ping::Off => (),
        }
        if matches!(self.state, State::Probing | State::Probed) && self.probe_deadline <= self.now {
            self.fail_probe(true);
        }
        self.answer_poll();
    }

    /// Until when the client may be silent, unless it is excused.
    pub fn patience(&self) -> Option<Instant> {
        match self.ping {
            Ping::Owed(since) | Ping::Sent(since) => Some(since.max(self.extended.unwrap_or(since)) + TIMEOUT),
            Ping::Due(_) | Ping::Off => None,
        }
    }

    fn may_give_up(&self, reason: Option<CloseReason>) {
        let expected = match self.ping {
            Ping::Owed(_) if self.state == State::Channel || self.full => {
                CloseReason::TransportError(TransportError::SlowConsumer)
            }
            _ => CloseReason::PingTimeout,
        };
        assert_eq!(reason, Some(expected), "law 3: the true reason");
        assert!(Some(self.now) >= self.patience(), "law 9: a client was given up too early");
    }

    // The rules behind all of this.

    fn answer_poll(&mut self) {
        let Some(id) = self.get else { return };
        if self.opening {
            self.opening = false;
            self.answer(id, Answer::Open);
        } else if !self.queue.is_empty() || self.owes_ping() {
            // The judge takes out of the queue what it finds in the answer.
            self.answer(id, Answer::Data);
            self.answered = Some(id);
        } else if self.closing.is_some() {
            self.get = None;
            self.answer(id, Answer::Bare(b"61"));
            return self.end(CloseReason::ForcedClose, false);
        } else if self.state == State::Probed && self.released.is_none() {
            self.released = Some(self.now);
            self.answer(id, Answer::Bare(b"6"));
        } else {
            return;
        }
        self.get = None;
    }

    /// Handles what waits, as far as there is room.
    fn pump(&mut self) {
        while self.has_inbox_room() {
            let Some(item) = self.waiting.pop_front() else { break };
            self.handle(item);
        }
    }

    fn handle(&mut self, item: Item) {
        let phase = self.phase();
        match item {
            Item::PostEnd => return self.end_post(Answer::Accepted),
            Item::Other(Word::Pong) => match self.ping {
                Ping::Owed(_) => self.ping = Ping::Owed(self.now),
                Ping::Due(_) | Ping::Sent(_) => self.ping = Ping::Due(self.now + INTERVAL),
                Ping::Off => (),
            },
            Item::Other(Word::Junk) => (),
            Item::Message(_) | Item::Other(_) => {
                let pinged = matches!(self.ping, Ping::Owed(_) | Ping::Sent(_));
                self.extended = self.extended.or(pinged.then_some(self.now));
            }
        }
        match (item, phase) {
            (Item::Message(_), Phase::Closing) => (),
            (Item::Message(said), _) => self.unread.extend(self.wanted.then_some(said)),
            (Item::Other(Word::Pong), Phase::Open | Phase::Closing) => self.due.heartbeats += 1,
            (Item::Other(Word::Close), Phase::Open | Phase::Closing) => self.end(CloseReason::TransportClose, true),
            (Item::Other(Word::Probe), Phase::Open) => {
                self.end(CloseReason::TransportError(TransportError::HeartbeatDirection), false);
            }
            (Item::Other(Word::Junk), Phase::Open) => self.end(CloseReason::ParseError, false),
            (Item::Other(Word::Junk), _) => self.drop_waiting(Answer::Rejected(3)),
            (Item::Other(Word::Close | Word::Probe), Phase::Closed) => self.drop_waiting(Answer::Accepted),
            _ => (),
        }
    }

    fn end_post(&mut self, answer: Answer) {
        if let Post::Held(id) = self.post {
            self.post = Post::Free;
            self.answer(id, answer);
        }
    }

    fn drop_waiting(&mut self, answer: Answer) {
        self.end_post(answer);
        self.waiting.clear();
        self.behind.clear();
    }

    /// The end. `by_packet`: the client said so itself, so that nothing behind it counts.
    fn end(&mut self, reason: CloseReason, by_packet: bool) {
        if self.reason.is_some() {
            return;
        }
        if let Some(id) = self.get.take() {
            let farewell: &[u8] = if reason == CloseReason::TransportClose { b"6" } else { b"1" };
            self.answer(id, Answer::Bare(farewell));
        }
        if let Post::Receiving(id) = self.post {
            self.post = Post::Free;
            self.answer(id, Answer::Aborted);
            self.behind.clear();
        }
        self.reason = Some(reason);
        self.state = State::Closed;
        self.closing = None;
        self.opening = false;
        self.pongs = 0;
        self.ping = Ping::Off;
        self.due.closes.extend(self.channel.take());
        match reason {
            CloseReason::ParseError | CloseReason::TransportError(TransportError::HeartbeatDirection) => {
                self.drop_waiting(Answer::Rejected(3));
            }
            CloseReason::ForcedClose => self.drop_waiting(Answer::Accepted),
            CloseReason::TransportClose if by_packet => self.drop_waiting(Answer::Accepted),
            _ => self.end_post(Answer::Accepted),
        }
        self.pump();
    }
}

/// The data of the open packet.
pub fn open_packet(upgrades: &[&str]) -> String {
    let upgrades: Vec<_> = upgrades.iter().map(|name| format!("{name:?}")).collect();
    format!(
        r#"{{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[{}],"pingInterval":250,"pingTimeout":200,"maxPayload":9}}"#,
        upgrades.join(",")
    )
}
