//! State that concerns all sessions of a server: ids, deadlines, turns, and capacity.
//!
//! A registry keeps one value of any type per session. [`Server`](crate::Server) keeps the sessions themselves. A
//! server with several threads keeps references to sessions with their own locks, so that work with one session does
//! not stop the others. The registry then has a lock too, which is taken when a session opens, is looked up or closes,
//! and when its deadline moves to an earlier time.

mod index;
mod queue;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::{self, Vec};
use core::fmt;
use core::mem;

use slab::Slab;

use crate::http::rejection::Rejection;
use crate::laws::Violation;
use crate::parts::sid::Sid;
use crate::parts::time::Instant;

use index::{Index, Link};
use queue::Queue;

/// Values by session id, with deadlines and turns.
///
/// ```
/// use engineio_proto::http::Rejection;
/// use engineio_proto::server::Registry;
/// use engineio_proto::{Instant, Sid};
///
/// let mut registry = Registry::new(1);
/// let sid = Sid::from_entropy([7; 15]);
/// let key = registry.insert(sid.clone(), |_| "a session")?;
/// assert_eq!(registry.find(&sid), Some(key));
/// assert_eq!(registry.insert(Sid::from_entropy([8; 15]), |_| "another"), Err(Rejection::Full));
///
/// // A deadline is queued. That it moves to a later time costs nothing until the old one is reached.
/// registry.schedule(key, Some(Instant::from_millis(25_000)));
/// registry.schedule(key, Some(Instant::from_millis(30_000)));
/// assert_eq!(registry.next_timeout(), Some(Instant::from_millis(25_000)));
/// assert_eq!(registry.take_due(Instant::from_millis(25_000)).collect::<Vec<_>>(), [key]);
/// registry.schedule(key, Some(Instant::from_millis(30_000)));
///
/// // A session that is closed is not found any more, but takes room until it is removed.
/// registry.forget(key);
/// assert_eq!(registry.find(&sid), None);
/// assert_eq!(registry.remove(key), Some("a session"));
/// # Ok::<(), Rejection>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry<T> {
    slots: Slab<Slot<T>>,
    /// The sessions that can be looked up.
    index: Index,
    /// The sessions with a deadline, by that deadline or an earlier time.
    deadlines: Queue,
    /// The slots that wait for a turn, each once.
    ready: VecDeque<SessionKey>,
    /// The sessions that may be evicted, by the time from which on.
    evictable: Queue,
    /// The number of sessions that were evicted and not removed. They do not count against the capacity.
    evicted: usize,
    generation: u32,
    capacity: usize,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    value: T,
    key: SessionKey,
    sid: Sid,
    link: Link,
    deadline: Option<Instant>,
    evictable: Option<Instant>,
    is_ready: bool,
    is_indexed: bool,
    is_evicted: bool,
}

/// The key of a session in a [`Registry`] or a [`Server`](crate::Server). It is never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    index: u32,
    generation: u32,
}

impl SessionKey {
    /// Returns a small number that no other session of this server has at the same time, for use as an index.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

impl<T> Registry<T> {
    /// Creates a registry for at most `capacity` sessions.
    pub const fn new(capacity: usize) -> Self {
        Self {
            slots: Slab::new(),
            index: Index::new(),
            deadlines: Queue::new(),
            ready: VecDeque::new(),
            evictable: Queue::new(),
            evicted: 0,
            generation: 0,
            capacity,
        }
    }

    /// Sets the maximum number of sessions. Sessions above a lower capacity stay. With 0, every further session is
    /// rejected.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Checks whether a session with this id would be accepted. The id is checked before the capacity.
    ///
    /// # Errors
    /// Returns [`Rejection::NoSid`] if the id is in use, and [`Rejection::Full`] if there is no room.
    pub fn check(&self, sid: &str) -> Result<(), Rejection> {
        if self.index.find(&self.slots, sid).is_some() {
            return Err(Rejection::NoSid);
        }
        if self.held() >= self.capacity || u32::try_from(self.slots.vacant_key()).is_err() {
            return Err(Rejection::Full);
        }
        Ok(())
    }

