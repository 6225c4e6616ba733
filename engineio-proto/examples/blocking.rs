//! An Engine.IO server on plain threads that echoes every message: all that it takes to give the core hands.
//!
//! Each connection has a thread, one more accepts them, and the first is the timer. They visit the core for a moment,
//! under its one lock, and wait outside of it. A thread can wait for one thing only, that of a WebSocket for its
//! client, that of a held request for its session. Every 10 ms it looks at the other one.
//!
//! Left out are time limits but those of the core (who is slow with a request, or never closes, keeps a thread), limits
//! on answered pings, chunked bodies, `HEAD`, `Expect` and subprotocols. See `docs/embedding.md` for what has them.
//!
//! `cargo run -p engineio-proto --example blocking -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock, thread or socket. This has.

use std::io::{self, ErrorKind::TimedOut, ErrorKind::WouldBlock, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::{collections::BTreeMap, env, mem, thread, time::Duration, time::Instant as Clock};

use engineio_proto::http::{Method, Mount, Reply, Request, Response, is_octet_stream};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant, Message, SendError, Server, Sid, Text};
use tungstenite::handshake::server::{Request as Head, Response as Accepted, create_response, write_response};
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error, Message as WsMessage, error::ProtocolError::ResetWithoutClosingHandshake as Reset};

const TICK: Duration = Duration::from_millis(10); // How long a thread waits for one thing without a look at another.
const CLOSE: (&str, &str) = ("connection", "close");

/// An answer behind which the connection ends.
fn closing(status: u16) -> Reply {
    let mut reply = Reply::empty(status);
    reply.headers.push(CLOSE.0, CLOSE.1);
    reply
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = env::args().collect();
    let option = |name, or| args.windows(2).find(|it| it[0] == name).map_or(Ok(or), |it| it[1].parse::<u32>());
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(option("--ping-interval", 25_000)?.into());
    config.ping_timeout = Duration::from_millis(option("--ping-timeout", 20_000)?.into());
    config.upgrade_timeout = Duration::from_millis(option("--upgrade-timeout", 10_000)?.into());
    config.max_payload = usize::try_from(option("--max-payload", 1_000_000)?)?;
    let (server, answers, kept) = (Server::new(config.clone())?, BTreeMap::new(), BTreeMap::new());
    let core = Core { server, answers, kept, number: 0, began: Clock::now(), now: Instant::ZERO };
    let shared: &Shared = Box::leak(Box::new(Shared { core: Mutex::new(core), changed: Condvar::new(), config }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, option("--port", 0)?.try_into()?))?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    // Connections that are too many wait, or are dropped.
    thread::spawn(move || {
        for socket in listener.incoming().flat_map(|socket| socket.inspect_err(|_| thread::sleep(TICK))) {
            let connection = Connection { shared, socket, input: Vec::new(), body: None, last: false };
            let _ = thread::Builder::new().spawn(|| connection.serve());
        }
    });
    loop {
        shared.visit(|core| core.server.handle_timeout(core.now));
        let core = shared.lock();
        let next = core.server.next_timeout().map_or(Duration::MAX, |at| at - core.now);
        drop(shared.changed.wait_timeout(core, next));
    }
}

struct Shared {
    core: Mutex<Core>,
    changed: Condvar, // There is an answer, or the time for which the timer waits is another.
    config: Config,
}

/// What is under the lock: the core, and what belongs to it outside.
struct Core {
    server: Server,
    answers: BTreeMap<u64, Option<Response>>, // To exchanges. `None` ends an exchange or a channel without.
    kept: BTreeMap<SessionKey, Message>,      // Echoes that found the send buffer full.
    number: u64,
    began: Clock,
    now: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works with the core at the present time, then does what it asks for.
    fn visit<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let core = &mut *self.lock();
        core.now = Instant::ZERO + core.began.elapsed();
        let before = (core.answers.len(), core.server.next_timeout());
        let result = work(core);
        while let Some((key, output)) = core.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => drop(core.answers.insert(exchange.0, Some(response))),
                Output::Abort { exchange } => drop(core.answers.insert(exchange.0, None)),
                Output::ChannelClose { channel } => drop(core.answers.insert(channel.0, None)),
                Output::ChannelReady { .. } | Output::ChannelRead { .. } => (), // Its thread asks the session itself.
                // The application. It takes no more than it can send back: a client that does not read is not read.
                Output::Event(_) => {
                    let Some(mut session) = core.server.session_mut(key) else { continue };
                    while let Some(message) = core.kept.remove(&key).or_else(|| session.recv(core.now)) {
                        if let Err(SendError::Full(message)) = session.send(message) {
                            core.kept.insert(key, message); // There will be an event when there is room, or at the end.
                            break;
                        }
                    }
                }
            }
        }
        if before != (core.answers.len(), core.server.next_timeout()) {
            self.changed.notify_all();
        }
        result
    }

    /// Tells a session what happened. One that is gone need not know.
    fn tell(&self, key: SessionKey, input: Input) {
        self.visit(|core| core.server.session_mut(key).map(|mut session| session.handle_input(core.now, input)));
    }

    /// Waits for an answer; not for long if there is something else to look at.
    fn answer(&self, number: u64, patience: Duration) -> Option<Option<Response>> {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |core| !core.answers.contains_key(&number));
        waited.unwrap_or_else(PoisonError::into_inner).0.answers.remove(&number)
    }
}

