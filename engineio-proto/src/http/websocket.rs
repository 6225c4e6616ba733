//! The opening handshake of a WebSocket at a server: RFC 6455, section 4.2. The embedder computes the hash of the key.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::string::String;

use bytes::Bytes;

use crate::http::headers::Headers;
use crate::http::rejection::Rejection;
use crate::http::response::{REFUSED_UPGRADE, Reply};
use crate::http::route::Method;

/// The parts of a WebSocket handshake's head that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebSocketHead<'a> {
    /// The method of the request.
    pub method: Method,
    /// `Sec-WebSocket-Key`.
    pub key: Option<&'a [u8]>,
    /// `Sec-WebSocket-Version`.
    pub version: Option<&'a [u8]>,
    /// `Sec-WebSocket-Protocol`. If there are several, their values, separated by commas.
    pub protocols: Option<&'a [u8]>,
    /// Whether the request has a body: it has `Transfer-Encoding`, or a `Content-Length` other than 0.
    pub has_body: bool,
    /// The HTTP version of the request.
    pub http: HttpVersion,
    /// Whether the embedder can take the connection over after the answer. A host or a layer in front of the embedder may
    /// have removed the means for that.
    pub can_switch: bool,
}

/// The HTTP version of a request, as far as upgrades depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0 or older. It has no upgrades: a client ignores the 101.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 or newer. It has no upgrades either.
    Http2,
}

/// Why a WebSocket handshake is not valid. The texts are those of the reference's WebSocket library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    /// The method is not GET.
    #[error("Invalid HTTP method")]
    Method,
    /// The key is not 16 bytes in base64.
    #[error("Missing or invalid Sec-WebSocket-Key header")]
    Key,
    /// The version is neither 13 nor 8.
    #[error("Missing or invalid Sec-WebSocket-Version header")]
    Version,
    /// The list of subprotocols is not valid, or has one of them twice.
    #[error("Invalid Sec-WebSocket-Protocol header")]
    Protocol,
    /// The request has a body. What follows its head would be taken for frames.
    #[error("Invalid body: a WebSocket handshake must not have one")]
    Body,
}

impl HeadError {
    /// Returns the answer: bare text, after which the connection ends.
    pub fn into_reply(self) -> Reply {
        let (status, text) = match self {
            Self::Method => (405, "Invalid HTTP method"),
            Self::Key => (400, "Missing or invalid Sec-WebSocket-Key header"),
            Self::Version => (400, "Missing or invalid Sec-WebSocket-Version header"),
            Self::Protocol => (400, "Invalid Sec-WebSocket-Protocol header"),
            Self::Body => (400, "Invalid body: a WebSocket handshake must not have one"),
        };
        let mut headers = Headers::fixed(REFUSED_UPGRADE);
        if self == Self::Version {
            headers.push("sec-websocket-version", "13, 8");
        }
        Reply { status, headers, body: Bytes::from_static(text.as_bytes()) }
    }
}

impl<'a> WebSocketHead<'a> {
    /// Checks method, key, version, subprotocols, and that there is no body.
    ///
    /// # Errors
    /// Returns an error for the first of them that is not valid.
    pub fn check(&self) -> Result<(), HeadError> {
        if self.method != Method::Get {
            return Err(HeadError::Method);
        }
        if !self.key.is_some_and(is_key) {
            return Err(HeadError::Key);
        }
        if !matches!(self.version, Some(b"13" | b"8")) {
            return Err(HeadError::Version);
        }
        if !self.protocols.is_none_or(is_protocols) {
            return Err(HeadError::Protocol);
        }
        if self.has_body { Err(HeadError::Body) } else { Ok(()) }
    }

    /// Checks that the connection can become a WebSocket. This is checked before the other parts of the head.
    ///
    /// # Errors
    /// Returns an error if it cannot, which names the likely cause.
    pub const fn upgradable(&self) -> Result<(), Rejection> {
        match (self.http, self.can_switch) {
            (HttpVersion::Http11, true) => Ok(()),
            (http, _) => Err(Rejection::CannotUpgrade { http }),
        }
    }

    /// Returns the subprotocol of the session: the first one that the client offers.
    pub fn protocol(&self) -> Option<&'a str> {
        let first = self.protocols?.split(|&byte| byte == b',').next()?.trim_ascii();
        if is_token(first) { core::str::from_utf8(first).ok() } else { None }
    }

    /// Returns the 101. `accept`: the value of `Sec-WebSocket-Accept`, computed from [`WebSocketHead::key`].
    pub fn switch(&self, accept: impl Into<Cow<'static, str>>) -> Reply {
        let mut headers = Headers::fixed(&[("upgrade", "websocket"), ("connection", "Upgrade")]);
        headers.push("sec-websocket-accept", accept);
        if let Some(protocol) = self.protocol() {
            headers.push("sec-websocket-protocol", String::from(protocol));
        }
        Reply { status: 101, headers, body: Bytes::new() }
    }
}