    /// As [`Registry::check`], with the room that [`Registry::make_room`] can make.
    ///
    /// # Errors
    /// See [`Registry::check`].
    pub fn check_at(&self, sid: &str, now: Instant) -> Result<(), Rejection> {
        match self.check(sid) {
            Err(Rejection::Full) if self.evictable_at(now).is_some() => Ok(()),
            checked => checked,
        }
    }

    /// Marks a session as one that may be evicted from a time on: its client has shown nothing but its handshake. `None`:
    /// it may not.
    pub fn set_evictable(&mut self, key: SessionKey, from: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(key.index()).filter(|slot| slot.key == key && slot.is_indexed) else {
            return;
        };
        let before = mem::replace(&mut slot.evictable, from);
        if before == from {
            return;
        }
        if let Some(at) = from {
            self.evictable.insert(at, key);
        }
        if before.is_some() {
            self.dequeue_evictable();
        }
    }

    /// Returns whether a session may be evicted, now or later.
    pub fn is_evictable(&self, key: SessionKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.evictable.is_some())
    }

    /// If there is no room for another session, makes room: evicts the session that may be evicted for the longest time.
    /// It is forgotten and no longer counts against the capacity; the caller must end it.
    pub fn make_room(&mut self, now: Instant) -> Option<SessionKey> {
        let key = self.evictable_at(now)?;
        self.forget(key);
        let slot = self.slot_mut(key)?;
        slot.is_evicted = true;
        self.evicted += 1;
        Some(key)
    }

    /// Returns the session that must be evicted to make room for another one.
    fn evictable_at(&self, now: Instant) -> Option<SessionKey> {
        let is_full = self.held() == self.capacity;
        self.evictable.first().filter(|&(at, _)| is_full && at <= now).map(|(_, key)| key)
    }

    /// Adds a session. Its value is made once the session is accepted.
    ///
    /// # Errors
    /// See [`Registry::check`].
    pub fn insert(&mut self, sid: Sid, make: impl FnOnce(SessionKey) -> T) -> Result<SessionKey, Rejection> {
        self.check(&sid)?;
        let entry = self.slots.vacant_entry();
        let Ok(index) = u32::try_from(entry.key()) else { return Err(Rejection::Full) };
        self.generation = self.generation.wrapping_add(1);
        let key = SessionKey { index, generation: self.generation };
        let value = make(key);
        entry.insert(Slot {
            value,
            key,
            link: Link::new(&sid),
            sid,
            deadline: None,
            evictable: None,
            is_ready: false,
            is_indexed: true,
            is_evicted: false,
        });
        self.index.insert(&mut self.slots, index);
        Ok(key)
    }

    /// Returns the session with this id, until it is forgotten.
    pub fn find(&self, sid: &str) -> Option<SessionKey> {
        let index = self.index.find(&self.slots, sid)?;
        self.slots.get(index as usize).map(|slot| slot.key)
    }

    /// Returns the value of a session, until it is removed.
    pub fn get(&self, key: SessionKey) -> Option<&T> {
        self.slot(key).map(|slot| &slot.value)
    }

    /// Returns the value of a session for changes, until it is removed.
    pub fn get_mut(&mut self, key: SessionKey) -> Option<&mut T> {
        self.slot_mut(key).map(|slot| &mut slot.value)
    }

