//! A scripted server.
//!
//! Each connection is read by its own task until a request is complete. The request then goes to the test, in the order
//! of arrival, together with its connection. The test answers it, in one piece or in several, breaks the connection, or
//! makes a WebSocket of it. A request that the test keeps is held; dropping it breaks its connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tungstenite::handshake::derive_accept_key;

use crate::adapter::{Client, ClientBuilder, ConnectError, Events, Socket, TransportKind};
use crate::host::HOUR;
use crate::raw::{BINARY, CLOSE, Frame, PING, PONG, TEXT, unmasked, within};

/// The open packet of a session that offers these transports. Its heartbeat is longer than any test.
pub(crate) fn open(sid: &str, upgrades: &str) -> String {
    open_with(sid, upgrades, 3_600_000, 1_000_000)
}

/// With the interval and the timeout of the heartbeat, in milliseconds, and with a limit in bytes.
pub(crate) fn open_with(sid: &str, upgrades: &str, interval: u64, max_payload: usize) -> String {
    format!(
        r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{interval},"pingTimeout":{interval},"maxPayload":{max_payload}}}"#
    )
}

/// A value for the second argument of [`open`].
pub(crate) const WEBSOCKET: &str = r#""websocket""#;

/// A server on a free port.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) addr: SocketAddr,
    pub(crate) url: String,
    /// Requests of kinds that the test has not asked for yet.
    stash: VecDeque<Request>,
    requests: mpsc::UnboundedReceiver<Request>,
    standing: watch::Receiver<usize>,
    accepted: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.expect("there is a port"))
    }

    pub(crate) fn listen(listener: TcpListener) -> Self {
        let addr = listener.local_addr().expect("a listener has an address");
        let (sender, requests) = mpsc::unbounded_channel();
        let (count, standing) = watch::channel(0);
        let accepted = Arc::new(AtomicUsize::new(0));
        let numbers = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                // When the script is dropped, the server is gone.
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                let Ok((stream, _)) = accepted else { return };
                let _ = stream.set_nodelay(true);
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let connection = Connection {
                    stream,
                    buffer: Vec::new(),
                    number,
                    requests: sender.clone(),
                    _standing: Standing::new(count.clone()),
                };
                tokio::spawn(connection.read());
            }
        });
        let url = format!("http://{addr}");
        Self { addr, url, stash: VecDeque::new(), requests, standing, accepted }
    }

    pub(crate) fn client(&self) -> ClientBuilder {
        crate::adapter::client(&self.url).expect("this is an address")
    }

    /// Returns a client with a long timeout for the upgrade. It does not poll while it pauses, however slow the test is.
    pub(crate) fn patient(&self) -> Client {
        self.client().upgrade_timeout(HOUR).build().expect("the options make sense")
    }

    /// Returns a client with polling only.
    pub(crate) fn polling(&self) -> Client {
        self.client().transports([TransportKind::Polling]).build().expect("the options make sense")
    }

    /// Waits for the next request of any kind.
    pub(crate) async fn next(&mut self) -> Request {
        match self.stash.pop_front() {
            Some(request) => request,
            None => within(self.requests.recv()).await.expect("the server listens"),
        }
    }

    /// Waits for the next request of a kind; other requests wait for their turn.
    async fn next_of(&mut self, kind: fn(&Request) -> bool) -> Request {
        if let Some(index) = self.stash.iter().position(kind) {
            return self.stash.remove(index).expect("it is there");
        }
        loop {
            let request = within(self.requests.recv()).await.expect("the server listens");
            if kind(&request) {
                return request;
            }
            self.stash.push_back(request);
        }
    }

    pub(crate) async fn get(&mut self) -> Request {
        self.next_of(|request| request.method == "GET" && !request.is_websocket()).await
    }

    pub(crate) async fn post(&mut self) -> Request {
        self.next_of(|request| request.method == "POST").await
    }

    pub(crate) async fn websocket(&mut self) -> Request {
        self.next_of(Request::is_websocket).await
    }

    /// Returns the number of requests that the test has not seen.
    pub(crate) fn pending(&mut self) -> usize {
        while let Ok(request) = self.requests.try_recv() {
            self.stash.push_back(request);
        }
        self.stash.len()
    }

    /// Breaks the connections of requests that were not seen.
    pub(crate) fn cut_pending(&mut self) {
        self.pending();
        self.stash.clear();
    }

    /// Breaks all connections until none is open.
    pub(crate) async fn cut_all(&mut self) {
        self.stash.clear();
        let mut standing = self.standing.clone();
        within(async {
            loop {
                tokio::select! {
                    _ = standing.wait_for(|standing| *standing == 0) => return,
                    Some(request) = self.requests.recv() => drop(request),
                }
            }
        })
        .await;
    }

    /// Returns the number of connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until this many connections are open.
    pub(crate) async fn stand(&self, connections: usize) {
        let mut standing = self.standing.clone();
        within(standing.wait_for(|standing| *standing == connections)).await.expect("somebody counts");
    }

    /// Opens a session on polling; `sid` and `upgrades` as for [`open`].
    pub(crate) async fn open(&mut self, client: &Client, sid: &str, upgrades: &str) -> Socket {
        self.begin(client, &open(sid, upgrades)).await.expect("the session opens")
    }

    /// Opens a session on polling, and observes it.
    pub(crate) async fn open_observed(&mut self, client: &Client, sid: &str, upgrades: &str) -> Events {
        let body = open(sid, upgrades);
        let answer = async { self.get().await.ok(body).await };
        let (opened, ()) = within(async { tokio::join!(client.connect_observed(), answer) }).await;
        opened.expect("the session opens")
    }

    /// Answers the handshake of a client on polling.
    pub(crate) async fn begin(&mut self, client: &Client, body: &str) -> Result<Socket, ConnectError> {
        let answer = async { self.get().await.ok(body).await };
        within(async { tokio::join!(client.connect(), answer) }).await.0
    }

    /// Opens a session on a WebSocket.
    pub(crate) async fn open_websocket(&mut self, client: &Client, body: &str) -> (Socket, WebSocket) {
        let answer = async {
            let mut websocket = self.websocket().await.accept().await;
            websocket.text(body).await;
            websocket
        };
        let (opened, websocket) = within(async { tokio::join!(client.connect(), answer) }).await;
        (opened.expect("the session opens"), websocket)
    }
}

