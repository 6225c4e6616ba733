//! HTTP: from a request to its session, and back with the answer.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant as Clock};

use engineio_proto::{
    BodyError, ChannelId, Input, Method, Mount, Operation, Rejection, Reply, Request, Response, Route, Sid,
};
use tungstenite::handshake::server::{Request as Head, Response as Accepted, create_response};
use tungstenite::http::Method as Verb;
use tungstenite::http::header::{self, HeaderName, HeaderValue};

use crate::{Channel, Exchange, Shared, websocket};

/// How often a thread that waits for an answer looks whether its client still does.
const GLANCE: Duration = Duration::from_millis(100);
/// How long a connection is read after its end: if it broke, its client could not read what was said last.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of the head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// A connection, and the thread that reads it.
pub(crate) struct Connection<'a> {
    shared: &'a Shared,
    socket: TcpStream,
    /// Received and not used yet.
    input: Vec<u8>,
    /// Whether another request may follow.
    keep: bool,
}

/// What waits for the session of a request.
enum Admitted {
    Exchange(Exchange),
    Channel(Channel, Accepted),
}

impl<'a> Connection<'a> {
    pub(crate) fn new(shared: &'a Shared, socket: TcpStream) -> Self {
        Self { shared, socket, input: Vec::new(), keep: true }
    }

    pub(crate) fn serve(mut self) {
        // Whatever went wrong, there is nobody left to tell.
        let _ = self.serve_requests();
        let _ = self.socket.shutdown(Shutdown::Write);
        let ended = Clock::now();
        while ended.elapsed() < LINGER && self.receive(LINGER).unwrap_or(false) {
            self.input.clear();
        }
    }

