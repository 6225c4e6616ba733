//! The model: a second, plain formulation of the rules, in terms of what server and application can see.

use std::collections::VecDeque;

use engineio_proto::client;
use engineio_proto::{
    ChannelEnd, CloseReason, Instant, Phase, RequestError, TransportError, TransportKind, UpgradeError,
};

use crate::alphabet::Word;
use crate::explore_common::by::{By, More};
use crate::explore_common::ledger::Ledger;
use crate::explore_common::said::Said;
use crate::explore_common::wire::Heard;
use crate::setting::{CLOSE_TIMEOUT, Kind, MAX_PAYLOAD, OPEN_TIMEOUT, PATIENCE, RECEIVE_LIMIT, START, UPGRADE_TIMEOUT};

/// The number of a request that must be asked for in the step under way, until it is heard.
pub const NEW_GET: u64 = u64::MAX;
pub const NEW_POST: u64 = u64::MAX - 1;
/// The same for a channel.
pub const NEW_CHANNEL: u64 = u64::MAX - 2;

/// Something of the server that waits to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Message(Said),
    Other(Word),
    /// Behind the last packet of an answer.
    AnswerEnd,
}

/// A POST that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Post {
    pub id: u64,
    /// It carries the close packet.
    pub last: bool,
}

/// Where a channel is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    pub id: u64,
    pub open: bool,
    /// `2probe` was pulled.
    pub probed: bool,
}

/// The latest numbers that the client gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latest {
    pub get: u64,
    pub post: u64,
    pub channel: u64,
}

/// What the step under way must bring. Empty between steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Due {
    pub get: bool,
    /// The packets of a POST.
    pub post: Option<Vec<Heard>>,
    /// A POST that says no more than `1`, and does not count.
    pub farewell: bool,
    pub cancels: Vec<u64>,
    pub channel: bool,
    pub closes: Vec<u64>,
    pub opened: bool,
    pub upgrading: bool,
    pub upgraded: bool,
    pub upgrade_failed: Option<UpgradeError>,
    /// Pings that are handled in one go are told once.
    pub heartbeat: bool,
    /// So many packets are about to be pulled.
    pub flush: Option<usize>,
    /// All that was told by the last Flush was taken.
    pub drain: bool,
    /// The rows of the table that were taken.
    pub rows: Vec<client::Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    pub kind: Kind,
    pub now: Instant,
    pub state: client::State,
    pub transport: TransportKind,
    /// The transports that have not failed.
    pub left: Vec<TransportKind>,
    pub worked: bool,
    /// The server has opened the session.
    pub known: bool,
    pub upgraded: bool,
    pub closing: Option<By>,
    pub reason: Option<CloseReason>,
    /// The status with which a request was refused.
    pub details: Option<u16>,
    /// The application was told that the session is over.
    pub told: bool,
    /// The application was told that it is over, before it has taken everything.
    pub ended: bool,

    pub open_by: By,
    pub upgrade_by: By,
    /// While it pauses: when it polls again although a POST is under way, if that time has not come.
    pub stalled_at: Option<Instant>,
    /// While it pauses: after this time it polls no more.
    pub polls_until: Instant,
    /// Until when the server may be silent.
    pub patience: Option<Instant>,
    /// The server gets more time because the host stood still. While it runs, nothing says that the server is there.
    pub more: More,
    /// A packet that is no ping came since the last ping.
    pub extended: bool,
    /// The application was slow since, so that the server's packets could not come: it gets more time.
    pub excused: bool,
    /// When it was given more time, messages were not written, and none was since.
    pub stalled: bool,

    pub get: Option<u64>,
    pub post: Option<Post>,
    pub channel: Option<Channel>,
    pub latest: Latest,
    pub owes_upgrade: bool,
    pub owes_pong: bool,

    /// From the server to the application: what can be taken, and what is in order behind it.
    pub unread: VecDeque<Said>,
    pub waiting: VecDeque<Item>,
    pub wanted: bool,
    /// From the application to the server: what was not handed over, and what became of the rest.
    pub queue: VecDeque<Said>,
    pub ledger: Ledger,
    /// The application waits until so many messages are written.
    pub awaited: Option<u64>,

    /// What the embedder was told: to read, that there are frames, that there are messages.
    pub reading: bool,
    pub ready: bool,
    pub readable: bool,
    /// How many messages waited when one was refused; until there was room again.
    pub full: Option<usize>,
    /// How many packets the last Flush announced, until its Drain.
    pub flushing: Option<usize>,
    /// How many of those on the channel were not pulled, and whether a pong is among them.
    pub batch: (usize, bool),

    pub due: Due,
}

