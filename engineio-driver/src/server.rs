//! The server: its options, its shards, and the sessions that wait to be accepted.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engineio_proto as proto;
use engineio_proto::{Config, ErrorCode, Instant, Message, Mount, Rejection, SendError, SessionKey, Sid};
use futures_core::Stream;
use http::request::Parts;
use http_body::Body;

use crate::body::ReplyBody;
use crate::handler::Handler;
use crate::hands::Later;
use crate::home::Home;
use crate::http::{self as exchange, Aborted};
use crate::runtime::{Clock, Runtime};
use crate::shard::{Core, Shard};
use crate::socket::{Handle, Link, Socket};
use crate::tasks::{Guard, Tasks};
use crate::timer::TimerTask;

/// An Engine.IO server.
///
/// It is made by a [`Builder`](crate::Builder), fed with HTTP requests ([`Server::handle`], or the services of the
/// runtime crates), and gives sessions ([`Server::accept`]). Cloning gives another handle to the same server.
///
/// # When an answer counts as written
///
/// An answer to a poll takes messages out of its session. If it is lost before it was written, the session ends with
/// [`TransportError::PollLost`](proto::TransportError::PollLost), because it must not continue with a gap. What is known about
/// an answer depends on how the server is mounted:
///
/// | mounted by | an answer counts as written when |
/// |---|---|
/// | [`Server::serve`], or hyper with [`HyperService`](crate::HyperService) and [`Server::http1`] | its connection took the last byte |
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

pub(crate) struct Inner {
    config: Arc<Config>,
    pub(crate) options: Options,
    runtime: Runtime,
    clock: Clock,
    shards: Box<[Shard]>,
    /// How many sessions there are, those among them that ended and were not read empty.
    sessions: Arc<AtomicUsize>,
    /// Sessions are observed from their first moment.
    observes: AtomicBool,
    /// No new sessions.
    draining: AtomicBool,
    backlog: Mutex<Backlog>,
    pub(crate) tasks: Arc<Tasks>,
}

/// What a server is told beside the configuration of the core.
pub(crate) struct Options {
    pub(crate) mount: Mount,
    pub(crate) body_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) backlog: usize,
    pub(crate) allow: Option<Hook<Result<(), Refusal>>>,
    pub(crate) sid: Option<Hook<Option<Sid>>>,
    pub(crate) on_error: Option<Report>,
}

pub(crate) type Hook<T> = Box<dyn Fn(&Parts) -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;
pub(crate) type Report = Box<dyn Fn(&ConnectionError<'_>) + Send + Sync>;

/// Sessions that nobody has accepted yet.
#[derive(Default)]
struct Backlog {
    accepted: VecDeque<Accepted>,
    /// Places that are promised to handshakes under way.
    reserved: usize,
    wakers: Vec<Waker>,
}

/// A session that waits to be accepted.
pub(crate) struct Accepted {
    pub(crate) shard: usize,
    pub(crate) key: SessionKey,
    pub(crate) link: Arc<Link>,
}

/// The application's no to a handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    message: Option<String>,
}

impl Refusal {
    /// A no without words: the client reads `Forbidden`.
    pub const fn new() -> Self {
        Self { message: None }
    }

    /// A no that tells the client why.
    pub fn with_message(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()) }
    }
}

/// A request that was refused before it reached a session.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionError<'a> {
    /// Why, with the context.
    pub rejection: &'a Rejection,
    /// The request.
    pub request: &'a Parts,
}

