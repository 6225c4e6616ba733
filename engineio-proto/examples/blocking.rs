//! An Engine.IO server on plain threads, which echoes every message: all that it takes to give the core hands.
//!
//! Each connection has a thread, each WebSocket a second one that writes, and one thread is the timer. They visit the
//! core for a moment, under its one lock, and do all their waiting outside of it. HTTP is what the clients of Engine.IO
//! use of it. `cargo run -p engineio-proto --example blocking -- --port 3000`
#![allow(clippy::disallowed_types)] // The core has no clock, no lock and no socket. This has.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};
use std::{env, error, mem, thread};

use engineio_proto::*;
use tungstenite::Utf8Bytes;
use tungstenite::error::{Error as WsError, ProtocolError};
use tungstenite::handshake::server::{Request as Head, Response as Accepted, create_response, write_response};
use tungstenite::http;
use tungstenite::http::header::{self, HeaderName, HeaderValue};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tungstenite::protocol::{Message as WsMessage, Role, WebSocket, WebSocketConfig};

/// How often who waits for an answer looks whether its client still does.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a connection is read after its end: if it broke, the client might lose what was said last.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of the head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// Frames are pulled while less than this waits to be written.
const WRITE_AHEAD: usize = 32 * 1024;
/// How a close frame begins.
const CLOSE: u8 = 0x88;

fn main() -> Result<(), Box<dyn error::Error>> {
    let (mut port, mut config) = (0, Config::default());
    let mut words = env::args().skip(1);
    while let Some(flag) = words.next() {
        let value: u32 = words.next().ok_or("a flag without a value")?.parse()?;
        let millis = Duration::from_millis(value.into());
        match &*flag {
            "--port" => port = value.try_into()?,
            "--ping-interval" => config.ping_interval = millis,
            "--ping-timeout" => config.ping_timeout = millis,
            "--upgrade-timeout" => config.upgrade_timeout = millis,
            "--max-payload" => config.max_payload = value.try_into()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let server = Server::new(config)?;
    let config = Arc::clone(server.config());
    let core = Core { server, answers: BTreeMap::new(), channels: BTreeMap::new(), kept: BTreeMap::new(), number: 0 };
    let shared = Shared { core: Mutex::new(core), changed: Condvar::new(), began: Clock::now(), config };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    thread::scope(|scope| {
        scope.spawn(|| shared.run_timer());
        for socket in listener.incoming() {
            let served = socket.and_then(|socket| {
                let connection = Connection { shared: &shared, socket, input: Vec::new(), keep: true };
                thread::Builder::new().spawn_scoped(scope, || connection.serve())
            });
            if served.is_err() {
                thread::sleep(GLANCE); // Too many connections. Some of them will end.
            }
        }
    });
    Ok(())
}

/// The core, and what belongs to it outside.
struct Core {
    server: Server,
    /// Where answers go. An exchange whose sender is dropped ends without one.
    answers: BTreeMap<ExchangeId, Sender<Response>>,
    /// Who writes. A channel whose sender is dropped is closed.
    channels: BTreeMap<ChannelId, Sender<()>>,
    /// Echoes that found the send buffer full.
    kept: BTreeMap<SessionKey, Message>,
    /// The last number of an exchange or a channel.
    number: u64,
}

/// What becomes of a request that is not refused.
enum Admitted {
    Exchange(SessionKey, ExchangeId, Receiver<Response>),
    Channel(SessionKey, ChannelId, Receiver<()>, Accepted),
}

impl Core {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn tell(&mut self, now: Instant, key: SessionKey, input: Input) {
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(now, input);
        }
    }

    fn exchange(&mut self, now: Instant, key: SessionKey, input: impl Fn(ExchangeId) -> Input) -> Admitted {
        let (exchange, (sender, answer)) = (ExchangeId(self.next_number()), mpsc::channel());
        self.answers.insert(exchange, sender);
        self.tell(now, key, input(exchange));
        Admitted::Exchange(key, exchange, answer)
    }

    fn channel(&mut self, key: SessionKey, channel: ChannelId, accepted: Accepted) -> Admitted {
        let (sender, ready) = mpsc::channel();
        self.channels.insert(channel, sender);
        Admitted::Channel(key, channel, ready, accepted)
    }

    /// Does what the sessions ask for. Who is not there any more need not hear of it.
    fn carry_out(&mut self, now: Instant) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    let _ = self.answers.remove(&exchange).map(|answer| answer.send(response));
                }
                Output::Abort { exchange } => drop(self.answers.remove(&exchange)),
                Output::ChannelReady { channel } => {
                    let _ = self.channels.get(&channel).map(|ready| ready.send(()));
                }
                Output::ChannelRead { .. } => (), // The reading thread looks at `wants_frames`.
                Output::ChannelClose { channel } => drop(self.channels.remove(&channel)),
                Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => self.echo(now, key),
                Output::Event(Event::Closed(_)) => drop(self.kept.remove(&key)),
                Output::Event(_) => (),
            }
        }
    }

    /// The application. It takes no message before it has sent the last one: who does not read is not read either.
    fn echo(&mut self, now: Instant, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        while let Some(message) = self.kept.remove(&key).or_else(|| session.recv(now)) {
            if let Err(SendError::Full(message)) = session.send(message) {
                self.kept.insert(key, message); // `Writable` follows.
                break;
            }
        }
    }
}

