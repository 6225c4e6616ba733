//! HTTP/1.1 as far as an Engine.IO server needs it: the heads of requests, and answers.

use std::fmt::Write;

use bytes::Bytes;
use engineio_proto::http::{Headers, Method, Reply};
use tungstenite::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use tungstenite::http::{self, HeaderName};

/// The maximum length of a request's head, in bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// The head of a request.
pub(crate) struct Head {
    request: http::Request<()>,
    /// The length of the body, in bytes.
    pub(crate) body_len: usize,
    /// Whether another request may follow on the connection.
    pub(crate) keep_alive: bool,
}

impl Head {
    /// Parses the head of a request at the beginning of `input`. Returns it with its length, or `None` if more bytes
    /// must arrive first.
    ///
    /// # Errors
    /// Returns the answer to a request that cannot be served. The end of such a request is not known, so the connection
    /// must end after the answer.
    pub(crate) fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, Reply> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut fields);
        let len = match parsed.parse(input) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(refusal(431)),
            Err(_) => return Err(refusal(400)),
        };
        let method = parsed.method.unwrap_or_default();
        let target = parsed.path.unwrap_or_default();
        let mut request = http::Request::builder().method(method).uri(target);
        for field in parsed.headers.iter() {
            request = request.header(field.name, field.value);
        }
        let request = request.body(()).map_err(|_| refusal(400))?;
        let mut head = Self { request, body_len: 0, keep_alive: parsed.version == Some(1) };
        if head.has_token(CONNECTION, "close") {
            head.keep_alive = false;
        }
        if head.text(TRANSFER_ENCODING).is_some() {
            return Err(refusal(411)); // The length of a chunked body is not known beforehand.
        }
        if let Some(len) = head.text(CONTENT_LENGTH) {
            head.body_len = len.parse().map_err(|_| refusal(400))?;
        }
        Ok(Some((head, len)))
    }

    /// Returns the head in the form that the WebSocket library reads.
    pub(crate) fn request(&self) -> &http::Request<()> {
        &self.request
    }

    pub(crate) fn method(&self) -> Method {
        match *self.request.method() {
            http::Method::GET => Method::Get,
            http::Method::POST => Method::Post,
            _ => Method::Other,
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub(crate) fn query(&self) -> &str {
        self.request.uri().query().unwrap_or_default()
    }

    /// Returns the value of a header.
    pub(crate) fn value(&self, name: HeaderName) -> Option<&[u8]> {
        self.request.headers().get(name).map(http::HeaderValue::as_bytes)
    }

    /// Returns whether the request asks for a WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        self.has_token(CONNECTION, "upgrade") && self.has_token(UPGRADE, "websocket")
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns whether a header with a list has this element.
    fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.text(name).is_some_and(|list| list.split(',').any(|element| element.trim().eq_ignore_ascii_case(token)))
    }
}

/// Returns an answer without a body.
pub(crate) fn refusal(status: u16) -> Reply {
    Reply { status, headers: Headers::default(), body: Bytes::new() }
}

/// Returns whether an answer ends the connection.
pub(crate) fn ends_connection(reply: &Reply) -> bool {
    reply.headers.get("connection") == Some("close")
}

/// Encodes an answer. Unless `keep_alive` is set, it announces the end of the connection.
pub(crate) fn encode(reply: &Reply, keep_alive: bool) -> Vec<u8> {
    // The text after the status code may be empty.
    let mut head = format!("HTTP/1.1 {} \r\ncontent-length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in reply.headers.iter().filter(|header| header.0 != "connection") {
        let _ = write!(head, "{name}: {value}\r\n"); // Writing to a String does not fail.
    }
    if !keep_alive {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    [head.as_bytes(), &reply.body].concat()
}
