//! Opening a WebSocket: RFC 6455, section 4.1.

use engineio_proto::client::Details;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::http::{Http, first_words};
use crate::upgrade::is_upgrade;

/// Opens a WebSocket on a connection of its own.
///
/// # Errors
/// What the server answered instead, if it did.
pub(super) async fn open(http: &Http, target: &str) -> Result<Upgraded, Option<Details>> {
    let key = generate_key();
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let headers = [
        (CONNECTION, value("Upgrade")),
        (UPGRADE, value("websocket")),
        (SEC_WEBSOCKET_VERSION, value("13")),
        (SEC_WEBSOCKET_KEY, value(&key)),
    ];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let request = http.request(Method::GET, target, headers).ok_or(None)?;
    let offered = request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    let mut sender = http.connect().await.map_err(|error| {
        http.keep_error(error);
        None
    })?;
    let response = sender.send_request(request).await.map_err(|_| None)?;
    http.keep_cookies(response.headers());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        let body = first_words(http.runtime(), response.into_body()).await;
        return Err(Some(Details::answer(status, &body)));
    }
    if !is_accepted(response.headers(), &key, offered) {
        return Err(None);
    }
    hyper::upgrade::on(response).await.map_err(|_| None)
}

/// Whether the server understood, and wants nothing that was not offered.
fn is_accepted(headers: &HeaderMap, key: &str, protocols: bool) -> bool {
    let accept = headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    let protocol = headers.contains_key(SEC_WEBSOCKET_PROTOCOL) && !protocols;
    let uninvited = protocol || headers.contains_key(SEC_WEBSOCKET_EXTENSIONS);
    is_upgrade(headers) && accept == Some(derive_accept_key(key.as_bytes()).as_bytes()) && !uninvited
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn accepted(change: impl FnOnce(&mut HeaderMap)) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        change(&mut headers);
        is_accepted(&headers, KEY, false)
    }

    #[test]
    fn only_the_answer_to_this_very_handshake_opens_a_websocket() {
        assert!(accepted(|_| ()));
        assert!(!accepted(|headers| drop(headers.remove(UPGRADE))));
        assert!(!accepted(|headers| drop(headers.remove(CONNECTION))));
        assert!(!accepted(|headers| drop(headers.remove(SEC_WEBSOCKET_ACCEPT))));
        assert!(!accepted(|headers| {
            headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("c3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        }));
        assert!(!accepted(|headers| {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate"));
        }));
        assert!(!accepted(|headers| {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat"));
        }));
    }
}