impl Model {
    pub fn new(kind: Kind) -> Self {
        let first = if kind.worked { TransportKind::WebSocket } else { kind.transports[0] };
        let mut model = Self {
            kind,
            now: START,
            state: client::State::Opening,
            transport: first,
            left: kind.transports.to_vec(),
            worked: kind.worked,
            known: false,
            upgraded: false,
            closing: None,
            reason: None,
            details: None,
            told: false,
            ended: false,
            open_by: By::new(START),
            upgrade_by: By::new(START),
            stalled_at: None,
            polls_until: START,
            patience: None,
            more: More::Unused,
            extended: false,
            excused: false,
            stalled: false,
            get: None,
            post: None,
            channel: None,
            latest: Latest::default(),
            owes_upgrade: false,
            owes_pong: false,
            unread: VecDeque::new(),
            waiting: VecDeque::new(),
            wanted: true,
            queue: VecDeque::new(),
            ledger: Ledger::default(),
            awaited: None,
            reading: true,
            ready: false,
            readable: false,
            full: None,
            flushing: None,
            batch: (0, false),
            due: Due::default(),
        };
        model.open();
        model
    }

    pub fn phase(&self) -> Phase {
        match (self.reason, self.closing) {
            (Some(_), _) => Phase::Closed,
            (None, Some(_)) => Phase::Closing,
            (None, None) if !self.known => Phase::Opening,
            (None, None) => Phase::Open,
        }
    }

    pub fn on_polling(&self) -> bool {
        matches!(self.state, client::State::Polling | client::State::Probing | client::State::Pausing)
    }

    pub fn is_upgrading(&self) -> bool {
        matches!(self.state, client::State::Probing | client::State::Pausing)
    }

    pub fn cost(messages: &VecDeque<Said>) -> usize {
        messages.iter().map(|said| said.cost()).sum()
    }

    /// Messages accepted so far.
    pub fn accepted(&self) -> u64 {
        self.ledger.handed + self.queue.len() as u64
    }

    /// Whether every accepted message is written.
    pub fn is_written(&self) -> bool {
        self.ledger.written == self.accepted()
    }

    /// Whether messages travel on a channel, or did so until the end.
    pub fn is_on_channel(&self) -> bool {
        let stage = matches!(self.state, client::State::Channel | client::State::Closed);
        stage && self.transport == TransportKind::WebSocket
    }

    /// Whether a probe was asked to be sent and was not pulled.
    pub fn owes_probe(&self) -> bool {
        self.is_upgrading() && self.channel.is_some_and(|channel| channel.open && !channel.probed)
    }

    pub fn has_frames(&self) -> bool {
        let on_channel = self.owes_upgrade || self.has_something();
        self.owes_probe() || self.state == client::State::Channel && on_channel
    }

    /// Whether a pong, or messages, are to leave. A server that may be gone is sent no messages.
    fn has_something(&self) -> bool {
        self.owes_pong || !self.queue.is_empty() && !self.is_in_doubt()
    }

    /// Whether the client does not know that the server is still there.
    pub fn is_in_doubt(&self) -> bool {
        self.more == More::Running
    }

    /// Whether something is to be posted.
    pub fn has_post(&self) -> bool {
        self.has_something() || self.closing.is_some() && !self.is_in_doubt()
    }

    /// Whether a frame may be read from the channel.
    pub fn wants_frames(&self) -> bool {
        self.waiting.is_empty() && self.has_inbox_room()
    }

    pub fn has_inbox_room(&self) -> bool {
        Self::cost(&self.unread) < RECEIVE_LIMIT
    }

    /// Takes a row of the table.
    pub fn shift(&mut self, trigger: client::Trigger, to: client::State) {
        self.due.rows.push(client::Row(self.state, trigger, to));
        self.state = to;
    }

    /// The transport that it is on, or tries, is opened.
    pub fn open(&mut self) {
        self.open_by = By::new(self.now + OPEN_TIMEOUT);
        match self.transport {
            TransportKind::Polling => self.ask_get(),
            _ => self.ask_channel(),
        }
    }

