//! Work that is deferred until the end of a visit.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;

/// Work that is deferred until no lock is held. When this is dropped, tasks are woken and values are dropped. Wakers
/// and messages belong to the application, whose code must not run under a lock because it may call the session.
#[derive(Default)]
pub(crate) struct Deferred {
    wakes: SmallVec<[Waker; 4]>,
    stale: SmallVec<[Waker; 1]>,
    values: SmallVec<[Box<dyn Send>; 1]>,
    owners: SmallVec<[Arc<dyn Owner>; 1]>,
}

/// The owner that a session refers to weakly: for a server's session, the server.
pub(crate) trait Owner: Send + Sync {}

impl Deferred {
    /// Defers waking tasks.
    pub(crate) fn wake(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.wakes.extend(wakers);
    }

    /// Defers dropping a waker, without waking it.
    pub(crate) fn release(&mut self, waker: Option<Waker>) {
        self.stale.extend(waker);
    }

    /// Defers dropping a reference to the owner, which may be the last one.
    pub(crate) fn release_owner(&mut self, owner: Arc<dyn Owner>) {
        self.owners.push(owner);
    }

    /// Defers dropping a value.
    pub(crate) fn drop_value(&mut self, value: impl Send + 'static) {
        self.values.push(Box::new(value));
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // Woken first, since a destructor of the application may panic.
        self.wakes.drain(..).for_each(Waker::wake);
        self.stale.clear();
        self.values.clear();
        self.owners.clear();
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wakes, values) = (self.wakes.len(), self.values.len());
        f.debug_struct("Deferred").field("wakes", &wakes).field("values", &values).finish()
    }
}
