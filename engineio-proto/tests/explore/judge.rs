//! Compares every output with the model, and then the whole session.

use engineio_proto::http::Response;
use engineio_proto::server::{Output, State};
use engineio_proto::{Event, Session, TransportKind};

use crate::explore_common::said::Said;
use crate::explore_common::wire::{self, Heard};
use crate::model::{Answer, Model, Ping, Post};
use crate::setting::{MAX_ANSWERS, MAX_PAYLOAD, RELEASE, SEND_LIMIT, SEND_LOW, open_packet};

/// Exchanges of a POST are numbered from here, so that the two kinds never meet.
pub const POSTS: u64 = 1000;

impl Model {
    /// Takes one output, which must be one that is due.
    pub fn hear(&mut self, output: &Output) {
        match output {
            Output::Respond { exchange, response } => self.hear_answer(exchange.0, response),
            Output::Abort { exchange } => assert_eq!(self.due_answer(exchange.0), Some(Answer::Aborted), "law 1"),
            Output::ChannelReady { channel } => {
                assert!(!self.ready, "frames are announced twice");
                assert!(self.has_frames(), "frames are announced that are not there");
                self.ready = self.channel == Some(channel.0);
            }
            Output::ChannelRead { channel, enabled } => {
                assert!(self.channel.is_none_or(|id| id == channel.0), "a channel that is not the session's");
                assert_ne!(self.reading, *enabled, "reading is switched to what it was");
                self.reading = *enabled;
            }
            Output::ChannelClose { channel } => {
                let position = self.due.closes.iter().position(|&id| id == channel.0);
                self.due.closes.remove(position.expect("law 8: a channel is closed without need"));
            }
            Output::Event(event) => self.hear_event(*event),
        }
    }

    fn due_answer(&mut self, exchange: u64) -> Option<Answer> {
        let position = self.due.answers.iter().position(|&(id, _)| id == exchange)?;
        Some(self.due.answers.remove(position).1)
    }

