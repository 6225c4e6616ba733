//! A server in its own world, with short functions for what happens to it.
//!
//! The world plays the part of an adapter, by the public API alone: it routes requests, numbers exchanges and channels,
//! pulls outputs and keeps the clock. After every word it pulls what the server asks for, checks its laws, and checks
//! what only somebody outside can see: no exchange is answered twice, nothing is told after the end of a session, and
//! frames are pulled only when they were announced. So a test can be read as a story:
//!
//! ```ignore
//! let mut world = World::polling();
//! let get = world.get();
//! assert_eq!(world.answer_of(get), None);
//! world.send("a");
//! assert_eq!(world.answer_of(get), Some("200 4a"));
//! ```
//!
//! An answer is written as its status and its body. A message or frame of bytes is written as `<01 ff>`.

#![allow(dead_code)] // Each test binary uses a part of this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::http::{Method, Rejection, Request, Response};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, SessionKey, SessionMut};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, CloseReason, Event, ExchangeId, Instant, Message, SendError, Server, Session, Sid,
};

/// The answers of refused plain requests.
pub(crate) const UNKNOWN_TRANSPORT: &str = r#"400 {"code":0,"message":"Transport unknown"}"#;
pub(crate) const UNKNOWN_SID: &str = r#"400 {"code":1,"message":"Session ID unknown"}"#;
pub(crate) const BAD_METHOD: &str = r#"400 {"code":2,"message":"Bad handshake method"}"#;
pub(crate) const BAD_REQUEST: &str = r#"400 {"code":3,"message":"Bad request"}"#;
pub(crate) const UNSUPPORTED_VERSION: &str = r#"400 {"code":5,"message":"Unsupported protocol version"}"#;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) now: Instant,
    /// Whether outputs are pulled after every word. When not, [`World::drain`] pulls them.
    pub(crate) draining: bool,
    /// Whether answers and frames are written as soon as they are there. When not, [`World::write`] writes them.
    pub(crate) writing: bool,
    /// Answers that were given and are not written.
    unwritten: Vec<(SessionKey, ExchangeId)>,
    /// Messages that were pulled from a channel, and are not written.
    pulled: Option<(SessionKey, ChannelId, u64)>,
    /// The session that the words are about: the one opened last, or the one that was focused.
    key: Option<SessionKey>,
    sid: Option<Sid>,
    /// The channel that the words are about: the one opened last.
    pub(crate) channel: ChannelId,
    exchanges: BTreeMap<ExchangeId, Option<String>>,
    channels: BTreeMap<ChannelId, Channel>,
    events: Vec<(SessionKey, Event)>,
    numbers: u64,
}

struct Channel {
    ready: bool,
    reading: bool,
    /// The server did not ask for its end.
    open: bool,
    /// The client ended it.
    gone: bool,
}

