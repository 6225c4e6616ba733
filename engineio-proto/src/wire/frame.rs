//! One message of a message channel.

use bytes::Bytes;

use crate::wire::text::Text;

/// One whole message of a message channel, as a WebSocket carries it.
///
/// The first byte of a text frame that we send, the packet type, is kept apart from the data: an encoder writes
/// header, `head` and `data` straight into its output buffer, and nobody copies the data to put one byte before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// A text frame: `head` immediately followed by `data`.
    Text {
        /// What stands before the data. A frame that was received has everything in `data` and nothing here.
        head: &'static str,
        /// The text.
        data: Text,
    },
    /// A binary frame.
    Binary(Bytes),
}

impl Frame {
    /// A text frame as it was received.
    pub const fn received(data: Text) -> Self {
        Self::Text { head: "", data }
    }

    /// The length of the frame's payload in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text { head, data } => head.len() + data.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the frame's payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
