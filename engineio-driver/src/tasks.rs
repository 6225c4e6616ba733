//! Tasks that a shutdown waits for.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// The tasks that are running, and whether they should end.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    state: Mutex<State>,
    /// The phase, for tasks that have registered their waker: a task is polled far more often than the phase changes.
    phase: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    /// One entry for each task, with the waker to wake when it should end.
    running: Slab<Option<Waker>>,
    phase: Phase,
    /// Wakers of those who wait for all tasks to end.
    waiting: Vec<Waker>,
}

/// How urgently tasks should end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    #[default]
    Running,
    /// A task should finish its work, and end.
    Ending,
    /// A task should end at once.
    Overdue,
}

impl Tasks {
    pub(crate) fn begin(&self) -> usize {
        self.lock().running.insert(None)
    }

    pub(crate) fn finish(&self, task: usize) {
        // Wakers are woken and dropped without the lock.
        let (_own, wakers) = {
            let mut state = self.lock();
            let own = state.running.try_remove(task);
            let mut wakers = Vec::new();
            if state.running.is_empty() {
                state.running = Slab::new();
                wakers = std::mem::take(&mut state.waiting);
            }
            (own, wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready when this phase has begun; otherwise the task's waker is registered.
    fn poll_phase(&self, task: usize, phase: Phase, cx: &Context<'_>) -> Poll<()> {
        self.poll_registered(task, phase, &mut None, cx)
    }

    /// As [`Tasks::poll_phase`], without the lock if the same waker is registered already.
    fn poll_registered(&self, task: usize, phase: Phase, own: &mut Option<Waker>, cx: &Context<'_>) -> Poll<()> {
        // A phase that begins after this wakes the waker.
        let registered = own.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if registered && self.phase.load(Ordering::Acquire) < phase as u8 {
            return Poll::Pending;
        }
        *own = Some(cx.waker().clone());
        let waker = cx.waker().clone();
        let _replaced = {
            let mut state = self.lock();
            if state.phase >= phase {
                return Poll::Ready(());
            }
            state.running.get_mut(task).and_then(|slot| slot.replace(waker))
        };
        Poll::Pending
    }

    /// Tells all tasks that a phase has begun.
    pub(crate) fn begin_phase(&self, phase: Phase) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.phase = state.phase.max(phase);
            // Under the lock: whoever registers after this sees the phase.
            self.phase.store(state.phase as u8, Ordering::Release);
            state.running.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells all tasks to end, and waits for them.
    pub(crate) async fn end(&self, phase: Phase) {
        self.begin_phase(phase);
        let mut waiting = Waiting { tasks: self, waker: None };
        poll_fn(|cx| waiting.poll(cx)).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that waits for the end of all tasks. Dropping it removes its waker.
struct Waiting<'a> {
    tasks: &'a Tasks,
    waker: Option<Waker>,
}

impl Waiting<'_> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.leave();
        }
        let (own, listed) = (cx.waker().clone(), cx.waker().clone());
        let _unused = {
            let mut state = self.tasks.lock();
            if state.running.is_empty() {
                return Poll::Ready(());
            }
            if state.waiting.iter().any(|waker| waker.will_wake(&own)) {
                Some(listed)
            } else {
                state.waiting.push(listed);
                None
            }
        };
        self.waker = Some(own);
        Poll::Pending
    }

    fn leave(&mut self) {
        let Some(waker) = self.waker.take() else { return };
        let removed = {
            let waiting = &mut self.tasks.lock().waiting;
            let index = waiting.iter().position(|other| other.will_wake(&waker));
            index.map(|index| waiting.swap_remove(index))
        };
        // Another future of the same task may depend on it.
        if let Some(waker) = removed {
            waker.wake();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A task or connection that [`Server::shutdown`](crate::Server::shutdown) waits for, until the guard is dropped.
///
/// [`Server::serve_connection`](crate::Server::serve_connection) holds one for each connection; code that serves
/// connections in another way must do the same.
#[must_use = "a shutdown waits only for guards that are held"]
pub struct Guard {
    tasks: Arc<Tasks>,
    task: usize,
}

impl Guard {
    pub(crate) fn new(tasks: &Arc<Tasks>) -> Self {
        Self { tasks: Arc::clone(tasks), task: tasks.begin() }
    }

    /// Waits until the server shuts down and its sessions have ended. Then finish writing, and end.
    pub async fn ending(&self) {
        let mut own = None;
        poll_fn(|cx| self.tasks.poll_registered(self.task, Phase::Ending, &mut own, cx)).await;
    }

    /// Waits until the deadline of a shutdown has passed; see
    /// [`Builder::shutdown_timeout`](crate::Builder::shutdown_timeout). Then end at once.
    pub async fn overdue(&self) {
        poll_fn(|cx| self.poll_overdue(cx)).await;
    }

    pub(crate) fn poll_overdue(&self, cx: &Context<'_>) -> Poll<()> {
        self.tasks.poll_phase(self.task, Phase::Overdue, cx)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.tasks.finish(self.task);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.task).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_for_what_is_under_way() {
        let tasks = Arc::new(Tasks::default());
        let (first, second) = (Guard::new(&tasks), Guard::new(&tasks));
        let mut end = pin!(tasks.end(Phase::Ending));
        assert!(poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
        first.ending().await;
        drop(first);
        assert!(poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
        drop(second);
        end.await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_overdue_task_ends_at_once() {
        let tasks = Arc::new(Tasks::default());
        let guard = Guard::new(&tasks);
        let overdue = tokio::spawn(async move { guard.overdue().await });
        let mut end = pin!(tasks.end(Phase::Ending));
        for _ in 0..10 {
            assert!(poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
            tokio::task::yield_now().await;
        }
        assert!(!overdue.is_finished());
        tasks.end(Phase::Overdue).await;
        end.await;
        overdue.await.unwrap();
    }

    /// A shutdown that is given up, again and again, left a waker each time.
    #[tokio::test(start_paused = true)]
    async fn a_shutdown_that_is_given_up_leaves_no_waker() {
        let tasks = Arc::new(Tasks::default());
        let guard = Guard::new(&tasks);
        for _ in 0..10 {
            let mut end = Box::pin(tasks.end(Phase::Ending));
            assert!(poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
            assert_eq!(tasks.lock().waiting.len(), 1);
            drop(end);
            assert_eq!(tasks.lock().waiting.len(), 0);
        }
        drop(guard);
        tasks.end(Phase::Ending).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_under_way_learns_of_the_end() {
        let tasks = Arc::new(Tasks::default());
        let guard = Guard::new(&tasks);
        let ended = tokio::spawn(async move { guard.ending().await });
        tokio::task::yield_now().await;
        tasks.end(Phase::Ending).await;
        ended.await.unwrap();
    }
}