    /// Returns the sessions that can be looked up, in the order of their ids. They are sorted with every call.
    pub fn keys(&self) -> impl Iterator<Item = SessionKey> + '_ {
        let mut slots: Vec<_> = self.slots.iter().map(|(_, slot)| slot).filter(|slot| slot.is_indexed).collect();
        slots.sort_unstable_by(|one, other| one.sid.cmp(&other.sid));
        slots.into_iter().map(|slot| slot.key)
    }

    /// Returns the values of the sessions that can be looked up, in an order that depends only on the calls so far.
    pub fn values(&self) -> impl Iterator<Item = &T> + '_ {
        self.slots.iter().map(|(_, slot)| slot).filter(|slot| slot.is_indexed).map(|slot| &slot.value)
    }

    /// Returns the number of sessions that can be looked up.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns whether no session can be looked up.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// Returns the number of sessions that count against the capacity: those that can be looked up, and those that were
    /// forgotten and not removed, except those that were evicted.
    pub fn held(&self) -> usize {
        self.slots.len() - self.evicted
    }

    /// Removes a closed session from the index: its id is unknown from now on, and free.
    pub fn forget(&mut self, key: SessionKey) {
        self.set_evictable(key, None);
        let Some(slot) = self.slots.get_mut(key.index()).filter(|slot| slot.key == key && slot.is_indexed) else {
            return;
        };
        slot.is_indexed = false;
        self.index.remove(&mut self.slots, key.index);
    }

    /// Removes a session that has ended. It no longer counts against the capacity.
    pub fn remove(&mut self, key: SessionKey) -> Option<T> {
        self.slot(key)?;
        self.forget(key);
        let slot = self.slots.try_remove(key.index())?;
        self.evicted -= usize::from(slot.is_evicted);
        if slot.deadline.is_some() {
            self.dequeue_deadline();
        }
        if self.slots.is_empty() {
            // After a time with many sessions, their memory is released.
            self.slots = Slab::new();
            self.index = Index::new();
            self.deadlines = Queue::new();
            self.evictable = Queue::new();
            self.ready = VecDeque::new();
        }
        Some(slot.value)
    }

    /// Sets when a session must be woken next, or that it need not be. Returns the time that is queued for it, which is
    /// not later.
    ///
    /// The queue is lazy: a later time is queued only when the earlier one is reached. A caller that knows the queued
    /// time need call this only if the new deadline is earlier.
    pub fn schedule(&mut self, key: SessionKey, next: Option<Instant>) -> Option<Instant> {
        let slot = self.slots.get_mut(key.index()).filter(|slot| slot.key == key)?;
        let queued = match (slot.deadline, next) {
            (Some(set), Some(next)) => Some(set.min(next)),
            (_, next) => next,
        };
        let before = mem::replace(&mut slot.deadline, queued);
        if queued != before {
            if let Some(at) = queued {
                self.deadlines.insert(at, key);
            }
            if before.is_some() {
                self.dequeue_deadline();
            }
        }
        queued
    }

    /// Returns when [`Registry::take_due`] has sessions. Their own deadlines may turn out to be later.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Takes every session whose queued time has come, each once, the earliest first. Nothing is queued for it until
    /// [`Registry::schedule`] is called again.
    pub fn take_due(&mut self, now: Instant) -> Due {
        let mut due = Vec::new();
        while let Some((_, key)) = self.deadlines.first().filter(|&(at, _)| at <= now) {
            due.push(key);
            if let Some(slot) = self.slots.get_mut(key.index()) {
                slot.deadline = None;
            }
            self.dequeue_deadline();
        }
        Due { due: due.into_iter() }
    }

    /// Notes that a slot has lost its deadline, or has another one.
    fn dequeue_deadline(&mut self) {
        let slots = &self.slots;
        let slot = |key: SessionKey| slots.get(key.index()).filter(|slot| slot.key == key);
        self.deadlines.forget(|at, key| slot(key).is_some_and(|slot| slot.deadline == Some(at)));
    }

    /// Notes that a slot may not be evicted any more, or from another time on.
    fn dequeue_evictable(&mut self) {
        let slots = &self.slots;
        let slot = |key: SessionKey| slots.get(key.index()).filter(|slot| slot.key == key);
        self.evictable.forget(|at, key| slot(key).is_some_and(|slot| slot.evictable == Some(at)));
    }

    /// Queues a session for a turn. Has no effect if it is already queued.
    pub fn announce(&mut self, key: SessionKey) {
        if let Some(slot) = self.slots.get_mut(key.index()).filter(|slot| slot.key == key && !slot.is_ready) {
            slot.is_ready = true;
            self.ready.push_back(key);
        }
    }

    /// Takes the session whose turn it is.
    pub fn take_turn(&mut self) -> Option<SessionKey> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(slot) = self.slots.get_mut(key.index()).filter(|slot| slot.key == key) {
                slot.is_ready = false;
                return Some(key);
            }
        }
        None
    }

    /// Returns whether a session waits for a turn.
    pub fn is_announced(&self, key: SessionKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.is_ready)
    }

    /// Checks the laws that hold between any two calls.
    ///
    /// # Errors
    /// Returns the first law that does not hold.
    pub fn check_laws(&self) -> Result<(), Violation> {
        let deadlines: BTreeSet<_> = self.deadlines.entries().collect();
        let evictable: BTreeSet<_> = self.evictable.entries().collect();
        for (index, slot) in &self.slots {
            let laws = [
                ("a slot knows its key", slot.key.index() == index),
                (
                    "a session is found by its id until it is closed",
                    (self.find(&slot.sid) == Some(slot.key)) == slot.is_indexed,
                ),
                ("a deadline is queued", slot.deadline.is_none_or(|at| deadlines.contains(&(at, slot.key)))),
                ("a session that may be evicted is queued for that", {
                    slot.evictable.is_none_or(|at| slot.is_indexed && evictable.contains(&(at, slot.key)))
                }),
                ("a turn is queued once", {
                    let turns = self.ready.iter().filter(|&&key| key == slot.key).count();
                    turns == usize::from(slot.is_ready)
                }),
            ];
            if let Some((law, _)) = laws.iter().find(|(_, holds)| !holds) {
                return Err(Violation(law));
            }
        }
        let slots = || self.slots.iter().map(|(_, slot)| slot);
        if slots().filter(|slot| slot.deadline.is_some()).count() != self.deadlines.len() {
            return Err(Violation("every deadline belongs to a session"));
        }
        if slots().filter(|slot| slot.evictable.is_some()).count() != self.evictable.len() {
            return Err(Violation("every session that may be evicted is there"));
        }
        let is_due = |(at, key)| self.slot(key).is_some_and(|slot| slot.deadline == Some(at));
        let may_leave = |(at, key)| self.slot(key).is_some_and(|slot| slot.evictable == Some(at));
        if !self.deadlines.first().is_none_or(is_due) || !self.evictable.first().is_none_or(may_leave) {
            return Err(Violation("the first of a queue is there"));
        }
        if slots().filter(|slot| slot.is_evicted).count() != self.evicted {
            return Err(Violation("evicted sessions are counted"));
        }
        if slots().filter(|slot| slot.is_indexed).count() != self.index.len() {
            return Err(Violation("every id belongs to a session"));
        }
        Ok(())
    }

    /// Returns the time that is queued for a session.
    pub fn deadline(&self, key: SessionKey) -> Option<Instant> {
        self.slot(key)?.deadline
    }

    /// Returns all sessions that were not removed. The order has no meaning, but is always the same.
    pub fn entries(&self) -> impl Iterator<Item = (SessionKey, &T)> + '_ {
        self.slots.iter().map(|(_, slot)| (slot.key, &slot.value))
    }

    /// Returns the value of a session that is known to exist.
    #[allow(clippy::indexing_slicing)] // A guard holds the registry, so that nobody can have removed it.
    pub(super) fn value(&self, key: SessionKey) -> &T {
        &self.slots[key.index()].value
    }

    #[allow(clippy::indexing_slicing)] // As above.
    pub(super) fn value_mut(&mut self, key: SessionKey) -> &mut T {
        &mut self.slots[key.index()].value
    }

    fn slot(&self, key: SessionKey) -> Option<&Slot<T>> {
        self.slots.get(key.index()).filter(|slot| slot.key == key)
    }

    fn slot_mut(&mut self, key: SessionKey) -> Option<&mut Slot<T>> {
        self.slots.get_mut(key.index()).filter(|slot| slot.key == key)
    }
}

/// Sessions whose time has come; see [`Registry::take_due`].
#[derive(Debug)]
#[must_use = "nothing is queued for these sessions any more"]
pub struct Due {
    due: vec::IntoIter<SessionKey>,
}

impl Iterator for Due {
    type Item = SessionKey;

    fn next(&mut self) -> Option<SessionKey> {
        self.due.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.due.size_hint()
    }
}

#[cfg(test)]
mod tests;
