//! An Engine.IO server on io_uring, which echoes every message: one thread, which hears what the system has done. Where
//! the kernel refuses io_uring, or with `DRIVER=poll` in the environment, `compio` does the same by readiness.
//!
//! Nothing grows with what a client sends, or does not take: frames move only while little waits to be written. Left
//! out are time limits but those of the core (who is slow with a request, or never closes, keeps its socket), chunked
//! bodies, `HEAD` and `Expect`. See `docs/embedding.md` for what has them.
//!
//! `cargo run -p engineio-proto --example completion -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::io::{self, ErrorKind, Read, Write};
use std::{collections::BTreeMap, env, error::Error, mem, net::Ipv4Addr, time::Duration};

use bytes::{Buf, BytesMut};
use compio::runtime::{JoinHandle, RuntimeBuilder, spawn};
use compio::{driver::DriverType, driver::ProactorBuilder, net::PollFd, net::TcpListener, net::TcpStream};
use compio::{io::AsyncRead, io::AsyncWrite, io::AsyncWriteExt, time::sleep, time::timeout};
use engineio_proto::http::{Method, Mount, Reply, Request, is_octet_stream};
use engineio_proto::server::{Admission, BodyError, Config, Entry, Input, NotAdmitted, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, ExchangeId, Instant, Server, Sid, Text};
use futures::{SinkExt, StreamExt, TryFutureExt, channel::mpsc};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::CloseCode};
use tungstenite::{Message as WsMessage, handshake::server::create_response, handshake::server::write_response, http};

/// Bytes that are read before they are needed, or that wait to be written while frames are pulled. No head is longer.
const AHEAD: usize = 16 * 1024;
const CLOSE: (&str, &str) = ("connection", "close");

/// An answer behind which the connection ends.
fn closing(status: u16) -> Reply {
    let mut reply = Reply::empty(status);
    reply.headers.push(CLOSE.0, CLOSE.1);
    reply
}

/// What the system has done for a connection, or the core wants of it, as a change to the connection.
type News = Box<dyn FnOnce(&mut Connection)>;
type Sender = mpsc::Sender<(u64, News)>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = ProactorBuilder::new();
    let poll = env::var_os("DRIVER").is_some_and(|driver| driver == "poll");
    let proactor = if poll { builder.driver_type(DriverType::Poll) } else { &mut builder };
    let runtime = RuntimeBuilder::new().with_proactor(proactor.clone()).build()?;
    runtime.block_on(serve(runtime.driver_type()))
}

async fn serve(driver: DriverType) -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args().collect();
    let option = |name, or| args.windows(2).find(|it| it[0] == name).map_or(Ok(or), |it| it[1].parse::<u32>());
    let mut config = Config::default();
    config.ping_interval = Duration::from_millis(option("--ping-interval", 25_000)?.into());
    config.ping_timeout = Duration::from_millis(option("--ping-timeout", 20_000)?.into());
    config.upgrade_timeout = Duration::from_millis(option("--upgrade-timeout", 10_000)?.into());
    config.max_payload = usize::try_from(option("--max-payload", 1_000_000)?)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, u16::try_from(option("--port", 0)?)?)).await?;
    println!(r#"{{"event":"listening","port":{},"driver":"{driver:?}"}}"#, listener.local_addr()?.port());

    let (mut server, began) = (Server::new(config)?, std::time::Instant::now());
    let now = || Instant::ZERO + began.elapsed();
    let (mut connections, (sender, mut jobs)) = (BTreeMap::new(), mpsc::channel(0)); // Room for one from each job.
    spawn(accept(PollFd::new(listener)?, sender.clone())).detach();
    loop {
        server.handle_timeout(now());
        let (number, change): (u64, News) = match server.poll_output() {
            Some((_, Output::Respond { exchange, response })) => {
                (exchange.0, Box::new(|it| it.answer(response.into_reply())))
            }
            Some((_, Output::Abort { exchange })) => (exchange.0, Box::new(|it| it.stream = None)),
            Some((_, Output::ChannelReady { channel })) => (channel.0, Box::new(|_| {})),
            Some((_, Output::ChannelRead { channel, .. })) => (channel.0, Box::new(|_| {})),
            Some((_, Output::ChannelClose { channel })) => (channel.0, Box::new(|it| it.told = None)),
            // The application. Whatever happens, it takes no message for whose echo there is no room.
            Some((key, Output::Event(_))) => {
                let Some(mut session) = server.session_mut(key) else { continue };
                while let Some(message) = session.poll_ready().then(|| session.recv(now())).flatten() {
                    let _ = session.send(message); // It comes back if the client is gone.
                }
                continue;
            }
            None => {
                let wait = server.next_timeout().map_or(Duration::from_secs(3600), |at| at - now());
                let Ok(Some(done)) = timeout(wait, jobs.next()).await else { continue };
                done
            }
        };
        let connection = connections.entry(number >> 32).or_insert_with(|| Connection { number, ..Default::default() });
        change(connection);
        if connection.stream.is_some() {
            connection.turn(&mut server, now(), &sender);
        } else {
            // Of the exchange or the channel, whichever it was.
            let (exchange, channel) = (ExchangeId(connection.number), ChannelId(connection.number));
            let closed = Input::ChannelClosed { channel, end: ChannelEnd::Lost };
            connection.tell(&mut server, now(), [Input::ExchangeLost { exchange }, closed]);
            connections.remove(&(number >> 32));
        }
    }
}