/// A connection, which stays open while it is owned.
#[derive(Debug)]
struct Standing(watch::Sender<usize>);

impl Standing {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// Bytes that were received and not used yet.
    buffer: Vec<u8>,
    number: usize,
    requests: mpsc::UnboundedSender<Request>,
    _standing: Standing,
}

impl Connection {
    /// Reads the next request and passes it on.
    async fn read(mut self) {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.fill().await {
                return;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).expect("heads are text");
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut part = || first.next().expect("a request line has three parts").to_owned();
        let (method, target, version) = (part(), part(), part());
        assert_eq!(version, "HTTP/1.1");
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header line"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let len = headers.iter().find(|header| header.0 == "content-length");
        let len: usize = len.map_or(0, |header| header.1.parse().expect("a length is a number"));
        while self.buffer.len() < len {
            if !self.fill().await {
                return;
            }
        }
        let body = self.buffer.drain(..len).collect();
        let requests = self.requests.clone();
        // Without a script it is not wanted.
        let _ = requests.send(Request { method, target, headers, body, connection: self });
    }

    /// Reads available bytes; `false` at the end.
    async fn fill(&mut self) -> bool {
        self.stream.read_buf(&mut self.buffer).await.is_ok_and(|len| len > 0)
    }

    /// Writes, whether the client reads or not; the test checks the result at the client.
    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within(self.stream.write_all(bytes.as_ref())).await;
    }
}

/// A request without an answer. Dropping it ends its connection.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    connection: Connection,
}

impl Request {
    fn is_websocket(&self) -> bool {
        self.target.contains("transport=websocket")
    }

    /// The number of its connection, from 0, in the order of opening.
    pub(crate) fn connection(&self) -> usize {
        self.connection.number
    }

