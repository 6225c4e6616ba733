//! What a server consists of, and what it is told.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engineio_proto::Sid;
use engineio_proto::http::{ErrorCode, Mount, Rejection};
use engineio_proto::server::Config;
use http::request::Parts;

use super::backlog::Backlog;
use super::sessions::Sessions;
use super::timer::TimerTask;
use crate::runtime::{Clock, Runtime};
use crate::session::{Environment, Owner};
use crate::tasks::Tasks;

pub(crate) struct Inner {
    pub(crate) config: Arc<Config>,
    pub(crate) options: Options,
    pub(crate) environment: Arc<Environment>,
    pub(crate) sessions: Sessions,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) tasks: Arc<Tasks>,
    /// Sessions are observed from their first moment.
    observes: AtomicBool,
}

/// What a server is told beside the configuration of the core.
pub(crate) struct Options {
    pub(crate) mount: Mount,
    pub(crate) header_timeout: Duration,
    pub(crate) backlog: usize,
    pub(crate) allow: Option<Hook<Result<(), Refusal>>>,
    pub(crate) sid: Option<Hook<Option<Sid>>>,
    pub(crate) on_error: Option<Report>,
}

pub(crate) type Hook<T> = Box<dyn Fn(&Parts) -> Pin<Box<dyn Future<Output = T> + Send>> + Send + Sync>;
pub(crate) type Report = Box<dyn Fn(&ConnectionError<'_>) + Send + Sync>;

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

    pub(crate) fn into_message(self) -> Option<String> {
        self.message
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

/// The request was ended without an answer: its connection should be dropped.
///
/// It happens to a POST whose session ended while its body was on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session ended while its request was on the way")]
pub struct Aborted;

/// Where the connection of a request comes from, as an extension of requests for those who mount the server
/// themselves: put it there, and [`Handle::remote_addr`](crate::Handle::remote_addr) knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

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
            options,
            environment: Arc::new(environment),
            tasks,
            observes: AtomicBool::new(false),
        }
    }

    pub(crate) fn observes(&self) -> bool {
        self.observes.load(Ordering::Relaxed)
    }

    /// From now on, sessions are observed from their first moment.
    pub(crate) fn observe(&self) {
        self.observes.store(true, Ordering::Relaxed);
    }

    /// Starts the timer task with the first session: only then a runtime is sure to be there.
    pub(crate) fn start_timer(self: &Arc<Self>) {
        if self.sessions.start_timer() {
            self.environment.runtime().spawn(TimerTask::new(Arc::downgrade(self)));
        }
    }

    /// Asks the application.
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
}

impl Owner for Inner {}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inner")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The timer task finds out that the server is gone.
        self.sessions.wake_timer();
    }
}
