//! All sessions of a server: a registry of the core, with a lock.
//!
//! The lock is taken when a session opens, is looked up or leaves, and when its deadline moves to an earlier time. It
//! may be taken while the lock of a session is held, but not the other way round.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use engineio_proto::http::Rejection;
use engineio_proto::server::{Registry, SessionKey};
use engineio_proto::{Instant, Sid};

use super::session::Served;
use super::state::Inner;
use crate::session::{AnySession, Cell, Deferred, Link, set};
use crate::socket::Handle;

/// A session in the registry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) cell: Arc<Cell<Served>>,
    pub(crate) link: Arc<Link>,
}

/// Returns a handle to a session.
pub(crate) fn handle(server: &Arc<Inner>, Entry { cell, link }: Entry) -> Handle {
    Handle::new(AnySession::new(cell, Some(Arc::clone(server) as _)), link)
}

#[derive(Debug)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    registry: Registry<Entry>,
    /// The sessions that are not closed, for broadcasts, if none has opened or closed since the last one.
    all: Option<Arc<[Arc<Cell<Served>>]>>,
    /// How many sessions have closed.
    closed: u64,
    /// No further session is accepted.
    draining: bool,
    timer: Timer,
}

/// When the timer task will next run, and its waker, to make that earlier.
#[derive(Debug, Default)]
struct Timer {
    started: bool,
    armed: Option<Instant>,
    waker: Option<Waker>,
}

impl Sessions {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                registry: Registry::new(capacity),
                all: None,
                closed: 0,
                draining: false,
                timer: Timer::default(),
            }),
        }
    }

    /// Checks whether a session with this id would be accepted.
    ///
    /// # Errors
    /// See [`Registry::check_at`].
    pub(crate) fn check(&self, sid: &Sid, now: Instant) -> Result<(), Rejection> {
        self.lock().registry.check_at(sid, now)
    }

    /// Adds a session, which may be evicted from a time on. Also returns the session that had to make room for it; the
    /// caller must end that.
    ///
    /// # Errors
    /// See [`Registry::check_at`]. The caller then drops the entry.
    pub(crate) fn insert(
        &self,
        sid: Sid,
        now: Instant,
        evictable: Option<Instant>,
        make: &mut dyn FnMut(SessionKey) -> Entry,
    ) -> Result<(Entry, Option<Entry>), Rejection> {
        let mut made = None;
        let mut state = self.lock();
        let registry = &mut state.registry;
        registry.check_at(&sid, now)?;
        let evicted = registry.make_room(now).and_then(|key| registry.get(key)).cloned();
        let inserted = registry.insert(sid, |key| made.insert(make(key)).clone());
        if let Ok(key) = inserted {
            registry.set_evictable(key, evictable);
        }
        // It is long, so it is dropped without the lock.
        let all = state.all.take();
        drop(state);
        drop(all);
        inserted?;
        Ok((made.ok_or(Rejection::Full)?, evicted))
    }

    /// Marks a session as one that may not be evicted.
    pub(crate) fn confirm(&self, key: SessionKey) {
        self.lock().registry.set_evictable(key, None);
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Entry> {
        let registry = &self.lock().registry;
        registry.find(sid).and_then(|key| registry.get(key)).cloned()
    }

    /// As [`Sessions::find`], for a request, which needs no handle.
    pub(crate) fn find_cell(&self, sid: &str) -> Option<Arc<Cell<Served>>> {
        let registry = &self.lock().registry;
        registry.find(sid).and_then(|key| registry.get(key)).map(|entry| Arc::clone(&entry.cell))
    }

    /// Returns all sessions that are not closed.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.lock().registry.values().cloned().collect()
    }

    /// As [`Sessions::all`], without the constant properties. The list is kept: to make it, or to drop it, touches every
    /// session.
    pub(crate) fn cells(&self) -> Arc<[Arc<Cell<Served>>]> {
        let mut state = self.lock();
        let State { registry, all, .. } = &mut *state;
        let list = || registry.values().map(|entry| Arc::clone(&entry.cell)).collect();
        Arc::clone(all.get_or_insert_with(list))
    }

    /// Stops accepting sessions, and returns those that are open.
    pub(crate) fn drain(&self) -> Vec<Entry> {
        {
            let mut state = self.lock();
            state.registry.set_capacity(0);
            state.draining = true;
        }
        self.all()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().registry.len()
    }

    /// Removes a closed session from the index, so that it cannot be looked up.
    pub(crate) fn forget(&self, key: SessionKey) {
        let mut state = self.lock();
        state.registry.forget(key);
        state.closed += 1;
        // No session is dropped with the list: the registry has each of them.
        let all = state.all.take();
        drop(state);
        drop(all);
    }

    /// Returns how many sessions have closed since the server was built, or `None` if no session that closes makes room
    /// for another.
    pub(crate) fn closed(&self) -> Option<u64> {
        let state = self.lock();
        (!state.draining).then_some(state.closed)
    }

    /// Removes a session that has ended, which makes room for another.
    pub(crate) fn remove(&self, key: SessionKey) -> Option<Entry> {
        let mut state = self.lock();
        let (all, removed) = (state.all.take(), state.registry.remove(key));
        drop(state);
        drop(all);
        removed
    }

    /// Changes when a session is woken. Returns the time for which it is queued.
    pub(crate) fn schedule(&self, key: SessionKey, next: Option<Instant>, deferred: &mut Deferred) -> Option<Instant> {
        let mut state = self.lock();
        let State { registry, timer, .. } = &mut *state;
        let queued = registry.schedule(key, next);
        let first = registry.next_timeout();
        if first.is_some_and(|first| timer.armed.is_none_or(|armed| first < armed)) {
            deferred.wake(timer.waker.take());
        }
        queued
    }

    /// Returns whether the timer task must be started, because it is not running.
    pub(crate) fn start_timer(&self) -> bool {
        !std::mem::replace(&mut self.lock().timer.started, true)
    }

    /// Marks the timer task as ended.
    pub(crate) fn stop_timer(&self) {
        let timer = std::mem::take(&mut self.lock().timer);
        drop(timer);
    }

    /// Takes the sessions whose deadline has passed. If there are none, the task sleeps until the returned time.
    pub(crate) fn take_due(&self, now: Instant, cx: &Context<'_>, due: &mut Vec<Arc<Cell<Served>>>) -> Option<Instant> {
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        let State { registry, timer, .. } = &mut *state;
        for key in registry.take_due(now) {
            due.extend(registry.get(key).map(|entry| Arc::clone(&entry.cell)));
        }
        timer.armed = registry.next_timeout();
        set(&mut timer.waker, cx, &mut deferred);
        let armed = timer.armed;
        drop(state);
        armed
    }

    /// Wakes the timer task, because the server is gone.
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
