//! A session as applications use it.

mod events;
mod handle;
mod taken;
mod waiting;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use engineio_proto::{CloseReason, Message, SendError};
use futures_core::Stream;
use futures_sink::Sink;

use crate::session::{Deferred, set};
use crate::tasks::Guard;

use taken::Taken;

pub use events::Events;
pub use handle::Handle;
pub(crate) use handle::send;

/// A session: a stream of received messages, and a sink for messages to send.
///
/// Each session has one socket, which implements [`Stream`] and [`Sink`]. Dropping it closes the session in order. A
/// socket dereferences to a [`Handle`], which does everything except receiving, and which can be cloned.
#[derive(Debug)]
pub struct Socket {
    handle: Handle,
    taken: Taken,
    /// The number of the last message that `poll_flush` waits for.
    flushing: Option<u64>,
}

impl std::ops::Deref for Socket {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Socket {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, taken: Taken::default(), flushing: None }
    }

    /// Returns a guard for which the shutdown of the session's server waits.
    pub(crate) fn guard(&self) -> Option<Guard> {
        self.handle.session.environment().guard()
    }

    /// Returns a handle for sending from elsewhere.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Sends a message; see [`Handle::send`]. Defined here too, so that it takes precedence over `SinkExt::send`.
    ///
    /// # Errors
    /// The same as [`Handle::send`].
    pub fn send(&self, message: impl Into<Message>) -> impl Future<Output = Result<(), SendError>> {
        self.handle.send(message)
    }

    /// Waits until all messages were written; see [`Handle::flush`].
    ///
    /// # Errors
    /// The same as [`Handle::flush`].
    pub async fn flush(&self) -> Result<(), CloseReason> {
        self.handle.flush().await
    }

    /// Closes the session in order; see [`Handle::close`].
    pub fn close(&self) {
        self.handle.close();
    }

    /// Waits for the next message. Returns `None` once the session has ended and all messages were taken.
    ///
    /// Cancel safe: a message is taken only by a call that returns it.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Message>> {
        let Self { handle, taken, .. } = self;
        if let Some(message) = taken.next(handle) {
            return Poll::Ready(Some(message));
        }
        if taken.is_waiting(handle, cx) {
            return Poll::Pending;
        }
        handle.session.visit(|visit| {
            let (first, all) = taken.take(visit);
            if first.is_none() {
                // The session may have waited for its messages to be taken before it can end.
                visit.settle();
                if visit.over().is_some() {
                    return Poll::Ready(None);
                }
            }
            if all && visit.over().is_none() {
                // So that no other visit is needed to wait for more. Nothing wakes a task after the end.
                taken.register(visit, cx);
            }
            first.map_or(Poll::Pending, |message| Poll::Ready(Some(message)))
        })
    }

    /// As [`Socket::poll_recv`], but takes no message ahead, for use under another lock.
    pub(crate) fn poll_recv_deferred(&mut self, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<Option<Message>> {
        // Others may have been taken ahead before.
        if let Some(message) = self.taken.next(&self.handle) {
            return Poll::Ready(Some(message));
        }
        self.handle.session.visit_deferred(deferred, |visit| {
            if let Some(message) = visit.timed().and_then(|(machine, now)| machine.recv(now)) {
                return Poll::Ready(Some(message));
            }
            // The session may have waited for its messages to be taken before it can end.
            visit.settle();
            if visit.over().is_some() {
                return Poll::Ready(None);
            }
            set(&mut visit.attached.receiver, cx, visit.deferred);
            Poll::Pending
        })
    }

    /// Returns all events of the session, including messages.
    ///
    /// Events from before this call are not recorded. Messages that have already arrived come first, with those that
    /// arrive until all of them were taken; other events follow. Recording events has a small cost, which unobserved
    /// sessions do not have.
    pub fn events(mut self) -> Events {
        // Events may have been recorded while only messages were waited for.
        self.taken.forget_waker();
        let observed = self.handle.session.visit(|visit| {
            let observed = visit.attached.events.is_some();
            visit.attached.events.get_or_insert_default();
            if let Some(machine) = visit.side.machine_mut() {
                machine.observe_writes(true);
            }
            observed
        });
        // The order of what arrived before is not known.
        Events::new(self, !observed)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.handle.session.visit(|visit| {
            if let Some((machine, now)) = visit.timed() {
                machine.discard_incoming();
                machine.close(now);
            }
        });
    }
}

impl Stream for Socket {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv(cx)
    }
}

/// The error of a [`Socket`] that is used as a sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A message was refused; it is returned.
    #[error(transparent)]
    Refused(#[from] SendError),
    /// The session ended before all messages were written.
    #[error("the session ended before all messages were written: {0}")]
    Ended(CloseReason),
}

/// Ready when the session has room. Flushed when all messages were written to the transport. Closed when the session
/// has ended.
impl Sink<Message> for Socket {
    type Error = SinkError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        // If the session has ended, `start_send` returns the message.
        self.handle.poll_room(cx, &mut Deferred::default()).map(|_| Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SinkError> {
        // A flush that started before does not cover this message.
        self.flushing = None;
        Ok(self.try_send(message)?)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let Self { handle, flushing, .. } = &mut *self;
        let flushed = handle.poll_flushed(cx, flushing);
        if flushed.is_ready() {
            *flushing = None;
        }
        flushed.map_err(SinkError::Ended)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.handle.close();
        match self.handle.poll_closed(cx, &mut Deferred::default()) {
            // The session has ended, so this does not wait: either all messages were written, or they never will be.
            Poll::Ready(_) => self.handle.poll_flushed(cx, &mut None).map_err(SinkError::Ended),
            Poll::Pending => Poll::Pending,
        }
    }
}
