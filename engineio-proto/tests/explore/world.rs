//! A session and the model of it, and one step of both.

use bytes::Bytes;
use engineio_proto::server::{BodyError, Input, Output, Row, State, TRANSITIONS, Trigger};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, Event, ExchangeId, Instant, Message, Phase, SendError, Session, Sid};

use crate::alphabet::{EVERYTHING, Op, Word};
use crate::epilogue;
use crate::explore_common::fingerprint;
use crate::explore_common::said::Said;
use crate::explore_common::search::Explored;
use crate::explore_common::wire::{self, Heard};
use crate::judge::POSTS;
use crate::model::{Item, Model, Post};
use crate::setting::{SEND_LIMIT, START, WAIT, config};

/// A channel that no session ever heard of.
const STRAY: ChannelId = ChannelId(99);

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

/// The latest numbers given away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Numbers {
    gets: u64,
    posts: u64,
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
    Received(Option<Message>),
    Pulled(Option<Frame>),
}

impl Call {
    fn apply(&self, session: &mut Session, now: Instant) -> Answer {
        match self {
            Self::Input(input) => session.handle_input(now, input.clone()),
            Self::Send(message) => return Answer::Sent(session.send(message.clone())),
            Self::SendAll(messages) => return Answer::SentAll(session.send_all(messages.clone())),
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
        let numbers = Numbers { gets: 0, posts: POSTS, channels, by_client: 0, by_server: 0 };
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

    /// The GET that is held, or the latest that it would hurt to lose, or just the latest.
    fn latest_get(&self) -> u64 {
        self.model.get.or(self.model.answered).unwrap_or(self.numbers.gets)
    }

    /// The POST that is under way, or just the latest.
    fn latest_post(&self) -> u64 {
        match self.model.post {
            Post::Free => self.numbers.posts,
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

    /// The call of a letter; numbers are given away here.
    fn call(&mut self, op: Op) -> Call {
        let post = ExchangeId(self.latest_post());
        let failed = |error| Input::PostBody { exchange: post, body: Err(error) };
        Call::Input(match op {
            Op::Get => {
                self.numbers.gets += 1;
                Input::Poll { exchange: ExchangeId(self.numbers.gets) }
            }
            Op::GetLost => Input::ExchangeLost { exchange: ExchangeId(self.latest_get()) },
            Op::Head | Op::OctetHead => {
                self.numbers.posts += 1;
                Input::PostHead { exchange: ExchangeId(self.numbers.posts), octet_stream: op == Op::OctetHead }
            }
            Op::Body(words) => Input::PostBody { exchange: post, body: Ok(self.body(words)) },
            Op::BodyTooLarge => failed(BodyError::TooLarge),
            Op::BodyTimeout => failed(BodyError::Timeout),
            Op::PostLost => Input::ExchangeLost { exchange: post },
            Op::Open => {
                self.numbers.channels += 1;
                Input::ChannelOpened { channel: ChannelId(self.numbers.channels), base64: false }
            }
            Op::Frame(word) => Input::ChannelFrame { channel: self.latest_channel(), frame: self.frame(word) },
            Op::StrayFrame => Input::ChannelFrame { channel: STRAY, frame: Frame::received("4x".into()) },
            Op::Gone(end) => Input::ChannelClosed { channel: self.latest_channel(), end },
            Op::Send => return Call::Send(self.next_said().message()),
            Op::SendBoth => return Call::SendAll(self.next_two().map(Said::message).to_vec()),
            Op::Recv => return Call::Recv,
            Op::Close => return Call::Close,
            Op::Abort => return Call::Abort,
            Op::Discard => return Call::Discard,
            Op::Pull => return Call::Pull(self.latest_channel()),
            Op::Wait | Op::Tick => return Call::Tick,
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
            Op::Get => self.model.get(self.numbers.gets),
            Op::GetLost => self.model.get_lost(get),
            Op::Head => self.model.head(self.numbers.posts, false),
            Op::OctetHead => self.model.head(self.numbers.posts, true),
            Op::Body(words) if receiving => {
                let items: Vec<_> = words.iter().map(|&word| self.item(word)).collect();
                self.model.body(post, items.into_iter());
            }
            Op::BodyTooLarge if receiving => self.model.body_too_large(post),
            Op::BodyTimeout if receiving => self.model.body_timeout(post),
            Op::PostLost => self.model.post_lost(post),
            Op::Open => self.model.open(self.numbers.channels),
            Op::Frame(word) if on_channel => {
                let item = self.item(word);
                self.model.frame(item);
            }
            Op::Frame(word) if self.model.channel.is_some() => self.model.probe_frame(word),
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
            Op::Wait | Op::Tick => self.model.tick(),
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

    fn letters(&self) -> Vec<Op> {
        EVERYTHING.to_vec()
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
