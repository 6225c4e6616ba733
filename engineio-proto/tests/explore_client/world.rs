//! A client and the model of it, and one step of both.

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, Client, Event, ExchangeId, Instant, Message, Phase, RequestError, SendError};

use crate::alphabet::{BEFORE, EVERYTHING, Op, Word};
use crate::epilogue;
use crate::explore_common::batches;
use crate::explore_common::by::STANDSTILL;
use crate::explore_common::fingerprint;
use crate::explore_common::said::Said;
use crate::explore_common::search::Explored;
use crate::explore_common::wire::{self, Heard};
use crate::model::{Item, Model};
use crate::setting::{Kind, MAX_ANSWER, MAX_PAYLOAD, START, WAIT, open_packet};

/// A channel that no client ever asked for.
const STRAY: ChannelId = ChannelId(99);

#[derive(Clone, PartialEq, Eq)]
pub struct World {
    client: Client,
    pub model: Model,
    numbers: Numbers,
    late: Option<Late>,
    rows: Vec<client::Row>,
}

/// The same client with an embedder that never drained it, and what it should find there.
#[derive(Clone, PartialEq, Eq)]
struct Late {
    client: Client,
    log: Vec<client::Output>,
}

/// How many messages there were of either side.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Numbers {
    by_client: u8,
    by_server: u8,
}

/// A letter as the call that it stands for.
enum Call {
    Input(client::Input),
    Send(Message),
    SendAll(Vec<Message>),
    /// Sends, and then looks at the timers.
    SendLate(Message),
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
    fn apply(&self, client: &mut Client, now: Instant) -> Answer {
        match self {
            Self::Input(input) => client.handle_input(now, input.clone()),
            Self::Send(message) => return Answer::Sent(client.send(now, message.clone())),
            Self::SendAll(messages) => return Answer::SentAll(client.send_all(now, messages.clone())),
            Self::SendLate(message) => {
                let answer = Answer::Sent(client.send(now, message.clone()));
                client.handle_timeout(now);
                return answer;
            }
            Self::Await(messages) => return Answer::Written(client.poll_written(*messages)),
            Self::Recv => return Answer::Received(client.recv(now)),
            Self::Close => client.close(now),
            Self::Abort => client.abort(now),
            Self::Discard => client.discard_incoming(),
            Self::Pull(channel) => return Answer::Pulled(client.next_frame(now, *channel)),
            Self::Tick => client.handle_timeout(now),
        }
        Answer::Nothing
    }
}

fn drain(client: &mut Client) -> Vec<client::Output> {
    std::iter::from_fn(|| client.poll_output()).collect()
}

impl World {
    /// A client that begins.
    pub fn new(kind: Kind) -> Self {
        let mut client = Client::new(START, kind.config(), 0).unwrap();
        let mut model = Model::new(kind);
        drain(&mut client).iter().for_each(|output| model.hear(output));
        model.settle(&client);
        Self { client, model, numbers: Numbers { by_client: 0, by_server: 0 }, late: None, rows: Vec::new() }
    }

    /// From here on, the client is also played without being drained.
    pub fn with_late_embedder(mut self) -> Self {
        self.late = Some(Late { client: self.client.clone(), log: Vec::new() });
        self
    }

    /// Plays one letter, and tests every law that can be tested here. Returns what came out.
    pub fn step(&mut self, op: Op) -> Vec<client::Output> {
        let before = self.client.clone();
        let next = before.next_timeout().unwrap_or(self.model.now);
        match op {
            Op::Tick | Op::SendLate => self.model.now = next,
            Op::Late | Op::LateSend => self.model.now = next + STANDSTILL,
            // Not quite as long as wanted.
            Op::Wait if next > self.model.now => {
                let almost = Instant::from_micros(next.as_micros() - 1);
                self.model.now = almost.min(self.model.now + WAIT);
            }
            _ => (),
        }
        let call = self.call(op);
        let answer = call.apply(&mut self.client, self.model.now);
        let outputs = drain(&mut self.client);
        self.expect(op, &answer);
        self.model.follow();
        let is_closed = |output: &client::Output| matches!(output, client::Output::Event(Event::Closed(_)));
        assert!(!outputs.iter().rev().skip(1).any(is_closed), "law 3: Closed is not the last");
        outputs.iter().for_each(|output| self.model.hear(output));
        self.rows.clone_from(&self.model.due.rows);
        self.model.settle(&self.client);
        self.law_6(before, &call, &answer, &outputs);
        self.law_7(&call, &answer, &outputs);
        outputs
    }

