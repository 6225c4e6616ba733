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

/// How often the parts are polled before other tasks run. Each has a limit of its own for one poll.
const ROUNDS: usize = 8;

/// The parts that the task of a session has not taken yet.
#[derive(Default)]
pub(crate) struct Parts {
    /// The task has been started, and has not ended.
    runs: bool,
    // Boxed, because there is hardly ever one.
    added: Option<Box<Both<SmallVec<[Task; 1]>>>>,
    /// The state of the task, once it was polled.
    state: Option<Arc<State>>,
}

/// The two kinds of parts. Each has its own waker, so that a part is polled only if there is something for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Channels are polled first: what they receive is then passed on in the same round.
    Channel,
    Application,
}

/// Something for each kind of parts.
#[derive(Default)]
struct Both<T> {
    channels: T,
    applications: T,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl Parts {
    /// Adds a part. Returns whether the task must be started.
    fn add(&mut self, kind: PartKind, part: Task, deferred: &mut Deferred) -> bool {
        let added = self.added.get_or_insert_default();
        match kind {
            PartKind::Channel => added.channels.push(part),
            PartKind::Application => added.applications.push(part),
        }
        if let Some(state) = &self.state {
            deferred.wake(Some(Waker::from(Arc::new(PartWaker::<ADDED>(Arc::clone(state))))));
        }
        !std::mem::replace(&mut self.runs, true)
    }
}

impl AnySession {
    /// Runs a future as a part of the session's task.
    ///
    /// If the future panics, it is dropped, and the other parts continue. The panic hook has reported the panic then.
    pub(crate) fn run(&self, kind: PartKind, part: impl Future<Output = ()> + Send + 'static) {
        let part: Task = Box::pin(part);
        if self.visit(|visit| visit.attached.parts.add(kind, part, visit.deferred)) {
            let task = SessionTask { session: self.clone(), parts: Both::default(), wakers: None, over: false };
            self.environment().runtime().spawn(task);
        }
    }
}

struct SessionTask {
    session: AnySession,
    parts: Both<SmallVec<[Task; 1]>>,
    wakers: Option<Wakers>,
    /// Its last part has ended. From then on, the session may have another task.
    over: bool,
}

/// The wakers that the parts of a task are polled with.
struct Wakers {
    state: Arc<State>,
    channels: Waker,
    applications: Waker,
}

impl Wakers {
    /// Creates the wakers for a task, which is polled with a waker.
    fn new(task: &Waker) -> Self {
        let state = Arc::new(State { bits: AtomicU8::new(ADDED), task: task.clone() });
        let channels = Arc::clone(&state).into();
        let applications = Arc::new(PartWaker::<APPLICATIONS>(Arc::clone(&state))).into();
        Self { state, channels, applications }
    }
}

impl SessionTask {
    /// Takes the parts that were added. Returns whether the task has any.
    fn take_added(session: &AnySession, parts: &mut Both<SmallVec<[Task; 1]>>, state: &Arc<State>) -> bool {
        let (runs, _replaced) = session.visit(|visit| {
            let shared = &mut visit.attached.parts;
            if let Some(added) = shared.added.take() {
                let Both { channels, applications } = *added;
                append(&mut parts.channels, channels);
                append(&mut parts.applications, applications);
            }
            shared.runs = !parts.channels.is_empty() || !parts.applications.is_empty();
            let state = shared.runs.then(|| Arc::clone(state));
            (shared.runs, std::mem::replace(&mut shared.state, state))
        });
        runs
    }
}

/// Adds parts, most often to none.
fn append(parts: &mut SmallVec<[Task; 1]>, added: SmallVec<[Task; 1]>) {
    if parts.is_empty() {
        *parts = added;
    } else {
        parts.extend(added);
    }
}

/// Polls parts. Those that have ended are dropped. Returns whether one has ended.
fn poll_parts(parts: &mut SmallVec<[Task; 1]>, waker: &Waker) -> bool {
    let before = parts.len();
    let mut cx = Context::from_waker(waker);
    parts.retain(|part| {
        let polled = catch_unwind(AssertUnwindSafe(|| part.as_mut().poll(&mut cx)));
        let is_pending = matches!(polled, Ok(Poll::Pending));
        if !is_pending {
            // Dropped here, because its destructor may panic too.
            let _ = catch_unwind(AssertUnwindSafe(|| *part = Box::pin(async {})));
        }
        is_pending
    });
    parts.len() < before
}

impl Future for SessionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { session, parts, wakers, over } = &mut *self;
        let is_same = wakers.as_ref().is_some_and(|wakers| wakers.state.task.will_wake(cx.waker()));
        let wakers = match wakers {
            Some(wakers) if is_same => wakers,
            wakers => wakers.insert(Wakers::new(cx.waker())),
        };
        let mut ended = false;
        for _ in 0..ROUNDS {
            let woken = wakers.state.begin();
            let added = woken & ADDED != 0;
            if (added || ended) && !Self::take_added(session, parts, &wakers.state) {
                *over = true;
                return Poll::Ready(());
            }
            ended = (added || woken & CHANNELS != 0) && poll_parts(&mut parts.channels, &wakers.channels);
            // A channel may have woken them.
            if added || (woken | wakers.state.woken()) & APPLICATIONS != 0 {
                wakers.state.clear(APPLICATIONS);
                ended |= poll_parts(&mut parts.applications, &wakers.applications);
            }
            if !ended && wakers.state.end() {
                return Poll::Pending;
            }
        }
        if ended {
            wakers.state.set(ADDED);
        }
        wakers.state.give_up();
        Poll::Pending
    }
}

