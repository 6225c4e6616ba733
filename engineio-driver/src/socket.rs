//! A session as applications hold it.

mod events;
mod handle;
mod waiting;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use engineio_proto::{CloseReason, Message, SendError};
use futures_core::Stream;
use futures_sink::Sink;

use crate::session::{Deferred, set};
use crate::tasks::Guard;

pub use events::Events;
pub use handle::Handle;

/// A session: a [`Stream`] of the messages that arrive and a [`Sink`] for those to be sent.
///
/// There is one for each session. Dropping it closes the session in order. Everything but receiving is done through
/// the [`Handle`] that it dereferences to, and that can be cloned from it.
#[derive(Debug)]
pub struct Socket {
    handle: Handle,
    /// What the flush of the sink waits for.
    flushing: Option<u64>,
}

impl std::ops::Deref for Socket {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Socket {
    pub(crate) const fn new(handle: Handle) -> Self {
        Self { handle, flushing: None }
    }

    /// Something for the shutdown of the session's server to wait for.
    pub(crate) fn guard(&self) -> Option<Guard> {
        self.handle.session.environment().guard()
    }

    /// A handle to send with, to keep or to give away.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::send`]. It stands here too so that it is the one that is meant where `SinkExt` is in scope.
    ///
    /// # Errors
    /// As [`Handle::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.send(message).await
    }

    /// As [`Handle::flush`].
    ///
    /// # Errors
    /// As [`Handle::flush`].
    pub async fn flush(&self) -> Result<(), CloseReason> {
        self.handle.flush().await
    }

    /// As [`Handle::close`].
    pub fn close(&self) {
        self.handle.close();
    }

    /// The next message; `None` once the session is over and every message was taken.
    ///
    /// Cancel safe: a message is taken only by a call that returns it.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv_deferred(cx, &mut Deferred::default())
    }

    pub(crate) fn poll_recv_deferred(&self, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<Option<Message>> {
        self.handle.session.visit_deferred(deferred, |visit| {
            if let Some(message) = visit.timed().and_then(|(machine, now)| machine.recv(now)) {
                return Poll::Ready(Some(message));
            }
            // That there was no message may be what the end has waited for.
            visit.settle();
            if visit.over().is_some() {
                return Poll::Ready(None);
            }
            set(&mut visit.attached.receiver, cx, visit.deferred);
            Poll::Pending
        })
    }

    /// Everything that happens to the session, messages among it, instead of messages alone.
    ///
    /// What happened before is not told. Messages that had arrived, and those that arrive until all of them were taken, come
    /// before other events. Observing costs a little; a session that is not observed pays nothing.
    pub fn events(self) -> Events {
        let observed = self.handle.session.visit(|visit| {
            let observed = visit.attached.events.is_some();
            visit.attached.events.get_or_insert_default();
            observed
        });
        // Of what arrived unobserved it is not known when.
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

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv(cx)
    }
}

/// Why a [`Socket`] as a sink takes no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A message was not taken. It comes back.
    #[error(transparent)]
    Refused(#[from] SendError),
    /// The session ended before every message was written.
    #[error("the session ended before every message was written: {0}")]
    Ended(CloseReason),
}

/// Ready when there is room. Flushed when every message has been written to its transport. Closed when the session is.
impl Sink<Message> for Socket {
    type Error = SinkError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        // A session that is over says so when the message is there to be given back.
        self.handle.poll_room(cx, &mut Deferred::default()).map(|_| Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SinkError> {
        // A flush that was begun before is none of this message.
        self.flushing = None;
        Ok(self.try_send(message)?)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let Self { handle, flushing } = &mut *self;
        let flushed = handle.poll_flushed(cx, flushing);
        if flushed.is_ready() {
            *flushing = None;
        }
        flushed.map_err(SinkError::Ended)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.handle.close();
        match self.handle.poll_closed(cx, &mut Deferred::default()) {
            // It is over, so that nothing is waited for: either all was written, or it never will be.
            Poll::Ready(_) => self.handle.poll_flushed(cx, &mut None).map_err(SinkError::Ended),
            Poll::Pending => Poll::Pending,
        }
    }
}