    /// Drained after every call or at the end: the same outputs, and the same client.
    fn law_7(&mut self, call: &Call, answer: &Answer, outputs: &[client::Output]) {
        let Some(late) = &mut self.late else { return };
        assert_eq!(call.apply(&mut late.client, self.model.now), *answer, "law 7: a late embedder");
        late.log.extend_from_slice(outputs);
        let mut drained = late.client.clone();
        assert_eq!(drain(&mut drained), late.log, "law 7: a late embedder");
        assert!(drained == self.client, "law 7: a late embedder");
    }

    /// Calls without need change nothing, and a time that goes backwards is the latest one.
    fn law_6(&self, mut past: Client, call: &Call, answer: &Answer, outputs: &[client::Output]) {
        if matches!(call, Call::Tick | Call::SendLate(_)) {
            past = self.client.clone();
            past.handle_timeout(Instant::ZERO);
        } else {
            assert_eq!(call.apply(&mut past, Instant::ZERO), *answer, "law 6: a time that goes backwards");
            assert_eq!(drain(&mut past), outputs, "law 6: a time that goes backwards");
        }
        assert!(past == self.client, "law 6: a time that goes backwards");
        past.handle_timeout(self.model.now);
        assert_eq!((past.poll_output(), past.next_frame(self.model.now, STRAY)), (None, None), "law 6");
        if let Some(channel) = self.model.channel.filter(|_| !self.model.ready) {
            assert_eq!(past.next_frame(self.model.now, ChannelId(channel.id)), None, "law 6: a pull without need");
        }
        if !self.model.readable {
            assert_eq!(past.recv(self.model.now), None, "law 6: a recv without need");
        }
        assert!(past == self.client, "law 6: a call without need changed something");
    }

    /// Law 6 and 14: reports of what cannot be written change nothing.
    fn reports_without_need(&self) {
        let now = self.model.now;
        let mut past = self.client.clone();
        let written = |channel| client::Input::ChannelWritten { channel, messages: u64::MAX };
        if !self.model.is_on_channel() {
            past.handle_input(now, written(self.latest_channel()));
        } else if self.model.ledger.on_channel() == 0 {
            let mut past = past.clone();
            past.handle_input(now, written(self.latest_channel()));
            assert_eq!((past.stats(), past.poll_output()), (self.client.stats(), None), "law 14");
        }
        past.handle_input(now, written(STRAY));
        if self.model.patience.is_none() {
            past.handle_input(now, client::Input::Unblocked);
        }
        let open = matches!(self.model.phase(), Phase::Opening | Phase::Open);
        if self.model.patience.is_none_or(|patience| patience > now) {
            assert_eq!(
                past.send_all(now, Vec::new()).is_ok(),
                open,
                "no messages at all are accepted, while it is open"
            );
        }
        assert!(past.poll_written(self.model.ledger.written), "what is written is written");
        assert!(past == self.client, "law 6: a report without need changed something");
        assert_eq!(past.poll_written(self.model.accepted()), self.model.is_written(), "law 14");
    }

    /// What a letter says is written by the channel.
    fn written(&self, op: Op) -> u64 {
        if op == Op::MessageWritten { self.model.ledger.next_on_channel() } else { u64::MAX }
    }

    /// How many messages the application waits for.
    fn awaited(&self, op: Op) -> u64 {
        if op == Op::AwaitNext { self.model.ledger.written + 1 } else { self.model.accepted() }
    }

    /// The GET that is under way, or just the latest.
    fn latest_get(&self) -> ExchangeId {
        ExchangeId(self.model.get.unwrap_or(self.model.latest.get))
    }

    /// The POST that is under way, or just the latest.
    fn latest_post(&self) -> ExchangeId {
        ExchangeId(self.model.post.map_or(self.model.latest.post, |post| post.id))
    }

    fn latest_channel(&self) -> ChannelId {
        ChannelId(self.model.channel.map_or(self.model.latest.channel, |channel| channel.id))
    }

