//! The code of `docs/embedding.md`, in its order and as it stands there; and what makes sure of that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// These are hands: they may know what time it is.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// The page begins.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::{Method, Mount, Operation, Reply, Request, SessionRequest, WebSocketHead};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, ConfigError, Event, ExchangeId, Instant, Message, Server, Sid,
    TransportError, TransportKind,
};

/// The hands of a server.
struct Hands {
    server: Server,
    /// The last number that was given to an exchange or a channel.
    number: u64,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    channels: BTreeMap<ChannelId, Channel>,
    /// How sessions ended.
    ends: Vec<CloseReason>,
}

/// An HTTP request. Yours: its connection.
struct Exchange {
    key: SessionKey,
    answer: Answer,
}

enum Answer {
    /// The session has not answered yet. A GET may be held for a long time.
    Awaited,
    /// To be written.
    Reply(Reply),
    /// There is none: the connection is to be dropped.
    Dropped,
}

/// A WebSocket. Yours: its connection, and its codec.
struct Channel {
    key: SessionKey,
    /// To be written, each with the number of messages that are handed over with it.
    outgoing: VecDeque<(Frame, u64)>,
    /// Whether to read.
    reading: bool,
    /// Whether to close, behind what is to be written.
    closing: bool,
}

impl Hands {
    fn tell(&mut self, now: Instant, key: SessionKey, input: Input) {
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(now, input);
        }
        self.obey(now);
    }

    fn obey(&mut self, now: Instant) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => self.answer(exchange, Answer::Reply(response.into_reply())),
                Output::Abort { exchange } => self.answer(exchange, Answer::Dropped),
                Output::ChannelReady { channel } => self.pull(now, channel),
                Output::ChannelRead { channel, enabled } => {
                    if let Some(channel) = self.channels.get_mut(&channel) {
                        channel.reading = enabled;
                    }
                }
                Output::ChannelClose { channel } => {
                    if let Some(channel) = self.channels.get_mut(&channel) {
                        channel.closing = true;
                    }
                }
                Output::Event(event) => self.hear(now, key, event),
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Hands {
    fn begin(&self, path: &str, request: &Request<'_>) -> Result<Admission, Reply> {
        if !Mount::default().matches(path) {
            return Err(Reply::empty(404));
        }
        Admission::begin(request, self.server.config()).map_err(|rejection| self.refuse(rejection.into(), request))
    }

    fn refuse(&self, refused: NotAdmitted, request: &Request<'_>) -> Reply {
        refused.into_reply(request.is_upgrade(self.server.config()))
    }
}

/// What became of a request.
enum Begun {
    /// Its answer will be found with this number.
    Get(ExchangeId),
    /// Its answer too, but its body is to be read.
    Post(ExchangeId),
    /// It is a WebSocket from now on: write the 101.
    Channel(ChannelId),
}

impl Hands {
    fn open(&mut self, now: Instant, admission: Admission, head: WebSocketHead<'_>) -> Result<Begun, NotAdmitted> {
        let mut admission = admission;
        let opening = loop {
            admission = match admission {
                // Yours: whether the client is welcome. If not: `ask.refuse`.
                Admission::Ask(ask) => ask.allow()?,
                Admission::Head(ask) => ask.check(&head)?,
                // Yours: random bytes. These are no secret.
                Admission::Name(ask) => ask.give(Some(Sid::from_entropy([self.number() as u8; 15])))?,
                Admission::Open(opening) => break opening,
                Admission::Session(request) => return self.find(now, &request, head, false),
            }
        };
        let number = self.number();
        if opening.handshake().transport == TransportKind::WebSocket {
            let channel = ChannelId(number);
            let key = self.server.open(now, opening, Entry::Channel { channel, head: Some(head) })?;
            self.add_channel(channel, key);
            self.obey(now);
            Ok(Begun::Channel(channel))
        } else {
            let exchange = ExchangeId(number);
            let key = self.server.open(now, opening, Entry::Exchange { exchange, octet_stream: false })?;
            self.add_exchange(exchange, key);
            self.obey(now);
            Ok(Begun::Get(exchange))
        }
    }
}

impl Hands {
    /// `octet_stream`: of a POST, what `is_octet_stream` says of its `Content-Type`.
    fn find(
        &mut self,
        now: Instant,
        request: &SessionRequest,
        head: WebSocketHead<'_>,
        octet_stream: bool,
    ) -> Result<Begun, NotAdmitted> {
        let (exchange, channel) = (ExchangeId(self.number()), ChannelId(self.number));
        let is_upgrade = request.operation == Operation::Upgrade;
        let entry = match is_upgrade {
            true => Entry::Channel { channel, head: Some(head) },
            false => Entry::Exchange { exchange, octet_stream },
        };
        let key = self.server.enter(now, request, entry)?;
        match is_upgrade {
            true => self.add_channel(channel, key),
            false => self.add_exchange(exchange, key),
        }
        self.obey(now);
        Ok(match request.operation {
            Operation::Upgrade => Begun::Channel(channel),
            Operation::Post => Begun::Post(exchange),
            Operation::Poll | Operation::Unsupported => Begun::Get(exchange),
        })
    }
}

