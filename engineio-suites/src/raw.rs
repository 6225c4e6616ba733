//! A separate client over a plain socket: HTTP/1.1, WebSocket, and a session on polling. It shares no code with the
//! server, and waits for nothing longer than [`DEADLINE`].

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for a busy machine, and shorter than the first ping, which could hide a missing wakeup.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Everything must happen within the deadline, however early.
#[track_caller]
pub fn within<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: it should have happened by now"),
        }
    }
}

/// The target of a handshake on polling, or, followed by `&sid=…`, of a request of that session.
pub const POLLING: &str = "/engine.io/?EIO=4&transport=polling";
pub const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// The headers of a WebSocket handshake, with the key of RFC 6455's example, and the answer to that key.
pub const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The bytes of a request. `headers` are whole lines. A body adds its length.
pub fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{headers}").into_bytes();
    if method == "POST" || !body.is_empty() {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Bytes that were received and not used yet.
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(addr)).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket has this option");
        Self { stream, buffer: Vec::new() }
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.try_write(bytes)).await.expect("the server reads");
    }

    /// Writes without a deadline; fails when the server has closed the connection.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    pub async fn get(&mut self, target: &str) {
        self.write(request("GET", target, "", b"")).await;
    }

    /// Waits for the next answer; `None` if the connection ends instead.
    pub async fn try_response(&mut self) -> Option<Response> {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                break std::mem::replace(&mut self.buffer, rest);
            }
            if self.fill().await == 0 {
                assert_eq!(String::from_utf8_lossy(&self.buffer), "", "the head of an answer is whole");
                return None;
            }
        };
        let mut response = Response::parse(std::str::from_utf8(&head).expect("heads are ASCII"));
        let len = response.header("content-length").map_or(0, |len| len.parse().expect("a length is a number"));
        response.body = self.take(len).await;
        Some(response)
    }

    pub async fn response(&mut self) -> Response {
        self.try_response().await.expect("the server answers")
    }

    /// Waits for the answer to a HEAD: its length is that of a body that does not follow.
    pub async fn response_head(&mut self) -> Response {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Response::parse(std::str::from_utf8(&head).expect("heads are ASCII"));
            }
            assert_ne!(self.fill().await, 0, "the server answers");
        }
    }

    /// Waits for bytes of the server, without reading them.
    pub async fn readable(&self) {
        within(self.stream.readable()).await.expect("the server answers");
    }

    /// Reads everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for the end of the connection, without another byte.
    pub async fn ended(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().await), "");
    }

    /// Ends the client's side.
    pub async fn finish(&mut self) {
        within(self.stream.shutdown()).await.expect("the connection stands");
    }

    /// Ends the connection: in order, or with a reset.
    pub fn leave(self, abrupt: bool) {
        if abrupt {
            self.reset();
        }
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket has this option");
    }

    async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            assert_ne!(self.fill().await, 0, "the connection ended after {:?}", self.buffer);
        }
        self.buffer.drain(..len).collect()
    }

    /// Reads available bytes. 0 is the end, in order or by a reset.
    async fn fill(&mut self) -> usize {
        match within(self.stream.read_buf(&mut self.buffer)).await {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => 0,
            Err(error) => panic!("reading failed: {error}"),
        }
    }
}

/// Sends one request on a new connection.
pub async fn ask(addr: SocketAddr, method: &str, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Response {
    let mut connection = Connection::open(addr).await;
    connection.write(request(method, target, headers, body.as_ref())).await;
    connection.response().await
}

pub async fn get(addr: SocketAddr, target: &str) -> Response {
    ask(addr, "GET", target, "", "").await
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    fn parse(head: &str) -> Self {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header line");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let status = status.get(..3).and_then(|code| code.parse().ok()).expect("a status code");
        Self { status, headers: lines.map(header).collect(), body: Vec::new() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Status and body.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, self.text())
    }

    /// The whole answer as text, without what depends on the time: the status, the headers by name, the body.
    pub fn transcript(&self) -> String {
        let mut lines: Vec<_> = self.headers.iter().filter(|header| header.0 != "date").collect();
        lines.sort();
        let lines: String = lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{}\n{lines}\n{}", self.status, self.text())
    }
}

/// A session on polling. Every request has its own connection.
#[derive(Debug)]
pub struct Polling {
    pub addr: SocketAddr,
    pub sid: String,
    pub target: String,
}

impl Polling {
    pub async fn open(addr: SocketAddr) -> Self {
        let response = get(addr, POLLING).await;
        assert_eq!(response.status, 200);
        let sid = sid_of(response.text());
        Self { addr, target: format!("{POLLING}&sid={sid}"), sid }
    }

    pub async fn get(&self) -> Response {
        get(self.addr, &self.target).await
    }

    /// Polls once more, and the session is closed by the answer. The close packet stands alone when the poll was held
    /// before the server knew that the answer to the last one is written; otherwise behind a noop.
    pub async fn farewell(&self) {
        let response = self.get().await;
        assert!(matches!(response.brief(), (200, "1" | "6\x1e1")), "{response:?}");
    }

    pub async fn post(&self, body: impl AsRef<[u8]>) -> Response {
        ask(self.addr, "POST", &self.target, "", body).await
    }

    /// Sends a GET whose answer is read later.
    pub async fn start_get(&self) -> Connection {
        let mut connection = Connection::open(self.addr).await;
        connection.get(&self.target).await;
        connection
    }

    /// Starts a POST: the server has seen its head, and nothing of its body.
    pub async fn start_post(&self, headers: &str) -> Connection {
        let mut connection = Connection::open(self.addr).await;
        let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{headers}\r\n", self.target);
        connection.write(head).await;
        let go_on = connection.response().await;
        assert_eq!(go_on.status, 100);
        connection
    }
}

/// Returns the id in an open packet.
pub fn sid_of(open: &str) -> String {
    let sid = open.strip_prefix(r#"0{"sid":""#).and_then(|rest| rest.split('"').next());
    sid.unwrap_or_else(|| panic!("not an open packet: {open}")).to_owned()
}

/// First bytes of frames, all of them final.
pub const CONTINUATION: u8 = 0x80;
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// Clears the final bit of a first byte.
pub const MORE: u8 = 0x7f;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of a client, from its first byte and its payload.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = header(first, 0x80, payload.len());
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame without a mask, which no client may send.
pub fn unmasked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&header(first, 0, payload.len()), payload].concat()
}

