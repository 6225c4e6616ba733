//! An Engine.IO server on io_uring, which echoes every message: one thread, one task for each connection, and buffers that
//! belong to the system while it works with them. Where the kernel refuses io_uring, or with `DRIVER=poll` in the
//! environment, `compio` does the same by readiness.
//!
//! Left out is what concerns HTTP and WebSockets only: time limits for clients that are slow to send, to take or to go,
//! chunked bodies, `Expect`, `HEAD`, HTTP/1.0, subprotocols. The driver has them, see `docs/embedding.md`.
//!
//! `cargo run -p engineio-proto --example completion -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::io::{self, Read, Write};
use std::{cell::RefCell, collections::BTreeMap, env, error::Error, mem, rc::Rc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use compio::driver::{DriverType, ProactorBuilder};
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{PollFd, TcpListener, TcpStream};
use compio::runtime::{RuntimeBuilder, spawn};
use compio::time::{sleep, timeout};
use engineio_proto::*;
use futures::future::{Fuse, FusedFuture, FutureExt, LocalBoxFuture};
use futures::{StreamExt, channel::mpsc, select_biased};
use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tungstenite::protocol::{Message as WsMessage, Role, WebSocketConfig, WebSocketContext};

/// Bytes that are read before they are needed, or that wait to be written while frames are pulled. No head is longer.
const AHEAD: usize = 32 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut port, mut config, mut args) = (0, Config::default(), env::args().skip(1));
    while let Some(flag) = args.next() {
        let value = args.next().ok_or("a flag without a value")?.parse()?;
        match &*flag {
            "--port" => port = u16::try_from(value)?,
            "--ping-interval" => config.ping_interval = Duration::from_millis(value),
            "--ping-timeout" => config.ping_timeout = Duration::from_millis(value),
            "--upgrade-timeout" => config.upgrade_timeout = Duration::from_millis(value),
            "--max-payload" => config.max_payload = usize::try_from(value)?,
            _ => return Err(format!("unknown flag: {flag}").into()),
        }
    }
    let mut proactor = ProactorBuilder::new();
    if env::var_os("DRIVER").is_some_and(|driver| driver == "poll") {
        proactor.driver_type(DriverType::Poll);
    }
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
    let ((timer, changed), began) = (mpsc::channel(0), std::time::Instant::now());
    let core = Core { server: Server::new(config)?, began, connections: BTreeMap::new(), timer };
    let core = &Rc::new(RefCell::new(core));
    runtime.block_on(async {
        let listener = PollFd::new(TcpListener::bind(("127.0.0.1", port)).await?)?;
        let (port, driver) = (listener.local_addr()?.port(), runtime.driver_type());
        println!(r#"{{"event":"listening","port":{port},"driver":"{driver:?}"}}"#);
        spawn(keep_time(Rc::clone(core), changed)).detach();
        for index in 1.. {
            // By readiness, compio 0.16 loses the connection for which its `accept` has waited. So it never waits there.
            listener.accept_ready().await?;
            match listener.accept().await {
                Ok((stream, _)) => spawn(Connection::new(core, index, stream).serve()).detach(),
                Err(_) => sleep(Duration::from_millis(50)).await, // Too many connections. Some of them will end.
            }
        }
        Ok(())
    })
}

/// What the tasks share. They borrow it between two waits.
struct Core {
    server: Server,
    began: std::time::Instant,
    /// Who hears what the core wants, by the upper half of the number of an exchange or channel.
    connections: BTreeMap<u64, mpsc::UnboundedSender<Output>>,
    timer: mpsc::Sender<()>,
}

impl Core {
    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    fn with<T>(&mut self, key: SessionKey, work: impl FnOnce(&mut Session, Instant) -> T) -> Option<T> {
        let now = self.now();
        self.server.session_mut(key).map(|mut session| work(&mut session, now))
    }

