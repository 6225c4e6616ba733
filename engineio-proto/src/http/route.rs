//! Classifies HTTP requests: what a request asks for, or why it is rejected.
//!
//! Source: the function `verify` of the reference, whose order of checks clients and tests rely on. The checks that
//! need no session are here. The others, and the order of all, are in [`Admission`](crate::server::Admission).
//!
//! | # | check | code |
//! |---|---|---|
//! | 2 | the transport is enabled | 0 |
//! | 3 | the `Origin` header has only allowed characters | 3 |
//! | 4–6 | with `sid`: the session exists, is on this transport, has this revision | 1, 3, 3 |
//! | 7 | without `sid`: the method is GET | 2 |
//! | 8 | without `sid`: the request for a WebSocket has an upgrade, that for polling has none | 3 |
//! | 9 | without `sid`: the application agrees (the embedder asks it) | 4 |
//! | 11–13 | without `sid`: the revision is supported, the id is free, there is room | 5, 3, 3 |

use alloc::borrow::Cow;
use alloc::string::String;

use crate::config::Config;
use crate::http::rejection::Rejection;
use crate::parts::transport::TransportKind;

/// The supported revision of the protocol.
pub const PROTOCOL: u8 = 4;

/// The parts of an HTTP request that decide where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// The query of its target, without `?`, and not decoded.
    pub query: &'a str,
    /// Its `Origin` header.
    pub origin: Option<&'a [u8]>,
    /// Whether it asks for a WebSocket, with the headers `Connection: upgrade` and `Upgrade: websocket`. In HTTP/2, a CONNECT
    /// for the protocol `websocket` does (RFC 8441); it counts as [`Method::Get`], and is rejected with its likely cause.
    pub upgrade: bool,
}

impl Request<'_> {
    /// Returns whether the request is treated as a WebSocket handshake, and rejected as one. If WebSockets are
    /// disabled, a request for an upgrade is treated as any other.
    pub fn is_upgrade(&self, config: &Config) -> bool {
        self.upgrade && config.transports.contains(TransportKind::WebSocket)
    }
}

/// HTTP methods, as far as they are distinguished.
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
    /// A new session.
    Handshake(Handshake),
    /// An existing session.
    Session(SessionRequest),
}

/// A request for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The transport on which the session is to start.
    pub transport: TransportKind,
    /// The protocol revision of the client: 4, or 3 for any other value.
    pub protocol: u8,
    /// Whether the client cannot receive binary data, not even on a WebSocket.
    pub base64: bool,
}

/// A request for an existing session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session id of the request, not validated.
    pub sid: String,
    /// What the request asks for.
    pub operation: Operation,
    /// The transport of the request.
    pub transport: TransportKind,
    /// The protocol revision of the request: 4, or 3 for any other value.
    pub protocol: u8,
    /// Whether the client cannot receive binary data.
    pub base64: bool,
}

/// What a request asks a session for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A GET: wait for packets.
    Poll,
    /// A POST: deliver packets.
    Post,
    /// A WebSocket handshake: probe a new transport.
    Upgrade,
    /// A method that no transport supports.
    Unsupported,
}

impl Route {
    /// Classifies a request, or rejects it if it can be rejected without a session.
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
    /// Returns the first check of the table above that fails.
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

/// The parameters that count. If a parameter is repeated, the last one counts.
#[derive(Default)]
struct Query<'a> {
    transport: Cow<'a, str>,
    sid: Cow<'a, str>,
    eio: Cow<'a, str>,
    base64: bool,
}

/// The names of the parameters that count.
const NAMES: [&str; 4] = ["sid", "EIO", "transport", "b64"];

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        let mut parsed = Self::default();
        if memchr::memchr2(b'%', b'+', query.as_bytes()).is_some() {
            form_urlencoded::parse(query.as_bytes()).for_each(|(name, value)| parsed.set(&name, value));
            return parsed;
        }
        // Most clients encode nothing.
        let mut rest = query;
        while !rest.is_empty() {
            let end = memchr::memchr(b'&', rest.as_bytes()).unwrap_or(rest.len());
            let (pair, after) = rest.split_at(end);
            match NAMES.iter().find_map(|name| Some((*name, pair.strip_prefix(name)?.strip_prefix('=')?))) {
                Some((name, value)) => parsed.set(name, Cow::Borrowed(value)),
                // Without a sign, the value is empty.
                None => parsed.set(pair, Cow::Borrowed("")),
            }
            rest = after.get(1..).unwrap_or_default();
        }
        parsed
    }

    fn set(&mut self, name: &str, value: Cow<'a, str>) {
        match name {
            "transport" => self.transport = value,
            "sid" => self.sid = value,
            "EIO" => self.eio = value,
            "b64" => self.base64 = !matches!(&*value, "" | "0" | "false"),
            _ => (),
        }
    }
}

fn legal_in_header(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// The beginning of a client's text, long enough to recognize it.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
