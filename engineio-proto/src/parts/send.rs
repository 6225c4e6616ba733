//! Errors of `send`.

use crate::wire::message::Message;

/// Why a message was refused.
///
/// The error returns the message, or the messages (`T`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T = Message> {
    /// The send buffer is full. [`Event::Writable`](crate::Event::Writable) follows when there is room.
    #[error("the send buffer is full")]
    Full(T),
    /// The session is closing or closed.
    #[error("the session is closing or closed")]
    Closed(T),
    /// The text contains the character 0x1E, which separates packets on polling. Such text can be sent on a WebSocket only.
    #[error("the text contains a record separator (0x1E), which polling cannot carry")]
    Separator(T),
    /// Several messages that must stay together exceed the limit of the send buffer, so they never fit.
    #[error("the messages together exceed the limit of the send buffer")]
    TooLarge(T),
    /// The message is larger than the `maxPayload` that the server announced. Only at a client.
    #[error("the message exceeds the maxPayload of the server")]
    Oversized(T),
}

impl<T> SendError<T> {
    /// Returns the message or the messages.
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
