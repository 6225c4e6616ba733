//! An Engine.IO server on io_uring, which echoes every message: one thread, one task for each connection, and buffers that
//! belong to the system while it works with them. Where the kernel refuses io_uring, or with `DRIVER=poll` in the
//! environment, `compio` does the same by readiness.
//!
//! Left out is what concerns HTTP and WebSockets only: limits on the time that heads, bodies and answers take, chunked
//! bodies, `Expect`, `HEAD`, HTTP/1.0, subprotocols. The driver has them, see `docs/embedding.md`.
//!
//! `cargo run -p engineio-proto --example completion -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::io::{self, Read, Write};
use std::{cell::RefCell, collections::BTreeMap, env, error::Error, mem, rc::Rc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use compio::driver::{DriverType, ProactorBuilder};
use compio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use compio::net::{PollFd, TcpListener, TcpStream};
use compio::runtime::{RuntimeBuilder, spawn};
use compio::time::{sleep, timeout};
use engineio_proto::*;
use futures::channel::mpsc;
use futures::future::{Fuse, FusedFuture, FutureExt, LocalBoxFuture};
use futures::{StreamExt, select_biased};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tungstenite::protocol::{Message as WsMessage, Role, WebSocketConfig, WebSocketContext};

/// The header of an answer behind which nothing follows.
const CLOSE: &[(&str, &str)] = &[("connection", "close")];
/// Bytes of the head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// Frames are pulled, and others taken, while less than this waits to be written.
const WRITE_AHEAD: usize = 32 * 1024;
/// How long a client that has heard the last word may take to go.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let driver = runtime.driver_type();
    let ((timer, changed), began) = (mpsc::channel(0), std::time::Instant::now());
    let core = Core { server: Server::new(config)?, began, connections: BTreeMap::new(), timer };
    let core = Rc::new(RefCell::new(core));
    runtime.block_on(async {
        let listener = PollFd::new(TcpListener::bind(("127.0.0.1", port)).await?)?;
        println!(r#"{{"event":"listening","port":{},"driver":"{driver:?}"}}"#, listener.local_addr()?.port());
        spawn(keep_time(Rc::clone(&core), changed)).detach();
        for index in 1.. {
            // By readiness, compio 0.16 loses the connection for which its `accept` has waited. So it never waits there.
            listener.accept_ready().await?;
            match listener.accept().await {
                Ok((stream, _)) => spawn(Connection::new(&core, index, stream).serve()).detach(),
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

    fn tell(&mut self, key: SessionKey, input: Input) {
        let now = self.now();
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(now, input);
        }
    }

    /// Passes on what the core wants, and makes the timer look when it is due.
    fn obey(&mut self) {
        while let Some((key, output)) = self.server.poll_output() {
            let number = match output {
                Output::Respond { exchange, .. } | Output::Abort { exchange } => exchange.0,
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => channel.0,
                Output::ChannelClose { channel } => channel.0,
                Output::Event(_) => {
                    self.echo(key);
                    continue;
                }
            };
            if let Some(connection) = self.connections.get(&(number >> 32)) {
                let _ = connection.unbounded_send(output);
            }
        }
        let _ = self.timer.try_send(());
    }

    /// The application. It takes no message for whose echo there is no room, so its clients must read. What waits may go on
    /// after `Readable` and `Writable`; after other events it finds nothing.
    fn echo(&mut self, key: SessionKey) {
        let now = self.now();
        let Some(mut session) = self.server.session_mut(key) else { return };
        while session.poll_ready() {
            let Some(message) = session.recv(now) else { return };
            let _ = session.send(message); // It comes back if the client is gone.
        }
    }
}

async fn keep_time(core: Rc<RefCell<Core>>, mut changed: mpsc::Receiver<()>) {
    loop {
        let (now, next) = (core.borrow().now(), core.borrow().server.next_timeout());
        let wait = next.map_or(Duration::from_secs(3600), |next| next - now);
        if timeout(wait, changed.next()).await.is_err() {
            let now = core.borrow().now();
            core.borrow_mut().server.handle_timeout(now);
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
    /// Who is told what if the connection ends now.
    lost: Option<(SessionKey, Input)>,
    reading: Job<Vec<u8>>,
    writing: Job<()>,
    input: BytesMut,
    output: BytesMut,
    /// The length of the body of the request, as long as it is not read.
    body: usize,
    post: bool,
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
        Self {
            core,
            stream,
            outputs,
            number,
            lost: None,
            reading,
            writing,
            input,
            output,
            body: 0,
            post: false,
            keep: true,
        }
    }

    /// Waits for what comes first: a word of the core, or that something was read or written.
    async fn next(&mut self) -> io::Result<Option<Output>> {
        self.core.borrow_mut().obey();
        let (mut reader, mut writer) = (self.stream.clone(), self.stream.clone());
        if self.reading.is_terminated() && self.input.len() < MAX_HEAD.max(self.body) {
            let read = async move { reader.read(Vec::with_capacity(4096)).await };
            self.reading = read.map(|result| result.0.map(|_| result.1)).boxed_local().fuse();
        }
        if !self.output.is_empty() && self.writing.is_terminated() {
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

    fn is_written(&self) -> bool {
        self.output.is_empty() && self.writing.is_terminated()
    }

    /// One request after the other. An error means that the client is gone.
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let reply = match self.begin() {
                Ok(None) => {
                    self.next().await?;
                    continue;
                }
                Ok(Some((key, true))) => return self.websocket(key).await,
                Ok(Some((key, false))) => match self.exchange(key).await? {
                    Some(reply) => reply,
                    None => return Ok(()),
                },
                Err(reply) => reply,
            };
            self.keep &= self.body == 0 && reply.headers != CLOSE && !reply.headers.contains(&CLOSE[0]);
            let (connection, length) = (if self.keep { "keep-alive" } else { "close" }, reply.body.len());
            write!(self, "HTTP/1.1 {} \r\nconnection: {connection}\r\ncontent-length: {length}\r\n", reply.status)?;
            for (name, value) in reply.headers.iter().filter(|(name, _)| *name != "connection") {
                write!(self, "{name}: {value}\r\n")?;
            }
            write!(self, "\r\n")?;
            self.output.extend_from_slice(&reply.body);
            while !self.is_written() {
                self.next().await?;
            }
            self.lost = None;
            if !self.keep {
                return self.linger().await;
            }
        }
    }

    /// Brings the request with which the input begins to its session; whether as a WebSocket. `None`: there must be more.
    fn begin(&mut self) -> Result<Option<(SessionKey, bool)>, Reply> {
        let plain = |status| Reply { status, headers: CLOSE, body: Bytes::new() };
        let (mut headers, input) = ([httparse::EMPTY_HEADER; 100], mem::take(&mut self.input));
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(&input) {
            Ok(httparse::Status::Complete(len)) => self.input.extend_from_slice(&input[len..]),
            Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => {
                self.input = input;
                return Ok(None);
            }
            _ => return Err(plain(400)),
        }
        let bytes = |name: &str| head.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.value);
        let text = |name| bytes(name).map_or(Ok(""), str::from_utf8).unwrap_or("").to_ascii_lowercase();
        if bytes("transfer-encoding").is_some() {
            return Err(plain(411));
        }
        self.body =
            bytes("content-length").map_or(Ok(0), |_| text("content-length").parse()).map_err(|_| plain(400))?;
        self.keep = text("connection") != "close";
        let method = match head.method {
            Some("GET") => Method::Get,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        self.post = method == Method::Post;
        let target = head.path.unwrap_or("");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // Who does not keep to RFC 6455 has not asked for a WebSocket.
        let upgrade = text("connection").contains("upgrade") && text("upgrade") == "websocket";
        let upgrade = upgrade && text("sec-websocket-version") == "13" && text("sec-websocket-key").len() == 24;
        let refuse = |rejection: Rejection| match upgrade {
            true => rejection.into_upgrade_reply(),
            false => Response::Rejected(rejection).into_reply(),
        };
        let core = &mut *self.core.borrow_mut();
        self.number += 1;
        let (exchange, channel, octets) = (ExchangeId(self.number), ChannelId(self.number), "application/octet-stream");
        let request = Request { method, query, origin: bytes("origin"), upgrade };
        let (key, input) = match Route::parse(&request, core.server.config()) {
            _ if !Mount::default().matches(path) => return Err(plain(404)),
            Err(rejection) => return Err(refuse(rejection)),
            Ok(Route::Handshake(handshake)) => {
                let mut entropy = [0; 15];
                getrandom::fill(&mut entropy).map_err(|_| refuse(Rejection::NoSid))?;
                let (sid, channel) = (Sid::from_entropy(entropy), upgrade.then_some(channel));
                let key = core.server.open(core.now(), sid, &handshake, channel).map_err(refuse)?;
                (key, (!upgrade).then_some(Input::Poll { exchange }))
            }
            Ok(Route::Session(session)) => {
                let key = core.server.admit(&session).map_err(refuse)?;
                let input = match session.operation {
                    Operation::Poll => Input::Poll { exchange },
                    Operation::Post => Input::PostHead { exchange, octet_stream: text("content-type") == octets },
                    Operation::Upgrade => Input::ChannelOpened { channel, base64: session.base64 },
                    Operation::Unsupported => return Err(Response::Unsupported.into_reply()),
                };
                (key, Some(input))
            }
        };
        if let Some(input) = input {
            core.tell(key, input);
        }
        self.lost = Some((key, Input::ExchangeLost { exchange }));
        if upgrade {
            self.lost = Some((key, Input::ChannelClosed { channel, end: ChannelEnd::Lost }));
            let accept = derive_accept_key(bytes("sec-websocket-key").unwrap_or_default());
            let accept = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: {accept}\r\n\r\n"
            );
            self.output.extend_from_slice(accept.as_bytes());
        }
        Ok(Some((key, upgrade)))
    }

    /// Waits for the answer to an exchange, and before for the body of a POST. `None`: it is to be dropped.
    async fn exchange(&mut self, key: SessionKey) -> io::Result<Option<Reply>> {
        let (exchange, mut answer) = (ExchangeId(self.number), None);
        if self.post {
            let limit = self.core.borrow().server.config().max_payload;
            while answer.is_none() && self.input.len() < self.body && self.body <= limit {
                answer = self.next().await?;
            }
            let whole = self.body <= limit.min(self.input.len());
            let body = if whole {
                Ok(self.input.split_to(mem::take(&mut self.body)).freeze())
            } else {
                Err(BodyError::TooLarge)
            };
            // If it was answered before, this comes too late, and changes nothing.
            self.core.borrow_mut().tell(key, Input::PostBody { exchange, body });
        }
        while answer.is_none() {
            answer = self.next().await?;
        }
        Ok(if let Some(Output::Respond { response, .. }) = answer { Some(response.into_reply()) } else { None })
    }

    /// Moves messages in both directions until the channel has ended and the last word is written.
    async fn websocket(mut self, key: SessionKey) -> io::Result<()> {
        let (channel, limit) = (ChannelId(self.number), self.core.borrow().server.config().max_payload);
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let config = config.max_message_size(Some(limit)).max_frame_size(Some(limit.max(125))); // Control frames have 125.
        let (mut socket, mut done) = (WebSocketContext::new(Role::Server, Some(config)), false);
        while !done || !self.is_written() {
            let wanted = |core: &Core| core.server.session(key).is_some_and(|session| session.wants_frames(channel));
            while !done && self.output.len() < WRITE_AHEAD && wanted(&self.core.borrow()) {
                let received = match socket.read(&mut self) {
                    Ok(WsMessage::Text(text)) => Ok(Frame::received(Text::from_utf8_lossy(text.into()))),
                    Ok(WsMessage::Binary(bytes)) => Ok(Frame::Binary(bytes)),
                    Ok(WsMessage::Close(_)) => Err((ChannelEnd::Closed, CloseCode::Normal)),
                    Ok(_) => continue,
                    Err(tungstenite::Error::Io(_)) => break, // Everything was taken.
                    Err(tungstenite::Error::Capacity(_)) => Err((ChannelEnd::TooLarge, CloseCode::Size)),
                    Err(_) => Err((ChannelEnd::Violation, CloseCode::Protocol)),
                };
                let input = match received {
                    Ok(frame) => Input::ChannelFrame { channel, frame },
                    Err((end, code)) => {
                        done = true; // The goodbye of a client is answered with its own code.
                        let _ = socket.close(&mut self, Some(CloseFrame { code, reason: "".into() }));
                        Input::ChannelClosed { channel, end }
                    }
                };
                self.core.borrow_mut().tell(key, input);
            }
            while self.writing.is_terminated() && self.output.len() < WRITE_AHEAD {
                let now = self.core.borrow().now();
                let mut pull = |core: &mut Core| core.server.session_mut(key)?.next_frame(now, channel);
                let Some(frame) = pull(&mut self.core.borrow_mut()) else { break };
                let message = match frame {
                    Frame::Text { head, data } => WsMessage::text([head, &*data].concat()),
                    Frame::Binary(bytes) => WsMessage::Binary(bytes),
                };
                let _ = socket.write(&mut self, message);
            }
            if let Some(Output::ChannelClose { .. }) = self.next().await? {
                done = true;
                let _ = socket.close(&mut self, None);
            }
        }
        self.linger().await
    }

    /// Waits until the client goes, lest the last word be lost on its way.
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let going = async {
            loop {
                self.input.clear();
                self.next().await?;
            }
        };
        timeout(PATIENCE, going).await.unwrap_or(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let core = &mut *self.core.borrow_mut();
        core.connections.remove(&(self.number >> 32));
        if let Some((key, input)) = self.lost.take() {
            core.tell(key, input);
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
