//! A connection that has become a WebSocket. The library reads bytes that the kernel has read from memory, and writes
//! bytes for the kernel to memory.

use std::io::{self, ErrorKind, Read, Write};

use bytes::Buf;
use engineio_proto::server::{Input, SessionKey};
use engineio_proto::{ChannelId, Instant, Server};
use tungstenite::protocol::{CloseFrame, Role, WebSocketContext};

use crate::connection::{Buffers, input};
use crate::websocket::{self, Received, received};

/// Frames are pulled while fewer bytes than this wait to be submitted, and one frame more. Frames that are not pulled
/// count against the session's send buffer, which slows its application down.
const WRITE_AHEAD: usize = 16 * 1024;

pub(crate) struct Channel {
    key: SessionKey,
    channel: ChannelId,
    socket: WebSocketContext,
    /// The number of messages that had been handed over when the last frame was pulled.
    pulled: u64,
    /// The same for the last frame that was submitted to the kernel.
    given: u64,
    /// A close frame is in the output, or is written. Nothing follows it.
    is_closed: bool,
}

impl Channel {
    pub(crate) fn new(key: SessionKey, channel: ChannelId, max_payload: usize) -> Self {
        let config = websocket::config(max_payload).write_buffer_size(0);
        let socket = WebSocketContext::new(Role::Server, Some(config));
        Self { key, channel, socket, pulled: 0, given: 0, is_closed: false }
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.channel
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.key
    }

    /// Closes the WebSocket after what was pulled, without a status code.
    pub(crate) fn close(&mut self, buffers: &mut Buffers) {
        self.close_with(buffers, None);
    }

    fn close_with(&mut self, buffers: &mut Buffers, frame: Option<CloseFrame>) {
        self.is_closed = true;
        // Writing to memory cannot fail. If the client has closed the WebSocket, this writes the answer.
        let _ = self.socket.close(buffers, frame);
    }

    /// Writes frames, then reads messages, while there is room. A client that does not read is not read from either.
    /// Returns whether the channel continues.
    pub(crate) fn turn(&mut self, buffers: &mut Buffers, server: &mut Server, now: Instant) -> bool {
        let channel = self.channel;
        while buffers.output.len() < WRITE_AHEAD && !self.is_closed {
            let Some(mut session) = server.session_mut(self.key) else { break };
            if let Some(frame) = session.next_frame(now, channel) {
                self.pulled = session.stats().messages_sent;
                let _ = self.socket.write(buffers, websocket::encode(frame)); // Memory takes everything.
                continue;
            }
            if !session.wants_frames(channel) {
                break;
            }
            match received(self.socket.read(buffers)) {
                Received::Frame(frame) => session.handle_input(now, Input::ChannelFrame { channel, frame }),
                Received::Control => (),
                Received::Nothing => break,
                Received::End { end, blame } => {
                    session.handle_input(now, Input::ChannelClosed { channel, end });
                    self.close_with(buffers, blame);
                }
            }
        }
        !self.is_closed
    }

    /// Notes that everything that was pulled is submitted.
    pub(crate) fn given_to_the_system(&mut self) {
        self.given = self.pulled;
    }

    /// Reports that everything that was submitted is written.
    pub(crate) fn written(&self, server: &mut Server, now: Instant) {
        input(server, now, self.key, Input::ChannelWritten { channel: self.channel, messages: self.given });
    }
}

impl Read for Buffers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        (&mut self.input).reader().read(buffer)
    }
}

impl Write for Buffers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
