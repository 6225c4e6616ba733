//! The options of a server.

use core::time::Duration;

use bytes::Bytes;

use crate::parts::config::{ConfigError, refuse_zero};
use crate::parts::flow::Limits;
use crate::parts::heartbeat::pinger::Times;
use crate::parts::transport::{TransportKind, Transports};
use crate::session::event::BodyError;
use crate::wire::codec::Codec;
use crate::wire::message::Message;

/// The options of a server and of its sessions.
///
/// Options have the defaults of the reference implementation where it has them.
///
/// ```
/// use core::time::Duration;
/// use engineio_proto::server::Config;
/// use engineio_proto::Server;
///
/// let mut config = Config::default();
/// config.ping_interval = Duration::from_secs(10);
/// let server = Server::new(config)?;
/// # Ok::<(), engineio_proto::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The time from the handshake, or from a pong, to the next ping. At least 1 ms; together with `ping_timeout`, at most
    /// 2,147,483,647 ms (24 days), the longest time of timers in JavaScript. Default: 25 s.
    pub ping_interval: Duration,
    /// The time that a client has to answer a ping. At least 1 ms. Default: 20 s.
    pub ping_timeout: Duration,
    /// The time that an upgrade may take, from the opening of the second transport to the upgrade packet. Then the session
    /// stays on polling. At least 1 ms. Default: 10 s.
    pub upgrade_timeout: Duration,
    /// The time that an orderly close may take to write what is buffered. Then the session ends with
    /// [`TransportError::CloseTimeout`](crate::TransportError::CloseTimeout). At least 1 ms. Default: 30 s.
    pub close_timeout: Duration,
    /// The time that the body of a POST may take to arrive. Then the POST is answered 408, and the session ends with
    /// [`TransportError::PostTimeout`](crate::TransportError::PostTimeout). At least 1 ms. Default: 30 s.
    pub body_timeout: Duration,
    /// The time that a client on polling has, after the answer to its handshake, for its first request that names the
    /// session: a poll, a POST, or the upgrade. Then the session ends with
    /// [`TransportError::Unconfirmed`](crate::TransportError::Unconfirmed). While `max_sessions` is reached, such a session
    /// ends after a tenth of this time, as soon as another client needs its place. Sessions that start on a WebSocket are
    /// not concerned: each has a connection. At least 1 ms. Default: 10 s. Clients poll at once; 10 s bridge several lost
    /// packets on a mobile network.
    pub confirm_timeout: Duration,
    /// The maximum size of a request body and of a WebSocket message that a client may send, and of a payload that is
    /// sent to it, in bytes. At least 1. Default: 1,000,000. See also [`Config::checked_body`].
    pub max_payload: usize,
    /// The enabled transports. At least one. Default: all.
    pub transports: Transports,
    /// Whether a session may change its transport. If not, upgrades are neither offered nor accepted. Default: yes.
    pub allow_upgrades: bool,
    /// A message that every client receives right after the open packet. It must not be text with the character 0x1E, which
    /// polling cannot carry. Default: none.
    pub initial_message: Option<Message>,
    /// The limit of the send buffer in bytes, counted by [`Message::cost`]. A session whose buffer has reached it accepts no
    /// messages. The last message that was accepted may exceed the limit. At least 1. Default: 1 MiB.
    pub send_limit: usize,
    /// The level in bytes to which a full send buffer must sink before [`Event::Writable`](crate::Event::Writable). At most
    /// `send_limit`. Default: 256 KiB.
    pub send_low: usize,
    /// What happens when a message is sent and the send buffer is full. Default: [`Overflow::Refuse`].
    pub overflow: Overflow,
    /// The limit of the receive buffer in bytes, counted by [`Message::cost`]. While the messages that the application has not
    /// taken reach it, the session does not read from its client. At least 1. Default: 1 MiB.
    pub receive_limit: usize,
    /// The maximum number of sessions. A further handshake takes the place of the oldest session that has shown nothing but
    /// its handshake, see `confirm_timeout`; if there is none, it is answered with 503. At least 1. Default: 1,000,000.
    pub max_sessions: usize,
}

/// What happens when the send buffer of a session is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The message is returned to the sender, who can wait for room. A session whose client takes nothing ends when a
    /// ping cannot be handed over within [`Config::ping_timeout`].
    #[default]
    Refuse,
    /// The session ends at once, with [`TransportError::SlowConsumer`](crate::TransportError::SlowConsumer).
    Close,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            confirm_timeout: Duration::from_secs(10),
            max_payload: 1_000_000,
            transports: Transports::ALL,
            allow_upgrades: true,
            initial_message: None,
            send_limit: 1 << 20,
            send_low: 1 << 18,
            overflow: Overflow::Refuse,
            receive_limit: 1 << 20,
            max_sessions: 1_000_000,
        }
    }
}

/// The longest time in milliseconds that a timer of JavaScript can be set to. A longer one ends at once.
const MAX_TIMER: u128 = i32::MAX as u128;

