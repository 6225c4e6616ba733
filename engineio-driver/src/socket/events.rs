//! Events of a session, as applications receive them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Socket;
use super::handle::Handle;
use super::taken::Taken;
use crate::session::{Event, Observed, Side, Visit, set};

/// The events of a session, including its messages.
///
/// See [`Socket::events`].
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    /// Messages may be ready.
    readable: bool,
    closed: bool,
}

impl Events {
    pub(super) const fn new(socket: Socket, readable: bool) -> Self {
        Self { socket, readable, closed: false }
    }

    /// Returns a handle to the session.
    pub fn handle(&self) -> &Handle {
        &self.socket
    }

    /// Waits for the next event. Returns `None` after [`Event::Close`].
    ///
    /// Cancel safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        if self.closed {
            return Poll::Ready(None);
        }
        let Self { socket: Socket { handle, taken, .. }, readable, closed } = self;
        if let Some(message) = taken.next(handle) {
            return Poll::Ready(Some(Event::Message(message)));
        }
        handle.session.visit(|visit| {
            if let Some(event) = next(visit, taken, readable) {
                return Poll::Ready(Some(event));
            }
            // The end may have waited for this; other events come before it.
            visit.settle();
            if let Some(event) = next(visit, taken, readable) {
                return Poll::Ready(Some(event));
            }
            if let Some(reason) = visit.attached.end_reason() {
                *closed = true;
                return Poll::Ready(Some(Event::Close(reason)));
            }
            set(&mut visit.attached.receiver, cx, visit.deferred);
            Poll::Pending
        })
    }
}

/// Returns the next event, if one is ready. Messages that can be taken come first.
fn next<S: Side + ?Sized>(visit: &mut Visit<'_, S>, taken: &mut Taken, readable: &mut bool) -> Option<Event> {
    loop {
        if *readable {
            if let Some(message) = taken.take(visit) {
                return Some(Event::Message(message));
            }
            *readable = false;
        }
        match visit.attached.events.as_mut()?.pop()? {
            Observed::Readable => *readable = true,
            Observed::Event(event) => return Some(event),
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}
