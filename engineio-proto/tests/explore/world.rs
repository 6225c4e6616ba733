//! A session and the model of it, and one step of both.

use bytes::Bytes;
use engineio_proto::server::{BodyError, Input, Output, Row, State, TRANSITIONS, Trigger};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, Event, ExchangeId, Instant, Message, Phase, SendError, Session, Sid, TransportError};

use crate::alphabet::{EVERYTHING, Op, Word};
use crate::epilogue;
use crate::explore_common::batches;
use crate::explore_common::by::STANDSTILL;
use crate::explore_common::fingerprint;
use crate::explore_common::said::Said;
use crate::explore_common::search::Explored;
use crate::explore_common::streams;
use crate::explore_common::wire::{self, Heard};
use crate::judge::POSTS;
use crate::model::{self, Item, Model, Ping, Post};
use crate::setting::{SEND_LIMIT, START, WAIT, config};

/// A channel that no session ever heard of.
const STRAY: ChannelId = ChannelId(99);
/// The same of an exchange.
const UNKNOWN: u64 = 999;

#[derive(Clone, PartialEq, Eq)]
pub struct World {
    session: Session,
    pub model: Model,
    numbers: Numbers,
    late: Option<Late>,
}

/// The same session with an embedder that never drained it, and what it should find there.
#[derive(Clone, PartialEq, Eq)]
struct Late {
    session: Session,
    log: Vec<Output>,
}

/// The latest numbers given away. Exchanges have the lowest number that the session cannot know any more, so that worlds
/// do not differ by names only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Numbers {
    channels: u64,
    /// Of the messages of either side.
    by_client: u8,
    by_server: u8,
}

/// A letter as the call that it stands for.
enum Call {
    Input(Input),
    Send(Message),
    SendAll(Vec<Message>),
    Await(u64),
    Recv,
    Close,
    Abort,
    Discard,
    Pull(ChannelId),
    Tick,
}

/// What a call answers.
#[derive(Debug, PartialEq)]
enum Answer {
    Nothing,
    Sent(Result<(), SendError>),
    SentAll(Result<(), SendError<Vec<Message>>>),
    Written(bool),
    Received(Option<Message>),
    Pulled(Option<Frame>),
}

impl Call {
    fn apply(&self, session: &mut Session, now: Instant) -> Answer {
        match self {
            Self::Input(input) => session.handle_input(now, input.clone()),
            Self::Send(message) => return Answer::Sent(session.send(message.clone())),
            Self::SendAll(messages) => return Answer::SentAll(session.send_all(messages.clone())),
            Self::Await(messages) => return Answer::Written(session.poll_written(*messages)),
            Self::Recv => return Answer::Received(session.recv(now)),
            Self::Close => session.close(now),
            Self::Abort => session.abort(now),
            Self::Discard => session.discard_incoming(),
            Self::Pull(channel) => return Answer::Pulled(session.next_frame(now, *channel)),
            Self::Tick => session.handle_timeout(now),
        }
        Answer::Nothing
    }
}

fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

impl World {
    /// A session that begins on polling or on a channel.
    pub fn new(state: State) -> Self {
        let (config, sid) = (config(), Sid::from_entropy([0; 15]));
        let mut session = match state {
            State::Polling => Session::polling(START, sid, config),
            _ => Session::channel(START, sid, config, ChannelId(1), false),
        };
        let mut model = Model::new(state);
        drain(&mut session).iter().for_each(|output| model.hear(output));
        model.settle(&session);
        let channels = u64::from(state == State::Channel);
        let numbers = Numbers { channels, by_client: 0, by_server: 0 };
        Self { session, model, numbers, late: None }
    }

    /// From here on, the session is also played without being drained.
    pub fn with_late_embedder(mut self) -> Self {
        self.late = Some(Late { session: self.session.clone(), log: Vec::new() });
        self
    }

