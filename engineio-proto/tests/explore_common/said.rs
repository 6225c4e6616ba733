//! Who says what.

use bytes::Bytes;
use engineio_proto::{Frame, Message};

use super::wire::{Heard, base64_encode};

/// A message, by who sent it and as which of theirs. Odd ones are text, even ones are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Said(pub u8, pub u8);

impl Said {
    /// What it counts for in a buffer.
    pub const COST: usize = 2 + Message::OVERHEAD;

    fn is_text(self) -> bool {
        self.1 % 2 == 1
    }

    fn bytes(self) -> [u8; 2] {
        [self.0, b'0' + self.1]
    }

    pub fn message(self) -> Message {
        match self.bytes() {
            bytes if self.is_text() => Message::from(std::str::from_utf8(&bytes).unwrap()),
            bytes => Message::from(bytes.to_vec()),
        }
    }

    pub fn heard(self) -> Heard {
        Heard::new(if self.is_text() { b'4' } else { b'b' }, self.bytes())
    }

    /// The packet in the form that is always text.
    pub fn text(self) -> String {
        match self.bytes() {
            bytes if self.is_text() => format!("4{}", std::str::from_utf8(&bytes).unwrap()),
            bytes => format!("b{}", base64_encode(&bytes)),
        }
    }

    /// The frame of a WebSocket: bytes as they are.
    pub fn frame(self) -> Frame {
        if self.is_text() {
            Frame::received(self.text().as_str().into())
        } else {
            Frame::Binary(Bytes::copy_from_slice(&self.bytes()))
        }
    }
}
