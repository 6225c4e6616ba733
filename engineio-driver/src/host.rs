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

/// Runs an [`Application`] on real sockets: the same code that `engineio-sim` runs in simulated worlds.
///
/// [`serve`](Host::serve) gives it the sessions of a server, [`attach`](Host::attach) any session, as that of a client. It is
/// called as [`Application`] promises. Cloning gives another handle to the same host. Sessions that were attached go on
/// without one, until they end.
///
/// ```
/// use engineio_driver::app::{Application, Host, Peer, Sockets};
/// use engineio_driver::mount::HyperService;
/// use engineio_driver::rt::Runtime;
/// use engineio_driver::{Builder, Message};
/// use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// /// Says what it hears, and counts.
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
/// # tokio::spawn(server.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
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
/// // Somebody has said hello.
/// assert_eq!(host.with(|echo| echo.messages), 1);
/// # Ok(())
/// # }
/// ```
///
/// # What to know
///
/// * The application is behind one lock, and its calls come one after the other, whatever session they are about. One that
///   takes long holds up all sessions of the host, and a thread of the runtime; what has to wait belongs elsewhere, and
///   comes back as an [`impulse`](Host::impulse).
/// * Nothing of the host may be called from within the application: the lock is taken.
/// * Messages are taken from a session when the application is to be told, and not before. So a client that sends faster than
///   the application hears is slowed down, at the bounds of its session, and nothing is queued here.
/// * Timeouts are those of the runtime: the host has one timer, and only if the application has timeouts.
/// * A call that panics ends the session that it was about, and no end of that is told. The application stays, as the call
///   has left it. If the call was about a timeout, the next call of any kind starts the timer anew.
/// * [`attach`](Host::attach) wants to be called where tasks can be started: on tokio, within the runtime. Where the
///   application has timeouts, `new` and all that follows does.
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
    /// Of its task.
    waker: Option<Waker>,
    /// A message was refused as too much, and the application was not told since that there is room.
    refused: bool,
    /// The application has given it up.
    aborted: bool,
}

/// When the task of the timer will look next, and how to make it look earlier.
#[derive(Default)]
struct Alarm {
    started: bool,
    armed: Option<Instant>,
    waker: Option<Waker>,
}

impl<A: Application + Send + 'static> Host<A> {
    /// Begins with an application that knows no session. The runtime crates have a function that does it with their runtime.
    pub fn new(runtime: Runtime, application: A) -> Self {
        let clock = Clock::new(runtime.clone());
        let state = State { application, entries: BTreeMap::new(), alarm: Alarm::default() };
        let shared = Arc::new(Shared { runtime, clock, next: AtomicU64::new(0), state: Mutex::new(state) });
        shared.work(|_, _| ());
        Self { shared }
    }

    /// Takes every new session of a server. Never returns; drop it to stop accepting.
    ///
    /// [`Server::shutdown`] waits until the application has heard of the end of each.
    pub async fn serve(&self, server: &Server) -> Infallible {
        loop {
            let socket = server.accept().await;
            // A call that panics is about this session. Others come.
            let _ = catch_unwind(AssertUnwindSafe(|| self.attach(socket)));
        }
    }

    /// Takes a session, of a server or of a client. The application has heard of it when this returns.
    ///
    /// What was taken from the socket before is not told.
    pub fn attach(&self, socket: Socket) -> Peer {
        let peer = Peer(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let under_way = socket.guard();
        let entry = Entry { handle: socket.handle(), waker: None, refused: false, aborted: false };
        // There before the application is called, so that nothing is left behind if that panics.
        let served = Served { shared: Arc::clone(&self.shared), peer, socket, _under_way: under_way };
        self.shared.work(|state, deferred| {
            state.entries.insert(peer, entry);
            state.call(&self.shared.clock, deferred, |application, sockets| application.on_open(sockets, peer));
        });
        self.shared.runtime.spawn(served);
        peer
    }

    /// Tells the application of something that only it knows: see [`Application::on_impulse`].
    pub fn impulse(&self, impulse: u32) {
        self.shared.work(|state, deferred| {
            state.call(&self.shared.clock, deferred, |application, sockets| application.on_impulse(sockets, impulse));
        });
    }

    /// Looks at the application, or changes it. It is not called meanwhile.
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
    /// Works with the application under its lock, and sees afterwards that it is called in time.
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
        // A call that panics ends its own session, not those of everybody.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The timer finds out that nobody is left.
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

    /// After a call: whether the timer is to be started. One that there is looks earlier, if it has to.
    fn see_to_alarm(&mut self, deferred: &mut Deferred) -> bool {
        let Some(next) = self.application.next_timeout() else { return false };
        let alarm = &mut self.alarm;
        if alarm.started && alarm.armed.is_none_or(|armed| next < armed) {
            deferred.wake(alarm.waker.take());
        }
        !std::mem::replace(&mut alarm.started, true)
    }
}

/// What an application can reach during a call.
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
            // Its task waits for room from now on.
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

/// The task of one session: tells the application what there is to tell, until the end.
struct Served<A: Application + Send + 'static> {
    shared: Arc<Shared<A>>,
    peer: Peer,
    socket: Socket,
    _under_way: Option<Guard>,
}

/// So many calls are made before others have their turn.
const CALLS: usize = 32;

impl<A: Application + Send + 'static> Served<A> {
    /// Calls the application as often as there is something to tell, and as a turn allows. Gives the entry back at the end.
    fn turn(&self, state: &mut State<A>, deferred: &mut Deferred, cx: &Context<'_>) -> Poll<Option<Entry>> {
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
                // It arrived before the session was given up, and was not told by then.
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
        deferred.wake([cx.waker().clone()]);
        Poll::Pending
    }
}

impl<A: Application + Send + 'static> Future for Served<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // What is left of the entry is dropped without the lock.
        self.shared.work(|state, deferred| self.turn(state, deferred, cx)).map(drop)
    }
}

/// It is over, or a call has panicked, or the runtime has ended.
impl<A: Application + Send + 'static> Drop for Served<A> {
    fn drop(&mut self) {
        let entry = self.shared.lock().entries.remove(&self.peer);
        drop(entry);
    }
}

/// Calls the application when its time has come. It ends with the host and its sessions.
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
                // An application whose time does not pass holds up itself, not the runtime.
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

/// A runtime that ends takes its tasks with it; the next call starts the timer anew.
impl<A: Application + Send + 'static> Drop for AlarmTask<A> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let alarm = std::mem::take(&mut shared.lock().alarm);
            drop(alarm);
        }
    }
}
