//! The sessions of a registry by their ids.

use alloc::vec::Vec;

use slab::Slab;

use super::Slot;

/// A hash table. The slots of one bucket are a list, linked through the slots.
///
/// No order comes from it: it is never iterated over. The hash function is fixed, so that the same calls cost the same. A
/// client cannot fill one bucket, because it does not choose the ids that are inserted. An application that takes its ids
/// from its clients would let them do that, and also guess each other's ids.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// The first slot of each bucket, or [`NONE`]. Their number is a power of two, or zero.
    buckets: Vec<u32>,
    len: usize,
}

/// The place of a slot in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    hash: u32,
    /// The next slot of the bucket, or [`NONE`].
    next: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;
/// The smallest number of buckets.
const MIN_BUCKETS: usize = 16;

impl Link {
    pub(super) fn new(sid: &str) -> Self {
        Self { hash: hash(sid), next: NONE }
    }
}

impl Index {
    pub(super) const fn new() -> Self {
        Self { buckets: Vec::new(), len: 0 }
    }

    /// Returns the number of slots in the index.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the slot with this id.
    pub(super) fn find<T>(&self, slots: &Slab<Slot<T>>, sid: &str) -> Option<u32> {
        let hash = hash(sid);
        let mut index = self.buckets.get(self.bucket(hash)).copied()?;
        while let Some(slot) = slots.get(index as usize) {
            if slot.link.hash == hash && *slot.sid == *sid {
                return Some(index);
            }
            index = slot.link.next;
        }
        None
    }

    /// Adds a slot whose id is not in the index.
    pub(super) fn insert<T>(&mut self, slots: &mut Slab<Slot<T>>, index: u32) {
        self.len += 1;
        if self.len > self.buckets.len() {
            self.grow(slots);
        } else {
            self.link(slots, index);
        }
    }

    /// Removes a slot that is in the index.
    pub(super) fn remove<T>(&mut self, slots: &mut Slab<Slot<T>>, index: u32) {
        let Some(Link { hash, next }) = slots.get(index as usize).map(|slot| slot.link) else { return };
        let bucket = self.bucket(hash);
        let Some(first) = self.buckets.get_mut(bucket) else { return };
        self.len -= 1;
        if *first == index {
            *first = next;
            return;
        }
        let mut before = *first;
        while let Some(slot) = slots.get_mut(before as usize) {
            if slot.link.next == index {
                slot.link.next = next;
                return;
            }
            before = slot.link.next;
        }
    }

    /// Returns the number of buckets, for tests of memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buckets.capacity()
    }

    /// Counts one slot too many, for tests of the laws.
    #[cfg(test)]
    pub(super) fn miscount(&mut self) {
        self.len += 1;
    }

    /// Doubles the number of buckets, and links all slots that can be looked up.
    #[cold]
    fn grow<T>(&mut self, slots: &mut Slab<Slot<T>>) {
        let count = self.buckets.len().saturating_mul(2).max(MIN_BUCKETS);
        self.buckets.clear();
        self.buckets.resize(count, NONE);
        for (_, slot) in slots.iter_mut().filter(|(_, slot)| slot.is_indexed) {
            let bucket = self.bucket(slot.link.hash);
            if let Some(first) = self.buckets.get_mut(bucket) {
                slot.link.next = core::mem::replace(first, slot.key.index);
            }
        }
    }

    fn link<T>(&mut self, slots: &mut Slab<Slot<T>>, index: u32) {
        let Some(slot) = slots.get_mut(index as usize) else { return };
        let bucket = self.bucket(slot.link.hash);
        if let Some(first) = self.buckets.get_mut(bucket) {
            slot.link.next = core::mem::replace(first, index);
        }
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & self.buckets.len().wrapping_sub(1)
    }
}

/// Returns the hash of an id. Ids have many random bits, so almost any function will do; this one also spreads ids that
/// are numbers, with or without a common text.
fn hash(sid: &str) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let add = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let mut words = sid.as_bytes().chunks_exact(8);
    let mut hash = sid.len() as u64;
    for word in &mut words {
        hash = add(hash, word.try_into().map_or(0, u64::from_le_bytes));
    }
    hash = add(hash, words.remainder().iter().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    // A product has the influence of all bits in its high half only.
    ((hash ^ hash >> 32).wrapping_mul(FACTOR) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    /// An application may choose ids that are not random. A bucket then has few of them all the same.
    #[test]
    fn ids_that_are_numbers_are_spread() {
        const COUNT: usize = 1 << 12;
        let forms: [fn(usize) -> String; 8] = [
            |n| format!("{n}"),
            |n| format!("{n:07}"),
            |n| format!("{n:012}"),
            |n| format!("{n:020}"),
            |n| format!("{n:032x}"),
            |n| format!("session-{n}"),
            |n| format!("{n}-b"),
            |n| format!("{n:06}.se"),
        ];
        for form in forms {
            let mut buckets = alloc::vec![0; COUNT];
            (0..COUNT).for_each(|n| buckets[hash(&form(n)) as usize % COUNT] += 1);
            let most = buckets.iter().max();
            assert!(most <= Some(&16), "{most:?} ids like {:?} in one bucket", form(7));
        }
    }
}
