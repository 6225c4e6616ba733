//! The HTTP side of opening a WebSocket: RFC 6455, section 4.2.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Response, StatusCode, request};
use tungstenite::handshake::derive_accept_key;

use crate::body::ReplyBody;

/// Whether a request asks for a WebSocket. An upgrade to anything else is none.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

/// The 101 for a handshake.
///
/// # Errors
/// The answer to one that breaks the rules, with the status and the text of the reference's WebSocket library.
pub(crate) fn accept(parts: &request::Parts) -> Result<Response<ReplyBody>, Box<Response<ReplyBody>>> {
    if parts.method != Method::GET {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Invalid HTTP method"));
    }
    let key = parts.headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let Some(key) = key else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Missing or invalid Sec-WebSocket-Key header"));
    };
    let version = parts.headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    if !matches!(version, Some(b"13" | b"8")) {
        let mut refusal = refuse(StatusCode::BAD_REQUEST, "Missing or invalid Sec-WebSocket-Version header");
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
        return Err(refusal);
    }
    let mut response = Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = parts.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(first_protocol) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

fn refuse(status: StatusCode, text: &'static str) -> Box<Response<ReplyBody>> {
    let mut response = Response::new(ReplyBody::from(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Box::new(response)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// 16 bytes in base64: 22 digits and two signs of equality.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22 && digits.iter().all(digit))
}

/// The client's first choice is ours.
fn first_protocol(offered: &HeaderValue) -> Option<HeaderValue> {
    let first = offered.as_bytes().split(|&byte| byte == b',').next()?.trim_ascii();
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if first.is_empty() || !first.iter().all(token) {
        return None;
    }
    HeaderValue::from_bytes(first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http_body::Body as _;

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
        let response = accept(&parts).unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn m056_what_breaks_the_rules() {
        let mut post = parts(|_| ());
        post.method = Method::POST;
        assert_eq!(accept(&post).unwrap_err().status(), 405);
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ=== ", "dGhlIHNhbXBsZSBub25j-Q=="] {
            let broken = parts(|headers| {
                headers.insert("sec-websocket-key", HeaderValue::from_static(key));
            });
            assert_eq!(accept(&broken).unwrap_err().status(), 400, "{key}");
        }
        let missing = parts(|headers| {
            headers.remove("sec-websocket-key");
        });
        assert!(accept(&missing).unwrap_err().body().size_hint().exact() > Some(0));
        let old = parts(|headers| {
            headers.insert("sec-websocket-version", HeaderValue::from_static("7"));
        });
        let refusal = accept(&old).unwrap_err();
        assert_eq!(
            (refusal.status().as_u16(), &refusal.headers()["sec-websocket-version"]),
            (400, &"13, 8".parse().unwrap())
        );
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

    #[test]
    fn sec33_the_first_protocol_is_taken_in_linear_time() {
        let long = " ,".repeat(32 * 1024);
        for (offered, taken) in
            [("a, b", Some("a")), (" chat ", Some("chat")), ("", None), ("a b", None), (&long, None)]
        {
            let parts = parts(|headers| {
                headers.insert("sec-websocket-protocol", HeaderValue::from_str(offered).unwrap());
            });
            let response = accept(&parts).unwrap();
            let answer = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
            assert_eq!(answer, taken);
        }
    }
}
