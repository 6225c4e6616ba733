//! The task of a server that waits for the deadlines of its sessions.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use engineio_proto::Instant;
use hyper::rt::Sleep;

use super::session::Served;
use super::state::Inner;
use crate::session::Cell;

/// Calls sessions whose deadlines have passed. It ends with the server.
pub(crate) struct TimerTask {
    server: Weak<Inner>,
    sleep: Option<Pin<Box<dyn Sleep>>>,
    armed: Option<Instant>,
    /// Sessions whose deadlines have passed, and that were not visited yet.
    due: Vec<Arc<Cell<Served>>>,
}

/// The number of sessions that are visited before other tasks run.
const BUDGET: usize = 128;

impl TimerTask {
    pub(crate) const fn new(server: Weak<Inner>) -> Self {
        Self { server, sleep: None, armed: None, due: Vec::new() }
    }
}

/// When a runtime ends, its tasks end too; the next session restarts the timer.
impl Drop for TimerTask {
    fn drop(&mut self) {
        if let Some(server) = self.server.upgrade() {
            server.sessions.stop_timer();
            // They are queued again.
            self.due.iter().for_each(|cell| cell.visit(|visit| visit.side.requeue()));
        }
    }
}

impl Future for TimerTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Some(server) = this.server.upgrade() else { return Poll::Ready(()) };
            let clock = &server.environment.clock;
            let mut next = None;
            if this.due.is_empty() {
                next = server.sessions.take_due(clock.now(), cx, &mut this.due);
                this.due.reverse();
            }
            if !this.due.is_empty() {
                for _ in 0..BUDGET {
                    let Some(cell) = this.due.pop() else { break };
                    cell.visit(|visit| {
                        let now = visit.now();
                        visit.side.wake(now);
                    });
                }
                if this.due.is_empty() {
                    // Memory for an unusually large number is not kept.
                    this.due = Vec::new();
                    continue;
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(next) = next else { return Poll::Pending };
            if this.armed != Some(next) {
                clock.arm(&mut this.sleep, next);
                this.armed = Some(next);
            }
            drop(server);
            match this.sleep.as_mut().map(|sleep| sleep.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => this.armed = None,
                _ => return Poll::Pending,
            }
        }
    }
}
