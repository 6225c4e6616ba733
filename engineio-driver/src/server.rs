//! The server as applications use it.

mod admission;
mod backlog;
mod connections;
mod entropy;
mod exchange;
mod handling;
mod reply;
mod requests;
mod session;
mod sessions;
mod state;
mod timer;

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engineio_proto::server::Config;
use engineio_proto::{ConfigError, Message, SendError};
use futures_core::Stream;
use http::HeaderMap;
use http_body::Body;

use crate::body::ReplyBody;
use crate::handler::{self, Handler};
use crate::runtime::Runtime;
use crate::socket::{self, Events, Handle, Socket};
use crate::tasks::{Guard, Phase, Tasks};
use state::Inner;

pub(crate) use connections::{Connections, Slot};
pub(crate) use handling::Handling;
pub(crate) use state::Options;
pub use state::{Aborted, ConnectionError, Refusal, RemoteAddr};

/// How long a shutdown whose deadline has passed waits for what ends at once.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// An Engine.IO server.
///
/// [`Builder`](crate::Builder) builds a server. Requests come in through [`Server::handle`] or the services in
/// [`mount`](crate::mount), and sessions come out of [`Server::accept`]. A clone is another handle to the same server.
///
/// # When an answer counts as written
///
/// An answer to a poll takes messages out of its session. If the answer is lost before it was written, the session ends
/// with [`TransportError::PollLost`](crate::TransportError::PollLost), because it cannot continue with a gap. How
/// precisely this is known depends on how the server is mounted:
///
/// | mounted by | an answer counts as written when |
/// |---|---|
/// | [`Server::serve`], [`Server::serve_with`] or [`Server::serve_connection`], or hyper with [`HyperService`](crate::mount::HyperService) and [`Server::http1`] | the connection took the last byte |
/// | the tower service or layer, or a hyper server of another kind: HTTP/1 on connections with vectored writes (TCP, Unix sockets, TLS), HTTP/2 | the connection took all but the last 4 KiB, and hyper took those. An answer of at most 16 KiB: hyper took it |
/// | the same, on connections without vectored writes, or behind a layer that copies data or hides the end of a body, as compression does | hyper or the layer took the last byte. hyper buffers at most about 400 KiB |
/// | the same, behind a layer that collects answers before it passes them on | the layer took the last byte |
///
/// Data that the connection took can still be lost: the kernel buffers up to a few megabytes, and a proxy any amount.
/// The server cannot detect this. Only the client can, because its poll fails; the official clients then end their
/// session.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

/// The outcome of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// The number of sessions that took the message.
    pub sent: usize,
    /// The number of sessions that had no room for it.
    pub full: usize,
}

impl Broadcast {
    fn count(&mut self, sent: Result<(), SendError>) {
        match sent {
            Ok(()) => self.sent += 1,
            Err(SendError::Full(_)) => self.full += 1,
            Err(_) => (),
        }
    }
}