    fn hear_answer(&mut self, exchange: u64, response: &Response) {
        let body = response.clone().into_reply();
        let answer = self.due_answer(exchange);
        if let Response::Payload(payload) = response {
            assert!(exchange < POSTS, "a POST is answered with packets");
            let packets = wire::payload(&body.body).expect("law 11: everything emitted decodes");
            assert_eq!(packets.len(), payload.packets().len(), "law 11");
            return self.hear_packets(exchange, answer, &packets, body.body.len());
        }
        let expected = match answer.unwrap_or_else(|| panic!("law 1: {exchange} is answered without being open")) {
            Answer::Accepted => (200, &b"ok"[..]),
            Answer::Refused => (400, &b""[..]),
            Answer::TooLarge => (413, &b""[..]),
            Answer::Timeout => (408, &b""[..]),
            Answer::Rejected(1) => (400, &br#"{"code":1,"message":"Session ID unknown"}"#[..]),
            Answer::Rejected(3) => (400, &br#"{"code":3,"message":"Bad request"}"#[..]),
            other => panic!("{exchange} had to be answered with {other:?}, not {response:?}"),
        };
        assert_eq!((body.status, &body.body[..]), expected, "the answer of {exchange}");
    }

    fn hear_packets(&mut self, exchange: u64, answer: Option<Answer>, packets: &[Heard], len: usize) {
        match answer {
            Some(Answer::Open) => assert_eq!(packets, [Heard::new(b'0', open_packet(&["websocket"]))]),
            Some(Answer::Bare(kinds)) => {
                let bare: Vec<_> = kinds.iter().map(|&kind| Heard::new(kind, "")).collect();
                assert_eq!(packets, bare, "the answer of {exchange}");
            }
            Some(Answer::Data(due)) => {
                assert_eq!(packets, due, "law 2: towards the client");
                assert_eq!(self.flushing, Some(packets.len()), "packets leave without their Flush");
                assert!(len <= MAX_PAYLOAD || packets.len() == 1, "law 11: a payload is too large");
            }
            None => {
                // A poll that is released a while after the probe.
                assert_eq!(self.get.take(), Some(exchange), "law 1: {exchange} is answered without being held");
                assert_eq!((self.state, packets), (State::Probed, &[Heard::new(b'6', "")][..]));
                let last = self.released.replace(self.now).expect("the first poll is released at once");
                assert!(self.now >= last + RELEASE.0, "polls are released too fast");
            }
            Some(other) => panic!("{exchange} had to be answered with {other:?}, not {packets:?}"),
        }
    }

    fn hear_event(&mut self, event: Event) {
        assert!(!self.told, "law 3: {event:?} behind Closed");
        match event {
            Event::Readable => {
                assert!(!self.readable, "messages are announced twice");
                self.readable = true;
            }
            Event::Writable => {
                let needed = self.full.take().is_some();
                assert!(needed && Self::cost(&self.queue) <= SEND_LOW, "Writable without need");
            }
            Event::Flush { packets } => {
                let before = self.flushing.replace(packets);
                assert!(before.is_none() && packets > 0, "Flush {packets} within {before:?}");
                assert_eq!(self.due.flush.take(), Some(packets), "Flush {packets} is not what leaves");
            }
            Event::Drain => {
                assert!(self.flushing.take().is_some(), "Drain without Flush");
                assert!(std::mem::take(&mut self.due.drain), "Drain before all has left");
            }
            Event::Written => {
                let awaited = self.awaited.take().expect("Written without a wait");
                assert!(awaited <= self.ledger.written, "Written before it is");
            }
            Event::Upgrading(TransportKind::WebSocket) => {
                self.due.upgradings = self.due.upgradings.checked_sub(1).expect("Upgrading without a probe");
            }
            Event::Upgraded(TransportKind::WebSocket) => {
                assert!(std::mem::take(&mut self.due.upgraded), "Upgraded without an upgrade");
            }
            Event::Heartbeat => {
                self.due.heartbeats = self.due.heartbeats.checked_sub(1).expect("Heartbeat without a pong");
            }
            Event::Ended(reason) => {
                assert_eq!(Some(reason), self.reason, "law 3: the true reason");
                assert!(!self.is_idle(), "Ended without a message that waits");
                assert!(!std::mem::replace(&mut self.ended, true), "law 3: Ended twice");
            }
            Event::Closed(reason) => {
                assert_eq!(Some(reason), self.reason, "law 3: the true reason");
                assert!(self.is_idle(), "law 3: Closed before the last message was taken");
                self.told = true;
            }
            other => panic!("unknown event {other:?}"),
        }
    }

    /// Whether nothing is left for the application.
    pub fn is_idle(&self) -> bool {
        self.unread.is_empty() && self.waiting.is_empty() && self.behind.is_empty()
    }

    /// The step is over: nothing may be missing, and the session must be where the model is.
    pub fn settle(&mut self, session: &Session) {
        session.check().unwrap_or_else(|violation| panic!("{violation}"));
        let due = std::mem::take(&mut self.due);
        assert_eq!(due, Default::default(), "law 1, 3: this is missing");
        if self.state == State::Closed {
            self.ready = false;
            self.flushing = None;
            self.batch = 0;
        }
        assert_eq!(session.state(), self.state, "the state");
        assert_eq!(session.phase(), self.phase(), "the phase");
        assert_eq!(session.close_reason(), self.reason, "law 3: the true reason");
        assert_eq!(session.upgraded(), self.upgraded);
        assert_eq!(session.is_unconfirmed(), self.confirm_by.is_some(), "whether the client is confirmed");
        assert_eq!(session.transport(), self.transport, "the transport");
        assert_eq!(self.told, self.reason.is_some() && self.is_idle(), "law 3: Closed exactly when all is taken");
        self.settle_exchanges();
        self.settle_cursors(session);
        self.settle_buffers(session);
        self.settle_channel(session);
        self.settle_time(session);
    }

    /// Law 1: whatever is still open has a reason to be.
    fn settle_exchanges(&self) {
        if self.get.is_some() {
            assert!(self.on_polling(), "a poll is held by a session that is not on polling");
            let something = !self.queue.is_empty() || self.owes_ping();
            let may_answer = self.ledger.exchanges() < MAX_ANSWERS;
            let may_speak = self.opening || (something && may_answer);
            assert!(!may_speak, "a poll is held although there is something to say");
            assert!(self.closing.is_none() || !self.is_written(), "a poll is held although the session is to end");
        }
        match self.post {
            Post::Free => (),
            Post::Receiving(_) => assert_ne!(self.state, State::Closed, "a POST is received by a closed session"),
            Post::Held(_) => assert!(!self.has_inbox_room(), "a POST waits without need"),
        }
    }

    /// Law 14, and what follows from it: nothing is written that the embedder did not report, a close in order waits for
    /// the last message, and who waits is told.
    fn settle_cursors(&self, session: &Session) {
        let stats = session.stats();
        let cursors = [stats.messages_written, stats.messages_sent, stats.messages_accepted];
        assert_eq!(cursors, [self.ledger.written, self.ledger.handed, self.accepted()], "law 14");
        assert!(cursors.is_sorted(), "law 14: the cursors are out of order");
        assert!(self.awaited.is_none_or(|awaited| awaited > self.ledger.written), "written without Written");
        let pinged = matches!(self.ping, Ping::Owed(_) | Ping::Sent(_));
        let urgent = self.awaited.is_some() || self.closing.is_some() || pinged;
        let unwritten = self.ledger.written < self.ledger.handed;
        let on_channel = self.state == State::Channel;
        assert_eq!(session.wants_written(), on_channel && urgent && unwritten, "whether a report is urgent");
        let closing = on_channel && self.closing.is_some();
        assert!(!closing || self.has_frames() || !self.is_written(), "a closing session waits for nothing");
    }

    /// Laws 2 and 4.
    fn settle_buffers(&self, session: &Session) {
        assert_eq!(session.send_buffered(), Self::cost(&self.queue), "law 4: bytes to send");
        assert_eq!(session.receive_buffered(), Self::cost(&self.unread), "law 4: bytes received");
        assert!(session.send_buffered() < SEND_LIMIT + Said::COST, "law 4: the send buffer is above its limit");
        assert!(self.unread.len() <= 1, "law 4: the receive buffer is above its limit plus one message");
        assert!(session.unsent().cloned().eq(self.queue.iter().map(|said| said.message())), "law 2: what is unsent");
        assert!(self.unread.is_empty() || self.readable, "messages wait without Readable");
        let some_left = self.full.is_some_and(|waiting| self.queue.len() < waiting);
        assert!(!some_left || Self::cost(&self.queue) > SEND_LOW, "there is room without Writable");
    }

    fn settle_channel(&mut self, session: &Session) {
        assert!(!self.has_frames() || self.ready, "frames wait without ChannelReady");
        assert!(self.flushing.is_none() || !self.queue.is_empty(), "a Flush without its Drain");
        if self.state == State::Channel {
            assert_eq!(self.reading, self.wants_frames(), "what is read from the channel");
        }
        if let Some(channel) = self.channel {
            assert_eq!(session.wants_frames(engineio_proto::ChannelId(channel)), self.reading);
        }
    }

    /// Laws 5 and 9.
    fn settle_time(&mut self, session: &Session) {
        let slow = !self.has_inbox_room() && (self.state == State::Channel || !self.waiting.is_empty());
        self.excused |= slow && matches!(self.ping, Ping::Owed(_) | Ping::Sent(_));
        let Some(next) = session.next_timeout() else {
            return assert_eq!(self.state, State::Closed, "law 5: an open session wants to be woken");
        };
        assert!(next > self.now, "law 5: what is due at {next:?} should be done at {:?}", self.now);
        let probing = matches!(self.state, State::Probing | State::Probed).then_some(self.probe_deadline.at);
        let ping = if let Ping::Due(at) = self.ping { Some(at) } else { self.patience() };
        let body = matches!(self.post, Post::Receiving(_)).then_some(self.body_by.at);
        let confirm = self.confirm_by.filter(|_| self.closing.is_none()).map(|by| by.at);
        let expected = [ping, self.closing.map(|by| by.at), body, probing, confirm].into_iter().flatten().min();
        if self.state == State::Probed && self.get.is_some() {
            // The release of the poll may come before all of these, and must not come late.
            assert!(Some(next) <= expected.min(Some(self.now + RELEASE.1)), "law 5: woken at {next:?}, too late");
        } else {
            assert_eq!(Some(next), expected, "law 5: when to be woken");
        }
    }
}
