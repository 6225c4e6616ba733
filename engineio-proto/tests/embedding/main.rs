//! The code of `docs/embedding.md`, in its order and as it stands there; and what makes sure of that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// These are hands: they may know what time it is.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// The page begins.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::{
    Handshake, Method, Mount, Operation, Rejection, Reply, Request, Response, Route, SessionRequest,
};
use engineio_proto::server::{BodyError, Config, Input, Output, SessionKey};
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
    fn route(&self, path: &str, request: &Request<'_>) -> Result<Route, Reply> {
        if !Mount::default().matches(path) {
            return Err(Reply { status: 404, headers: &[], body: Bytes::new() });
        }
        Route::parse(request, self.server.config()).map_err(|rejection| self.refuse(rejection, request))
    }

    fn refuse(&self, rejection: Rejection, request: &Request<'_>) -> Reply {
        rejection.into_reply(request.is_upgrade(self.server.config()))
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
    /// This is its answer.
    Answered(Reply),
}

impl Hands {
    fn open(&mut self, now: Instant, handshake: &Handshake, entropy: [u8; 15]) -> Result<Begun, Rejection> {
        let sid = Sid::from_entropy(entropy);
        if handshake.transport == TransportKind::WebSocket {
            let channel = ChannelId(self.number());
            let key = self.server.open(now, sid, handshake, Some(channel))?;
            self.add_channel(channel, key);
            self.obey(now);
            Ok(Begun::Channel(channel))
        } else {
            let key = self.server.open(now, sid, handshake, None)?;
            Ok(Begun::Get(self.get(now, key)))
        }
    }
}

impl Hands {
    fn find(&mut self, now: Instant, request: &SessionRequest, octet_stream: bool) -> Result<Begun, Rejection> {
        let key = self.server.admit(request)?;
        Ok(match request.operation {
            Operation::Poll => Begun::Get(self.get(now, key)),
            Operation::Post => Begun::Post(self.post(now, key, octet_stream)),
            Operation::Upgrade => {
                let channel = ChannelId(self.number());
                self.add_channel(channel, key);
                self.tell(now, key, Input::ChannelOpened { channel, base64: request.base64 });
                Begun::Channel(channel)
            }
            Operation::Unsupported => Begun::Answered(Response::Unsupported.into_reply()),
        })
    }
}

impl Hands {
    fn get(&mut self, now: Instant, key: SessionKey) -> ExchangeId {
        let exchange = self.add_exchange(key);
        self.tell(now, key, Input::Poll { exchange });
        exchange
    }

    /// `octet_stream`: what `is_octet_stream` says of its `Content-Type`.
    fn post(&mut self, now: Instant, key: SessionKey, octet_stream: bool) -> ExchangeId {
        let exchange = self.add_exchange(key);
        self.tell(now, key, Input::PostHead { exchange, octet_stream });
        exchange
    }

    fn posted(&mut self, now: Instant, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        if let Some(&Exchange { key, .. }) = self.exchanges.get(&exchange) {
            self.tell(now, key, Input::PostBody { exchange, body });
        }
    }

    fn add_exchange(&mut self, key: SessionKey) -> ExchangeId {
        let exchange = ExchangeId(self.number());
        self.exchanges.insert(exchange, Exchange { key, answer: Answer::Awaited });
        exchange
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
    let begun = match hands.route("/engine.io/", request)? {
        Route::Handshake(handshake) => {
            // Yours: random bytes. These are no secret.
            let entropy = [u8::try_from(hands.number()).unwrap_or(0); 15];
            hands.open(now, &handshake, entropy)
        }
        Route::Session(request) => hands.find(now, &request, false),
    };
    begun.map_err(|rejection| hands.refuse(rejection, request))
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