    pub fn ask_get(&mut self) {
        self.due.get = true;
        self.get = Some(NEW_GET);
    }

    pub fn ask_channel(&mut self) {
        self.due.channel = true;
        self.channel = Some(Channel { id: NEW_CHANNEL, open: false, probed: false });
    }

    // What the transports do.

    /// The GET that is under way is answered with packets.
    pub fn got(&mut self, items: impl Iterator<Item = Item>) {
        self.get = None;
        self.waiting.extend(items);
        self.waiting.push_back(Item::AnswerEnd);
    }

    /// The GET that is under way has no answer that helps.
    pub fn get_failed(&mut self, error: RequestError) {
        self.get = None;
        if self.post.is_some_and(|post| post.last) {
            // Overtaken by the goodbye, whose own answer tells what became of the last messages.
            return;
        }
        self.note(error);
        let reason = CloseReason::TransportError(TransportError::Poll(error));
        match error {
            _ if !self.known => self.fail_opening(reason),
            // The server knows of no session.
            RequestError::Status(_) => self.end(reason),
            _ => self.leave(reason),
        }
    }

    /// The server took the POST.
    pub fn posted(&mut self) {
        let Some(post) = self.post.take() else { return };
        self.ledger.exchange_written(post.id);
        self.stalled = false;
        self.due.drain = self.flushing.is_some();
        if post.last {
            self.end(CloseReason::ForcedClose);
        }
    }

    /// The POST that is under way has no answer that helps.
    pub fn post_failed(&mut self, error: RequestError) {
        if self.post.take().is_none() {
            return;
        }
        self.note(error);
        let reason = CloseReason::TransportError(TransportError::Post(error));
        match error {
            // The server did not like the body; the session is not over there.
            RequestError::Status(413) => self.leave(reason),
            _ => self.end(reason),
        }
    }

    fn note(&mut self, error: RequestError) {
        if let RequestError::Status(status) = error {
            self.details = Some(status);
        }
    }

    pub fn channel_opened(&mut self) {
        if let Some(channel) = &mut self.channel {
            channel.open = true;
        }
    }

    /// A packet on the channel of a probe.
    pub fn probe_frame(&mut self, word: Word) {
        match word {
            Word::Noop => (),
            Word::ProbeAnswer if self.state == client::State::Probing && !self.owes_probe() => {
                self.shift(client::Trigger::ProbeAnswered, client::State::Pausing);
                let took = UPGRADE_TIMEOUT - self.upgrade_by.at.saturating_since(self.now);
                self.stalled_at = Some(self.now + took.max(UPGRADE_TIMEOUT / 10));
                self.polls_until = self.now + (UPGRADE_TIMEOUT - took).saturating_sub(took);
                self.worked = true;
                self.due.upgrading = true;
            }
            _ => self.fail_probe(UpgradeError::UnexpectedPacket),
        }
    }

    /// A packet on the channel that the client is on, or opens the session on.
    pub fn frame(&mut self, item: Item) {
        self.waiting.push_back(item);
    }

    /// The channel that the client is on, or was, has written everything up to this message.
    pub fn channel_written(&mut self, messages: u64) {
        let news = self.ledger.channel_written(messages);
        self.stalled &= !news;
    }

    /// A connection takes more again: the server reads.
    pub fn unblocked(&mut self) {
        if let Some(patience) = &mut self.patience {
            *patience = self.now + PATIENCE;
            self.more = More::Unused;
            self.stalled = false;
        }
    }

    pub fn gone(&mut self, end: ChannelEnd) {
        self.channel = None;
        if self.is_upgrading() {
            return self.fail_probe(UpgradeError::TransportClosed);
        }
        let reason = match end {
            ChannelEnd::Closed => CloseReason::TransportClose,
            ChannelEnd::Lost => CloseReason::TransportLost,
            ChannelEnd::Unopened => CloseReason::TransportError(TransportError::Unopened),
            ChannelEnd::Violation => CloseReason::TransportError(TransportError::Violation),
            ChannelEnd::TooLarge => CloseReason::TransportError(TransportError::MessageTooLarge),
        };
        if !self.known {
            return self.fail_opening(reason);
        }
        if self.owes_upgrade { self.leave(reason) } else { self.end(reason) }
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
        if !matches!(self.phase(), Phase::Opening | Phase::Open) {
            return;
        }
        self.closing = Some(By::new(self.now + CLOSE_TIMEOUT));
        if self.state == client::State::Probing {
            // The server has not agreed to the change.
            self.fail_probe(UpgradeError::SessionClosed);
        }
    }

