//! The inputs and outputs of a session.

use bytes::Bytes;

use crate::http::response::Response;
use crate::parts::event::{ChannelEnd, ChannelId, Event, ExchangeId};
use crate::parts::flow;
use crate::wire::frame::Frame;

/// An input of a session: what has happened on a transport.
///
/// The inputs with their [`Instant`](crate::Instant)s, and the calls of the application between them, are a complete
/// journal of a session: the same journal gives the same outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A GET arrived. It is answered at once, or held until there is something to send.
    Poll {
        /// Its number.
        exchange: ExchangeId,
    },
    /// The head of a POST arrived. Only one POST may be under way, from its head on.
    PostHead {
        /// Its number.
        exchange: ExchangeId,
        /// Whether its `Content-Type` is exactly `application/octet-stream`, which revision 4 refuses.
        octet_stream: bool,
    },
    /// The body of a POST arrived, or was refused. The session itself limits how long this may take; see
    /// [`Config::body_timeout`](crate::server::Config::body_timeout).
    PostBody {
        /// The number from its head.
        exchange: ExchangeId,
        /// The complete body.
        body: Result<Bytes, BodyError>,
    },
    /// An answer was completely written: the connection took every byte. After this, the answer does not count as lost,
    /// whatever happens to the connection. Every answer with [`Response::Payload`] must be reported as written or as
    /// lost.
    AnswerWritten {
        /// The number of the exchange.
        exchange: ExchangeId,
    },
    /// The peer of an exchange went away before it was answered, or before its answer was completely written.
    ExchangeLost {
        /// Its number.
        exchange: ExchangeId,
    },
    /// The connection of a channel took every byte of some of the pulled frames. Report this when
    /// [`Session::wants_written`](crate::Session::wants_written) returns `true`, and at the latest with the next input
    /// of the channel.
    ChannelWritten {
        /// The number of the channel.
        channel: ChannelId,
        /// The number of written messages, counted from the beginning of the session: the value of
        /// [`Stats::messages_sent`](crate::Stats::messages_sent) right after the last of these frames was pulled.
        messages: u64,
    },
    /// A connection that was blocked takes bytes again, while an answer or frames are being written. This shows that
    /// the peer reads, so it counts as a sign of life; handing packets over does not.
    Unblocked,
    /// A second transport opened for this session: the probe of an upgrade.
    ChannelOpened {
        /// Its number.
        channel: ChannelId,
        /// Whether the peer cannot receive binary frames.
        base64: bool,
    },
    /// A complete message arrived on a channel.
    ChannelFrame {
        /// The number of the channel.
        channel: ChannelId,
        /// The message.
        frame: Frame,
    },
    /// A channel has closed. For a channel that the session asked to close, this report is optional.
    ChannelClosed {
        /// Its number.
        channel: ChannelId,
        /// How it ended.
        end: ChannelEnd,
    },
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than [`Config::max_payload`](crate::server::Config::max_payload); see
    /// [`Config::checked_body`](crate::server::Config::checked_body).
    #[error("the body is larger than the limit")]
    TooLarge,
}

/// An action that the embedder must carry out. A new variant does not compile until an embedder handles it.
///
/// If outputs are carried out late, the exchange or channel may already be gone. Then there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer an exchange.
    Respond {
        /// Its number.
        exchange: ExchangeId,
        /// The answer.
        response: Response,
    },
    /// End an exchange without an answer, by dropping its connection.
    Abort {
        /// Its number.
        exchange: ExchangeId,
    },
    /// Pull frames with [`Session::next_frame`](crate::Session::next_frame) while there is room, until it returns
    /// `None`. This is not repeated before that.
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
    /// Pass an event to the application.
    Event(Event),
}

impl flow::Output for Output {
    fn channel_ready(channel: ChannelId) -> Self {
        Self::ChannelReady { channel }
    }

    fn channel_read(channel: ChannelId, enabled: bool) -> Self {
        Self::ChannelRead { channel, enabled }
    }

    fn channel_close(channel: ChannelId) -> Self {
        Self::ChannelClose { channel }
    }

    fn event(event: Event) -> Self {
        Self::Event(event)
    }
}
