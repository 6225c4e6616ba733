//! Why a request is refused, and what the client reads of it.

use alloc::string::{String, ToString};
use core::fmt;

use bytes::Bytes;

use crate::parts::transport::TransportKind;

/// Why a request is refused before it reaches a session. Its [`ErrorCode`] is what the client learns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// No enabled transport has this name.
    UnknownTransport {
        /// The name, cut to 64 characters.
        transport: String,
    },
    /// The `Origin` header has characters that no header may have.
    InvalidOrigin,
    /// There is no session with this id, or not any more.
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
    /// A plain request for a session on a message channel.
    NotPolling,
    /// The session may not change its transport, or not to this one.
    NoUpgrade,
    /// A session is opened by GET only.
    HandshakeMethod,
    /// The transport is not opened in this way: a WebSocket without an upgrade, polling with one.
    WrongHandshake {
        /// The transport that the request names.
        transport: TransportKind,
    },
    /// The application does not want the session.
    Forbidden {
        /// What to tell the client instead of `Forbidden`.
        message: Option<String>,
    },
    /// The client's protocol revision is not served.
    UnsupportedProtocol {
        /// The revision.
        protocol: u8,
    },
    /// No id could be made for the session, or it is taken.
    NoSid,
    /// The server holds as many sessions as it may.
    Full,
    /// The body of the request is not a payload.
    InvalidPayload,
}

/// What a client is told of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The transport is unknown.
    UnknownTransport = 0,
    /// The session id is unknown.
    UnknownSid = 1,
    /// A handshake is a GET.
    BadHandshakeMethod = 2,
    /// The request makes no sense.
    BadRequest = 3,
    /// The application refused.
    Forbidden = 4,
    /// The protocol revision is not served.
    UnsupportedProtocolVersion = 5,
}

impl ErrorCode {
    /// The fixed text of the code.
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
    /// What the client is told.
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
            | Self::NoSid
            | Self::Full
            | Self::InvalidPayload => ErrorCode::BadRequest,
        }
    }

    /// The text that the client is shown: that of the code, or the application's.
    pub fn message(&self) -> &str {
        match self {
            Self::Forbidden { message: Some(message) } if !message.is_empty() => message,
            _ => self.code().message(),
        }
    }

    /// The status of the answer to a plain request.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Forbidden { .. } => 403,
            Self::Full => 503,
            _ => 400,
        }
    }

    /// The JSON body of the answer to a plain request.
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

/// What happened, with what of the request matters, for logs.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            Self::UnknownSid | Self::HandshakeMethod | Self::Forbidden { message: None } => Ok(()),
        }
    }
}

impl core::error::Error for Rejection {}
