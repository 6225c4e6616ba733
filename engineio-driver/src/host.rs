//! Applications on real sockets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use engineio_proto::app::{Application, Peer, Sockets};
use engineio_proto::{Instant, Message, SendError};
use hyper::rt::Sleep;

use crate::runtime::{Clock, Runtime};
use crate::server::Server;
use crate::session::{Deferred, set};
use crate::socket::{Handle, Socket};
use crate::tasks::Guard;

/// Runs an [`Application`] on real sockets.
///
/// `engineio-sim` runs the same code in simulated worlds. [`serve`](Host::serve) adds the sessions of a server, and
/// [`attach`](Host::attach) adds any session, such as that of a client. The callbacks are called as [`Application`]
/// documents. A clone is another handle to the same host. Attached sessions continue until they end, also without a
/// handle.
///
/// ```
/// use engineio_driver::app::{Application, Host, Peer, Sockets};
/// use engineio_driver::mount::HyperService;
/// use engineio_driver::rt::Runtime;
/// use engineio_driver::{Builder, Message};
/// use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// /// Sends each message back, and counts messages.
/// #[derive(Default)]
/// struct Echo {
///     messages: u64,
/// }
///
/// impl Application for Echo {
///     fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
///         self.messages += 1;
///         if sockets.send(peer, message).is_err() {
///             sockets.close(peer);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
/// let server = Builder::new(runtime.clone()).build()?;
/// let host = Host::new(runtime, Echo::default());
/// tokio::spawn({
///     let (host, server) = (host.clone(), server.clone());
///     async move { host.serve(&server).await }
/// });
/// # let (mut client, io) = tokio::io::duplex(4096);
/// # let service = HyperService::new(server.clone(), None);
/// # tokio::spawn(server.serve_connection(TokioIo::new(io), service));
/// # let mut exchange = async |head: String, body: &str| -> std::io::Result<String> {
/// #     let request = format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
/// #     client.write_all(request.as_bytes()).await?;
/// #     let mut answer = vec![0; 4096];
/// #     let read = client.read(&mut answer).await?;
/// #     Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
/// # };
/// # let path = "/engine.io/?EIO=4&transport=polling";
/// # let open = exchange(format!("GET {path}"), "").await?;
/// # let sid = open.split('"').nth(3).ok_or("no session")?.to_owned();
/// # assert!(exchange(format!("POST {path}&sid={sid}"), "4hello").await?.ends_with("ok"));
/// # assert!(exchange(format!("GET {path}&sid={sid}"), "").await?.ends_with("4hello"));
/// // A client has sent one message.
/// assert_eq!(host.with(|echo| echo.messages), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Usage
///
/// * The application has one lock, and its callbacks run one after the other, for all sessions. A slow callback delays
///   all sessions of the host and blocks a thread of the runtime. Do slow work elsewhere, and report its result with
///   [`impulse`](Host::impulse).
/// * A callback must not call the host: the application's lock is held.
/// * Messages are taken from a session only when the application is called with them. A client that sends faster than
///   the application works is slowed down at the limits of its session, and the host queues nothing.
/// * Timeouts use the timer of the runtime. The host has one timer, and only if the application has timeouts.
/// * A callback that panics ends its session, and the application is not called for that end. The application keeps the
///   state in which the panic left it. If the callback was `on_timeout`, the next callback of any kind restarts the
///   timer.
/// * [`attach`](Host::attach) must be called where tasks can be started: with tokio, inside the runtime. If the
///   application has timeouts, this holds for `new` and for all other methods too.
pub struct Host<A: Application + Send + 'static> {
    shared: Arc<Shared<A>>,
}

struct Shared<A> {
    runtime: Runtime,
    clock: Clock,
    /// The number of the next session.
    next: AtomicU64,
    state: Mutex<State<A>>,
}

struct State<A> {
    application: A,
    entries: BTreeMap<Peer, Entry>,
    alarm: Alarm,
}

/// A session that the application knows.
struct Entry {
    handle: Handle,
    /// The waker of the session's task.
    waker: Option<Waker>,
    /// A message was refused because the buffer is full, and `on_writable` was not called since.
    refused: bool,
    /// The application has aborted the session.
    aborted: bool,
}

/// When the timer's task will next call the application, and its waker, to make that earlier.
#[derive(Default)]
struct Alarm {
    started: bool,
    armed: Option<Instant>,
    waker: Option<Waker>,
}

