//! Why a request is rejected, and the answer to its client.

use alloc::string::{String, ToString};
use core::fmt;

use bytes::Bytes;

use crate::http::websocket::HttpVersion;
use crate::parts::transport::TransportKind;

/// Why a request is rejected before it reaches a session.
///
/// The client gets the [`ErrorCode`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// No enabled transport has this name.
    UnknownTransport {
        /// The name, cut to 64 characters.
        transport: String,
    },
    /// The `Origin` header has characters that are not allowed in a header.
    InvalidOrigin,
    /// No session has this id, or it has ended.
    UnknownSid,
    /// The session is on another transport.
    TransportMismatch {
        /// The transport that the request names.
        requested: TransportKind,
        /// The transport that the session is on.
        current: TransportKind,
    },
    /// The session speaks another protocol revision.
    ProtocolMismatch {
        /// The revision that the request names.
        requested: u8,
        /// The revision of the session.
        current: u8,
    },
    /// A request other than an upgrade names a session on a message channel.
    NotPolling,
    /// The session may not change its transport, or not to this one.
    NoUpgrade,
    /// A session can be opened with GET only.
    HandshakeMethod,
    /// The handshake has the wrong form: a WebSocket without an upgrade, or polling with one.
    WrongHandshake {
        /// The transport that the request names.
        transport: TransportKind,
    },
    /// The connection cannot become a WebSocket, whatever the headers ask for. The client gets a text with the likely
    /// cause.
    CannotUpgrade {
        /// The HTTP version of the request. In HTTP/1.1, it is the host of the server or one of its layers that cannot
        /// upgrade.
        http: HttpVersion,
    },
    /// The application refuses the session.
    Forbidden {
        /// The message for the client, instead of `Forbidden`.
        message: Option<String>,
    },
    /// The protocol revision of the client is not supported.
    UnsupportedProtocol {
        /// The revision.
        protocol: u8,
    },
    /// No session id was generated, or it is in use.
    NoSid,
    /// The server has as many sessions as it may have.
    Full,
    /// The body of the request is not a payload.
    InvalidPayload,
}

/// The error code of a rejection, as the client gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The transport is unknown.
    UnknownTransport = 0,
    /// The session id is unknown.
    UnknownSid = 1,
    /// The method of a handshake is not GET.
    BadHandshakeMethod = 2,
    /// The request is not valid.
    BadRequest = 3,
    /// The application refused the session.
    Forbidden = 4,
    /// The protocol revision is not supported.
    UnsupportedProtocolVersion = 5,
}

impl ErrorCode {
    /// Returns the fixed text of the code.
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }
}

impl Rejection {
    /// Returns the error code for the client.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTransport { .. } => ErrorCode::UnknownTransport,
            Self::UnknownSid => ErrorCode::UnknownSid,
            Self::HandshakeMethod => ErrorCode::BadHandshakeMethod,
            Self::Forbidden { .. } => ErrorCode::Forbidden,
            Self::UnsupportedProtocol { .. } => ErrorCode::UnsupportedProtocolVersion,
            Self::InvalidOrigin
            | Self::TransportMismatch { .. }
            | Self::ProtocolMismatch { .. }
            | Self::NotPolling
            | Self::NoUpgrade
            | Self::WrongHandshake { .. }
            | Self::CannotUpgrade { .. }
            | Self::NoSid
            | Self::Full
            | Self::InvalidPayload => ErrorCode::BadRequest,
        }
    }

    /// Returns the text for the client: that of the code, with the cause if the connection cannot be upgraded; or the
    /// application's.
    pub fn message(&self) -> &str {
        match self {
            Self::CannotUpgrade { http } => cannot_upgrade(*http),
            Self::Forbidden { message: Some(message) } if !message.is_empty() => message,
            _ => self.code().message(),
        }
    }

    /// Returns the status of the answer to a request that is not a WebSocket handshake.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Forbidden { .. } => 403,
            Self::Full => 503,
            _ => 400,
        }
    }

    /// Returns the JSON body of that answer.
    pub fn to_json(&self) -> Bytes {
        let mut body = String::from(r#"{"code":"#);
        body.push_str(&(self.code() as u8).to_string());
        body.push_str(r#","message":""#);
        for character in self.message().chars() {
            match character {
                '"' => body.push_str("\\\""),
                '\\' => body.push_str("\\\\"),
                '\n' => body.push_str("\\n"),
                '\r' => body.push_str("\\r"),
                '\t' => body.push_str("\\t"),
                control if control < ' ' => {
                    body.push_str(&alloc::format!("\\u{:04x}", u32::from(control)));
                }
                other => body.push(other),
            }
        }
        body.push_str("\"}");
        body.into()
    }
}

const fn cannot_upgrade(http: HttpVersion) -> &'static str {
    match http {
        HttpVersion::Http10 => {
            "Bad request: HTTP/1.0 cannot be upgraded to a WebSocket. \
             A proxy must use HTTP/1.1 (nginx: proxy_http_version 1.1)"
        }
        HttpVersion::Http11 => {
            "Bad request: this connection cannot be upgraded to a WebSocket. \
             The host or a layer in front of this server does not support upgrades"
        }
        HttpVersion::Http2 => "Bad request: HTTP/2 has no upgrades. Use HTTP/1.1 for WebSockets",
    }
}

/// The reason, with the relevant parts of the request, for logs.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::CannotUpgrade { http } = self {
            return f.write_str(cannot_upgrade(*http));
        }
        f.write_str(self.code().message())?;
        match self {
            Self::UnknownTransport { transport } => write!(f, ": {transport:?}"),
            Self::InvalidOrigin => f.write_str(": illegal characters in the Origin header"),
            Self::TransportMismatch { requested, current } => {
                write!(f, ": {requested} is asked for, the session is on {current}")
            }
            Self::ProtocolMismatch { requested, current } => {
                write!(f, ": revision {requested} is asked for, the session speaks {current}")
            }
            Self::NotPolling => f.write_str(": the session is not on polling"),
            Self::NoUpgrade => f.write_str(": the session may not be upgraded to this transport"),
            Self::WrongHandshake { transport } => write!(f, ": {transport} is not opened in this way"),
            Self::Forbidden { message: Some(message) } => write!(f, ": {message:?}"),
            Self::UnsupportedProtocol { protocol } => write!(f, ": {protocol}"),
            Self::NoSid => f.write_str(": no session id, or it is taken"),
            Self::Full => f.write_str(": the server holds as many sessions as it may"),
            Self::InvalidPayload => f.write_str(": the body is not a payload"),
            Self::UnknownSid
            | Self::HandshakeMethod
            | Self::CannotUpgrade { .. }
            | Self::Forbidden { message: None } => Ok(()),
        }
    }
}

impl core::error::Error for Rejection {}
