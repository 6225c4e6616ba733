//! What goes into a session and what comes out of it.

use bytes::Bytes;

use crate::http::response::Response;
use crate::parts::event::{ChannelEnd, ChannelId, Event, ExchangeId};
use crate::wire::frame::Frame;

/// What a transport can tell a session.
///
/// Pairs of an [`Instant`](crate::Instant) and an input, with the calls of the application between them, are a
/// complete journal of a session: the same journal gives the same outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A GET arrived. It is answered at once or held until there is something to send.
    Poll {
        /// Its number.
        exchange: ExchangeId,
    },
    /// The head of a POST arrived. It claims the only place for a POST before its body is read.
    PostHead {
        /// Its number.
        exchange: ExchangeId,
        /// Its `Content-Type` is exactly `application/octet-stream`, which revision 4 refuses.
        octet_stream: bool,
    },
    /// The body of a POST arrived, or it did not.
    PostBody {
        /// The number given with its head.
        exchange: ExchangeId,
        /// The whole body.
        body: Result<Bytes, BodyError>,
    },
    /// The peer of an exchange went away before it was answered, or before it had taken the answer. An answer that was
    /// written to its end is not lost, whatever its connection does then.
    ExchangeLost {
        /// Its number.
        exchange: ExchangeId,
    },
    /// A second transport opened for this session: the probe of an upgrade.
    ChannelOpened {
        /// Its number.
        channel: ChannelId,
        /// The peer cannot take binary frames.
        base64: bool,
    },
    /// A whole message arrived on a channel.
    ChannelFrame {
        /// The number of the channel.
        channel: ChannelId,
        /// The message.
        frame: Frame,
    },
    /// A channel is gone. Of one that the session asked to close this need not be said.
    ChannelClosed {
        /// Its number.
        channel: ChannelId,
        /// How it ended.
        end: ChannelEnd,
    },
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// It is larger than [`Config::max_payload`](crate::server::Config::max_payload).
    #[error("the body is larger than the limit")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Timeout,
}

/// Everything that the I/O side must do. A new action does not compile until an adapter handles it.
///
/// Where outputs are carried out late, an exchange or a channel may be gone before; there is nothing left to do then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer an exchange.
    Respond {
        /// Its number.
        exchange: ExchangeId,
        /// The answer.
        response: Response,
    },
    /// End an exchange without an answer, dropping its connection.
    Abort {
        /// Its number.
        exchange: ExchangeId,
    },
    /// Pull frames with [`Session::next_frame`](crate::Session::next_frame) while there is room, until there are none. It
    /// is not said again before that.
    ChannelReady {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// Stop or resume reading from a channel.
    ChannelRead {
        /// The number of the channel.
        channel: ChannelId,
        /// Whether to read.
        enabled: bool,
    },
    /// Write what was pulled, then close the channel, without a status code.
    ChannelClose {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// Tell the application.
    Event(Event),
}
