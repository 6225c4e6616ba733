//! Why a message was not taken.

use crate::wire::message::Message;

/// Why a message, or several (`T`), was not taken. It comes back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T = Message> {
    /// The send buffer is full; [`Event::Writable`](crate::Event::Writable) tells when there is room.
    #[error("the send buffer is full")]
    Full(T),
    /// The session is closing or closed.
    #[error("the session is closed")]
    Closed(T),
    /// Text with the character 0x1E has no form on polling, where that character separates packets.
    #[error("text with a record separator (0x1E) cannot be sent by polling")]
    Separator(T),
    /// Several messages that must stay together count for more than the limit of the send buffer: they never fit.
    #[error("the messages do not fit into the send buffer together")]
    TooLarge(T),
    /// The server of this client takes no message of this size on the current transport.
    #[error("the message is larger than what the server takes")]
    Oversized(T),
}

impl<T> SendError<T> {
    /// What was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(back)
            | Self::Closed(back)
            | Self::Separator(back)
            | Self::TooLarge(back)
            | Self::Oversized(back) => back,
        }
    }
}
