//! The model: a second, plain formulation of the rules, in terms of what client and application can see.
//!
//! Where the rules leave a choice, which is when exactly a further poll is released, the model knows the bounds only,
//! and `judge` checks them.

use std::collections::VecDeque;

use engineio_proto::server::State;
use engineio_proto::{ChannelEnd, CloseReason, Instant, Phase, TransportError, TransportKind};

use crate::alphabet::Word;
use crate::explore_common::by::{By, More};
use crate::explore_common::ledger::Ledger;
use crate::explore_common::said::Said;
use crate::explore_common::wire::Heard;
use crate::setting::{
    BODY_TIMEOUT, CLOSE_TIMEOUT, CONFIRM_TIMEOUT, INTERVAL, RECEIVE_LIMIT, START, UPGRADE_TIMEOUT, open_packet,
};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The open packet.
    Open,
    /// A ping, messages, or both.
    Data(Vec<Heard>),
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
    /// So many packets are about to leave.
    pub flush: Option<usize>,
    /// All that the last Flush announced has left.
    pub drain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    pub now: Instant,
    pub state: State,
    /// The transport that it is on, or was at the end.
    pub transport: TransportKind,
    pub upgraded: bool,
    pub closing: Option<By>,
    pub reason: Option<CloseReason>,
    /// The application was told that the session is over.
    pub told: bool,
    /// The application was told that it is over, before it has taken everything.
    pub ended: bool,

    /// The open packet was not handed over yet.
    pub opening: bool,
    /// On polling, until a further request names the session: when one must.
    pub confirm_by: Option<By>,
    pub get: Option<u64>,
    pub post: Post,
    /// When the body of the POST must be there.
    pub body_by: By,
    pub channel: Option<u64>,
    /// The channel that messages travel on, or did so until the end.
    pub carrier: Option<u64>,
    pub probe_deadline: By,
    /// How many `3probe` are owed.
    pub pongs: u32,
    /// When a poll was released in this probe.
    pub released: Option<Instant>,

    /// From the client to the application: what can be taken, what is in order behind it, what waits for a POST.
    pub unread: VecDeque<Said>,
    pub waiting: VecDeque<Item>,
    pub behind: VecDeque<Item>,
    pub wanted: bool,
    /// From the application to the client: what was not handed over, and what became of the rest.
    pub queue: VecDeque<Said>,
    pub ledger: Ledger,
    /// The application waits until so many messages are written.
    pub awaited: Option<u64>,

    pub ping: Ping,
    /// When the first other packet than a pong came since the ping was due.
    pub extended: Option<Instant>,
    /// The application was slow meanwhile, so that the client's packets could not come: it gets one more timeout.
    pub excused: bool,
    /// When it was, messages were not written, and none was since.
    pub stalled: bool,
    /// The client got more time because a body was being received.
    pub put_off: bool,
    /// The client gets more time because the host stood still.
    pub more: More,

    /// What the embedder was told: to read, that there are frames, that there are messages.
    pub reading: bool,
    pub ready: bool,
    pub readable: bool,
    /// How many messages waited when one was refused; until there was room again.
    pub full: Option<usize>,
    /// How many packets the last Flush announced, until its Drain.
    pub flushing: Option<usize>,
    /// How many of those on the channel were not pulled.
    pub batch: usize,

    pub due: Due,
}

