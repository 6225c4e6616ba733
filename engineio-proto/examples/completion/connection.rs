//! A connection: requests, bodies, answers. Each turn does what is possible now, and submits the next operations.

use std::io;
use std::mem;

use bytes::{Bytes, BytesMut};
use compio::net::TcpStream;
use engineio_proto::http::{Method, Reply, Response};
use engineio_proto::server::{BodyError, Input, SessionKey};
use engineio_proto::{ChannelEnd, ExchangeId, Instant, Server};
use tungstenite::handshake::server::write_response;

use crate::admission::{Admitted, admit};
use crate::channel::Channel;
use crate::http::{self, Head, MAX_HEAD};
use crate::system::{Job, System, Written};

pub(crate) struct Connection {
    stream: TcpStream,
    /// The number of the last exchange or channel. Its upper half is the number of the connection.
    number: u64,
    buffers: Buffers,
    stage: Stage,
    /// The operations under way.
    reading: Option<Job>,
    writing: Option<Job>,
    /// Bytes that the last write did not take.
    rest: Bytes,
}

/// The buffers between the connection and the kernel.
#[derive(Default)]
pub(crate) struct Buffers {
    /// Bytes that arrived and were not used yet.
    pub(crate) input: BytesMut,
    /// Bytes to write that were not submitted yet.
    pub(crate) output: Vec<u8>,
}

/// A connection carries one request after the other, or becomes a channel.
enum Stage {
    /// The next request has not arrived.
    Idle,
    /// The session has not answered yet.
    Asked(Asked),
    /// The answer is being written.
    Answered(Answered),
    Channel(Box<Channel>),
    /// Our side ends after the output is written. Further input is read and dropped: closing a socket with unread bytes
    /// resets the connection, and the client could lose the last answer.
    Ending {
        is_shut_down: bool,
    },
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
pub(crate) fn number_of(id: u64) -> u64 {
    id >> 32
}

pub(crate) fn input(server: &mut Server, now: Instant, key: SessionKey, input: Input) {
    if let Some(mut session) = server.session_mut(key) {
        session.handle_input(now, input);
    }
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, number: u64) -> Self {
        Self {
            stream,
            number: number << 32,
            buffers: Buffers::default(),
            stage: Stage::Idle,
            reading: None,
            writing: None,
            rest: Bytes::new(),
        }
    }

    /// Handles bytes that arrived. Returns whether the connection continues.
    pub(crate) fn read(&mut self, bytes: io::Result<Vec<u8>>) -> bool {
        self.reading = None;
        match bytes {
            Ok(bytes) if !bytes.is_empty() => self.buffers.input.extend_from_slice(&bytes),
            // The client has left. If an answer is being written, the client may still have taken it, so the result of
            // the write is awaited. The next read reports the end again.
            _ => return self.writing.is_some(),
        }
        true
    }

