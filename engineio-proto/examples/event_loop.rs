//! An Engine.IO server on one thread, which echoes every message: the core, non-blocking sockets, and a loop that waits
//! until some of them are ready.
//!
//! Nothing grows with what a client sends, or does not take: a connection is read only when everything is written, and
//! only while its session wants more. Left out are time limits but those of the core (who is slow with a request, or
//! never closes, keeps its socket), chunked bodies, `HEAD` and `Expect`. See `docs/embedding.md` for what has them.
//!
//! `cargo run -p engineio-proto --example event_loop -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::io::{ErrorKind, Read, Write};
use std::{collections::BTreeMap, collections::BTreeSet, env, mem, net, time::Duration};

use engineio_proto::http::{Method, Mount, Reply, Request, is_octet_stream};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant, SendError, Server, Sid, Text};
use mio::{Events, Interest, Poll, Token, net::TcpListener, net::TcpStream};
use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::CloseCode};
use tungstenite::{Error, Message as WsMessage, error::ProtocolError, http};

/// Bytes of the head of a request, and what is read ahead of the next one.
const MAX_HEAD: usize = 16 * 1024;
const CLOSE: (&str, &str) = ("connection", "close");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = env::args().collect();
    let option = |name, or| args.windows(2).find(|it| it[0] == name).map_or(Ok(or), |it| it[1].parse::<u32>());
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(option("--ping-interval", 25_000)?.into());
    config.ping_timeout = Duration::from_millis(option("--ping-timeout", 20_000)?.into());
    config.upgrade_timeout = Duration::from_millis(option("--upgrade-timeout", 10_000)?.into());
    config.max_payload = usize::try_from(option("--max-payload", 1_000_000)?)?;
    let (mut server, mut poll) = (Server::new(config)?, Poll::new()?);
    let mut listener = TcpListener::bind((net::Ipv4Addr::LOCALHOST, option("--port", 0)?.try_into()?).into())?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());

    let began = std::time::Instant::now();
    let now = || Instant::ZERO + began.elapsed();
    let (mut events, mut accepted, mut connections) = (Events::with_capacity(1024), 0, BTreeMap::new());
    let (mut due, mut kept) = (BTreeSet::new(), BTreeMap::new()); // Connections that may go on; echoes that must wait.
    loop {
        let timeout = server.next_timeout().map(|at| at - now());
        let polled = poll.poll(&mut events, if due.is_empty() { timeout } else { Some(Duration::ZERO) });
        polled.or_else(|error| if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) })?;
        due.extend(events.iter().map(|event| event.token().0));
        // Where there are too many, they wait until something happens, such as that one leaves.
        while let Ok((mut stream, _)) = listener.accept() {
            accepted += 1;
            let added = poll.registry().register(&mut stream, Token(accepted), Interest::READABLE | Interest::WRITABLE);
            if added.and_then(|()| stream.set_nodelay(true)).is_ok() {
                connections.insert(accepted, Connection::new(stream, accepted));
            }
        }
        for id in mem::take(&mut due) {
            let Some(connection) = connections.get_mut(&id) else { continue };
            match connection.turn(&mut server, now()) {
                Ok(again) => due.extend(again.then_some(id)),
                Err(_gone) => {
                    // Of the exchange or the channel, whichever it was.
                    let (exchange, channel) = (ExchangeId(connection.number), ChannelId(connection.number));
                    connection.tell(&mut server, now(), Input::ExchangeLost { exchange });
                    connection.tell(&mut server, now(), Input::ChannelClosed { channel, end: ChannelEnd::Lost });
                    connections.remove(&id);
                }
            }
        }
        server.handle_timeout(now());
        while let Some((key, output)) = server.poll_output() {
            let id = |number: u64| (number >> 32) as usize;
            match output {
                Output::Respond { exchange, response } => {
                    connections.entry(id(exchange.0)).and_modify(|it| it.answer(&response.into_reply()));
                    due.insert(id(exchange.0));
                }
                Output::Abort { exchange } => drop(connections.remove(&id(exchange.0))),
                // In its turn it pulls frames, and reads if it may.
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => due.extend([id(channel.0)]),
                Output::ChannelClose { channel } => {
                    connections.entry(id(channel.0)).and_modify(|it| it.told = None);
                    due.insert(id(channel.0));
                }
                // The application. Whatever happens, it echoes what it can, and takes no more than it can send back.
                Output::Event(_) => {
                    let Some(mut session) = server.session_mut(key) else { continue };
                    while let Some(message) = kept.remove(&key).or_else(|| session.recv(now())) {
                        if let Err(SendError::Full(message)) = session.send(message) {
                            kept.insert(key, message);
                            break;
                        }
                    }
                }
            }
        }
    }
}

