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

/// Makes a [`Client`]. The defaults are those of the reference where it has the option.
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
    /// The first header that is none.
    broken_header: Option<String>,
}

/// Why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The options do not make sense together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A header has a name or a value that HTTP does not allow.
    #[error("this is no header: {0}")]
    Header(String),
    /// The address asks for encryption, and there is none: the runtime crate was built without it.
    #[error("the address asks for TLS, and there is none")]
    NoTls,
}

impl ClientBuilder {
    /// Begins with the defaults. The runtime crates have a function that does it with their runtime.
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
            },
            broken_header: None,
        }
    }

    /// The transports that may be used, the one to begin with first. Default: polling, then WebSocket.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> Self {
        self.config.transports = transports.into_iter().collect();
        self
    }

    /// Whether to change to a better transport that the server offers. Default: yes.
    #[must_use]
    pub fn upgrade(mut self, upgrade: bool) -> Self {
        self.config.upgrade = upgrade;
        self
    }

    /// Whether to begin anew on the next transport when one fails before the session is open. Default: no.
    #[must_use]
    pub fn try_all_transports(mut self, try_all: bool) -> Self {
        self.config.try_all_transports = try_all;
        self
    }

    /// Whether to begin on a WebSocket once one has worked. Default: no.
    #[must_use]
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.remember_upgrade = remember;
        self
    }

    /// Where the server is mounted. A slash is added at the end, unless [`ClientBuilder::trailing_slash`] says
    /// otherwise. Default: `/engine.io`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.config.path = path.into();
        self
    }

    /// Whether paths end with a slash. Default: yes.
    #[must_use]
    pub fn trailing_slash(mut self, slash: bool) -> Self {
        self.trailing_slash = slash;
        self
    }

    /// Adds a parameter to the query of every request. What stands in the address counts alone, if anything does, as in
    /// the reference.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        if self.endpoint.query().is_empty() {
            let mut pairs = form_urlencoded::Serializer::new(std::mem::take(&mut self.config.query));
            pairs.append_pair(name, value);
            self.config.query = pairs.finish();
        }
        self
    }

    /// Never to send or to be sent binary frames, but base64. Default: no.
    #[must_use]
    pub fn base64(mut self, base64: bool) -> Self {
        self.config.base64 = base64;
        self
    }

    /// Which requests carry a stamp that makes each unlike any other, and its name in the query. Default: those of
    /// polling, `t`.
    #[must_use]
    pub fn stamps(mut self, stamps: Stamps, name: impl Into<String>) -> Self {
        self.config.stamps = stamps;
        self.config.stamp_name = name.into();
        self
    }

    /// Adds a header to every request, that of a WebSocket's handshake too. Those that HTTP and WebSockets themselves need,
    /// as `Content-Length` or `Connection`, are not for the application to set.
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

    /// Whether the server's cookies are sent back in the later requests of the same session, as a balancer that keeps
    /// sessions together needs it. Default: yes. (The reference's: no.)
    #[must_use]
    pub fn cookies(mut self, cookies: bool) -> Self {
        self.http.cookies = cookies;
        self
    }

    /// How long a connection may take to be made, with its encryption. Default: 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one HTTP request may take, polls included, which last as long as the server has nothing to say.
    /// Default: for ever, the heartbeat tells when a server is gone.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.http.request_timeout = Some(timeout);
        self
    }

    /// How long a connection is kept without a request, where the server does not say how long it does. Default: 4 s.
    ///
    /// A server that closes a connection in the moment in which a request is on its way ends the session, because
    /// nobody knows whether the request arrived; so this should be shorter than what the server does.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.http.idle_timeout = timeout;
        self
    }

    /// How long a transport may take to open the session. Default: 20 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.config.open_timeout = timeout;
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

    /// How long a request that is still under way when a session ends may take before it is dropped. It is mostly the POST that
    /// tells the server of the end; [`Handle::closed`](crate::Handle::closed) waits for it after an orderly end. With zero,
    /// such requests are dropped at once, and the server learns of the end from its heartbeat. Default: 5 s.
    #[must_use]
    pub fn farewell_timeout(mut self, timeout: Duration) -> Self {
        self.farewell_timeout = timeout;
        self
    }

    /// Bytes of one answer to a poll, or of one WebSocket message from the server. Default: 64 MiB.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.config.max_payload = bytes;
        self
    }

    /// Packets of one POST at most. Default: 16, which is what python-engineio takes unless it is told otherwise; of more it
    /// says that it took them, and throws them away. For other servers it may be more, which is faster on polling.
    #[must_use]
    pub fn max_packets(mut self, packets: usize) -> Self {
        self.config.max_packets = packets;
        self
    }

    /// Above how many bytes a session takes no more messages to send, and down to how many it must empty before it
    /// takes some again. Default: 1 MiB and 256 KiB.
    #[must_use]
    pub fn send_buffer(mut self, limit: usize, low: usize) -> Self {
        (self.config.send_limit, self.config.send_low) = (limit, low);
        self
    }

    /// Above how many received bytes that the application has not taken nothing more is read. Default: 1 MiB.
    ///
    /// Pings behind them are not seen either: an application should take its messages within the server's ping timeout, or
    /// the server takes it for dead.
    #[must_use]
    pub fn receive_buffer(mut self, limit: usize) -> Self {
        self.config.receive_limit = limit;
        self
    }

    /// Makes connections in another way: see [`Connector`].
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Encrypts connections in another way: see [`Encryptor`].
    #[must_use]
    pub fn encryptor(mut self, encryptor: impl Encryptor) -> Self {
        self.encryptor = Some(Arc::new(encryptor));
        self
    }

    /// Goes through an HTTP proxy, by CONNECT. Default: none.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Goes through the HTTP proxy that the environment names for this server, if it does; see [`Proxy::from_env`].
    ///
    /// # Errors
    /// When what it names is no proxy that can be used.
    pub fn proxy_from_env(mut self) -> Result<Self, ProxyError> {
        self.proxy = Proxy::from_env(self.endpoint.secure(), self.endpoint.host())?;
        Ok(self)
    }

    /// Makes the client. It connects to nothing yet.
    ///
    /// # Errors
    /// When the options do not make sense, or the address asks for an encryption that there is not.
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

/// Whether a header belongs to a message or to a connection, and not to the application.
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