/// The core for all threads.
struct Shared {
    core: Mutex<Core>,
    changed: Condvar,
    began: Clock,
    config: Arc<Config>,
}

impl Shared {
    /// Works with the core, then does what it asks for.
    fn visit<T>(&self, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let (mut core, now) = (self.lock(), self.now());
        let result = work(&mut core, now);
        core.carry_out(now);
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// Who keeps to the protocol is not silent for longer, and takes what is sent to it.
    fn patience(&self) -> Duration {
        self.config.ping_interval + self.config.ping_timeout + self.config.upgrade_timeout
    }

    /// The one timer of all sessions. A visit may change when it is due.
    fn run_timer(&self) {
        let mut core = self.lock();
        loop {
            let now = self.now();
            core.server.handle_timeout(now);
            core.carry_out(now);
            self.changed.notify_all();
            let sleep = core.server.next_timeout().map_or(self.patience(), |at| at - now);
            core = self.changed.wait_timeout(core, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A connection, and the thread that reads it.
struct Connection<'a> {
    shared: &'a Shared,
    socket: TcpStream,
    /// Received and not used yet.
    input: Vec<u8>,
    /// Whether another request may follow.
    keep: bool,
}

impl Connection<'_> {
    fn serve(mut self) {
        let _ = self.serve_requests();
        let (ended, _) = (Clock::now(), self.socket.shutdown(Shutdown::Write));
        while ended.elapsed() < LINGER && self.receive(LINGER).unwrap_or(false) {
            self.input.clear();
        }
    }

    fn serve_requests(&mut self) -> io::Result<()> {
        self.socket.set_nodelay(true)?;
        self.socket.set_write_timeout(Some(self.shared.patience()))?;
        while mem::take(&mut self.keep) {
            let head = self.read_head()?;
            self.keep = body_length(&head) == 0 && persists(&head);
            match self.admit(&head) {
                Err(reply) => self.write(&head, reply)?,
                Ok(Admitted::Channel(key, channel, ready, accepted)) => {
                    self.serve_channel(key, channel, ready, &accepted);
                    break;
                }
                Ok(Admitted::Exchange(key, exchange, answer)) => {
                    let response = self.settle(&head, key, exchange, &answer);
                    let written = response.and_then(|response| self.write(&head, response.into_reply()));
                    if written.is_err() {
                        self.shared.visit(|core, now| {
                            core.answers.remove(&exchange);
                            core.tell(now, key, Input::ExchangeLost { exchange });
                        });
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let began = Clock::now();
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Request::new(&mut fields);
            match parsed.parse(&self.input) {
                Ok(httparse::Status::Complete(len)) => {
                    let (method, path) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
                    let empty = Head::builder().method(method).uri(path);
                    let head = parsed.headers.iter().fold(empty, |head, field| head.header(field.name, field.value));
                    self.input.drain(..len);
                    return head.body(()).map_err(io::Error::other);
                }
                Ok(httparse::Status::Partial) if self.input.len() < MAX_HEAD => {
                    if !self.receive(self.shared.patience().saturating_sub(began.elapsed()))? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                _ => {
                    self.write(&Head::default(), plain(400, "Bad request".into()))?;
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
    }

    /// Brings a request to its session, or says why not.
    fn admit(&self, head: &Head) -> Result<Admitted, Reply> {
        if !Mount::default().matches(head.uri().path()) {
            return Err(plain(404, "Not found".into()));
        }
        let upgrade = has(head, &header::CONNECTION, "upgrade") && has(head, &header::UPGRADE, "websocket");
        let refuse = |rejection: Rejection| match upgrade {
            true => rejection.into_upgrade_reply(),
            false => Response::Rejected(rejection).into_reply(),
        };
        let accept = || create_response(head).map_err(|error| plain(400, error.to_string()));
        let method = match *head.method() {
            http::Method::GET => Method::Get,
            http::Method::POST => Method::Post,
            _ => Method::Other,
        };
        let origin = head.headers().get(header::ORIGIN).map(HeaderValue::as_bytes);
        let request = Request { method, query: head.uri().query().unwrap_or_default(), origin, upgrade };
        match Route::parse(&request, &self.shared.config).map_err(refuse)? {
            Route::Session(request) => self.shared.visit(|core, now| {
                let key = core.server.admit(&request).map_err(refuse)?;
                match request.operation {
                    Operation::Poll => Ok(core.exchange(now, key, |exchange| Input::Poll { exchange })),
                    Operation::Post => {
                        let kind = head.headers().get(header::CONTENT_TYPE);
                        let octet_stream = kind.is_some_and(|kind| kind == "application/octet-stream");
                        Ok(core.exchange(now, key, |exchange| Input::PostHead { exchange, octet_stream }))
                    }
                    Operation::Upgrade => {
                        let (accepted, channel) = (accept()?, ChannelId(core.next_number()));
                        core.tell(now, key, Input::ChannelOpened { channel, base64: request.base64 });
                        Ok(core.channel(key, channel, accepted))
                    }
                    Operation::Unsupported => Err(Response::Unsupported.into_reply()),
                }
            }),
            Route::Handshake(handshake) => {
                let accepted = upgrade.then(accept).transpose()?;
                handshake.check().map_err(refuse)?;
                let mut entropy = [0; 15];
                getrandom::fill(&mut entropy).map_err(|_| refuse(Rejection::NoSid))?;
                let sid = Sid::from_entropy(entropy);
                self.shared.visit(|core, now| {
                    let channel = upgrade.then(|| ChannelId(core.next_number()));
                    let key = core.server.open(now, sid, &handshake, channel).map_err(refuse)?;
                    Ok(match channel.zip(accepted) {
                        Some((channel, accepted)) => core.channel(key, channel, accepted),
                        None => core.exchange(now, key, |exchange| Input::Poll { exchange }),
                    })
                })
            }
        }
    }

    /// Sees an exchange to its answer, as long as its client waits for it.
    fn settle(
        &mut self,
        head: &Head,
        key: SessionKey,
        exchange: ExchangeId,
        answer: &Receiver<Response>,
    ) -> io::Result<Response> {
        let (began, max) = (Clock::now(), self.shared.config.max_payload);
        let mut expected = (head.method() == http::Method::POST).then(|| body_length(head));
        loop {
            // It may come before the body: an overlap, or the end of the session.
            match answer.recv_timeout(if expected.is_some() { Duration::ZERO } else { GLANCE }) {
                Ok(response) => return self.look().map(|()| response),
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Err(RecvTimeoutError::Timeout) => (),
            }
            let Some(length) = expected else {
                self.look()?;
                continue;
            };
            let body = if length > max {
                Err(BodyError::TooLarge)
            } else if length <= self.input.len() {
                self.keep = persists(head);
                let rest = self.input.split_off(length);
                Ok(mem::replace(&mut self.input, rest).into())
            } else if began.elapsed() > self.shared.config.ping_timeout {
                Err(BodyError::Timeout)
            } else {
                self.receive(GLANCE)?;
                continue;
            };
            expected = None;
            self.shared.visit(|core, now| core.tell(now, key, Input::PostBody { exchange, body }));
        }
    }

    fn write(&self, head: &Head, reply: Reply) -> io::Result<()> {
        let mut out = format!("HTTP/1.1 {} \r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in reply.headers.iter().filter(|(name, _)| *name != "connection") {
            out.extend([name, ": ", value, "\r\n"]);
        }
        out.push_str(if self.keep { "\r\n" } else { "connection: close\r\n\r\n" });
        let body = if head.method() == http::Method::HEAD { &[] } else { &*reply.body };
        (&self.socket).write_all(&[out.as_bytes(), body].concat())
    }

    /// Waits for bytes, and returns whether any came. An error says that none will.
    fn receive(&mut self, patience: Duration) -> io::Result<bool> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let len = self.input.len();
        self.input.resize(len + 16 * 1024, 0);
        let read = (&self.socket).read(self.input.get_mut(len..).unwrap_or_default());
        self.input.truncate(len + read.as_ref().map_or(0, |&read| read));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            read => Ok(read.is_ok()),
        }
    }

    /// An error says that the client is gone.
    fn look(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let seen = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false)?;
        match seen {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn serve_channel(&mut self, key: SessionKey, channel: ChannelId, ready: Receiver<()>, accepted: &Accepted) {
        let input = mem::take(&mut self.input);
        let (shared, wire) = (self.shared, Wire { socket: &self.socket, pen: &Mutex::new(()) });
        let closed = |end| {
            shared.visit(|core, now| {
                core.channels.remove(&channel);
                core.tell(now, key, Input::ChannelClosed { channel, end });
            });
            let _ = wire.socket.shutdown(Shutdown::Write);
        };
        thread::scope(|scope| {
            let mut begun = Vec::new();
            let begun = write_response(&mut begun, accepted).is_ok() && (&self.socket).write_all(&begun).is_ok();
            let writer = move || {
                if wire.write_frames(shared, key, channel, &ready).is_err() {
                    closed(ChannelEnd::Lost);
                }
            };
            let begun = begun && thread::Builder::new().spawn_scoped(scope, writer).is_ok();
            closed(if begun { wire.read_frames(shared, key, channel, input) } else { ChannelEnd::Lost });
        });
    }
}

/// What both threads of a WebSocket have of it.
#[derive(Clone, Copy)]
struct Wire<'a> {
    socket: &'a TcpStream,
    pen: &'a Mutex<()>,
}

impl Wire<'_> {
    fn write_frames(
        mut self,
        shared: &Shared,
        key: SessionKey,
        channel: ChannelId,
        ready: &Receiver<()>,
    ) -> io::Result<()> {
        let mut out = Vec::new();
        while ready.recv().is_ok() {
            loop {
                shared.visit(|core, now| {
                    let Some(mut session) = core.server.session_mut(key) else { return };
                    while out.len() < WRITE_AHEAD {
                        match session.next_frame(now, channel) {
                            Some(Frame::Text { head, data }) => encode(Data::Text, head, data.as_bytes(), &mut out),
                            Some(Frame::Binary(bytes)) => encode(Data::Binary, "", &bytes, &mut out),
                            None => break,
                        }
                    }
                });
                if out.is_empty() {
                    break;
                }
                self.write_all(&out)?;
                out.clear();
            }
        }
        self.write_all(&[CLOSE, 0])
    }

    /// Reads up to the client's close frame, whoever closes first.
    fn read_frames(self, shared: &Shared, key: SessionKey, channel: ChannelId, input: Vec<u8>) -> ChannelEnd {
        let _ = self.socket.set_read_timeout(Some(shared.patience()));
        let limit = shared.config.max_payload;
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let config = config.max_message_size(Some(limit)).max_frame_size(Some(limit.max(125)));
        let mut socket = WebSocket::from_partially_read(self, input, Role::Server, Some(config));
        let (end, code) = loop {
            let frame = match socket.read() {
                Ok(WsMessage::Text(text)) => Frame::received(Text::from_utf8_lossy(text.into())),
                Ok(WsMessage::Binary(bytes)) => Frame::Binary(bytes),
                Ok(WsMessage::Close(_)) => break (ChannelEnd::Closed, None),
                Ok(_) => continue,
                Err(WsError::Capacity(_)) => break (ChannelEnd::TooLarge, Some(CloseCode::Size)),
                Err(WsError::Utf8(_)) => break (ChannelEnd::Violation, Some(CloseCode::Invalid)),
                Err(WsError::Protocol(error)) if error != ProtocolError::ResetWithoutClosingHandshake => {
                    break (ChannelEnd::Violation, Some(CloseCode::Protocol));
                }
                Err(_) => break (ChannelEnd::Lost, None),
            };
            shared.visit(|core, now| core.tell(now, key, Input::ChannelFrame { channel, frame }));
            let paused = |core: &mut Core| {
                let session = core.server.session(key).filter(|session| session.current_channel() == Some(channel));
                session.is_some_and(|session| !session.wants_frames(channel))
            };
            drop(shared.changed.wait_while(shared.lock(), paused));
        };
        // Answers the client's close frame, or says what was wrong.
        let _ = socket.close(code.map(|code| CloseFrame { code, reason: Utf8Bytes::default() }));
        end
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf)
    }
}

/// Takes whole frames only, so that those of both threads do not mix, and nothing behind a close frame.
impl Write for Wire<'_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        let _pen = self.pen.lock().unwrap_or_else(PoisonError::into_inner);
        self.socket.write_all(frames)?;
        if frames.first() == Some(&CLOSE) {
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn encode(kind: Data, head: &str, data: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
    let _ = header.format((head.len() + data.len()) as u64, out); // A vector takes everything.
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(data);
}

fn has(head: &Head, name: &HeaderName, token: &str) -> bool {
    let mut tokens =
        head.headers().get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    tokens.any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn persists(head: &Head) -> bool {
    !["close", "upgrade"].into_iter().any(|token| has(head, &header::CONNECTION, token))
}

/// A body whose length is not known counts as too large.
fn body_length(head: &Head) -> usize {
    let (length, coding) = (head.headers().get(header::CONTENT_LENGTH), head.headers().get(header::TRANSFER_ENCODING));
    match (length, coding) {
        (None, None) => 0,
        (Some(length), None) => length.to_str().ok().and_then(|length| length.parse().ok()).unwrap_or(usize::MAX),
        (_, Some(_)) => usize::MAX,
    }
}

fn plain(status: u16, text: String) -> Reply {
    Reply { status, headers: &[("content-type", "text/plain")], body: text.into() }
}
