//! Sessions in the order of times.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use core::mem;

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
            self.clean(&is_valid);
        }
        // The first entry is always valid.
        while self.first().is_some_and(|(at, key)| !is_valid(at, key)) {
            self.entries.pop();
        }
    }

    /// Keeps one entry for each session. A session whose time has moved and come back has several that are equal, and if
    /// those stayed, the next cleaning might be due at once.
    #[cold]
    fn clean(&mut self, is_valid: &impl Fn(Instant, SessionKey) -> bool) {
        let mut entries = mem::take(&mut self.entries).into_vec();
        entries.retain(|&Reverse((at, key))| is_valid(at, key));
        entries.sort_unstable();
        entries.dedup();
        self.entries = entries.into();
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::time::Duration;

    /// A session whose time moves away and back leaves an entry behind that becomes valid again.
    #[test]
    fn entries_that_are_there_twice_do_not_slow_it_down() {
        const SESSIONS: u32 = 1000;
        const ROUNDS: u32 = 20;
        let key = |index| SessionKey { index, generation: 0 };
        let (late, soon) = (Instant::from_millis(9), Instant::from_millis(5));
        let mut times = alloc::vec![late; SESSIONS as usize];
        let (mut queue, checks) = (Queue::new(), Cell::new(0));
        (0..SESSIONS).for_each(|index| queue.insert(late, key(index)));
        for round in 0..ROUNDS {
            for index in 0..SESSIONS {
                for at in [soon + Duration::from_micros(round.into()), late] {
                    times[index as usize] = at;
                    queue.insert(at, key(index));
                    queue.forget(|at, key| {
                        checks.set(checks.get() + 1);
                        times[key.index()] == at
                    });
                    assert!(queue.first().is_some_and(|(at, key)| times[key.index()] == at));
                }
            }
        }
        let per_call = checks.get() / (SESSIONS * ROUNDS * 2);
        assert!(per_call <= 8, "{per_call} entries are looked at for each call");
    }
}