/// By readiness, compio 0.16 loses the connection for which its `accept` has waited. So it never waits there.
async fn accept(listener: PollFd<TcpListener>, mut sender: Sender) {
    for id in 0.. {
        let accepted = listener.accept_ready().and_then(|()| listener.accept()).await;
        match accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => drop(sender.send((id << 32, Box::new(|it| it.stream = Some(stream)))).await),
            Err(_) => sleep(Duration::from_millis(50)).await, // Too many connections. Some of them will end.
        }
    }
}

/// A connection has one exchange at a time, or becomes a channel.
#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>, // None when it is over.
    /// What the system works on, until it is done: of a read that is given up, bytes may be lost.
    reading: Option<JoinHandle<()>>,
    writing: Option<JoinHandle<()>>,
    websocket: Option<WebSocketContext>,
    /// The session that was told of the exchange or the channel, until the answer is written or the channel closed.
    told: Option<SessionKey>,
    number: u64, // That of the exchange or the channel. Its upper half is that of the connection.
    input: BytesMut,
    output: Vec<u8>,
    body: Option<usize>, // It is on its way, of so many bytes.
    /// No request follows: behind the answer we close our side, and throw away what comes, lest the answer be lost.
    last: bool,
}

impl Connection {
    fn tell(&self, server: &mut Server, now: Instant, inputs: impl IntoIterator<Item = Input>) {
        if let Some(mut session) = self.told.and_then(|key| server.session_mut(key)) {
            inputs.into_iter().for_each(|input| session.handle_input(now, input));
        }
    }

    /// Does what can be done now, and gives the system its next jobs.
    fn turn(&mut self, server: &mut Server, now: Instant, sender: &Sender) {
        if let Some(socket) = self.websocket.take() {
            self.websocket = self.frames(socket, server, now);
            self.last |= self.websocket.is_none();
        } else if self.told.is_none() && self.output.is_empty() && self.writing.is_none() {
            self.receive_head(server, now).unwrap_or_else(|reply| self.answer(reply));
        }
        let (max, received) = (server.config().max_payload, self.input.len());
        if let Some(len) = self.body.take_if(|len| *len > max || *len <= received) {
            self.last |= len > max;
            let body = if len > max { Err(BodyError::TooLarge) } else { Ok(self.input.split_to(len).freeze()) };
            self.tell(server, now, [Input::PostBody { exchange: ExchangeId(self.number), body }]);
        }
        if self.writing.is_none() && !self.output.is_empty() {
            let (output, last) = (mem::take(&mut self.output), self.last && self.websocket.is_none());
            self.writing = self.job(sender, async move |mut stream| {
                let written = stream.write_all(output).await.0;
                let _ = if last { stream.shutdown().await } else { Ok(()) };
                Box::new(move |it: &mut Self| {
                    (it.writing, it.stream) = (None, it.stream.take().filter(|_| written.is_ok()));
                    it.told = it.told.filter(|_| written.is_err() || it.websocket.is_some());
                }) as News
            });
        }
        // Also while an answer is awaited: the client may leave.
        if self.reading.is_none() && self.writing.is_none() && self.input.len() < AHEAD + self.body.unwrap_or(0) {
            self.reading = self.job(sender, async |mut stream| {
                let bytes = stream.read(Vec::with_capacity(4096)).await.1;
                Box::new(move |it: &mut Self| {
                    it.input.extend_from_slice(&bytes);
                    // Who leaves may have taken the answer. When it is written, another read tells the same.
                    let over = bytes.is_empty() && it.writing.is_none();
                    (it.reading, it.stream) = (None, it.stream.take().filter(|_| !over));
                }) as News
            });
        }
    }

    fn job(&self, sender: &Sender, work: impl AsyncFnOnce(TcpStream) -> News + 'static) -> Option<JoinHandle<()>> {
        let (number, mut sender, stream) = (self.number, sender.clone(), self.stream.clone()?);
        Some(spawn(async move { drop(sender.send((number, work(stream).await)).await) }))
    }

