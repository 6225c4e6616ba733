//! What is wrong with a server that does not answer as expected, for people.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::header::HeaderMap;
use thiserror::Error;

use super::http::{MAX_HEAD, MAX_HEADERS, MAX_INTERIM};

/// What a connection knows about the answers that it received.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The first bytes of the first answer.
    start: OnceLock<Box<[u8]>>,
    /// How many interim answers to the current request have arrived. hyper skips them without a limit.
    interim: AtomicUsize,
}

impl Received {
    /// How many first bytes are kept.
    const START: usize = 16;

    pub(super) fn keep_start(&self, bytes: &[u8]) {
        let _ = self.start.set(bytes.get(..Self::START).unwrap_or(bytes).into());
    }

    /// A request is sent.
    pub(super) fn begin(&self) {
        self.interim.store(0, Ordering::Relaxed);
    }

    pub(super) fn count_interim(&self) {
        self.interim.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns an error if the server sends interim answers without an end.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.interim.load(Ordering::Relaxed) > MAX_INTERIM {
            return Err(io::Error::new(ErrorKind::InvalidData, Failure::Interim));
        }
        Ok(())
    }
}

/// Why a server's answer cannot be read.
#[derive(Debug, Error)]
enum Failure {
    #[error("the server expects TLS on this port: its answer is a TLS alert")]
    Tls(#[source] hyper::Error),
    #[error("the server speaks HTTP/2 on this port, expected HTTP/1")]
    Http2(#[source] hyper::Error),
    #[error("the answer is not HTTP/1: it begins with {0}")]
    NotHttp(String, #[source] hyper::Error),
    #[error("the answer is not HTTP/1")]
    Invalid(#[source] hyper::Error),
    #[error("the head of the answer is too large: expected at most {MAX_HEAD} bytes and {MAX_HEADERS} headers")]
    TooLarge(#[source] hyper::Error),
    #[error("the server closed the connection before its answer was complete")]
    Closed(#[source] hyper::Error),
    #[error("the server sent more than {MAX_INTERIM} interim answers (1xx), and no final one")]
    Interim,
}

/// Turns an error of hyper into one that says what the server did.
pub(super) fn lost(error: hyper::Error, received: &Received) -> io::Error {
    let start = received.start.get().map(|start| &start[..]).unwrap_or_default();
    if error.is_parse_too_large() {
        return io::Error::new(ErrorKind::InvalidData, Failure::TooLarge(error));
    }
    if error.is_parse() {
        let failure = match start {
            // A TLS record of the type "alert".
            [0x15, 3, _, ..] => Failure::Tls(error),
            // A frame of HTTP/2 of the type "settings", on stream 0.
            [_, _, _, 4, 0, 0, 0, 0, 0, ..] => Failure::Http2(error),
            _ if start.is_empty() || start.starts_with(b"HTTP/1.") => Failure::Invalid(error),
            _ => Failure::NotHttp(shown(start), error),
        };
        return io::Error::new(ErrorKind::InvalidData, failure);
    }
    if error.is_incomplete_message() {
        return io::Error::new(ErrorKind::UnexpectedEof, Failure::Closed(error));
    }
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return io::Error::new(cause.kind(), error);
        }
        source = cause.source();
    }
    io::Error::other(error)
}

/// Returns bytes as text in quotes.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for part in bytes.escape_ascii() {
        text.push(char::from(part));
    }
    text.push('"');
    text
}

/// What a person should look at when the answer to a WebSocket's handshake is not one of a WebSocket: `None` if the answer
/// says by itself what is wrong.
pub(super) fn no_websocket(status: u16, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    const PROXY: &str =
        "is there a proxy that does not pass upgrades on (headers `Connection` and `Upgrade`, HTTP/1.1)?";
    let mut hint = match status {
        101 if !crate::websocket::accept::is_upgrade(headers) => {
            "the server answered 101, but without the headers of a WebSocket".to_owned()
        }
        101 => "the server answered 101, but not to this handshake".to_owned(),
        // The reference answers so if a request for a WebSocket arrives without an upgrade.
        400 if is_rejection(body) && !is_bad_request(body) => return None,
        200..=299 | 400 | 426 | 501 | 505 => format!("the server answered {status} to the handshake of a WebSocket"),
        _ => return None,
    };
    let _ = write!(hint, "; {PROXY}");
    Some(hint)
}

/// Returns whether a body is a rejection by an Engine.IO server.
fn is_rejection(body: &[u8]) -> bool {
    body.starts_with(b"{\"code\":")
}

/// Returns whether a body is a rejection with the code 3.
fn is_bad_request(body: &[u8]) -> bool {
    body.strip_prefix(b"{\"code\":3").is_some_and(|rest| rest.first().is_some_and(|next| !next.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::{CONNECTION, UPGRADE};

    #[test]
    fn a_hint_names_the_proxy_only_if_the_answer_does_not_say_more() {
        let mut fine = HeaderMap::new();
        fine.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fine.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let none = HeaderMap::new();
        for (status, headers, body, expected) in [
            (101, &none, "", Some("without the headers")),
            (101, &fine, "", Some("not to this handshake")),
            (200, &none, "0{}", Some("answered 200")),
            (400, &none, "<html>", Some("answered 400")),
            (400, &none, r#"{"code":3,"message":"Bad request"}"#, Some("answered 400")),
            (400, &none, r#"{"code":1,"message":"Session ID unknown"}"#, None),
            (400, &none, r#"{"code":31}"#, None),
            (426, &none, "", Some("answered 426")),
            (401, &none, "", None),
            (403, &none, "no", None),
            (404, &none, "", None),
            (502, &none, "", None),
        ] {
            let hint = no_websocket(status, headers, body.as_bytes());
            match expected {
                Some(text) => {
                    let hint = hint.unwrap_or_default();
                    assert!(hint.contains(text) && hint.contains("proxy"), "{status} {body}: {hint}");
                }
                None => assert_eq!(hint, None, "{status} {body}"),
            }
        }
    }

    #[test]
    fn bytes_are_shown_as_text() {
        assert_eq!(shown(b"SSH-2.0\r\n\xff\""), r#""SSH-2.0\r\n\xff\"""#);
    }
}