impl Model {
    pub fn new(state: State) -> Self {
        let on_channel = state == State::Channel;
        Self {
            now: START,
            state,
            transport: if on_channel { TransportKind::WebSocket } else { TransportKind::Polling },
            upgraded: false,
            closing: None,
            reason: None,
            told: false,
            ended: false,
            opening: true,
            confirm_by: (!on_channel).then_some(By::new(START + CONFIRM_TIMEOUT)),
            get: None,
            post: Post::Free,
            body_by: By::new(START),
            channel: on_channel.then_some(1),
            carrier: on_channel.then_some(1),
            probe_deadline: By::new(START),
            pongs: 0,
            released: None,
            unread: VecDeque::new(),
            waiting: VecDeque::new(),
            behind: VecDeque::new(),
            wanted: true,
            queue: VecDeque::new(),
            ledger: Ledger::default(),
            awaited: None,
            ping: Ping::Due(START + INTERVAL),
            extended: None,
            excused: false,
            stalled: false,
            put_off: false,
            more: More::Unused,
            reading: true,
            ready: false,
            readable: false,
            full: None,
            flushing: None,
            batch: 0,
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

    /// Messages accepted so far.
    pub fn accepted(&self) -> u64 {
        self.ledger.handed + self.queue.len() as u64
    }

    /// Whether every accepted message is written.
    pub fn is_written(&self) -> bool {
        self.ledger.written == self.accepted()
    }

    /// Whether a ping waits to be handed over. A closing session sends none.
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

    pub fn answer(&mut self, exchange: u64, answer: Answer) {
        self.due.answers.push((exchange, answer));
    }

    // What the transports do.

    pub fn get(&mut self, id: u64) {
        self.confirm_by = self.confirm_by.filter(|_| self.opening);
        match (self.state, self.get) {
            (State::Closed, _) => self.answer(id, Answer::Rejected(1)),
            (State::Channel, _) => self.answer(id, Answer::Rejected(3)),
            (_, Some(_)) => {
                self.answer(id, Answer::Refused);
                self.end(CloseReason::TransportError(TransportError::PollOverlap), false);
            }
            (_, None) => {
                self.get = Some(id);
                if self.closing.is_some() {
                    // It sends no pings: this shows that the client is there.
                    self.breathe();
                    if !self.opening && self.is_written() {
                        self.get = None;
                        self.answer(id, Answer::Bare(b"61"));
                        self.end(CloseReason::ForcedClose, false);
                    }
                }
            }
        }
    }

    pub fn get_lost(&mut self, id: u64) {
        if self.get == Some(id) {
            self.get = None;
        } else if !self.ledger.unwritten().any(|unwritten| unwritten == id) {
            // What is written cannot be lost.
            return;
        }
        self.end(CloseReason::TransportError(TransportError::PollLost), false);
    }

    pub fn answer_written(&mut self, id: u64) {
        // From now on the client can know the id.
        self.confirm_by = self.confirm_by.map(|_| By::new(self.now + CONFIRM_TIMEOUT));
        let news = self.ledger.exchange_written(id);
        self.stalled &= !news;
    }

    pub fn head(&mut self, id: u64, octet_stream: bool) {
        self.confirm_by = None;
        let error = match (self.state, self.post) {
            (State::Closed, _) => return self.answer(id, Answer::Rejected(1)),
            (State::Channel, _) => return self.answer(id, Answer::Rejected(3)),
            (_, Post::Free) if octet_stream => TransportError::InvalidContent,
            (_, Post::Free) => {
                self.post = Post::Receiving(id);
                self.body_by = By::new(self.now + BODY_TIMEOUT);
                return;
            }
            _ => TransportError::PostOverlap,
        };
        self.answer(id, Answer::Refused);
        self.end(CloseReason::TransportError(error), false);
    }

    /// The body of the POST that is under way.
    pub fn body(&mut self, id: u64, items: impl Iterator<Item = Item>) {
        self.post = Post::Held(id);
        self.forgive_body();
        self.waiting.extend(items);
        self.waiting.push_back(Item::PostEnd);
        self.waiting.append(&mut self.behind);
    }

    /// The body of the POST that is under way does not come.
    pub fn no_body(&mut self, id: u64, answer: Answer, error: TransportError) {
        self.post = Post::Free;
        self.answer(id, answer);
        // The messages of that body are lost, so nothing behind them counts.
        self.behind.clear();
        self.end(CloseReason::TransportError(error), false);
    }

    pub fn post_lost(&mut self, id: u64) {
        match self.post {
            Post::Receiving(post) if post == id => self.behind.clear(),
            Post::Held(post) if post == id => (),
            _ => return,
        }
        self.post = Post::Free;
        self.end(CloseReason::TransportError(TransportError::PostLost), false);
    }

    pub fn open(&mut self, id: u64) {
        self.confirm_by = None;
        if self.state != State::Polling {
            return self.due.closes.push(id);
        }
        self.state = State::Probing;
        self.channel = Some(id);
        self.probe_deadline = By::new(self.now + UPGRADE_TIMEOUT);
        self.released = None;
    }

    /// A packet on the channel of a probe.
    pub fn probe_frame(&mut self, word: Word) {
        match word {
            Word::Probe => {
                self.state = State::Probed;
                self.pongs += 1;
                self.due.upgradings += 1;
            }
            Word::Upgrade => {
                self.state = State::Channel;
                self.transport = TransportKind::WebSocket;
                self.upgraded = true;
                self.carrier = self.channel;
                self.due.upgraded = true;
                if let Some(id) = self.get.take() {
                    self.answer(id, Answer::Bare(b"6"));
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
    }

    /// The channel that the session is on, or was, has written everything up to this message.
    pub fn channel_written(&mut self, messages: u64) {
        let news = self.ledger.channel_written(messages);
        self.stalled &= !news;
    }

    /// A connection takes more again: the client reads.
    pub fn unblocked(&mut self) {
        self.breathe();
        self.stalled = false;
    }

    pub fn gone(&mut self, end: ChannelEnd) {
        match self.state {
            State::Channel => {
                self.channel = None;
                let reason = match end {
                    ChannelEnd::Closed | ChannelEnd::Lost | ChannelEnd::Unopened => CloseReason::TransportClose,
                    ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
                    ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
                };
                self.end(reason, false);
            }
            _ => self.fail_probe(false),
        }
    }

    pub fn fail_probe(&mut self, close: bool) {
        self.state = State::Polling;
        self.due.closes.extend(self.channel.take().filter(|_| close));
        self.pongs = 0;
        self.ready = false;
    }

    // What the application does.

    pub fn send(&mut self, said: &[Said]) {
        self.queue.extend(said);
    }

    /// Waits until so many messages are written.
    pub fn wait_for(&mut self, messages: u64) -> bool {
        let written = self.ledger.written >= messages;
        if !written && self.reason.is_none() {
            self.awaited = Some(self.awaited.map_or(messages, |awaited| awaited.min(messages)));
        }
        written
    }

    pub fn recv(&mut self) -> Option<Said> {
        let said = self.unread.pop_front();
        self.readable &= said.is_some();
        said
    }

    pub fn close(&mut self) {
        if self.phase() != Phase::Open {
            return;
        }
        self.closing = Some(By::new(self.now + CLOSE_TIMEOUT));
        self.unread.clear();
    }

    pub fn abort(&mut self) {
        // Whatever was asked for before: this is no end in order.
        self.closing = None;
        self.unread.clear();
        self.end(CloseReason::ForcedClose, false);
        self.drop_waiting(Answer::Accepted);
    }

    pub fn discard(&mut self) {
        self.wanted = false;
        self.unread.clear();
    }

    // What the client takes, and time.

    /// The packet that a pull must bring.
    pub fn pull(&mut self) -> Option<Heard> {
        let heard = self.next_frame();
        self.ready &= heard.is_some();
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
        if !self.has_frames() {
            return None;
        }
        let pings = usize::from(self.owes_ping());
        let begins = self.batch == 0;
        if begins {
            self.batch = self.queue.len() + pings;
            self.due.flush = Some(self.batch);
        }
        if pings == 0 {
            self.batch -= 1;
            self.due.drain = self.batch == 0;
            self.ledger.give_to_channel();
            return self.queue.pop_front().map(Said::heard);
        }
        // One that is due later slips in, and was not announced.
        self.batch -= usize::from(begins);
        self.due.drain = self.batch == 0;
        self.ping = Ping::Sent(self.now);
        self.more = More::Unused;
        Some(Heard::new(b'2', ""))
    }
}
