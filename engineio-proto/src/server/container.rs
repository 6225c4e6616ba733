//! Many sessions: found by id, woken in time, drained in turn.
//!
//! What is decided here is whether a request and a session fit together; all else is the session's own, and this is
//! written against its public API alone. An embedder who
//! wants several threads keeps several servers and sends each session id to its own, see [`Sid::shard`].

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::fmt;
use core::mem;
use core::ops::{Deref, DerefMut};

use slab::Slab;

use crate::config::Config;
use crate::http::rejection::Rejection;
use crate::http::route::{Handshake, Operation, PROTOCOL, SessionRequest};
use crate::laws::Violation;
use crate::parts::config::ConfigError;
use crate::parts::event::ChannelId;
use crate::parts::phase::Phase;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::server::sid::Sid;
use crate::session::Session;
use crate::session::event::Output;

/// A container of sessions.
///
/// A session is in it from [`Server::open`] until something is pulled after its [`Event::Closed`](crate::Event::Closed); its id is
/// unknown as soon as it is closed. The front page of the crate shows the run loop.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<Config>,
    slots: Slab<Slot>,
    /// The sessions that are not closed. Ordered, so that nothing depends on a hash.
    index: BTreeMap<Sid, SessionKey>,
    /// At most one entry for a slot, at or before its true deadline: a deadline that moves into the future, as that of
    /// a heartbeat does all the time, costs nothing until the old one is reached.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Slots with outputs, each once, taken in turn.
    ready: VecDeque<usize>,
    generation: u32,
    /// The slot of the session that was drained behind its end last. It leaves with the next pull, so that the embedder
    /// can still look at it.
    finished: Option<usize>,
}

#[derive(Clone, Debug)]
struct Slot {
    session: Session,
    key: SessionKey,
    deadline: Option<Instant>,
    is_ready: bool,
    is_indexed: bool,
}

/// A session in a [`Server`]. It is never used for another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    index: u32,
    generation: u32,
}