/// A connection, and the thread that serves it.
struct Connection {
    shared: &'static Shared,
    socket: TcpStream,
    input: Vec<u8>,      // Received and not used yet.
    body: Option<usize>, // One is on its way, of so many bytes.
    last: bool,          // No request follows.
}

impl Connection {
    fn serve(mut self) {
        let _ = self.socket.set_nodelay(true).and(self.socket.set_read_timeout(Some(TICK)));
        // Who takes nothing for so long has missed a ping.
        let _ = self.socket.set_write_timeout(Some(self.shared.config.ping_interval + self.shared.config.ping_timeout));
        while self.serve_request().is_ok() && !self.last {} // Whatever goes wrong, there is nobody left to tell.
        let _ = self.socket.shutdown(Shutdown::Write).and(self.socket.set_read_timeout(Some(Duration::from_secs(1))));
        let _ = io::copy(&mut self.socket, &mut io::sink()); // What is not read would break the connection.
    }

    fn serve_request(&mut self) -> Result<(), Error> {
        let head = self.read_head()?;
        let accepted = create_response(&head).ok(); // What is not quite right is no upgrade.
        let (key, exchange, channel) = match self.admit(&head, accepted.is_some()) {
            Ok(admitted) => admitted,
            Err(reply) => return self.write(&reply),
        };
        let served = match accepted {
            Some(accepted) => self.serve_channel(key, channel, &accepted),
            None => self.serve_exchange(key, exchange),
        };
        if served.is_err() {
            self.shared.tell(key, Input::ExchangeLost { exchange }); // Of the two it knows one.
            self.shared.tell(key, Input::ChannelClosed { channel, end: ChannelEnd::Lost });
        }
        self.shared.answer(exchange.0, Duration::ZERO); // Nobody waits for it any more.
        served
    }