    /// Plays one letter, and tests every law that can be tested here. Returns what came out.
    pub fn step(&mut self, op: Op) -> Vec<Output> {
        let before = self.session.clone();
        let next = before.next_timeout().unwrap_or(self.model.now);
        match op {
            Op::Tick => self.model.now = next,
            Op::Late => self.model.now = next + STANDSTILL,
            // Not quite as long as wanted.
            Op::Wait if next > self.model.now => {
                let almost = Instant::from_micros(next.as_micros() - 1);
                self.model.now = almost.min(self.model.now + WAIT);
            }
            _ => (),
        }
        let call = self.call(op);
        let answer = call.apply(&mut self.session, self.model.now);
        let outputs = drain(&mut self.session);
        self.expect(op, &answer);
        self.model.follow();
        let is_closed = |output: &Output| matches!(output, Output::Event(Event::Closed(_)));
        assert!(!outputs.iter().rev().skip(1).any(is_closed), "law 3: Closed is not the last");
        outputs.iter().for_each(|output| self.model.hear(output));
        self.model.settle(&self.session);
        self.law_6(before, &call, &answer, &outputs);
        self.law_7(&call, &answer, &outputs);
        outputs
    }

    /// Drained after every call or at the end: the same outputs, and the same session.
    fn law_7(&mut self, call: &Call, answer: &Answer, outputs: &[Output]) {
        let Some(late) = &mut self.late else { return };
        assert_eq!(call.apply(&mut late.session, self.model.now), *answer, "law 7: a late embedder");
        late.log.extend_from_slice(outputs);
        let mut drained = late.session.clone();
        assert_eq!(drain(&mut drained), late.log, "law 7: a late embedder");
        assert!(drained == self.session, "law 7: a late embedder");
    }

    /// Calls without need change nothing, and a time that goes backwards is the latest one.
    fn law_6(&self, mut past: Session, call: &Call, answer: &Answer, outputs: &[Output]) {
        if matches!(call, Call::Tick) {
            past = self.session.clone();
            past.handle_timeout(Instant::ZERO);
        } else {
            assert_eq!(call.apply(&mut past, Instant::ZERO), *answer, "law 6: a time that goes backwards");
            assert_eq!(drain(&mut past), outputs, "law 6: a time that goes backwards");
        }
        assert!(past == self.session, "law 6: a time that goes backwards");
        past.handle_timeout(self.model.now);
        assert_eq!((past.poll_output(), past.next_frame(self.model.now, STRAY)), (None, None), "law 6");
        if let Some(channel) = self.model.channel.filter(|_| !self.model.ready) {
            assert_eq!(past.next_frame(self.model.now, ChannelId(channel)), None, "law 6: a pull without need");
        }
        if !self.model.readable {
            assert_eq!(past.recv(self.model.now), None, "law 6: a recv without need");
        }
        assert!(past == self.session, "law 6: a call without need changed something");
    }

    /// Law 6 and 14: reports of what was reported already, of what never was under way, and of what cannot be written
    /// change nothing.
    fn reports_without_need(&self) {
        let now = self.model.now;
        let mut past = self.session.clone();
        for id in (1..self.new_get()).chain([UNKNOWN]) {
            if !self.model.ledger.unwritten().any(|unwritten| unwritten == id) {
                past.handle_input(now, Input::AnswerWritten { exchange: ExchangeId(id) });
                if self.model.get != Some(id) {
                    past.handle_input(now, Input::ExchangeLost { exchange: ExchangeId(id) });
                }
            }
        }
        past.handle_input(now, Input::PostBody { exchange: ExchangeId(UNKNOWN), body: Ok("4x".into()) });
        past.handle_input(now, Input::PostBody { exchange: ExchangeId(UNKNOWN), body: Err(BodyError::TooLarge) });
        if !self.is_on_channel() {
            past.handle_input(now, Input::ChannelWritten { channel: self.latest_channel(), messages: u64::MAX });
        } else if self.model.ledger.on_channel() == 0 {
            let mut past = past.clone();
            let channel = self.model.carrier.map_or(self.latest_channel(), ChannelId);
            past.handle_input(now, Input::ChannelWritten { channel, messages: u64::MAX });
            assert_eq!((past.stats(), past.poll_output()), (self.session.stats(), None), "law 14");
        }
        past.handle_input(now, Input::ChannelWritten { channel: STRAY, messages: u64::MAX });
        if !self.is_pinged() {
            past.handle_input(now, Input::Unblocked);
        }
        let open = self.model.phase() == Phase::Open;
        assert_eq!(past.send_all(Vec::new()).is_ok(), open, "no messages at all are accepted, while it is open");
        assert!(past.poll_written(self.model.ledger.written), "what is written is written");
        assert!(past == self.session, "law 6: a report without need changed something");
        assert_eq!(past.poll_written(self.model.accepted()), self.model.is_written(), "law 14");
    }

