//! The answers to HTTP requests: status, headers and body.

use bytes::Bytes;

use crate::http::headers::Headers;
use crate::http::rejection::Rejection;
use crate::wire::payload::Payload;

/// The answer to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Packets, for a poll.
    Payload(Payload),
    /// A POST was accepted.
    Accepted,
    /// The request breaks a rule of its transport: an overlap, or binary content.
    Refused,
    /// The body is too large.
    TooLarge,
    /// The body did not arrive in time.
    Timeout,
    /// The method is not supported by any transport.
    Unsupported,
    /// The request was rejected with an error code.
    Rejected(Rejection),
}

/// An answer as an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, without `Content-Length`.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

const PAYLOAD: &[(&str, &str)] = &[("content-type", "text/plain; charset=UTF-8"), ("cache-control", "no-store")];
// HTML, because old browsers offer plain text as a download.
const ACCEPTED: &[(&str, &str)] = &[("content-type", "text/html"), ("cache-control", "no-store")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
pub(crate) const REFUSED_UPGRADE: &[(&str, &str)] = &[("content-type", "text/html"), ("connection", "close")];

impl Reply {
    /// Creates an answer without headers or body.
    pub const fn empty(status: u16) -> Self {
        Self { status, headers: Headers::fixed(&[]), body: Bytes::new() }
    }
}

impl Response {
    /// Returns whether this is a transport's answer to packets, which a browser may take for a page.
    pub const fn is_content(&self) -> bool {
        matches!(self, Self::Payload(_) | Self::Accepted)
    }

    /// Returns the HTTP response. This encodes the payload, so call it without holding locks.
    pub fn into_reply(self) -> Reply {
        let empty = Reply::empty;
        match self {
            Self::Payload(payload) => {
                Reply { status: 200, headers: Headers::fixed(PAYLOAD), body: payload.into_bytes() }
            }
            Self::Accepted => Reply { status: 200, headers: Headers::fixed(ACCEPTED), body: Bytes::from_static(b"ok") },
            Self::Refused => empty(400),
            Self::TooLarge => empty(413),
            Self::Timeout => empty(408),
            Self::Unsupported => empty(500),
            Self::Rejected(rejection) => rejection.into_reply(false),
        }
    }
}

impl Rejection {
    /// Returns the HTTP response. A WebSocket handshake (`upgrade`, see
    /// [`Request::is_upgrade`](crate::http::Request::is_upgrade)) is answered with 400 and the bare text, and the
    /// connection ends; if the server is full, with 503. All other requests are answered with JSON: code and text.
    pub fn into_reply(self, upgrade: bool) -> Reply {
        if !upgrade {
            return Reply { status: self.status(), headers: Headers::fixed(JSON), body: self.to_json() };
        }
        let body = Bytes::copy_from_slice(self.message().as_bytes());
        let status = if matches!(self, Self::Full) { 503 } else { 400 };
        Reply { status, headers: Headers::fixed(REFUSED_UPGRADE), body }
    }
}

/// Returns whether a POST with this `Content-Type` has binary content, which revision 4 refuses; for
/// [`Input::PostHead`](crate::server::Input::PostHead). The value is compared without any parsing, as in the reference.
pub fn is_octet_stream(content_type: &[u8]) -> bool {
    content_type == b"application/octet-stream"
}

/// Returns whether a browser needs the header `X-XSS-Protection: 0`: old versions of Internet Explorer change payloads
/// without it.
pub fn needs_xss_header(user_agent: &[u8]) -> bool {
    // Other browsers have few of these letters.
    memchr::memchr2_iter(b'I', b'd', user_agent).any(|at| {
        let (before, rest) = user_agent.split_at(at);
        (before.ends_with(b";MS") && rest.starts_with(b"IE"))
            || (before.ends_with(b"Tri") && rest.starts_with(b"dent/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Codec;
    use crate::wire::message::Message;

    #[test]
    fn answers_are_those_of_the_reference() {
        let payload = Payload::from_packets(Codec::V4, [Message::from("hey").into()]);
        let reply = Response::Payload(payload).into_reply();
        assert_eq!((reply.status, reply.headers, &reply.body[..]), (200, Headers::fixed(PAYLOAD), &b"4hey"[..]));
        let reply = Response::Accepted.into_reply();
        assert_eq!((reply.status, reply.headers, &reply.body[..]), (200, Headers::fixed(ACCEPTED), &b"ok"[..]));
        for (response, status) in [
            (Response::Refused, 400),
            (Response::TooLarge, 413),
            (Response::Timeout, 408),
            (Response::Unsupported, 500),
        ] {
            assert_eq!(response.into_reply(), Reply::empty(status));
        }
        let reply = Response::Rejected(Rejection::UnknownSid).into_reply();
        assert_eq!((reply.status, reply.headers), (400, Headers::fixed(JSON)));
    }

    #[test]
    fn only_answers_to_packets_are_content() {
        let payload = Payload::from_packets(Codec::V4, [Message::from("hey").into()]);
        assert!(Response::Payload(payload).is_content() && Response::Accepted.is_content());
        let rejected = Response::Rejected(Rejection::UnknownSid);
        for other in [Response::Refused, Response::TooLarge, Response::Timeout, Response::Unsupported, rejected] {
            assert!(!other.is_content(), "{other:?}");
        }
    }

    #[test]
    fn refused_upgrades_get_bare_text() {
        let reply = Rejection::Forbidden { message: None }.into_reply(true);
        assert_eq!((reply.status, &reply.body[..]), (400, &b"Forbidden"[..]));
        assert_eq!(Rejection::Full.into_reply(true).status, 503);
    }

    #[test]
    fn binary_is_what_says_so_exactly() {
        assert!(is_octet_stream(b"application/octet-stream"));
        for other in ["", "text/plain", "application/octet-stream; charset=UTF-8", "Application/Octet-Stream"] {
            assert!(!is_octet_stream(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn old_browsers() {
        assert!(needs_xss_header(b"Mozilla/4.0 (compatible;MSIE 8.0; Windows NT 6.0)"));
        assert!(needs_xss_header(b"Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0) like Gecko"));
        assert!(!needs_xss_header(b"Mozilla/5.0 (X11; Linux x86_64) Firefox/1"));
        assert!(!needs_xss_header(b""));
    }
}