    /// Passes on what the core wants, and makes the timer look when it is due.
    fn obey(&mut self) {
        while let Some((key, output)) = self.server.poll_output() {
            let number = match output {
                Output::Respond { exchange, .. } | Output::Abort { exchange } => exchange.0,
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => channel.0,
                Output::ChannelClose { channel } => channel.0,
                Output::Event(_) => {
                    self.with(key, echo);
                    continue;
                }
            };
            if let Some(connection) = self.connections.get(&(number >> 32)) {
                let _ = connection.unbounded_send(output);
            }
        }
        let _ = self.timer.try_send(());
    }
}

/// The application. It takes no message for whose echo there is no room, so its clients must read. There is something to
/// do after `Readable` and `Writable`, and nothing after other events.
fn echo(session: &mut Session, now: Instant) {
    while session.poll_ready() {
        let Some(message) = session.recv(now) else { return };
        let _ = session.send(message); // It comes back if the client is gone.
    }
}

async fn keep_time(core: Rc<RefCell<Core>>, mut changed: mpsc::Receiver<()>) {
    loop {
        let (now, next) = (core.borrow().now(), core.borrow().server.next_timeout());
        let wait = next.map_or(Duration::from_secs(3600), |next| next - now);
        if timeout(wait, changed.next()).await.is_err() {
            core.borrow_mut().server.handle_timeout(now + wait);
            core.borrow_mut().obey();
        }
    }
}

/// What the system works on. It is kept until it is done: with a read that is given up, bytes may be lost.
type Job<T> = Fuse<LocalBoxFuture<'static, io::Result<T>>>;

struct Connection {
    core: Rc<RefCell<Core>>,
    stream: TcpStream,
    outputs: mpsc::UnboundedReceiver<Output>,
    /// Of the last exchange or channel. The upper half is that of this connection.
    number: u64,
    /// Who must hear it if the connection ends now.
    session: Option<SessionKey>,
    reading: Job<Vec<u8>>,
    writing: Job<()>,
    input: BytesMut,
    output: BytesMut,
    /// The length of the body of the request, until it is read.
    body: usize,
    /// Another request may follow.
    keep: bool,
}

impl Connection {
    fn new(core: &Rc<RefCell<Core>>, index: u64, stream: TcpStream) -> Self {
        let (sender, outputs) = mpsc::unbounded();
        core.borrow_mut().connections.insert(index, sender);
        let _ = stream.set_nodelay(true); // What is refused is only haste.
        let (core, reading, writing) = (Rc::clone(core), Fuse::terminated(), Fuse::terminated());
        let (number, input, output) = (index << 32, BytesMut::new(), BytesMut::new());
        Self { core, stream, outputs, number, session: None, reading, writing, input, output, body: 0, keep: true }
    }

    /// Waits for what comes first: a word of the core, or that something was read or written.
    async fn next(&mut self) -> io::Result<Option<Output>> {
        self.core.borrow_mut().obey();
        let (mut reader, mut writer) = (self.stream.clone(), self.stream.clone());
        let room = AHEAD.max(self.body.min(self.core.borrow().server.config().max_payload));
        if self.reading.is_terminated() && self.input.len() < room {
            let read = async move { reader.read(Vec::with_capacity(4096)).await };
            self.reading = read.map(|result| result.0.map(|_| result.1)).boxed_local().fuse();
        }
        if self.writing.is_terminated() && !self.output.is_empty() {
            let output = self.output.split();
            self.writing = async move { writer.write_all(output).await.0 }.boxed_local().fuse();
        }
        select_biased! {
            output = self.outputs.next() => return Ok(output),
            written = &mut self.writing => written?,
            bytes = &mut self.reading => match &*bytes? {
                [] => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => self.input.extend_from_slice(bytes),
            },
        }
        Ok(None)
    }

