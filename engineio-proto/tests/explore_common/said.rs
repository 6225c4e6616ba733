//! The messages of both sides.

use bytes::Bytes;
use engineio_proto::Message;
use engineio_proto::wire::Frame;

use super::wire::{Heard, base64_encode};

/// A message, by who sent it and as which of theirs. Odd ones are text, even ones are bytes. Those of somebody with a
/// capital letter are text, and long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Said(pub u8, pub u8);

impl Said {
    /// What one that is not long counts for in a buffer.
    pub const COST: usize = 2 + Message::OVERHEAD;

    fn is_long(self) -> bool {
        self.0.is_ascii_uppercase()
    }

    fn is_text(self) -> bool {
        self.1 % 2 == 1 || self.is_long()
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.0, b'0' + self.1];
        if self.is_long() {
            bytes.extend([b'.'; 10]);
        }
        bytes
    }

    fn str(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// What it counts for in a buffer.
    pub fn cost(self) -> usize {
        if self.is_long() { Self::COST + 10 } else { Self::COST }
    }

    pub fn message(self) -> Message {
        if self.is_text() { Message::from(self.str()) } else { Message::from(self.bytes()) }
    }

    pub fn heard(self) -> Heard {
        Heard::new(if self.is_text() { b'4' } else { b'b' }, self.bytes())
    }

    /// The packet in the form that is always text.
    pub fn text(self) -> String {
        if self.is_text() { format!("4{}", self.str()) } else { format!("b{}", base64_encode(&self.bytes())) }
    }

    /// The frame of a WebSocket: bytes as they are.
    pub fn frame(self) -> Frame {
        if self.is_text() {
            Frame::received(self.text().as_str().into())
        } else {
            Frame::Binary(Bytes::from(self.bytes()))
        }
    }
}
