//! Sessions that have opened and wait to be accepted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::sessions::Entry;

/// The sessions that wait to be accepted, up to a limit.
#[derive(Debug)]
pub(crate) struct Backlog {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    opened: VecDeque<Entry>,
    /// Slots that are reserved for handshakes under way.
    reserved: usize,
    /// How many sessions of the server had ended when none that had was found here.
    searched: Option<u64>,
    wakers: Vec<Waker>,
}

impl Backlog {
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit }
    }

    /// Reserves a slot for one session, if there is one.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<Room> {
        let mut state = self.lock();
        if state.opened.len() + state.reserved >= self.limit {
            return None;
        }
        state.reserved += 1;
        Some(Room { backlog: Arc::clone(self) })
    }

    /// Returns the session that has waited longest. `registered` is the waker that the same future has in the list.
    pub(crate) fn poll_accept(&self, cx: &Context<'_>, registered: &mut Option<Waker>) -> Poll<Entry> {
        let waker = cx.waker().clone();
        if !registered.as_ref().is_some_and(|old| old.will_wake(&waker)) {
            self.leave(registered);
        }
        let mut state = self.lock();
        if let Some(entry) = state.opened.pop_front() {
            drop(state);
            self.leave(registered);
            return Poll::Ready(entry);
        }
        if !state.wakers.iter().any(|other| other.will_wake(&waker)) {
            state.wakers.push(waker.clone());
        }
        drop(state);
        *registered = Some(waker);
        Poll::Pending
    }

    /// Removes the waker of a future that no longer waits.
    pub(crate) fn leave(&self, registered: &mut Option<Waker>) {
        let Some(waker) = registered.take() else { return };
        let removed = {
            let wakers = &mut self.lock().wakers;
            let index = wakers.iter().position(|other| other.will_wake(&waker));
            index.map(|index| wakers.swap_remove(index))
        };
        // Another future of the same task may depend on it.
        if let Some(waker) = removed {
            waker.wake();
        }
    }

    /// Takes the session that has waited longest of those that have ended. `ends`: how many sessions of the server have
    /// ended so far. Nothing is searched for again until that changes.
    pub(crate) fn take_ended(&self, ends: u64) -> Option<Entry> {
        let mut state = self.lock();
        if state.searched == Some(ends) {
            return None;
        }
        let Some(index) = state.opened.iter().position(|entry| entry.cell.over().is_some()) else {
            state.searched = Some(ends);
            return None;
        };
        state.opened.remove(index)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reserved slot. It is released when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    backlog: Arc<Backlog>,
}

impl Room {
    /// Passes a session to the application.
    pub(crate) fn fill(self, entry: Entry) {
        let wakers = {
            let mut state = self.backlog.lock();
            state.opened.push_back(entry);
            // It may have ended before it got here.
            state.searched = None;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.backlog.lock();
        state.reserved = state.reserved.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use super::*;
    use crate::Builder;
    use crate::rt::Runtime;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task that accepts with a timeout, again and again, left a waker each time.
    #[test]
    fn a_future_that_no_longer_waits_leaves_no_waker() {
        let backlog = Backlog::new(1);
        for _ in 0..100 {
            let mut registered = None;
            let wakers = [Waker::from(Arc::<Wakes>::default()), Waker::from(Arc::<Wakes>::default())];
            // A future may move to another task.
            for waker in &wakers {
                assert!(backlog.poll_accept(&Context::from_waker(waker), &mut registered).is_pending());
                assert_eq!(backlog.lock().wakers.len(), 1);
            }
            backlog.leave(&mut registered);
            assert_eq!(backlog.lock().wakers.len(), 0);
        }
    }

    /// Two futures of one task share a waker.
    #[test]
    fn a_future_that_no_longer_waits_does_not_leave_another_unwoken() {
        let backlog = Backlog::new(1);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        let (mut first, mut second) = (None, None);
        assert!(backlog.poll_accept(&cx, &mut first).is_pending());
        assert!(backlog.poll_accept(&cx, &mut second).is_pending());
        backlog.leave(&mut first);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(backlog.poll_accept(&cx, &mut second).is_pending());
        assert_eq!(backlog.lock().wakers.len(), 1);
    }

    /// A session that is aborted between its opening and its place in the list did not give the place up.
    #[tokio::test(start_paused = true)]
    async fn a_session_that_ended_before_it_waits_gives_its_place_up() {
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        let request = http::Request::get("/engine.io/?EIO=4&transport=polling").body(Empty::<Bytes>::new()).unwrap();
        server.handle(request).await.unwrap().collect().await.unwrap().to_bytes();
        let (sessions, backlog) = (&server.inner.sessions, Arc::new(Backlog::new(1)));
        let entry = sessions.all().pop().unwrap();
        let room = backlog.reserve().unwrap();
        server.abort_all();
        assert!(backlog.take_ended(sessions.closed().unwrap()).is_none());
        room.fill(entry);
        assert!(backlog.take_ended(sessions.closed().unwrap()).is_some());
    }
}
