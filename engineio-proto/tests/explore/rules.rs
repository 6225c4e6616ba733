//! The rules of the model: time, answers to polls, packets, the end.
//!
//! What follows from something is not written where that happens, but once, in `Model::follow`.

use engineio_proto::server::State;
use engineio_proto::{CloseReason, Instant, Phase, TransportError};

use crate::alphabet::Word;
use crate::explore_common::by::{self, By, More};
use crate::explore_common::said::Said;
use crate::explore_common::wire::Heard;
use crate::model::{Answer, Item, Model, Ping, Post};
use crate::setting::{
    BODY_TIMEOUT, CLOSE_TIMEOUT, CONFIRM_TIMEOUT, INTERVAL, MAX_ANSWERS, MAX_PAYLOAD, TIMEOUT, UPGRADE_TIMEOUT,
};

/// When a wait for a pong began that ends at this time.
fn started(ends: Instant) -> Instant {
    Instant::ZERO + ((ends - Instant::ZERO) - TIMEOUT)
}

impl Model {
    /// Time passed and the session was woken.
    pub fn tick(&mut self) {
        let now = self.now;
        if self.closing.as_mut().is_some_and(|by| by.has_passed(now, CLOSE_TIMEOUT)) {
            self.end(CloseReason::TransportError(TransportError::CloseTimeout), false);
        }
        if let Post::Receiving(id) = self.post {
            if self.body_by.has_passed(now, BODY_TIMEOUT) {
                self.no_body(id, Answer::Timeout, TransportError::PostTimeout);
            }
        }
        match self.ping {
            Ping::Due(at) if at <= self.now => {
                self.ping = Ping::Owed(self.now);
                self.extended = None;
                self.excused = false;
                self.stalled = false;
                self.put_off = false;
                self.more = More::Unused;
            }
            Ping::Owed(_) | Ping::Sent(_) if self.patience() <= Some(self.now) => self.lose_patience(),
            _ => (),
        }
        let probing = matches!(self.state, State::Probing | State::Probed);
        if probing && self.probe_deadline.has_passed(now, UPGRADE_TIMEOUT) {
            self.fail_probe(true);
        }
        if self.closing.is_none() && self.confirm_by.as_mut().is_some_and(|by| by.has_passed(now, CONFIRM_TIMEOUT)) {
            if self.ledger.exchanges() > 0 {
                // The client cannot know the id yet.
                self.confirm_by = Some(By::new(now + CONFIRM_TIMEOUT));
            } else {
                self.end(CloseReason::TransportError(TransportError::Unconfirmed), false);
            }
        }
    }

    /// Until when the client may be silent.
    pub fn patience(&self) -> Option<Instant> {
        match self.ping {
            Ping::Owed(since) | Ping::Sent(since) => Some(since.max(self.extended.unwrap_or(since)) + TIMEOUT),
            Ping::Due(_) | Ping::Off => None,
        }
    }

