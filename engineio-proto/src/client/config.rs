//! The options of a client.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::parts::config::ConfigError;
use crate::parts::config::refuse_zero;
use crate::parts::flow::Limits;
use crate::parts::transport::{TransportKind, Transports};

/// The options of a client.
///
/// Options have the defaults of the reference implementation where it has them.
///
/// ```
/// use engineio_proto::client::Config;
/// use engineio_proto::TransportKind;
///
/// let mut config = Config::default();
/// config.transports = vec![TransportKind::WebSocket];
/// config.query = "token=abc".into();
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The transports that may be used. The first one opens the session. At least one. Default: polling, then WebSocket.
    pub transports: Vec<TransportKind>,
    /// Whether to change from polling to a WebSocket if the server offers it. Default: yes.
    pub upgrade: bool,
    /// Whether to try the next transport if one fails before the session is open. Default: no.
    pub try_all_transports: bool,
    /// Whether a WebSocket worked for an earlier client, see
    /// [`Client::websocket_worked`](crate::Client::websocket_worked). If so, and if it is among `transports`, the session
    /// opens on a WebSocket. Default: no.
    pub websocket_worked: bool,
    /// The path of all requests, encoded as in a URL. It begins with a slash. Default: `/engine.io/`.
    pub path: String,
    /// Parameters for the query of all requests, encoded as in a URL: `a=1&b=2`. The parameters of the protocol (`EIO`,
    /// `transport`, `b64`, the stamp, and `sid` once the session is open) are left out. Default: none.
    pub query: String,
    /// Whether to send binary messages as base64 on a WebSocket, and to ask the server to do the same. Default: no.
    pub base64: bool,
    /// Which requests carry a stamp: a value that no other request has, so that caches do not answer. Default: those of
    /// polling.
    pub stamps: Stamps,
    /// The name of the stamp in the query: letters, digits, and `-_.~`. Not empty. Default: `t`.
    pub stamp_name: String,
    /// The time that a transport may take to open the session. At least 1 ms. Default: 20 s. (The reference implementation
    /// has no limit; the one of Socket.IO is the same.)
    pub open_timeout: Duration,
    /// The time that an upgrade may take, from its beginning to the upgrade packet. Then the session stays on polling. At
    /// least 1 ms. Default: 10 s. (The reference implementation leaves this limit to the server.)
    pub upgrade_timeout: Duration,
    /// The time that an orderly close may take to write what is buffered and to send the close packet. Then the session ends
    /// with [`TransportError::CloseTimeout`](crate::TransportError::CloseTimeout). At least 1 ms. Default: 30 s.
    pub close_timeout: Duration,
    /// The largest answer to a poll and the largest WebSocket message that the server may send, in bytes. At least 1.
    /// Default: 64 MiB. (The reference implementation limits WebSocket messages only, to 100 MiB.)
    pub max_payload: usize,
    /// The largest number of packets in a POST. At least 1. Default: 16. (The reference implementation has no limit. But
    /// python-engineio, with its default options, accepts a POST of more than 16 packets and drops it.)
    pub max_packets: usize,
    /// The limit of the send buffer in bytes, counted by [`Message::cost`](crate::Message::cost). A client whose buffer has
    /// reached it accepts no messages. The last message that was accepted may exceed the limit. At least 1. Default: 1 MiB.
    pub send_limit: usize,
    /// The level in bytes to which a full send buffer must sink before [`Event::Writable`](crate::Event::Writable). At most
    /// `send_limit`. Default: 256 KiB.
    pub send_low: usize,
    /// The limit of the receive buffer in bytes, counted by [`Message::cost`](crate::Message::cost). While the messages that
    /// the application has not taken reach it, the client does not read from the server. At least 1. Default: 1 MiB.
    pub receive_limit: usize,
}

/// Which requests of a client carry a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Stamps {
    /// No requests.
    Never,
    /// GETs and POSTs of polling.
    #[default]
    Polling,
    /// All requests, also those that open a WebSocket.
    Always,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transports: Transports::ALL.iter().collect(),
            upgrade: true,
            try_all_transports: false,
            websocket_worked: false,
            path: "/engine.io/".into(),
            query: String::new(),
            base64: false,
            stamps: Stamps::Polling,
            stamp_name: "t".into(),
            open_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(30),
            max_payload: 64 << 20,
            max_packets: 16,
            send_limit: 1 << 20,
            send_low: 1 << 18,
            receive_limit: 1 << 20,
        }
    }
}

impl Config {
    pub(crate) const fn limits(&self) -> Limits {
        Limits { send: self.send_limit, send_low: self.send_low, receive: self.receive_limit }
    }