impl Hands {
    fn posted(&mut self, now: Instant, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        if let Some(&Exchange { key, .. }) = self.exchanges.get(&exchange) {
            self.tell(now, key, Input::PostBody { exchange, body });
        }
    }

    fn add_exchange(&mut self, exchange: ExchangeId, key: SessionKey) {
        self.exchanges.insert(exchange, Exchange { key, answer: Answer::Awaited });
    }

    fn answer(&mut self, exchange: ExchangeId, answer: Answer) {
        // It is gone if it was lost before the session knew.
        if let Some(exchange) = self.exchanges.get_mut(&exchange) {
            exchange.answer = answer;
        }
    }
}

impl Hands {
    fn lost(&mut self, now: Instant, exchange: ExchangeId) {
        if let Some(Exchange { key, .. }) = self.exchanges.remove(&exchange) {
            self.tell(now, key, Input::ExchangeLost { exchange });
        }
    }

    /// What to write, once it is there. Then say `written`, or `lost` if it could not be written to its end.
    fn reply(&self, exchange: ExchangeId) -> Option<&Reply> {
        match &self.exchanges.get(&exchange)?.answer {
            Answer::Reply(reply) => Some(reply),
            Answer::Awaited | Answer::Dropped => None,
        }
    }

    /// Its answer was written to the end, or it was dropped because the session asked for that.
    fn written(&mut self, now: Instant, exchange: ExchangeId) {
        if let Some(Exchange { key, .. }) = self.exchanges.remove(&exchange) {
            self.tell(now, key, Input::AnswerWritten { exchange });
        }
    }
}

/// So many bytes wait to be written at most, and one frame.
const WRITE_AHEAD: usize = 32 * 1024;

impl Hands {
    fn pull(&mut self, now: Instant, channel: ChannelId) {
        let Some(own) = self.channels.get_mut(&channel) else { return };
        let Some(mut session) = self.server.session_mut(own.key) else { return };
        let mut waiting: usize = own.outgoing.iter().map(|(frame, _)| frame.len()).sum();
        while waiting < WRITE_AHEAD {
            let Some(frame) = session.next_frame(now, channel) else { break };
            waiting += frame.len();
            own.outgoing.push_back((frame, session.stats().messages_sent));
        }
    }

    /// The next frame, which the socket takes now.
    fn write(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        let own = self.channels.get_mut(&channel)?;
        let (key, (frame, messages)) = (own.key, own.outgoing.pop_front()?);
        self.tell(now, key, Input::ChannelWritten { channel, messages });
        self.pull(now, channel);
        self.obey(now);
        Some(frame)
    }
}

impl Hands {
    fn add_channel(&mut self, channel: ChannelId, key: SessionKey) {
        let own = Channel { key, outgoing: VecDeque::new(), reading: true, closing: false };
        self.channels.insert(channel, own);
    }

    /// A message arrived: `Frame::received(text)`, or `Frame::Binary(bytes)`.
    fn read(&mut self, now: Instant, channel: ChannelId, frame: Frame) {
        if let Some(&Channel { key, .. }) = self.channels.get(&channel) {
            self.tell(now, key, Input::ChannelFrame { channel, frame });
        }
    }

    fn gone(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd) {
        if let Some(Channel { key, .. }) = self.channels.remove(&channel) {
            self.tell(now, key, Input::ChannelClosed { channel, end });
        }
    }
}

fn time(start: std::time::Instant) -> Instant {
    Instant::from_micros(start.elapsed().as_micros().try_into().unwrap_or(u64::MAX))
}

impl Hands {
    /// Does what is due, and says when to come back.
    fn tick(&mut self, now: Instant) -> Option<Instant> {
        self.server.handle_timeout(now);
        self.obey(now);
        self.server.next_timeout()
    }
}

impl Hands {
    fn hear(&mut self, now: Instant, key: SessionKey, event: Event) {
        match event {
            Event::Readable | Event::Writable => self.echo(now, key),
            Event::Closed(reason) => self.ends.push(reason),
            _ => (),
        }
    }

    fn echo(&mut self, now: Instant, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        // When this is false, `Writable` follows.
        while session.poll_ready() {
            let Some(message) = session.recv(now) else { break };
            // It comes back if the client is gone already, or if it is text that polling cannot carry (it has a 0x1E).
            session.send(message).ok();
        }
    }
}

/// One request, up to the point where it waits.
fn serve(hands: &mut Hands, now: Instant, request: &Request<'_>) -> Result<Begun, Reply> {
    // Yours: the headers of a WebSocket's handshake, if it is one.
    let (key, version) = (Some(&b"dGhlIHNhbXBsZSBub25jZQ=="[..]), Some(&b"13"[..]));
    let head = WebSocketHead { method: request.method, key, version, protocols: None };
    let admission = hands.begin("/engine.io/", request)?;
    hands.open(now, admission, head).map_err(|refused| hands.refuse(refused, request))
}