    /// One request after the other. An error means that the connection is over.
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let reply = match self.begin() {
                Ok(Some((key, true))) => break self.websocket(key).await?,
                Ok(Some((key, false))) => self.exchange(key).await?,
                Ok(None) => {
                    self.next().await?;
                    continue;
                }
                Err(reply) => reply,
            };
            self.keep &= self.body == 0 && !reply.headers.contains(&("connection", "close"));
            let (connection, length) = (if self.keep { "keep-alive" } else { "close" }, reply.body.len());
            write!(self, "HTTP/1.1 {} \r\nconnection: {connection}\r\ncontent-length: {length}\r\n", reply.status)?;
            for (name, value) in reply.headers.iter().filter(|(name, _)| *name != "connection") {
                write!(self, "{name}: {value}\r\n")?;
            }
            self.output.extend_from_slice(&[b"\r\n", &*reply.body].concat());
            while !self.output.is_empty() || !self.writing.is_terminated() {
                self.next().await?;
            }
            self.session = None;
            if !self.keep {
                break;
            }
        }
        // The last word might be lost on its way if the client were not left to go first.
        self.stream.shutdown().await?;
        loop {
            self.input.clear();
            self.next().await?;
        }
    }

    /// Brings the request with which the input begins to its session; whether as a WebSocket. `None`: there must be more.
    fn begin(&mut self) -> Result<Option<(SessionKey, bool)>, Reply> {
        let plain = |status| Reply { status, headers: &[("connection", "close")], body: Bytes::new() };
        let (mut headers, input) = ([httparse::EMPTY_HEADER; 100], self.input.clone());
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(&input) {
            Ok(httparse::Status::Complete(len)) => self.input.advance(len),
            Ok(httparse::Status::Partial) if input.len() < AHEAD => return Ok(None),
            _ => return Err(plain(400)),
        }
        let request = http::Request::builder().method(head.method.unwrap_or("")).uri(head.path.unwrap_or(""));
        let request = head.headers.iter().fold(request, |request, it| request.header(it.name, it.value));
        let request = request.body(()).map_err(|_| plain(400))?;
        let header = |name| request.headers().get(name).map(http::HeaderValue::as_bytes);
        let length = std::str::from_utf8(header("content-length").unwrap_or(b"0"));
        self.body = length.ok().and_then(|length| length.parse().ok()).ok_or(plain(400))?;
        self.keep = !header("connection").is_some_and(|it| it.eq_ignore_ascii_case(b"close"));
        let method = match head.method {
            Some("GET") => Method::Get,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        // Who does not keep to RFC 6455 has not asked for a WebSocket.
        let accept = create_response(&request).ok();
        let upgrade = accept.is_some();
        let deny = |it: Rejection| if upgrade { it.into_upgrade_reply() } else { Response::Rejected(it).into_reply() };
        let (query, origin) = (request.uri().query().unwrap_or(""), header("origin"));
        self.number += 1;
        let (core, exchange, channel) = (&mut *self.core.borrow_mut(), ExchangeId(self.number), ChannelId(self.number));
        let (key, input) = match Route::parse(&Request { method, query, origin, upgrade }, core.server.config()) {
            _ if !Mount::default().matches(request.uri().path()) => return Err(plain(404)),
            _ if header("transfer-encoding").is_some() => return Err(plain(411)),
            Err(rejection) => return Err(deny(rejection)),
            Ok(Route::Handshake(handshake)) => {
                let mut entropy = [0; 15];
                getrandom::fill(&mut entropy).map_err(|_| plain(503))?;
                let (sid, channel) = (Sid::from_entropy(entropy), upgrade.then_some(channel));
                let key = core.server.open(core.now(), sid, &handshake, channel).map_err(deny)?;
                (key, (!upgrade).then_some(Input::Poll { exchange }))
            }
            Ok(Route::Session(session)) => {
                let octet_stream = header("content-type") == Some(b"application/octet-stream");
                let key = core.server.admit(&session).map_err(deny)?;
                let input = match session.operation {
                    Operation::Poll => Input::Poll { exchange },
                    Operation::Post => Input::PostHead { exchange, octet_stream },
                    Operation::Upgrade => Input::ChannelOpened { channel, base64: session.base64 },
                    Operation::Unsupported => return Err(Response::Unsupported.into_reply()),
                };
                (key, Some(input))
            }
        };
        core.with(key, |session, now| input.map(|input| session.handle_input(now, input)));
        self.session = Some(key);
        // Memory takes everything.
        let _ = accept.map(|accept| write_response((&mut self.output).writer(), &accept));
        Ok(Some((key, upgrade)))
    }

    /// The answer to an exchange, and before it the body. An error if the exchange is to be dropped.
    async fn exchange(&mut self, key: SessionKey) -> io::Result<Reply> {
        let (exchange, mut answer) = (ExchangeId(self.number), None);
        let limit = self.core.borrow().server.config().max_payload;
        while answer.is_none() && self.input.len() < self.body && self.body <= limit {
            answer = self.next().await?;
        }
        let body = match self.body <= limit.min(self.input.len()) {
            true => Ok(self.input.split_to(mem::take(&mut self.body)).freeze()),
            false => Err(BodyError::TooLarge),
        };
        // Of a GET, or when the answer came first, the session ignores it.
        let input = Input::PostBody { exchange, body };
        self.core.borrow_mut().with(key, |session, now| session.handle_input(now, input));
        while answer.is_none() {
            answer = self.next().await?;
        }
        let Some(Output::Respond { response, .. }) = answer else { return Err(io::Error::other("aborted")) };
        Ok(response.into_reply())
    }

    /// Moves messages in both directions until the channel has ended and the last word is written.
    async fn websocket(&mut self, key: SessionKey) -> io::Result<()> {
        let (channel, limit) = (ChannelId(self.number), self.core.borrow().server.config().max_payload);
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let config = config.max_message_size(Some(limit)).max_frame_size(Some(limit.max(125))); // Control frames have 125.
        let (mut socket, mut done) = (WebSocketContext::new(Role::Server, Some(config)), false);
        while !done || !self.output.is_empty() || !self.writing.is_terminated() {
            let wanted = |core: &Core| core.server.session(key).is_some_and(|session| session.wants_frames(channel));
            while !done && self.output.len() < AHEAD && wanted(&self.core.borrow()) {
                let frame = |frame| Input::ChannelFrame { channel, frame };
                let closed = |end| Input::ChannelClosed { channel, end };
                let input = match socket.read(self) {
                    Ok(WsMessage::Text(text)) => frame(Frame::received(Text::from_utf8_lossy(text.into()))),
                    Ok(WsMessage::Binary(bytes)) => frame(Frame::Binary(bytes)),
                    Ok(WsMessage::Close(_)) => closed(ChannelEnd::Closed),
                    Ok(_) => continue,
                    Err(tungstenite::Error::Io(_)) => break, // Everything was taken.
                    Err(tungstenite::Error::Capacity(_)) => closed(ChannelEnd::TooLarge),
                    Err(_) => closed(ChannelEnd::Violation),
                };
                if let Input::ChannelClosed { end, .. } = input {
                    done = true; // A client's own goodbye has been answered, then this does nothing.
                    let code = if end == ChannelEnd::TooLarge { CloseCode::Size } else { CloseCode::Protocol };
                    let _ = socket.close(self, Some(CloseFrame { code, reason: "".into() }));
                }
                self.core.borrow_mut().with(key, |session, now| session.handle_input(now, input));
            }
            while self.writing.is_terminated() && self.output.len() < AHEAD {
                let frame = self.core.borrow_mut().with(key, |session, now| session.next_frame(now, channel));
                let message = match frame.flatten() {
                    None => break,
                    Some(Frame::Text { head, data }) => WsMessage::text([head, &*data].concat()),
                    Some(Frame::Binary(bytes)) => WsMessage::Binary(bytes),
                };
                let _ = socket.write(self, message);
            }
            if let Some(Output::ChannelClose { .. }) = self.next().await? {
                done = true;
                let _ = socket.close(self, None);
            }
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let core = &mut *self.core.borrow_mut();
        core.connections.remove(&(self.number >> 32));
        let (exchange, channel, end) = (ExchangeId(self.number), ChannelId(self.number), ChannelEnd::Lost);
        // The number is that of one of them; of the other the session does not know.
        for input in [Input::ExchangeLost { exchange }, Input::ChannelClosed { channel, end }] {
            self.session.map(|key| core.with(key, |session, now| session.handle_input(now, input)));
        }
        core.obey();
    }
}

/// What the codec reads was received. What it writes is to be sent.
impl Read for Connection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { (&mut self.input).reader().read(buf) }
    }
}

impl Write for Connection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
