//! What a server can be told.

use core::time::Duration;

use crate::parts::config::{ConfigError, refuse_zero};
use crate::parts::flow::Limits;
use crate::parts::heartbeat::pinger::Times;
use crate::parts::transport::{TransportKind, Transports};
use crate::wire::codec::Codec;
use crate::wire::message::Message;

/// The options of a server and of its sessions. The defaults are those of the reference where it has the option.
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
    /// From the handshake, or from a pong, to the next ping. Default: 25 s.
    pub ping_interval: Duration,
    /// How long a ping may stay without its pong. Default: 20 s.
    pub ping_timeout: Duration,
    /// How long an upgrade may take, from the opening of the second transport to the upgrade packet. Default: 10 s.
    pub upgrade_timeout: Duration,
    /// How long a session that the application closed may need to hand over what is buffered. Default: 30 s.
    pub close_timeout: Duration,
    /// How long the body of a POST may take to arrive. Default: 30 s.
    pub body_timeout: Duration,
    /// Bytes of one request body or one WebSocket message from a client, and of one payload to it. Default: 1,000,000.
    pub max_payload: usize,
    /// The enabled transports. Default: all.
    pub transports: Transports,
    /// Whether a session may change its transport. When not, upgrades are neither offered nor accepted. Default: yes.
    pub allow_upgrades: bool,
    /// A message that every client receives right behind the open packet. Default: none.
    pub initial_message: Option<Message>,
    /// Above how many bytes (see [`Message::cost`]) a session takes no more messages to send. Default: 1 MiB.
    ///
    /// The message that reaches the limit may exceed it: so much is buffered at most, and one message.
    pub send_limit: usize,
    /// Down to how many bytes a full send buffer must empty before it reports that it is writable. Default: 256 KiB.
    pub send_low: usize,
    /// What happens when the send buffer is full. Default: [`Overflow::Refuse`].
    pub overflow: Overflow,
    /// Above how many received bytes (see [`Message::cost`]) that the application has not taken yet a session stops
    /// to read from its client. Default: 1 MiB.
    pub receive_limit: usize,
    /// How many sessions a server holds at most; a handshake above it is answered 503. Default: 1,000,000.
    pub max_sessions: usize,
}

/// What happens to a session whose send buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The message is given back to the sender, who may wait for room. A client that takes nothing at all is closed
    /// when a ping cannot be handed over within [`Config::ping_timeout`].
    #[default]
    Refuse,
    /// The session is closed at once, as one whose client reads too slowly.
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

impl Config {
    /// Checks that the options make sense together. [`Server::new`](crate::Server::new) does it too.
    ///
    /// # Errors
    /// The first option that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
            ("close_timeout", self.close_timeout),
            ("body_timeout", self.body_timeout),
        ];
        // The clock of the core counts microseconds, and the client is told milliseconds.
        refuse_zero(durations, |duration| duration.as_millis() == 0)?;
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

    pub(crate) const fn limits(&self) -> Limits {
        Limits { send: self.send_limit, send_low: self.send_low, receive: self.receive_limit }
    }

    pub(crate) const fn times(&self) -> Times {
        Times { interval: self.ping_interval, timeout: self.ping_timeout }
    }

    /// The transports that a session which started on `from` may change to.
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
        assert_eq!(with(|c| c.max_payload = 0), Err(ConfigError::Zero("max_payload")));
        assert_eq!(with(|c| c.transports = Transports::NONE), Err(ConfigError::NoTransport));
        assert_eq!(with(|c| c.send_low = c.send_limit), Ok(()));
        assert_eq!(with(|c| c.send_low = c.send_limit + 1), Err(ConfigError::Marks));
        assert_eq!(with(|c| c.initial_message = Some("a\x1eb".into())), Err(ConfigError::Separator));
    }
}
