//! A client: the sessions that it opens, and how it reaches its server.

mod builder;
mod channel;
mod cookies;
mod failure;
mod http;
mod reconnecting;
mod redirect;
mod session;
mod task;
mod watched;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use engineio_proto as proto;
use engineio_proto::client::{Details, ReconnectConfig};
use engineio_proto::{CloseReason, ConfigError, TransportError};

use crate::net::dial::Dialer;
use crate::net::url::Endpoint;
use crate::runtime::Runtime;
use crate::session::{AnySession, Cause, Cell};
use crate::socket::{Events, Handle, Socket};
use http::{Http, HttpOptions};
use session::{Opened, Unopened};
use task::SessionTask;

pub use builder::{BuildError, ClientBuilder};
pub use reconnecting::{ReconnectEvent, Reconnecting};

/// An Engine.IO client.
///
/// A client has one server's address, the options, and what is remembered between sessions. [`ClientBuilder`] builds
/// it; the runtime crates have functions that start one. Each [`connect`](Client::connect) opens a new session. A clone
/// is another handle to the same client.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    endpoint: Endpoint,
    config: Arc<proto::client::Config>,
    dialer: Arc<Dialer>,
    http: HttpOptions,
    /// How long requests that are under way when a session ends may take.
    farewell_timeout: Duration,
    /// Whether a client remembers that a WebSocket worked.
    remember_upgrade: bool,
    /// Whether a WebSocket worked in the last session.
    websocket_worked: Arc<AtomicBool>,
}

/// Why a session could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not open a session: {reason}{}", semicolon(self.hint()))]
pub struct ConnectError {
    reason: CloseReason,
    details: Option<Details>,
    source: Option<Arc<io::Error>>,
    hint: Option<String>,
}

fn semicolon(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("; {hint}"))
}

impl ConnectError {
    /// Does not happen: the options were validated when the client was built.
    fn options(error: ConfigError) -> Self {
        let reason = CloseReason::TransportError(TransportError::Unopened);
        Self { reason, details: None, source: Some(Arc::new(io::Error::other(error))), hint: None }
    }

    /// Returns what ended the attempt.
    pub const fn reason(&self) -> CloseReason {
        self.reason
    }

    /// Returns the server's answer, if it answered, or its first data, if that was not a handshake.
    pub const fn details(&self) -> Option<&Details> {
        self.details.as_ref()
    }

    /// Returns the I/O error, if no connection could be made, or if the connection failed or carried no valid answer. It
    /// is also the [`source`](std::error::Error::source) of this error.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_deref()
    }

    /// Returns what to look at, if the server's answer shows it: another revision of the protocol, a redirect that was
    /// not followed, a proxy that does not pass upgrades on. It is part of this error's text.
    pub fn hint(&self) -> Option<&str> {
        match &self.details {
            Some(details) if details.is_other_revision() => {
                Some("the server uses another revision of the protocol: expected revision 4")
            }
            _ => self.hint.as_deref(),
        }
    }
}

impl Client {
    /// Opens a session.
    ///
    /// If the future is dropped before it completes, the attempt is abandoned, and no socket is left. If the server
    /// answers after that, the client closes the session in the background. This takes at most as long as opening may
    /// take.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached, rejects the request, or is not an Engine.IO server. With
    /// [`ClientBuilder::try_all_transports`], the error comes after all transports have failed.
    pub async fn connect(&self) -> Result<Socket, ConnectError> {
        Ok(Socket::new(self.open(false).await?))
    }

    /// Opens a session, and observes it from the beginning; see [`Socket::events`].
    ///
    /// # Errors
    /// The same as [`Client::connect`].
    pub async fn connect_observed(&self) -> Result<Events, ConnectError> {
        Ok(Socket::new(self.open(true).await?).events())
    }

    /// Returns a client that opens a new session when one is lost.
    ///
    /// # Errors
    /// Returns an error if the options are not valid.
    pub fn reconnecting(&self, config: ReconnectConfig) -> Result<Reconnecting, ConfigError> {
        Reconnecting::new(self.clone(), config)
    }

    /// Returns the address of the server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Returns the options of the client's sessions.
    pub fn config(&self) -> &proto::client::Config {
        &self.shared.config
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.shared.runtime
    }

    async fn open(&self, observe: bool) -> Result<Handle, ConnectError> {
        let shared = &self.shared;
        let http = Arc::new(Http::new(&shared.runtime, Arc::clone(&shared.dialer), shared.http.clone()));
        let remembered = shared.remember_upgrade && shared.websocket_worked.load(Ordering::Relaxed);
        let mut config = Arc::clone(&shared.config);
        if remembered && !config.websocket_worked {
            Arc::make_mut(&mut config).websocket_worked = true;
        }
        let head = http.head(&config.path);
        let memory = Arc::clone(&shared.websocket_worked);
        let session = session::begin(&shared.runtime, config, head, memory, observe).map_err(ConnectError::options)?;
        let mut attempt = Attempt { session: Arc::clone(&session), over: false };
        shared.runtime.spawn(SessionTask::new(session, http, shared.farewell_timeout));
        let opened = poll_fn(|cx| attempt.poll_opened(cx)).await;
        opened.map_err(|(reason, details, cause)| {
            let Cause { error: source, hint } = cause.unwrap_or_default();
            ConnectError { reason, details, source, hint }
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { endpoint, config, .. } = &*self.shared;
        f.debug_struct("Client").field("endpoint", endpoint).field("config", config).finish_non_exhaustive()
    }
}

/// An attempt to open a session. Dropping it abandons the attempt.
struct Attempt {
    session: Arc<Cell<Opened>>,
    over: bool,
}

impl Attempt {
    fn poll_opened(&mut self, cx: &Context<'_>) -> Poll<Result<Handle, Unopened>> {
        let opened = self.session.poll_opened(cx);
        self.over = opened.is_ready();
        opened.map_ok(|link| Handle::new(AnySession::new(Arc::clone(&self.session), None), link))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            self.session.give_up();
        }
    }
}
