//! What goes into a session and what comes out of it.

use bytes::Bytes;

use crate::http::response::Response;
use crate::parts::event::{ChannelEnd, ChannelId, Event, ExchangeId};
use crate::parts::flow;
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
    /// The body of a POST arrived, or is refused. The session itself watches how long it takes, see
    /// [`Config::body_timeout`](crate::server::Config::body_timeout).
    PostBody {
        /// The number given with its head.
        exchange: ExchangeId,
        /// The whole body.
        body: Result<Bytes, BodyError>,
    },
    /// An answer was written to its end: the connection took every byte. It is not lost from here on, whatever the
    /// connection does. Every answer with [`Response::Payload`] must be reported as written or as lost.
    AnswerWritten {
        /// The number of the exchange.
        exchange: ExchangeId,
    },
    /// The peer of an exchange went away before it was answered, or before its answer was written to the end.
    ExchangeLost {
        /// Its number.
        exchange: ExchangeId,
    },
    /// The connection of a channel took every byte of some of the frames that were pulled. Report it when
    /// [`Session::wants_written`](crate::Session::wants_written) says so, and at the latest with the next input of the
    /// channel.
    ChannelWritten {
        /// The number of the channel.
        channel: ChannelId,
        /// How many messages of the session are written, counted from its beginning: the value of
        /// [`Stats::messages_sent`](crate::Stats::messages_sent) right after the last of these frames was pulled.
        messages: u64,
    },
    /// A connection of the session that had taken no more bytes takes more again, while an answer or frames are being
    /// written: the peer reads. This is a sign of life. Handing packets over is none.
    Unblocked,
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

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than [`Config::max_payload`](crate::server::Config::max_payload).
    #[error("the body is larger than the limit")]
    TooLarge,
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
