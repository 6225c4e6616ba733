//! What is under way, so that a shutdown can wait for it.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// Everything under way, and whether it should come to an end.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One entry for each, with who is to be told of the end.
    running: Slab<Option<Waker>>,
    ending: bool,
    /// Who waits for everything to be over.
    waiting: Vec<Waker>,
}

impl Tasks {
    pub(crate) fn begin(&self) -> usize {
        self.lock().running.insert(None)
    }

    pub(crate) fn finish(&self, task: usize) {
        // Wakers are woken and dropped outside of the lock.
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

    /// Whether the task should come to an end; if not, it will be woken.
    fn poll_ending(&self, task: usize, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let _replaced = {
            let mut state = self.lock();
            if state.ending {
                return Poll::Ready(());
            }
            state.running.get_mut(task).and_then(|slot| slot.replace(waker))
        };
        Poll::Pending
    }

    /// Tells everything to come to an end, and waits for it.
    pub(crate) async fn end(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.ending = true;
            state.running.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.running.is_empty() {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that [`Server::shutdown`](crate::Server::shutdown) waits for, until it is dropped. For those who serve
/// connections themselves: hold one for each. [`Server::serve`](crate::Server::serve) does.
#[must_use = "a shutdown waits only for guards that are held"]
pub struct Guard {
    tasks: Arc<Tasks>,
    task: usize,
}

impl Guard {
    pub(crate) fn new(tasks: &Arc<Tasks>) -> Self {
        Self { tasks: Arc::clone(tasks), task: tasks.begin() }
    }

    /// Waits until the server shuts down and has ended its sessions: finish what is being written, then end.
    pub async fn ending(&self) {
        poll_fn(|cx| self.tasks.poll_ending(self.task, cx)).await;
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
        let mut end = pin!(tasks.end());
        assert!(poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
        first.ending().await;
        drop(first);
        assert!(poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx).is_pending())).await);
        drop(second);
        end.await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_under_way_learns_of_the_end() {
        let tasks = Arc::new(Tasks::default());
        let guard = Guard::new(&tasks);
        let ended = tokio::spawn(async move { guard.ending().await });
        tokio::task::yield_now().await;
        tasks.end().await;
        ended.await.unwrap();
    }
}