    /// Brings a request to its session, or says why not.
    fn receive_head(&mut self, server: &mut Server, now: Instant) -> Result<(), Reply> {
        if self.last {
            self.input.clear();
        }
        let refusal = closing;
        let (mut headers, input) = ([httparse::EMPTY_HEADER; 64], self.input.clone());
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(&input).map_err(|_| refusal(400))?;
        let partial = if input.len() < AHEAD { Ok(()) } else { Err(refusal(431)) };
        let httparse::Status::Complete(len) = status else { return partial };
        let head = http::Request::builder().method(parsed.method.unwrap_or("")).uri(parsed.path.unwrap_or(""));
        let head = parsed.headers.iter().fold(head, |head, header| head.header(header.name, header.value));
        let head = head.body(()).map_err(|_| refusal(400))?;
        self.input.advance(len);

        let get = |name| head.headers().get(name).and_then(|value| value.to_str().ok());
        let length = get("transfer-encoding").or(get("content-length")).unwrap_or("0");
        let length = length.parse().map_err(|_| refusal(411))?; // That of chunks is not known.
        let method = match head.method().as_str() {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => Method::Other,
        };
        self.body = (method != Method::Get || length > 0).then_some(length);
        self.last = parsed.version != Some(1) || get("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        Mount::default().matches(head.uri().path()).then_some(()).ok_or(refusal(404))?;
        // Who does not keep to RFC 6455 has not asked for a WebSocket.
        let (accept, upgrade) = create_response(&head).map_or((None, false), |accept| (Some(accept), true));
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
            let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
            let config = config.max_message_size(Some(max)).max_frame_size(Some(max.max(125))); // A ping may be longer.
            self.websocket = Some(WebSocketContext::new(Role::Server, Some(config)));
        }
        Ok(())
    }

    fn answer(&mut self, reply: Reply) {
        // What is not read of a body must not be taken for another request.
        self.last |= self.body.take().is_some() || reply.headers.iter().any(|field| field == CLOSE);
        let mut answer = format!("HTTP/1.1 {} \r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in reply.headers.iter().filter(|field| *field != CLOSE).chain(self.last.then_some(CLOSE)) {
            answer += &format!("{name}: {value}\r\n");
        }
        self.output = [answer.as_bytes(), b"\r\n", &reply.body].concat();
    }

    /// Frames out, then messages in: who takes nothing is not heard either. `None` when the channel is closed.
    fn frames(&mut self, mut socket: WebSocketContext, server: &mut Server, now: Instant) -> Option<WebSocketContext> {
        let channel = ChannelId(self.number);
        while self.output.len() < AHEAD {
            let Some(mut session) = self.told.and_then(|key| server.session_mut(key)) else {
                let _ = socket.close(self, None); // If it is closed already, this does nothing.
                return None;
            };
            if let Some(frame) = session.next_frame(now, channel) {
                let _ = match frame {
                    Frame::Text { head, data } => socket.write(self, WsMessage::text([head, &*data].concat())),
                    Frame::Binary(bytes) => socket.write(self, WsMessage::Binary(bytes)),
                };
                continue;
            }
            let Some(read) = session.wants_frames(channel).then(|| socket.read(self)) else { break };
            let frame = |frame| Input::ChannelFrame { channel, frame };
            let closed = |end| Input::ChannelClosed { channel, end };
            let input = match read {
                Ok(WsMessage::Text(text)) => frame(Frame::received(Text::from_utf8_lossy(text.into()))),
                Ok(WsMessage::Binary(bytes)) => frame(Frame::Binary(bytes)),
                Ok(WsMessage::Close(_)) => closed(ChannelEnd::Closed),
                Ok(_) => continue,
                Err(tungstenite::Error::Io(_)) => break, // Everything was taken.
                Err(tungstenite::Error::Capacity(_)) => closed(ChannelEnd::TooLarge),
                Err(_) => closed(ChannelEnd::Violation),
            };
            if let Input::ChannelClosed { end, .. } = input {
                self.told = None;
                let code = if end == ChannelEnd::TooLarge { CloseCode::Size } else { CloseCode::Protocol };
                let _ = socket.close(self, Some(CloseFrame { code, reason: "".into() })); // Or to answer the client's.
            }
            session.handle_input(now, input);
        }
        Some(socket)
    }
}

/// What the codec reads was received. What it writes is to be sent.
impl Read for Connection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { (&mut self.input).reader().read(buf) }
    }
}

impl Write for Connection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Write::write(&mut self.output, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