impl<A: Application + Send + 'static> Host<A> {
    /// Creates a host for an application that has no sessions yet. The runtime crates have a function that does this
    /// with their runtime.
    pub fn new(runtime: Runtime, application: A) -> Self {
        let clock = Clock::new(runtime.clone());
        let state = State { application, entries: BTreeMap::new(), alarm: Alarm::default() };
        let shared = Arc::new(Shared { runtime, clock, next: AtomicU64::new(0), state: Mutex::new(state) });
        shared.work(|_, _| ());
        Self { shared }
    }

    /// Adds every new session of a server.
    ///
    /// Never returns; drop the future to stop accepting. [`Server::shutdown`] waits until the application was called
    /// for the end of each session.
    pub async fn serve(&self, server: &Server) -> Infallible {
        loop {
            let socket = server.accept().await;
            // A panic ends this session only.
            let _ = catch_unwind(AssertUnwindSafe(|| self.attach(socket)));
        }
    }

    /// Adds a session of a server or of a client.
    ///
    /// `on_open` has been called when this returns. The application is not called for messages that were taken from the
    /// socket before. The session's task runs on the runtime of its server or client.
    pub fn attach(&self, socket: Socket) -> Peer {
        let peer = Peer(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let under_way = socket.guard();
        let handle = socket.handle();
        let entry = Entry { handle: handle.clone(), waker: None, refused: false, aborted: false };
        // Created before the application is called, so that the entry is removed if the call panics.
        let served = Served { shared: Arc::clone(&self.shared), peer, socket, _under_way: under_way };
        self.shared.work(|state, deferred| {
            state.entries.insert(peer, entry);
            state.call(&self.shared.clock, deferred, |application, sockets| application.on_open(sockets, peer));
        });
        handle.run(served);
        peer
    }

    /// Calls [`Application::on_impulse`], to report an event from outside the sessions.
    pub fn impulse(&self, impulse: u32) {
        self.shared.work(|state, deferred| {
            state.call(&self.shared.clock, deferred, |application, sockets| application.on_impulse(sockets, impulse));
        });
    }

    /// Calls a closure with the application, under its lock.
    pub fn with<T>(&self, work: impl FnOnce(&mut A) -> T) -> T {
        self.shared.work(|state, _| work(&mut state.application))
    }
}

impl<A: Application + Send + 'static> Clone for Host<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A: Application + Send + 'static> fmt::Debug for Host<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl<A: Application + Send + 'static> Shared<A> {
    /// Calls a closure under the application's lock, then arms the timer if needed.
    fn work<T>(self: &Arc<Self>, work: impl FnOnce(&mut State<A>, &mut Deferred) -> T) -> T {
        let mut deferred = Deferred::default();
        let (result, alarm) = {
            let mut state = self.lock();
            let result = work(&mut state, &mut deferred);
            (result, state.see_to_alarm(&mut deferred))
        };
        if alarm {
            self.runtime.spawn(AlarmTask { shared: Arc::downgrade(self), sleep: None, armed: None });
        }
        result
    }
}

impl<A> Shared<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // A callback that panics ends its own session only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the timer's task, which ends when the host is gone.
impl<A> Drop for Shared<A> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = state.alarm.waker.take() {
            waker.wake();
        }
    }
}

impl<A: Application> State<A> {
    fn call<T>(
        &mut self,
        clock: &Clock,
        deferred: &mut Deferred,
        call: impl FnOnce(&mut A, &mut dyn Sockets) -> T,
    ) -> T {
        call(&mut self.application, &mut Reachable { entries: &mut self.entries, clock, deferred })
    }

    /// After a call: wakes the timer's task if its deadline is now earlier. Returns whether the task must be started.
    fn see_to_alarm(&mut self, deferred: &mut Deferred) -> bool {
        let Some(next) = self.application.next_timeout() else { return false };
        let alarm = &mut self.alarm;
        if alarm.started && alarm.armed.is_none_or(|armed| next < armed) {
            deferred.wake(alarm.waker.take());
        }
        !std::mem::replace(&mut alarm.started, true)
    }
}

/// What an application can access during a call.
struct Reachable<'a> {
    entries: &'a mut BTreeMap<Peer, Entry>,
    clock: &'a Clock,
    deferred: &'a mut Deferred,
}