/// When the runtime ends, its tasks end too. A part that is added later starts another one.
impl Drop for SessionTask {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.parts = Both::default();
        let (_added, _state) = self.session.visit(|visit| {
            let shared = &mut visit.attached.parts;
            shared.runs = false;
            (shared.added.take(), shared.state.take())
        });
    }
}

/// The state of a task. While the task is polled, it is not woken: what its parts wake is polled in the same turn.
struct State {
    bits: AtomicU8,
    /// The waker of the task.
    task: Waker,
}

/// Channels were woken since they were polled.
const CHANNELS: u8 = 1;
/// Parts of the application were woken since they were polled.
const APPLICATIONS: u8 = 2;
/// A part was added.
const ADDED: u8 = 4;
/// The task is being polled.
const POLLED: u8 = 8;

impl State {
    /// Begins a round. Returns what was woken.
    fn begin(&self) -> u8 {
        // Acquires what those who have woken a part did before.
        self.bits.swap(POLLED, Ordering::AcqRel)
    }

    /// Returns what was woken since the beginning of the round.
    fn woken(&self) -> u8 {
        self.bits.load(Ordering::Acquire)
    }

    fn clear(&self, bits: u8) {
        self.bits.fetch_and(!bits, Ordering::AcqRel);
    }

    fn set(&self, bits: u8) {
        self.bits.fetch_or(bits, Ordering::AcqRel);
    }

    /// Ends a turn, unless something was woken since the beginning of the round.
    fn end(&self) -> bool {
        self.bits.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends a turn although there is more to do, and wakes the task for another one.
    fn give_up(&self) {
        self.clear(POLLED);
        self.task.wake_by_ref();
    }

    /// Notes what is woken, and wakes the task if nothing was before, and if it is not being polled.
    fn wake_for(&self, bits: u8) {
        if self.bits.fetch_or(bits, Ordering::AcqRel) == 0 {
            self.task.wake_by_ref();
        }
    }
}

/// The state itself is the waker of channels: that is one allocation less for each session.
impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_for(CHANNELS);
    }
}

/// A waker of the session's task for one purpose. `WAKES`: the bits of the parts that are polled then.
struct PartWaker<const WAKES: u8>(Arc<State>);