fn header(first: u8, mask: u8, len: usize) -> Vec<u8> {
    match len {
        0..=125 => vec![first, mask | len as u8],
        126..=0xffff => [&[first, mask | 126][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

/// What a server sends on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The status, if there is one, and the reason.
    Close(Option<u16>, String),
}

impl Frame {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A close frame without a reason.
    pub fn close(status: impl Into<Option<u16>>) -> Self {
        Self::Close(status.into(), String::new())
    }
}

#[derive(Debug)]
pub struct WebSocket {
    pub connection: Connection,
}

impl WebSocket {
    /// Opens a session. Returns its id too.
    pub async fn open(addr: SocketAddr) -> (Self, String) {
        let mut socket = Self::at(addr, WEBSOCKET).await;
        let Frame::Text(open) = socket.next().await else { panic!("the first frame is the open packet") };
        (socket, sid_of(&open))
    }

    /// Opens a second transport for a session.
    pub async fn probe(session: &Polling) -> Self {
        Self::at(session.addr, &format!("{WEBSOCKET}&sid={}", session.sid)).await
    }

    /// Changes a session to a WebSocket, in order.
    pub async fn upgrade(session: &Polling) -> Self {
        let mut socket = Self::probe(session).await;
        socket.send("2probe").await;
        assert_eq!(socket.next().await, Frame::text("3probe"));
        socket.send("5").await;
        socket
    }

    /// Opens a WebSocket at a target, right after its 101.
    pub async fn at(addr: SocketAddr, target: &str) -> Self {
        let mut connection = Connection::open(addr).await;
        connection.write(request("GET", target, UPGRADE, b"")).await;
        Self::accepted(connection).await
    }

    /// Waits for the 101.
    pub async fn accepted(mut connection: Connection) -> Self {
        let response = connection.response().await;
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        Self { connection }
    }

    /// Sends a text frame.
    pub async fn send(&mut self, text: &str) {
        self.frame(TEXT, text).await;
    }

    pub async fn frame(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.connection.write(frame(first, payload)).await;
    }

    /// Waits for the next frame. A frame that a server must not send is a failure.
    pub async fn next(&mut self) -> Frame {
        let head = self.connection.take(2).await;
        let len = match head[1] {
            len @ 0..=125 => usize::from(len),
            126 => {
                let len = u16::from_be_bytes(self.connection.take(2).await.try_into().expect("two bytes"));
                assert!(len > 125, "lengths are minimal");
                usize::from(len)
            }
            127 => {
                let len = u64::from_be_bytes(self.connection.take(8).await.try_into().expect("eight bytes"));
                assert!(len > 0xffff, "lengths are minimal");
                usize::try_from(len).expect("lengths are sane")
            }
            _ => panic!("a server does not mask"),
        };
        assert!(head[0] & 8 == 0 || len <= 125, "control frames are short");
        let payload = self.connection.take(len).await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text is UTF-8");
        match head[0] {
            TEXT => Frame::Text(text(&payload)),
            BINARY => Frame::Binary(payload),
            PING => Frame::Ping(payload),
            PONG => Frame::Pong(payload),
            CLOSE => match payload.split_first_chunk() {
                Some((&status, reason)) => Frame::Close(Some(u16::from_be_bytes(status)), text(reason)),
                None => Frame::Close(None, text(&payload)),
            },
            first => panic!("a frame that begins with {first:#x}"),
        }
    }

    /// The server closes with this frame, and then the connection ends, although its close frame was not answered.
    pub async fn closed_with(&mut self, close: Frame) {
        assert_eq!(self.next().await, close);
        self.connection.ended().await;
    }

    /// The server closes in order: without a status, and the connection ends when its close frame is answered.
    pub async fn closed(&mut self) {
        assert_eq!(self.next().await, Frame::close(None));
        self.frame(CLOSE, "").await;
        self.connection.ended().await;
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
