//! A connection: requests, bodies, answers. Each turn does what is possible without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::Shutdown;

use engineio_proto::http::{Method, Reply, Response};
use engineio_proto::server::{BodyError, Input, SessionKey};
use engineio_proto::{ChannelEnd, ExchangeId, Instant, Server};
use mio::net::TcpStream;
use tungstenite::handshake::server::write_response;

use crate::admission::{Admitted, admit};
use crate::channel::{Channel, Turn};
use crate::http::{self, Head, MAX_HEAD};
use crate::watched::Watched;

pub(crate) struct Connection {
    stream: Watched<TcpStream>,
    /// The number of the last exchange or channel. Its upper half is the number of the connection.
    number: u64,
    /// Bytes that arrived and were not used yet.
    input: Vec<u8>,
    /// Bytes to write.
    output: Vec<u8>,
    stage: Stage,
}

/// A connection carries one request after the other, or becomes a channel.
enum Stage {
    /// The next request has not arrived.
    Idle,
    /// The session has not answered yet.
    Asked(Asked),
    /// The answer is being written.
    Answered(Answered),
    /// The 101 is being written, or is written.
    Channel(Box<Channel>),
    /// Our side has ended. Further input is read and dropped: closing a socket with unread bytes resets the connection,
    /// and the client could lose the last answer.
    Ending,
}

struct Asked {
    key: SessionKey,
    exchange: ExchangeId,
    /// The session needs the body of the request.
    awaits_body: bool,
    /// The number of bytes of the body that were not taken from the input.
    unread: usize,
    keep_alive: bool,
}

struct Answered {
    /// The session and the exchange to which the written answer is reported.
    exchange: Option<(SessionKey, ExchangeId)>,
    keep_alive: bool,
}

/// Returns the number of the connection that carries an exchange or a channel.
pub(crate) fn number_of(id: u64) -> usize {
    (id >> 32) as usize
}

