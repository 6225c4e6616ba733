//! Compares every output with the model, and then the whole client.

use engineio_proto::client::{self, Details};
use engineio_proto::{ChannelId, Client, Event, TransportKind};

use crate::explore_common::said::Said;
use crate::explore_common::wire::{self, Heard};
use crate::model::{Model, NEW_CHANNEL, NEW_GET, NEW_POST};
use crate::setting::{MAX_PAYLOAD, SEND_LIMIT, SEND_LOW};

impl Model {
    /// Takes one output, which must be one that is due.
    pub fn hear(&mut self, output: &client::Output) {
        match output {
            client::Output::Request { exchange, request } => self.hear_request(exchange.0, request),
            client::Output::Cancel { exchange } => {
                let position = self.due.cancels.iter().position(|&id| id == exchange.0);
                self.due.cancels.remove(position.expect("law 1: a request is cancelled without need"));
            }
            client::Output::ChannelOpen { channel, target } => self.hear_channel_open(channel.0, target),
            client::Output::ChannelReady { channel } => {
                assert!(!self.ready, "frames are announced twice");
                assert!(self.has_frames(), "frames are announced that are not there");
                self.ready = self.channel.is_some_and(|own| own.id == channel.0);
            }
            client::Output::ChannelRead { channel, enabled } => {
                assert!(self.channel.is_none_or(|own| own.id == channel.0), "a channel that is not the client's");
                assert_ne!(self.reading, *enabled, "reading is switched to what it was");
                self.reading = *enabled;
            }
            client::Output::ChannelClose { channel } => {
                let position = self.due.closes.iter().position(|&id| id == channel.0);
                self.due.closes.remove(position.expect("a channel is closed without need"));
            }
            client::Output::Event(event) => self.hear_event(*event),
        }
    }

    /// Every URL names the transport, and the session as soon as there is one.
    fn check_target(&self, target: &str, transport: &str, known: bool) {
        let begin = format!("/engine.io/?EIO=4&transport={transport}");
        assert!(target.starts_with(&begin), "{target}");
        assert_eq!(target.contains("&sid=S"), known, "R-47: {target}");
    }

    fn new_number(&self, number: u64) {
        let Self { latest, .. } = self;
        assert!(number > latest.get.max(latest.post).max(latest.channel), "{number} was given before");
    }

    fn hear_request(&mut self, id: u64, request: &client::Request) {
        self.new_number(id);
        let Some(body) = &request.body else {
            self.check_target(&request.target, "polling", self.known);
            assert!(std::mem::take(&mut self.due.get), "law 1: a GET that is not due");
            self.latest.get = id;
            return self.rename(NEW_GET, id);
        };
        self.check_target(&request.target, "polling", true);
        let bytes = body.clone().into_bytes();
        assert_eq!(bytes.len(), body.encoded_len(), "law 11: the length of a body");
        let packets = wire::payload(&bytes).expect("law 11: everything emitted decodes");
        assert!(bytes.len() <= MAX_PAYLOAD || packets.len() == 1, "law 11: a body is too large");
        self.latest.post = id;
        let Some(expected) = self.due.post.take() else {
            assert!(std::mem::take(&mut self.due.farewell), "law 1: a POST that is not due: {packets:?}");
            return assert_eq!(packets, [Heard::new(b'1', "")], "a farewell");
        };
        assert_eq!(packets, expected, "law 2: towards the server");
        let announced = packets.iter().filter(|packet| packet.kind != b'1').count();
        assert_eq!(self.flushing.unwrap_or(0), announced, "packets leave without their Flush");
        self.rename(NEW_POST, id);
    }

    fn hear_channel_open(&mut self, id: u64, target: &str) {
        self.new_number(id);
        self.check_target(target, "websocket", self.known);
        assert!(std::mem::take(&mut self.due.channel), "a channel that is not due");
        self.latest.channel = id;
        self.rename(NEW_CHANNEL, id);
    }