    pub fn abort(&mut self) {
        // Whatever was asked for before: this is no end in order.
        self.closing = None;
        self.unread.clear();
        self.waiting.clear();
        self.leave(CloseReason::ForcedClose);
    }

    pub fn discard(&mut self) {
        self.wanted = false;
        self.unread.clear();
    }

    // What the server takes.

    /// The packet that a pull must bring.
    pub fn pull(&mut self) -> Option<Heard> {
        let heard = self.next_frame();
        self.ready &= heard.is_some();
        heard
    }

    fn next_frame(&mut self) -> Option<Heard> {
        if self.owes_probe() {
            self.channel.as_mut()?.probed = true;
            return Some(Heard::new(b'2', "probe"));
        }
        if self.state != client::State::Channel {
            return None;
        }
        if std::mem::take(&mut self.owes_upgrade) {
            return Some(Heard::new(b'5', ""));
        }
        if !self.has_frames() {
            return None;
        }
        if self.batch.0 == 0 {
            self.batch = (self.queue.len() + usize::from(self.owes_pong), self.owes_pong);
            self.due.flush = Some(self.batch.0);
        }
        if std::mem::take(&mut self.owes_pong) {
            // One that came later slips in, and was not announced.
            self.batch.0 -= usize::from(std::mem::take(&mut self.batch.1));
            self.due.drain = self.batch.0 == 0;
            return Some(Heard::new(b'3', ""));
        }
        self.batch.0 -= 1;
        self.due.drain = self.batch.0 == 0;
        self.ledger.give_to_channel();
        self.queue.pop_front().map(Said::heard)
    }

    /// Polls, unless the last answer is not done with, or nothing is to come any more.
    pub fn poll(&mut self) {
        let polls = matches!(self.state, client::State::Polling | client::State::Probing);
        let leaving = self.post.is_some_and(|post| post.last);
        let polls = polls && self.get.is_none() && self.waiting.is_empty() && !leaving;
        let stalled = self.may_stall() && self.stalled_at.is_none() && self.now <= self.polls_until;
        if polls || stalled && self.get.is_none() && self.waiting.is_empty() {
            self.ask_get();
        }
    }

    /// Whether a change of the transport waits for the answer to a POST.
    pub fn may_stall(&self) -> bool {
        self.state == client::State::Pausing && self.post.is_some()
    }

    /// Posts what there is, if there is something, and no other POST is under way.
    pub fn flush(&mut self) {
        let posts = matches!(self.state, client::State::Polling | client::State::Probing);
        if !posts || self.post.is_some() || !self.has_post() {
            return;
        }
        let mut packets = Vec::new();
        let mut len = 0;
        if std::mem::take(&mut self.owes_pong) {
            packets.push(Heard::new(b'3', ""));
            len = 1;
        }
        let mut messages = 0;
        let in_doubt = self.is_in_doubt();
        while let Some(said) = self.queue.front().filter(|_| !in_doubt) {
            let more = if len == 0 { said.text().len() } else { len + 1 + said.text().len() };
            if len > 0 && more > MAX_PAYLOAD {
                break;
            }
            len = more;
            messages += 1;
            packets.extend(self.queue.pop_front().map(Said::heard));
        }
        let fits = packets.is_empty() || len + 2 <= MAX_PAYLOAD;
        let last = self.closing.is_some() && self.queue.is_empty() && fits;
        packets.extend(last.then(|| Heard::new(b'1', "")));
        self.ledger.give(NEW_POST, messages);
        self.post = Some(Post { id: NEW_POST, last });
        assert!(self.due.post.replace(packets).is_none(), "two POSTs in one step");
    }

    pub fn start_probe(&mut self) {
        self.shift(client::Trigger::ProbeStarted, client::State::Probing);
        self.worked = false;
        self.upgrade_by = By::new(self.now + UPGRADE_TIMEOUT);
        self.ask_channel();
    }
}
