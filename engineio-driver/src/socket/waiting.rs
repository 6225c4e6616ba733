//! The waker of one future, in a list of wakers that wait for the same thing.

use std::task::{Context, Poll, Waker};

use crate::session::{AnySession, Attached, Wakers};

/// A future that waits for a session. Dropping it removes its waker from the list, so that dropped futures leave no
/// wakers behind.
pub(super) struct Waiting<'a> {
    session: &'a AnySession,
    list: fn(&mut Attached) -> &mut Wakers,
    waker: Option<Waker>,
}

impl<'a> Waiting<'a> {
    pub(super) const fn new(session: &'a AnySession, list: fn(&mut Attached) -> &mut Wakers) -> Self {
        Self { session, list, waker: None }
    }

    /// Remembers the waker that a pending future has registered, instead of the previous one.
    pub(super) fn note<T>(&mut self, cx: &Context<'_>, poll: Poll<T>) -> Poll<T> {
        if poll.is_pending() && !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.leave();
            self.waker = Some(cx.waker().clone());
        }
        poll
    }

    #[inline]
    fn leave(&mut self) {
        if let Some(waker) = self.waker.take() {
            self.remove(&waker);
        }
    }

    #[cold]
    fn remove(&mut self, waker: &Waker) {
        self.session.visit(|visit| {
            let list = (self.list)(visit.attached);
            // Another future of the same task may depend on it.
            visit.deferred.wake(list.remove(waker));
        });
    }
}

impl Drop for Waiting<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}
