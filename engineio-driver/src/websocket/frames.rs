//! The WebSocket codec: converts between bytes and frames. No I/O.
//!
//! Bytes are decoded where they were read, and a message is copied once, into an allocation of its size. While no message
//! is under way, the codec holds no memory.

use bytes::Bytes;
use engineio_proto::ChannelEnd;
use engineio_proto::client::Details;
use engineio_proto::wire::Frame;

use super::close;
use super::headers::{self, Broken, Header, Headers};
use super::mask::{self, Masks};
use super::payload::{self, Expected, NotText, Payload};

/// One side of a WebSocket.
#[derive(Debug)]
pub(crate) struct Codec {
    headers: Headers,
    /// Frames most often arrive whole, so this is boxed: a message then touches less memory.
    unfinished: Option<Box<Unfinished>>,
    /// A close frame was sent, or the peer's was received.
    closing: bool,
    /// The rest of the peer's bytes is ignored: it has sent a close frame, or broken the protocol.
    over: bool,
    /// The peer's close frame, if one arrived.
    said: Option<Box<Details>>,
    /// The masks of a client's frames.
    masks: Option<Box<Masks>>,
}

/// What has arrived in part.
#[derive(Debug, Default)]
struct Unfinished {
    /// The frame whose payload is arriving.
    frame: Option<Arriving>,
    /// The message whose first bytes have arrived.
    message: Option<Payload>,
    /// The payload of the control frame that is arriving.
    control: Vec<u8>,
}

/// A frame whose payload has not arrived completely.
#[derive(Debug)]
struct Arriving {
    /// The mask begins with the byte for the next byte of the payload.
    header: Header,
    left: usize,
}

impl Codec {
    /// Creates the codec of a server.
    pub(crate) fn server(max_message: usize) -> Self {
        Self::new(Headers::new(true, max_message), None)
    }

    /// Creates the codec of a client.
    pub(crate) fn client(max_message: usize) -> Self {
        Self::new(Headers::new(false, max_message), Some(Box::default()))
    }

    const fn new(headers: Headers, masks: Option<Box<Masks>>) -> Self {
        Self { headers, unfinished: None, closing: false, over: false, said: None, masks }
    }

    /// Changes the maximum number of fragments in a message.
    #[cfg(feature = "__fuzz")]
    pub(crate) const fn allow_fragments(&mut self, most: u32) {
        self.headers.allow_fragments(most);
    }

    /// Takes bytes from the input, up to the end of the next message. Returns the message, or how the channel ended.
    /// Returns `None` after it took everything, if more bytes are needed. Answers to the peer's pings and to its close
    /// frame are appended to `output`.
    pub(crate) fn decode(&mut self, input: &mut &mut [u8], output: &mut Vec<u8>) -> Option<Result<Frame, ChannelEnd>> {
        while !self.over {
            let mut frame = match self.unfinished.as_mut().and_then(|unfinished| unfinished.frame.take()) {
                Some(frame) => frame,
                None => match self.headers.next(input)? {
                    Ok(header) => Arriving { left: header.len, header },
                    Err(broken) => return Some(Err(self.break_off(broken, output))),
                },
            };
            let piece = frame.take(input);
            if frame.left > 0 && piece.is_empty() {
                self.unfinished().frame = Some(frame);
                return None;
            }
            let message = if frame.header.is_control() {
                self.control(&frame, piece, output).map(Err)
            } else {
                match self.data(&frame, piece) {
                    Ok(message) => message.map(Ok),
                    Err(NotText) => Some(Err(self.refuse(close::NOT_TEXT, output))),
                }
            };
            if frame.left == 0 {
                self.unfinished.take_if(|unfinished| unfinished.is_nothing());
            }
            if message.is_some() {
                return message;
            }
            if frame.left > 0 {
                self.unfinished().frame = Some(frame);
                return None;
            }
        }
        *input = &mut [];
        None
    }

    /// Handles a piece of a message. Returns the message if it is complete.
    fn data(&mut self, frame: &Arriving, piece: &[u8]) -> Result<Option<Frame>, NotText> {
        let Header { opcode, is_final, len, .. } = frame.header;
        let is_text = opcode == headers::TEXT;
        let is_begun = self.unfinished.as_ref().is_some_and(|unfinished| unfinished.message.is_some());
        if is_final && piece.len() == len && !is_begun {
            return payload::whole(is_text, piece).map(Some);
        }
        let message = self.unfinished().message.get_or_insert_with(|| Payload::new(is_text));
        message.push(piece, Expected { left: frame.left, is_final })?;
        if !is_final || frame.left > 0 {
            return Ok(None);
        }
        self.unfinished().message.take().map(Payload::finish).transpose()
    }

    fn unfinished(&mut self) -> &mut Unfinished {
        self.unfinished.get_or_insert_default()
    }

    /// Handles a piece of a control frame. Returns how the channel ended, if it did.
    fn control(&mut self, frame: &Arriving, piece: &[u8], output: &mut Vec<u8>) -> Option<ChannelEnd> {
        if piece.len() == frame.header.len {
            return self.whole_control(frame.header.opcode, piece, output);
        }
        self.unfinished().control.extend_from_slice(piece);
        if frame.left > 0 {
            return None;
        }
        let payload = std::mem::take(&mut self.unfinished().control);
        self.whole_control(frame.header.opcode, &payload, output)
    }

