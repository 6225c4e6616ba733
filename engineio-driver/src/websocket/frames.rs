//! The WebSocket codec: converts between bytes and frames. No I/O.
//!
//! It runs `tungstenite` over buffers in memory; no other file depends on that. It gets complete frames only, because it
//! reserves memory for what a header announces, and checks most rules at the end of a frame: `headers` checks them before.
//! While no message is under way, no buffer is kept: the context and its contents exist only from the end of a message's
//! first frame to that of its last.

use std::io::{self, Read, Write};

use bytes::Bytes;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Text};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

use super::headers::{Broken, Headers, MAX_CONTROL};

const READ_BUFFER: usize = 4096;
/// A message that is smaller than the read buffer, or than half of a frame that was read into the same buffer, is copied.
/// Otherwise it would keep the whole buffer alive, which has about twice the size of the largest frame.
const COPY_BELOW: usize = READ_BUFFER;
/// The maximum length of a frame header that is sent: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// One side of a WebSocket.
#[derive(Debug)]
pub(crate) struct Codec {
    role: Role,
    max_message: usize,
    /// Bytes that were received and not decoded.
    input: Vec<u8>,
    consumed: usize,
    /// Where the last complete frame in `input` ends.
    whole: usize,
    /// Frames were received and not searched for messages yet, or a rule was broken. They may already be in the context.
    unsearched: bool,
    headers: Headers,
    context: Option<Box<WebSocketContext>>,
    /// A close frame was sent, or the peer's was received.
    closing: bool,
    /// The rest of the peer's bytes is ignored: it has sent a close frame, or broken the protocol.
    over: bool,
    /// The peer's close frame, if one arrived.
    said: Option<Box<Details>>,
    /// The masks of a client's frames.
    masks: Option<Box<Masks>>,
}

impl Codec {
    /// Creates the codec of a server.
    pub(crate) fn server(max_message: usize) -> Self {
        Self::new(Role::Server, max_message, None)
    }

    /// Creates the codec of a client.
    pub(crate) fn client(max_message: usize) -> Self {
        Self::new(Role::Client, max_message, Some(Box::default()))
    }

    fn new(role: Role, max_message: usize, masks: Option<Box<Masks>>) -> Self {
        Self {
            role,
            max_message,
            input: Vec::new(),
            consumed: 0,
            whole: 0,
            unsearched: false,
            headers: Headers::new(role == Role::Server, max_message),
            context: None,
            closing: false,
            over: false,
            said: None,
            masks,
        }
    }

