//! Messages of the application.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::text::Text;

/// A message of the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text.
    Text(Text),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// The overhead of a queued message, in bytes: the memory that it takes in a queue beside its data.
    ///
    /// Without it, empty messages could make a queue with a limit in bytes grow without bound.
    pub const OVERHEAD: usize = 48;

    /// Creates a text message from a static string, without allocation.
    pub const fn from_static(text: &'static str) -> Self {
        Self::Text(Text::from_static(text))
    }

    /// Returns the length of the data, in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Returns whether there is no data. An empty message is a valid message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size that the message counts for in a queue with a limit: its data plus [`Message::OVERHEAD`].
    pub fn cost(&self) -> usize {
        self.len().saturating_add(Self::OVERHEAD)
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// Copies the text. For literals, [`Message::from_static`] does not copy.
impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}
