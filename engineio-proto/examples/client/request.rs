//! One HTTP request. It has its own thread, and a connection that is kept for the next request.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engineio_proto::client::{Input, Request};
use engineio_proto::{ExchangeId, RequestError};

use crate::session::{Report, Reporter};
use crate::watched::Watched;

/// How long a thread waits for a socket before it checks whether it is still needed.
const TICK: Duration = Duration::from_millis(50);

/// How long it may take to establish a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be idle before it is used again. If the server closes a connection while a request is on
/// its way, the request is lost, and the session with it. So this must be shorter than the limit of servers; five
/// seconds are common.
const MAX_IDLE: Duration = Duration::from_secs(2);

/// The maximum length of an answer's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The address of the server.
#[derive(Clone)]
pub(crate) struct Host {
    /// The host name for requests, with the port.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Job {
    pub(crate) exchange: ExchangeId,
    pub(crate) request: Request,
    pub(crate) host: Host,
    /// A connection from an earlier request.
    pub(crate) connection: Option<Connection>,
    /// The result of the request does not matter any more.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// The maximum size of an answer's body, in bytes.
    pub(crate) max_payload: usize,
    pub(crate) reporter: Reporter,
}

/// A connection to the server.
pub(crate) struct Connection {
    stream: Watched<TcpStream>,
    idle_since: Instant,
}

struct Answer {
    status: u16,
    body: Bytes,
    keep_alive: bool,
}

/// The head of an answer.
struct Head {
    status: u16,
    /// The length of the body, in bytes. If it is not known, the body ends with the connection.
    body_len: Option<usize>,
    keep_alive: bool,
}

impl Connection {
    fn open(host: &Host) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&host.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(Self { stream: Watched::new(stream), idle_since: Instant::now() })
    }

    /// Returns whether the connection can be used again. There must be nothing to read, and no end of the connection.
    pub(crate) fn is_fresh(&self) -> bool {
        let stream = self.stream.get_ref();
        let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let is_open = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_ok() && is_open && self.idle_since.elapsed() < MAX_IDLE
    }
}

impl Job {
    /// Sends the request, and reports its result.
    pub(crate) fn run(mut self) {
        let exchange = self.exchange;
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.host).map_err(|_| RequestError::Unreachable),
        };
        let answered = connection.and_then(|mut connection| {
            let answer = self.send(&mut connection).and_then(|()| self.receive(&mut connection))?;
            Ok((answer, connection))
        });
        match answered {
            Ok((Answer { status, body, keep_alive }, connection)) => {
                if keep_alive {
                    self.reporter.send(Report::Idle(Connection { idle_since: Instant::now(), ..connection }));
                }
                self.reporter.input(Input::Answered { exchange, status, body });
            }
            Err(error) => self.reporter.input(Input::Failed { exchange, error }),
        }
    }

    /// Returns an error if the request is not needed any more.
    fn go_on(&self) -> Result<(), RequestError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(RequestError::Lost) } else { Ok(()) }
    }

    fn send(&self, connection: &mut Connection) -> Result<(), RequestError> {
        let (target, name) = (&self.request.target, &self.host.name);
        let body = self.request.body.clone().map(|body| body.into_bytes());
        let mut head = match &body {
            Some(body) => format!("POST {target} HTTP/1.1\r\nhost: {name}\r\ncontent-length: {}\r\n", body.len()),
            None => format!("GET {target} HTTP/1.1\r\nhost: {name}\r\n"),
        };
        for (name, value) in self.request.headers() {
            head += &format!("{name}: {value}\r\n");
        }
        let message = [head.as_bytes(), b"\r\n", &body.unwrap_or_default()].concat();
        let mut bytes = &message[..];
        while !bytes.is_empty() {
            self.go_on()?;
            match connection.stream.write(bytes) {
                Ok(0) => return Err(RequestError::Lost),
                Ok(len) => bytes = &bytes[len..],
                Err(error) if is_temporary(&error) => (),
                Err(_) => return Err(RequestError::Lost),
            }
            if connection.stream.take_unblocked() {
                self.reporter.input(Input::Unblocked);
            }
        }
        Ok(())
    }

    fn receive(&self, connection: &mut Connection) -> Result<Answer, RequestError> {
        let mut input = Vec::new();
        let Head { status, body_len, keep_alive } = loop {
            if let Some((head, len)) = parse(&input)? {
                input.drain(..len);
                break head;
            }
            if !self.read(connection, &mut input)? {
                return Err(RequestError::Lost);
            }
        };
        loop {
            if input.len().max(body_len.unwrap_or_default()) > self.max_payload {
                return Err(RequestError::TooLarge);
            }
            if body_len.is_some_and(|len| len <= input.len()) {
                break;
            }
            if !self.read(connection, &mut input)? {
                match body_len {
                    Some(_) => return Err(RequestError::Lost),
                    None => break,
                }
            }
        }
        // No bytes follow an answer, unless another request was sent.
        let keep_alive = keep_alive && body_len == Some(input.len());
        input.truncate(body_len.unwrap_or(usize::MAX));
        Ok(Answer { status, body: input.into(), keep_alive })
    }

    /// Waits for bytes. Returns `false` if the connection has ended.
    fn read(&self, connection: &mut Connection, input: &mut Vec<u8>) -> Result<bool, RequestError> {
        let mut chunk = [0; 16 * 1024];
        loop {
            self.go_on()?;
            match connection.stream.read(&mut chunk) {
                Ok(len) => {
                    input.extend_from_slice(&chunk[..len]);
                    return Ok(len > 0);
                }
                Err(error) if is_temporary(&error) => (),
                Err(_) => return Err(RequestError::Lost),
            }
        }
    }
}

/// Parses the head of an answer. Returns it with its length, or `None` if more bytes must arrive first.
fn parse(input: &[u8]) -> Result<Option<(Head, usize)>, RequestError> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let len = match parsed.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => return Err(RequestError::Lost),
    };
    let mut head =
        Head { status: parsed.code.unwrap_or_default(), body_len: None, keep_alive: parsed.version == Some(1) };
    for field in parsed.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("content-length") {
            head.body_len = Some(value.parse().map_err(|_| RequestError::Lost)?);
        } else if field.name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            head.keep_alive = false;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(RequestError::Lost); // Chunks are left out.
        }
    }
    Ok(Some((head, len)))
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
