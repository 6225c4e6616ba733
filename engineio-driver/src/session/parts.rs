//! The task of one session. It consists of parts: the channel, and the code of the application that takes messages.
//!
//! One task polls both, so that no task is woken between a message that arrives and its answer. Each part can be the
//! first one, and each can end before the other. The task ends with its last part.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use smallvec::SmallVec;

use super::cell::AnySession;
use super::deferred::Deferred;
use crate::runtime::Task;

/// How often the parts are polled before other tasks run.
const ROUNDS: usize = 8;

/// The parts that the task of a session has not taken yet.
#[derive(Default)]
pub(crate) struct Parts {
    /// The task has been started, and has not ended.
    runs: bool,
    // Boxed, because there is hardly ever one.
    added: Option<Box<Added>>,
    /// The waker of the task, once it was polled.
    waker: Option<Arc<OwnWaker>>,
}

#[derive(Default)]
struct Added {
    channels: SmallVec<[Task; 1]>,
    others: SmallVec<[Task; 1]>,
}

/// The place of a part among the parts of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A channel comes first: what it receives is then passed on in the same round.
    Channel,
    Application,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl Parts {
    /// Adds a part. Returns whether the task must be started.
    fn add(&mut self, place: Place, part: Task, deferred: &mut Deferred) -> bool {
        let added = self.added.get_or_insert_default();
        match place {
            Place::Channel => added.channels.push(part),
            Place::Application => added.others.push(part),
        }
        if let Some(waker) = &self.waker {
            waker.state.fetch_or(ADDED, Ordering::Relaxed);
            deferred.wake([Waker::from(Arc::clone(waker))]);
        }
        !std::mem::replace(&mut self.runs, true)
    }
}

impl AnySession {
    /// Runs a future as a part of the session's task.
    ///
    /// If the future panics, it is dropped, and the other parts continue. The panic hook has reported the panic then.
    pub(crate) fn run(&self, place: Place, part: impl Future<Output = ()> + Send + 'static) {
        let part: Task = Box::pin(part);
        if self.visit(|visit| visit.attached.parts.add(place, part, visit.deferred)) {
            let task = SessionTask { session: self.clone(), parts: SmallVec::new(), waker: None };
            self.environment().runtime().spawn(task);
        }
    }
}

struct SessionTask {
    session: AnySession,
    parts: SmallVec<[Task; 2]>,
    /// The waker of the parts, and that of the task, which it stands for.
    waker: Option<(Arc<OwnWaker>, Waker)>,
}

impl SessionTask {
    /// Takes the parts that were added. Returns whether the task has any.
    fn take_added(session: &AnySession, parts: &mut SmallVec<[Task; 2]>, own: &Arc<OwnWaker>) -> bool {
        session.visit(|visit| {
            let shared = &mut visit.attached.parts;
            shared.waker = Some(Arc::clone(own));
            if let Some(added) = shared.added.take() {
                parts.insert_many(0, added.channels);
                parts.extend(added.others);
            }
            shared.runs = !parts.is_empty();
            shared.runs
        })
    }
}

/// Polls a part. Returns whether it has ended.
fn poll_part(part: &mut Task, cx: &mut Context<'_>) -> bool {
    let polled = catch_unwind(AssertUnwindSafe(|| part.as_mut().poll(cx)));
    !matches!(polled, Ok(Poll::Pending))
}

impl Future for SessionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.waker.as_ref().is_some_and(|(own, _)| own.task.will_wake(cx.waker())) {
            let own = Arc::new(OwnWaker { state: AtomicU8::new(ADDED), task: cx.waker().clone() });
            this.waker = Some((Arc::clone(&own), own.into()));
        }
        let Self { session, parts, waker } = this;
        let Some((own, waker)) = waker else { return Poll::Ready(()) };
        let mut cx = Context::from_waker(waker);
        for _ in 0..ROUNDS {
            let added = own.begin();
            if (added || parts.is_empty()) && !Self::take_added(session, parts, own) {
                return Poll::Ready(());
            }
            parts.retain(|part| !poll_part(part, &mut cx));
            if !parts.is_empty() && own.end() {
                return Poll::Pending;
            }
        }
        own.give_up();
        Poll::Pending
    }
}

/// When the runtime ends, its tasks end too. A part that is added later starts another one.
impl Drop for SessionTask {
    fn drop(&mut self) {
        self.parts.clear();
        let (_added, _waker) = self.session.visit(|visit| {
            let shared = &mut visit.attached.parts;
            shared.runs = false;
            (shared.added.take(), shared.waker.take())
        });
    }
}

/// The waker that the parts of a task are polled with. While the task is polled, it wakes nothing: the parts are polled
/// again in the same turn.
struct OwnWaker {
    state: AtomicU8,
    /// The waker of the task.
    task: Waker,
}

/// The task was woken since the beginning of the last round.
const WOKEN: u8 = 1;
/// The task is being polled.
const POLLED: u8 = 2;
/// A part was added.
const ADDED: u8 = 4;

impl OwnWaker {
    /// Begins a round. Returns whether a part was added.
    fn begin(&self) -> bool {
        // Acquires what those who have woken the task did before.
        self.state.swap(POLLED, Ordering::AcqRel) & ADDED != 0
    }

    /// Ends a turn, unless the task was woken since the beginning of the round.
    fn end(&self) -> bool {
        self.state.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends a turn although there is more to do, and wakes the task for another one.
    fn give_up(&self) {
        self.state.fetch_and(!POLLED, Ordering::AcqRel);
        self.state.fetch_or(WOKEN, Ordering::AcqRel);
        self.task.wake_by_ref();
    }
}

impl Wake for OwnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & (WOKEN | POLLED) == 0 {
            self.task.wake_by_ref();
        }
    }
}