    /// Whether messages travel on a channel, or did so until the end.
    fn is_on_channel(&self) -> bool {
        self.model.carrier.is_some()
    }

    /// Whether a pong is awaited.
    pub fn is_pinged(&self) -> bool {
        matches!(self.model.ping, Ping::Owed(_) | Ping::Sent(_))
    }

    /// Whether the client must do something by some time.
    fn waits_for_client(&self) -> bool {
        let receiving = matches!(self.model.post, Post::Receiving(_));
        let probing = matches!(self.model.state, State::Probing | State::Probed);
        self.is_pinged() || self.model.closing.is_some() || receiving || probing || self.model.confirm_by.is_some()
    }

    /// The row of the table that a step took, if it took one.
    fn row(before: State, after: State, outputs: &[Output]) -> Option<Row> {
        let probed = |output: &Output| matches!(output, Output::Event(Event::Upgrading(_)));
        let trigger = match (before, after) {
            (State::Probed, State::Probed) if outputs.iter().any(probed) => Trigger::ProbePinged,
            (before, after) if before == after => return None,
            (_, State::Probing) => Trigger::ProbeOpened,
            (_, State::Probed) => Trigger::ProbePinged,
            (_, State::Polling) => Trigger::ProbeFailed,
            (_, State::Channel) => Trigger::UpgradeReceived,
            (_, State::Closed) => Trigger::Ended,
        };
        let row = Row(before, trigger, after);
        assert!(TRANSITIONS.contains(&row), "{row:?} is not in the table");
        Some(row)
    }

    /// The number of the GET that comes next.
    fn new_get(&self) -> u64 {
        self.model.get.max(self.model.ledger.highest()).unwrap_or(0) + 1
    }

    /// The number of the POST that comes next.
    fn new_post(&self) -> u64 {
        if self.model.post == Post::Free { POSTS + 1 } else { POSTS + 2 }
    }

    /// The GET that is held, or the latest whose answer is not written, or none that the session knows.
    fn latest_get(&self) -> u64 {
        self.model.get.or(self.latest_answer()).unwrap_or(UNKNOWN)
    }

    /// Of the GETs whose answers are not written.
    fn latest_answer(&self) -> Option<u64> {
        self.model.ledger.unwritten().next_back()
    }

    fn oldest_answer(&self) -> Option<u64> {
        self.model.ledger.unwritten().next()
    }

    /// The POST that is under way, or the latest one.
    fn latest_post(&self) -> u64 {
        match self.model.post {
            Post::Free => POSTS + 1,
            Post::Receiving(id) | Post::Held(id) => id,
        }
    }

    /// The latest channel, the session's or not.
    fn latest_channel(&self) -> ChannelId {
        ChannelId(self.model.channel.unwrap_or(self.numbers.channels))
    }

    /// The message that the application sends next.
    fn next_said(&self) -> Said {
        Said(b's', self.numbers.by_server + 1)
    }

    fn next_two(&self) -> [Said; 2] {
        [1, 2].map(|next| Said(b's', self.numbers.by_server + next))
    }

    /// What a letter says is written by the channel.
    fn written(&self, op: Op) -> u64 {
        if op == Op::MessageWritten { self.model.ledger.next_on_channel() } else { u64::MAX }
    }

    /// How many messages the application waits for.
    fn awaited(&self, op: Op) -> u64 {
        if op == Op::AwaitNext { self.model.ledger.written + 1 } else { self.model.accepted() }
    }

