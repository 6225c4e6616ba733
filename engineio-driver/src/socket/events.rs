//! Everything that happens to a session.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engineio_proto::{CloseReason, Message, TransportKind, UpgradeError};
use futures_core::Stream;

use super::Socket;
use super::handle::Handle;
use crate::hands::{Observed, set};
use crate::home::Place;

/// What happens to a session.
///
/// Messages come in order, and so do the other events. A message and another event that came in one request, as a pong
/// between two messages, may change places.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message arrived.
    Message(Message),
    /// Packets are handed to the transport.
    Flush {
        /// How many.
        packets: usize,
    },
    /// The transport took the packets of the last [`Event::Flush`].
    Drain,
    /// A probe was answered: the client is about to change to this transport.
    Upgrading(TransportKind),
    /// The session changed to this transport.
    Upgrade(TransportKind),
    /// At a client: the session stays on polling.
    UpgradeError(UpgradeError),
    /// A pong arrived; at a client, a ping.
    Heartbeat,
    /// So many [`Flush`](Event::Flush), [`Drain`](Event::Drain), [`Upgrading`](Event::Upgrading) and
    /// [`Heartbeat`](Event::Heartbeat) events were dropped because nobody took them.
    Lagged {
        /// How many.
        events: usize,
    },
    /// The session is over. The last event.
    Close(CloseReason),
}

/// What happens to a session: see [`Socket::events`].
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    /// There may be messages.
    readable: bool,
    closed: bool,
}

impl Events {
    pub(super) const fn new(socket: Socket, readable: bool) -> Self {
        Self { socket, readable, closed: false }
    }

    /// A handle to the session.
    pub fn handle(&self) -> &Handle {
        &self.socket
    }

    /// The next event; `None` after [`Event::Close`].
    ///
    /// Cancel safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        if self.closed {
            return Poll::Ready(None);
        }
        let link = Arc::clone(&self.socket.handle.link);
        let found = self.socket.handle.home.visit(|place, now| {
            let Place { mut machine, hands, .. } = place?;
            loop {
                if self.readable {
                    if let Some(message) = machine.recv(now) {
                        return Some(Event::Message(message));
                    }
                    self.readable = false;
                }
                match hands.events.as_mut().and_then(|events| events.pop()) {
                    Some(Observed::Readable) => self.readable = true,
                    Some(Observed::Event(event)) => return Some(event),
                    None => {
                        set(&mut hands.receiver, cx);
                        return None;
                    }
                }
            }
        });
        if found.is_some() {
            return Poll::Ready(found);
        }
        let Some(end) = link.end.get() else { return Poll::Pending };
        if let Some(event) = end.pop_event() {
            return Poll::Ready(Some(event));
        }
        self.closed = true;
        Poll::Ready(Some(Event::Close(end.reason)))
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}