impl<const WAKES: u8> Wake for PartWaker<WAKES> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_for(WAKES);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::rt::Executor;
    use hyper_util::rt::TokioTimer;

    use super::*;
    use crate::rt::Runtime;
    use crate::{Builder, Socket};

    /// Collects tasks, which the test polls.
    #[derive(Clone, Default)]
    struct Tasks(Arc<Mutex<Vec<Task>>>);

    impl Executor<Task> for Tasks {
        fn execute(&self, task: Task) {
            self.0.lock().unwrap().push(task);
        }
    }

    impl Tasks {
        fn take(&self) -> Vec<Task> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wakes {
        fn waker() -> (Arc<Self>, Waker) {
            let wakes = Arc::new(Self::default());
            (Arc::clone(&wakes), wakes.into())
        }

        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens a session. Returns the tasks that are started from then on.
    async fn session() -> (Socket, Tasks) {
        let tasks = Tasks::default();
        let server = Builder::new(Runtime::new(tasks.clone(), TokioTimer::new())).build().unwrap();
        let request = http::Request::builder().uri("/engine.io/?EIO=4&transport=polling");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        server.handle(request).await.unwrap().collect().await.unwrap();
        let socket = server.accept().await;
        tasks.take();
        (socket, tasks)
    }

    /// What one part has for another.
    #[derive(Clone, Default)]
    struct Ball(Arc<Mutex<(usize, Option<Waker>)>>);

    impl Ball {
        fn throw(&self) {
            let mut ball = self.0.lock().unwrap();
            ball.0 += 1;
            if let Some(waker) = ball.1.take() {
                waker.wake();
            }
        }

        async fn catch(&self) {
            poll_fn(|cx| {
                let mut ball = self.0.lock().unwrap();
                ball.1 = Some(cx.waker().clone());
                if ball.0 == 0 {
                    return Poll::Pending;
                }
                ball.0 -= 1;
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Every message woke the task of the application, and every answer that of the channel.
    #[tokio::test(start_paused = true)]
    async fn a_part_that_wakes_another_does_not_wake_the_task() {
        let (socket, tasks) = session().await;
        let (there, back) = (Ball::default(), Ball::default());
        socket.handle().run({
            let (there, back) = (there.clone(), back.clone());
            async move {
                loop {
                    there.catch().await;
                    back.throw();
                }
            }
        });
        socket.handle().run(async move {
            for _ in 0..ROUNDS / 2 {
                there.throw();
                back.catch().await;
            }
            poll_fn(|_| Poll::<()>::Pending).await;
        });
        let mut started = tasks.take();
        assert_eq!(started.len(), 1, "both are parts of one task");
        let (wakes, waker) = Wakes::waker();
        assert!(started[0].as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(wakes.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_whose_parts_wake_each_other_without_end_lets_others_run() {
        let (socket, tasks) = session().await;
        socket.handle().run(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let (wakes, waker) = Wakes::waker();
        let mut task = tasks.take().remove(0);
        for turn in 1..5 {
            assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(wakes.count(), turn);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_added_later_is_polled_by_the_same_task_even_if_another_waker_polls_it() {
        let (socket, tasks) = session().await;
        let ball = Ball::default();
        socket.handle().run({
            let ball = ball.clone();
            async move { ball.catch().await }
        });
        let mut task = tasks.take().remove(0);
        for _ in 0..2 {
            let (wakes, waker) = Wakes::waker();
            assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let done = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&done);
            socket.handle().run(async move {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!((wakes.count(), tasks.take().len()), (1, 0));
            assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(done.load(Ordering::Relaxed), 1);
        }
        let (wakes, waker) = Wakes::waker();
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        ball.throw();
        assert_eq!(wakes.count(), 1);
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready(), "it was the last part");
        // An executor drops a task some time after it has ended.
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        socket.handle().run(async move {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        drop(task);
        let mut started = tasks.take();
        assert_eq!(started.len(), 1, "another task is started");
        assert!(started[0].as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!(done.load(Ordering::Relaxed), 1, "the task that had ended leaves it alone");
    }

    /// Runs a part that panics, and another one, which must go on.
    async fn ends_alone(part: impl Future<Output = ()> + Send + 'static) {
        let (socket, tasks) = session().await;
        let ball = Ball::default();
        socket.handle().run(part);
        socket.handle().run({
            let ball = ball.clone();
            async move { ball.catch().await }
        });
        let mut task = tasks.take().remove(0);
        let (_, waker) = Wakes::waker();
        let mut cx = Context::from_waker(&waker);
        assert!(task.as_mut().poll(&mut cx).is_pending());
        ball.throw();
        assert!(task.as_mut().poll(&mut cx).is_ready());
    }

    struct PanicsAtTheEnd;

    impl Drop for PanicsAtTheEnd {
        fn drop(&mut self) {
            panic!("a destructor that panics");
        }
    }

    impl Future for PanicsAtTheEnd {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_ends_alone() {
        ends_alone(async { panic!("a part that panics") }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_whose_destructor_panics_ends_alone() {
        ends_alone(PanicsAtTheEnd).await;
    }

    /// When a runtime ends, it drops its tasks.
    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_dropped_drops_its_parts() {
        for polled in [false, true] {
            let (socket, tasks) = session().await;
            let held = Arc::new(());
            let hold = Arc::clone(&held);
            socket.handle().run(async move {
                poll_fn(|_| Poll::<()>::Pending).await;
                drop(hold);
            });
            let mut task = tasks.take().remove(0);
            if polled {
                let (_, waker) = Wakes::waker();
                assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            drop(task);
            assert_eq!(Arc::strong_count(&held), 1);
            socket.handle().run(async {});
            assert_eq!(tasks.take().len(), 1, "another task is started");
        }
    }
}