impl ConnectionError<'_> {
    /// What the client was told.
    pub const fn code(&self) -> ErrorCode {
        self.rejection.code()
    }

    /// The fixed text of the code, also where the client reads another.
    pub const fn message(&self) -> &'static str {
        self.rejection.code().message()
    }
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
    pub(crate) fn new(
        runtime: Runtime,
        config: Config,
        options: Options,
        shards: usize,
    ) -> Result<Self, proto::ConfigError> {
        let sessions = Arc::new(AtomicUsize::new(0));
        let first = proto::Server::new(config)?;
        let config = Arc::clone(first.config());
        let shards = (0..shards.max(1)).map(|_| Shard::new(first.clone(), Arc::clone(&sessions))).collect();
        let clock = Clock::new(runtime.clone());
        let inner = Inner {
            config,
            options,
            runtime,
            clock,
            shards,
            sessions,
            observes: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            backlog: Mutex::default(),
            tasks: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
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
        exchange::handle(Arc::clone(&self.inner), request)
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

    fn poll_accept(&self, cx: &Context<'_>) -> Poll<Socket> {
        let mut backlog = self.inner.backlog();
        match backlog.accepted.pop_front() {
            Some(accepted) => Poll::Ready(Socket::new(self.handle_of(accepted))),
            None => {
                if !backlog.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    backlog.wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// The new sessions as an endless stream.
    pub fn incoming(&self) -> Incoming {
        Incoming { server: self.clone() }
    }

    /// Serves every session with callbacks, instead of [`Server::accept`]: `handler` is called for each new one and
    /// gives what handles it. Never returns; drop it to stop accepting.
    pub async fn run<H: Handler>(&self, mut handler: impl FnMut(&Handle) -> H) {
        self.inner.observes.store(true, Ordering::Relaxed);
        loop {
            let socket = self.accept().await;
            let handler = handler(&socket);
            self.inner.runtime.spawn(crate::handler::serve(socket.events(), handler, self.guard()));
        }
    }

    /// The open session with this id.
    pub fn get(&self, sid: &str) -> Option<Handle> {
        let shard = self.inner.shard_of(sid);
        let accepted = self.inner.look(shard, |core| {
            let key = core.server.find(sid)?;
            core.link(key).map(|link| Accepted { shard, key, link: Arc::clone(link) })
        })?;
        Some(self.handle_of(accepted))
    }

    /// All open sessions at this moment.
    pub fn sessions(&self) -> Vec<Handle> {
        let mut handles = Vec::new();
        for (index, shard) in self.inner.shards.iter().enumerate() {
            shard.look(|core| {
                let linked = |key| core.link(key).map(|link| Accepted { shard: index, key, link: Arc::clone(link) });
                let all = core.server.keys().filter_map(linked);
                handles.extend(all.map(|accepted| self.handle_of(accepted)));
            });
        }
        handles
    }

    fn handle_of(&self, Accepted { shard, key, link }: Accepted) -> Handle {
        Handle::new(Home::Server { inner: Arc::clone(&self.inner), shard, key }, link)
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.look(|core| core.server.len())).sum()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message to every open session that has room for it. The data is shared, not copied.
    pub fn broadcast(&self, message: impl Into<Message>) -> Broadcast {
        let message = message.into();
        let mut outcome = Broadcast::default();
        for handle in self.sessions() {
            match handle.try_send(message.clone()) {
                Ok(()) => outcome.sent += 1,
                Err(SendError::Full(_)) => outcome.full += 1,
                Err(_) => (),
            }
        }
        outcome
    }

    /// Closes every session at once; what is buffered is dropped. New sessions are served as before.
    pub fn close_all(&self) {
        self.sessions().iter().for_each(Handle::abort);
    }

    /// Refuses new sessions, closes those that there are in order, and waits: for the sessions to end, which takes at
    /// most [`Builder::close_timeout`](crate::Builder::close_timeout), for the connections to have written
    /// everything, and for the handlers to return from their last callbacks.
    ///
    /// Go on listening meanwhile: clients on polling come back for the rest of their messages.
    pub async fn shutdown(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        let sessions = self.sessions();
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
        self.inner.runtime()
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
pub struct Incoming {
    server: Server,
}

impl Stream for Incoming {
    type Item = Socket;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Socket>> {
        self.server.poll_accept(cx).map(Some)
    }
}

impl Inner {
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) const fn body_timeout(&self) -> Duration {
        self.options.body_timeout
    }

    pub(crate) fn observes(&self) -> bool {
        self.observes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn shard_of(&self, sid: &str) -> usize {
        Sid::shard(sid, self.shards.len())
    }

    /// Works with the sessions of a shard; see [`Shard::with`].
    pub(crate) fn with<T>(&self, shard: usize, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        self.shard(shard).with(&self.clock, work)
    }

    /// Works with the sessions of a shard; see [`Shard::with_later`].
    pub(crate) fn with_later<T>(
        &self,
        shard: usize,
        later: &mut Later,
        work: impl FnOnce(&mut Core, Instant) -> T,
    ) -> T {
        self.shard(shard).with_later(&self.clock, later, work)
    }

    pub(crate) fn look<T>(&self, shard: usize, work: impl FnOnce(&Core) -> T) -> T {
        self.shard(shard).look(work)
    }

    #[allow(clippy::indexing_slicing)] // Shard numbers come from `shard_of` alone.
    fn shard(&self, shard: usize) -> &Shard {
        &self.shards[shard]
    }

    /// Starts the timer task of a shard with its first session: only then a runtime is sure to be there.
    pub(crate) fn start_timer(self: &Arc<Self>, shard: usize) {
        if !self.with(shard, |core, _| std::mem::replace(&mut core.timer.started, true)) {
            self.runtime.spawn(TimerTask::new(Arc::downgrade(self), shard));
        }
    }

    /// Asks the application.
    pub(crate) async fn allow(&self, parts: &Parts) -> Result<(), Rejection> {
        let answer = self.options.allow.as_ref().map(|allow| allow(parts));
        match answer {
            Some(answer) => answer.await.map_err(|Refusal { message }| Rejection::Forbidden { message }),
            None => Ok(()),
        }
    }

    pub(crate) async fn generate_sid(&self, parts: &Parts) -> Option<Sid> {
        let own = self.options.sid.as_ref().map(|sid| sid(parts));
        match own {
            Some(own) => own.await,
            None => {
                let mut entropy = [0; 15];
                getrandom::fill(&mut entropy).ok()?;
                Some(Sid::from_entropy(entropy))
            }
        }
    }

    pub(crate) fn report(&self, error: &ConnectionError<'_>) {
        if let Some(report) = &self.options.on_error {
            report(error);
        }
    }

    /// A place for one more session, if there is one: among the sessions, and among those to be accepted.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<Place> {
        if self.is_draining() {
            return None;
        }
        let mut backlog = self.backlog();
        let waiting = backlog.accepted.len() + backlog.reserved;
        let taken = self.sessions.load(Ordering::Relaxed);
        if waiting >= self.options.backlog || taken >= self.config.max_sessions {
            return None;
        }
        self.sessions.fetch_add(1, Ordering::Relaxed);
        backlog.reserved += 1;
        Some(Place { inner: Arc::clone(self), kept: false })
    }

    /// Gives a session to whoever accepts.
    pub(crate) fn push_accepted(&self, accepted: Accepted) {
        let wakers = {
            let mut backlog = self.backlog();
            backlog.reserved = backlog.reserved.saturating_sub(1);
            backlog.accepted.push_back(accepted);
            std::mem::take(&mut backlog.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn backlog(&self) -> std::sync::MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inner")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The timer tasks find out that the server is gone.
        for shard in &self.shards {
            shard.with(&self.clock, |core, _| {
                let waker = core.timer.waker.take();
                core.wakes.extend(waker);
            });
        }
    }
}

/// A place that is given back unless it is kept.
pub(crate) struct Place {
    inner: Arc<Inner>,
    kept: bool,
}

impl Place {
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            self.inner.sessions.fetch_sub(1, Ordering::Relaxed);
            let mut backlog = self.inner.backlog();
            backlog.reserved = backlog.reserved.saturating_sub(1);
        }
    }
}