/// A connection has one exchange at a time, or becomes a channel.
struct Connection {
    stream: TcpStream,
    websocket: Option<Box<WebSocketContext>>,
    /// The session that was told of the exchange or the channel, until the answer is written or the channel closed.
    told: Option<SessionKey>,
    /// The number of the exchange or the channel. Its upper half is that of the connection.
    number: u64,
    /// Why the channel is closed, if the client is to blame.
    goodbye: Option<CloseFrame>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// A body is on its way, of so many bytes.
    body: Option<usize>,
    /// No request follows: behind the answer we close our side, and throw away what comes, lest the answer be lost.
    last: bool,
}

impl Connection {
    fn new(stream: TcpStream, id: usize) -> Self {
        let (number, input, output) = ((id as u64) << 32, Vec::new(), Vec::new());
        Self { stream, websocket: None, told: None, number, input, output, body: None, goodbye: None, last: false }
    }

    fn tell(&self, server: &mut Server, now: Instant, input: Input) {
        if let Some(mut session) = self.told.and_then(|key| server.session_mut(key)) {
            session.handle_input(now, input);
        }
    }

    /// Does what can be done without waiting, but not too much: there are others. Whether another turn is due.
    fn turn(&mut self, server: &mut Server, now: Instant) -> Result<bool, Error> {
        while !self.output.is_empty() {
            let Some(len) = ready(self.stream.write(&self.output))? else { return Ok(false) };
            self.output.drain(..len);
            self.told = self.told.filter(|_| !self.output.is_empty() || self.websocket.is_some());
        }
        if self.websocket.is_some() {
            return self.exchange_frames(server, now);
        }
        // Also while an answer is awaited: the client may leave.
        let room = (MAX_HEAD + self.body.unwrap_or(0)).saturating_sub(self.input.len());
        let read = ready((&self.stream).take(room as u64).read_to_end(&mut self.input))?;
        if room > 0 && read == Some(0) {
            return Err(Error::ConnectionClosed);
        } else if self.last && self.told.is_none() {
            self.input.clear();
            self.stream.shutdown(net::Shutdown::Write)?;
        } else if self.told.is_none() {
            self.receive_head(server, now).unwrap_or_else(|reply| self.answer(&reply));
        }
        let max = server.config().max_payload;
        if let Some(len) = self.body.take_if(|len| *len > max || *len <= self.input.len()) {
            self.last |= len > max;
            let rest = self.input.split_off(len.min(self.input.len()));
            let body = mem::replace(&mut self.input, rest).into();
            let body = if len > max { Err(BodyError::TooLarge) } else { Ok(body) };
            self.tell(server, now, Input::PostBody { exchange: ExchangeId(self.number), body });
        }
        Ok(read > Some(0) || !self.output.is_empty())
    }

    /// Brings a request to its session, or says why not.
    fn receive_head(&mut self, server: &mut Server, now: Instant) -> Result<(), Reply> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(&self.input).map_err(|_| refusal(400))?;
        let partial = if self.input.len() < MAX_HEAD { Ok(()) } else { Err(refusal(431)) };
        let httparse::Status::Complete(len) = status else { return partial };
        let head = http::Request::builder().method(parsed.method.unwrap_or("")).uri(parsed.path.unwrap_or(""));
        let head = parsed.headers.iter().fold(head, |head, header| head.header(header.name, header.value));
        let (head, version) = (head.body(()).map_err(|_| refusal(400))?, parsed.version);
        self.input.drain(..len);

