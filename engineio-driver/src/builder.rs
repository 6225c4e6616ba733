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

/// Builds a [`Server`].
///
/// Options have the reference's names and defaults where the reference has them.
pub struct Builder {
    runtime: Runtime,
    config: Config,
    options: Options,
}

impl Builder {
    /// Starts with the default options. The runtime crates have a function that does this with their runtime.
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            config: Config::default(),
            options: Options {
                mount: Mount::default(),
                header_timeout: Duration::from_secs(30),
                idle_timeout: Duration::from_secs(75),
                write_timeout: Duration::from_secs(60),
                answer_timeout: Duration::from_secs(300),
                shutdown_timeout: Duration::from_secs(8),
                max_connections: 100_000,
                max_headers: 100,
                max_header_size: 16 * 1024,
                backlog: 1024,
                allow: None,
                sid: None,
                on_error: None,
            },
        }
    }

    /// Sets the time from the handshake, or from a pong, to the next ping. Together with [`ping_timeout`] it must not be
    /// longer than 24 days (2,147,483,647 ms), the longest time of timers in JavaScript. Default: 25 s.
    ///
    /// [`ping_timeout`]: Builder::ping_timeout
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// Sets how long a pong may take before the session is closed. Default: 20 s.
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.config.ping_timeout = timeout;
        self
    }

    /// Sets how long an upgrade may take. Default: 10 s.
    #[must_use]
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.config.upgrade_timeout = timeout;
        self
    }

    /// Sets how long an orderly close of a session may take. Default: 30 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Sets the maximum size of a request body or a WebSocket message, in bytes. A body with binary messages may be a little
    /// larger: the official client counts it as smaller than it is. Default: 1,000,000.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// Sets the enabled transports. Default: all.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.config.transports = transports.into_iter().collect();
        self
    }

    /// Sets whether sessions may change their transport. Default: yes.
    #[must_use]
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.config.allow_upgrades = allow;
        self
    }

    /// Sets a message that every client receives right after the open packet. Default: none.
    #[must_use]
    pub fn initial_message(mut self, message: impl Into<Message>) -> Self {
        self.config.initial_message = Some(message.into());
        self
    }

    /// Sets the limits of the send buffer of a session, in bytes. At `limit`, the session accepts no more messages; it
    /// accepts messages again once the buffer has emptied to `low`. Default: 1 MiB and 256 KiB.
    #[must_use]
    pub fn send_buffer(mut self, limit: usize, low: usize) -> Self {
        self.config.send_limit = limit;
        self.config.send_low = low;
        self
    }

    /// Sets what happens when the send buffer of a session is full. Default: the sender waits, or gets the message
    /// back.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.config.overflow = overflow;
        self
    }

    /// Sets the limit of the receive buffer of a session, in bytes. While more waits for the application, the session
    /// does not read from its client. Default: 1 MiB.
    #[must_use]
    pub fn receive_buffer(mut self, limit: usize) -> Self {
        self.config.receive_limit = limit;
        self
    }

    /// Sets the maximum number of sessions. A handshake above it takes the place of the oldest session that has shown
    /// nothing but its handshake, see [`Builder::confirm_timeout`]; if there is none, it is answered with 503. Default:
    /// 1,000,000.
    #[must_use]
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.config.max_sessions = sessions;
        self
    }

    /// Sets how many sessions may wait to be accepted. For a handshake above it, the oldest session that has ended gives
    /// its place up; if none has ended, the handshake is answered with 503. Default: 1024.
    #[must_use]
    pub fn accept_backlog(mut self, sessions: usize) -> Self {
        self.options.backlog = sessions;
        self
    }

    /// Sets the path at which the server is mounted. Default: `/engine.io`; requests have a slash after it.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.options.mount = mount;
        self
    }

    /// Sets how long the body of a POST may take. Default: 30 s.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.config.body_timeout = timeout;
        self
    }

    /// Sets how long a client on polling may take, after the answer to its handshake, for its next request: a poll, a POST,
    /// or an upgrade. After that, the session ends. If the number of sessions has reached
    /// [`Builder::max_sessions`], such a session ends after a tenth of this time, as soon as another client needs its
    /// place. Default: 10 s.
    ///
    /// Clients send this request at once. A session that starts on a WebSocket has no such limit, but a connection.
    #[must_use]
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.config.confirm_timeout = timeout;
        self
    }

    /// Sets how long the head of a request may take, on connections that the server reads itself: from its first byte to
    /// its last, and for the first request from the beginning of the connection. Default: 30 s.
    #[must_use]
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.options.header_timeout = timeout;
        self
    }

    /// Sets how long a connection without a request is kept, on connections that the server reads itself. Default: 75 s.
    ///
    /// A load balancer keeps connections to the server too, often for 60 s. Its time must be shorter than this one:
    /// otherwise it sends requests on connections that the server is closing, and answers its clients with 502.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = timeout;
        self
    }

    /// Sets how long a client may take to take another byte of an answer, on connections that the server writes itself.
    /// After that, the connection is dropped, and a session whose answer is lost ends. Default: 60 s.
    ///
    /// This does not limit WebSockets, which have the heartbeat.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.options.write_timeout = timeout;
        self
    }

    /// Sets how long a client may take to take all that waits to be written, usually one answer, however steadily it does
    /// so. It holds where [`Builder::write_timeout`] does. Default: 300 s.
    ///
    /// If the session of the answer is over, the rest may take [`Builder::close_timeout`] at most.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.options.answer_timeout = timeout;
        self
    }

    /// Sets how long [`Server::shutdown`] may take. After that, sessions that are still open are aborted, and connections
    /// that are still there are dropped. Default: 8 s.
    ///
    /// Choose less than the time after which the process is killed: 10 s for Docker, 30 s for Kubernetes.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.options.shutdown_timeout = timeout;
        self
    }

    /// Sets the maximum number of connections that the server serves itself, WebSockets included. A connection above it
    /// is dropped at once. Default: 100,000.
    ///
    /// If the system allows fewer open files, further connections wait in the listener's queue instead.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.options.max_connections = connections;
        self
    }

    /// Sets the maximum number of headers of a request, on connections that the server reads itself. A request above it
    /// is answered with 431. Default: 100.
    #[must_use]
    pub fn max_headers(mut self, headers: usize) -> Self {
        self.options.max_headers = headers;
        self
    }

    /// Sets the maximum size of the head of a request, in bytes: the request line and all headers. A request above it is
    /// answered with 431, on connections that the server reads itself. Default: 16,384.
    ///
    /// A session keeps at most as much of its first request, however the server is mounted: headers that exceed it are
    /// left out of [`Handle::request`](crate::Handle::request).
    #[must_use]
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.options.max_header_size = bytes;
        self
    }

    /// Sets a check that runs before a session is opened. It is not called for later requests of the session.
    ///
    /// The closure reads the request, and copies from it what the future needs.
    #[must_use]
    pub fn allow_request<F>(mut self, allow: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        self.options.allow = Some(Box::new(move |parts| Box::pin(allow(parts))));
        self
    }

    /// Sets the generator of session ids. Default: 120 random bits, written as 20 characters.
    ///
    /// The handshake is rejected if the generator returns `None`, or an id that is in use.
    #[must_use]
    pub fn generate_id<F>(mut self, generate: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Sid>> + Send + 'static,
    {
        self.options.sid = Some(Box::new(move |parts| Box::pin(generate(parts))));
        self
    }

    /// Sets a callback for every request that is rejected with an error code. It runs before the answer is written, and
    /// must not block.
    #[must_use]
    pub fn on_connection_error(mut self, report: impl Fn(&ConnectionError<'_>) + Send + Sync + 'static) -> Self {
        self.options.on_error = Some(Box::new(report));
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    /// Returns an error if the options are not valid.
    pub fn build(self) -> Result<Server, ConfigError> {
        let mut options = self.options;
        if options.backlog == 0 {
            return Err(ConfigError::Zero("accept_backlog"));
        }
        // The clock cannot represent much longer times.
        let longest = Duration::from_secs(365 * 24 * 60 * 60);
        for (name, timeout) in [
            ("header_timeout", &mut options.header_timeout),
            ("idle_timeout", &mut options.idle_timeout),
            ("write_timeout", &mut options.write_timeout),
            ("answer_timeout", &mut options.answer_timeout),
            ("shutdown_timeout", &mut options.shutdown_timeout),
        ] {
            if timeout.is_zero() {
                return Err(ConfigError::Zero(name));
            }
            *timeout = longest.min(*timeout);
        }
        for (name, limit) in [
            ("max_connections", options.max_connections),
            ("max_headers", options.max_headers),
            ("max_header_size", options.max_header_size),
        ] {
            if limit == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
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