#[test]
fn a_session() -> Result<(), ConfigError> {
    let config = Config::default();
    let mut hands = Hands {
        server: Server::new(config)?,
        number: 0,
        exchanges: BTreeMap::new(),
        channels: BTreeMap::new(),
        ends: Vec::new(),
    };
    let mut now = time(std::time::Instant::now());
    let mut request = Request { method: Method::Get, query: "EIO=4&transport=polling", origin: None, upgrade: false };

    let Ok(Begun::Get(get)) = serve(&mut hands, now, &request) else { panic!("a handshake") };
    let open = hands.reply(get).map(|reply| reply.body.clone()).unwrap_or_default();
    let open = String::from_utf8_lossy(&open);
    let sid = open.split('"').nth(3).unwrap_or_default();
    hands.written(now, get);

    let query = format!("EIO=4&transport=polling&sid={sid}");
    request = Request { method: Method::Post, query: &query, ..request };
    let Ok(Begun::Post(post)) = serve(&mut hands, now, &request) else { panic!("a POST") };
    hands.posted(now, post, Ok("4hello".into()));
    assert_eq!(hands.reply(post).map(|reply| &reply.body[..]), Some(&b"ok"[..]));
    hands.written(now, post);

    request.method = Method::Get;
    let Ok(Begun::Get(get)) = serve(&mut hands, now, &request) else { panic!("a GET") };
    assert_eq!(hands.reply(get).map(|reply| &reply.body[..]), Some(&b"4hello"[..]));
    hands.written(now, get);

    // A GET that finds nothing is held. Then the client leaves.
    let Ok(Begun::Get(get)) = serve(&mut hands, now, &request) else { panic!("a GET") };
    assert_eq!(hands.reply(get), None);
    hands.lost(now, get);
    assert_eq!(hands.ends, [CloseReason::TransportError(TransportError::PollLost)]);

    while let Some(next) = hands.tick(now) {
        now = next;
    }
    assert!(hands.server.is_empty());
    Ok(())
}

/// The hands of a client.
struct ClientHands {
    client: Client,
    /// To be sent and told of: `Answered`, or `Failed`. Yours: an HTTP client.
    requests: Vec<(ExchangeId, client::Request)>,
    /// To be opened and told of: `ChannelOpened`, or `ChannelClosed` with `ChannelEnd::Unopened`.
    opening: Option<(ChannelId, String)>,
    outgoing: VecDeque<(Frame, u64)>,
    reading: bool,
    closing: bool,
    messages: Vec<Message>,
    end: Option<CloseReason>,
}

impl ClientHands {
    fn tell(&mut self, now: Instant, input: client::Input) {
        self.client.handle_input(now, input);
        self.obey(now);
    }

    fn obey(&mut self, now: Instant) {
        while let Some(output) = self.client.poll_output() {
            match output {
                // A POST if it has a body, else a GET. Its headers: `request.headers()`.
                client::Output::Request { exchange, request } => self.requests.push((exchange, request)),
                client::Output::Cancel { exchange } => self.requests.retain(|(other, _)| *other != exchange),
                // One at a time: the one before was closed, if there was one.
                client::Output::ChannelOpen { channel, target } => {
                    self.opening = Some((channel, target));
                    (self.reading, self.closing) = (true, false);
                    self.outgoing.clear();
                }
                // As a server does: while there is room.
                client::Output::ChannelReady { channel } => {
                    while let Some(frame) = self.client.next_frame(now, channel) {
                        self.outgoing.push_back((frame, self.client.stats().messages_sent));
                    }
                }
                client::Output::ChannelRead { enabled, .. } => self.reading = enabled,
                // Behind what is to be written. If it is being opened: forget it.
                client::Output::ChannelClose { .. } => (self.closing, self.opening) = (true, None),
                client::Output::Event(Event::Readable) => {
                    self.messages.extend(std::iter::from_fn(|| self.client.recv(now)));
                }
                client::Output::Event(Event::Closed(reason)) => self.end = Some(reason),
                client::Output::Event(_) => (),
            }
        }
    }
}

// The page ends.

mod pair;

#[test]
fn the_page_shows_this_code() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/embedding.md")).unwrap();
    let blocks = page.split("\n```rust\n").skip(1).map(|rest| rest.split_once("```\n").expect("its end").0);
    let shown = blocks.collect::<Vec<_>>().join("\n");
    let code = include_str!("main.rs").split("\n// The page begins.\n\n").nth(1).expect("its beginning");
    let (code, _) = code.split_once("\n// The page ends.\n").expect("its end");
    let differ = shown.lines().zip(code.lines()).find(|(shown, code)| shown != code);
    assert_eq!(differ, None, "the page, and tests/embedding/main.rs");
    assert_eq!(shown, code);
}
