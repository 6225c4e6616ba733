//! The inputs and outputs of a client.

use alloc::string::String;

use bytes::Bytes;
use serde::Deserialize;

use crate::http::rejection::ErrorCode;
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
    /// The first data of a server that is not a valid open packet: the body of an answer, or a message of a WebSocket.
    Handshake {
        /// The beginning of the data.
        data: Bytes,
    },
}

impl Details {
    /// The maximum length of stored data, in bytes.
    pub const MAX_BODY: usize = 4096;

    /// Creates the details of an answer. Only the beginning of the body is kept.
    pub fn answer(status: u16, body: &Bytes) -> Self {
        Self::Answer { status, body: beginning(body) }
    }

    /// Creates the details of data that is not an open packet. Only its beginning is kept.
    pub(super) fn handshake(data: &Bytes) -> Self {
        Self::Handshake { data: beginning(data) }
    }

    /// Returns whether the server uses another revision of the protocol, as far as its answer shows: it answered in the
    /// form of revision 3, as engine.io 3 and Socket.IO 2 do, or rejected revision 4. (A server of revision 3 cannot be
    /// recognized on a WebSocket: its open packet looks the same.)
    pub fn is_other_revision(&self) -> bool {
        match self {
            Self::Handshake { data } => is_revision_3(data),
            Self::Answer { body, .. } => rejects_revision(body),
            Self::CloseFrame { .. } => false,
        }
    }
}

/// Returns the beginning of some data. It is copied, so that it does not keep a large buffer alive.
fn beginning(data: &Bytes) -> Bytes {
    Bytes::copy_from_slice(data.get(..Details::MAX_BODY).unwrap_or(data))
}

/// Returns whether the first packet of a body is an open packet of revision 3: its length in digits and a colon before
/// it, or in the binary form 0, its digits as bytes, and 255.
fn is_revision_3(body: &[u8]) -> bool {
    let is_open = |len: &[u8], digit: fn(&u8) -> bool, packet: &[u8]| {
        !len.is_empty() && len.iter().all(digit) && packet.starts_with(b"0{")
    };
    let split = |bytes: &[u8], at: u8, digit| {
        let mut parts = bytes.splitn(2, |&byte| byte == at);
        parts.next().zip(parts.next()).is_some_and(|(len, packet)| is_open(len, digit, packet))
    };
    match body.split_first() {
        Some((0, rest)) => split(rest, 0xff, |byte| *byte <= 9),
        _ => split(body, b':', u8::is_ascii_digit),
    }
}

/// Returns whether the body of an answer rejects the revision of the client: code 5 of the reference, or its text; or
/// the text of python-engineio.
fn rejects_revision(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Json {
        code: u32,
    }

    let text = String::from_utf8_lossy(body).to_lowercase();
    let texts = ["unsupported protocol version", "unsupported version of the socket.io or engine.io"];
    serde_json::from_slice::<Json>(body).is_ok_and(|json| json.code == ErrorCode::UnsupportedProtocolVersion as u32)
        || texts.iter().any(|known| text.contains(known))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_another_revision_is_recognized() {
        let handshake = |data: &'static [u8]| Details::handshake(&Bytes::from_static(data)).is_other_revision();
        for data in [&b"96:0{\"sid\":\"a\"}2:40"[..], b"1:0{", b"\x00\x09\x06\xff0{\"sid\"", b"\x00\x02\xff0{}"] {
            assert!(handshake(data), "{data:?}");
        }
        for data in [
            &b""[..],
            b"0{\"sid\":\"a\"}",
            b":0{",
            b"96:",
            b"96:4{",
            b"9a:0{",
            b"96",
            b"{\"a\":0{",
            b"\x00",
            b"\x00\xff0{",
            b"\x00\x0a\xff0{",
            b"\x01\x09\xff0{",
            b"<html>",
        ] {
            assert!(!handshake(data), "{data:?}");
        }
        let answer = |body: &'static str| Details::answer(400, &body.into()).is_other_revision();
        for body in [
            r#"{"code":5,"message":"Unsupported protocol version"}"#,
            r#"{"message":"x","code":5}"#,
            "Unsupported protocol version",
            r#""The client is using an unsupported version of the Socket.IO or Engine.IO protocols""#,
        ] {
            assert!(answer(body), "{body}");
        }
        for body in ["", r#"{"code":3,"message":"Bad request"}"#, r#"{"code":"5"}"#, "5", "Not found"] {
            assert!(!answer(body), "{body}");
        }
        assert!(!Details::CloseFrame { code: 1000, reason: "96:0{".into() }.is_other_revision());
    }
}