    fn lose_patience(&mut self) {
        let receiving = matches!(self.post, Post::Receiving(_));
        let unwritten = !self.is_written();
        let late = self.patience().is_some_and(|at| by::is_late(at, self.now));
        match &mut self.ping {
            // The pong may stand behind the body, which has a deadline of its own.
            Ping::Owed(since) | Ping::Sent(since) if receiving => {
                *since = self.now;
                self.put_off = true;
                self.more.end();
            }
            Ping::Sent(since) if self.excused && !(self.stalled && unwritten) => {
                *since = self.now;
                self.excused = false;
                self.stalled = unwritten;
                self.more.end();
            }
            // The pong, or the poll that takes the ping, may wait to be read.
            Ping::Owed(since) | Ping::Sent(since) if late && self.more == More::Unused => {
                *since = started(self.now + by::more(TIMEOUT));
                self.extended = None;
                self.more = More::Running;
            }
            ping => {
                let owed = matches!(ping, Ping::Owed(_));
                let slow = owed || (self.stalled && unwritten);
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

    /// A body arrived. The time that it took does not count against a pong behind it; a client whose time was over meanwhile
    /// gets all of it again.
    pub fn forgive_body(&mut self) {
        let Some(patience) = self.patience() else { return };
        let took = BODY_TIMEOUT.saturating_sub(self.body_by.at - self.now);
        let again = self.now + TIMEOUT;
        // If the host stood still while the body came, it is not known how long that took.
        let all = std::mem::take(&mut self.put_off) || self.body_by.moved;
        let later = if all { again } else { again.min(patience + took) };
        if let (true, Ping::Owed(since) | Ping::Sent(since)) = (later > patience, &mut self.ping) {
            *since = started(later);
        }
        self.more.end();
    }

    /// The client shows that it is there, without a pong.
    pub fn breathe(&mut self) {
        match &mut self.ping {
            Ping::Owed(since) | Ping::Sent(since) => {
                *since = self.now;
                self.more = More::Unused;
            }
            Ping::Due(_) | Ping::Off => (),
        }
    }

    // The rules behind all of this.

    /// What follows from what happened.
    pub fn follow(&mut self) {
        self.pump();
        self.answer_poll();
        let on_channel = self.state == State::Channel;
        if on_channel && self.closing.is_some() && !self.has_frames() && self.is_written() {
            self.end(CloseReason::ForcedClose, false);
            self.pump();
        }
    }

    /// Answers the poll that is held, if there is anything to say.
    fn answer_poll(&mut self) {
        let Some(id) = self.get else { return };
        let something = !self.queue.is_empty() || self.owes_ping();
        if self.opening {
            self.opening = false;
            self.answer(id, Answer::Open);
            self.ledger.give(id, 0);
        } else if something && self.ledger.exchanges() < MAX_ANSWERS {
            let packets = self.next_packets();
            self.due.flush = Some(packets.len());
            self.due.drain = true;
            self.ledger.give(id, packets.iter().filter(|packet| packet.kind != b'2').count());
            self.answer(id, Answer::Data(packets));
        } else if self.closing.is_some() && self.is_written() {
            self.get = None;
            self.answer(id, Answer::Bare(b"1"));
            self.end(CloseReason::ForcedClose, false);
        } else if self.state == State::Probed && self.released.is_none() {
            self.released = Some(self.now);
            self.answer(id, Answer::Bare(b"6"));
        } else {
            return;
        }
        self.get = None;
    }

    /// The ping, then as many messages as fit; one that is too large goes alone.
    fn next_packets(&mut self) -> Vec<Heard> {
        let mut packets = Vec::new();
        let mut len = 0;
        if self.owes_ping() {
            packets.push(Heard::new(b'2', ""));
            len = 1;
            self.ping = Ping::Sent(self.now);
            self.more = More::Unused;
        }
        while let Some(said) = self.queue.front() {
            let more = said.text().len() + if len == 0 { 0 } else { len + 1 };
            if len > 0 && more > MAX_PAYLOAD {
                break;
            }
            len = more;
            packets.extend(self.queue.pop_front().map(Said::heard));
        }
        packets
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
                Ping::Owed(_) => {
                    self.ping = Ping::Owed(self.now);
                    self.more = More::Unused;
                }
                Ping::Due(_) | Ping::Sent(_) => self.ping = Ping::Due(self.now + INTERVAL),
                Ping::Off => (),
            },
            Item::Other(Word::Junk) => (),
            Item::Message(_) | Item::Other(_) => {
                if self.extended.is_none() && matches!(self.ping, Ping::Owed(_) | Ping::Sent(_)) {
                    self.extended = Some(self.now);
                    self.more.end();
                }
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

    /// The true reason of an end: if the application asked for one in order, and all that it sent is written, it gets what
    /// it asked for. If not, what went wrong; where the client just left, its messages are lost.
    fn true_reason(&self, cause: CloseReason) -> CloseReason {
        use TransportError::{PollLost, PostLost};
        match cause {
            _ if self.closing.is_none() => cause,
            _ if self.is_written() => CloseReason::ForcedClose,
            CloseReason::TransportClose | CloseReason::TransportError(PollLost | PostLost) => {
                CloseReason::TransportLost
            }
            _ => cause,
        }
    }

    /// The end. `by_packet`: the client said so itself, so that nothing behind it counts.
    pub fn end(&mut self, cause: CloseReason, by_packet: bool) {
        if self.reason.is_some() {
            return;
        }
        if let Some(id) = self.get.take() {
            let farewell: &[u8] = if cause == CloseReason::TransportClose { b"6" } else { b"1" };
            self.answer(id, Answer::Bare(farewell));
        }
        if let Post::Receiving(id) = self.post {
            self.post = Post::Free;
            self.answer(id, Answer::Aborted);
            self.behind.clear();
        }
        self.reason = Some(self.true_reason(cause));
        self.state = State::Closed;
        self.closing = None;
        self.opening = false;
        self.confirm_by = None;
        self.pongs = 0;
        self.ping = Ping::Off;
        // Nobody needs to wait any more.
        self.full = None;
        self.awaited = None;
        self.due.closes.extend(self.channel.take());
        match cause {
            CloseReason::ParseError | CloseReason::TransportError(TransportError::HeartbeatDirection) => {
                self.drop_waiting(Answer::Rejected(3));
            }
            CloseReason::ForcedClose => self.drop_waiting(Answer::Accepted),
            CloseReason::TransportClose if by_packet => self.drop_waiting(Answer::Accepted),
            _ => self.end_post(Answer::Accepted),
        }
    }
}