    /// Appends bytes that were read from the connection.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        let before = self.input.len();
        self.input.extend_from_slice(bytes);
        if let Some(end) = self.headers.follow(bytes) {
            self.whole = before + end;
            self.unsearched = true;
        }
        self.unsearched |= self.headers.broken().is_some();
    }

    /// Returns the next complete message, or how the channel ended. Returns `None` if more bytes are needed. Answers to
    /// the peer's pings and to its close frame are appended to `output`.
    pub(crate) fn next(&mut self, output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        loop {
            if !self.unsearched {
                return None;
            }
            let result = self.with_context(output, |context, pipe| context.read(pipe));
            return match result {
                Ok(Message::Text(text)) => {
                    // The text was validated before, so nothing is replaced.
                    Some(Ok(Frame::received(Text::from_utf8_lossy(self.unshare(text.into())))))
                }
                Ok(Message::Binary(bytes)) => Some(Ok(Frame::Binary(self.unshare(bytes)))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(close)) => {
                    // This flush writes the answer.
                    let _ = self.with_context(output, |context, pipe| context.flush(pipe));
                    self.closing = true;
                    self.said = close.as_ref().map(|close| {
                        let (code, reason) = (close.code.into(), close.reason.as_str().to_owned());
                        Box::new(Details::CloseFrame { code, reason })
                    });
                    self.end(if is_violation(close.as_ref()) { ChannelEnd::Violation } else { ChannelEnd::Closed })
                }
                // All complete frames are decoded.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => match self.headers.broken() {
                    Some(broken) => {
                        let (code, end) = match broken {
                            Broken::Protocol => (CloseCode::Protocol, ChannelEnd::Violation),
                            Broken::Size => (CloseCode::Size, ChannelEnd::TooLarge),
                            Broken::Fragments => (CloseCode::Policy, ChannelEnd::Violation),
                        };
                        self.refuse(code, output);
                        self.end(end)
                    }
                    None => {
                        self.release();
                        None
                    }
                },
                Err(error) => {
                    let end = self.fail(&error, output);
                    self.end(end)
                }
            };
        }
    }

    /// Appends a frame to `output`.
    pub(crate) fn send(&mut self, frame: &Frame, output: &mut Vec<u8>) {
        let (opcode, head, data) = match frame {
            Frame::Text { head, data } => (Data::Text, *head, data.as_bytes()),
            Frame::Binary(bytes) => (Data::Binary, "", bytes),
        };
        output.reserve(head.len() + data.len() + MAX_HEADER);
        let mask = self.masks.as_mut().map(|masks| masks.next());
        let header = FrameHeader { opcode: OpCode::Data(opcode), mask, ..FrameHeader::default() };
        // Writing to a vector cannot fail.
        let _ = header.format((head.len() + data.len()) as u64, output);
        let start = output.len();
        output.extend_from_slice(head.as_bytes());
        output.extend_from_slice(data);
        if let Some(mask) = mask {
            apply(mask, output.get_mut(start..).unwrap_or_default());
        }
    }

    /// Returns the peer's close frame, if one has arrived.
    pub(crate) fn close_frame(&self) -> Option<Details> {
        self.said.as_deref().cloned()
    }

    /// Appends a close frame without a status, unless the peer has sent one first.
    pub(crate) fn close(&mut self, output: &mut Vec<u8>) {
        if !self.closing {
            self.closing = true;
            let _ = self.with_context(output, |context, pipe| context.close(pipe, None));
        }
    }

    /// Returns whether the received bytes may contain more messages.
    pub(crate) const fn has_input(&self) -> bool {
        self.unsearched
    }

    /// Returns whether the rest of the peer's bytes can be ignored.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes bytes that arrive after [`Codec::close`]. All but the peer's close frame are ignored. Returns whether it
    /// has arrived.
    pub(crate) fn receive_goodbye(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> bool {
        self.receive(bytes);
        loop {
            match self.next(output) {
                Some(Ok(_)) => (),
                Some(Err(end)) => return end == ChannelEnd::Closed,
                None => return false,
            }
        }
    }

    /// Returns whether no memory is held for a message that is under way.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.context.is_none() && self.input.capacity() == 0
    }

    /// Copies a message that is a small part of the context's buffer.
    fn unshare(&self, bytes: Bytes) -> Bytes {
        let is_small = bytes.len() < COPY_BELOW || (bytes.len() as u64) < self.headers.largest() / 2;
        if is_small { Bytes::copy_from_slice(&bytes) } else { bytes }
    }

    fn with_context<T>(
        &mut self,
        output: &mut Vec<u8>,
        work: impl FnOnce(&mut WebSocketContext, &mut Pipe<'_>) -> T,
    ) -> T {
        let (role, max) = (self.role, self.max_message);
        let context = self.context.get_or_insert_with(|| {
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(0)
                .max_message_size(Some(max))
                .max_frame_size(Some(max.max(MAX_CONTROL as usize)));
            Box::new(WebSocketContext::new(role, Some(config)))
        });
        let mut pipe = Pipe { input: self.input.get(self.consumed..self.whole).unwrap_or_default(), output };
        let result = work(context, &mut pipe);
        self.consumed = self.whole - pipe.input.len();
        result
    }

    fn end(&mut self, end: ChannelEnd) -> Option<Result<Frame, ChannelEnd>> {
        self.over = true;
        self.unsearched = false;
        self.input = Vec::new();
        (self.consumed, self.whole) = (0, 0);
        Some(Err(end))
    }

    /// Drops the buffers once all complete frames were decoded: only the beginning of the next one is kept, and between
    /// two messages nothing else.
    fn release(&mut self) {
        self.unsearched = false;
        self.input = self.input.get(self.whole..).unwrap_or_default().to_vec();
        (self.consumed, self.whole) = (0, 0);
        if !self.headers.in_message() && !self.closing {
            self.context = None;
            self.headers.forget_largest();
        }
    }

    /// Ends the channel after a protocol error of the peer, which gets a close frame with the status.
    fn fail(&mut self, error: &Error, output: &mut Vec<u8>) -> ChannelEnd {
        let (code, end) = match error {
            Error::Capacity(_) => (CloseCode::Size, ChannelEnd::TooLarge),
            Error::Utf8(_) => (CloseCode::Invalid, ChannelEnd::Violation),
            Error::ConnectionClosed | Error::AlreadyClosed => return ChannelEnd::Closed,
            Error::Protocol(ProtocolError::ReceivedAfterClosing | ProtocolError::ResetWithoutClosingHandshake) => {
                return ChannelEnd::Closed;
            }
            _ => (CloseCode::Protocol, ChannelEnd::Violation),
        };
        self.refuse(code, output);
        end
    }

    /// Appends a close frame that names the rule that the peer broke.
    fn refuse(&mut self, code: CloseCode, output: &mut Vec<u8>) {
        if !self.closing {
            self.closing = true;
            let frame = CloseFrame { code, reason: Utf8Bytes::default() };
            let _ = self.with_context(output, |context, pipe| context.close(pipe, Some(frame)));
        }
    }
}

/// Returns whether the peer's close frame had a status that must not be sent: `tungstenite` then replaces it by this
/// one.
fn is_violation(close: Option<&CloseFrame>) -> bool {
    close.is_some_and(|close| close.code == CloseCode::Protocol && close.reason == "Protocol violation")
}

/// Random masks, which make the frames of a client unpredictable for proxies: RFC 6455, section 10.3.
#[derive(Debug)]
struct Masks {
    pool: [u8; 64],
    left: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self { pool: [0; 64], left: 0 }
    }
}

impl Masks {
    fn next(&mut self) -> [u8; 4] {
        if self.left == 0 {
            // Without random numbers from the system, masks are predictable, but still valid.
            let _ = getrandom::fill(&mut self.pool);
            self.left = self.pool.len() / 4;
        }
        self.left -= 1;
        let mask = self.pool.get(self.left * 4..).and_then(|rest| rest.first_chunk());
        mask.copied().unwrap_or_default()
    }
}

fn apply(mask: [u8; 4], data: &mut [u8]) {
    let wide = u32::from_ne_bytes(mask);
    let mut chunks = data.chunks_exact_mut(4);
    for chunk in &mut chunks {
        if let Some(chunk) = chunk.first_chunk_mut::<4>() {
            *chunk = (u32::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// A stream in memory: reads from the received bytes, and writes to the output.
struct Pipe<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
