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

    /// Returns the session that has waited longest.
    pub(crate) fn poll_accept(&self, cx: &Context<'_>) -> Poll<Entry> {
        let mut state = self.lock();
        if let Some(entry) = state.opened.pop_front() {
            return Poll::Ready(entry);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
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
