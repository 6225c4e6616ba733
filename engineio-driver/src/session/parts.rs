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
        drop(task);
        socket.handle().run(async {});
        assert_eq!(tasks.take().len(), 1, "another task is started");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_ends_alone() {
        let (socket, tasks) = session().await;
        let ball = Ball::default();
        socket.handle().run(async { panic!("a part that panics") });
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