impl Sockets for Reachable<'_> {
    fn send(&mut self, peer: Peer, message: Message) -> Result<(), SendError> {
        let Some(entry) = self.entries.get_mut(&peer) else { return Err(SendError::Closed(message)) };
        let sent = entry.handle.try_send_deferred(message, self.deferred);
        if matches!(sent, Err(SendError::Full(_))) {
            entry.refused = true;
            // The session's task now waits for room.
            self.deferred.wake(entry.waker.take());
        }
        sent
    }

    fn close(&mut self, peer: Peer) {
        if let Some(entry) = self.entries.get(&peer) {
            entry.handle.close_deferred(self.deferred);
        }
    }

    fn abort(&mut self, peer: Peer) {
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.aborted = true;
            entry.handle.abort_deferred(self.deferred);
        }
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

/// The task of one session: calls the application until the session ends.
struct Served<A: Application + Send + 'static> {
    shared: Arc<Shared<A>>,
    peer: Peer,
    socket: Socket,
    _under_way: Option<Guard>,
}

/// The number of calls before other tasks run.
const CALLS: usize = 32;

impl<A: Application + Send + 'static> Served<A> {
    /// Calls the application for everything that is ready, up to the limit of one turn. Returns the entry at the end.
    fn turn(&mut self, state: &mut State<A>, deferred: &mut Deferred, cx: &Context<'_>) -> Poll<Option<Entry>> {
        let (clock, peer) = (&self.shared.clock, self.peer);
        for _ in 0..CALLS {
            let Some(entry) = state.entries.get_mut(&peer) else { return Poll::Ready(None) };
            set(&mut entry.waker, cx, deferred);
            if entry.refused {
                let room = self.socket.poll_room(cx, deferred);
                entry.refused = room.is_pending();
                if room == Poll::Ready(true) {
                    state.call(clock, deferred, |application, sockets| application.on_writable(sockets, peer));
                    continue;
                }
            }
            match self.socket.poll_recv_deferred(cx, deferred) {
                // The message arrived before the application aborted the session.
                Poll::Ready(Some(message)) if entry.aborted => deferred.drop_value(message),
                Poll::Ready(Some(message)) => {
                    state.call(clock, deferred, |application, sockets| application.on_message(sockets, peer, message));
                }
                Poll::Ready(None) => {
                    let Poll::Ready(reason) = self.socket.poll_closed(cx, deferred) else { return Poll::Pending };
                    let entry = state.entries.remove(&peer);
                    state.call(clock, deferred, |application, sockets| application.on_close(sockets, peer, reason));
                    return Poll::Ready(entry);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        deferred.wake(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<A: Application + Send + 'static> Future for Served<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        // The rest of the entry is dropped without the lock.
        shared.work(|state, deferred| self.turn(state, deferred, cx)).map(drop)
    }
}

/// Runs when the session has ended, a call has panicked, or the runtime has ended.
impl<A: Application + Send + 'static> Drop for Served<A> {
    fn drop(&mut self) {
        let entry = self.shared.lock().entries.remove(&self.peer);
        drop(entry);
    }
}

/// Calls the application when its deadline has passed. The task ends with the host and its sessions.
struct AlarmTask<A: Application + Send + 'static> {
    shared: Weak<Shared<A>>,
    sleep: Option<Pin<Box<dyn Sleep>>>,
    armed: Option<Instant>,
}

impl<A: Application + Send + 'static> Future for AlarmTask<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Some(shared) = this.shared.upgrade() else { return Poll::Ready(()) };
            let (next, is_stuck) = shared.work(|state, deferred| {
                let is_due = |next: &Instant| *next <= shared.clock.now();
                let was_due = state.application.next_timeout().is_some_and(|next| is_due(&next));
                if was_due {
                    state.call(&shared.clock, deferred, |application, sockets| application.on_timeout(sockets));
                }
                let next = state.application.next_timeout();
                state.alarm.armed = next;
                set(&mut state.alarm.waker, cx, deferred);
                (next, was_due && next.as_ref().is_some_and(is_due))
            });
            let Some(next) = next else { return Poll::Pending };
            if is_stuck {
                // If the application's deadline stays in the past, only the application is delayed, not the runtime.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.armed != Some(next) {
                shared.clock.arm(&mut this.sleep, next);
                this.armed = Some(next);
            }
            drop(shared);
            match this.sleep.as_mut().map(|sleep| sleep.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => this.armed = None,
                _ => return Poll::Pending,
            }
        }
    }
}

/// When a runtime ends, its tasks end too; the next call restarts the timer.
impl<A: Application + Send + 'static> Drop for AlarmTask<A> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let alarm = std::mem::take(&mut shared.lock().alarm);
            drop(alarm);
        }
    }
}