    /// The call of a letter; numbers are given away here.
    fn call(&mut self, op: Op) -> Call {
        let post = ExchangeId(self.latest_post());
        let exchange = |id: Option<u64>| ExchangeId(id.unwrap_or(UNKNOWN));
        Call::Input(match op {
            Op::Get => Input::Poll { exchange: ExchangeId(self.new_get()) },
            Op::GetLost => Input::ExchangeLost { exchange: ExchangeId(self.latest_get()) },
            Op::OldestLost => Input::ExchangeLost { exchange: exchange(self.oldest_answer()) },
            Op::AnswerWritten => Input::AnswerWritten { exchange: exchange(self.oldest_answer()) },
            Op::LatestWritten => Input::AnswerWritten { exchange: exchange(self.latest_answer()) },
            Op::Head | Op::OctetHead => {
                Input::PostHead { exchange: ExchangeId(self.new_post()), octet_stream: op == Op::OctetHead }
            }
            Op::Body(words) => Input::PostBody { exchange: post, body: Ok(self.body(words)) },
            Op::BodyTooLarge => Input::PostBody { exchange: post, body: Err(BodyError::TooLarge) },
            Op::PostLost => Input::ExchangeLost { exchange: post },
            Op::Open => {
                self.numbers.channels += 1;
                Input::ChannelOpened { channel: ChannelId(self.numbers.channels), base64: false }
            }
            Op::Frame(word) => Input::ChannelFrame { channel: self.latest_channel(), frame: self.frame(word) },
            Op::StrayFrame => Input::ChannelFrame { channel: STRAY, frame: Frame::received("4x".into()) },
            Op::ChannelWritten | Op::MessageWritten => {
                let channel = self.model.carrier.map_or(self.latest_channel(), ChannelId);
                Input::ChannelWritten { channel, messages: self.written(op) }
            }
            Op::Unblocked => Input::Unblocked,
            Op::Gone(end) => Input::ChannelClosed { channel: self.latest_channel(), end },
            Op::Send => return Call::Send(self.next_said().message()),
            Op::SendBoth => return Call::SendAll(self.next_two().map(Said::message).to_vec()),
            Op::Await | Op::AwaitNext => return Call::Await(self.awaited(op)),
            Op::Recv => return Call::Recv,
            Op::Close => return Call::Close,
            Op::Abort => return Call::Abort,
            Op::Discard => return Call::Discard,
            Op::Pull => return Call::Pull(self.latest_channel()),
            Op::Wait | Op::Tick | Op::Late => return Call::Tick,
        })
    }

    fn body(&self, words: &[Word]) -> Bytes {
        let mut number = self.numbers.by_client;
        let mut packets = Vec::new();
        for word in words {
            packets.push(match word {
                Word::Message => {
                    number += 1;
                    Said(b'c', number).text()
                }
                Word::Pong => "3".into(),
                Word::Probe => "2probe".into(),
                Word::Upgrade => "5".into(),
                Word::Close => "1".into(),
                Word::Junk => "x".into(),
            });
        }
        packets.join("\x1e").into()
    }

    fn frame(&self, word: Word) -> Frame {
        match word {
            Word::Message => Said(b'c', self.numbers.by_client + 1).frame(),
            word => Frame::received(std::str::from_utf8(&self.body(&[word])).unwrap().into()),
        }
    }

    /// Moves the model on, and compares the answer of the call.
    fn expect(&mut self, op: Op, answer: &Answer) {
        let (get, post) = (self.latest_get(), self.latest_post());
        let receiving = self.model.post == Post::Receiving(post);
        let on_channel = self.model.state == State::Channel;
        match op {
            Op::Get => self.model.get(self.new_get()),
            Op::GetLost => self.model.get_lost(get),
            Op::OldestLost => self.oldest_answer().into_iter().for_each(|id| self.model.get_lost(id)),
            Op::AnswerWritten => self.oldest_answer().into_iter().for_each(|id| self.model.answer_written(id)),
            Op::LatestWritten => self.latest_answer().into_iter().for_each(|id| self.model.answer_written(id)),
            Op::Head => self.model.head(self.new_post(), false),
            Op::OctetHead => self.model.head(self.new_post(), true),
            Op::Body(words) if receiving => {
                let items: Vec<_> = words.iter().map(|&word| self.item(word)).collect();
                self.model.body(post, items.into_iter());
            }
            Op::BodyTooLarge if receiving => {
                self.model.no_body(post, model::Answer::TooLarge, TransportError::PayloadTooLarge);
            }
            Op::PostLost => self.model.post_lost(post),
            Op::Open => self.model.open(self.numbers.channels),
            Op::Frame(word) if on_channel => {
                let item = self.item(word);
                self.model.frame(item);
            }
            Op::Frame(word) if self.model.channel.is_some() => self.model.probe_frame(word),
            Op::ChannelWritten | Op::MessageWritten if self.is_on_channel() => {
                self.model.channel_written(self.written(op));
            }
            Op::Unblocked => self.model.unblocked(),
            Op::Gone(end) if self.model.channel.is_some() => self.model.gone(end),
            Op::Send => {
                let said = self.next_said();
                let expected = self.expected_send(&[said]).map_err(|refusal| refusal(said.message()));
                assert_eq!(*answer, Answer::Sent(expected), "send");
            }
            Op::SendBoth => {
                let both = self.next_two();
                let messages = both.map(Said::message).to_vec();
                let expected = self.expected_send(&both).map_err(|refusal| refusal(messages));
                assert_eq!(*answer, Answer::SentAll(expected), "send_all");
            }
            Op::Await | Op::AwaitNext => {
                let written = self.model.wait_for(self.awaited(op));
                assert_eq!(*answer, Answer::Written(written), "law 14");
            }
            Op::Recv => {
                let expected = self.model.recv().map(Said::message);
                assert_eq!(*answer, Answer::Received(expected), "law 2: towards the application");
            }
            Op::Close => self.model.close(),
            Op::Abort => self.model.abort(),
            Op::Discard => self.model.discard(),
            Op::Pull => {
                let expected = self.model.channel.and_then(|_| self.model.pull());
                let Answer::Pulled(frame) = answer else { unreachable!() };
                assert_eq!(frame.as_ref().map(heard), expected, "law 2: towards the client");
            }
            Op::Wait | Op::Tick | Op::Late => self.model.tick(),
            _ => (),
        }
    }

