//! All sessions of a server: a registry of the core behind a lock.
//!
//! The lock is taken when a session opens, is looked up or leaves, and when its deadline moves to an earlier time; it may be
//! taken under the lock of a session, never the other way round.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use engineio_proto::http::Rejection;
use engineio_proto::server::{Registry, SessionKey};
use engineio_proto::{Instant, Sid};

use super::session::Served;
use crate::session::{Cell, Deferred, Link, set};

/// A session in the registry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) cell: Arc<Cell<Served>>,
    pub(crate) link: Arc<Link>,
}

#[derive(Debug)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    registry: Registry<Entry>,
    timer: Timer,
}

/// When the timer task will look next, and how to make it look earlier.
#[derive(Debug, Default)]
struct Timer {
    started: bool,
    armed: Option<Instant>,
    waker: Option<Waker>,
}

impl Sessions {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::new(State { registry: Registry::new(capacity), timer: Timer::default() }) }
    }

    /// Whether a session with this id would be taken.
    ///
    /// # Errors
    /// See [`Registry::check`].
    pub(crate) fn check(&self, sid: &Sid) -> Result<(), Rejection> {
        self.lock().registry.check(sid)
    }

    /// Adds a session.
    ///
    /// # Errors
    /// See [`Registry::check`]. The entry is dropped then, by the caller.
    pub(crate) fn insert(&self, sid: Sid, make: &mut dyn FnMut(SessionKey) -> Entry) -> Result<Entry, Rejection> {
        let mut made = None;
        let inserted = self.lock().registry.insert(sid, |key| made.insert(make(key)).clone());
        inserted?;
        made.ok_or(Rejection::Full)
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Entry> {
        let registry = &self.lock().registry;
        registry.find(sid).and_then(|key| registry.get(key)).cloned()
    }

    /// All sessions that are not closed.
    pub(crate) fn all(&self) -> Vec<Entry> {
        let registry = &self.lock().registry;
        registry.keys().filter_map(|key| registry.get(key)).cloned().collect()
    }

    /// Takes no session more. Gives those that there are.
    pub(crate) fn drain(&self) -> Vec<Entry> {
        self.lock().registry.set_capacity(0);
        self.all()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().registry.len()
    }

    /// A session is closed: it is not found any more.
    pub(crate) fn forget(&self, key: SessionKey) {
        self.lock().registry.forget(key);
    }

    /// A session is over: it takes no room any more.
    pub(crate) fn remove(&self, key: SessionKey) -> Option<Entry> {
        self.lock().registry.remove(key)
    }

    /// A session is to be woken at another time. Gives the time for which it is queued.
    pub(crate) fn schedule(&self, key: SessionKey, next: Option<Instant>, deferred: &mut Deferred) -> Option<Instant> {
        let mut state = self.lock();
        let State { registry, timer } = &mut *state;
        let queued = registry.schedule(key, next);
        let first = registry.next_timeout();
        if first.is_some_and(|first| timer.armed.is_none_or(|armed| first < armed)) {
            deferred.wake(timer.waker.take());
        }
        queued
    }

    /// Whether the timer task is to be started: it is not under way.
    pub(crate) fn start_timer(&self) -> bool {
        !std::mem::replace(&mut self.lock().timer.started, true)
    }

    /// The timer task is over.
    pub(crate) fn stop_timer(&self) {
        let timer = std::mem::take(&mut self.lock().timer);
        drop(timer);
    }

    /// Takes the sessions whose time has come. If there are none, the task sleeps until the time that is given.
    pub(crate) fn take_due(&self, now: Instant, cx: &Context<'_>, due: &mut Vec<Arc<Cell<Served>>>) -> Option<Instant> {
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        let State { registry, timer } = &mut *state;
        for key in registry.take_due(now) {
            due.extend(registry.get(key).map(|entry| Arc::clone(&entry.cell)));
        }
        timer.armed = registry.next_timeout();
        set(&mut timer.waker, cx, &mut deferred);
        let armed = timer.armed;
        drop(state);
        armed
    }

    /// The timer task has to look: the server is gone.
    pub(crate) fn wake_timer(&self) {
        let waker = self.lock().timer.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
