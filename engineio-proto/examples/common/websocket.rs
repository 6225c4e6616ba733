//! Conversion between the frames of the core and the messages of the WebSocket library.

use std::io::ErrorKind;

use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, Text};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message};

/// Limits messages to `max_payload` bytes.
pub(crate) fn config(max_payload: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(max_payload))
        // This limit applies to pings too, which may have 125 bytes.
        .max_frame_size(Some(max_payload.max(125)))
        .read_buffer_size(4096)
}

pub(crate) fn encode(frame: Frame) -> Message {
    match frame {
        Frame::Text { head, data } => Message::text([head, &*data].concat()),
        Frame::Binary(bytes) => Message::Binary(bytes),
    }
}

/// The result of a read.
pub(crate) enum Received {
    Frame(Frame),
    /// A ping or a pong. The library answers pings.
    Control,
    /// No complete message yet.
    Nothing,
    /// The end. If the peer violated the protocol, the close frame has the reason.
    End {
        end: ChannelEnd,
        blame: Option<CloseFrame>,
    },
}

pub(crate) fn received(read: Result<Message, Error>) -> Received {
    let blame = |code| Some(CloseFrame { code, reason: "".into() });
    match read {
        Ok(Message::Text(text)) => Received::Frame(Frame::received(Text::from_utf8_lossy(text.into()))),
        Ok(Message::Binary(bytes)) => Received::Frame(Frame::Binary(bytes)),
        Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => Received::End { end: ChannelEnd::Closed, blame: None },
        Ok(_) => Received::Control,
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Received::Nothing,
        Err(Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
            Received::End { end: ChannelEnd::Lost, blame: None }
        }
        Err(Error::Capacity(_)) => Received::End { end: ChannelEnd::TooLarge, blame: blame(CloseCode::Size) },
        Err(_) => Received::End { end: ChannelEnd::Violation, blame: blame(CloseCode::Protocol) },
    }
}