impl SessionKey {
    /// A small number that no other session of this server has at the same time, for tables beside the server.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

impl Server {
    /// A server without sessions.
    ///
    /// # Errors
    /// When the options do not make sense.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            config: Arc::new(config),
            slots: Slab::new(),
            index: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            generation: 0,
            finished: None,
        })
    }

    /// The options.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Begins a session for a handshake. One on polling waits for the handshake's GET as its first input; one on a
    /// message channel needs the channel's number.
    ///
    /// # Errors
    /// When the client's revision is not served, the id is taken, the server is full, or the channel is missing.
    pub fn open(
        &mut self,
        now: Instant,
        sid: Sid,
        handshake: &Handshake,
        channel: Option<ChannelId>,
    ) -> Result<SessionKey, Rejection> {
        handshake.check()?;
        let &Handshake { transport, base64, .. } = handshake;
        if self.index.contains_key(&sid) {
            return Err(Rejection::NoSid);
        }
        if self.slots.len() >= self.config.max_sessions {
            return Err(Rejection::Full);
        }
        let config = Arc::clone(&self.config);
        let session = match (transport, channel) {
            (TransportKind::Polling, None) => Session::polling(now, sid.clone(), config),
            (TransportKind::WebSocket, Some(channel)) => Session::channel(now, sid.clone(), config, channel, base64),
            _ => return Err(Rejection::WrongHandshake { transport }),
        };
        let entry = self.slots.vacant_entry();
        let index = entry.key();
        let Ok(small) = u32::try_from(index) else { return Err(Rejection::Full) };
        self.generation = self.generation.wrapping_add(1);
        let key = SessionKey { index: small, generation: self.generation };
        entry.insert(Slot { session, key, deadline: None, is_ready: false, is_indexed: true });
        self.index.insert(sid, key);
        self.refresh(index);
        Ok(key)
    }

    /// Finds the session of a request and checks that the two fit together.
    ///
    /// # Errors
    /// When there is no such session, when it is on another transport or speaks another revision, when it may not be
    /// upgraded to this transport, and when a plain request names a session on a channel.
    pub fn admit(&self, request: &SessionRequest) -> Result<SessionKey, Rejection> {
        let key = self.find(&request.sid).ok_or(Rejection::UnknownSid)?;
        let current = self.session(key).map(Session::transport).ok_or(Rejection::UnknownSid)?;
        let requested = request.transport;
        let is_upgrade = request.operation == Operation::Upgrade;
        if !is_upgrade && requested != current {
            return Err(Rejection::TransportMismatch { requested, current });
        }
        if request.protocol != PROTOCOL {
            return Err(Rejection::ProtocolMismatch { requested: request.protocol, current: PROTOCOL });
        }
        if !is_upgrade && current != TransportKind::Polling {
            return Err(Rejection::NotPolling);
        }
        if is_upgrade && !self.config.upgrades(TransportKind::Polling).contains(requested) {
            return Err(Rejection::NoUpgrade);
        }
        Ok(key)
    }

    /// The session with this id, unless it is closed.
    pub fn find(&self, sid: &str) -> Option<SessionKey> {
        self.index.get(sid).copied()
    }

    /// A session to look at.
    pub fn session(&self, key: SessionKey) -> Option<&Session> {
        self.slot(key).map(|slot| &slot.session)
    }

    /// A session to work with. When it is dropped, the server takes note of what has changed.
    pub fn session_mut(&mut self, key: SessionKey) -> Option<SessionMut<'_>> {
        self.slot(key)?;
        Some(SessionMut { index: key.index(), server: self })
    }

    /// The next thing to do for any session. Sessions take turns.
    pub fn poll_output(&mut self) -> Option<(SessionKey, Output)> {
        if let Some(index) = self.finished.take() {
            // Something that came too late for the session may still want its answer.
            if self.slots.get(index).is_some_and(|slot| !slot.is_ready) {
                self.remove(index);
            }
        }
        while let Some(index) = self.ready.pop_front() {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let key = slot.key;
            let output = slot.session.poll_output();
            if output.is_none() && slot.session.is_finished() {
                // It was queued only to leave.
                slot.is_ready = false;
                self.remove(index);
                continue;
            }
            slot.is_ready = slot.session.has_output();
            if slot.is_ready {
                self.ready.push_back(index);
            } else if slot.session.is_finished() {
                self.finished = Some(index);
            }
            if let Some(output) = output {
                return Some((key, output));
            }
        }
        None
    }

    /// When [`Server::handle_timeout`] should be called next. It may turn out that nothing was due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Lets every session do what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each of them once: at the very end of time nothing can be put off any more, and this must end all the same.
        let later = self.deadlines.split_off(&(now, usize::MAX));
        for (_, index) in mem::replace(&mut self.deadlines, later) {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.deadline = None;
                slot.session.handle_timeout(now);
                self.refresh(index);
            }
        }
    }

    /// How many sessions are not closed.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no sessions, or only closed ones.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The sessions that are not closed, in the order of their ids.
    pub fn keys(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.index.values().copied()
    }

    /// Tests the laws of every session and of the container.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        for (index, slot) in &self.slots {
            slot.session.check()?;
            let timeout = slot.session.next_timeout();
            let laws = [
                ("a slot knows its key", slot.key.index() == index),
                ("a session is found by its id until it is closed", {
                    let found = self.index.get(slot.session.sid()) == Some(&slot.key);
                    found == slot.is_indexed && found == (slot.session.phase() != Phase::Closed)
                }),
                ("a session is woken in time", timeout.is_none_or(|at| slot.deadline.is_some_and(|set| set <= at))),
                ("a deadline is queued", slot.deadline.is_none_or(|at| self.deadlines.contains(&(at, index)))),
                ("outputs are announced", slot.session.has_output() <= slot.is_ready),
            ];
            if let Some((law, _)) = laws.iter().find(|(_, holds)| !holds) {
                return Err(Violation(law));
            }
        }
        let deadlines = self.slots.iter().filter(|(_, slot)| slot.deadline.is_some()).count();
        if deadlines != self.deadlines.len() {
            return Err(Violation("every deadline belongs to a session"));
        }
        Ok(())
    }

    fn slot(&self, key: SessionKey) -> Option<&Slot> {
        self.slots.get(key.index()).filter(|slot| slot.key == key)
    }

    /// Takes note of what has changed in a session.
    fn refresh(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.is_indexed && slot.session.phase() == Phase::Closed {
            slot.is_indexed = false;
            self.index.remove(slot.session.sid());
        }
        let next = slot.session.next_timeout();
        let earlier = match (slot.deadline, next) {
            (Some(set), Some(next)) => next < set,
            (set, next) => set.is_some() != next.is_some(),
        };
        if earlier {
            if let Some(set) = slot.deadline {
                self.deadlines.remove(&(set, index));
            }
            if let Some(next) = next {
                self.deadlines.insert((next, index));
            }
            slot.deadline = next;
        }
        if !slot.is_ready && (slot.session.has_output() || slot.session.is_finished()) {
            slot.is_ready = true;
            self.ready.push_back(index);
        }
    }

    /// Forgets a session that has told everything.
    fn remove(&mut self, index: usize) {
        if let Some(slot) = self.slots.try_remove(index) {
            if let Some(at) = slot.deadline {
                self.deadlines.remove(&(at, index));
            }
            if slot.is_indexed {
                self.index.remove(slot.session.sid());
            }
        }
        if self.slots.is_empty() {
            // A server that had many sessions once need not keep their place for ever.
            self.slots = Slab::new();
        }
    }
}

/// A session of a [`Server`], to work with.
#[derive(Debug)]
pub struct SessionMut<'a> {
    server: &'a mut Server,
    index: usize,
}

impl Deref for SessionMut<'_> {
    type Target = Session;

    #[allow(clippy::indexing_slicing)] // The slot was there when this was made, and nobody else could remove it.
    fn deref(&self) -> &Session {
        &self.server.slots[self.index].session
    }
}

impl DerefMut for SessionMut<'_> {
    #[allow(clippy::indexing_slicing)] // As above.
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.server.slots[self.index].session
    }
}

impl Drop for SessionMut<'_> {
    fn drop(&mut self) {
        self.server.refresh(self.index);
    }
}

#[cfg(test)]
mod tests;
