//! The rules behind the model: time, what a poll is answered, how packets are handled, how it ends.

use engineio_proto::server::State;
use engineio_proto::{CloseReason, Instant, Phase, TransportError};

use crate::alphabet::Word;
use crate::model::{Answer, Item, Model, Ping, Post};
use crate::setting::{INTERVAL, TIMEOUT};

impl Model {
    /// Time passed and the session was woken.
    pub fn tick(&mut self) {
        if self.closing.is_some_and(|at| at <= self.now) {
            self.end(CloseReason::ForcedClose, false);
        }
        match self.ping {
            Ping::Due(at) if at <= self.now => {
                self.ping = Ping::Owed(self.now);
                self.extended = None;
                self.excused = false;
                self.stalled = false;
                self.answer_poll();
            }
            Ping::Owed(_) | Ping::Sent(_) if self.patience() <= Some(self.now) => self.lose_patience(),
            _ => (),
        }
        if matches!(self.state, State::Probing | State::Probed) && self.probe_deadline <= self.now {
            self.fail_probe(true);
        }
        self.answer_poll();
    }

    /// Until when the client may be silent.
    pub fn patience(&self) -> Option<Instant> {
        match self.ping {
            Ping::Owed(since) | Ping::Sent(since) => Some(since.max(self.extended.unwrap_or(since)) + TIMEOUT),
            Ping::Due(_) | Ping::Off => None,
        }
    }

    fn lose_patience(&mut self) {
        match &mut self.ping {
            Ping::Sent(since) if self.excused && (!self.stalled || self.queue.is_empty()) => {
                *since = self.now;
                self.excused = false;
                self.stalled = !self.queue.is_empty();
            }
            ping => {
                let owed = matches!(ping, Ping::Owed(_));
                let slow = owed || (self.stalled && !self.queue.is_empty());
                self.end(
                    if slow && (self.state == State::Channel || self.full.is_some()) {
                        CloseReason::TransportError(TransportError::SlowConsumer)
                    } else {
                        CloseReason::PingTimeout
                    },
                    false,
                );
            }
        }
    }

    /// The client shows that it is there, without a pong.
    pub fn breathe(&mut self) {
        match &mut self.ping {
            Ping::Owed(since) | Ping::Sent(since) => *since = self.now,
            Ping::Due(_) | Ping::Off => (),
        }
    }

    // The rules behind all of this.

    pub fn answer_poll(&mut self) {
        let Some(id) = self.get else { return };
        if self.opening {
            self.opening = false;
            self.answer(id, Answer::Open);
            self.answered = Some(id);
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
    pub fn pump(&mut self) {
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
            // Many that are handled together are told once.
            (Item::Other(Word::Pong), Phase::Open | Phase::Closing) => self.due.heartbeats = 1,
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

    pub fn drop_waiting(&mut self, answer: Answer) {
        self.end_post(answer);
        self.waiting.clear();
        self.behind.clear();
    }

    /// The end. `by_packet`: the client said so itself, so that nothing behind it counts.
    pub fn end(&mut self, reason: CloseReason, by_packet: bool) {
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
