//! A client in its own world, with a server that the test controls.
//!
//! The world plays the part of an adapter, by the public API alone: it takes requests and channels that the client asks
//! for, pulls frames only when they were announced, and keeps the clock. After every word it pulls what the client asks
//! for, checks its laws, and checks what only somebody outside can see: no number is used twice, no two requests are
//! alike, at most one GET and one POST are under way, a body is within the server's limit unless it is one packet, a
//! channel that was closed is left alone, and nothing at all follows the end. So a test can be read as a story:
//!
//! ```ignore
//! let mut world = World::polling();
//! world.send("a");
//! assert_eq!(world.post(), Some("4a"));
//! world.answer_post();
//! world.answer_get("4b");
//! assert_eq!(world.recv_all(), ["b"]);
//! ```
//!
//! A message or frame of bytes is written as `<01 ff>`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::client::{self, Details};
use engineio_proto::wire::{Codec, Frame};
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, Event, ExchangeId, Instant, Message, RequestError, SendError,
    TransportError, TransportKind, UpgradeError,
};

pub(crate) const UPGRADED: Event = Event::Upgraded(TransportKind::WebSocket);
pub(crate) const UPGRADING: Event = Event::Upgrading(TransportKind::WebSocket);
pub(crate) const LOST: CloseReason = CloseReason::TransportError(TransportError::Poll(RequestError::Lost));
pub(crate) const INVALID: CloseReason = CloseReason::TransportError(TransportError::InvalidPacket);
pub(crate) const NO_HANDSHAKE: CloseReason = CloseReason::TransportError(TransportError::InvalidHandshake);

pub(crate) const fn failed(error: UpgradeError) -> Event {
    Event::UpgradeFailed(error)
}

/// What a server opens a session with: `sid` is `abc`, it pings every 25 s and waits 20 s.
pub(crate) fn open_packet(upgrades: &str, max_payload: usize) -> String {
    format!(
        r#"0{{"sid":"abc","upgrades":[{upgrades}],"pingInterval":25000,"pingTimeout":20000,"maxPayload":{max_payload}}}"#
    )
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) now: Instant,
    /// What the server says that it takes at once.
    pub(crate) max_payload: usize,
    /// Whether frames are written as soon as they are pulled. When not, [`World::write`] writes them.
    pub(crate) writing: bool,
    /// Messages that were pulled from a channel, and are not written.
    pulled: Option<(ChannelId, u64)>,
    requests: BTreeMap<ExchangeId, Asked>,
    channels: BTreeMap<ChannelId, Channel>,
    targets: BTreeSet<String>,
    events: Vec<Event>,
    /// The end was told.
    over: bool,
    /// Bodies of all POSTs, in order.
    pub(crate) posts: Vec<String>,
}

/// A request that the client asked for.
struct Asked {
    target: String,
    /// Of a POST.
    body: Option<String>,
    /// It was neither answered nor cancelled.
    waits: bool,
    cancelled: bool,
}

struct Channel {
    target: String,
    ready: bool,
    reading: bool,
    /// The client did not ask for its end.
    open: bool,
    /// The server ended it.
    gone: bool,
}

impl World {
    /// A client that has just begun, with its options changed.
    pub(crate) fn with(change: impl FnOnce(&mut client::Config)) -> Self {
        let mut config = client::Config::default();
        change(&mut config);
        let now = Instant::from_millis(1_000_000);
        let mut world = Self {
            client: Client::new(now, Arc::new(config), 7).unwrap(),
            now,
            max_payload: 1_000_000,
            writing: true,
            pulled: None,
            requests: BTreeMap::new(),
            channels: BTreeMap::new(),
            targets: BTreeSet::new(),
            events: Vec::new(),
            over: false,
            posts: Vec::new(),
        };
        world.settle();
        world
    }

    /// A client that has just begun with this transport and has no other.
    pub(crate) fn only(transport: TransportKind) -> Self {
        Self::with(|config| config.transports = vec![transport])
    }

    /// A client whose first transport failed or may fail: it may try the other.
    pub(crate) fn trying(first: TransportKind) -> Self {
        Self::with(|config| {
            config.try_all_transports = true;
            if first == TransportKind::WebSocket {
                config.transports.reverse();
            }
        })
    }

    /// A client on polling that is offered nothing else.
    pub(crate) fn polling() -> Self {
        Self::polling_with(|_| ())
    }

    pub(crate) fn polling_with(change: impl FnOnce(&mut client::Config)) -> Self {
        let mut world = Self::with(change);
        world.answer_get(&open_packet("", 1_000_000));
        world
    }

    /// A client on polling whose server takes this much at once.
    pub(crate) fn limited(max_payload: usize) -> Self {
        let mut world = Self::with(|_| ());
        world.max_payload = max_payload;
        world.answer_get(&open_packet("", max_payload));
        world
    }

