//! Sessions in the order of times.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use super::SessionKey;
use crate::parts::time::Instant;

/// A priority queue in which a session has at most one valid entry.
///
/// The slot of a session has the time of its valid entry. An entry that is not valid any more stays until it is the first
/// one, or until such entries are the majority.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    entries: BinaryHeap<Reverse<(Instant, SessionKey)>>,
    /// The number of valid entries.
    len: usize,
}

/// So many entries that are not valid are always kept.
const SPARE: usize = 64;

impl Queue {
    pub(super) const fn new() -> Self {
        Self { entries: BinaryHeap::new(), len: 0 }
    }

    /// Returns the number of sessions in the queue.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the first session and its time.
    pub(super) fn first(&self) -> Option<(Instant, SessionKey)> {
        self.entries.peek().map(|&Reverse(entry)| entry)
    }

    /// Returns all entries, in no order, with those that are not valid.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Instant, SessionKey)> {
        self.entries.iter().map(|&Reverse(entry)| entry)
    }

    /// Adds a session that has no valid entry, or whose valid entry is forgotten next.
    pub(super) fn insert(&mut self, at: Instant, key: SessionKey) {
        self.entries.push(Reverse((at, key)));
        self.len += 1;
    }

    /// Notes that a session is not in the queue any more. `is_valid` tells whether an entry is that of its slot.
    pub(super) fn forget(&mut self, is_valid: impl Fn(Instant, SessionKey) -> bool) {
        self.len -= 1;
        if self.entries.len() > self.len.saturating_mul(2).saturating_add(SPARE) {
            self.entries.retain(|&Reverse((at, key))| is_valid(at, key));
        }
        // The first entry is always valid.
        while self.first().is_some_and(|(at, key)| !is_valid(at, key)) {
            self.entries.pop();
        }
    }

    /// Returns the capacity, for tests of memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Adds an entry that is not counted, for tests of the laws.
    #[cfg(test)]
    pub(super) fn insert_invalid(&mut self, at: Instant, key: SessionKey) {
        self.entries.push(Reverse((at, key)));
    }
}
