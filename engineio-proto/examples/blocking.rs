//! An Engine.IO server on plain threads that echoes every message: all that it takes to give the core hands.
//!
//! Each connection has a thread, and one more is the timer. They visit the core for a moment, under its one lock, and
//! wait outside of it. A thread can wait for one thing only: that of a WebSocket waits for its client, and looks at its
//! session every 10 ms; that of a held request waits for its session, and looks at its client as often.
//!
//! Only the core is served in full. Requests, idle connections and what follows a close have no time limit, all pings
//! of a WebSocket are answered, and chunked bodies, `HEAD`, `Expect` and subprotocols are unknown. The driver has all
//! that, see `docs/embedding.md`.
//!
//! `cargo run -p engineio-proto --example blocking -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock, thread or socket. This has.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};
use std::{collections::BTreeMap, env, error, mem, thread};

use engineio_proto::*;
use tungstenite::error::{Error, ProtocolError::ResetWithoutClosingHandshake as Reset};
use tungstenite::handshake::server::{Request as Head, Response as Accepted, create_response, write_response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message as WsMessage, Role, WebSocket, WebSocketConfig};

/// How long a thread waits for one thing without a look at the other.
const TICK: Duration = Duration::from_millis(10);

fn main() -> Result<(), Box<dyn error::Error>> {
    let flag = |name: &str, default: u64| {
        env::args().skip_while(|word| word != name).nth(1).map_or(Ok(default), |value| value.parse())
    };
    let millis = |name, default| flag(name, default).map(Duration::from_millis);
    let mut config = Config::default();
    config.ping_interval = millis("--ping-interval", 25_000)?;
    config.ping_timeout = millis("--ping-timeout", 20_000)?;
    config.upgrade_timeout = millis("--upgrade-timeout", 10_000)?;
    config.max_payload = flag("--max-payload", 1_000_000)?.try_into()?;
    let (server, over, kept) = (Server::new(config.clone())?, BTreeMap::new(), BTreeMap::new());
    let core = Mutex::new(Core { server, over, kept, number: 0, began: Clock::now(), now: Instant::ZERO });
    let shared = Shared { core, changed: Condvar::new(), config };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, flag("--port", 0)?.try_into()?))?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    thread::scope(|scope| {
        scope.spawn(|| shared.run_timer());
        for socket in listener.incoming().flatten() {
            let connection = Connection { shared: &shared, socket, input: Vec::new(), unread: 0 };
            let _ = thread::Builder::new().spawn_scoped(scope, || connection.serve()); // Or it is dropped.
        }
    });
    Ok(())
}

/// What all threads share.
struct Shared {
    core: Mutex<Core>,
    changed: Condvar, // A session has asked for something, or wants to hear of another time.
    config: Config,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works with the core at the present time, then does what it asks for.
    fn visit<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let core = &mut *self.lock();
        core.now = Instant::ZERO + core.began.elapsed();
        core.server.handle_timeout(core.now);
        let (next, mut outputs) = (core.server.next_timeout(), 0);
        let result = work(core);
        while let Some((key, output)) = core.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => drop(core.over.insert(exchange.0, Some(response))),
                Output::Abort { exchange } => drop(core.over.insert(exchange.0, None)),
                Output::ChannelClose { channel } => drop(core.over.insert(channel.0, None)),
                Output::ChannelReady { .. } | Output::ChannelRead { .. } => (), // Its thread asks the session itself.
                Output::Event(_) => core.echo(key),
            }
            outputs += 1;
        }
        if outputs > 0 || core.server.next_timeout() != next {
            self.changed.notify_all();
        }
        result
    }

    /// Waits for the answer to an exchange; not for long if there is something else to look at.
    fn answer(&self, exchange: ExchangeId, patience: Duration) -> Option<Option<Response>> {
        let is_held = |core: &mut Core| !core.over.contains_key(&exchange.0);
        let waited = self.changed.wait_timeout_while(self.lock(), patience, is_held);
        waited.unwrap_or_else(PoisonError::into_inner).0.over.remove(&exchange.0)
    }

    fn run_timer(&self) {
        loop {
            self.visit(|_| ());
            let core = self.lock();
            let next = core.server.next_timeout().map_or(Duration::MAX, |at| at - core.now);
            drop(self.changed.wait_timeout(core, next));
        }
    }
}

/// The core, and what belongs to it outside.
struct Core {
    server: Server,
    over: BTreeMap<u64, Option<Response>>, // Exchanges and channels that their sessions are done with, and the answers.
    kept: BTreeMap<SessionKey, Message>,   // Echoes that found the send buffer full.
    number: u64,
    began: Clock,
    now: Instant,
}

