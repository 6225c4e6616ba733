//! Work that is deferred until the end of a visit.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;

/// Work that is deferred until no lock is held. When this is dropped, tasks are woken and values are dropped. Wakers
/// and messages belong to the application, whose code must not run under a lock because it may call the session.
#[derive(Default)]
pub(crate) struct Deferred {
    wakes: SmallVec<[Waker; 2]>,
    /// The first owner.
    owner: Option<Arc<dyn Owner>>,
    // Boxed, because hardly any visit needs it.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    stale: Vec<Waker>,
    values: Vec<Box<dyn Send>>,
    owners: Vec<Arc<dyn Owner>>,
}

/// The owner that a session refers to weakly: for a server's session, the server.
pub(crate) trait Owner: Send + Sync {}

impl Deferred {
    /// Defers waking a task.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.wakes.push(waker);
        }
    }

    /// Defers waking tasks.
    pub(crate) fn wake_all(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.wakes.extend(wakers);
    }

    /// Defers dropping a waker, without waking it.
    pub(crate) fn release(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.rest().stale.push(waker);
        }
    }

    /// Defers dropping a reference to the owner, which may be the last one.
    pub(crate) fn release_owner(&mut self, owner: Arc<dyn Owner>) {
        if let Some(other) = self.owner.replace(owner) {
            self.rest().owners.push(other);
        }
    }

    /// Defers dropping a value.
    pub(crate) fn drop_value(&mut self, value: impl Send + 'static) {
        self.rest().values.push(Box::new(value));
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // Woken first, since a destructor of the application may panic.
        if !self.wakes.is_empty() {
            self.wakes.drain(..).for_each(Waker::wake);
        }
        if let Some(rest) = self.rest.take() {
            let Rest { stale, values, owners } = *rest;
            drop(stale);
            drop(values);
            drop(owners);
        }
        drop(self.owner.take());
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("wakes", &self.wakes.len()).finish_non_exhaustive()
    }
}
