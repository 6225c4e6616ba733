//! The parts of a server, and its options outside the core.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as StdInstant};

use engineio_proto::Sid;
use engineio_proto::http::{ErrorCode, Mount, Rejection};
use engineio_proto::server::Config;
use http::header::{EXPECT, HeaderMap};
use http::request::Parts;
use http_body::Body;

use super::backlog::Backlog;
use super::connections::Connections;
use super::entropy::Pool;
use super::sessions::Sessions;
use super::timer::TimerTask;
use crate::body;
use crate::runtime::{Clock, Runtime};
use crate::session::{Environment, Owner};

pub use crate::session::RemoteAddr;
use crate::tasks::Tasks;

/// How long at least the rest of a body is read behind an answer.
const LINGER: Duration = Duration::from_secs(5);

pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) options: Options,
    pub(crate) environment: Arc<Environment>,
    pub(crate) sessions: Sessions,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) tasks: Arc<Tasks>,
    /// For session ids.
    entropy: Pool,
    /// The listeners. They end when the sessions have ended, and return when a shutdown is complete.
    pub(crate) listeners: Arc<Tasks>,
    /// Sessions are observed from the beginning.
    observes: AtomicBool,
    /// The server is mounted in a service of the application.
    #[cfg(feature = "tower")]
    mounted: AtomicBool,
}

/// The options of a server that are not options of the core.
pub(crate) struct Options {
    pub(crate) mount: Mount,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_header_size: usize,
    pub(crate) backlog: usize,
    pub(crate) allow: Option<Hook<Result<(), Refusal>>>,
    pub(crate) sid: Option<Hook<Option<Sid>>>,
    pub(crate) on_error: Option<Report>,
}

pub(crate) type Hook<T> = Box<dyn Fn(&Parts) -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;
pub(crate) type Report = Box<dyn Fn(&ConnectionError<'_>) + Send + Sync>;

/// The application's refusal of a handshake.
///
/// See [`Builder::allow_request`](crate::Builder::allow_request).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    message: Option<String>,
}

impl Refusal {
    /// Creates a refusal without a message: the client gets `Forbidden`.
    pub const fn new() -> Self {
        Self { message: None }
    }

    /// Creates a refusal with a message for the client.
    pub fn with_message(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()) }
    }

    pub(crate) fn into_message(self) -> Option<String> {
        self.message
    }
}

/// A request that was rejected before it reached a session.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionError<'a> {
    /// Why it was rejected, with the context.
    pub rejection: &'a Rejection,
    /// The request.
    pub request: &'a Parts,
}

impl ConnectionError<'_> {
    /// Returns the error code that the client gets.
    pub const fn code(&self) -> ErrorCode {
        self.rejection.code()
    }

    /// Returns the fixed text of the code, even if the client gets another message.
    pub const fn message(&self) -> &'static str {
        self.rejection.code().message()
    }
}

/// The request must end without an answer: drop its connection.
///
/// This happens to a POST whose session ends while its body is being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session ended while a request was being received: drop its connection")]
pub struct Aborted;

impl Inner {
    pub(crate) fn new(runtime: Runtime, config: Config, options: Options) -> Self {
        let tasks = Arc::<Tasks>::default();
        let environment = Environment {
            clock: Clock::new(runtime),
            close_timeout: config.close_timeout,
            max_payload: config.max_payload,
            tasks: Some(Arc::clone(&tasks)),
        };
        Self {
            sessions: Sessions::new(config.max_sessions),
            config: Arc::new(config),
            backlog: Arc::new(Backlog::new(options.backlog)),
            connections: Arc::new(Connections::new(options.max_connections)),
            options,
            environment: Arc::new(environment),
            tasks,
            entropy: Pool::new(),
            listeners: Arc::default(),
            observes: AtomicBool::new(false),
            #[cfg(feature = "tower")]
            mounted: AtomicBool::new(false),
        }
    }

    pub(crate) fn observes(&self) -> bool {
        self.observes.load(Ordering::Relaxed)
    }

    /// From now on, sessions are observed from the beginning.
    pub(crate) fn observe(&self) {
        self.observes.store(true, Ordering::Relaxed);
    }

    #[cfg(feature = "tower")]
    pub(crate) fn is_mounted(&self) -> bool {
        self.mounted.load(Ordering::Relaxed)
    }

    /// From now on, a service of the application passes the requests for the server on.
    #[cfg(feature = "tower")]
    pub(crate) fn mount(&self) {
        self.mounted.store(true, Ordering::Relaxed);
    }

    /// Starts the timer task with the first session. Earlier, there might be no runtime.
    pub(crate) fn start_timer(self: &Arc<Self>) {
        if self.sessions.start_timer() {
            self.environment.runtime().spawn(TimerTask::new(Arc::downgrade(self)));
        }
    }

    /// Asks the application whether a session may open.
    pub(crate) async fn allow(&self, parts: &Parts) -> Result<(), Refusal> {
        let answer = self.options.allow.as_ref().map(|allow| allow(parts));
        match answer {
            Some(answer) => answer.await,
            None => Ok(()),
        }
    }

    pub(crate) async fn generate_sid(&self, parts: &Parts) -> Option<Sid> {
        let own = self.options.sid.as_ref().map(|sid| sid(parts));
        match own {
            Some(own) => own.await,
            None => self.entropy.take().map(Sid::from_entropy),
        }
    }

    /// Drops the rest of the body of a request whose answer is ready. A client that is still sending would not read the
    /// answer if its connection broke, so the rest is read first, up to a limit. `since`: when the request arrived, if not
    /// just now.
    pub(crate) fn discard<B>(&self, body: Pin<Box<B>>, since: Option<StdInstant>)
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        if !body.is_end_stream() {
            let runtime = self.environment.runtime();
            // A body that has had its time gets a little more, to read the answer.
            let least = self.config.body_timeout.min(LINGER);
            let passed = since.map_or(Duration::ZERO, |since| runtime.now().saturating_duration_since(since));
            let left = self.config.body_timeout.saturating_sub(passed);
            let deadline = runtime.sleep(left.max(least));
            runtime.spawn(body::discard(body, self.config.max_payload, deadline));
        }
    }

    /// As [`Inner::discard`], for a body of which nothing was read.
    pub(crate) fn discard_whole<B>(&self, body: B, headers: &HeaderMap)
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        // A client that waits for `100 Continue` sends nothing if it is not asked for.
        if !body.is_end_stream() && !headers.contains_key(EXPECT) {
            self.discard(Box::pin(body), None);
        }
    }

    /// Reports a rejected request to the application, with the address of its client.
    pub(crate) fn report(&self, rejection: &Rejection, parts: &mut Parts, remote: Option<SocketAddr>) {
        if let Some(report) = &self.options.on_error {
            if let Some(addr) = remote {
                parts.extensions.insert(RemoteAddr(addr));
            }
            report(&ConnectionError { rejection, request: parts });
        }
    }
}

impl Owner for Inner {}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inner")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The timer task notices that the server is gone.
        self.sessions.wake_timer();
    }
}
