//! A connection: requests, bodies, answers.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use engineio_proto::ExchangeId;
use engineio_proto::http::{Method, Reply, Response};
use engineio_proto::server::{BodyError, Input, SessionKey};

use crate::admission::{Admitted, admit};
use crate::channel;
use crate::http::{self, Head};
use crate::shared::{Ending, Shared};
use crate::watched::Watched;

/// How long a thread waits for one thing before it checks the other.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How long a client may take no bytes after its session has ended.
const FAREWELL: Duration = Duration::from_secs(5);

pub(crate) struct Connection {
    pub(crate) shared: &'static Shared,
    pub(crate) stream: Watched<TcpStream>,
    /// Bytes that arrived and were not used yet.
    pub(crate) input: Vec<u8>,
}

/// What follows a request.
enum Next {
    Request,
    End,
}

/// A session's answer to an exchange.
struct Answer {
    response: Response,
    /// The number of bytes of the request's body that were not taken from the connection.
    unread: usize,
}

impl Connection {
    pub(crate) fn new(shared: &'static Shared, stream: TcpStream) -> Self {
        Self { shared, stream: Watched::new(stream), input: Vec::new() }
    }

    /// Serves the connection until it ends.
    pub(crate) fn serve(mut self) {
        let stream = self.stream.get_ref();
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(TICK)))
            .and_then(|()| stream.set_write_timeout(Some(TICK)));
        if prepared.is_err() {
            return;
        }
        loop {
            match self.serve_request() {
                Ok(Next::Request) => (),
                Ok(Next::End) => return self.end(),
                // The connection is lost, or the session asks to drop it.
                Err(_) => return,
            }
        }
    }

    fn serve_request(&mut self) -> io::Result<Next> {
        let head = match self.read_head()? {
            Ok(head) => head,
            Err(reply) => return self.write_reply(None, &reply, false),
        };
        let admitted = self.shared.visit(|core| {
            let (now, number) = (core.now, core.next_number());
            admit(&mut core.server, now, &head, number)
        });
        match admitted {
            Ok(Admitted::Exchange { key, exchange }) => self.serve_exchange(key, exchange, &head),
            Ok(Admitted::Channel { key, channel, accept }) => {
                channel::serve(self, key, channel, &accept);
                Ok(Next::End)
            }
            // An unread body cannot be distinguished from another request.
            Err(reply) => self.write_reply(None, &reply, head.keep_alive && head.body_len == 0),
        }
    }

    /// Waits for the head of a request. The inner error is the answer to a request that cannot be served.
    fn read_head(&mut self) -> io::Result<Result<Head, Reply>> {
        loop {
            match Head::parse(&self.input) {
                Ok(None) => self.receive()?,
                Ok(Some((head, len))) => {
                    self.input.drain(..len);
                    return Ok(Ok(head));
                }
                Err(reply) => return Ok(Err(reply)),
            }
        }
    }

    /// Waits for the answer of a session, and writes it. Reports whether it was completely written.
    fn serve_exchange(&mut self, key: SessionKey, exchange: ExchangeId, head: &Head) -> io::Result<Next> {
        let written = self.wait_for_answer(key, exchange, head).and_then(|Answer { response, unread }| {
            self.write_reply(Some(key), &response.into_reply(), head.keep_alive && unread == 0)
        });
        match written {
            Ok(_) => self.shared.input(key, Input::AnswerWritten { exchange }),
            Err(_) => {
                self.shared.input(key, Input::ExchangeLost { exchange });
                self.shared.wait_for_ending(exchange.0, Duration::ZERO); // Otherwise it would stay in the table.
            }
        }
        written
    }

    fn wait_for_answer(&mut self, key: SessionKey, exchange: ExchangeId, head: &Head) -> io::Result<Answer> {
        let max = self.shared.config().max_body();
        let mut unread = head.body_len;
        let mut awaits_body = head.method() == Method::Post;
        loop {
            // The answer may come before the body.
            let patience = if awaits_body { Duration::ZERO } else { TICK };
            match self.shared.wait_for_ending(exchange.0, patience) {
                Some(Ending::Answer(response)) => return Ok(Answer { response, unread }),
                Some(Ending::Abort | Ending::Close) => return Err(ErrorKind::ConnectionAborted.into()),
                None => (),
            }
            if !awaits_body {
                self.look_for_the_end()?;
            } else if unread > max {
                awaits_body = false;
                self.shared.input(key, Input::PostBody { exchange, body: Err(BodyError::TooLarge) });
            } else if unread <= self.input.len() {
                awaits_body = false;
                let body = self.shared.config().checked_body(self.input.drain(..unread).collect());
                unread = 0;
                self.shared.input(key, Input::PostBody { exchange, body });
            } else {
                self.receive()?;
            }
        }
    }

    /// Reads what arrives within a tick. Fails at the end of the connection.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.input.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Detects, without waiting, that the client has left. If another request has already arrived, this is detected
    /// only when that request is served.
    fn look_for_the_end(&mut self) -> io::Result<()> {
        if !self.input.is_empty() {
            return Ok(());
        }
        self.stream.get_ref().set_nonblocking(true)?;
        let received = self.receive();
        self.stream.get_ref().set_nonblocking(false)?;
        received
    }

    /// Writes a complete answer.
    fn write_reply(&mut self, key: Option<SessionKey>, reply: &Reply, keep_alive: bool) -> io::Result<Next> {
        let keep_alive = keep_alive && !http::ends_connection(reply);
        self.write_all(key, &http::encode(reply, keep_alive))?;
        Ok(if keep_alive { Next::Request } else { Next::End })
    }

    /// Writes all bytes, however long that takes, while the session lives.
    pub(crate) fn write_all(&mut self, key: Option<SessionKey>, mut bytes: &[u8]) -> io::Result<()> {
        let mut patience = Patience::new(self.shared, key);
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => patience.wait()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
            if let (true, Some(key)) = (self.stream.take_unblocked(), key) {
                self.shared.input(key, Input::Unblocked);
            }
        }
        Ok(())
    }

    /// Ends the connection so that the client can read everything: closing a socket with unread bytes resets the
    /// connection, and the client could lose the last answer.
    fn end(mut self) {
        if self.stream.get_ref().shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline && self.receive().is_ok() {
            self.input.clear();
        }
    }
}

/// How long a client may take no bytes. While its session lives, the session decides.
pub(crate) struct Patience {
    shared: &'static Shared,
    key: Option<SessionKey>,
    /// When the end of the session was detected.
    ended: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(shared: &'static Shared, key: Option<SessionKey>) -> Self {
        Self { shared, key, ended: None }
    }

    /// Called when the client has taken no bytes for a tick. Fails when that was too long.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        if self.key.is_some_and(|key| self.shared.has_session(key)) {
            return Ok(());
        }
        let ended = *self.ended.get_or_insert_with(Instant::now);
        if ended.elapsed() < FAREWELL { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }
}
