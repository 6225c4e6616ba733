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

/// So many bytes of frames are pulled before they are written, and one frame more. What is not pulled is counted by the
/// session, which slows its application down.
const WRITE_AHEAD: usize = 32 * 1024;

pub(crate) struct Channel {
    key: SessionKey,
    channel: ChannelId,
    /// The library. It keeps what the socket has not taken yet.
    socket: WebSocketContext,
    /// How many messages of the session had been handed over when the last frame was pulled, if that frame is not written.
    pulled: Option<u64>,
    /// The session or the client has closed the channel: what was pulled is written, then a close frame.
    closing: bool,
    /// The content of that close frame, if the client is to blame.
    blame: Option<CloseFrame>,
}

/// How a turn ended.
pub(crate) enum Turn {
    /// There is more to do.
    Again,
    /// Nothing can be done until the socket is ready, or the session has something.
    Wait,
    /// Everything is written, the close frame too.
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

    /// Frames out, then one message in: a client that takes nothing is not read either.
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

    /// Writes what was pulled. Returns whether the socket took everything; then the session is told.
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

/// Whether the library has done it; if not, it goes on with the next flush.
fn is_done(result: Result<(), Error>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        // Both sides have closed the WebSocket.
        Err(Error::ConnectionClosed) => Ok(true),
        Err(Error::Io(error)) => ready(Err(error)).map(|done: Option<()>| done.is_some()),
        Err(error) => Err(io::Error::other(error)),
    }
}
