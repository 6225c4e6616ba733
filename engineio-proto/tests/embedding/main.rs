//! The program of the guide (`src/guide.md`), line by line, and tests of what the guide says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// This is an embedder: it may know what time it is.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// The guide begins.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::{Headers, Method, Mount, Reply, Request};
use engineio_proto::server::{Admission, BodyError, Entry, Input, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelEnd, ChannelId, Client, CloseReason, Event, ExchangeId, Instant, Machine, Message,
    Server, Sid,
};

/// An embedder of a server.
struct Embedder {
    server: Server,
    /// The last number of an exchange or a channel.
    last: u64,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    channels: BTreeMap<ChannelId, Channel>,
    /// How sessions ended.
    ends: Vec<CloseReason>,
}

/// An HTTP request that the session knows of. In a real embedder: with its connection.
struct Exchange {
    key: SessionKey,
    answer: Option<Answer>,
}

enum Answer {
    /// To be written.
    Reply(Reply),
    /// No answer follows. Drop the connection.
    Abort,
}

/// A WebSocket. In a real embedder: with its connection and its codec.
struct Channel {
    key: SessionKey,
    /// Frames that were pulled and are not written. The number says how many messages of the
    /// session had been handed over when the frame was pulled.
    unwritten: VecDeque<(Frame, u64)>,
    /// Whether to read.
    reading: bool,
    /// Whether to close the WebSocket after everything is written.
    closing: bool,
}

impl Embedder {
    fn input(&mut self, now: Instant, key: SessionKey, input: Input) {
        // A session that has ended needs no inputs.
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(now, input);
        }
        self.obey(now);
    }

    fn obey(&mut self, now: Instant) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    let reply = response.into_reply(); // This encodes: do it outside of locks.
                    self.answer(exchange, Answer::Reply(reply));
                }
                Output::Abort { exchange } => self.answer(exchange, Answer::Abort),
                Output::ChannelReady { channel } => self.pull(now, channel),
                Output::ChannelRead { channel, enabled } => self.set_reading(channel, enabled),
                Output::ChannelClose { channel } => self.close(channel),
                Output::Event(event) => self.event(now, key, event),
            }
        }
    }
}

/// A request that its session knows of.
enum Admitted {
    /// A GET. The session answers it when it has something to send.
    Poll(ExchangeId),
    /// A POST, whose body is to be read. The session may answer it earlier.
    Post(ExchangeId),
    /// The request becomes a WebSocket: the 101 is to be written.
    Channel(ChannelId),
}

impl Embedder {
    /// `octet_stream`: what `is_octet_stream` says of the `Content-Type`.
    /// `entropy`: random bytes of the system.
    fn admit(
        &mut self,
        now: Instant,
        path: &str,
        request: &Request<'_>,
        octet_stream: bool,
        entropy: [u8; 15],
    ) -> Result<Admitted, Reply> {
        if !Mount::default().matches(path) {
            return Err(Reply { status: 404, headers: Headers::default(), body: Bytes::new() });
        }
        let is_upgrade = request.is_upgrade(self.server.config());
        // An application can refuse the client at `Admission::Ask`.
        let admission = Admission::begin(request, self.server.config())
            .map_err(|rejection| rejection.into_reply(is_upgrade))?;
        self.last += 1;
        let (exchange, channel) = (ExchangeId(self.last), ChannelId(self.last));
        let entry = if is_upgrade {
            // The WebSocket library has checked the head of the handshake.
            Entry::Channel { channel, head: None }
        } else {
            Entry::Exchange { exchange, octet_stream }
        };
        let sid = Sid::from_entropy(entropy);
        let key = self
            .server
            .admit(now, admission, entry, Some(sid))
            .map_err(|refused| refused.into_reply(is_upgrade))?;
        let admitted = match request.method {
            _ if is_upgrade => Admitted::Channel(channel),
            Method::Post => Admitted::Post(exchange),
            Method::Get | Method::Other => Admitted::Poll(exchange),
        };
        match admitted {
            Admitted::Poll(_) | Admitted::Post(_) => {
                self.exchanges.insert(exchange, Exchange { key, answer: None });
            }
            Admitted::Channel(_) => {
                let own =
                    Channel { key, unwritten: VecDeque::new(), reading: true, closing: false };
                self.channels.insert(channel, own);
            }
        }
        self.obey(now);
        Ok(admitted)
    }
}

impl Embedder {
    /// The whole body of a POST, or why it is refused.
    fn body(&mut self, now: Instant, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        if let Some(&Exchange { key, .. }) = self.exchanges.get(&exchange) {
            self.input(now, key, Input::PostBody { exchange, body });
        }
    }

    fn answer(&mut self, exchange: ExchangeId, answer: Answer) {
        // It may have been lost meanwhile.
        if let Some(exchange) = self.exchanges.get_mut(&exchange) {
            exchange.answer = Some(answer);
        }
    }

    /// The connection took every byte of the answer, or was dropped as the session asked.
    fn written(&mut self, now: Instant, exchange: ExchangeId) {
        if let Some(Exchange { key, .. }) = self.exchanges.remove(&exchange) {
            self.input(now, key, Input::AnswerWritten { exchange });
        }
    }