    /// A client on polling that asked for the WebSocket that it was offered.
    pub(crate) fn offered() -> Self {
        Self::offered_with(|_| ())
    }

    pub(crate) fn offered_with(change: impl FnOnce(&mut client::Config)) -> Self {
        let mut world = Self::with(change);
        world.answer_get(&open_packet(r#""websocket""#, 1_000_000));
        world
    }

    /// A client whose probe left and was not answered yet. A GET is under way.
    pub(crate) fn probing() -> Self {
        Self::probing_with(|_| ())
    }

    pub(crate) fn probing_with(change: impl FnOnce(&mut client::Config)) -> Self {
        let mut world = Self::offered_with(change);
        world.probe();
        world
    }

    /// A client whose probe was answered. A GET is under way.
    pub(crate) fn pausing() -> Self {
        let mut world = Self::probing();
        world.frame("3probe");
        world
    }

    /// A client that changed to a WebSocket. `5` waits to be pulled.
    pub(crate) fn switched() -> Self {
        let mut world = Self::pausing();
        world.answer_get("6");
        world
    }

    /// A client that changed to a WebSocket, `5` included.
    pub(crate) fn upgraded() -> Self {
        let mut world = Self::switched();
        assert_eq!(world.frames(), ["5"]);
        world
    }

    /// A client that began on a WebSocket.
    pub(crate) fn websocket() -> Self {
        Self::websocket_with(|_| ())
    }

    pub(crate) fn websocket_with(change: impl FnOnce(&mut client::Config)) -> Self {
        let mut world = Self::with(|config| {
            config.transports.reverse();
            change(config);
        });
        world.opened();
        world.frame(&open_packet("", 1_000_000));
        world
    }

    // The server by HTTP.

    /// The GET that is under way.
    pub(crate) fn get(&self) -> Option<ExchangeId> {
        self.waiting().find(|(_, asked)| asked.body.is_none()).map(|(exchange, _)| exchange)
    }

    fn post_id(&self) -> Option<ExchangeId> {
        self.waiting().find(|(_, asked)| asked.body.is_some()).map(|(exchange, _)| exchange)
    }

    fn waiting(&self) -> impl Iterator<Item = (ExchangeId, &Asked)> {
        self.requests.iter().filter(|(_, asked)| asked.waits).map(|(&exchange, asked)| (exchange, asked))
    }

    /// What the POST that is under way carries.
    pub(crate) fn post(&self) -> Option<&str> {
        self.waiting().find_map(|(_, asked)| asked.body.as_deref())
    }

    /// What stands in the URL of the GET that is under way.
    pub(crate) fn get_target(&self) -> &str {
        &self.requests[&self.get().expect("a GET is under way")].target
    }

    /// What stands in the URL of the POST that is under way.
    pub(crate) fn post_target(&self) -> &str {
        &self.requests[&self.post_id().expect("a POST is under way")].target
    }

    pub(crate) fn answer_get(&mut self, body: &str) {
        self.answer_get_with(200, body.to_owned());
    }

    pub(crate) fn answer_get_with(&mut self, status: u16, body: impl Into<Bytes>) {
        let exchange = self.get().expect("a GET is under way");
        self.answer(exchange, status, body.into());
    }

    pub(crate) fn answer_post(&mut self) {
        self.answer_post_with(200, "ok");
    }

    pub(crate) fn answer_post_with(&mut self, status: u16, body: &'static str) {
        let exchange = self.post_id().expect("a POST is under way");
        self.answer(exchange, status, body.into());
    }

    /// Answers a request, also one that is over.
    pub(crate) fn answer(&mut self, exchange: ExchangeId, status: u16, body: Bytes) {
        self.requests.get_mut(&exchange).unwrap().waits = false;
        self.tell(client::Input::Answered { exchange, status, body });
    }

    pub(crate) fn fail_get(&mut self, error: RequestError) {
        let exchange = self.get().expect("a GET is under way");
        self.fail(exchange, error);
    }

    pub(crate) fn fail_post(&mut self, error: RequestError) {
        let exchange = self.post_id().expect("a POST is under way");
        self.fail(exchange, error);
    }

    fn fail(&mut self, exchange: ExchangeId, error: RequestError) {
        self.requests.get_mut(&exchange).unwrap().waits = false;
        self.tell(client::Input::Failed { exchange, error });
    }

    /// Whether the client does not want to hear of a request any more.
    pub(crate) fn is_cancelled(&self, exchange: ExchangeId) -> bool {
        self.requests[&exchange].cancelled
    }

    // The server by channels.

    /// The channel that was asked for last.
    pub(crate) fn channel(&self) -> ChannelId {
        self.channel_asked().expect("a channel was asked for")
    }

    pub(crate) fn channel_asked(&self) -> Option<ChannelId> {
        self.channels.keys().next_back().copied()
    }

    pub(crate) fn channel_target(&self) -> &str {
        &self.channels[&self.channel()].target
    }

    /// The channel opens.
    pub(crate) fn opened(&mut self) {
        let channel = self.channel();
        self.tell(client::Input::ChannelOpened { channel });
    }

    /// The channel opens, and the probe leaves.
    pub(crate) fn probe(&mut self) {
        self.opened();
        assert_eq!(self.frames(), ["2probe"]);
    }

    pub(crate) fn frame(&mut self, text: &str) {
        self.frame_on(self.channel(), Frame::received(text.into()));
    }

    pub(crate) fn frame_bytes(&mut self, bytes: &'static [u8]) {
        self.frame_on(self.channel(), Frame::Binary(Bytes::from_static(bytes)));
    }

    pub(crate) fn frame_on(&mut self, channel: ChannelId, frame: Frame) {
        self.tell(client::Input::ChannelFrame { channel, frame });
    }

    pub(crate) fn channel_closed(&mut self) {
        self.channel_ended(ChannelEnd::Closed, None);
    }

    pub(crate) fn channel_ended(&mut self, end: ChannelEnd, details: Option<Details>) {
        let channel = self.channel();
        self.channels.get_mut(&channel).unwrap().gone = true;
        self.tell(client::Input::ChannelClosed { channel, end, details });
    }

    /// Pulls all frames, if any were announced.
    pub(crate) fn frames(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.pull()).collect()
    }

    /// Pulls one frame, as a socket that has room for no more.
    pub(crate) fn pull(&mut self) -> Option<String> {
        let channel = self.channel();
        if !self.channels[&channel].ready {
            return None;
        }
        let frame = self.client.next_frame(self.now, channel);
        self.pulled = Some((channel, self.client.stats().messages_sent));
        if frame.is_none() {
            self.channels.get_mut(&channel).unwrap().ready = false;
        }
        self.settle();
        frame.map(|frame| match frame {
            Frame::Text { head, data } => format!("{head}{data}"),
            Frame::Binary(bytes) => hex(&bytes),
        })
    }

    /// Whether neither side ended the channel.
    pub(crate) fn is_open(&self, channel: ChannelId) -> bool {
        let channel = &self.channels[&channel];
        channel.open && !channel.gone
    }

    /// Whether the client wants the channel to be read.
    pub(crate) fn is_reading(&self) -> bool {
        self.channels[&self.channel()].reading
    }

    // The application.

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.try_send(message).unwrap();
    }