    fn read_head(&mut self) -> Result<Head, Error> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Request::new(&mut fields);
            if let httparse::Status::Complete(len) = parsed.parse(&self.input).map_err(io::Error::other)? {
                let head = Head::builder().method(parsed.method.unwrap_or("")).uri(parsed.path.unwrap_or(""));
                let head = parsed.headers.iter().fold(head, |head, field| head.header(field.name, field.value));
                self.last = parsed.version != Some(1);
                self.input.drain(..len);
                return Ok(head.body(())?);
            } else if self.input.len() > 16 * 1024 {
                return Err(Error::AttackAttempt);
            }
            self.receive(true)?;
        }
    }

    /// Brings a request to its session, or says why not.
    fn admit(&mut self, head: &Head, upgrade: bool) -> Result<(SessionKey, ExchangeId, ChannelId), Reply> {
        let refuse = closing;
        let get = |name| head.headers().get(name).and_then(|value| value.to_str().ok());
        let len = get("transfer-encoding").or(get("content-length")).map_or(Ok(0), str::parse);
        let len = len.map_err(|_| refuse(411))?; // That of chunks is not known.
        let method = match head.method().as_str() {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => Method::Other,
        };
        self.body = (method == Method::Post || len > 0).then_some(len);
        self.last |= upgrade || get("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        Mount::default().matches(head.uri().path()).then_some(()).ok_or(refuse(404))?;
        let deny = |refused: NotAdmitted| refused.into_reply(upgrade);
        let (query, origin) = (head.uri().query().unwrap_or_default(), get("origin").map(str::as_bytes));
        let admission = Admission::begin(&Request { method, query, origin, upgrade }, &self.shared.config);
        let admission = admission.map_err(|rejection| deny(rejection.into()))?;
        let octet_stream = get("content-type").is_some_and(|it| is_octet_stream(it.as_bytes()));
        let mut entropy = [0; 15];
        getrandom::fill(&mut entropy).map_err(|_| refuse(500))?;
        self.shared.visit(|core| {
            core.number += 1;
            let (exchange, channel) = (ExchangeId(core.number), ChannelId(core.number));
            let entry = match upgrade {
                true => Entry::Channel { channel, head: None }, // `create_response` has looked at it.
                false => Entry::Exchange { exchange, octet_stream },
            };
            let key = core.server.admit(core.now, admission, entry, Some(Sid::from_entropy(entropy))).map_err(deny)?;
            Ok((key, exchange, channel))
        })
    }

    /// Sees an exchange to its answer, as long as its client waits for that.
    fn serve_exchange(&mut self, key: SessionKey, exchange: ExchangeId) -> Result<(), Error> {
        let max = self.shared.config.max_payload;
        loop {
            let patience = if self.body.is_some() { Duration::ZERO } else { TICK }; // It may come early.
            if let Some(answer) = self.shared.answer(exchange.0, patience) {
                return self.write(&answer.ok_or(Error::ConnectionClosed)?.into_reply());
            } else if let Some(len) = self.body.take_if(|len| *len > max || *len <= self.input.len()) {
                self.last |= len > max;
                let body = if len > max { Err(BodyError::TooLarge) } else { Ok(self.input.drain(..len).collect()) };
                self.shared.tell(key, Input::PostBody { exchange, body });
            } else if self.body.is_some() || self.input.is_empty() {
                self.receive(self.body.is_some())?;
            }
        }
    }

    /// Serves a WebSocket until its client or its session is done with it.
    fn serve_channel(&mut self, key: SessionKey, channel: ChannelId, accepted: &Accepted) -> Result<(), Error> {
        write_response(&self.socket, accepted)?;
        let max = self.shared.config.max_payload; // Of messages. A control frame has up to 125 bytes.
        let config = Some(WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max.max(125))));
        let mut socket = WebSocket::from_partially_read(&self.socket, mem::take(&mut self.input), Role::Server, config);
        let take = |frame| self.shared.tell(key, Input::ChannelFrame { channel, frame });
        let (end, code) = loop {
            let next = self.shared.visit(|core| {
                let mut session = core.server.session_mut(key).filter(|_| !core.answers.contains_key(&channel.0))?;
                Some((session.next_frame(core.now, channel), session.wants_frames(channel)))
            });
            match next {
                None => break (ChannelEnd::Closed, None),
                Some((Some(Frame::Text { head, data }), _)) => socket.send(WsMessage::text([head, &*data].concat()))?,
                Some((Some(Frame::Binary(bytes)), _)) => socket.send(WsMessage::Binary(bytes))?,
                Some((None, false)) => thread::sleep(TICK),
                Some((None, true)) => match socket.read() {
                    Ok(WsMessage::Text(text)) => take(Frame::received(Text::from_utf8_lossy(text.into()))),
                    Ok(WsMessage::Binary(bytes)) => take(Frame::Binary(bytes)),
                    Ok(WsMessage::Close(_)) => break (ChannelEnd::Closed, None),
                    Ok(_) => (),
                    Err(Error::Io(error)) if matches!(error.kind(), WouldBlock | TimedOut) => (),
                    Err(error @ (Error::Io(_) | Error::Protocol(Reset))) => return Err(error),
                    Err(Error::Capacity(_)) => break (ChannelEnd::TooLarge, Some(CloseCode::Size)),
                    Err(_) => break (ChannelEnd::Violation, Some(CloseCode::Protocol)),
                },
            }
        };
        self.shared.tell(key, Input::ChannelClosed { channel, end });
        socket.close(code.map(|code| CloseFrame { code, reason: "".into() }))
    }

    fn write(&mut self, reply: &Reply) -> Result<(), Error> {
        self.last |= self.body.is_some() || reply.headers.iter().any(|field| field == CLOSE); // What is unread is no request.
        let fields = reply.headers.iter().filter(|field| *field != CLOSE).chain(self.last.then_some(CLOSE));
        let fields: String = fields.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 {} \r\n{fields}content-length: {}\r\n\r\n", reply.status, reply.body.len());
        Ok(self.socket.write_all(&[head.as_bytes(), &reply.body].concat())?)
    }

    /// Takes what has arrived, or waits a moment for it. Fails at the end of the connection.
    fn receive(&mut self, wait: bool) -> Result<(), Error> {
        let mut chunk = [0; 16 * 1024];
        self.socket.set_nonblocking(!wait)?;
        let received = self.socket.read(&mut chunk);
        self.socket.set_nonblocking(false)?;
        match received {
            Ok(0) => Err(Error::ConnectionClosed),
            Ok(len) => Ok(self.input.write_all(&chunk[..len])?),
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
