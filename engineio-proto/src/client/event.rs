//! What goes into a client and what comes out of it.

use alloc::string::String;

use bytes::Bytes;

use crate::parts::event::{ChannelEnd, ChannelId, Event, ExchangeId, RequestError};
use crate::parts::flow;
use crate::wire::frame::Frame;
use crate::wire::payload::Payload;

/// What a transport can tell a client.
///
/// Pairs of an [`Instant`](crate::Instant) and an input, with the calls of the application between them, are a complete
/// journal of a client: the same journal gives the same outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request was answered, and the whole answer has arrived.
    Answered {
        /// The number of the request.
        exchange: ExchangeId,
        /// The status code of the answer.
        status: u16,
        /// Its body.
        body: Bytes,
    },
    /// A request has no answer, or none that could be read to its end. It is never sent again.
    Failed {
        /// The number of the request.
        exchange: ExchangeId,
        /// Why.
        error: RequestError,
    },
    /// A channel that was asked for is open.
    ChannelOpened {
        /// Its number.
        channel: ChannelId,
    },
    /// A whole message arrived on a channel.
    ChannelFrame {
        /// The number of the channel.
        channel: ChannelId,
        /// The message.
        frame: Frame,
    },
    /// The connection of a channel took every byte of some of the frames that were pulled. Report it when
    /// [`Client::wants_written`](crate::Client::wants_written) says so, and at the latest with the next input of the
    /// channel.
    ChannelWritten {
        /// The number of the channel.
        channel: ChannelId,
        /// How many messages of the session are written, counted from its beginning: the value of
        /// [`Stats::messages_sent`](crate::Stats::messages_sent) right after the last of these frames was pulled.
        messages: u64,
    },
    /// A connection of the session that had taken no more bytes takes more again, while a request or frames are being
    /// written: the server reads. This is a sign of life. Handing packets over is none.
    Unblocked,
    /// A channel is gone, or could not be opened.
    ChannelClosed {
        /// Its number.
        channel: ChannelId,
        /// How it ended.
        end: ChannelEnd,
        /// What the server said about it.
        details: Option<Details>,
    },
}

/// Everything that the I/O side of a client must do. A new action does not compile until an adapter handles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an HTTP request, once, and tell what became of it. It goes on even if the session ends meanwhile.
    Request {
        /// Its number.
        exchange: ExchangeId,
        /// The request.
        request: Request,
    },
    /// What becomes of a request does not matter any more: drop it, with its connection if it is under way.
    Cancel {
        /// Its number.
        exchange: ExchangeId,
    },
    /// Open a channel, and tell when it is open or that it cannot be.
    ChannelOpen {
        /// Its number.
        channel: ChannelId,
        /// What stands in its URL behind the host.
        target: String,
    },
    /// Pull frames with [`Client::next_frame`](crate::Client::next_frame) while there is room, until there are none. It is
    /// not said again before that.
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
    /// Write what was pulled, then close the channel, without a status code. One that is being opened is dropped.
    ChannelClose {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// Tell the application.
    Event(Event),
}

/// A request that a client sends by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What stands in its URL behind the host: path and query.
    pub target: String,
    /// The body of a POST; nothing for a GET.
    pub body: Option<Payload>,
}

impl Request {
    /// Headers of a POST: names in lower case, and values.
    pub const POST_HEADERS: &'static [(&'static str, &'static str)] =
        &[("content-type", "text/plain;charset=UTF-8"), ("accept", "*/*")];
    /// Headers of a GET.
    pub const GET_HEADERS: &'static [(&'static str, &'static str)] = &[("accept", "*/*")];

    /// Names, in lower case, and values of its headers, beside those of HTTP itself.
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        if self.body.is_some() { Self::POST_HEADERS } else { Self::GET_HEADERS }
    }
}

/// What a server said when it refused or ended something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Details {
    /// The answer to a request, or to the opening of a WebSocket.
    Answer {
        /// Its status code.
        status: u16,
        /// The beginning of its body.
        body: Bytes,
    },
    /// The close frame of a WebSocket.
    CloseFrame {
        /// Its status code.
        code: u16,
        /// Its reason.
        reason: String,
    },
}

impl Details {
    /// So much of an answer's body is kept, in bytes.
    pub const MAX_BODY: usize = 4096;

    /// The answer to a request. Keeps the beginning of the body.
    pub fn answer(status: u16, body: &Bytes) -> Self {
        // Copied, so that a few words do not hold on to a large buffer.
        let kept = body.get(..Self::MAX_BODY).unwrap_or(body);
        Self::Answer { status, body: Bytes::copy_from_slice(kept) }
    }
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