    /// The only header of this name, if there is one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().copied()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|header| header.0 == name).map(|header| header.1.as_str()).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are text")
    }

    /// The value of a parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name).map(|pair| pair.1)
    }

    /// Answers with 200 and a body.
    pub(crate) async fn ok(self, body: impl AsRef<[u8]>) {
        self.answer(200, "", body).await;
    }

    /// Answers, and keeps the connection. `headers` are whole lines.
    pub(crate) async fn answer(mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) {
        self.write(response(status, headers, body)).await;
        self.go_on();
    }

    /// Answers, and ends the connection. Returns when the client has noticed that.
    pub(crate) async fn answer_and_close(mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) {
        self.write(response(status, headers, body)).await;
        within(self.connection.stream.shutdown()).await.expect("the connection stands");
        self.gone().await;
    }

    /// Writes a piece of an answer.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.write(bytes).await;
    }

    /// Notes that the answer is complete; the connection waits for the next request.
    pub(crate) fn go_on(self) {
        tokio::spawn(self.connection.read());
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.connection.stream.set_zero_linger().expect("a socket has this option");
    }

    /// Waits until the client ends the connection.
    pub(crate) async fn gone(mut self) {
        while within(self.connection.fill()).await {}
        assert_eq!(String::from_utf8_lossy(&self.connection.buffer), "");
    }

    /// Accepts the handshake of a WebSocket.
    pub(crate) async fn accept(self) -> WebSocket {
        self.accept_with("", "").await
    }

    /// With additional headers, and with bytes right after the answer.
    pub(crate) async fn accept_with(mut self, headers: &str, behind: impl AsRef<[u8]>) -> WebSocket {
        let key = self.header("sec-websocket-key").expect("a handshake has a key");
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-accept: {accept}\r\n{headers}\r\n"
        );
        self.write([head.as_bytes(), behind.as_ref()].concat()).await;
        WebSocket { connection: self.connection }
    }
}

/// The bytes of an answer.
pub(crate) fn response(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The server's side of a WebSocket. Dropping it ends its connection without a close frame.
#[derive(Debug)]
pub(crate) struct WebSocket {
    connection: Connection,
}

impl WebSocket {
    pub(crate) async fn text(&mut self, text: &str) {
        self.frame(TEXT, text).await;
    }

    pub(crate) async fn frame(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.connection.write(unmasked(first, payload)).await;
    }

    /// Sends bytes that may be less than a frame.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.connection.write(bytes).await;
    }

    /// Answers the probe. Everything that was read before the ping was handled by then: no other GET or POST follows.
    pub(crate) async fn answer_probe(&mut self) {
        self.text("3probe").await;
        self.frame(PING, "").await;
        assert_eq!(self.next().await, Frame::Pong(Vec::new()));
    }

    /// Without a deadline.
    pub(crate) async fn try_frame(&mut self, first: u8, payload: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.connection.stream.write_all(&unmasked(first, payload)).await
    }

    /// The beginning of a frame.
    pub(crate) async fn try_half_frame(&mut self) -> std::io::Result<()> {
        self.connection.stream.write_all(&unmasked(TEXT, "4half")[..4]).await
    }

    /// Sends a close frame with a status.
    pub(crate) async fn close(&mut self, status: u16) {
        self.frame(CLOSE, status.to_be_bytes()).await;
    }

    /// Waits for the next frame, unless the connection ends first.
    pub(crate) async fn try_next(&mut self) -> Option<Frame> {
        let head = self.take(2).await?;
        assert_eq!(head[1] & 0x80, 0x80, "a client masks");
        let len = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.take(2).await?.try_into().expect("two bytes"))),
            127 => u64::from_be_bytes(self.take(8).await?.try_into().expect("eight bytes")),
            len => u64::from(len),
        };
        let mask = self.take(4).await?;
        let mut payload = self.take(usize::try_from(len).expect("lengths are sane")).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text is UTF-8");
        Some(match head[0] {
            TEXT => Frame::Text(text(&payload)),
            BINARY => Frame::Binary(payload),
            PING => Frame::Ping(payload),
            PONG => Frame::Pong(payload),
            CLOSE => match payload.split_first_chunk() {
                Some((&status, reason)) => Frame::Close(Some(u16::from_be_bytes(status)), text(reason)),
                None => Frame::Close(None, text(&payload)),
            },
            first => panic!("a frame that begins with {first:#x}"),
        })
    }

    pub(crate) async fn next(&mut self) -> Frame {
        self.try_next().await.expect("the connection stands")
    }

    /// The client closes in order, and the server answers that.
    pub(crate) async fn closed(mut self) {
        assert_eq!(self.next().await, Frame::close(None));
        self.frame(CLOSE, "").await;
        self.ended().await;
    }

    /// Waits for the end of the connection, without another byte.
    pub(crate) async fn ended(mut self) {
        while within(self.connection.fill()).await {}
        assert_eq!(String::from_utf8_lossy(&self.connection.buffer), "");
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.connection.stream.set_zero_linger().expect("a socket has this option");
    }

    async fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.connection.buffer.len() < len {
            if !within(self.connection.fill()).await {
                return None;
            }
        }
        Some(self.connection.buffer.drain(..len).collect())
    }
}
