//! The WebSocket codec: bytes in, frames out, and back. No I/O.
//!
//! It is `tungstenite` over buffers in memory, and nothing outside of this file knows that. While nothing is under way
//! no buffer is kept: the context, and whatever it holds, exists only from the first byte of a message to its last.

use std::io::{self, Cursor, Read, Write};

use bytes::Bytes;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Text};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

/// Messages below this are copied out of the read buffer, so that a small message does not hold on to a large buffer.
const COPY_BELOW: usize = 1024;
const READ_BUFFER: usize = 4096;
/// The longest frame header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// The longest payload of a control frame. The limit is for messages.
const MAX_CONTROL: usize = 125;

/// Fragments of one message. The library that decodes them bounds only their bytes, and an empty fragment has none. The
/// reference's library has the same bound.
const MAX_FRAGMENTS: u32 = 16_384;

/// One side of one WebSocket.
#[derive(Debug)]
pub(crate) struct Codec {
    role: Role,
    max_message: usize,
    /// Received and not decoded.
    input: Vec<u8>,
    consumed: usize,
    /// Something was received and not searched for messages yet. It may be in the context already.
    unsearched: bool,
    boundary: Boundary,
    context: Option<Box<WebSocketContext>>,
    /// A close frame was sent, or the peer's was received.
    closing: bool,
    /// Nothing that the peer still sends matters: it said goodbye, or makes no sense.
    over: bool,
    /// What the peer said in its close frame.
    said: Option<Box<Details>>,
    /// A client hides what it sends.
    masks: Option<Box<Masks>>,
}

impl Codec {
    /// The server's side.
    pub(crate) fn server(max_message: usize) -> Self {
        Self::new(Role::Server, max_message, None)
    }

    /// The client's side.
    pub(crate) fn client(max_message: usize) -> Self {
        Self::new(Role::Client, max_message, Some(Box::default()))
    }

    fn new(role: Role, max_message: usize, masks: Option<Box<Masks>>) -> Self {
        Self {
            role,
            max_message,
            input: Vec::new(),
            consumed: 0,
            unsearched: false,
            boundary: Boundary::new(),
            context: None,
            closing: false,
            over: false,
            said: None,
            masks,
        }
    }

    /// Takes bytes from the connection.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        self.boundary.follow(bytes);
        self.input.extend_from_slice(bytes);
        self.unsearched |= !bytes.is_empty();
    }

    /// The next whole message, or how the channel ended; `None` when more bytes are needed. Answers to the peer's pings
    /// and to its close frame are appended to `output`.
    pub(crate) fn next(&mut self, output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        loop {
            if !self.unsearched {
                return None;
            }
            let result = self.with_context(output, |context, pipe| context.read(pipe));
            return match result {
                Ok(Message::Text(text)) => Some(Ok(Frame::received(to_text(text)))),
                Ok(Message::Binary(bytes)) => Some(Ok(Frame::Binary(unshare(bytes)))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(close)) => {
                    // The answer is written by the flush that this does.
                    let _ = self.with_context(output, |context, pipe| context.flush(pipe));
                    self.closing = true;
                    self.said = close.as_ref().map(|close| {
                        let (code, reason) = (close.code.into(), close.reason.as_str().to_owned());
                        Box::new(Details::CloseFrame { code, reason })
                    });
                    self.end(if is_violation(close.as_ref()) { ChannelEnd::Violation } else { ChannelEnd::Closed })
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.boundary.fragments > MAX_FRAGMENTS {
                        self.refuse(CloseCode::Policy, output);
                        return self.end(ChannelEnd::Violation);
                    }
                    self.release();
                    None
                }
                Err(error) => {
                    let end = self.fail(&error, output);
                    self.end(end)
                }
            };
        }
    }

    /// Appends a frame.
    pub(crate) fn send(&mut self, frame: &Frame, output: &mut Vec<u8>) {
        let (opcode, head, data) = match frame {
            Frame::Text { head, data } => (Data::Text, *head, data.as_bytes()),
            Frame::Binary(bytes) => (Data::Binary, "", bytes),
        };
        output.reserve(head.len() + data.len() + MAX_HEADER);
        let mask = self.masks.as_mut().map(|masks| masks.next());
        let header = FrameHeader { opcode: OpCode::Data(opcode), mask, ..FrameHeader::default() };
        // A vector takes everything.
        let _ = header.format((head.len() + data.len()) as u64, output);
        let start = output.len();
        output.extend_from_slice(head.as_bytes());
        output.extend_from_slice(data);
        if let Some(mask) = mask {
            apply(mask, output.get_mut(start..).unwrap_or_default());
        }
    }

    /// What the peer said in its close frame, if that came.
    pub(crate) fn close_frame(&self) -> Option<Details> {
        self.said.as_deref().cloned()
    }

    /// Appends a close frame without a status, unless the peer was the first.
    pub(crate) fn close(&mut self, output: &mut Vec<u8>) {
        if !self.closing {
            self.closing = true;
            let _ = self.with_context(output, |context, pipe| context.close(pipe, None));
        }
    }

    /// Whether there may be more messages in what was received.
    pub(crate) const fn has_input(&self) -> bool {
        self.unsearched
    }

    /// Whether nothing that the peer still sends matters.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes bytes after [`Codec::close`]; only the peer's own close frame matters among them. Whether it came.
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

    /// Whether any memory is held for a message that is under way.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.context.is_none() && self.input.capacity() == 0
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
                .max_frame_size(Some(max.max(MAX_CONTROL)));
            Box::new(WebSocketContext::new(role, Some(config)))
        });
        let mut pipe = Pipe { input: self.input.get(self.consumed..).unwrap_or_default(), output };
        let result = work(context, &mut pipe);
        self.consumed = self.input.len() - pipe.input.len();
        result
    }

    fn end(&mut self, end: ChannelEnd) -> Option<Result<Frame, ChannelEnd>> {
        self.over = true;
        self.unsearched = false;
        self.input = Vec::new();
        self.consumed = 0;
        Some(Err(end))
    }

    /// Everything was decoded. Between two messages nothing is worth keeping.
    fn release(&mut self) {
        self.unsearched = false;
        self.input = Vec::new();
        self.consumed = 0;
        if self.boundary.is_between_messages() && !self.closing {
            self.context = None;
        }
    }

    /// The peer broke a rule: it is told which, and the channel is over.
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

    /// Appends a close frame that says which rule the peer broke.
    fn refuse(&mut self, code: CloseCode, output: &mut Vec<u8>) {
        if !self.closing {
            self.closing = true;
            let frame = CloseFrame { code, reason: Utf8Bytes::default() };
            let _ = self.with_context(output, |context, pipe| context.close(pipe, Some(frame)));
        }
    }
}

