//! Events of a session, and the queue of recorded events.

use std::collections::VecDeque;

use engineio_proto::{CloseReason, Message, TransportKind, UpgradeError};

/// An event of a session.
///
/// Messages come in order, and so do the other events. A message and another event that arrive in one request, such as
/// a pong between two messages, may be reordered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message arrived.
    Message(Message),
    /// Packets are handed to the transport.
    Flush {
        /// The number of packets.
        packets: usize,
    },
    /// The transport has taken the packets of the last [`Event::Flush`].
    Drain,
    /// A probe was answered: the client is about to change to this transport.
    Upgrading(TransportKind),
    /// The session has changed to this transport.
    Upgraded(TransportKind),
    /// The upgrade failed, and the session stays on polling. On a client only.
    UpgradeFailed(UpgradeError),
    /// A pong arrived, or a ping at a client.
    Heartbeat,
    /// Events were dropped because the application did not take them. They were [`Flush`](Event::Flush),
    /// [`Drain`](Event::Drain), [`Upgrading`](Event::Upgrading) or [`Heartbeat`](Event::Heartbeat) events.
    Lagged {
        /// The number of dropped events.
        events: usize,
    },
    /// The session has ended. This is the last event.
    Close(CloseReason),
}

/// A recorded event.
#[derive(Debug)]
pub(crate) enum Observed {
    /// Messages can be taken at this point.
    Readable,
    Event(Event),
}

/// Recorded events that were not taken.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The first event is [`Observed::Readable`]. It is the most frequent one, and often the only one.
    readable: bool,
    /// [`Event::Flush`] and [`Event::Drain`] are not recorded.
    ignores_writes: bool,
    /// The events after it.
    others: Option<Box<Others>>,
}

#[derive(Debug, Default)]
struct Others {
    events: VecDeque<Observed>,
    /// The number of events that were dropped.
    lost: u32,
}

/// The maximum number of recorded events.
const MAX_EVENTS: usize = 1024;

impl Queue {
    /// From now on, [`Event::Flush`] and [`Event::Drain`] are not recorded. Those that were are dropped.
    pub(crate) fn ignore_writes(&mut self) {
        self.ignores_writes = true;
        if let Some(others) = &mut self.others {
            others.events.retain(|event| !is_write(event));
        }
    }

    /// Returns whether an event is not recorded.
    pub(crate) fn ignores(&self, event: &Observed) -> bool {
        self.ignores_writes && is_write(event)
    }

    pub(crate) fn push(&mut self, event: Observed) {
        if matches!(event, Observed::Readable) && self.others.as_ref().is_none_or(|others| others.events.is_empty()) {
            self.readable = true;
            return;
        }
        let Others { events, lost } = &mut **self.others.get_or_insert_default();
        if events.len() >= MAX_EVENTS {
            // Events that are only informative make room for those that must not be missed.
            let expendable = |event: &Observed| {
                use Event::{Drain, Flush, Heartbeat, Upgrading};
                matches!(event, Observed::Event(Flush { .. } | Drain | Heartbeat | Upgrading(_)))
            };
            if let Some(index) = events.iter().position(expendable) {
                events.remove(index);
                *lost = lost.saturating_add(1);
            }
        }
        events.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Observed> {
        if std::mem::take(&mut self.readable) {
            return Some(Observed::Readable);
        }
        let Others { events, lost } = &mut **self.others.as_mut()?;
        if *lost > 0 {
            return Some(Observed::Event(Event::Lagged { events: std::mem::take(lost) as usize }));
        }
        let next = events.pop_front();
        if self.ignores_writes && events.is_empty() {
            // Other events are rare, so an idle session keeps no memory for them.
            self.others = None;
        }
        next
    }

    /// Takes the next event if it is [`Event::Drain`]. Returns whether it was.
    pub(crate) fn pop_drain(&mut self) -> bool {
        let others = self.others.as_mut().filter(|others| !self.readable && others.lost == 0);
        let Some(Others { events, .. }) = others.map(|others| &mut **others) else { return false };
        let is_drain = matches!(events.front(), Some(Observed::Event(Event::Drain)));
        if is_drain {
            events.pop_front();
        }
        is_drain
    }

    pub(crate) fn is_empty(&self) -> bool {
        let is_empty = |others: &Others| others.lost == 0 && others.events.is_empty();
        !self.readable && self.others.as_deref().is_none_or(is_empty)
    }
}

const fn is_write(event: &Observed) -> bool {
    matches!(event, Observed::Event(Event::Flush { .. } | Event::Drain))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory of the first heartbeat was kept until the end of the session.
    #[test]
    fn an_empty_queue_of_rare_events_holds_no_memory() {
        let mut queue = Queue::default();
        queue.ignore_writes();
        for _ in 0..2 {
            queue.push(Observed::Event(Event::Heartbeat));
            queue.push(Observed::Readable);
            assert!(matches!(queue.pop(), Some(Observed::Event(Event::Heartbeat))));
            assert!(matches!(queue.pop(), Some(Observed::Readable)));
            assert!(queue.pop().is_none());
            assert!(queue.others.is_none());
        }
    }
}
