//! The one task of a shard that waits for its deadlines.

use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use engineio_proto::Instant;
use hyper::rt::Sleep;

use crate::server::Inner;
use crate::shard::TimerState;

/// Lets the sessions of a shard do what is due. It ends with the server.
pub(crate) struct TimerTask {
    inner: Weak<Inner>,
    shard: usize,
    sleep: Option<Pin<Box<dyn Sleep>>>,
    armed: Option<Instant>,
}

impl TimerTask {
    pub(crate) const fn new(inner: Weak<Inner>, shard: usize) -> Self {
        Self { inner, shard, sleep: None, armed: None }
    }
}

/// A runtime that ends takes its tasks with it; the next session starts the timer anew.
impl Drop for TimerTask {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.with(self.shard, |core, _| core.timer = TimerState::default());
        }
    }
}

impl Future for TimerTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Some(inner) = this.inner.upgrade() else { return Poll::Ready(()) };
            let next = inner.with(this.shard, |core, now| {
                core.server.handle_timeout(now);
                let next = core.server.next_timeout();
                core.timer.armed = next;
                core.timer.waker = Some(cx.waker().clone());
                next
            });
            let Some(next) = next else { return Poll::Pending };
            if this.armed != Some(next) {
                inner.clock().arm(&mut this.sleep, next);
                this.armed = Some(next);
            }
            drop(inner);
            match this.sleep.as_mut().map(|sleep| sleep.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => this.armed = None,
                _ => return Poll::Pending,
            }
        }
    }
}