impl World {
    /// A server without sessions, with its options changed.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        // Most stories are about clients that are silent for a long time.
        config.confirm_timeout = Duration::from_secs(3600);
        change(&mut config);
        Self {
            server: Server::new(config).unwrap(),
            now: Instant::from_millis(1_000_000),
            draining: true,
            writing: true,
            unwritten: Vec::new(),
            pulled: None,
            key: None,
            sid: None,
            channel: ChannelId(0),
            exchanges: BTreeMap::new(),
            channels: BTreeMap::new(),
            events: Vec::new(),
            numbers: 0,
        }
    }

    /// A server with one session on polling.
    pub(crate) fn polling() -> Self {
        Self::polling_with(|_| ())
    }

    pub(crate) fn polling_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::with(change);
        world.open_polling();
        world
    }

    /// A server with one session on a WebSocket, whose open packet was taken.
    pub(crate) fn websocket() -> Self {
        Self::websocket_with(|_| ())
    }

    pub(crate) fn websocket_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::with(change);
        world.open_websocket();
        assert!(world.frames()[0].starts_with("0{"));
        world
    }

    /// A server with one session that was upgraded.
    pub(crate) fn upgraded() -> Self {
        let mut world = Self::polling();
        world.upgrade();
        world
    }

    // The client's HTTP requests.

    /// A request without an upgrade. Of a POST this is the head.
    pub(crate) fn request(&mut self, method: Method, query: &str) -> ExchangeId {
        let exchange = self.new_exchange();
        match self.route(method, query, exchange) {
            Ok(()) => (),
            Err(NotAdmitted::Rejected(rejection)) => self.note_answer(exchange, Response::Rejected(rejection)),
            Err(NotAdmitted::Method) => self.note_answer(exchange, Response::Unsupported),
            Err(NotAdmitted::Head(error)) => unreachable!("{error}: it is no WebSocket"),
        }
        self.settle();
        exchange
    }

    fn route(&mut self, method: Method, query: &str, exchange: ExchangeId) -> Result<(), NotAdmitted> {
        let request = Request { method, query, origin: None, upgrade: false };
        self.admit(&request, Entry::Exchange { exchange, octet_stream: false })
    }

    fn admit(&mut self, request: &Request<'_>, entry: Entry<'_>) -> Result<(), NotAdmitted> {
        let admission = Admission::begin(request, self.server.config())?;
        let opens = !matches!(admission, Admission::Session(_));
        let sid = opens.then(|| self.new_sid());
        let key = self.server.admit(self.now, admission, entry, sid.clone())?;
        if opens {
            (self.key, self.sid) = (Some(key), sid);
        }
        Ok(())
    }

    /// A request for a WebSocket: its channel, or the answer that refuses it.
    pub(crate) fn request_upgrade(&mut self, query: &str) -> Result<ChannelId, String> {
        let result = self.route_upgrade(query);
        self.settle();
        result.map_err(|rejection| {
            let reply = rejection.into_reply(true);
            written(reply.status, &reply.body)
        })
    }

    fn route_upgrade(&mut self, query: &str) -> Result<ChannelId, NotAdmitted> {
        let request = Request { method: Method::Get, query, origin: None, upgrade: true };
        let channel = self.new_channel();
        let admitted = self.admit(&request, Entry::Channel { channel, head: None });
        if admitted.is_err() {
            self.channels.remove(&channel);
        }
        admitted.map(|()| channel)
    }

    /// A handshake on polling.
    pub(crate) fn open_polling(&mut self) -> SessionKey {
        let exchange = self.request(Method::Get, "EIO=4&transport=polling");
        if self.draining {
            assert!(self.answer_of(exchange).unwrap().starts_with("200 0{"));
        }
        self.key()
    }

    /// A handshake on a WebSocket. The open packet waits to be pulled.
    pub(crate) fn open_websocket(&mut self) -> SessionKey {
        self.request_upgrade("EIO=4&transport=websocket").unwrap();
        self.key()
    }

    /// A handshake on polling with an id of the application's own making.
    pub(crate) fn open_with_sid(&mut self, sid: Sid) -> Result<SessionKey, Rejection> {
        let request = Request { method: Method::Get, query: "EIO=4&transport=polling", origin: None, upgrade: false };
        let admission = Admission::begin(&request, self.server.config())?;
        let entry = Entry::Exchange { exchange: self.new_exchange(), octet_stream: false };
        let key = self.server.admit(self.now, admission, entry, Some(sid.clone()));
        let key = key.map_err(|error| match error {
            NotAdmitted::Rejected(rejection) => rejection,
            other => unreachable!("{other}"),
        })?;
        (self.key, self.sid) = (Some(key), Some(sid));
        self.settle();
        Ok(key)
    }

    pub(crate) fn get(&mut self) -> ExchangeId {
        let query = self.query("polling");
        self.request(Method::Get, &query)
    }

    pub(crate) fn post(&mut self, body: impl Into<Bytes>) -> ExchangeId {
        let exchange = self.post_head();
        self.post_body(exchange, body);
        exchange
    }

    pub(crate) fn post_head(&mut self) -> ExchangeId {
        let query = self.query("polling");
        self.request(Method::Post, &query)
    }

    pub(crate) fn post_body(&mut self, exchange: ExchangeId, body: impl Into<Bytes>) {
        self.post_end(exchange, Ok(body.into()));
    }

    pub(crate) fn post_end(&mut self, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        self.tell(self.key(), Input::PostBody { exchange, body });
        self.settle();
    }

    /// The client goes away before it has the answer.
    pub(crate) fn lost(&mut self, exchange: ExchangeId) {
        self.tell(self.key(), Input::ExchangeLost { exchange });
        self.settle();
    }

    /// A GET that was admitted some time ago.
    pub(crate) fn late_get(&mut self) -> ExchangeId {
        let exchange = self.new_exchange();
        self.tell(self.key(), Input::Poll { exchange });
        self.settle();
        exchange
    }

    /// The head of a POST that was admitted some time ago.
    pub(crate) fn late_post(&mut self) -> ExchangeId {
        self.late_post_head(false)
    }

    /// The head of a POST whose content is `application/octet-stream`.
    pub(crate) fn post_octets(&mut self) -> ExchangeId {
        self.late_post_head(true)
    }

    fn late_post_head(&mut self, octet_stream: bool) -> ExchangeId {
        let exchange = self.new_exchange();
        self.tell(self.key(), Input::PostHead { exchange, octet_stream });
        self.settle();
        exchange
    }

    // The client's channels.

    /// A second transport for the session.
    pub(crate) fn probe_open(&mut self) -> ChannelId {
        let query = self.query("websocket");
        self.request_upgrade(&query).unwrap()
    }

    /// A WebSocket opens that was admitted some time ago.
    pub(crate) fn late_probe(&mut self) -> ChannelId {
        let channel = self.new_channel();
        self.tell(self.key(), Input::ChannelOpened { channel, base64: false });
        self.settle();
        channel
    }

    /// A probe that was answered.
    pub(crate) fn probe(&mut self) -> ChannelId {
        let channel = self.probe_open();
        self.frame("2probe");
        assert_eq!(self.frames(), ["3probe"]);
        channel
    }

    /// A whole upgrade.
    pub(crate) fn upgrade(&mut self) -> ChannelId {
        let channel = self.probe();
        self.frame("5");
        channel
    }

    pub(crate) fn frame(&mut self, text: &str) {
        self.frame_on(self.channel, Frame::received(text.into()));
    }

    pub(crate) fn frame_bytes(&mut self, bytes: &'static [u8]) {
        self.frame_on(self.channel, Frame::Binary(Bytes::from_static(bytes)));
    }

    pub(crate) fn frame_on(&mut self, channel: ChannelId, frame: Frame) {
        self.tell(self.key(), Input::ChannelFrame { channel, frame });
        self.settle();
    }

    pub(crate) fn channel_closed(&mut self) {
        self.channel_ended(ChannelEnd::Closed);
    }

    pub(crate) fn channel_ended(&mut self, end: ChannelEnd) {
        let channel = self.channel;
        self.channels.get_mut(&channel).unwrap().gone = true;
        self.tell(self.key(), Input::ChannelClosed { channel, end });
        self.settle();
    }

    /// Pulls all frames, if any were announced.
    pub(crate) fn frames(&mut self) -> Vec<String> {
        self.frames_of(self.channel)
    }

    pub(crate) fn frames_of(&mut self, channel: ChannelId) -> Vec<String> {
        let mut frames = Vec::new();
        while let Some(frame) = self.pull_from(channel) {
            frames.push(frame);
        }
        frames
    }

    /// Pulls one frame, as a socket that has room for no more.
    pub(crate) fn pull(&mut self) -> Option<String> {
        self.pull_from(self.channel)
    }

    fn pull_from(&mut self, channel: ChannelId) -> Option<String> {
        let state = self.channels.get_mut(&channel).unwrap();
        if !state.ready {
            return None;
        }
        let now = self.now;
        let (frame, messages) = self.session_mut().map_or((None, 0), |mut session| {
            let frame = session.next_frame(now, channel);
            (frame, session.stats().messages_sent)
        });
        self.pulled = Some((self.key(), channel, messages));
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

    /// Whether the server wants the channel to be read.
    pub(crate) fn is_reading(&self, channel: ChannelId) -> bool {
        self.channels[&channel].reading
    }

    // The application.

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.try_send(message).unwrap();
    }

    pub(crate) fn try_send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        let result = self.session_mut().unwrap().send(message);
        self.settle();
        result
    }

    pub(crate) fn try_send_all(&mut self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        let result = self.session_mut().unwrap().send_all(messages);
        self.settle();
        result
    }

    pub(crate) fn recv(&mut self) -> Option<String> {
        let now = self.now;
        let message = self.session_mut().and_then(|mut session| session.recv(now));
        self.settle();
        message.map(|message| match message {
            Message::Text(text) => text.as_str().into(),
            Message::Binary(bytes) => hex(&bytes),
        })
    }

    pub(crate) fn recv_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.recv()).collect()
    }

    /// Sends back everything that arrived.
    pub(crate) fn echo(&mut self) {
        let now = self.now;
        while let Some(message) = self.session_mut().and_then(|mut session| session.recv(now)) {
            self.send(message);
        }
        self.settle();
    }

    pub(crate) fn close(&mut self) {
        let now = self.now;
        self.session_mut().unwrap().close(now);
        self.settle();
    }

    pub(crate) fn abort(&mut self) {
        let now = self.now;
        self.session_mut().unwrap().abort(now);
        self.settle();
    }

    /// The session to look at, until its end was told.
    pub(crate) fn session(&self) -> &Session {
        self.server.session(self.key()).expect("the session is still there")
    }

    fn session_mut(&mut self) -> Option<SessionMut<'_>> {
        self.server.session_mut(self.key())
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.key.expect("a session was opened")
    }

    pub(crate) fn sid(&self) -> Sid {
        self.sid.clone().expect("a session was opened")
    }

    /// The open packet that a session with the default options and this id and these upgrades begins with.
    pub(crate) fn open_packet(&self, upgrades: &str) -> String {
        let sid = self.sid();
        format!(
            r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )
    }

    /// The query of a request for the session.
    pub(crate) fn query(&self, transport: &str) -> String {
        format!("EIO=4&transport={transport}&sid={}", self.sid())
    }

    /// Makes the words be about another session.
    pub(crate) fn focus(&mut self, key: SessionKey) {
        self.key = Some(key);
        self.sid = self.server.session(key).map(|session| session.sid().clone());
    }

    // Time.

    /// Lets time pass; every timer that is due meanwhile goes off in time.
    pub(crate) fn advance(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.server.next_timeout().filter(|&at| at <= end) {
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
        self.server.handle_timeout(self.now);
        assert!(self.server.next_timeout().is_none_or(|at| at > self.now), "what was due is done");
        self.settle();
    }

    // What was seen.

    /// The answer of an exchange, as its status and body, or `aborted`.
    pub(crate) fn answer_of(&self, exchange: ExchangeId) -> Option<&str> {
        self.exchanges[&exchange].as_deref()
    }

    /// What the application was told of the session.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.iter().filter(|(key, _)| Some(*key) == self.key).map(|&(_, event)| event).collect()
    }

    /// How often the application was told this of the session.
    pub(crate) fn count(&self, event: Event) -> usize {
        self.events().iter().filter(|&&told| told == event).count()
    }

    /// Why the session ended, if its end was told.
    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.closed_of(self.key())
    }

    pub(crate) fn closed_of(&self, key: SessionKey) -> Option<CloseReason> {
        self.events.iter().find_map(|&(of, event)| match event {
            Event::Closed(reason) if of == key => Some(reason),
            _ => None,
        })
    }

    /// Asserts that no exchange waits and no channel is open: nothing holds a connection.
    pub(crate) fn assert_no_connections(&self) {
        let waiting: Vec<_> = self.exchanges.iter().filter(|(_, answer)| answer.is_none()).collect();
        assert!(waiting.is_empty(), "not answered: {waiting:?}");
        let open: Vec<_> = self.channels.keys().filter(|&&channel| self.is_open(channel)).collect();
        assert!(open.is_empty(), "still open: {open:?}");
    }

    /// Asserts that the server has no session and nothing to do.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.server.len(), 0);
        assert_eq!(self.server.next_timeout(), None);
        assert!(self.key.is_none_or(|key| self.server.session(key).is_none()));
    }

    // Behind the words.

    /// Pulls all outputs.
    pub(crate) fn drain(&mut self) {
        while let Some((key, output)) = self.server.poll_output() {
            self.note(key, output);
        }
        self.server.check().unwrap();
    }

    fn settle(&mut self) {
        if self.draining {
            self.drain();
        }
        if self.writing {
            self.write();
        }
        self.server.check().unwrap();
    }

    /// Everything that was given or pulled is written.
    pub(crate) fn write(&mut self) {
        for (key, exchange) in std::mem::take(&mut self.unwritten) {
            self.tell(key, Input::AnswerWritten { exchange });
        }
        if let Some((key, channel, messages)) = self.pulled.take() {
            self.tell(key, Input::ChannelWritten { channel, messages });
        }
        if self.draining {
            self.drain();
        }
    }

    /// One answer is written.
    pub(crate) fn write_answer(&mut self, exchange: ExchangeId) {
        self.unwritten.retain(|(_, other)| *other != exchange);
        self.tell(self.key(), Input::AnswerWritten { exchange });
        self.settle();
    }

    /// A connection takes more again.
    pub(crate) fn unblocked(&mut self) {
        self.tell(self.key(), Input::Unblocked);
        self.settle();
    }

    fn tell(&mut self, key: SessionKey, input: Input) {
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(self.now, input);
        }
    }

    fn note(&mut self, key: SessionKey, output: Output) {
        match output {
            Output::Respond { exchange, response } => {
                if matches!(response, Response::Payload(_)) {
                    self.unwritten.push((key, exchange));
                }
                self.note_answer(exchange, response);
            }
            Output::Abort { exchange } => self.note_text(exchange, "aborted".into()),
            Output::ChannelReady { channel } => self.open_channel(channel).ready = true,
            Output::ChannelRead { channel, enabled } => {
                let channel = self.open_channel(channel);
                assert_ne!(channel.reading, enabled, "a change is told once");
                channel.reading = enabled;
            }
            Output::ChannelClose { channel } => {
                let channel = self.open_channel(channel);
                channel.open = false;
                channel.ready = false;
            }
            Output::Event(event) => {
                assert_eq!(self.closed_of(key), None, "the end is told last, but {event:?} follows");
                self.events.push((key, event));
            }
        }
    }

    fn note_answer(&mut self, exchange: ExchangeId, response: Response) {
        let reply = response.into_reply();
        self.note_text(exchange, written(reply.status, &reply.body));
    }

    fn note_text(&mut self, exchange: ExchangeId, answer: String) {
        let slot = self.exchanges.get_mut(&exchange).expect("only known exchanges are answered");
        assert_eq!(*slot, None, "an exchange is answered once");
        *slot = Some(answer);
    }

    fn open_channel(&mut self, channel: ChannelId) -> &mut Channel {
        let channel = self.channels.get_mut(&channel).expect("only known channels are used");
        assert!(channel.open, "a closed channel is left alone");
        channel
    }

    fn new_exchange(&mut self) -> ExchangeId {
        let exchange = ExchangeId(self.number());
        self.exchanges.insert(exchange, None);
        exchange
    }

    fn new_channel(&mut self) -> ChannelId {
        self.channel = ChannelId(self.number());
        self.channels.insert(self.channel, Channel { ready: false, reading: true, open: true, gone: false });
        self.channel
    }

    fn new_sid(&mut self) -> Sid {
        let mut entropy = [0; 15];
        entropy[..8].copy_from_slice(&self.number().to_be_bytes());
        Sid::from_entropy(entropy)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

fn written(status: u16, body: &[u8]) -> String {
    if body.is_empty() { status.to_string() } else { format!("{status} {}", String::from_utf8_lossy(body)) }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<{}>", digits.join(" "))
}