    pub(crate) fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let result = self.client.send(self.now, message);
        self.settle();
        result
    }

    pub(crate) fn recv(&mut self) -> Option<String> {
        let message = self.client.recv(self.now);
        self.settle();
        message.map(|message| match message {
            Message::Text(text) => text.as_str().into(),
            Message::Binary(bytes) => hex(&bytes),
        })
    }

    pub(crate) fn recv_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.recv()).collect()
    }

    pub(crate) fn close(&mut self) {
        self.client.close(self.now);
        self.settle();
    }

    pub(crate) fn abort(&mut self) {
        self.client.abort(self.now);
        self.settle();
    }

    // Time.

    /// Lets time pass; every timer that is due meanwhile goes off in time.
    pub(crate) fn advance(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.client.next_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.handle_timeout();
        }
        self.now = end;
        self.handle_timeout();
    }

    /// Lets time pass without anybody looking at the clock.
    pub(crate) fn oversleep(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub(crate) fn handle_timeout(&mut self) {
        self.client.handle_timeout(self.now);
        assert!(self.client.next_timeout().is_none_or(|at| at > self.now), "what was due is done");
        self.settle();
    }

    // What was seen.

    /// What the application was told since this was asked last.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How often the application was told this since [`World::events`].
    pub(crate) fn count(&self, event: Event) -> usize {
        self.events.iter().filter(|&&told| told == event).count()
    }

    /// Why the session ended, if its end was told. [`World::events`] takes it away.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    pub(crate) fn unsent(&self) -> Vec<String> {
        self.client.unsent().map(|message| format!("{:?}", message)).collect()
    }

    /// Asserts that the client has nothing to do, wants nothing, and holds no connection, but for a goodbye on its way.
    pub(crate) fn assert_over(&self) {
        assert!(self.client.is_finished() && self.client.next_timeout().is_none());
        assert_eq!((self.get(), self.post().filter(|body| *body != "1")), (None, None));
        let open: Vec<_> = self.channels.keys().filter(|&&channel| self.is_open(channel)).collect();
        assert!(open.is_empty(), "still open: {open:?}");
    }

    /// Asserts that the session goes on by polling: it polls, it posts, and nothing else is there.
    pub(crate) fn assert_polls_on(&mut self) {
        assert!(!self.channel_asked().is_some_and(|channel| self.is_open(channel)), "the probe is gone");
        if self.post().is_some() {
            self.answer_post();
        }
        self.answer_get("4to the client");
        assert_eq!(self.recv_all(), ["to the client"]);
        self.send("to the server");
        assert_eq!(self.post(), Some("4to the server"));
        self.answer_post();
        assert!(self.get().is_some());
        assert_eq!((self.client.transport(), self.client.upgraded()), (TransportKind::Polling, false));
    }

    // Behind the words.

    fn tell(&mut self, input: client::Input) {
        self.client.handle_input(self.now, input);
        self.settle();
    }

    /// Everything that was pulled is written.
    pub(crate) fn write(&mut self) {
        if let Some((channel, messages)) = self.pulled.take() {
            self.client.handle_input(self.now, client::Input::ChannelWritten { channel, messages });
        }
    }

    /// A connection takes more again.
    pub(crate) fn unblocked(&mut self) {
        self.tell(client::Input::Unblocked);
    }

    /// Pulls all outputs.
    fn settle(&mut self) {
        if self.writing {
            self.write();
        }
        while let Some(output) = self.client.poll_output() {
            assert!(!self.over, "the end is told last, but {output:?} follows");
            self.over = matches!(output, client::Output::Event(Event::Closed(_)));
            self.note(output);
        }
        self.client.check().unwrap();
        assert_eq!(self.client.is_finished(), self.over);
        let (posts, gets): (Vec<_>, Vec<_>) = self.waiting().partition(|(_, asked)| asked.body.is_some());
        assert!(posts.len() <= 1 && gets.len() <= 1, "one of each at a time");
    }

    fn note(&mut self, output: client::Output) {
        match output {
            client::Output::Request { exchange, request } => self.note_request(exchange, request),
            client::Output::Cancel { exchange } => {
                let asked = self.requests.get_mut(&exchange).expect("only known requests are cancelled");
                assert!(asked.waits, "what is over is not cancelled");
                (asked.waits, asked.cancelled) = (false, true);
            }
            client::Output::ChannelOpen { channel, target } => {
                self.note_number(channel.0);
                let others = self.channels.values().any(|channel| channel.open && !channel.gone);
                assert!(!others, "one channel at a time");
                let new = Channel { target, ready: false, reading: true, open: true, gone: false };
                self.channels.insert(channel, new);
            }
            client::Output::ChannelReady { channel } => {
                let channel = self.open_channel(channel);
                assert!(!channel.ready, "frames are announced once");
                channel.ready = true;
            }
            client::Output::ChannelRead { channel, enabled } => {
                let channel = self.open_channel(channel);
                assert_ne!(channel.reading, enabled, "a change is told once");
                channel.reading = enabled;
            }
            client::Output::ChannelClose { channel } => {
                let channel = self.open_channel(channel);
                (channel.open, channel.ready) = (false, false);
            }
            client::Output::Event(event) => self.events.push(event),
        }
    }

    fn note_request(&mut self, exchange: ExchangeId, request: client::Request) {
        self.note_number(exchange.0);
        let client::Request { target, body } = request;
        assert!(self.targets.insert(target.clone()), "no two requests are alike: {target}");
        assert!(target.contains("transport=polling"), "{target}");
        let known = self.client.sid().is_some();
        assert_eq!(target.contains("&sid="), known, "a request names the session that there is: {target}");
        assert!(known || body.is_none(), "without a session there is nothing to post to");
        let body = body.map(|payload| {
            let (len, bytes) = (payload.encoded_len(), payload.into_bytes());
            assert_eq!(len, bytes.len());
            let packets: Result<Vec<_>, _> = Codec::V4.decode_payload(bytes.clone()).collect();
            assert!(len <= self.max_payload || packets.unwrap().len() == 1, "{len} bytes are too many");
            String::from_utf8(bytes.to_vec()).unwrap()
        });
        self.posts.extend(body.clone());
        self.requests.insert(exchange, Asked { target, body, waits: true, cancelled: false });
    }

    /// Numbers of requests and channels come from one sequence.
    fn note_number(&self, number: u64) {
        let used = self.requests.keys().map(|exchange| exchange.0).chain(self.channels.keys().map(|channel| channel.0));
        assert!(used.max().is_none_or(|last| number > last), "no number is used twice: {number}");
    }

    fn open_channel(&mut self, channel: ChannelId) -> &mut Channel {
        let channel = self.channels.get_mut(&channel).expect("only known channels are used");
        assert!(channel.open && !channel.gone, "a channel that is gone is left alone");
        channel
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<{}>", digits.join(" "))
}
