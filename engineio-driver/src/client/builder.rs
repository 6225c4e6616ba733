//! The options of a client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use engineio_proto as proto;
use engineio_proto::client::Stamps;
use engineio_proto::{ConfigError, TransportKind};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use super::http::HttpOptions;
use super::{Client, Shared};
use crate::net::connect::{Connector, Encryptor};
use crate::net::dial::Dialer;
use crate::net::proxy::{Proxy, ProxyError};
use crate::net::url::Endpoint;
use crate::runtime::Runtime;
use crate::session::is_secret;

/// Builds a [`Client`].
///
/// Options have the reference's names and defaults where the reference has them.
pub struct ClientBuilder {
    runtime: Runtime,
    endpoint: Endpoint,
    connector: Arc<dyn Connector>,
    encryptor: Option<Arc<dyn Encryptor>>,
    proxy: Option<Proxy>,
    config: proto::client::Config,
    trailing_slash: bool,
    remember_upgrade: bool,
    connect_timeout: Duration,
    farewell_timeout: Duration,
    http: HttpOptions,
    /// The name of the first invalid header.
    broken_header: Option<String>,
}

/// Why a client cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The options are not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A header has a name or a value that HTTP does not allow, or that belongs to the connection. The error has its
    /// name.
    #[error("invalid header: {0:?} has a name or a value that HTTP does not allow, or belongs to the connection")]
    Header(String),
    /// The URL asks for encryption, but the client has no encryptor.
    #[error("the URL asks for TLS, but no encryptor is set: enable the feature `tls`, or set an encryptor")]
    NoTls,
}

impl ClientBuilder {
    /// Starts with the default options. The runtime crates have a function that does this with their runtime.
    pub fn new(runtime: Runtime, endpoint: Endpoint, connector: impl Connector) -> Self {
        let mut config = proto::client::Config::default();
        config.query = endpoint.query().to_owned();
        Self {
            runtime,
            endpoint,
            connector: Arc::new(connector),
            encryptor: None,
            proxy: None,
            config,
            trailing_slash: true,
            remember_upgrade: false,
            connect_timeout: Duration::from_secs(10),
            farewell_timeout: Duration::from_secs(5),
            http: HttpOptions {
                headers: HeaderMap::new(),
                cookies: true,
                request_timeout: None,
                idle_timeout: Duration::from_secs(4),
                max_body: 0,
                max_redirects: 5,
            },
            broken_header: None,
        }
    }