    /// The connection ended before that.
    fn lost(&mut self, now: Instant, exchange: ExchangeId) {
        if let Some(Exchange { key, .. }) = self.exchanges.remove(&exchange) {
            self.input(now, key, Input::ExchangeLost { exchange });
        }
    }
}

/// Frames are pulled while fewer bytes than this wait to be written, and one frame more.
const WRITE_AHEAD: usize = 32 * 1024;

impl Embedder {
    fn pull(&mut self, now: Instant, channel: ChannelId) {
        let Some(own) = self.channels.get_mut(&channel) else { return };
        let Some(mut session) = self.server.session_mut(own.key) else { return };
        let mut waiting: usize = own.unwritten.iter().map(|(frame, _)| frame.len()).sum();
        while waiting < WRITE_AHEAD {
            let Some(frame) = session.next_frame(now, channel) else { break };
            waiting += frame.len();
            own.unwritten.push_back((frame, session.stats().messages_sent));
        }
    }

    /// The connection took every byte of the next frame.
    fn frame_written(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        let own = self.channels.get_mut(&channel)?;
        let (key, (frame, messages)) = (own.key, own.unwritten.pop_front()?);
        self.input(now, key, Input::ChannelWritten { channel, messages });
        self.pull(now, channel); // There is room again.
        self.obey(now);
        Some(frame)
    }

    /// A blocked connection of the session takes bytes again.
    fn unblocked(&mut self, now: Instant, key: SessionKey) {
        self.input(now, key, Input::Unblocked);
    }
}

impl Embedder {
    /// A message arrived: `Frame::received(text)`, or `Frame::Binary(bytes)`.
    fn frame(&mut self, now: Instant, channel: ChannelId, frame: Frame) {
        if let Some(&Channel { key, .. }) = self.channels.get(&channel) {
            self.input(now, key, Input::ChannelFrame { channel, frame });
        }
    }

    fn set_reading(&mut self, channel: ChannelId, enabled: bool) {
        if let Some(own) = self.channels.get_mut(&channel) {
            own.reading = enabled;
        }
    }

    fn close(&mut self, channel: ChannelId) {
        if let Some(own) = self.channels.get_mut(&channel) {
            own.closing = true;
        }
    }

    /// The WebSocket is gone.
    fn channel_ended(&mut self, now: Instant, channel: ChannelId, end: ChannelEnd) {
        if let Some(Channel { key, .. }) = self.channels.remove(&channel) {
            self.input(now, key, Input::ChannelClosed { channel, end });
        }
    }
}

fn time(start: std::time::Instant) -> Instant {
    Instant::ZERO + start.elapsed()
}

impl Embedder {
    /// Does what is due, and returns how long to wait.
    fn tick(&mut self, now: Instant) -> Option<Duration> {
        self.server.handle_timeout(now);
        self.obey(now);
        self.server.next_timeout().map(|at| at - now)
    }
}

impl Embedder {
    fn event(&mut self, now: Instant, key: SessionKey, event: Event) {
        match event {
            Event::Readable | Event::Writable | Event::Ended(_) => self.echo(now, key),
            Event::Closed(reason) => self.ends.push(reason),
            _ => (),
        }
    }

    fn echo(&mut self, now: Instant, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        // If this is false, `Writable` follows.
        while session.poll_ready() {
            let Some(message) = session.recv(now) else { break };
            // It comes back if the session has ended, or if it is text with 0x1E, which polling
            // cannot carry.
            session.send(message).ok();
        }
    }

    /// Whether everything that was sent up to now is written. If not, `Event::Written` follows.
    fn flush(&mut self, key: SessionKey) -> bool {
        let Some(mut session) = self.server.session_mut(key) else { return true };
        let messages = session.stats().messages_accepted;
        session.poll_written(messages)
    }
}

fn a_session(embedder: &mut Embedder, now: Instant) -> Result<(), Reply> {
    use engineio_proto::http::Method;

    let entropy = [7; 15]; // In a real embedder: random bytes.
    let path = "/engine.io/";
    let mut request = Request {
        method: Method::Get,
        query: "EIO=4&transport=polling",
        origin: None,
        upgrade: false,
    };

    // The answer to the handshake has the id.
    let Admitted::Poll(get) = embedder.admit(now, path, &request, false, entropy)? else {
        unreachable!()
    };
    let open = String::from_utf8_lossy(&embedder.reply(get)).into_owned();
    let sid = open.split('"').nth(3).unwrap_or_default();
    embedder.written(now, get);

    let query = format!("EIO=4&transport=polling&sid={sid}");
    request = Request { method: Method::Post, query: &query, ..request };
    let Admitted::Post(post) = embedder.admit(now, path, &request, false, entropy)? else {
        unreachable!()
    };
    embedder.body(now, post, Ok("4hello".into()));
    assert_eq!(embedder.reply(post), "ok");
    embedder.written(now, post);

    request.method = Method::Get;
    let Admitted::Poll(get) = embedder.admit(now, path, &request, false, entropy)? else {
        unreachable!()
    };
    assert_eq!(embedder.reply(get), "4hello");
    embedder.written(now, get);

    // This GET finds nothing and is held. Then the client leaves.
    let Admitted::Poll(get) = embedder.admit(now, path, &request, false, entropy)? else {
        unreachable!()
    };
    embedder.lost(now, get);
    assert_eq!(embedder.ends.len(), 1);
    assert_eq!(embedder.ends[0].to_string(), "transport error: poll connection closed prematurely");
    assert!(embedder.server.is_empty());
    Ok(())
}