/// Returns whether a list of header values contains a token, separated by commas and in any case. `Connection` and
/// `Upgrade` ask for a WebSocket with the tokens `upgrade` and `websocket`.
pub fn has_token<'a>(values: impl IntoIterator<Item = &'a [u8]>, token: &str) -> bool {
    let parts = values.into_iter().flat_map(|value| value.split(|&byte| byte == b','));
    parts.into_iter().any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// A list of different tokens, separated by commas. Each may have spaces and tabs around it.
fn is_protocols(list: &[u8]) -> bool {
    let mut known = BTreeSet::new();
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .all(|protocol| is_token(protocol) && known.insert(protocol))
}

fn is_token(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}

/// 16 bytes in base64: 22 characters and two equals signs.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22 && digits.iter().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    const HEAD: WebSocketHead<'static> = WebSocketHead {
        method: Method::Get,
        key: Some(b"dGhlIHNhbXBsZSBub25jZQ=="),
        version: Some(b"13"),
        protocols: None,
        has_body: false,
        http: HttpVersion::Http11,
        can_switch: true,
    };

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(HEAD.check(), Ok(()));
        let reply = HEAD.switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((reply.status, reply.body.len()), (101, 0));
        let headers = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        assert!(reply.headers.iter().eq(headers));
    }

    /// A proxy that speaks HTTP/1.0 passes no 101 on.
    #[test]
    fn m056_what_cannot_be_upgraded_is_rejected_with_the_likely_cause() {
        assert_eq!(HEAD.upgradable(), Ok(()));
        for (http, can_switch, cause) in [
            (HttpVersion::Http10, true, "proxy_http_version 1.1"),
            (HttpVersion::Http10, false, "proxy_http_version 1.1"),
            (HttpVersion::Http11, false, "in front of this server"),
            (HttpVersion::Http2, true, "HTTP/1.1"),
            (HttpVersion::Http2, false, "HTTP/1.1"),
        ] {
            let rejection = WebSocketHead { http, can_switch, ..HEAD }.upgradable().unwrap_err();
            assert_eq!(rejection, Rejection::CannotUpgrade { http });
            let reply = rejection.clone().into_reply(true);
            assert_eq!(reply.status, 400);
            let text = core::str::from_utf8(&reply.body).unwrap();
            assert!(text.starts_with("Bad request: ") && text.contains(cause), "{text}");
            assert_eq!(rejection.to_string(), text);
        }
    }

    #[test]
    fn m056_what_breaks_the_rules() {
        let refused = |head: WebSocketHead<'_>| head.check().unwrap_err();
        assert_eq!(refused(WebSocketHead { method: Method::Post, ..HEAD }), HeadError::Method);
        assert_eq!(HeadError::Method.into_reply().status, 405);
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ=== ", "dGhlIHNhbXBsZSBub25j-Q=="] {
            assert_eq!(refused(WebSocketHead { key: Some(key.as_bytes()), ..HEAD }), HeadError::Key, "{key}");
        }
        assert_eq!(refused(WebSocketHead { key: None, version: None, ..HEAD }), HeadError::Key);
        let reply = HeadError::Key.into_reply();
        assert_eq!((reply.status, &reply.body[..]), (400, &b"Missing or invalid Sec-WebSocket-Key header"[..]));
        assert_eq!(reply.headers.get("connection"), Some("close"));
        for version in [None, Some(&b"7"[..])] {
            assert_eq!(refused(WebSocketHead { version, ..HEAD }), HeadError::Version);
        }
        let reply = HeadError::Version.into_reply();
        assert_eq!((reply.status, reply.headers.get("sec-websocket-version")), (400, Some("13, 8")));
        assert_eq!(WebSocketHead { version: Some(b"8"), ..HEAD }.check(), Ok(()));
    }

    #[test]
    fn m056_subprotocols_are_different_tokens() {
        let check = |offered: &str| WebSocketHead { protocols: Some(offered.as_bytes()), ..HEAD }.check();
        for offered in ["a", "a, b", "a,b\t,c", "a , A", "v1.chat~x, !#$%&'*+-.^_`|"] {
            assert_eq!(check(offered), Ok(()), "{offered}");
        }
        for offered in ["", ",", "a,", ",a", "a,,b", "a b", "a, a", "b, a,b", "a/b", "a=1", "\"a\"", "é", "a\0"] {
            assert_eq!(check(offered), Err(HeadError::Protocol), "{offered}");
        }
        let reply = HeadError::Protocol.into_reply();
        assert_eq!((reply.status, &reply.body[..]), (400, &b"Invalid Sec-WebSocket-Protocol header"[..]));
        // After the version, before the body.
        let broken = WebSocketHead { protocols: Some(b""), has_body: true, ..HEAD };
        assert_eq!(broken.check(), Err(HeadError::Protocol));
        assert_eq!(WebSocketHead { version: None, ..broken }.check(), Err(HeadError::Version));
    }

    #[test]
    fn m056_a_handshake_has_no_body() {
        assert_eq!(WebSocketHead { has_body: true, ..HEAD }.check(), Err(HeadError::Body));
        let reply = HeadError::Body.into_reply();
        assert_eq!((reply.status, reply.headers.get("connection")), (400, Some("close")));
        assert_eq!(&reply.body[..], b"Invalid body: a WebSocket handshake must not have one");
    }

    #[test]
    fn sec33_the_first_protocol_is_taken_in_linear_time() {
        let long = " ,".repeat(32 * 1024);
        let many: Vec<_> = (0..20_000).map(|number| alloc::format!("p{number}")).collect();
        let many = many.join(",");
        assert_eq!(WebSocketHead { protocols: Some(many.as_bytes()), ..HEAD }.check(), Ok(()));
        for (offered, taken) in
            [("a, b", Some("a")), (" chat ", Some("chat")), ("", None), ("a b", None), ("é", None), (&long, None)]
        {
            let head = WebSocketHead { protocols: Some(offered.as_bytes()), ..HEAD };
            assert_eq!(head.protocol(), taken);
            assert_eq!(head.switch("").headers.get("sec-websocket-protocol"), taken);
        }
    }

    #[test]
    fn tokens_in_lists() {
        let has = |values: &[&'static str]| {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            has_token(values, "upgrade")
        };
        assert!(has(&["keep-alive, Upgrade"]) && has(&["keep-alive", "UPGRADE"]));
        assert!(!has(&[]) && !has(&["h2c", ""]) && !has(&["upgradex", "up grade"]));
    }
}