    /// Checks the options. [`Client::new`](crate::Client::new) does it, too.
    ///
    /// # Errors
    /// Returns an error for the first option that is not valid.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("open_timeout", self.open_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
            ("close_timeout", self.close_timeout),
        ];
        refuse_zero(durations, |duration| duration.as_millis() == 0)?;
        let sizes = [
            ("max_payload", self.max_payload),
            ("max_packets", self.max_packets),
            ("send_limit", self.send_limit),
            ("receive_limit", self.receive_limit),
        ];
        refuse_zero(sizes, |size| size == 0)?;
        if self.transports.is_empty() {
            return Err(ConfigError::NoTransport);
        }
        if self.send_low > self.send_limit {
            return Err(ConfigError::Marks);
        }
        if !is_path(&self.path) {
            return Err(ConfigError::Path);
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if !is_query(&self.query) || self.stamp_name.is_empty() || !self.stamp_name.bytes().all(is_name) {
            return Err(ConfigError::Query);
        }
        Ok(())
    }

    /// Returns the target of a request: the path and the query of its URL.
    pub(crate) fn target(&self, transport: TransportKind, sid: Option<&str>, stamp: &str) -> String {
        let mut target = self.path.clone();
        let mut append = |name: &str, value: &str| {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(name);
            if !name.is_empty() {
                target.push('=');
            }
            target.push_str(value);
        };
        // A query that was copied from a request's URL has the parameters of the protocol already.
        let reserved = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default();
            ["EIO", "transport", "b64", &self.stamp_name].contains(&name) || (name == "sid" && sid.is_some())
        };
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !reserved(pair)) {
            append("", pair);
        }
        append("EIO", "4");
        append("transport", transport.name());
        if let Some(sid) = sid {
            append("sid", &form_urlencoded::byte_serialize(sid.as_bytes()).collect::<String>());
        }
        let stamped = match self.stamps {
            Stamps::Never => false,
            Stamps::Polling => transport == TransportKind::Polling,
            Stamps::Always => true,
        };
        if stamped {
            append(&self.stamp_name, stamp);
        }
        if self.base64 {
            append("b64", "1");
        }
        target
    }

    /// Returns the transport that opens the session, out of those that are left.
    pub(crate) fn first_transport(&self, left: Transports, websocket_worked: bool) -> Option<TransportKind> {
        if websocket_worked && left.contains(TransportKind::WebSocket) {
            return Some(TransportKind::WebSocket);
        }
        self.transports.iter().copied().find(|&kind| left.contains(kind))
    }
}

/// Returns whether a path begins with a slash, and has no character that ends a path or must be encoded.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| is_url(byte) && byte != b'?')
}

fn is_query(query: &str) -> bool {
    query.bytes().all(is_url)
}

/// Returns whether this character is allowed in the path or query of a URL without being encoded.
fn is_url(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'\\' | b'^' | b'|')
}

/// Leaves out the query, which may contain a secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("transports", &self.transports)
            .field("upgrade", &self.upgrade)
            .field("try_all_transports", &self.try_all_transports)
            .field("path", &self.path)
            .field("base64", &self.base64)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn with(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|c| c.open_timeout = Duration::ZERO), Err(ConfigError::Zero("open_timeout")));
        assert_eq!(with(|c| c.receive_limit = 0), Err(ConfigError::Zero("receive_limit")));
        assert_eq!(with(|c| c.send_low = c.send_limit), Ok(()));
        assert_eq!(with(|c| c.send_low = c.send_limit + 1), Err(ConfigError::Marks));
        for path in ["", "engine.io", "/a b", "/a?b", "/a#b", "/é", "/a<b", "/`", "/a\\b"] {
            assert_eq!(with(|c| c.path = path.into()), Err(ConfigError::Path), "{path}");
        }
        for query in ["a b", "a#b", "a=\u{e9}", "a\r\nb"] {
            assert_eq!(with(|c| c.query = query.into()), Err(ConfigError::Query), "{query}");
        }
        assert_eq!(with(|c| c.stamp_name = String::new()), Err(ConfigError::Query));
    }

    #[test]
    fn c021_without_a_transport_there_is_no_client() {
        assert_eq!(with(|c| c.transports = vec![]), Err(ConfigError::NoTransport));
    }

    #[test]
    fn c032_targets_are_written_in_the_order_of_the_reference() {
        let mut config = Config::default();
        let target = |config: &Config, transport, sid| config.target(transport, sid, "ABCDEFGH");
        assert_eq!(target(&config, TransportKind::Polling, None), "/engine.io/?EIO=4&transport=polling&t=ABCDEFGH");
        assert_eq!(target(&config, TransportKind::WebSocket, None), "/engine.io/?EIO=4&transport=websocket");
        config.query = "a=1&b=%20".into();
        config.base64 = true;
        assert_eq!(
            target(&config, TransportKind::Polling, Some("x/ y")),
            "/engine.io/?a=1&b=%20&EIO=4&transport=polling&sid=x%2F+y&t=ABCDEFGH&b64=1"
        );
        config.stamps = Stamps::Never;
        config.path = "/chat".into();
        assert_eq!(target(&config, TransportKind::Polling, None), "/chat?a=1&b=%20&EIO=4&transport=polling&b64=1");
    }

    #[test]
    fn what_is_the_protocols_own_is_not_said_twice() {
        let query = "EIO=4&token=a&transport=websocket&&sid=x&t=1&b64=1&tt=2".into();
        let config = Config { query, ..Config::default() };
        let target = config.target(TransportKind::Polling, Some("y"), "ABCDEFGH");
        assert_eq!(target, "/engine.io/?token=a&tt=2&EIO=4&transport=polling&sid=y&t=ABCDEFGH");
    }

    #[test]
    fn c038_stamps_where_they_are_asked_for() {
        let config = Config { stamps: Stamps::Always, stamp_name: "ts".into(), ..Config::default() };
        let target = config.target(TransportKind::WebSocket, None, "ABCDEFGH");
        assert_eq!(target, "/engine.io/?EIO=4&transport=websocket&ts=ABCDEFGH");
    }

    #[test]
    fn a_query_stays_out_of_logs() {
        let config = Config { query: "token=secret".into(), ..Config::default() };
        let text = alloc::format!("{config:?}");
        assert!(text.contains(r#"path: "/engine.io/""#) && !text.contains("secret"), "{text}");
    }
}