    /// Sets the transports that may be used. The first one opens the session. Default: polling, then WebSocket.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.config.transports = transports.into_iter().collect();
        self
    }

    /// Sets whether to change to a better transport that the server offers. Default: yes.
    #[must_use]
    pub fn upgrade(mut self, upgrade: bool) -> Self {
        self.config.upgrade = upgrade;
        self
    }

    /// Sets whether to try the next transport if one fails before the session is open. Default: no.
    #[must_use]
    pub fn try_all_transports(mut self, try_all: bool) -> Self {
        self.config.try_all_transports = try_all;
        self
    }

    /// Sets whether to start with a WebSocket once one has worked. Default: no.
    #[must_use]
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.remember_upgrade = remember;
        self
    }

    /// Sets the path at which the server is mounted. A slash is appended unless [`ClientBuilder::trailing_slash`] is
    /// off. Default: `/engine.io`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.config.path = path.into();
        self
    }

    /// Sets whether the path ends with a slash. Default: yes.
    #[must_use]
    pub fn trailing_slash(mut self, slash: bool) -> Self {
        self.trailing_slash = slash;
        self
    }

    /// Adds a parameter to the query of every request. If the URL has a query, only that query is sent, as in the
    /// reference.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        if self.endpoint.query().is_empty() {
            let mut pairs = form_urlencoded::Serializer::new(std::mem::take(&mut self.config.query));
            pairs.append_pair(name, value);
            self.config.query = pairs.finish();
        }
        self
    }

    /// Sets whether binary messages are always sent and received as base64. Default: no.
    #[must_use]
    pub fn base64(mut self, base64: bool) -> Self {
        self.config.base64 = base64;
        self
    }

    /// Sets which requests carry a stamp, a parameter that makes each request unique, and the parameter's name.
    /// Default: polling requests, `t`.
    #[must_use]
    pub fn stamps(mut self, stamps: Stamps, name: impl Into<String>) -> Self {
        self.config.stamps = stamps;
        self.config.stamp_name = name.into();
        self
    }

    /// Adds a header to every request, including the handshake of a WebSocket. Headers that HTTP or WebSockets need
    /// themselves, such as `Content-Length` or `Connection`, cannot be set.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) if !is_ours(&name) => {
                value.set_sensitive(is_secret(&name));
                self.http.headers.append(name, value);
            }
            _ => self.broken_header = self.broken_header.or_else(|| Some(name.to_owned())),
        }
        self
    }

    /// Sets whether the server's cookies are sent back in later requests of the same session. Load balancers with
    /// sticky sessions need this. Default: yes (in the reference: no).
    #[must_use]
    pub fn cookies(mut self, cookies: bool) -> Self {
        self.http.cookies = cookies;
        self
    }

    /// Sets how many redirects of one polling request are followed. Default: 5. With 0, none is.
    ///
    /// A redirect is followed to another path, host or port, but never from `http` to `https` or back. A POST is redirected
    /// by the statuses 307 and 308 only. Another server does not get the headers `Authorization`, `Proxy-Authorization` and
    /// `Cookie` of the application. Each request goes to the client's server first, and so do WebSockets, which are not
    /// redirected: a session that depends on a redirect stays on polling.
    #[must_use]
    pub fn max_redirects(mut self, redirects: usize) -> Self {
        self.http.max_redirects = redirects;
        self
    }

    /// Sets how long it may take to establish a connection, including the look-up of its host and its encryption. Default:
    /// 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long one HTTP request may take. This includes polls, which last until the server has something to send.
    /// Default: no limit; the heartbeat detects a server that is gone.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.http.request_timeout = Some(timeout);
        self
    }

    /// Sets how long a connection is kept without a request, if the server does not announce its own limit. Default: 4
    /// s.
    ///
    /// This should be shorter than the server's limit. If the server closes a connection while a request is on its way,
    /// the session ends, because the client cannot know whether the request arrived.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.http.idle_timeout = timeout;
        self
    }

    /// Sets how long a transport may take to open the session. Default: 20 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.config.open_timeout = timeout;
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

    /// Sets how long a request that is under way when the session ends may still take. This is usually the POST that
    /// tells the server of the end; after an orderly close, [`Handle::closed`](crate::Handle::closed) waits for it.
    /// With zero, such requests are dropped at once, and the server only detects the end by its heartbeat. Default: 5
    /// s.
    #[must_use]
    pub fn farewell_timeout(mut self, timeout: Duration) -> Self {
        self.farewell_timeout = timeout;
        self
    }

    /// Sets the maximum size of an answer to a poll, or of a WebSocket message, in bytes. Default: 64 MiB.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// Sets the maximum number of packets in one POST. Default: 16, which is the default limit of python-engineio. That
    /// server acknowledges a POST with more packets, but drops it. With other servers a higher number is faster on
    /// polling.
    #[must_use]
    pub fn max_packets(mut self, packets: usize) -> Self {
        self.config.max_packets = packets;
        self
    }

    /// Sets the limits of the send buffer of a session, in bytes. At `limit`, the session accepts no more messages; it
    /// accepts messages again once the buffer has emptied to `low`. Default: 1 MiB and 256 KiB.
    #[must_use]
    pub fn send_buffer(mut self, limit: usize, low: usize) -> Self {
        (self.config.send_limit, self.config.send_low) = (limit, low);
        self
    }

    /// Sets the limit of the receive buffer of a session, in bytes. While that many bytes wait for the application,
    /// nothing more is read. Default: 1 MiB.
    ///
    /// Pings after those bytes are not read either. An application must take its messages within the server's ping
    /// timeout, or the server closes the session.
    #[must_use]
    pub fn receive_buffer(mut self, limit: usize) -> Self {
        self.config.receive_limit = limit;
        self
    }

    /// Sets how connections are made; see [`Connector`]. The runtime crates start with TCP.
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Sets how connections are encrypted; see [`Encryptor`].
    #[must_use]
    pub fn encryptor(mut self, encryptor: impl Encryptor) -> Self {
        self.encryptor = Some(Arc::new(encryptor));
        self
    }

    /// Sets an HTTP proxy, which is used with `CONNECT`. Default: none.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Uses the HTTP proxy that the environment sets for this server, if it sets one; see [`Proxy::from_env`].
    ///
    /// # Errors
    /// Returns an error if the environment names a proxy that cannot be used.
    pub fn proxy_from_env(mut self) -> Result<Self, ProxyError> {
        self.proxy = Proxy::from_env(self.endpoint.secure(), self.endpoint.host())?;
        Ok(self)
    }

    /// Builds the client. It does not connect yet.
    ///
    /// # Errors
    /// Returns an error if the options are not valid, or if the URL asks for encryption and no encryptor is set.
    pub fn build(self) -> Result<Client, BuildError> {
        let Self { runtime, endpoint, connector, encryptor, proxy, mut config, mut http, .. } = self;
        if let Some(name) = self.broken_header {
            return Err(BuildError::Header(name));
        }
        if endpoint.secure() && encryptor.is_none() {
            return Err(BuildError::NoTls);
        }
        if config.path.ends_with('/') {
            config.path.pop();
        }
        if self.trailing_slash || config.path.is_empty() {
            config.path.push('/');
        }
        config.validate()?;
        if !http.headers.contains_key(HOST) {
            let host = HeaderValue::try_from(endpoint.authority());
            http.headers.insert(HOST, host.map_err(|_| BuildError::Header("host".to_owned()))?);
        }
        http.max_body = config.max_payload;
        let (timeout, farewell_timeout) = (self.connect_timeout, self.farewell_timeout);
        let dialer =
            Dialer { runtime: runtime.clone(), endpoint: endpoint.clone(), connector, encryptor, proxy, timeout };
        let shared = Shared {
            runtime,
            endpoint,
            config: Arc::new(config),
            dialer: Arc::new(dialer),
            http,
            farewell_timeout,
            remember_upgrade: self.remember_upgrade,
            websocket_worked: Arc::new(AtomicBool::new(false)),
        };
        Ok(Client { shared: Arc::new(shared) })
    }
}

/// Returns whether a header belongs to a message or a connection, and not to the application.
fn is_ours(name: &HeaderName) -> bool {
    use http::header;
    let ours = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    ours.contains(name) || *name == "keep-alive"
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, config, .. } = self;
        f.debug_struct("ClientBuilder").field("endpoint", endpoint).field("config", config).finish_non_exhaustive()
    }
}
