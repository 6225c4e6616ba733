//! Events of a session, as applications receive them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use engineio_proto::Message;
use futures_core::Stream;

use super::Socket;
use super::handle::Handle;
use super::taken::Taken;
use crate::session::{Event, Observed, Side, Visit};

/// The events of a session, including its messages.
///
/// See [`Socket::events`].
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    /// [`Event::Drain`] was taken together with the event before it.
    drained: bool,
    /// Messages may be ready.
    readable: bool,
    closed: bool,
}

impl Events {
    pub(super) const fn new(socket: Socket, readable: bool) -> Self {
        Self { socket, drained: false, readable, closed: false }
    }

    /// Returns a handle to the session.
    pub fn handle(&self) -> &Handle {
        &self.socket
    }

    /// From now on, [`Event::Flush`] and [`Event::Drain`] are not recorded.
    pub(crate) fn ignore_writes(&mut self) {
        self.socket.handle.session.visit(|visit| {
            if let Some(events) = &mut visit.attached.events {
                events.ignore_writes();
            }
            if let Some(machine) = visit.side.machine_mut() {
                machine.observe_writes(false);
            }
        });
    }

    /// Waits for the next event. Returns `None` after [`Event::Close`].
    ///
    /// Cancel safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Returns a message that was taken together with the one before it.
    pub(crate) fn next_taken(&mut self) -> Option<Message> {
        self.socket.taken.next(&self.socket.handle)
    }

    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let Self { socket: Socket { handle, taken, .. }, drained, readable, closed } = self;
        // Messages come first.
        if let Some(message) = taken.next(handle) {
            return Poll::Ready(Some(Event::Message(message)));
        }
        if std::mem::take(drained) {
            return Poll::Ready(Some(Event::Drain));
        }
        if *closed {
            return Poll::Ready(None);
        }
        if taken.is_waiting(handle, cx) {
            return Poll::Pending;
        }
        handle.session.visit(|visit| {
            let mut next = take(visit, taken, drained, readable);
            if next.is_none() {
                // The end may have waited for this; other events come before it.
                visit.settle();
                next = take(visit, taken, drained, readable);
            }
            if next.is_some() {
                let all = !*readable && visit.attached.events.as_ref().is_some_and(|events| events.is_empty());
                if all && visit.attached.end.is_none() {
                    // So that no other visit is needed to wait for more. Nothing wakes a task after the end.
                    taken.register(visit, cx);
                }
                return Poll::Ready(next);
            }
            if let Some(reason) = visit.attached.end_reason() {
                *closed = true;
                return Poll::Ready(Some(Event::Close(reason)));
            }
            taken.register(visit, cx);
            Poll::Pending
        })
    }
}

/// Takes events, at least one if any is ready. Returns the first. Messages that can be taken come first.
fn take<S: Side + ?Sized>(
    visit: &mut Visit<'_, S>,
    taken: &mut Taken,
    drained: &mut bool,
    readable: &mut bool,
) -> Option<Event> {
    loop {
        if *readable {
            let (first, all) = taken.take(visit);
            *readable = !all;
            if let Some(message) = first {
                return Some(Event::Message(message));
            }
        }
        match visit.attached.events.as_mut()?.pop()? {
            Observed::Readable => *readable = true,
            Observed::Event(event) => {
                // `Flush` and `Drain` often come together.
                *drained = visit.attached.events.as_mut().is_some_and(|events| events.pop_drain());
                return Some(event);
            }
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}
