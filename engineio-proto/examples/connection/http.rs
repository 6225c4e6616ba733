//! As much of HTTP/1.1 as the clients of Engine.IO use: kept connections, bodies with a `Content-Length`.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use engineio_proto::{Method, Reply};
use tungstenite::handshake::derive_accept_key;

/// Bytes of the head of a request.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// What the head of a request says, as far as it matters.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) origin: Option<Vec<u8>>,
    /// It asks for a WebSocket.
    pub(super) upgrade: bool,
    websocket_key: Option<Vec<u8>>,
    pub(super) octet_stream: bool,
    pub(super) length: usize,
    /// Another request may follow.
    pub(super) keep: bool,
}

impl Head {
    /// The head that `input` begins with, and its length; `None` when there must be more.
    ///
    /// # Errors
    /// The status of the answer to one that is refused.
    pub(super) fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, u16> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        let len = match request.parse(input) {
            Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
            Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(431),
            Err(_) => return Err(400),
        };
        let values = |wanted: &'static str| {
            let wanted = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(wanted);
            request.headers.iter().filter(wanted).map(|header| header.value)
        };
        let has = |name, token: &str| {
            let mut tokens = values(name).flat_map(|value| value.split(|&byte| byte == b','));
            tokens.any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        };
        if values("transfer-encoding").next().is_some() {
            return Err(411);
        }
        let length = match *values("content-length").collect::<Vec<_>>() {
            [] => 0,
            // A number may have a sign, a length has none.
            [digits] if digits.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(400_u16)?
            }
            _ => return Err(400),
        };
        let method = match request.method {
            Some("GET") => Method::Get,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let head = Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            origin: values("origin").next().map(<[u8]>::to_vec),
            upgrade: has("connection", "upgrade") && has("upgrade", "websocket"),
            websocket_key: values("sec-websocket-key")
                .next()
                .filter(|key| key.len() == 24 && key.ends_with(b"==") && has("sec-websocket-version", "13"))
                .map(<[u8]>::to_vec),
            octet_stream: values("content-type").next() == Some(b"application/octet-stream"),
            length,
            // Some other methods have rules of their own, such as HEAD, whose answer has no body.
            keep: method != Method::Other && request.version == Some(1) && !has("connection", "close"),
        };
        Ok(Some((head, len)))
    }

    /// The 101 for a WebSocket handshake.
    ///
    /// # Errors
    /// The answer to one that breaks the rules of RFC 6455.
    pub(super) fn accept(&self) -> Result<String, Reply> {
        let key = self.websocket_key.as_deref().filter(|_| self.method == Method::Get);
        let accept = key.map(derive_accept_key).ok_or(plain(400, "Not a WebSocket handshake of version 13"))?;
        Ok(format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        ))
    }
}

pub(super) const fn plain(status: u16, text: &'static str) -> Reply {
    Reply { status, headers: &[("content-type", "text/plain")], body: Bytes::from_static(text.as_bytes()) }
}

/// Appends an answer; `keep`: another request may follow.
pub(super) fn write(reply: &Reply, keep: bool, output: &mut BytesMut) {
    let connection = if keep { "keep-alive" } else { "close" };
    let length = reply.body.len();
    // Memory takes everything.
    let _ = write!(output, "HTTP/1.1 {} \r\nconnection: {connection}\r\ncontent-length: {length}\r\n", reply.status);
    for (name, value) in reply.headers.iter().filter(|(name, _)| *name != "connection") {
        let _ = write!(output, "{name}: {value}\r\n");
    }
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(&reply.body);
}
