//! What happens to a session, and the queue of what was observed and not taken.

use std::collections::VecDeque;

use engineio_proto::{CloseReason, Message, TransportKind, UpgradeError};

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
    Upgraded(TransportKind),
    /// At a client: the session stays on polling.
    UpgradeFailed(UpgradeError),
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

/// Something that was observed.
#[derive(Debug)]
pub(crate) enum Observed {
    /// Messages can be taken at this point.
    Readable,
    Event(Event),
}

/// What was observed and not taken.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: VecDeque<Observed>,
    lost: usize,
}

/// Observations that nobody takes are kept up to this number.
const MAX_EVENTS: usize = 1024;

impl Queue {
    pub(crate) fn push(&mut self, event: Observed) {
        if self.events.len() >= MAX_EVENTS {
            // What only observes gives way to what cannot be missed.
            let expendable = |event: &Observed| {
                use Event::{Drain, Flush, Heartbeat, Upgrading};
                matches!(event, Observed::Event(Flush { .. } | Drain | Heartbeat | Upgrading(_)))
            };
            if let Some(index) = self.events.iter().position(expendable) {
                self.events.remove(index);
                self.lost += 1;
            }
        }
        self.events.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Observed> {
        if self.lost > 0 {
            return Some(Observed::Event(Event::Lagged { events: std::mem::take(&mut self.lost) }));
        }
        self.events.pop_front()
    }
}
