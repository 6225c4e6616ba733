//! One message of a message channel.

use bytes::Bytes;

use crate::wire::text::Text;

/// One complete message of a message channel, as a WebSocket carries it.
///
/// In a text frame to send, the first byte, the packet type, is separate from the data. An encoder can write `head` and
/// `data` into its output buffer one after the other, and the data need not be copied to put one byte before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// A text frame: `head` immediately followed by `data`.
    Text {
        /// The text before the data. Empty in a frame that was received.
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
