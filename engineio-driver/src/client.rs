//! A client: how it reaches its server, and the sessions that it opens.

mod builder;
mod channel;
mod cookies;
mod http;
mod reconnecting;
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
use crate::session::{AnySession, Cell};
use crate::socket::{Events, Handle, Socket};
use http::{Http, HttpOptions};
use session::{Opened, Unopened};
use task::SessionTask;

pub use builder::{BuildError, ClientBuilder};
pub use reconnecting::{ReconnectEvent, Reconnecting};

/// A client for one server: its address, its options, and what it remembers from session to session.
///
/// It is made by a [`ClientBuilder`]; the runtime crates have functions for that. Each [`connect`](Client::connect)
/// opens a session of its own. Cloning gives another handle to the same client.
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
    /// How long requests may take that are under way when a session ends.
    farewell_timeout: Duration,
    /// Whether what worked is remembered.
    remember_upgrade: bool,
    /// A WebSocket worked in the last session.
    websocket_worked: Arc<AtomicBool>,
}

/// Why no session was opened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no session was opened: {reason}")]
pub struct ConnectError {
    reason: CloseReason,
    details: Option<Details>,
    source: Option<Arc<io::Error>>,
}

impl ConnectError {
    /// The options were validated when the client was made, so this does not happen.
    fn options(error: ConfigError) -> Self {
        let reason = CloseReason::TransportError(TransportError::Unopened);
        Self { reason, details: None, source: Some(Arc::new(io::Error::other(error))) }
    }

    /// What ended the attempt.
    pub const fn reason(&self) -> CloseReason {
        self.reason
    }

    /// What the server said, if it answered.
    pub const fn details(&self) -> Option<&Details> {
        self.details.as_ref()
    }

    /// Why there was no connection, if it was for that.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_deref()
    }
}

impl Client {
    /// Opens a session.
    ///
    /// Dropped before it is done, the future gives up the attempt: nothing is left to be taken, and a server that answers
    /// later is told. That goes on in the background, for as long as opening may take.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or is no Engine.IO server; after all transports failed, if the
    /// client may try them all.
    pub async fn connect(&self) -> Result<Socket, ConnectError> {
        Ok(Socket::new(self.open(false).await?))
    }

    /// Opens a session, and observes it from its first moment; see [`Socket::events`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_observed(&self) -> Result<Events, ConnectError> {
        Ok(Socket::new(self.open(true).await?).events())
    }

    /// Sessions one after the other: when one is lost, another is opened.
    ///
    /// # Errors
    /// When the options do not make sense.
    pub fn reconnecting(&self, config: ReconnectConfig) -> Result<Reconnecting, ConfigError> {
        Reconnecting::new(self.clone(), config)
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// The options of its sessions.
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
        shared.runtime.spawn(SessionTask::new(session, Arc::clone(&http), shared.farewell_timeout));
        let opened = poll_fn(|cx| attempt.poll_opened(cx)).await;
        opened.map_err(|(reason, details)| ConnectError { reason, details, source: http.take_error().map(Arc::new) })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { endpoint, config, .. } = &*self.shared;
        f.debug_struct("Client").field("endpoint", endpoint).field("config", config).finish_non_exhaustive()
    }
}

/// An attempt to open a session. Whoever drops it gives it up.
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