    /// What had to be asked for has its number.
    fn rename(&mut self, new: u64, id: u64) {
        self.ledger.rename(new, id);
        let Self { get, post, channel, due, .. } = self;
        let numbers = get.iter_mut().chain(post.iter_mut().map(|post| &mut post.id));
        let numbers = numbers.chain(channel.iter_mut().map(|channel| &mut channel.id));
        numbers.chain(&mut due.cancels).chain(&mut due.closes).filter(|number| **number == new).for_each(|n| *n = id);
    }

    fn hear_event(&mut self, event: Event) {
        assert!(!self.told, "law 3: {event:?} behind Closed");
        match event {
            Event::Opened => assert!(std::mem::take(&mut self.due.opened), "Opened without an open packet"),
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
                assert!(self.due.flush.take().is_none_or(|due| due == packets), "Flush {packets} is not what waits");
            }
            Event::Drain => {
                assert!(self.flushing.take().is_some(), "Drain without Flush");
                assert!(std::mem::take(&mut self.due.drain), "Drain before all is taken");
            }
            Event::Written => {
                let awaited = self.awaited.take().expect("Written without a wait");
                assert!(awaited <= self.ledger.written, "Written before it is");
            }
            Event::Upgrading(TransportKind::WebSocket) => {
                assert!(std::mem::take(&mut self.due.upgrading), "Upgrading without an answer to a probe");
            }
            Event::Upgraded(TransportKind::WebSocket) => {
                assert!(!self.due.upgrading, "Upgraded before Upgrading");
                assert!(std::mem::take(&mut self.due.upgraded), "Upgraded without an upgrade");
            }
            Event::UpgradeFailed(error) => assert_eq!(self.due.upgrade_failed.take(), Some(error), "UpgradeFailed"),
            Event::Heartbeat => {
                assert!(!self.due.opened, "Heartbeat before Opened");
                assert!(std::mem::take(&mut self.due.heartbeat), "Heartbeat without a ping");
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
        self.unread.is_empty() && self.waiting.is_empty()
    }

    /// The step is over: nothing may be missing, and the client must be where the model is.
    pub fn settle(&mut self, client: &Client) {
        client.check().unwrap_or_else(|violation| panic!("{violation}"));
        let mut due = std::mem::take(&mut self.due);
        for row in due.rows.drain(..) {
            assert!(client::TRANSITIONS.contains(&row), "{row:?} is not in the table");
        }
        assert_eq!(due, Default::default(), "law 1, 3: this is missing");
        if self.state == client::State::Closed {
            self.ready = false;
            self.flushing = None;
            self.batch = (0, false);
        }
        assert_eq!(client.state(), self.state, "the state");
        assert_eq!(client.phase(), self.phase(), "the phase");
        assert_eq!(client.transport(), self.transport, "the transport");
        assert_eq!(client.close_reason(), self.reason, "law 3: the true reason");
        assert_eq!(client.upgraded(), self.upgraded);
        assert_eq!(client.websocket_worked(), self.worked, "whether a WebSocket worked");
        assert_eq!(client.sid().is_some(), self.known);
        assert_eq!(client.current_channel(), self.channel.map(|channel| ChannelId(channel.id)));
        let status = client.details().and_then(|details| match details {
            Details::Answer { status, .. } => Some(*status),
            Details::Handshake { .. } if !self.known && self.state == client::State::Closed => None,
            other => panic!("nobody said {other:?}"),
        });
        assert_eq!(status, self.details, "what the server said");
        assert_eq!(self.told, self.reason.is_some() && self.is_idle(), "law 3: Closed exactly when all is taken");
        assert_eq!(client.is_finished(), self.told);
        self.settle_requests();
        self.settle_cursors(client);
        self.settle_buffers(client);
        self.settle_channel(client);
        self.settle_time(client);
    }

    /// Law 1, and: who should poll polls, and nobody else.
    fn settle_requests(&self) {
        let by_polling = self.on_polling() || self.state == client::State::Opening;
        assert!(by_polling || (self.get.is_none() && self.post.is_none()), "a request is under way without need");
        if matches!(self.state, client::State::Polling | client::State::Probing) {
            let excused = !self.waiting.is_empty() || self.post.is_some_and(|post| post.last);
            assert!(self.get.is_some() || excused, "nothing polls");
            assert!(self.post.is_some() || !self.has_post(), "nothing posts");
        }
    }

    /// Law 14, and what follows from it: nothing is written that the embedder did not report, a close in order waits for
    /// the last message, and who waits is told.
    fn settle_cursors(&self, client: &Client) {
        let stats = client.stats();
        let cursors = [stats.messages_written, stats.messages_sent, stats.messages_accepted];
        assert_eq!(cursors, [self.ledger.written, self.ledger.handed, self.accepted()], "law 14");
        assert!(cursors.is_sorted(), "law 14: the cursors are out of order");
        assert!(self.awaited.is_none_or(|awaited| awaited > self.ledger.written), "written without Written");
        let on_channel = self.state == client::State::Channel;
        let urgent = self.awaited.is_some() || self.closing.is_some() || !self.has_inbox_room();
        let unwritten = self.ledger.written < self.ledger.handed;
        assert_eq!(client.wants_written(), on_channel && urgent && unwritten, "whether a report is urgent");
        let closing = on_channel && self.closing.is_some();
        assert!(!closing || self.has_frames() || !self.is_written(), "a closing session waits for nothing");
    }

    /// Laws 2 and 4.
    fn settle_buffers(&self, client: &Client) {
        assert_eq!(client.send_buffered(), Self::cost(&self.queue), "law 4: bytes to send");
        assert_eq!(client.receive_buffered(), Self::cost(&self.unread), "law 4: bytes received");
        let last = self.queue.back().map_or(0, |said| said.cost());
        assert!(client.send_buffered() < SEND_LIMIT + last.max(1), "law 4: the send buffer is above its limit");
        assert!(self.unread.len() <= 1, "law 4: the receive buffer is above its limit plus one message");
        assert!(client.unsent().cloned().eq(self.queue.iter().map(|said| said.message())), "law 2: what is unsent");
        assert!(self.unread.is_empty() || self.readable, "messages wait without Readable");
        let some_left = self.full.is_some_and(|waiting| self.queue.len() < waiting);
        assert!(!some_left || Self::cost(&self.queue) > SEND_LOW, "there is room without Writable");
    }

    fn settle_channel(&mut self, client: &Client) {
        assert!(!self.has_frames() || self.ready, "frames wait without ChannelReady");
        let more = self.post.is_some() || !self.queue.is_empty() || self.owes_pong;
        assert!(self.flushing.is_none() || more, "a Flush without its Drain");
        if self.state == client::State::Channel {
            assert_eq!(self.reading, self.wants_frames(), "what is read from the channel");
        }
        if let Some(channel) = self.channel {
            assert_eq!(client.wants_frames(ChannelId(channel.id)), self.reading);
        }
    }

    /// Laws 5 and 9.
    fn settle_time(&mut self, client: &Client) {
        let slow = !self.has_inbox_room() && (self.state == client::State::Channel || !self.waiting.is_empty());
        self.excused |= slow && self.patience.is_some();
        let Some(next) = client.next_timeout() else {
            return assert_eq!(self.state, client::State::Closed, "law 5: an open client wants to be woken");
        };
        assert!(next > self.now, "law 5: what is due at {next:?} should be done at {:?}", self.now);
        let opening = (self.state == client::State::Opening).then_some(self.open_by.at);
        let upgrade = self.is_upgrading().then_some(self.upgrade_by.at);
        let stalled = self.stalled_at.filter(|_| self.may_stall());
        let closing = self.closing.map(|by| by.at);
        let expected = [opening, upgrade, stalled, self.patience, closing].into_iter().flatten().min();
        assert_eq!(Some(next), expected, "law 5: when to be woken");
    }

    /// What a message of this client counts for when the buffer is asked for room.
    pub fn has_room_for(&self, said: &[Said]) -> bool {
        let waiting = Self::cost(&self.queue);
        let more: usize = said.iter().map(|said| said.cost()).sum();
        waiting < SEND_LIMIT && (said.len() == 1 || waiting + more <= SEND_LIMIT)
    }
}