        let get = |name| head.headers().get(name).and_then(|value| value.to_str().ok());
        let is = |name, value| get(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
        let length = get("transfer-encoding").or(get("content-length")).unwrap_or("0");
        let length = length.parse().map_err(|_| refusal(411))?; // That of chunks is not known.
        let method = match head.method().as_str() {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => Method::Other,
        };
        self.body = (method != Method::Get || length > 0).then_some(length);
        self.last = version != Some(1) || is("connection", "close");
        Mount::default().matches(head.uri().path()).then_some(()).ok_or(refusal(404))?;
        let upgrade = is("upgrade", "websocket");
        let accept = upgrade.then(|| create_response(&head)).transpose().map_err(|_| refusal(400))?;
        let deny = |refused: NotAdmitted| refused.into_reply(upgrade);
        let (query, origin) = (head.uri().query().unwrap_or_default(), get("origin").map(str::as_bytes));
        let admission = Admission::begin(&Request { method, query, origin, upgrade }, server.config());
        let admission = admission.map_err(|rejection| deny(rejection.into()))?;
        let octet_stream = get("content-type").is_some_and(|it| is_octet_stream(it.as_bytes()));
        let mut entropy = [0; 15];
        getrandom::fill(&mut entropy).map_err(|_| refusal(500))?;
        self.number += 1;
        let (exchange, channel) = (ExchangeId(self.number), ChannelId(self.number));
        let entry = match upgrade {
            true => Entry::Channel { channel, head: None }, // `create_response` has looked at it.
            false => Entry::Exchange { exchange, octet_stream },
        };
        let key = server.admit(now, admission, entry, Some(Sid::from_entropy(entropy))).map_err(deny)?;
        self.told = Some(key);
        if let Some(accept) = accept {
            let _ = write_response(&mut self.output, &accept); // Memory takes everything.
            let max = server.config().max_payload;
            // The limit is that of messages. A ping may be longer.
            let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max.max(125)));
            let (config, input) = (config.read_buffer_size(4096).write_buffer_size(0), mem::take(&mut self.input));
            self.websocket = Some(Box::new(WebSocketContext::from_partially_read(input, Role::Server, Some(config))));
        }
        Ok(())
    }

    fn answer(&mut self, reply: &Reply) {
        // What is not read of a body must not be taken for another request.
        self.last |= self.body.take().is_some() || reply.headers.iter().any(|field| field == CLOSE);
        let mut answer = format!("HTTP/1.1 {} \r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in reply.headers.iter().filter(|field| *field != CLOSE).chain(self.last.then_some(CLOSE)) {
            answer += &format!("{name}: {value}\r\n");
        }
        self.output = [answer.as_bytes(), b"\r\n", &reply.body].concat();
    }

    /// Frames out, then a message in: a client that takes nothing is not read either.
    fn exchange_frames(&mut self, server: &mut Server, now: Instant) -> Result<bool, Error> {
        let (Some(socket), stream) = (&mut self.websocket, &mut self.stream) else { return Ok(false) };
        let Some(()) = ready(socket.flush(stream))? else { return Ok(false) };
        let Some(mut session) = self.told.and_then(|key| server.session_mut(key)) else {
            let Some(()) = ready(socket.close(stream, self.goodbye.take()))? else { return Ok(false) };
            (self.websocket, self.last) = (None, true);
            return Ok(true);
        };
        let channel = ChannelId(self.number);
        while let Some(frame) = session.next_frame(now, channel) {
            let message = match frame {
                Frame::Text { head, data } => WsMessage::text([head, &*data].concat()),
                Frame::Binary(bytes) => WsMessage::Binary(bytes),
            };
            let Some(()) = ready(socket.write(stream, message))? else { return Ok(false) };
        }
        let Some(read) = session.wants_frames(channel).then(|| socket.read(stream)) else { return Ok(false) };
        let frame = |frame| (Input::ChannelFrame { channel, frame }, None);
        let closed = |end, code| (Input::ChannelClosed { channel, end }, code);
        let (input, code) = match read {
            Ok(WsMessage::Text(text)) => frame(Frame::received(Text::from_utf8_lossy(text.into()))),
            Ok(WsMessage::Binary(bytes)) => frame(Frame::Binary(bytes)),
            Ok(WsMessage::Close(_)) => closed(ChannelEnd::Closed, None),
            Ok(_) => return Ok(true), // A ping is answered by the next flush.
            Err(Error::Capacity(_)) => closed(ChannelEnd::TooLarge, Some(CloseCode::Size)),
            Err(Error::Io(error)) => return ready(Err(error)).map(|it: Option<()>| it.is_some()),
            Err(error @ Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Err(error),
            Err(_) => closed(ChannelEnd::Violation, Some(CloseCode::Protocol)),
        };
        session.handle_input(now, input);
        self.told = self.told.filter(|_| code.is_none());
        self.goodbye = code.map(|code| CloseFrame { code, reason: "".into() });
        Ok(true)
    }
}

fn refusal(status: u16) -> Reply {
    let mut reply = Reply::empty(status);
    reply.headers.push(CLOSE.0, CLOSE.1);
    reply
}

/// `None` when it would have to wait.
fn ready<T, E: Into<Error>>(result: Result<T, E>) -> Result<Option<T>, Error> {
    match result.map_err(Into::into) {
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
