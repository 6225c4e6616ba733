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
    /// The events after `readable`.
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
        let others = self.others.get_or_insert_default();
        if others.events.len() >= MAX_EVENTS {
            others.make_room();
        }
        // One marker is enough to take all messages.
        if is_marker(Some(&event)) && is_marker(others.events.back()) {
            return;
        }
        others.events.push_back(event);
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

impl Others {
    /// Drops an event that is only informative, so that none is dropped that must not be missed.
    fn make_room(&mut self) {
        let expendable = |event: &Observed| {
            use Event::{Drain, Flush, Heartbeat, Upgrading};
            matches!(event, Observed::Event(Flush { .. } | Drain | Heartbeat | Upgrading(_)))
        };
        let Some(index) = self.events.iter().position(expendable) else { return };
        self.events.remove(index);
        self.lost = self.lost.saturating_add(1);
        let before = index.checked_sub(1).and_then(|before| self.events.get(before));
        if is_marker(before) && is_marker(self.events.get(index)) {
            self.events.remove(index);
        }
    }
}

const fn is_marker(event: Option<&Observed>) -> bool {
    matches!(event, Some(Observed::Readable))
}

const fn is_write(event: &Observed) -> bool {
    matches!(event, Observed::Event(Event::Flush { .. } | Event::Drain))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session whose application takes messages, but not its events, recorded one marker for each of the messages.
    #[test]
    fn markers_of_messages_do_not_add_up() {
        let mut queue = Queue::default();
        queue.push(Observed::Event(Event::Upgraded(TransportKind::WebSocket)));
        for _ in 0..10 * MAX_EVENTS {
            queue.push(Observed::Readable);
            queue.push(Observed::Event(Event::Heartbeat));
            queue.push(Observed::Readable);
        }
        let recorded = queue.others.as_ref().map_or(0, |others| others.events.len());
        assert!(recorded <= MAX_EVENTS, "{recorded}");
        queue.push(Observed::Event(Event::Close(CloseReason::ForcedClose)));
        let taken: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert!(matches!(taken.first(), Some(Observed::Event(Event::Lagged { .. }))));
        assert!(matches!(taken.get(1), Some(Observed::Event(Event::Upgraded(_)))));
        assert!(matches!(taken.last(), Some(Observed::Event(Event::Close(_)))));
    }

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
