//! The server's side of a WebSocket's opening handshake, for requests of hyper. The core has the rules.

use engineio_proto::http::{HttpVersion, Method, Reply, WebSocketHead, has_token};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderValue, Version, request};
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

/// Returns whether the headers of a request or an answer are those of a WebSocket. Other upgrades do not count.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let values = |name| headers.get_all::<HeaderName>(name).into_iter().map(HeaderValue::as_bytes);
    has_token(values(UPGRADE), "websocket") && has_token(values(CONNECTION), "upgrade")
}

/// Returns whether a request asks for a WebSocket. `upgrades`: whether it has the field `Upgrade`.
pub(crate) fn asks_for_upgrade(parts: &request::Parts, upgrades: bool) -> bool {
    (upgrades && is_upgrade(&parts.headers)) || is_extended_connect(parts)
}

/// The form of a WebSocket handshake in HTTP/2: RFC 8441. A plain CONNECT has no path, so it is not for a server.
fn is_extended_connect(parts: &request::Parts) -> bool {
    parts.method == http::Method::CONNECT && parts.version > Version::HTTP_11
}

/// Returns the method of a request, as far as the core distinguishes it. An extended CONNECT is the GET of a handshake.
pub(crate) fn method(parts: &request::Parts) -> Method {
    match parts.method {
        _ if is_extended_connect(parts) => Method::Get,
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        _ => Method::Other,
    }
}

/// Returns the parts of a handshake that the core checks.
pub(crate) fn head(parts: &request::Parts) -> WebSocketHead<'_> {
    let value = |name| parts.headers.get::<HeaderName>(name).map(HeaderValue::as_bytes);
    WebSocketHead {
        method: method(parts),
        key: value(SEC_WEBSOCKET_KEY),
        version: value(SEC_WEBSOCKET_VERSION),
        protocols: value(SEC_WEBSOCKET_PROTOCOL),
        has_body: parts.headers.contains_key(TRANSFER_ENCODING)
            || parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0"),
        http: match parts.version {
            Version::HTTP_09 | Version::HTTP_10 => HttpVersion::Http10,
            Version::HTTP_11 => HttpVersion::Http11,
            _ => HttpVersion::Http2,
        },
        can_switch: parts.extensions.get::<OnUpgrade>().is_some(),
    }
}

/// Joins the lists of subprotocols of a handshake, if there are several: RFC 9110, section 5.3.
pub(crate) fn join_protocols(headers: &mut HeaderMap) {
    let lists: Vec<_> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().map(HeaderValue::as_bytes).collect();
    if lists.len() > 1 {
        // Values that are valid alone are valid together.
        if let Ok(joined) = HeaderValue::from_bytes(&lists.join(&b","[..])) {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, joined);
        }
    }
}

/// Returns the 101 for a handshake whose head was checked.
pub(crate) fn switch(parts: &request::Parts) -> Reply {
    let head = head(parts);
    head.switch(derive_accept_key(head.key.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engineio_proto::http::HeadError;
    use http::Request;

    fn parts(change: impl FnOnce(&mut HeaderMap)) -> request::Parts {
        let (mut parts, ()) = Request::builder()
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap()
            .into_parts();
        change(&mut parts.headers);
        parts
    }

    #[test]
    fn the_example_of_the_rfc() {
        let parts = parts(|_| ());
        assert!(is_upgrade(&parts.headers));
        assert_eq!(head(&parts).check(), Ok(()));
        let reply = switch(&parts);
        assert_eq!(reply.status, 101);
        assert_eq!(reply.headers.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(reply.headers.get("sec-websocket-protocol"), None);
    }

    #[test]
    fn every_part_of_a_head_is_read() {
        let mut parts = parts(|headers| {
            headers.insert("sec-websocket-protocol", HeaderValue::from_static("chat, other"));
            headers.insert("sec-websocket-version", HeaderValue::from_static("8"));
        });
        let read = head(&parts);
        assert_eq!((read.version, read.protocols), (Some(&b"8"[..]), Some(&b"chat, other"[..])));
        assert_eq!(switch(&parts).headers.get("sec-websocket-protocol"), Some("chat"));
        for (name, known) in [("POST", Method::Post), ("PUT", Method::Other)] {
            parts.method = name.parse().unwrap();
            assert_eq!(head(&parts).method, known);
        }
    }

    /// The version and the means to take the connection over are parts of the head too.
    #[test]
    fn m056_whether_a_connection_can_be_upgraded_is_read() {
        let mut parts = parts(|_| ());
        assert!(!head(&parts).can_switch);
        for (version, http) in [
            (Version::HTTP_09, HttpVersion::Http10),
            (Version::HTTP_10, HttpVersion::Http10),
            (Version::HTTP_11, HttpVersion::Http11),
            (Version::HTTP_2, HttpVersion::Http2),
            (Version::HTTP_3, HttpVersion::Http2),
        ] {
            parts.version = version;
            assert_eq!(head(&parts).http, http);
        }
    }

    /// A CONNECT of HTTP/1.1 is a method as any other.
    #[test]
    fn an_extended_connect_asks_for_a_websocket() {
        for (version, asks) in [(Version::HTTP_11, false), (Version::HTTP_2, true)] {
            let (mut parts, ()) = Request::connect("/engine.io/").version(version).body(()).unwrap().into_parts();
            assert_eq!(asks_for_upgrade(&parts, false), asks);
            assert_eq!(method(&parts), if asks { Method::Get } else { Method::Other });
            parts.method = http::Method::GET;
            assert!(!asks_for_upgrade(&parts, false));
        }
    }

    #[test]
    fn m056_several_lists_of_subprotocols_are_one() {
        for (lists, joined) in [(&[][..], None), (&["a, b"], Some("a, b")), (&["a", "b, c"], Some("a,b, c"))] {
            let parts = parts(|headers| {
                for list in lists {
                    headers.append("sec-websocket-protocol", HeaderValue::from_static(list));
                }
                join_protocols(headers);
            });
            assert_eq!(head(&parts).protocols, joined.map(str::as_bytes));
            assert_eq!(head(&parts).check(), Ok(()));
        }
        let parts = parts(|headers| {
            for _ in 0..2 {
                headers.append("sec-websocket-protocol", HeaderValue::from_static("a"));
            }
            join_protocols(headers);
        });
        assert_eq!(head(&parts).check(), Err(HeadError::Protocol));
    }

    #[test]
    fn m056_a_body_is_announced_by_its_headers() {
        for (name, value, has_body) in [
            ("content-length", "0", false),
            ("content-length", "1", true),
            ("content-length", "x", true),
            ("transfer-encoding", "chunked", true),
        ] {
            let parts = parts(|headers| {
                headers.insert(name, HeaderValue::from_static(value));
            });
            assert_eq!(head(&parts).has_body, has_body, "{name}: {value}");
        }
    }

    #[test]
    fn only_websocket_is_an_upgrade() {
        for upgrade in ["h2c", "", "websocketx"] {
            let parts = parts(|headers| {
                headers.insert("upgrade", HeaderValue::from_static(upgrade));
            });
            assert!(!is_upgrade(&parts.headers), "{upgrade}");
        }
    }
}