    /// Handles the result of a write. Returns whether the connection continues.
    pub(crate) fn wrote(&mut self, server: &mut Server, now: Instant, written: Written) -> bool {
        self.writing = None;
        if let (true, Some(key)) = (written.unblocked, self.key()) {
            input(server, now, key, Input::Unblocked);
        }
        match written.rest {
            Ok(rest) => self.rest = rest,
            Err(_) => return false,
        }
        if self.rest.is_empty() {
            self.all_is_written(server, now);
        }
        true
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
            Stage::Idle | Stage::Answered(_) | Stage::Ending { .. } => (),
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
            channel.close(&mut self.buffers);
        }
    }

    /// Does what is possible now, and submits the next operations.
    pub(crate) fn turn(&mut self, server: &mut Server, now: Instant, system: &System) {
        match &mut self.stage {
            Stage::Idle => self.serve_request(server, now),
            Stage::Asked(_) => self.take_body(server, now),
            Stage::Channel(channel) => {
                if !channel.turn(&mut self.buffers, server, now) && self.is_written() {
                    self.stage = Stage::Ending { is_shut_down: false };
                }
            }
            Stage::Ending { .. } => self.buffers.input.clear(),
            Stage::Answered(_) => (),
        }
        let number = number_of(self.number);
        if self.writing.is_none() {
            if !self.rest.is_empty() {
                let rest = mem::take(&mut self.rest);
                self.writing = Some(system.write(number, self.stream.clone(), rest, true));
            } else if !self.buffers.output.is_empty() {
                let output = mem::take(&mut self.buffers.output).into();
                self.writing = Some(system.write(number, self.stream.clone(), output, false));
                if let Stage::Channel(channel) = &mut self.stage {
                    channel.given_to_the_system();
                }
            } else if let Stage::Ending { is_shut_down: is_shut_down @ false } = &mut self.stage {
                *is_shut_down = true;
                self.writing = Some(system.shut_down(number, self.stream.clone()));
            }
        }
        // Also while an answer is awaited, because the client may leave.
        if self.reading.is_none() && self.writing.is_none() && self.has_room() {
            self.reading = Some(system.read(number, self.stream.clone()));
        }
    }

    /// Returns whether nothing is left to write.
    fn is_written(&self) -> bool {
        self.writing.is_none() && self.rest.is_empty() && self.buffers.output.is_empty()
    }

    /// Handles that everything that was submitted is written.
    fn all_is_written(&mut self, server: &mut Server, now: Instant) {
        match &mut self.stage {
            Stage::Answered(Answered { exchange, keep_alive }) => {
                if let Some((key, exchange)) = *exchange {
                    input(server, now, key, Input::AnswerWritten { exchange });
                }
                self.stage = if *keep_alive { Stage::Idle } else { Stage::Ending { is_shut_down: false } };
            }
            Stage::Channel(channel) => channel.written(server, now),
            Stage::Idle | Stage::Asked(_) | Stage::Ending { .. } => (),
        }
    }

    /// Returns the session for which something is written.
    fn key(&self) -> Option<SessionKey> {
        match &self.stage {
            Stage::Answered(Answered { exchange, .. }) => exchange.map(|(key, _)| key),
            Stage::Channel(channel) => Some(channel.key()),
            Stage::Idle | Stage::Asked(_) | Stage::Ending { .. } => None,
        }
    }

    /// Returns whether more may be read. Pipelined requests wait in the socket.
    fn has_room(&self) -> bool {
        let body = match &self.stage {
            Stage::Asked(asked) if asked.awaits_body => asked.unread,
            _ => 0,
        };
        self.buffers.input.len() < MAX_HEAD + body
    }

    /// Passes a request to its session once its head is complete.
    fn serve_request(&mut self, server: &mut Server, now: Instant) {
        let head = match Head::parse(&self.buffers.input) {
            Ok(None) => return,
            Ok(Some((head, len))) => {
                drop(self.buffers.input.split_to(len));
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
                let _ = write_response(&mut self.buffers.output, &accept); // Writing to memory does not fail.
                let max_payload = server.config().max_payload;
                self.stage = Stage::Channel(Box::new(Channel::new(key, channel, max_payload)));
            }
            Err(reply) => self.reply(&reply, None, head.keep_alive && head.body_len == 0),
        }
    }

    /// Passes the body of a POST to the session once it is complete.
    fn take_body(&mut self, server: &mut Server, now: Instant) {
        let max = server.config().max_body();
        let Stage::Asked(asked) = &mut self.stage else { return };
        let too_large = asked.unread > max;
        if !asked.awaits_body || !(too_large || asked.unread <= self.buffers.input.len()) {
            return;
        }
        asked.awaits_body = false;
        let body = if too_large {
            Err(BodyError::TooLarge)
        } else {
            server.config().checked_body(self.buffers.input.split_to(mem::take(&mut asked.unread)).freeze())
        };
        input(server, now, asked.key, Input::PostBody { exchange: asked.exchange, body });
    }

    fn reply(&mut self, reply: &Reply, exchange: Option<(SessionKey, ExchangeId)>, keep_alive: bool) {
        let keep_alive = keep_alive && !http::ends_connection(reply);
        self.buffers.output = http::encode(reply, keep_alive);
        self.stage = Stage::Answered(Answered { exchange, keep_alive });
    }
}