/// Returns the result, or `None` if the socket is not ready.
pub(crate) fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn input(server: &mut Server, now: Instant, key: SessionKey, input: Input) {
    if let Some(mut session) = server.session_mut(key) {
        session.handle_input(now, input);
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, number: usize) -> Self {
        Self {
            stream: Watched::new(stream),
            number: (number as u64) << 32,
            input: Vec::new(),
            output: Vec::new(),
            stage: Stage::Idle,
        }
    }

    /// Does what is possible without waiting, up to a limit. Returns whether another turn is due.
    ///
    /// # Errors
    /// Returns an error if the connection has ended.
    pub(crate) fn turn(&mut self, server: &mut Server, now: Instant) -> io::Result<bool> {
        if !self.write(server, now)? {
            return Ok(false);
        }
        if let Stage::Channel(channel) = &mut self.stage {
            return match channel.turn(&mut self.stream, server, now)? {
                Turn::Again => Ok(true),
                Turn::Wait => Ok(false),
                Turn::Closed => self.end(),
            };
        }
        let progress = self.receive()?;
        match self.stage {
            Stage::Idle => self.serve_request(server, now),
            Stage::Asked(_) => self.take_body(server, now),
            Stage::Ending => self.input.clear(),
            Stage::Answered(_) | Stage::Channel(_) => (),
        }
        Ok(progress || !self.output.is_empty())
    }

    /// Reports to the session that the connection is lost.
    pub(crate) fn lost(&self, server: &mut Server, now: Instant) {
        match &self.stage {
            Stage::Asked(Asked { key, exchange, .. })
            | Stage::Answered(Answered { exchange: Some((key, exchange)), .. }) => {
                input(server, now, *key, Input::ExchangeLost { exchange: *exchange });
            }
            Stage::Channel(channel) => {
                let end = Input::ChannelClosed { channel: channel.id(), end: ChannelEnd::Lost };
                input(server, now, channel.key(), end);
            }
            Stage::Idle | Stage::Answered(_) | Stage::Ending => (),
        }
    }

    /// Handles the answer of a session.
    pub(crate) fn answer(&mut self, answered: ExchangeId, response: Response) {
        let Stage::Asked(Asked { key, exchange, unread, keep_alive, .. }) = self.stage else { return };
        if exchange == answered {
            // An unread body cannot be distinguished from another request.
            self.reply(&response.into_reply(), Some((key, exchange)), keep_alive && unread == 0);
        }
    }

    /// Closes the channel for the session.
    pub(crate) fn close_channel(&mut self) {
        if let Stage::Channel(channel) = &mut self.stage {
            channel.close();
        }
    }

    /// Writes as much of the output as the socket takes. Returns whether it took everything.
    fn write(&mut self, server: &mut Server, now: Instant) -> io::Result<bool> {
        while !self.output.is_empty() {
            let Some(len) = ready(self.stream.write(&self.output))? else { return Ok(false) };
            if len == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.output.drain(..len);
            if let (true, Some(key)) = (self.stream.take_unblocked(), self.key()) {
                input(server, now, key, Input::Unblocked);
            }
        }
        if let Stage::Answered(Answered { exchange, keep_alive }) = self.stage {
            if let Some((key, exchange)) = exchange {
                input(server, now, key, Input::AnswerWritten { exchange });
            }
            if keep_alive {
                self.stage = Stage::Idle;
            } else {
                self.end()?;
            }
        }
        Ok(true)
    }

    /// Returns the session for which something is written.
    fn key(&self) -> Option<SessionKey> {
        match &self.stage {
            Stage::Answered(Answered { exchange, .. }) => exchange.map(|(key, _)| key),
            Stage::Channel(channel) => Some(channel.key()),
            Stage::Idle | Stage::Asked(_) | Stage::Ending => None,
        }
    }

    /// Ends our side of the connection.
    fn end(&mut self) -> io::Result<bool> {
        self.stream.get_ref().shutdown(Shutdown::Write)?;
        self.stage = Stage::Ending;
        Ok(true)
    }

    /// Reads a chunk, also while an answer is awaited, because the client may leave. Returns whether bytes arrived.
    fn receive(&mut self) -> io::Result<bool> {
        let body = match &self.stage {
            Stage::Asked(asked) if asked.awaits_body => asked.unread,
            _ => 0,
        };
        // Pipelined requests wait in the socket.
        let room = (MAX_HEAD + body).saturating_sub(self.input.len());
        let mut chunk = [0; 16 * 1024];
        let room = room.min(chunk.len());
        if room == 0 {
            return Ok(false);
        }
        match ready(self.stream.read(&mut chunk[..room]))? {
            Some(0) => Err(ErrorKind::UnexpectedEof.into()),
            Some(len) => {
                self.input.extend_from_slice(&chunk[..len]);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Passes a request to its session once its head is complete.
    fn serve_request(&mut self, server: &mut Server, now: Instant) {
        let head = match Head::parse(&self.input) {
            Ok(None) => return,
            Ok(Some((head, len))) => {
                self.input.drain(..len);
                head
            }
            Err(reply) => return self.reply(&reply, None, false),
        };
        self.number += 1;
        match admit(server, now, &head, self.number) {
            Ok(Admitted::Exchange { key, exchange }) => {
                let awaits_body = head.method() == Method::Post;
                let (unread, keep_alive) = (head.body_len, head.keep_alive);
                self.stage = Stage::Asked(Asked { key, exchange, awaits_body, unread, keep_alive });
                self.take_body(server, now);
            }
            Ok(Admitted::Channel { key, channel, accept }) => {
                let _ = write_response(&mut self.output, &accept); // Writing to memory does not fail.
                // Bytes after the request are the beginning of the first frame.
                let input = mem::take(&mut self.input);
                let max_payload = server.config().max_payload;
                self.stage = Stage::Channel(Box::new(Channel::new(key, channel, input, max_payload)));
            }
            Err(reply) => self.reply(&reply, None, head.keep_alive && head.body_len == 0),
        }
    }

    /// Passes the body of a POST to the session once it is complete.
    fn take_body(&mut self, server: &mut Server, now: Instant) {
        let max = server.config().max_body();
        let Stage::Asked(asked) = &mut self.stage else { return };
        let too_large = asked.unread > max;
        if !asked.awaits_body || !(too_large || asked.unread <= self.input.len()) {
            return;
        }
        asked.awaits_body = false;
        let body = if too_large {
            Err(BodyError::TooLarge)
        } else {
            server.config().checked_body(self.input.drain(..mem::take(&mut asked.unread)).collect())
        };
        input(server, now, asked.key, Input::PostBody { exchange: asked.exchange, body });
    }

    fn reply(&mut self, reply: &Reply, exchange: Option<(SessionKey, ExchangeId)>, keep_alive: bool) {
        let keep_alive = keep_alive && !http::ends_connection(reply);
        self.output = http::encode(reply, keep_alive);
        self.stage = Stage::Answered(Answered { exchange, keep_alive });
    }
}
