//! The server, as applications see it.

mod admission;
mod backlog;
mod exchange;
mod reply;
mod requests;
mod session;
mod sessions;
mod state;
mod timer;

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engineio_proto::server::Config;
use engineio_proto::{ConfigError, Message, SendError};
use futures_core::Stream;
use http_body::Body;

use crate::body::ReplyBody;
use crate::handler::{self, Handler};
use crate::runtime::Runtime;
use crate::session::AnySession;
use crate::socket::{Events, Handle, Socket};
use crate::tasks::Guard;
use sessions::Entry;
use state::Inner;

pub(crate) use state::Options;
pub use state::{Aborted, ConnectionError, Refusal, RemoteAddr};

/// An Engine.IO server.
///
/// It is made by a [`Builder`](crate::Builder), fed with HTTP requests ([`Server::handle`], or the services of the
/// runtime crates), and gives sessions ([`Server::accept`]). Cloning gives another handle to the same server.
///
/// # When an answer counts as written
///
/// An answer to a poll takes messages out of its session. If it is lost before it was written, the session ends with
/// [`TransportError::PollLost`](crate::TransportError::PollLost), because it must not continue with a gap. What is known about
/// an answer depends on how the server is mounted:
///
/// | mounted by | an answer counts as written when |
/// |---|---|
/// | [`Server::serve`], or hyper with [`HyperService`](crate::mount::HyperService) and [`Server::http1`] | its connection took the last byte |
/// | the tower service or layer, or a hyper server of another kind: HTTP/1 on connections that gather writes (TCP, Unix sockets, TLS), HTTP/2 | its connection took all but the last 4 KiB, and hyper took those. An answer of at most 16 KiB: hyper took it |
/// | the same, on connections that do not gather writes, or behind a layer that copies data or hides the end of a body, as compression does | hyper or the layer took the last byte. hyper buffers at most about 400 KiB |
/// | the same, behind a layer that collects answers before it passes them on | the layer took the last byte |
///
/// What a connection took can still be lost: the kernel buffers up to some megabytes, and a proxy as much as it likes. A
/// server cannot know of that; only the client can, because its poll fails. The official clients end their session then.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

/// How a broadcast went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Sessions that took the message.
    pub sent: usize,
    /// Sessions that had no room for it.
    pub full: usize,
}