impl Config {
    /// Checks the options. [`Server::new`](crate::Server::new) does it, too.
    ///
    /// # Errors
    /// Returns an error for the first option that is not valid.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
            ("close_timeout", self.close_timeout),
            ("body_timeout", self.body_timeout),
            ("confirm_timeout", self.confirm_timeout),
        ];
        // The open packet has times in milliseconds.
        refuse_zero(durations, |duration| duration.as_millis() == 0)?;
        // A client waits for a ping as long as both together, as it reads them in the open packet.
        let silence = self.ping_interval.as_millis().saturating_add(self.ping_timeout.as_millis());
        if silence > MAX_TIMER {
            return Err(ConfigError::Heartbeat);
        }
        let sizes = [
            ("max_payload", self.max_payload),
            ("send_limit", self.send_limit),
            ("receive_limit", self.receive_limit),
            ("max_sessions", self.max_sessions),
        ];
        refuse_zero(sizes, |size| size == 0)?;
        if self.transports.is_empty() {
            return Err(ConfigError::NoTransport);
        }
        if self.send_low > self.send_limit {
            return Err(ConfigError::Marks);
        }
        if self.initial_message.as_ref().is_some_and(|message| !Codec::V4.fits_payload(message)) {
            return Err(ConfigError::Separator);
        }
        Ok(())
    }

    /// Returns the largest request body to read, in bytes: [`max_payload`](Self::max_payload) and a half.
    ///
    /// The official client counts binary data as smaller than it becomes in base64, so its bodies may exceed the limit; the
    /// most if all messages have one byte. When such a body was read, [`Config::checked_body`] tells whether it is accepted.
    pub const fn max_body(&self) -> usize {
        self.max_payload.saturating_add(self.max_payload.div_ceil(2))
    }

    /// Returns a request body that was read, if it is not larger than [`max_payload`](Self::max_payload), also if the
    /// official client has counted it as such: it counts 1.33 bytes for each byte of binary data.
    ///
    /// # Errors
    /// Returns the error to report to the session.
    pub fn checked_body(&self, body: Bytes) -> Result<Bytes, BodyError> {
        if Codec::V4.is_body_within(&body, self.max_payload) { Ok(body) } else { Err(BodyError::TooLarge) }
    }

    /// Returns how old an unconfirmed session must be to be ended for another one: a tenth of
    /// [`confirm_timeout`](Self::confirm_timeout).
    pub fn evict_after(&self) -> Duration {
        self.confirm_timeout / 10
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits { send: self.send_limit, send_low: self.send_low, receive: self.receive_limit }
    }

    pub(crate) const fn times(&self) -> Times {
        Times { interval: self.ping_interval, timeout: self.ping_timeout }
    }

    /// Returns the transports to which a session that started on `from` may change.
    pub fn upgrades(&self, from: TransportKind) -> Transports {
        match from {
            TransportKind::Polling if self.allow_upgrades => self.transports.without(TransportKind::Polling),
            _ => Transports::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(with(|_| ()), Ok(()));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(with(|c| c.ping_timeout = Duration::ZERO), Err(ConfigError::Zero("ping_timeout")));
        assert_eq!(with(|c| c.ping_interval = Duration::from_micros(9)), Err(ConfigError::Zero("ping_interval")));
        assert_eq!(with(|c| c.confirm_timeout = Duration::ZERO), Err(ConfigError::Zero("confirm_timeout")));
        assert_eq!(with(|c| c.max_payload = 0), Err(ConfigError::Zero("max_payload")));
        assert_eq!(with(|c| c.transports = Transports::NONE), Err(ConfigError::NoTransport));
        assert_eq!(with(|c| c.send_low = c.send_limit), Ok(()));
        assert_eq!(with(|c| c.send_low = c.send_limit + 1), Err(ConfigError::Marks));
        assert_eq!(with(|c| c.initial_message = Some("a\x1eb".into())), Err(ConfigError::Separator));
    }

    /// The official client ended a session at once whose server announced more.
    #[test]
    fn a_heartbeat_that_kills_clients_is_refused() {
        let heartbeat =
            |interval: Duration, timeout: Duration| with(|c| (c.ping_interval, c.ping_timeout) = (interval, timeout));
        let longest = Duration::from_millis(2_147_483_647);
        let short = Duration::from_millis(1);
        assert_eq!(heartbeat(longest - short, short), Ok(()));
        // As the open packet has them: a part of a millisecond is cut off.
        assert_eq!(heartbeat(longest - short, short + Duration::from_micros(999)), Ok(()));
        for (interval, timeout) in
            [(longest, short), (short, longest), (Duration::MAX, short), (longest, Duration::MAX)]
        {
            assert_eq!(heartbeat(interval, timeout), Err(ConfigError::Heartbeat), "{interval:?}, {timeout:?}");
        }
        let text = "ping_interval and ping_timeout must not be longer than 2147483647 ms (24 days) together";
        assert_eq!(alloc::string::ToString::to_string(&ConfigError::Heartbeat), text);
        // Other times are not announced to clients. The longest means that there is no limit.
        assert_eq!(with(|c| (c.upgrade_timeout, c.close_timeout) = (Duration::MAX, Duration::MAX)), Ok(()));
        assert_eq!(with(|c| (c.body_timeout, c.confirm_timeout) = (Duration::MAX, Duration::MAX)), Ok(()));
    }

    #[test]
    fn offers_what_is_enabled_and_reachable() {
        let mut config = Config::default();
        let websocket = Transports::NONE.with(TransportKind::WebSocket);
        assert_eq!(config.upgrades(TransportKind::Polling), websocket);
        assert_eq!(config.upgrades(TransportKind::WebSocket), Transports::NONE);
        config.transports = Transports::NONE.with(TransportKind::Polling);
        assert_eq!(config.upgrades(TransportKind::Polling), Transports::NONE);
        config.transports = websocket.with(TransportKind::Polling);
        config.allow_upgrades = false;
        assert_eq!(config.upgrades(TransportKind::Polling), Transports::NONE);
    }
}