    fn serve_requests(&mut self) -> io::Result<()> {
        self.socket.set_nodelay(true)?;
        self.socket.set_write_timeout(Some(self.shared.patience()))?;
        while mem::take(&mut self.keep) {
            let head = self.read_head()?;
            self.keep = body_length(&head) == 0 && allows_another(&head);
            match self.admit(&head) {
                Err(reply) => self.write(&head, &reply)?,
                Ok(Admitted::Channel(channel, accepted)) => {
                    websocket::serve(self.shared, channel, &accepted, &self.socket, mem::take(&mut self.input));
                    return Ok(());
                }
                Ok(Admitted::Exchange(exchange)) => {
                    let response = self.settle(&head, &exchange);
                    let written = response.and_then(|response| self.write(&head, &response.into_reply()));
                    if written.is_err() {
                        self.shared.visit(|core, now| core.lose_exchange(now, exchange.key, exchange.id));
                        return written;
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
                    let head = Head::builder().method(method).uri(path);
                    let head = parsed.headers.iter().fold(head, |head, field| head.header(field.name, field.value));
                    self.input.drain(..len);
                    if let Ok(head) = head.body(()) {
                        return Ok(head);
                    }
                }
                Ok(httparse::Status::Partial) if self.input.len() < MAX_HEAD => {
                    match self.receive(self.shared.patience().saturating_sub(began.elapsed()))? {
                        true => continue,
                        false => return Err(io::ErrorKind::TimedOut.into()),
                    }
                }
                _ => (),
            }
            self.write(&Head::default(), &plain(400, "Bad request"))?;
            return Err(io::ErrorKind::InvalidData.into());
        }
    }

    /// Brings a request to its session, or says why not.
    fn admit(&self, head: &Head) -> Result<Admitted, Reply> {
        if !Mount::default().matches(head.uri().path()) {
            return Err(plain(404, "Not found"));
        }
        let upgrade = has(head, &header::CONNECTION, "upgrade") && has(head, &header::UPGRADE, "websocket");
        let refuse = |rejection: Rejection| match upgrade {
            true => rejection.into_upgrade_reply(),
            false => Response::Rejected(rejection).into_reply(),
        };
        let accept = || create_response(head).map_err(|error| plain(400, &error.to_string()));
        let method = match *head.method() {
            Verb::GET => Method::Get,
            Verb::POST => Method::Post,
            _ => Method::Other,
        };
        let origin = head.headers().get(header::ORIGIN).map(HeaderValue::as_bytes);
        let request = Request { method, query: head.uri().query().unwrap_or_default(), origin, upgrade };
        match Route::parse(&request, &self.shared.config).map_err(refuse)? {
            Route::Session(request) => self.shared.visit(|core, now| {
                let key = core.server.admit(&request).map_err(refuse)?;
                let exchange = match request.operation {
                    Operation::Poll => core.open_exchange(now, key, |exchange| Input::Poll { exchange }),
                    Operation::Post => {
                        let kind = head.headers().get(header::CONTENT_TYPE);
                        let octet_stream = kind.is_some_and(|kind| kind == "application/octet-stream");
                        core.open_exchange(now, key, |exchange| Input::PostHead { exchange, octet_stream })
                    }
                    Operation::Upgrade => {
                        let (accepted, channel) = (accept()?, ChannelId(core.next_number()));
                        core.tell(now, key, Input::ChannelOpened { channel, base64: request.base64 });
                        return Ok(Admitted::Channel(core.open_channel(key, channel), accepted));
                    }
                    Operation::Unsupported => return Err(Response::Unsupported.into_reply()),
                };
                Ok(Admitted::Exchange(exchange))
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
                        Some((channel, accepted)) => Admitted::Channel(core.open_channel(key, channel), accepted),
                        None => Admitted::Exchange(core.open_exchange(now, key, |exchange| Input::Poll { exchange })),
                    })
                })
            }
        }
    }

    /// Sees an exchange to its answer, as long as its client waits for that.
    fn settle(&mut self, head: &Head, exchange: &Exchange) -> io::Result<Response> {
        let began = Clock::now();
        let mut awaited = (head.method() == Verb::POST).then(|| body_length(head));
        loop {
            // It may come before the body: an overlap, or the end of the session.
            let answer = exchange.answer.recv_timeout(if awaited.is_some() { Duration::ZERO } else { GLANCE });
            if awaited.is_none() && self.input.is_empty() {
                self.receive(Duration::ZERO)?;
            }
            match answer {
                Ok(response) => return Ok(response),
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Err(RecvTimeoutError::Timeout) => (),
            }
            let body = match awaited {
                None => continue,
                Some(len) if len > self.shared.config.max_payload => Err(BodyError::TooLarge),
                Some(len) if len <= self.input.len() => {
                    self.keep = allows_another(head);
                    let rest = self.input.split_off(len);
                    Ok(mem::replace(&mut self.input, rest).into())
                }
                // Whoever takes longer for a body could not answer a ping in time either.
                Some(_) if began.elapsed() > self.shared.config.ping_timeout => Err(BodyError::Timeout),
                Some(_) => {
                    self.receive(GLANCE)?;
                    continue;
                }
            };
            awaited = None;
            let (key, exchange) = (exchange.key, exchange.id);
            self.shared.visit(|core, now| core.tell(now, key, Input::PostBody { exchange, body }));
        }
    }

    fn write(&self, head: &Head, reply: &Reply) -> io::Result<()> {
        let mut out = format!("HTTP/1.1 {} \r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in reply.headers.iter().filter(|(name, _)| *name != "connection") {
            out.extend([name, ": ", value, "\r\n"]);
        }
        out.push_str(if self.keep { "\r\n" } else { "connection: close\r\n\r\n" });
        let body = if head.method() == Verb::HEAD { &[] } else { &*reply.body };
        (&self.socket).write_all(&[out.as_bytes(), body].concat())
    }

    /// Waits for bytes, and says whether any came. An error at the end of the connection.
    fn receive(&mut self, patience: Duration) -> io::Result<bool> {
        self.socket.set_nonblocking(patience.is_zero())?;
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 16 * 1024];
        let read = (&self.socket).read(&mut chunk);
        self.socket.set_nonblocking(false)?;
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => self.input.extend_from_slice(chunk.get(..len).unwrap_or_default()),
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// Systems do not agree on what it is called.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn has(head: &Head, name: &HeaderName, token: &str) -> bool {
    let values = head.headers().get_all(name).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether another request may follow behind this one and its body. None does behind a refused upgrade.
fn allows_another(head: &Head) -> bool {
    !has(head, &header::CONNECTION, "close") && !has(head, &header::CONNECTION, "upgrade")
}

/// A body that does not say its length counts as too large.
fn body_length(head: &Head) -> usize {
    let headers = head.headers();
    match headers.get(header::CONTENT_LENGTH) {
        _ if headers.contains_key(header::TRANSFER_ENCODING) => usize::MAX,
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()).unwrap_or(usize::MAX),
        None => 0,
    }
}

fn plain(status: u16, text: &str) -> Reply {
    Reply { status, headers: &[("content-type", "text/plain")], body: text.to_owned().into() }
}
