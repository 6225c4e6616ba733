//! The client's side of a WebSocket's opening handshake: RFC 6455, section 4.1.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::accept::is_upgrade;

/// The opening handshake of a client.
pub(crate) struct Opening {
    key: String,
}

impl Opening {
    pub(crate) fn new() -> Self {
        Self { key: generate_key() }
    }

    /// Returns the headers of the handshake, without those that every request of the client has.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let key = HeaderValue::from_str(&self.key).ok();
        let fixed = [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
        let fixed = fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
        fixed.chain(key.map(|key| (SEC_WEBSOCKET_KEY, key)))
    }

    /// Returns whether the server has accepted the handshake, and chosen only what was offered. `protocols`: whether
    /// subprotocols were offered.
    pub(crate) fn is_accepted(&self, headers: &HeaderMap, protocols: bool) -> bool {
        is_accepted(headers, &self.key, protocols)
    }
}

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