impl Server {
    pub(crate) fn new(runtime: Runtime, config: Config, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { inner: Arc::new(Inner::new(runtime, config, options)) })
    }

    /// Whether a request is for this server: whether its path is the one that the server is mounted at.
    pub fn matches<B>(&self, request: &http::Request<B>) -> bool {
        self.inner.options.mount.matches(request.uri().path())
    }

    /// Answers a request. For a WebSocket, the connection is taken over once the answer is written.
    ///
    /// The path is not looked at; see [`Server::matches`]. If the client goes away, drop the future. If the answer cannot be
    /// written to its end, drop its body: the session learns from this that its messages are lost. See
    /// [when an answer counts as written](Server#when-an-answer-counts-as-written).
    ///
    /// # Errors
    /// When the request is to be ended without an answer, by dropping its connection.
    pub fn handle<B>(
        &self,
        request: http::Request<B>,
    ) -> impl Future<Output = Result<http::Response<ReplyBody>, Aborted>> + Send + use<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        self.answer(request, false)
    }

    /// As [`Server::handle`]. `exact`: the connection is one of [`Server::http1`], so that an answer in one piece knows when it
    /// is written.
    pub(crate) fn answer<B>(
        &self,
        request: http::Request<B>,
        exact: bool,
    ) -> impl Future<Output = Result<http::Response<ReplyBody>, Aborted>> + Send + use<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        admission::handle(Arc::clone(&self.inner), request, exact)
    }

    /// The next new session.
    ///
    /// Sessions that are not accepted are held back in a queue of limited length; when it is full, handshakes are
    /// answered 503.
    ///
    /// Cancel safe.
    pub async fn accept(&self) -> Socket {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The next new session, with everything that happens to it.
    ///
    /// From the first call on, sessions are observed from their first moment, so that no event is missed. Of a session that
    /// opened before, the events begin when it is accepted; see [`Socket::events`].
    ///
    /// Cancel safe.
    pub async fn accept_observed(&self) -> Events {
        self.inner.observe();
        self.accept().await.events()
    }

    fn poll_accept(&self, cx: &Context<'_>) -> Poll<Socket> {
        self.inner.backlog.poll_accept(cx).map(|entry| Socket::new(self.handle_of(entry)))
    }

    /// The new sessions as an endless stream.
    pub fn incoming(&self) -> Incoming {
        Incoming { server: self.clone() }
    }

    /// Serves every session with callbacks, instead of [`Server::accept`]: `handler` is called for each new one and
    /// gives what handles it. Never returns; drop it to stop accepting.
    pub async fn run<H: Handler>(&self, mut handler: impl FnMut(&Handle) -> H) {
        self.inner.observe();
        loop {
            let socket = self.accept().await;
            let handler = handler(&socket);
            self.runtime().spawn(handler::serve(socket.events(), handler, self.guard()));
        }
    }

    /// The open session with this id.
    pub fn get(&self, sid: &str) -> Option<Handle> {
        self.inner.sessions.find(sid).map(|entry| self.handle_of(entry))
    }

    /// All open sessions at this moment.
    pub fn sessions(&self) -> Vec<Handle> {
        self.inner.sessions.all().into_iter().map(|entry| self.handle_of(entry)).collect()
    }

    fn handle_of(&self, Entry { cell, link }: Entry) -> Handle {
        Handle::new(AnySession::new(cell, Some(Arc::clone(&self.inner) as _)), link)
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.inner.sessions.len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message to every open session that has room for it. The data is shared, not copied.
    pub fn broadcast(&self, message: impl Into<Message>) -> Broadcast {
        self.broadcast_to(self.sessions(), message)
    }

    /// As [`Server::broadcast`], but not to the sessions for which `except` says so, such as the sender's.
    pub fn broadcast_except(&self, except: impl Fn(&Handle) -> bool, message: impl Into<Message>) -> Broadcast {
        self.broadcast_to(self.sessions().into_iter().filter(|handle| !except(handle)), message)
    }

    /// As [`Server::broadcast`], to these sessions only.
    pub fn broadcast_to(
        &self,
        sessions: impl IntoIterator<Item = impl Borrow<Handle>>,
        message: impl Into<Message>,
    ) -> Broadcast {
        let message = message.into();
        let mut outcome = Broadcast::default();
        for handle in sessions {
            match handle.borrow().try_send(message.clone()) {
                Ok(()) => outcome.sent += 1,
                Err(SendError::Full(_)) => outcome.full += 1,
                Err(_) => (),
            }
        }
        outcome
    }

    /// Aborts every session: it is closed at once, and what is buffered is dropped; see [`Handle::abort`]. New sessions are
    /// served as before. For an orderly end, see [`Server::shutdown`].
    pub fn abort_all(&self) {
        self.sessions().iter().for_each(Handle::abort);
    }

    /// Refuses new sessions, closes those that there are in order, and waits: for the sessions to end, which takes at
    /// most [`Builder::close_timeout`](crate::Builder::close_timeout), for the connections to have written
    /// everything, and for the handlers to return from their last callbacks.
    ///
    /// Go on listening meanwhile: clients on polling come back for the rest of their messages.
    pub async fn shutdown(&self) {
        let sessions: Vec<_> = self.inner.sessions.drain().into_iter().map(|entry| self.handle_of(entry)).collect();
        sessions.iter().for_each(Handle::close);
        for session in sessions {
            session.closed().await;
        }
        self.inner.tasks.end().await;
    }

    /// Something for [`Server::shutdown`] to wait for. For those who serve connections themselves: hold one for each.
    pub fn guard(&self) -> Guard {
        Guard::new(&self.inner.tasks)
    }

    /// The options.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.inner.environment.runtime()
    }

    /// How long the head of a request may take. For those who read it themselves.
    pub fn header_timeout(&self) -> Duration {
        self.inner.options.header_timeout
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("sessions", &self.len()).field("config", &self.inner.config).finish()
    }
}

/// The new sessions of a server: see [`Server::incoming`].
#[derive(Clone, Debug)]
#[must_use = "no session is accepted unless somebody asks for it"]
pub struct Incoming {
    server: Server,
}

impl Stream for Incoming {
    type Item = Socket;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Socket>> {
        self.server.poll_accept(cx).map(Some)
    }
}
