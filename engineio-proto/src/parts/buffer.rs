//! A queue of messages with a limit in bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use crate::wire::message::Message;

/// Messages in order, with the exact size that they count for.
#[derive(Clone, Default)]
#[repr(C)]
pub(crate) struct Buffer {
    cost: usize,
    /// The messages after the first one.
    rest: VecDeque<Message>,
    /// The first message, if the queue was empty when it came. Most queues never have more, and need no other memory.
    first: Option<Message>,
}

/// A queue that has grown beyond this releases its memory when it is empty.
const KEEP: usize = 32;

/// Whether a buffer has room for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// There is room after other messages have left.
    Later,
    /// Together they can never fit.
    Never,
}

/// Takes the first element of a queue. A queue that has grown beyond `keep` releases its memory when it is empty.
#[inline]
pub(crate) fn pop_and_shrink<T>(queue: &mut VecDeque<T>, keep: usize) -> Option<T> {
    let first = queue.pop_front()?;
    if queue.is_empty() && queue.capacity() > keep {
        release(queue);
    }
    Some(first)
}

#[cold]
fn release<T>(queue: &mut VecDeque<T>) {
    *queue = VecDeque::new();
}

impl Buffer {
    /// Returns whether these messages may be appended. A single message is accepted while the limit is not reached, and
    /// may exceed it. Several messages must fit.
    #[inline]
    pub(crate) fn room_for(&self, messages: &[Message], limit: usize) -> Room {
        match messages {
            [] => Room::Enough,
            [_] if self.cost < limit => Room::Enough,
            [_] => Room::Later,
            several => {
                let cost = several.iter().map(Message::cost).fold(0, usize::saturating_add);
                if cost > limit {
                    Room::Never
                } else if self.cost < limit && self.cost.saturating_add(cost) <= limit {
                    Room::Enough
                } else {
                    Room::Later
                }
            }
        }
    }

    /// Appends a message. The caller checks whether there is room.
    #[inline]
    pub(crate) fn push(&mut self, message: Message) {
        self.cost = self.cost.saturating_add(message.cost());
        if self.first.is_some() || !self.rest.is_empty() {
            if self.rest.len() == self.rest.capacity() {
                self.grow();
            }
            self.rest.push_back(message);
        } else {
            self.first = Some(message);
        }
    }

    /// A second message is seldom the last: a few allocations make room for many. The second one makes as much as is kept.
    #[cold]
    fn grow(&mut self) {
        let len = self.rest.len();
        self.rest.reserve_exact(match len {
            0 => 4,
            _ if len < KEEP => KEEP - len,
            _ => len,
        });
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let next = if self.first.is_some() { self.first.take() } else { pop_and_shrink(&mut self.rest, KEEP) };
        self.cost -= next.as_ref().map_or(0, Message::cost);
        next
    }

    /// Passes the first messages to `take`: no more than there are.
    pub(crate) fn pop_many(&mut self, count: usize, mut take: impl FnMut(Message)) {
        // Counted before, so that the count is right even if `take` panics.
        self.cost -= self.iter().take(count).map(Message::cost).sum::<usize>();
        let mut rest = count;
        if count > 0 {
            if let Some(first) = self.first.take() {
                rest -= 1;
                take(first);
            }
        }
        let rest = rest.min(self.rest.len());
        if rest > 0 {
            self.rest.drain(..rest).for_each(take);
        }
        if self.rest.is_empty() && self.rest.capacity() > KEEP {
            release(&mut self.rest);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Returns the size that the messages count for, in bytes.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    /// Returns whether the limit is kept, except for the last message.
    pub(crate) fn is_within(&self, limit: usize) -> bool {
        let last = self.rest.back().or(self.first.as_ref()).map_or(0, Message::cost);
        self.cost <= limit || self.cost.saturating_sub(last) < limit
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.first.iter().chain(&self.rest)
    }

    /// Returns the capacity of the queue, for tests of memory.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.rest.capacity()
    }

    /// Counts one byte too many, for tests of the laws.
    #[cfg(test)]
    pub(crate) fn miscount(&mut self) {
        self.cost += 1;
    }

    /// Returns whether the count equals the sum of the messages.
    pub(crate) fn is_exact(&self) -> bool {
        self.iter().map(Message::cost).sum::<usize>() == self.cost
    }
}

/// Where the messages are does not count.
impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.cost == other.cost && self.iter().eq(other.iter())
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<_> = self.iter().collect();
        f.debug_struct("Buffer").field("messages", &messages).field("cost", &self.cost).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exactly() {
        let mut buffer = Buffer::default();
        for n in 0..100 {
            buffer.push(Message::from(alloc::vec![0; n]));
            assert!(buffer.is_exact());
        }
        while buffer.pop().is_some() {
            assert!(buffer.is_exact());
        }
        assert_eq!(buffer.cost(), 0);
        assert_eq!(buffer.rest.capacity(), 0);
    }

    #[test]
    fn the_last_message_may_exceed_the_limit() {
        let mut buffer = Buffer::default();
        assert!(buffer.is_within(0));
        buffer.push(Message::from(alloc::vec![0; 100]));
        assert!(buffer.is_within(10));
        buffer.push(Message::from(""));
        assert!(!buffer.is_within(10));
        assert!(buffer.is_within(100 + 2 * Message::OVERHEAD));
    }

    #[test]
    fn the_limit_may_be_exceeded_by_the_message_that_reaches_it_only() {
        let mut buffer = Buffer::default();
        buffer.push("a".into());
        let limit = buffer.cost();
        assert!(buffer.is_within(limit));
        buffer.push("b".into());
        assert!(!buffer.is_within(limit), "there was no room any more");
    }

    #[test]
    fn room_ends_where_the_limit_is_reached() {
        let [one, two] = [1, 2].map(|count| alloc::vec![Message::from("a"); count]);
        let cost = one[0].cost();
        let mut buffer = Buffer::default();
        assert_eq!(buffer.room_for(&two, 2 * cost), Room::Enough);
        assert_eq!(buffer.room_for(&two, 2 * cost - 1), Room::Never);
        buffer.push("a".into());
        assert_eq!(buffer.room_for(&one, cost + 1), Room::Enough);
        assert_eq!(buffer.room_for(&one, cost), Room::Later);
        assert_eq!(buffer.room_for(&two, 3 * cost), Room::Enough);
        assert_eq!(buffer.room_for(&two, 3 * cost - 1), Room::Later);
    }

    #[test]
    fn only_a_queue_that_grew_gives_its_memory_back() {
        for (spare, kept) in [(0, true), (1, false)] {
            let mut queue = VecDeque::from([1, 2]);
            let keep = queue.capacity() - spare;
            assert_eq!(pop_and_shrink(&mut queue, keep), Some(1));
            assert!(queue.capacity() > 0, "it is not empty yet");
            assert_eq!(pop_and_shrink(&mut queue, keep), Some(2));
            assert_eq!(queue.capacity() > 0, kept);
        }
    }
}