    /// The message that the application sends next.
    fn next_said(&self, op: Op) -> Said {
        Said(if op == Op::SendLong { b'C' } else { b'c' }, self.numbers.by_client + 1)
    }

    fn next_two(&self) -> [Said; 2] {
        [1, 2].map(|next| Said(b'c', self.numbers.by_client + next))
    }

    /// The call of a letter.
    fn call(&self, op: Op) -> Call {
        let (get, post) = (self.latest_get(), self.latest_post());
        let answered = |exchange, status, body: &str| client::Input::Answered {
            exchange,
            status,
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let lost = |exchange| client::Input::Failed { exchange, error: RequestError::Lost };
        Call::Input(match op {
            Op::Got(words) => answered(get, 200, &self.body(words)),
            Op::GotTooMuch => answered(get, 200, &format!("4{}", "x".repeat(MAX_ANSWER))),
            Op::GetRefused => answered(get, 400, "{}"),
            Op::GetLost => lost(get),
            Op::Posted => answered(post, 200, "ok"),
            Op::PostRefused(status) => answered(post, status, ""),
            Op::PostLost => lost(post),
            Op::Opened => client::Input::ChannelOpened { channel: self.latest_channel() },
            Op::Frame(word) => client::Input::ChannelFrame { channel: self.latest_channel(), frame: self.frame(word) },
            Op::StrayFrame => client::Input::ChannelFrame { channel: STRAY, frame: Frame::received("4x".into()) },
            Op::ChannelWritten | Op::MessageWritten => {
                client::Input::ChannelWritten { channel: self.latest_channel(), messages: self.written(op) }
            }
            Op::Unblocked => client::Input::Unblocked,
            Op::Gone(end) => client::Input::ChannelClosed { channel: self.latest_channel(), end, details: None },
            Op::Send | Op::SendLong => return Call::Send(self.next_said(op).message()),
            Op::SendLate | Op::LateSend => return Call::SendLate(self.next_said(op).message()),
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

    fn body(&self, words: &[Word]) -> String {
        let mut number = self.numbers.by_server;
        let mut packets = Vec::new();
        for word in words {
            packets.push(match word {
                Word::Message => {
                    number += 1;
                    Said(b's', number).text()
                }
                Word::Open => open_packet(),
                Word::BadOpen => r#"0{"sid":""}"#.into(),
                Word::Ping => "2".into(),
                Word::ProbeAnswer => "3probe".into(),
                Word::Noop => "6".into(),
                Word::Close => "1".into(),
                Word::Junk => "x".into(),
            });
        }
        packets.join("\x1e")
    }

    fn frame(&self, word: Word) -> Frame {
        match word {
            Word::Message => Said(b's', self.numbers.by_server + 1).frame(),
            word => Frame::received(self.body(&[word]).as_str().into()),
        }
    }

    /// Moves the model on, and compares the answer of the call.
    fn expect(&mut self, op: Op, answer: &Answer) {
        let (polls, posts) = (self.model.get.is_some(), self.model.post.is_some());
        let (has_channel, upgrading) = (self.model.channel.is_some(), self.model.is_upgrading());
        match op {
            Op::Got(words) if polls => {
                // A body without bytes is not a packet.
                let words = if words.is_empty() { &[Word::Junk] } else { words };
                let items: Vec<_> = words.iter().map(|&word| self.item(word)).collect();
                self.model.got(items.into_iter());
            }
            Op::GotTooMuch if polls => self.model.get_failed(RequestError::TooLarge),
            Op::GetRefused if polls => self.model.get_failed(RequestError::Status(400)),
            Op::GetLost if polls => self.model.get_failed(RequestError::Lost),
            Op::Posted if posts => self.model.posted(),
            Op::PostRefused(status) if posts => self.model.post_failed(RequestError::Status(status)),
            Op::PostLost if posts => self.model.post_failed(RequestError::Lost),
            Op::Opened if has_channel => self.model.channel_opened(),
            Op::Frame(word) if has_channel && upgrading => self.model.probe_frame(word),
            Op::Frame(word) if has_channel => {
                let item = self.item(word);
                self.model.frame(item);
            }
            Op::ChannelWritten | Op::MessageWritten if self.model.is_on_channel() => {
                self.model.channel_written(self.written(op));
            }
            Op::Unblocked => self.model.unblocked(),
            Op::Gone(end) if has_channel => self.model.gone(end),
            Op::Send | Op::SendLong => self.expect_sent(op, answer),
            Op::SendLate | Op::LateSend => {
                self.model.look_at_the_server();
                self.expect_sent(op, answer);
                self.model.follow();
                self.model.tick();
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
                assert_eq!(frame.as_ref().map(heard), expected, "law 2: towards the server");
            }
            Op::Wait | Op::Tick | Op::Late => self.model.tick(),
            _ => (),
        }
    }

    fn expect_sent(&mut self, op: Op, answer: &Answer) {
        let said = self.next_said(op);
        let expected = self.expected_send(&[said]).map_err(|refusal| refusal(said.message()));
        assert_eq!(*answer, Answer::Sent(expected), "send");
    }

    fn expected_send<T>(&mut self, said: &[Said]) -> Result<(), fn(T) -> SendError<T>> {
        if !matches!(self.model.phase(), Phase::Opening | Phase::Open) {
            return Err(SendError::Closed);
        }
        if self.model.known && said.iter().any(|said| said.text().len() > MAX_PAYLOAD) {
            return Err(SendError::Oversized);
        }
        if !self.model.has_room_for(said) {
            self.model.full = Some(self.model.queue.len());
            return Err(SendError::Full);
        }
        self.numbers.by_client += said.len() as u8;
        self.model.send(said);
        Ok(())
    }

    fn item(&mut self, word: Word) -> Item {
        if word != Word::Message {
            return Item::Other(word);
        }
        self.numbers.by_server += 1;
        Item::Message(Said(b's', self.numbers.by_server))
    }
}

impl Explored for World {
    type Letter = Op;
    type Output = client::Output;
    type Row = client::Row;

    fn now(&self) -> Instant {
        self.model.now
    }

    /// Everything that a transport can do where it is, and whatever else there is. A channel opens once, and carries
    /// nothing before. Reports of what cannot be written are tested in every world, by law 6; a second letter for the same
    /// thing is none.
    fn letters(&self) -> Vec<Op> {
        let frames = self.model.ledger.on_channel();
        let unwritten = self.model.accepted() - self.model.ledger.written;
        let opening = self.model.state == client::State::Opening;
        let open = self.model.channel.is_none_or(|channel| channel.open);
        let can_be = |op: &Op| match op {
            Op::Opened => !open,
            Op::Frame(_) => open,
            Op::ChannelWritten => self.model.is_on_channel() && frames > 0,
            Op::MessageWritten => self.model.is_on_channel() && frames > 1,
            Op::Unblocked => self.model.patience.is_some(),
            Op::Late => self.model.reason.is_none(),
            // Only the time of the server is looked at before a message is taken.
            Op::SendLate | Op::LateSend => self.model.patience.is_some_and(|at| self.client.next_timeout() == Some(at)),
            Op::Await => self.model.reason.is_none() && unwritten > 0,
            Op::AwaitNext => self.model.reason.is_none() && unwritten > 1,
            _ => true,
        };
        let before = if opening { BEFORE } else { &[] };
        EVERYTHING.iter().chain(before).copied().filter(can_be).collect()
    }

    fn play(&mut self, op: Op) -> Vec<client::Output> {
        self.step(op)
    }

    fn rows(&self, _before: &Self, _outputs: &[client::Output]) -> Vec<client::Row> {
        self.rows.clone()
    }

    fn is_unchanged(&self, before: &Self) -> bool {
        let numbers = self.numbers == before.numbers;
        numbers && self.model == before.model && self.client == before.client && self.late == before.late
    }

    fn fingerprint(&self) -> u64 {
        let log = self.late.as_ref().map(|late| &late.log);
        fingerprint(&[&self.client, &log], (&self.model, self.numbers))
    }

    fn play_ends(&self) -> u64 {
        self.reports_without_need();
        batches::equal_single_calls(&self.client, self.model.now, self.latest_channel());
        epilogue::play_all(self)
    }
}

/// What a server reads in a frame.
fn heard(frame: &Frame) -> Heard {
    match frame {
        Frame::Binary(bytes) => Heard::new(b'b', bytes.to_vec()),
        Frame::Text { head, data } => {
            wire::packet([head, data.as_str()].concat().as_bytes()).expect("law 11: everything emitted decodes")
        }
    }
}