impl Core {
    /// Tells a session what happened. One that is gone need not know.
    fn tell(&mut self, key: SessionKey, input: Input) {
        let _ = self.server.session_mut(key).map(|mut session| session.handle_input(self.now, input));
    }

    /// The application. It takes a message when it has sent the one before: a client that does not read is not read.
    fn echo(&mut self, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        while let Some(message) = self.kept.remove(&key).or_else(|| session.recv(self.now)) {
            if let Err(SendError::Full(message)) = session.send(message) {
                self.kept.insert(key, message); // There will be an event when there is room, or at the end.
                break;
            }
        }
    }
}

/// A connection, and the thread that serves it.
struct Connection<'a> {
    shared: &'a Shared,
    socket: TcpStream,
    input: Vec<u8>, // Received and not used yet.
    unread: usize,  // Bytes of the last body that were not used. No request can follow behind them.
}

impl Connection<'_> {
    fn serve(mut self) {
        let _ = self.socket.set_nodelay(true).and(self.socket.set_read_timeout(Some(TICK)));
        let _ = self.socket.set_write_timeout(Some(Duration::from_secs(10)));
        while self.serve_request().unwrap_or(false) {} // Whatever goes wrong, there is nobody left to tell.
        let _ = self.socket.shutdown(Shutdown::Write).and(self.socket.set_read_timeout(Some(Duration::from_secs(1))));
        let _ = io::copy(&mut self.socket, &mut io::sink()); // What is not read would break the connection.
    }

    /// Serves a request, and says whether another may follow.
    fn serve_request(&mut self) -> io::Result<bool> {
        let head = self.read_head()?;
        self.unread = field(&head, "content-length").parse().unwrap_or(0);
        if !Mount::default().matches(head.uri().path()) {
            return self.write(&head, Reply { status: 404, headers: &[], body: Default::default() });
        }
        let accepted = create_response(&head).ok(); // What is not quite right is no upgrade.
        let (key, number) = match self.admit(&head, accepted.is_some()) {
            Ok(admitted) => admitted,
            Err(rejection) if accepted.is_some() => return self.write(&head, rejection.into_upgrade_reply()),
            Err(rejection) => return self.write(&head, Response::Rejected(rejection).into_reply()),
        };
        let (exchange, channel) = (ExchangeId(number), ChannelId(number));
        let end = match accepted {
            Some(accepted) => Err(self.serve_channel(key, channel, &accepted)),
            None => self.serve_exchange(key, exchange, &head).map_err(|_| Input::ExchangeLost { exchange }),
        };
        let keep = self.shared.visit(|core| end.map_err(|end| core.tell(key, end)).unwrap_or(false));
        self.shared.visit(|core| core.over.remove(&number)); // Its session may have been done with it too.
        Ok(keep)
    }

    fn read_head(&mut self) -> io::Result<Head> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Request::new(&mut fields);
            if let httparse::Status::Complete(len) = parsed.parse(&self.input).map_err(io::Error::other)? {
                let head = Head::builder().method(parsed.method.unwrap_or("")).uri(parsed.path.unwrap_or(""));
                let head = parsed.headers.iter().fold(head, |head, field| head.header(field.name, field.value));
                self.input.drain(..len);
                return head.body(()).map_err(io::Error::other);
            } else if self.input.len() > 16 * 1024 {
                return Err(ErrorKind::InvalidData.into());
            }
            self.receive()?;
        }
    }

    /// Brings a request to its session, or says why not.
    fn admit(&self, head: &Head, upgrade: bool) -> Result<(SessionKey, u64), Rejection> {
        let method = match head.method().as_str() {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => Method::Other,
        };
        let origin = head.headers().get("origin").map(|origin| origin.as_bytes());
        let request = Request { method, query: head.uri().query().unwrap_or(""), origin, upgrade };
        let route = Route::parse(&request, &self.shared.config)?;
        let octet_stream = field(head, "content-type") == "application/octet-stream";
        let mut entropy = [0; 15];
        getrandom::fill(&mut entropy).map_err(|_| Rejection::NoSid)?;
        self.shared.visit(|core| {
            core.number += 1;
            let (exchange, channel) = (ExchangeId(core.number), ChannelId(core.number));
            let (sid, opened) = (Sid::from_entropy(entropy), upgrade.then_some(channel));
            let (key, operation, base64) = match route {
                Route::Handshake(new) => (core.server.open(core.now, sid, &new, opened)?, Operation::Poll, false),
                Route::Session(request) => (core.server.admit(&request)?, request.operation, request.base64),
            };
            match operation {
                Operation::Poll if upgrade => (), // The session has begun with its channel.
                Operation::Poll => core.tell(key, Input::Poll { exchange }),
                Operation::Post => core.tell(key, Input::PostHead { exchange, octet_stream }),
                Operation::Upgrade => core.tell(key, Input::ChannelOpened { channel, base64 }),
                Operation::Unsupported => drop(core.over.insert(core.number, Some(Response::Unsupported))),
            }
            Ok((key, core.number))
        })
    }

    /// Sees an exchange to its answer, as long as its client waits for that.
    fn serve_exchange(&mut self, key: SessionKey, exchange: ExchangeId, head: &Head) -> io::Result<bool> {
        let mut awaits_body = head.method() == "POST";
        loop {
            // The answer may come before the body: to an overlap, or at the end of the session.
            let patience = if awaits_body { Duration::ZERO } else { TICK };
            if let Some(answer) = self.shared.answer(exchange, patience) {
                return self.write(head, answer.ok_or(ErrorKind::ConnectionAborted)?.into_reply());
            }
            let (len, limit) = (self.unread, self.shared.config.max_payload);
            if awaits_body && (len > limit || len <= self.input.len()) {
                awaits_body = false;
                let taken = (len <= limit).then(|| self.input.drain(..mem::take(&mut self.unread)).collect());
                let body = taken.ok_or(BodyError::TooLarge);
                self.shared.visit(|core| core.tell(key, Input::PostBody { exchange, body }));
            } else if awaits_body {
                self.receive()?;
            } else if self.input.is_empty() {
                self.look()?;
            }
        }
    }

    /// Serves a WebSocket until its client or its session is done with it, and says how it ended.
    fn serve_channel(&mut self, key: SessionKey, channel: ChannelId, accepted: &Accepted) -> Input {
        let limit = self.shared.config.max_payload; // Of messages. A control frame has up to 125 bytes.
        let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit.max(125)));
        let _ = write_response(&self.socket, accepted); // Where writing fails, reading says why.
        let input = mem::take(&mut self.input);
        let mut socket = WebSocket::from_partially_read(&self.socket, input, Role::Server, Some(config));
        let (end, code) = loop {
            let (over, reads, frame) = self.shared.visit(|core| {
                let over = core.over.contains_key(&channel.0);
                let Some(mut session) = core.server.session_mut(key) else { return (true, true, None) };
                (over, session.wants_frames(channel), session.next_frame(core.now, channel))
            });
            match frame {
                Some(Frame::Text { head, data }) => drop(socket.send(WsMessage::text([head, &data].concat()))),
                Some(Frame::Binary(bytes)) => drop(socket.send(WsMessage::Binary(bytes))),
                None if over => break (ChannelEnd::Closed, None),
                None if !reads => thread::sleep(TICK),
                None => {
                    let frame = match socket.read() {
                        Ok(WsMessage::Text(text)) => Frame::received(Text::from_utf8_lossy(text.into())),
                        Ok(WsMessage::Binary(bytes)) => Frame::Binary(bytes),
                        Ok(WsMessage::Close(_)) => break (ChannelEnd::Closed, None),
                        Ok(_) => continue,
                        Err(Error::Io(error)) if is_timeout(&error) => continue,
                        Err(Error::Io(_) | Error::Protocol(Reset)) => break (ChannelEnd::Lost, None),
                        Err(Error::Capacity(_)) => break (ChannelEnd::TooLarge, Some(CloseCode::Size)),
                        Err(_) => break (ChannelEnd::Violation, Some(CloseCode::Protocol)),
                    };
                    self.shared.visit(|core| core.tell(key, Input::ChannelFrame { channel, frame }));
                }
            }
        };
        let _ = socket.close(code.map(|code| CloseFrame { code, reason: Default::default() }));
        Input::ChannelClosed { channel, end }
    }

    /// Writes an answer, and says whether another request may follow.
    fn write(&self, head: &Head, reply: Reply) -> io::Result<bool> {
        let keep = self.unread == 0 && ["", "keep-alive"].contains(&&*field(head, "connection").to_lowercase());
        let fields = reply.headers.iter().filter(|(name, _)| *name != "connection");
        let fields: String = fields.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let close = if keep { "" } else { "connection: close\r\n" };
        let length = reply.body.len();
        let out = format!("HTTP/1.1 {} \r\n{fields}{close}content-length: {length}\r\n\r\n", reply.status);
        (&self.socket).write_all(&[out.as_bytes(), &reply.body].concat()).map(|()| keep)
    }

    /// Looks whether the client is still there.
    fn look(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let received = self.receive();
        self.socket.set_nonblocking(false).and(received)
    }

    /// Waits a moment for bytes. Fails at the end of the connection.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => self.input.write_all(&chunk[..len]),
            Err(error) if is_timeout(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn field<'a>(head: &'a Head, name: &str) -> &'a str {
    head.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
