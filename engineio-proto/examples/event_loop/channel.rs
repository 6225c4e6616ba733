//! A connection that has become a WebSocket.

use std::io;

use engineio_proto::server::{Input, SessionKey};
use engineio_proto::{ChannelId, Instant, Server};
use mio::net::TcpStream;
use tungstenite::Error;
use tungstenite::protocol::{CloseFrame, Role, WebSocketContext};

use crate::connection::{input, ready};
use crate::watched::Watched;
use crate::websocket::{self, Received, received};

/// Frames are pulled while fewer bytes than this wait to be written, and one frame more. Frames that are not pulled
/// count against the session's send buffer, which slows its application down.
const WRITE_AHEAD: usize = 32 * 1024;

pub(crate) struct Channel {
    key: SessionKey,
    channel: ChannelId,
    /// The library. It keeps bytes that the socket has not taken yet.
    socket: WebSocketContext,
    /// The number of messages that had been handed over when the last frame was pulled; `None` once that frame is
    /// written.
    pulled: Option<u64>,
    /// The session or the client has closed the channel: pulled frames are written, then a close frame.
    closing: bool,
    /// The content of the close frame, if the client violated the protocol.
    blame: Option<CloseFrame>,
}

/// The result of a turn.
pub(crate) enum Turn {
    /// There is more to do.
    Again,
    /// Nothing can be done until the socket is ready, or the session has frames.
    Wait,
    /// Everything is written, including the close frame.
    Closed,
}

impl Channel {
    pub(crate) fn new(key: SessionKey, channel: ChannelId, received: Vec<u8>, max_payload: usize) -> Self {
        let config = websocket::config(max_payload);
        let socket = WebSocketContext::from_partially_read(received, Role::Server, Some(config));
        Self { key, channel, socket, pulled: None, closing: false, blame: None }
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.channel
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.key
    }

    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Writes frames, then reads one message. A client that does not read is not read from either.
    pub(crate) fn turn(
        &mut self,
        stream: &mut Watched<TcpStream>,
        server: &mut Server,
        now: Instant,
    ) -> io::Result<Turn> {
        loop {
            if !self.flush(stream, server, now)? {
                return Ok(Turn::Wait);
            }
            if self.closing {
                let closed = self.socket.close(stream, self.blame.take());
                return Ok(if is_done(closed)? { Turn::Closed } else { Turn::Wait });
            }
            if !self.pull(stream, server, now)? {
                return self.read(stream, server, now);
            }
        }
    }

    /// Writes what was pulled, and reports it to the session. Returns whether the socket took everything.
    fn flush(&mut self, stream: &mut Watched<TcpStream>, server: &mut Server, now: Instant) -> io::Result<bool> {
        let flushed = is_done(self.socket.flush(stream));
        if stream.take_unblocked() {
            input(server, now, self.key, Input::Unblocked);
        }
        if !flushed? {
            return Ok(false);
        }
        if let Some(messages) = self.pulled.take() {
            input(server, now, self.key, Input::ChannelWritten { channel: self.channel, messages });
        }
        Ok(true)
    }

    /// Pulls frames while there is room. Returns whether there were any.
    fn pull(&mut self, stream: &mut Watched<TcpStream>, server: &mut Server, now: Instant) -> io::Result<bool> {
        let Some(mut session) = server.session_mut(self.key) else { return Ok(false) };
        let mut pulled = 0;
        while pulled < WRITE_AHEAD {
            let Some(frame) = session.next_frame(now, self.channel) else { break };
            pulled += frame.len();
            self.pulled = Some(session.stats().messages_sent);
            // The library keeps what the socket does not take.
            is_done(self.socket.write(stream, websocket::encode(frame)))?;
        }
        Ok(self.pulled.is_some())
    }

    fn read(&mut self, stream: &mut Watched<TcpStream>, server: &mut Server, now: Instant) -> io::Result<Turn> {
        let channel = self.channel;
        if !server.session(self.key).is_some_and(|session| session.wants_frames(channel)) {
            return Ok(Turn::Wait);
        }
        let received = match received(self.socket.read(stream)) {
            Received::Frame(frame) => Input::ChannelFrame { channel, frame },
            Received::Control => return Ok(Turn::Again), // The next flush answers a ping.
            Received::Nothing => return Ok(Turn::Wait),
            Received::End { end, blame } => {
                self.blame = blame;
                self.closing = true;
                Input::ChannelClosed { channel, end }
            }
        };
        input(server, now, self.key, received);
        Ok(Turn::Again)
    }
}

/// Returns whether the library has finished; otherwise the next flush continues.
fn is_done(result: Result<(), Error>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        // Both sides have closed the WebSocket.
        Err(Error::ConnectionClosed) => Ok(true),
        Err(Error::Io(error)) => ready(Err(error)).map(|done: Option<()>| done.is_some()),
        Err(error) => Err(io::Error::other(error)),
    }
}
