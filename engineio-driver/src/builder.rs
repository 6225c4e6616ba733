//! The options of a server.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use engineio_proto::http::Mount;
use engineio_proto::server::{Config, Overflow};
use engineio_proto::{ConfigError, Message, Sid, TransportKind};
use http::request::Parts;

use crate::runtime::Runtime;
use crate::server::{ConnectionError, Options, Refusal, Server};

/// Makes a [`Server`]. The defaults are those of the reference where it has the option.
pub struct Builder {
    runtime: Runtime,
    config: Config,
    options: Options,
}

impl Builder {
    /// Begins with the defaults. The runtime crates have a function that does it with their runtime.
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            config: Config::default(),
            options: Options {
                mount: Mount::default(),
                header_timeout: Duration::from_secs(30),
                backlog: 1024,
                allow: None,
                sid: None,
                on_error: None,
            },
        }
    }

    /// From the handshake, or from a pong, to the next ping. Default: 25 s.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// How long a ping may stay without its pong. Default: 20 s.
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.config.ping_timeout = timeout;
        self
    }

    /// How long an upgrade may take. Default: 10 s.
    #[must_use]
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.config.upgrade_timeout = timeout;
        self
    }

    /// How long the orderly end of a session may take. Default: 30 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Bytes of one request body or one WebSocket message. Default: 1,000,000.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// The enabled transports. Default: all.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.config.transports = transports.into_iter().collect();
        self
    }

    /// Whether sessions may change their transport. Default: yes.
    #[must_use]
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.config.allow_upgrades = allow;
        self
    }

    /// A message that every client receives right behind the open packet. Default: none.
    #[must_use]
    pub fn initial_message(mut self, message: impl Into<Message>) -> Self {
        self.config.initial_message = Some(message.into());
        self
    }

    /// Above how many bytes a session takes no more messages to send, and down to how many it must come to take them
    /// again. Default: 1 MiB and 256 KiB.
    #[must_use]
    pub fn send_buffer(mut self, limit: usize, low: usize) -> Self {
        self.config.send_limit = limit;
        self.config.send_low = low;
        self
    }

    /// What happens to a session whose send buffer is full. Default: the sender waits, or gets the message back.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.config.overflow = overflow;
        self
    }

    /// Above how many bytes that the application has not taken a session stops to read from its client.
    /// Default: 1 MiB.
    #[must_use]
    pub fn receive_buffer(mut self, limit: usize) -> Self {
        self.config.receive_limit = limit;
        self
    }

    /// How many sessions there may be. A handshake above it is answered 503. Default: 1,000,000.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.config.max_sessions = sessions;
        self
    }

    /// How many sessions may wait to be accepted. A handshake above it is answered 503. Default: 1024.
    #[must_use]
    pub fn accept_backlog(mut self, sessions: usize) -> Self {
        self.options.backlog = sessions;
        self
    }

    /// Where the server is mounted. Default: `/engine.io`, with a slash behind it in requests.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.options.mount = mount;
        self
    }

    /// How long the body of a POST may take. Default: 30 s.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.config.body_timeout = timeout;
        self
    }

    /// How long the head of a request may take, where the server reads it itself. Default: 30 s.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.options.header_timeout = timeout;
        self
    }

    /// Asks before a session is opened. It is not asked for the later requests of a session.
    ///
    /// The closure may look at the request and take from it what its future needs.
    #[must_use]
    pub fn allow_request<F>(mut self, allow: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        self.options.allow = Some(Box::new(move |parts| Box::pin(allow(parts))));
        self
    }

    /// Makes the ids of sessions. Without an id the handshake is refused, and so it is with one that is taken. Default:
    /// 120 random bits in 20 characters.
    #[must_use]
    pub fn generate_id<F>(mut self, generate: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Sid>> + Send + 'static,
    {
        self.options.sid = Some(Box::new(move |parts| Box::pin(generate(parts))));
        self
    }

    /// Is told of every request that is refused with a code, before the answer is written. It must not block.
    #[must_use]
    pub fn on_connection_error(mut self, report: impl Fn(&ConnectionError<'_>) + Send + Sync + 'static) -> Self {
        self.options.on_error = Some(Box::new(report));
        self
    }

    /// The server.
    ///
    /// # Errors
    /// When the options do not make sense together.
    pub fn build(self) -> Result<Server, ConfigError> {
        let mut options = self.options;
        if options.backlog == 0 {
            return Err(ConfigError::Zero("accept_backlog"));
        }
        if options.header_timeout.is_zero() {
            return Err(ConfigError::Zero("header_timeout"));
        }
        // Longer would be beyond what clocks can count.
        let longest = Duration::from_secs(365 * 24 * 60 * 60);
        options.header_timeout = options.header_timeout.min(longest);
        Server::new(self.runtime, self.config, options)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("mount", &self.options.mount)
            .finish_non_exhaustive()
    }
}
