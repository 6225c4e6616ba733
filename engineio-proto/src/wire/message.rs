//! Data of the application.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::text::Text;

/// Data of the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Text.
    Text(Text),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// What a queued message counts for beside its data, in bytes: the place that it takes in a queue.
    ///
    /// Without it a limit in bytes would let empty messages grow a queue without bound.
    pub const OVERHEAD: usize = 48;

    /// A message that lives in the program itself. Allocates nothing.
    pub const fn from_static(text: &'static str) -> Self {
        Self::Text(Text::from_static(text))
    }

    /// The length of the data in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether there is no data. An empty message is a message all the same.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the message counts for in a bounded queue: its data and [`Message::OVERHEAD`].
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

/// Copies the text. For a literal, [`Message::from_static`] does not.
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
