//! Work that is deferred until the end of a visit.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::Waker;

/// Work that is deferred until no lock is held. When this is dropped, tasks are woken and values are dropped. Wakers
/// and messages belong to the application, whose code must not run under a lock because it may call the session.
///
/// Most visits defer nothing. So the fields are not dropped one by one, but all together, if there is anything.
#[derive(Default)]
pub(crate) struct Deferred(ManuallyDrop<Work>);

#[derive(Default)]
struct Work {
    /// Most visits wake no task, and hardly any wakes more than two.
    wakes: [Option<Waker>; 2],
    /// The first owner.
    owner: Option<Arc<dyn Owner>>,
    // Boxed, because hardly any visit needs it.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    wakes: Vec<Waker>,
    stale: Vec<Waker>,
    values: Vec<Box<dyn Send>>,
    owners: Vec<Arc<dyn Owner>>,
}

/// The owner that a session refers to weakly: for a server's session, the server.
pub(crate) trait Owner: Send + Sync {}

impl Deferred {
    /// Defers waking a task.
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        match self.0.wakes.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(waker),
            None => self.rest().wakes.push(waker),
        }
    }

    /// Defers waking tasks.
    pub(crate) fn wake_all(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        wakers.into_iter().for_each(|waker| self.wake(Some(waker)));
    }

    /// Defers dropping a waker, without waking it.
    pub(crate) fn release(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.rest().stale.push(waker);
        }
    }

    /// Defers dropping a reference to the owner, which may be the last one.
    pub(crate) fn release_owner(&mut self, owner: Arc<dyn Owner>) {
        if let Some(other) = self.0.owner.replace(owner) {
            self.rest().owners.push(other);
        }
    }

    /// Defers dropping a value.
    pub(crate) fn drop_value(&mut self, value: impl Send + 'static) {
        self.rest().values.push(Box::new(value));
    }

    fn rest(&mut self) -> &mut Rest {
        self.0.rest.get_or_insert_default()
    }
}

impl Deferred {
    #[inline(never)]
    fn carry_out(&mut self) {
        let Work { wakes, owner, rest } = std::mem::take(&mut *self.0);
        // Woken first, since a destructor of the application may panic.
        wakes.into_iter().flatten().for_each(Waker::wake);
        if let Some(rest) = rest {
            let Rest { wakes, stale, values, owners } = *rest;
            wakes.into_iter().for_each(Waker::wake);
            drop(stale);
            drop(values);
            drop(owners);
        }
        drop(owner);
    }
}

impl Drop for Deferred {
    #[inline]
    fn drop(&mut self) {
        let Work { wakes, owner, rest } = &*self.0;
        if wakes[0].is_some() || owner.is_some() || rest.is_some() {
            self.carry_out();
        }
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("wakes", &self.0.wakes).finish_non_exhaustive()
    }
}