    fn expected_send<T>(&mut self, said: &[Said]) -> Result<(), fn(T) -> SendError<T>> {
        if self.model.phase() != Phase::Open {
            return Err(SendError::Closed);
        }
        if Model::cost(&self.model.queue) + said.len() * Said::COST > SEND_LIMIT {
            self.model.full = Some(self.model.queue.len());
            return Err(SendError::Full);
        }
        self.numbers.by_server += said.len() as u8;
        self.model.send(said);
        Ok(())
    }

    fn item(&mut self, word: Word) -> Item {
        if word != Word::Message {
            return Item::Other(word);
        }
        self.numbers.by_client += 1;
        Item::Message(Said(b'c', self.numbers.by_client))
    }
}

impl Explored for World {
    type Letter = Op;
    type Output = Output;
    type Row = Row;

    fn now(&self) -> Instant {
        self.model.now
    }

    /// Everything that makes a difference where it is. Reports of what is written already, or cannot be, are tested in
    /// every world, by law 6; a second letter for the same thing is none.
    fn letters(&self) -> Vec<Op> {
        let (answers, frames) = (self.model.ledger.unwritten().count(), self.model.ledger.on_channel());
        let unwritten = self.model.accepted() - self.model.ledger.written;
        let can_be = |op: &Op| match op {
            Op::AnswerWritten => answers > 0,
            Op::LatestWritten | Op::OldestLost => answers > 1,
            Op::ChannelWritten => self.is_on_channel() && frames > 0,
            Op::MessageWritten => self.is_on_channel() && frames > 1,
            Op::Unblocked => self.is_pinged(),
            Op::Late => self.waits_for_client(),
            Op::Await => self.model.reason.is_none() && unwritten > 0,
            Op::AwaitNext => self.model.reason.is_none() && unwritten > 1,
            _ => true,
        };
        EVERYTHING.iter().copied().filter(can_be).collect()
    }

    fn play(&mut self, op: Op) -> Vec<Output> {
        self.step(op)
    }

    fn rows(&self, before: &Self, outputs: &[Output]) -> Vec<Row> {
        Self::row(before.model.state, self.model.state, outputs).into_iter().collect()
    }

    fn is_unchanged(&self, before: &Self) -> bool {
        self == before
    }

    fn fingerprint(&self) -> u64 {
        let log = self.late.as_ref().map(|late| &late.log);
        fingerprint(&[&self.session, &log], (&self.model, self.numbers))
    }

    fn play_ends(&self) -> u64 {
        self.reports_without_need();
        batches::equal_single_calls(&self.session, self.model.now, self.latest_channel());
        streams::change_nothing_else(&self.session, self.latest_channel());
        epilogue::play_all(self)
    }
}

/// What a client reads in a frame.
fn heard(frame: &Frame) -> Heard {
    match frame {
        Frame::Binary(bytes) => Heard::new(b'b', bytes.to_vec()),
        Frame::Text { head, data } => {
            wire::packet([head, data.as_str()].concat().as_bytes()).expect("law 11: everything emitted decodes")
        }
    }
}
