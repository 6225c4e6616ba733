//! The inputs and outputs of a client.

use alloc::string::String;

use bytes::Bytes;

use crate::parts::event::{ChannelEnd, ChannelId, Event, ExchangeId, RequestError};
use crate::parts::flow;
use crate::wire::frame::Frame;
use crate::wire::payload::Payload;

/// An input of a client: what has happened on a transport.
///
/// The inputs with their [`Instant`](crate::Instant)s, and the calls of the application between them, are a complete
/// journal of a client: the same journal gives the same outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request was answered, and the complete answer has arrived.
    Answered {
        /// The number of the request.
        exchange: ExchangeId,
        /// The status code of the answer.
        status: u16,
        /// Its body.
        body: Bytes,
    },
    /// A request got no complete answer. It is never sent again.
    Failed {
        /// The number of the request.
        exchange: ExchangeId,
        /// Why it failed.
        error: RequestError,
    },
    /// A channel that the client asked for is open.
    ChannelOpened {
        /// Its number.
        channel: ChannelId,
    },
    /// A complete message arrived on a channel.
    ChannelFrame {
        /// The number of the channel.
        channel: ChannelId,
        /// The message.
        frame: Frame,
    },
    /// The connection of a channel took every byte of some of the pulled frames. Report this when
    /// [`Client::wants_written`](crate::Client::wants_written) returns `true`, and at the latest with the next input of
    /// the channel.
    ChannelWritten {
        /// The number of the channel.
        channel: ChannelId,
        /// The number of written messages, counted from the beginning of the session: the value of
        /// [`Stats::messages_sent`](crate::Stats::messages_sent) right after the last of these frames was pulled.
        messages: u64,
    },
    /// A connection that was blocked takes bytes again, while a request or frames are being written. This shows that
    /// the server reads, so it counts as a sign of life; handing packets over does not.
    Unblocked,
    /// A channel has closed, or could not be opened.
    ChannelClosed {
        /// Its number.
        channel: ChannelId,
        /// How it ended.
        end: ChannelEnd,
        /// The server's answer or close frame, if there was one.
        details: Option<Details>,
    },
}

/// An action that the embedder of a client must carry out. A new variant does not compile until an embedder handles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an HTTP request, once, and report its result. It continues even if the session ends meanwhile.
    Request {
        /// Its number.
        exchange: ExchangeId,
        /// The request.
        request: Request,
    },
    /// Drop a request, and its connection if it is under way. Its result does not matter any more.
    Cancel {
        /// Its number.
        exchange: ExchangeId,
    },
    /// Open a channel, and report that it is open or could not be opened.
    ChannelOpen {
        /// Its number.
        channel: ChannelId,
        /// The path and query of its URL.
        target: String,
    },
    /// Pull frames with [`Client::next_frame`](crate::Client::next_frame) while there is room, until it returns `None`.
    /// This is not repeated before that.
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
    /// Write what was pulled, then close the channel, without a status code. A channel that is still being opened is
    /// dropped.
    ChannelClose {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// Pass an event to the application.
    Event(Event),
}

/// An HTTP request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path and query of its URL.
    pub target: String,
    /// The body of a POST; `None` for a GET.
    pub body: Option<Payload>,
}

impl Request {
    /// The headers of a POST: names in lower case, and values.
    pub const POST_HEADERS: &'static [(&'static str, &'static str)] =
        &[("content-type", "text/plain;charset=UTF-8"), ("accept", "*/*")];
    /// The headers of a GET.
    pub const GET_HEADERS: &'static [(&'static str, &'static str)] = &[("accept", "*/*")];

    /// Returns the names, in lower case, and values of the headers that the protocol needs.
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        if self.body.is_some() { Self::POST_HEADERS } else { Self::GET_HEADERS }
    }
}

/// What a server sent when it rejected or ended something.
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
    /// The maximum length of a stored body, in bytes.
    pub const MAX_BODY: usize = 4096;

    /// Creates the details of an answer. Only the beginning of the body is kept.
    pub fn answer(status: u16, body: &Bytes) -> Self {
        // Copied, so that a short text does not keep a large buffer alive.
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
