//! From an HTTP request to what it wants, or to why it is refused.
//!
//! Source: the reference's `verify`, whose order of checks clients and tests rely on. The checks that need no session
//! are here; those that do, and their order, are in [`Admission`](crate::server::Admission).
//!
//! | # | check | code |
//! |---|---|---|
//! | 2 | the transport is enabled | 0 |
//! | 3 | the `Origin` header has only legal characters | 3 |
//! | 4–6 | with `sid`: the session exists, is on this transport, speaks this revision | 1, 3, 3 |
//! | 7 | without `sid`: the method is GET | 2 |
//! | 8 | without `sid`: a WebSocket is asked for by an upgrade, polling without one | 3 |
//! | 9 | without `sid`: the application agrees (the embedder asks it) | 4 |
//! | 11–13 | without `sid`: the revision is served, the id is free, there is room | 5, 3, 3 |

use alloc::borrow::Cow;
use alloc::string::String;

use crate::config::Config;
use crate::http::rejection::Rejection;
use crate::parts::transport::TransportKind;

/// The revision of the protocol that is served.
pub const PROTOCOL: u8 = 4;

/// What of an HTTP request decides where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// What stands behind `?` in its target, undecoded.
    pub query: &'a str,
    /// Its `Origin` header.
    pub origin: Option<&'a [u8]>,
    /// Whether it asks for a WebSocket, with the headers `Connection: upgrade` and `Upgrade: websocket`.
    pub upgrade: bool,
}

impl Request<'_> {
    /// Whether it is taken for the handshake of a WebSocket, and refused as such. Where WebSockets are disabled, one that
    /// asks for an upgrade is a plain request.
    pub fn is_upgrade(&self, config: &Config) -> bool {
        self.upgrade && config.transports.contains(TransportKind::WebSocket)
    }
}

/// The methods that make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET: a handshake, or a poll.
    Get,
    /// POST: data.
    Post,
    /// Any other.
    Other,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It wants a new session.
    Handshake(Handshake),
    /// It belongs to a session.
    Session(SessionRequest),
}

/// A request for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// On which transport.
    pub transport: TransportKind,
    /// The protocol revision that the client speaks: 4, or 3 for anything else.
    pub protocol: u8,
    /// The client cannot take binary, not even on a WebSocket.
    pub base64: bool,
}

/// A request for a session that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The id it names. May be anything.
    pub sid: String,
    /// What it wants to do.
    pub operation: Operation,
    /// The transport it names.
    pub transport: TransportKind,
    /// The protocol revision it names: 4, or 3 for anything else.
    pub protocol: u8,
    /// The client cannot take binary.
    pub base64: bool,
}

/// What a request can want from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A GET: wait for packets.
    Poll,
    /// A POST: deliver packets.
    Post,
    /// A WebSocket handshake: probe a new transport.
    Upgrade,
    /// A method that no transport knows.
    Unsupported,
}

impl Route {
    /// Sorts a request, refusing it where the request alone says that it cannot be served.
    ///
    /// ```
    /// use engineio_proto::http::{ErrorCode, Method, Request, Route};
    /// use engineio_proto::server::Config;
    ///
    /// let query = "EIO=4&transport=polling";
    /// let mut request = Request { method: Method::Get, query, origin: None, upgrade: false };
    /// assert!(matches!(Route::parse(&request, &Config::default()), Ok(Route::Handshake(_))));
    /// request.query = "EIO=4&transport=carrier-pigeon";
    /// assert_eq!(Route::parse(&request, &Config::default()).unwrap_err().code(), ErrorCode::UnknownTransport);
    /// ```
    ///
    /// # Errors
    /// The first check of the table above that fails.
    pub fn parse(request: &Request<'_>, config: &Config) -> Result<Self, Rejection> {
        let query = Query::parse(request.query);
        let transport = TransportKind::from_name(&query.transport)
            .filter(|&kind| config.transports.contains(kind))
            .ok_or_else(|| Rejection::UnknownTransport { transport: excerpt(&query.transport) })?;
        if request.origin.is_some_and(|origin| !origin.iter().copied().all(legal_in_header)) {
            return Err(Rejection::InvalidOrigin);
        }
        let protocol = if query.eio == "4" { PROTOCOL } else { 3 };
        let base64 = query.base64;
        let upgrade = request.is_upgrade(config);
        if !query.sid.is_empty() {
            let operation = match request.method {
                _ if upgrade => Operation::Upgrade,
                Method::Get => Operation::Poll,
                Method::Post => Operation::Post,
                Method::Other => Operation::Unsupported,
            };
            let sid = query.sid.into_owned();
            return Ok(Self::Session(SessionRequest { sid, operation, transport, protocol, base64 }));
        }
        if request.method != Method::Get {
            return Err(Rejection::HandshakeMethod);
        }
        if upgrade != (transport == TransportKind::WebSocket) {
            return Err(Rejection::WrongHandshake { transport });
        }
        Ok(Self::Handshake(Handshake { transport, protocol, base64 }))
    }
}

/// The parameters that count; of a repeated one the last counts.
#[derive(Default)]
struct Query<'a> {
    transport: Cow<'a, str>,
    sid: Cow<'a, str>,
    eio: Cow<'a, str>,
    base64: bool,
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "transport" => parsed.transport = value,
                "sid" => parsed.sid = value,
                "EIO" => parsed.eio = value,
                "b64" => parsed.base64 = !matches!(&*value, "" | "0" | "false"),
                _ => (),
            }
        }
        parsed
    }
}

fn legal_in_header(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// Enough of a client's text to recognise it by, and no more.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
