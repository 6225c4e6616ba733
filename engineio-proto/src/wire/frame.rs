//! One message of a message channel.

use core::hash::{Hash, Hasher};

use bytes::Bytes;

use crate::wire::packet::PacketKind;
use crate::wire::text::Text;

/// One complete message of a message channel, as a WebSocket carries it.
///
/// In a text frame to send, the first byte, the packet type, is separate from the data. An encoder can write `head` and
/// `data` into its output buffer one after the other, and the data need not be copied to put one byte before it. A
/// received frame may be cut in the same way. Frames are equal if they carry the same, wherever they are cut.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A text frame: `head` immediately followed by `data`.
    Text {
        /// The text before the data: empty, or the packet type.
        head: &'static str,
        /// The text.
        data: Text,
    },
    /// A binary frame.
    Binary(Bytes),
}

impl Frame {
    /// Creates a text frame as it was received.
    pub const fn received(data: Text) -> Self {
        Self::Text { head: "", data }
    }

    /// Creates a text frame as it was received, from a copy of its text. The copy is the data of the packet: the packet
    /// type becomes the head, so that nothing need be cut off later.
    pub fn copy_text(text: &str) -> Self {
        let (head, data) = match text.as_bytes().first() {
            Some(b'b') => ("b", text.get(1..)),
            Some(&byte) => (PacketKind::from_byte(byte).map_or("", PacketKind::as_str), text.get(1..)),
            None => ("", None),
        };
        let data = if head.is_empty() { text } else { data.unwrap_or_default() };
        Self::Text { head, data: Text::from(data) }
    }

    /// Returns the length of the frame's payload, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text { head, data } => head.len() + data.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Returns whether the frame's payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Binary(bytes), Self::Binary(others)) => bytes == others,
            (Self::Text { head, data }, Self::Text { head: other_head, data: other_data }) => {
                head.bytes().chain(data.bytes()).eq(other_head.bytes().chain(other_data.bytes()))
            }
            _ => false,
        }
    }
}

impl Eq for Frame {}

impl Hash for Frame {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Text { head, data } => {
                state.write_u8(0);
                head.bytes().chain(data.bytes()).for_each(|byte| state.write_u8(byte));
            }
            Self::Binary(bytes) => {
                state.write_u8(1);
                bytes.hash(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_frame_is_cut_makes_no_difference() {
        for text in ["", "4", "4hello", "b", "bAQID", "2probe", "7", "x4", "h\u{e9}", "\u{1f980}"] {
            let (whole, cut) = (Frame::received(text.into()), Frame::copy_text(text));
            assert_eq!((&cut, cut.len()), (&whole, text.len()));
            assert_ne!(cut, Frame::Binary(Bytes::copy_from_slice(text.as_bytes())));
            assert_ne!(cut, Frame::copy_text(&alloc::format!("{text}4")));
        }
        assert!(matches!(Frame::copy_text("4hello"), Frame::Text { head: "4", data } if data == "hello"));
        assert!(matches!(Frame::copy_text("hello"), Frame::Text { head: "", data } if data == "hello"));
    }
}