/// Whether a close frame had a status that no peer may send: the library then puts this one in its place.
fn is_violation(close: Option<&CloseFrame>) -> bool {
    close.is_some_and(|close| close.code == CloseCode::Protocol && close.reason == "Protocol violation")
}

/// Random numbers that make frames of a client look like nothing that a proxy knows: RFC 6455, section 10.3.
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
            // A system without random numbers sends frames that are merely hidden less well.
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

fn to_text(text: Utf8Bytes) -> Text {
    // It was checked before, so nothing is replaced.
    Text::from_utf8_lossy(unshare(text.into()))
}

fn unshare(bytes: Bytes) -> Bytes {
    if bytes.len() < COPY_BELOW { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// A stream in memory: reads what was received, writes to what is to be sent.
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

/// Follows the frames in a stream of bytes, to know when it stands between two messages.
#[derive(Debug)]
struct Boundary {
    header: [u8; MAX_HEADER],
    have: usize,
    /// Bytes of the current frame's payload that are still to come.
    remaining: u64,
    /// Fragments of a message whose last one has not come.
    fragments: u32,
    /// The stream makes no sense any more.
    lost: bool,
}

impl Boundary {
    const fn new() -> Self {
        Self { header: [0; MAX_HEADER], have: 0, remaining: 0, fragments: 0, lost: false }
    }

    fn is_between_messages(&self) -> bool {
        self.have == 0 && self.remaining == 0 && self.fragments == 0 && !self.lost
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.remaining > 0 {
                let skip = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
                self.remaining -= skip as u64;
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            let (&byte, rest) = bytes.split_first().unwrap_or((&0, &[]));
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.have) {
                *place = byte;
            }
            self.have += 1;
            match FrameHeader::parse(&mut Cursor::new(self.header.get(..self.have).unwrap_or_default())) {
                Ok(Some((header, len))) => {
                    self.have = 0;
                    self.remaining = len;
                    if !matches!(header.opcode, OpCode::Control(Control::Close | Control::Ping | Control::Pong)) {
                        self.fragments = if header.is_final { 0 } else { self.fragments.saturating_add(1) };
                    }
                }
                Ok(None) => self.lost = self.have > MAX_HEADER,
                Err(_) => self.lost = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