impl Embedder {
    /// The body of the answer to an exchange; empty while there is no answer.
    fn reply(&self, exchange: ExchangeId) -> Bytes {
        match self.exchanges.get(&exchange).and_then(|exchange| exchange.answer.as_ref()) {
            Some(Answer::Reply(reply)) => reply.body.clone(),
            Some(Answer::Abort) | None => Bytes::new(),
        }
    }
}

/// An embedder of a client.
struct ClientEmbedder {
    client: Client,
    /// Requests to be sent. Each is reported: with `Answered`, or with `Failed`.
    requests: Vec<(ExchangeId, client::Request)>,
    /// A WebSocket to be opened. It is reported: with `ChannelOpened`, or with `ChannelClosed`
    /// and `ChannelEnd::Unopened`.
    opening: Option<(ChannelId, String)>,
    unwritten: VecDeque<(Frame, u64)>,
    reading: bool,
    closing: bool,
    messages: Vec<Message>,
    end: Option<CloseReason>,
}

impl ClientEmbedder {
    fn input(&mut self, now: Instant, input: client::Input) {
        self.client.handle_input(now, input);
        self.obey(now);
    }

    fn obey(&mut self, now: Instant) {
        while let Some(output) = self.client.poll_output() {
            match output {
                // A POST if it has a body, else a GET. Its headers: `request.headers()`.
                client::Output::Request { exchange, request } => {
                    self.requests.push((exchange, request));
                }
                client::Output::Cancel { exchange } => {
                    self.requests.retain(|(other, _)| *other != exchange);
                }
                // One at a time. The channel before it, if any, was closed.
                client::Output::ChannelOpen { channel, target } => {
                    self.opening = Some((channel, target));
                    (self.reading, self.closing) = (true, false);
                    self.unwritten.clear();
                }
                client::Output::ChannelReady { channel } => self.pull(now, channel),
                client::Output::ChannelRead { enabled, .. } => self.reading = enabled,
                // After everything is written. A WebSocket that is being opened is dropped.
                client::Output::ChannelClose { .. } => {
                    (self.closing, self.opening) = (true, None);
                }
                client::Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn pull(&mut self, now: Instant, channel: ChannelId) {
        let mut waiting: usize = self.unwritten.iter().map(|(frame, _)| frame.len()).sum();
        while waiting < WRITE_AHEAD {
            let Some(frame) = self.client.next_frame(now, channel) else { break };
            waiting += frame.len();
            self.unwritten.push_back((frame, self.client.stats().messages_sent));
        }
    }

    /// The connection took every byte of the next frame.
    fn frame_written(&mut self, now: Instant, channel: ChannelId) -> Option<Frame> {
        let (frame, messages) = self.unwritten.pop_front()?;
        self.input(now, client::Input::ChannelWritten { channel, messages });
        self.pull(now, channel);
        self.obey(now);
        Some(frame)
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Readable | Event::Ended(_) => {
                self.messages.extend(std::iter::from_fn(|| self.client.recv(now)));
            }
            Event::Closed(reason) => self.end = Some(reason),
            _ => (),
        }
    }
}

/// What waits to be written on a channel, of either side.
fn pull(
    machine: &mut dyn Machine,
    now: Instant,
    channel: ChannelId,
    unwritten: &mut VecDeque<(Frame, u64)>,
) {
    while let Some(frame) = machine.next_frame(now, channel) {
        unwritten.push_back((frame, machine.stats().messages_sent));
    }
}

// The guide ends.

mod pair;
mod symptoms;

fn embedder(config: engineio_proto::server::Config) -> Embedder {
    Embedder {
        server: Server::new(config).unwrap(),
        last: 0,
        exchanges: BTreeMap::new(),
        channels: BTreeMap::new(),
        ends: Vec::new(),
    }
}

#[test]
fn the_session_of_the_guide() {
    let now = time(std::time::Instant::now());
    a_session(&mut embedder(engineio_proto::server::Config::default()), now).unwrap();
}

#[test]
fn the_guide_shows_this_program() {
    let guide = include_str!("../../src/guide.md");
    let blocks =
        guide.split("\n```rust\n").skip(1).map(|rest| rest.split_once("```\n").expect("its end").0);
    let shown = blocks.collect::<Vec<_>>().join("\n");
    let program =
        include_str!("main.rs").split("\n// The guide begins.\n\n").nth(1).expect("its beginning");
    let (program, _) = program.split_once("\n// The guide ends.\n").expect("its end");
    let differ = shown.lines().zip(program.lines()).find(|(shown, program)| shown != program);
    assert_eq!(differ, None, "src/guide.md, and tests/embedding/main.rs");
    assert_eq!(shown, program);
}
