//! The WebSocket codec: `tungstenite` over memory, which never blocks and never fails.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};
use engineio_proto::{ChannelEnd, Frame, Text};
use tungstenite::Error;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

/// The longest payload of a control frame, for which the limit of messages is not meant.
const MAX_CONTROL: usize = 125;

pub(super) struct Codec(Box<WebSocketContext>);

impl Codec {
    pub(super) fn new(max_payload: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(Some(max_payload))
            .max_frame_size(Some(max_payload.max(MAX_CONTROL)));
        Self(Box::new(WebSocketContext::new(Role::Server, Some(config))))
    }

    /// The next message, if all of it is there. Answers to pings, and to the goodbye, are appended to `output`.
    ///
    /// # Errors
    /// How the channel ended. There is nothing to be done with it any more.
    pub(super) fn next(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<Option<Frame>, ChannelEnd> {
        let memory = &mut Memory { input, output };
        loop {
            return match self.0.read(memory) {
                Ok(Message::Text(text)) => Ok(Some(Frame::received(Text::from_utf8_lossy(text.into())))),
                Ok(Message::Binary(bytes)) => Ok(Some(Frame::Binary(bytes))),
                Ok(Message::Close(frame)) => {
                    let _ = self.0.flush(memory);
                    // A status that nobody may send is replaced by this.
                    let wrong =
                        |frame: CloseFrame| frame.code == CloseCode::Protocol && frame.reason == "Protocol violation";
                    Err(if frame.is_some_and(wrong) { ChannelEnd::Violation } else { ChannelEnd::Closed })
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Err(Error::Io(_)) => Ok(None), // The memory is empty.
                Err(error) => {
                    let (code, end) = match error {
                        Error::Capacity(_) => (CloseCode::Size, ChannelEnd::TooLarge),
                        Error::Utf8(_) => (CloseCode::Invalid, ChannelEnd::Violation),
                        _ => (CloseCode::Protocol, ChannelEnd::Violation),
                    };
                    let _ = self.0.close(memory, Some(CloseFrame { code, reason: "".into() }));
                    Err(end)
                }
            };
        }
    }

    /// Appends a message.
    pub(super) fn send(&mut self, frame: Frame, output: &mut BytesMut) {
        let message = match frame {
            Frame::Text { head, data } => Message::text([head, &*data].concat()),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        let _ = self.0.write(&mut Memory { input: &mut BytesMut::new(), output }, message);
    }

    /// Appends a goodbye without a status.
    pub(super) fn close(&mut self, output: &mut BytesMut) {
        let _ = self.0.close(&mut Memory { input: &mut BytesMut::new(), output }, None);
    }
}

/// A stream that reads what was received and writes to what is to be sent.
struct Memory<'a> {
    input: &'a mut BytesMut,
    output: &'a mut BytesMut,
}

impl Read for Memory<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.reader().read(buf)
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