impl Server {
    pub(crate) fn new(runtime: Runtime, config: Config, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { inner: Arc::new(Inner::new(runtime, config, options)) })
    }

    /// Returns whether the path of a request is the one at which the server is mounted.
    pub fn matches<B>(&self, request: &http::Request<B>) -> bool {
        self.inner.options.mount.matches(request.uri().path())
    }

    /// Answers a request. For a WebSocket, the server takes over the connection once the answer is written.
    ///
    /// The path is not checked; see [`Server::matches`]. If the client disconnects, drop the future. If the answer
    /// cannot be written completely, drop its body: the session then knows that the answer's messages are lost. See
    /// [when an answer counts as written](Server#when-an-answer-counts-as-written).
    ///
    /// If the answer comes before the end of the request's body, the rest of the body is read in another task, within
    /// limits on size and time. A client that is still sending could not read the answer if its connection broke.
    ///
    /// # Errors
    /// Returns an error if the request must end without an answer: drop its connection.
    pub fn handle<B>(
        &self,
        request: http::Request<B>,
    ) -> impl Future<Output = Result<http::Response<ReplyBody>, Aborted>> + Send + use<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        Handling::new(Arc::clone(&self.inner), request, None)
    }

    /// As [`Server::handle`], for a connection of which the address of the client is known.
    pub(crate) fn handle_from<B>(&self, request: http::Request<B>, remote: Option<SocketAddr>) -> Handling<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        Handling::new(Arc::clone(&self.inner), request, remote)
    }

    /// Waits for the next new session.
    ///
    /// Sessions that were not accepted wait in a queue of limited length. Those that have ended stay in it, with their
    /// messages, until another session needs the place. When the queue is full, handshakes are answered with 503.
    ///
    /// Cancel safe.
    pub async fn accept(&self) -> Socket {
        self.incoming().accept().await
    }

    /// Waits for the next new session, and observes it from the beginning.
    ///
    /// From the first call on, the server records the events of all new sessions, so that none is missed. For a session
    /// that opened before that call, events start when it is accepted; see [`Socket::events`].
    ///
    /// Cancel safe.
    pub async fn accept_observed(&self) -> Events {
        self.inner.observe();
        self.accept().await.events()
    }

    /// Returns the new sessions as an endless stream.
    pub fn incoming(&self) -> Incoming {
        Incoming { server: self.clone(), registered: None }
    }

    /// Serves new sessions with callbacks, instead of [`Server::accept`].
    ///
    /// `handler` is called for each new session and returns its [`Handler`]. Never returns; drop the future to stop
    /// accepting. If `handler` panics, its session is closed, and the next one is accepted.
    pub async fn run<H: Handler>(&self, mut handler: impl FnMut(&Handle) -> H) {
        self.inner.observe();
        loop {
            let socket = self.accept().await;
            // The panic was reported by the panic hook. Dropping the socket closes the session.
            let Ok(handler) = catch_unwind(AssertUnwindSafe(|| handler(&socket))) else { continue };
            let handle = socket.handle();
            handle.run(handler::serve(socket.events(), handler, self.guard()));
        }
    }

    /// Returns the open session with this id.
    pub fn get(&self, sid: &str) -> Option<Handle> {
        self.inner.sessions.find(sid).map(|entry| sessions::handle(&self.inner, entry))
    }

    /// Returns all sessions that are open now.
    pub fn sessions(&self) -> Vec<Handle> {
        self.inner.sessions.all().into_iter().map(|entry| sessions::handle(&self.inner, entry)).collect()
    }

    /// Returns the number of open sessions.
    pub fn len(&self) -> usize {
        self.inner.sessions.len()
    }

    /// Returns whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message to every open session that has room for it. The data is shared, not copied.
    pub fn broadcast(&self, message: impl Into<Message>) -> Broadcast {
        let message = message.into();
        let mut outcome = Broadcast::default();
        // Without handles: each of them would count its references to the session and the server.
        for cell in self.inner.sessions.cells().iter() {
            outcome.count(cell.visit(|visit| socket::send(visit, message.clone())));
        }
        outcome
    }

    /// As [`Server::broadcast`], without the sessions for which `except` returns `true`, such as the sender's.
    pub fn broadcast_except(&self, except: impl Fn(&Handle) -> bool, message: impl Into<Message>) -> Broadcast {
        self.broadcast_to(self.sessions().into_iter().filter(|handle| !except(handle)), message)
    }

    /// As [`Server::broadcast`], for the given sessions only.
    pub fn broadcast_to(
        &self,
        sessions: impl IntoIterator<Item = impl Borrow<Handle>>,
        message: impl Into<Message>,
    ) -> Broadcast {
        let message = message.into();
        let mut outcome = Broadcast::default();
        for handle in sessions {
            outcome.count(handle.borrow().try_send(message.clone()));
        }
        outcome
    }

    /// Aborts every session.
    ///
    /// The sessions close at once, and buffered messages are dropped; see [`Handle::abort`]. New sessions are still
    /// served. For an orderly close, see [`Server::shutdown`].
    pub fn abort_all(&self) {
        self.sessions().iter().for_each(Handle::abort);
    }

    /// Shuts the server down: rejects new sessions, and closes the open ones in order.
    ///
    /// Waits until the sessions have ended, which takes at most
    /// [`Builder::close_timeout`](crate::Builder::close_timeout); until the connections have written everything, and the
    /// clients have answered the close frames; and until the handlers have returned from their last callbacks.
    ///
    /// All this takes at most [`Builder::shutdown_timeout`](crate::Builder::shutdown_timeout). After that, the sessions
    /// that are still open are aborted, and the connections that are still there are dropped. Handlers that are still
    /// running are not waited for longer than one more second.
    ///
    /// Clients on polling make further requests for their remaining messages, so the listeners must stay until the sessions
    /// have ended. [`Server::serve`] and [`Server::listen`] do this by themselves: they stop listening when the sessions
    /// have ended; `serve` returns when the shutdown is complete. Another host, such as `axum::serve`, must not stop before:
    /// [`Server::shutdown_on`] brings both into the right order.
    pub async fn shutdown(&self) {
        let sessions: Vec<_> =
            self.inner.sessions.drain().into_iter().map(|entry| sessions::handle(&self.inner, entry)).collect();
        sessions.iter().for_each(Handle::close);
        let in_order = async {
            for session in &sessions {
                session.closed().await;
            }
            self.inner.listeners.begin_phase(Phase::Ending);
            self.inner.tasks.end(Phase::Ending).await;
        };
        if self.runtime().within(self.inner.options.shutdown_timeout, in_order).await.is_none() {
            sessions.iter().for_each(Handle::abort);
            self.inner.listeners.begin_phase(Phase::Ending);
            self.runtime().within(LAST_SECOND, self.inner.tasks.end(Phase::Overdue)).await;
        }
        self.inner.listeners.begin_phase(Phase::Overdue);
    }

    /// Waits for a signal, and then shuts the server down as [`Server::shutdown`] does.
    ///
    /// Run this beside [`Server::serve`], which returns when the shutdown is complete. Or pass it to a host that has a
    /// shutdown of its own, in place of the signal:
    ///
    /// ```
    /// # #[cfg(feature = "tower")] {
    /// use engineio_driver::Server;
    /// use engineio_driver::mount::EngineService;
    ///
    /// # async fn serve(server: Server, signal: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    /// let app = axum::Router::new().route_service("/engine.io/", EngineService::new(server.clone()));
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, app).with_graceful_shutdown(server.shutdown_on(signal)).await
    /// # }
    /// # }
    /// ```
    ///
    /// If axum got the signal itself, it would stop listening at once, and wait for each held poll until the next ping,
    /// while clients on polling could not reach the server.
    pub fn shutdown_on<F>(&self, signal: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future + Send,
    {
        let server = self.clone();
        async move {
            signal.await;
            server.shutdown().await;
        }
    }

    /// Returns a guard for which [`Server::shutdown`] waits. Code that serves connections in another way than by
    /// [`Server::serve_connection`] holds one for each connection.
    pub fn guard(&self) -> Guard {
        Guard::new(&self.inner.tasks)
    }

    /// Returns the options of the server's sessions.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.inner.environment.runtime()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn listeners(&self) -> &Arc<Tasks> {
        &self.inner.listeners
    }

    /// Returns whether a service of the application passes the requests for this server on.
    #[cfg(feature = "tower")]
    pub(crate) fn is_mounted(&self) -> bool {
        self.inner.is_mounted()
    }

    /// Notes that a service of the application passes the requests for this server on.
    #[cfg(feature = "tower")]
    pub(crate) fn mount(&self) {
        self.inner.mount();
    }

    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.inner.connections
    }

    /// Drops the body of a request that is not for this server, as [`Inner::discard_whole`].
    pub(crate) fn discard<B>(&self, body: B, headers: &HeaderMap)
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        self.inner.discard_whole(body, headers);
    }

    /// Returns how long the head of a request may take, for code that serves connections itself.
    pub fn header_timeout(&self) -> Duration {
        self.inner.options.header_timeout
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("sessions", &self.len()).field("config", &self.inner.config).finish()
    }
}

/// A stream of a server's new sessions.
///
/// See [`Server::incoming`].
#[derive(Debug)]
#[must_use = "no session is accepted unless somebody asks for it"]
pub struct Incoming {
    server: Server,
    /// The waker of the task that waits for a session.
    registered: Option<Waker>,
}

impl Incoming {
    async fn accept(&mut self) -> Socket {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &Context<'_>) -> Poll<Socket> {
        let Self { server, registered } = self;
        let accepted = server.inner.backlog.poll_accept(cx, registered);
        accepted.map(|entry| Socket::new(sessions::handle(&server.inner, entry)))
    }
}

impl Clone for Incoming {
    fn clone(&self) -> Self {
        self.server.incoming()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.server.inner.backlog.leave(&mut self.registered);
    }
}

impl Stream for Incoming {
    type Item = Socket;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Socket>> {
        self.poll_accept(cx).map(Some)
    }
}