    fn whole_control(&mut self, opcode: u8, payload: &[u8], output: &mut Vec<u8>) -> Option<ChannelEnd> {
        match opcode {
            headers::CLOSE => Some(self.receive_close(payload, output)),
            headers::PING if !self.closing => {
                self.write(headers::PONG, &[payload], output);
                None
            }
            _ => None,
        }
    }

    /// Answers the peer's close frame in kind, unless it answers ours.
    fn receive_close(&mut self, payload: &[u8], output: &mut Vec<u8>) -> ChannelEnd {
        match close::read(payload) {
            Ok(said) => {
                self.said = said.map(Box::new);
                self.write_close(payload, output);
                self.end();
                ChannelEnd::Closed
            }
            Err(code) => self.refuse(code, output),
        }
    }

    fn break_off(&mut self, broken: Broken, output: &mut Vec<u8>) -> ChannelEnd {
        match broken {
            Broken::Protocol => self.refuse(close::PROTOCOL, output),
            Broken::Fragments => self.refuse(close::POLICY, output),
            Broken::Size => {
                self.refuse(close::TOO_LARGE, output);
                ChannelEnd::TooLarge
            }
        }
    }

    /// Ends the channel after the peer broke a rule, which a close frame names.
    fn refuse(&mut self, code: u16, output: &mut Vec<u8>) -> ChannelEnd {
        self.write_close(&code.to_be_bytes(), output);
        self.end();
        ChannelEnd::Violation
    }

    fn end(&mut self) {
        self.over = true;
        self.unfinished = None;
    }

    /// Appends a frame to `output`. If its data has at least `share_from` bytes, the data is returned instead: it follows
    /// immediately. A client copies all data, because it must mask them.
    #[inline]
    pub(crate) fn send(&mut self, frame: Frame, share_from: usize, output: &mut Vec<u8>) -> Option<Bytes> {
        let (opcode, head, data) = match frame {
            Frame::Text { head, data } => (headers::TEXT, head, data.into_bytes()),
            Frame::Binary(bytes) => (headers::BINARY, "", bytes),
        };
        if data.len() >= share_from && self.masks.is_none() {
            headers::write(opcode, None, head.len() + data.len(), output);
            output.extend_from_slice(head.as_bytes());
            return Some(data);
        }
        self.write(opcode, &[head.as_bytes(), &data], output);
        None
    }

    /// Appends a close frame without a status, unless one was sent or the peer has sent one first.
    pub(crate) fn close(&mut self, output: &mut Vec<u8>) {
        self.write_close(&[], output);
    }

    fn write_close(&mut self, payload: &[u8], output: &mut Vec<u8>) {
        if !self.closing {
            self.closing = true;
            self.write(headers::CLOSE, &[payload], output);
        }
    }

    /// Appends a frame whose payload is in parts.
    #[inline]
    fn write(&mut self, opcode: u8, parts: &[&[u8]], output: &mut Vec<u8>) {
        let len = parts.iter().map(|part| part.len()).sum();
        let mask = self.masks.as_mut().map(|masks| masks.next());
        headers::write(opcode, mask, len, output);
        let start = output.len();
        for part in parts {
            output.extend_from_slice(part);
        }
        if let Some(mask) = mask {
            mask::apply(mask, output.get_mut(start..).unwrap_or_default());
        }
    }

    /// Returns the peer's close frame, if one has arrived.
    pub(crate) fn close_frame(&self) -> Option<Details> {
        self.said.as_deref().cloned()
    }

    /// Returns whether the rest of the peer's bytes can be ignored.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Returns how many bytes of the current frame have not arrived.
    pub(crate) fn left(&self) -> usize {
        let unfinished = self.unfinished.as_ref();
        unfinished.and_then(|unfinished| unfinished.frame.as_ref()).map_or(0, |frame| frame.left)
    }

    /// Takes bytes that arrive after [`Codec::close`]. All but the peer's close frame are ignored. Returns whether it
    /// has arrived.
    pub(crate) fn receive_goodbye(&mut self, mut input: &mut [u8], output: &mut Vec<u8>) -> bool {
        loop {
            match self.decode(&mut input, output) {
                Some(Ok(_)) => (),
                Some(Err(end)) => return end == ChannelEnd::Closed,
                None => return false,
            }
        }
    }

    /// Returns whether nothing is under way, and no memory is held.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.unfinished.is_none() && !self.headers.is_partial()
    }

    /// Returns how much memory is held for the payloads that have arrived in part, in bytes.
    #[cfg(test)]
    fn held(&self) -> usize {
        let payloads = |unfinished: &Unfinished| {
            unfinished.control.capacity() + unfinished.message.as_ref().map_or(0, Payload::capacity)
        };
        self.unfinished.as_deref().map_or(0, payloads)
    }
}

impl Unfinished {
    fn is_nothing(&self) -> bool {
        self.frame.is_none() && self.message.is_none() && self.control.is_empty()
    }
}

impl Arriving {
    /// Takes what has arrived of the payload, and unmasks it.
    fn take<'a>(&mut self, input: &mut &'a mut [u8]) -> &'a [u8] {
        let bytes = std::mem::take(input);
        let len = self.left.min(bytes.len());
        let Some((piece, rest)) = bytes.split_at_mut_checked(len) else { return &[] };
        *input = rest;
        if self.header.mask != [0; 4] {
            mask::apply(self.header.mask, piece);
            self.header.mask = mask::behind(self.header.mask, len);
        }
        self.left -= len;
        piece
    }
}

#[cfg(test)]
mod tests;
