//! Many sessions: looked up by id, woken in time, and drained in turn.
//!
//! It is a [`Registry`] of sessions, and uses only their public API. An embedder with several threads keeps several
//! servers and passes each session id to its own, see [`Sid::shard`](crate::Sid::shard), or keeps a registry of
//! sessions with their own locks.

use alloc::sync::Arc;
use core::ops::{Deref, DerefMut};

use crate::config::Config;
use crate::http::rejection::Rejection;
use crate::http::route::SessionRequest;
use crate::laws::Violation;
use crate::parts::config::ConfigError;
use crate::parts::phase::Phase;
use crate::parts::sid::Sid;
use crate::parts::time::Instant;
use crate::parts::transport::TransportKind;
use crate::server::admission::{Admission, Entry, NotAdmitted, Opening};
use crate::server::registry::{Registry, SessionKey};
use crate::session::Session;
use crate::session::event::Output;

/// A container of sessions.
///
/// A session stays in it from [`Server::open`] until something is pulled after its
/// [`Event::Closed`](crate::Event::Closed). Its id is unknown as soon as it is closed. The front page of the crate
/// shows the run loop.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<Config>,
    sessions: Registry<Session>,
    /// The session whose last output was pulled. It leaves with the next pull, so that the embedder can still read its
    /// state.
    finished: Option<SessionKey>,
}

impl Server {
    /// Creates a server without sessions.
    ///
    /// # Errors
    /// Returns an error if the options are not valid.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { sessions: Registry::new(config.max_sessions), config: Arc::new(config), finished: None })
    }

    /// Returns the options.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Opens a session for a handshake that was admitted, with its first input: the GET, or the channel.
    ///
    /// If the server is full, the oldest session whose client has shown nothing but its handshake ends; see
    /// [`Config::confirm_timeout`].
    ///
    /// # Errors
    /// Returns an error if the id is in use, if the server is full, or if the transports of the handshake and the entry
    /// differ.
    pub fn open(&mut self, now: Instant, opening: Opening, entry: Entry<'_>) -> Result<SessionKey, Rejection> {
        self.sessions.check_at(opening.sid(), now)?;
        let sid = opening.sid().clone();
        let session = opening.begin(now, Arc::clone(&self.config), entry)?;
        if let Some(mut evicted) = self.sessions.make_room(now).and_then(|key| self.session_mut(key)) {
            evicted.evict(now);
        }
        let evictable = session.is_unconfirmed().then(|| now + self.config.evict_after());
        let key = self.sessions.insert(sid, |_| session)?;
        self.sessions.set_evictable(key, evictable);
        self.refresh(key);
        Ok(key)
    }

    /// Passes a request to the session that it names, as its first input, if the request is valid for the session.
    ///
    /// # Errors
    /// Returns an error if there is no such session; if it is on another transport or has another revision; if it may
    /// not be upgraded to this transport; if a request other than an upgrade names a session on a channel; if the head
    /// of a WebSocket handshake is not valid; or if no transport supports the method.
    pub fn enter(
        &mut self,
        now: Instant,
        request: &SessionRequest,
        entry: Entry<'_>,
    ) -> Result<SessionKey, NotAdmitted> {
        let key = self.find(&request.sid).ok_or(Rejection::UnknownSid)?;
        let config = Arc::clone(&self.config);
        let mut session = self.session_mut(key).ok_or(Rejection::UnknownSid)?;
        request.enter(&mut session, &config, now, entry)?;
        Ok(key)
    }

    /// Passes a request through all steps to its session, new or existing. For embedders that already have everything
    /// that an [`Admission`] may ask for. `admission` may be the first step or any later one, for example after the
    /// application was asked. `sid` is for a new session.
    ///
    /// # Errors
    /// Returns an error if any step fails.
    pub fn admit(
        &mut self,
        now: Instant,
        mut admission: Admission,
        entry: Entry<'_>,
        sid: Option<Sid>,
    ) -> Result<SessionKey, NotAdmitted> {
        loop {
            admission = match admission {
                Admission::Ask(ask) => ask.allow()?,
                Admission::Head(ask) => match &entry {
                    Entry::Channel { head: Some(head), .. } => ask.check(head)?,
                    Entry::Channel { head: None, .. } => ask.checked()?,
                    Entry::Exchange { .. } => {
                        let transport = TransportKind::WebSocket;
                        return Err(Rejection::WrongHandshake { transport }.into());
                    }
                },
                Admission::Name(ask) => ask.give(sid.clone())?,
                Admission::Open(opening) => return Ok(self.open(now, opening, entry)?),
                Admission::Session(request) => return self.enter(now, &request, entry),
            }
        }
    }

    /// Returns the session with this id, unless it is closed.
    pub fn find(&self, sid: &str) -> Option<SessionKey> {
        self.sessions.find(sid)
    }

    /// Returns a session for reading.
    pub fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    /// Returns a session for use. When the guard is dropped, the server notes what has changed.
    pub fn session_mut(&mut self, key: SessionKey) -> Option<SessionMut<'_>> {
        self.sessions.get(key)?;
        Some(SessionMut { key, server: self })
    }

    /// Returns the next output of any session. Sessions take turns.
    pub fn poll_output(&mut self) -> Option<(SessionKey, Output)> {
        if let Some(key) = self.finished.take() {
            // An input that came too late for the session may still need an answer.
            if !self.sessions.is_announced(key) {
                self.sessions.remove(key);
            }
        }
        while let Some(key) = self.sessions.take_turn() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let output = session.poll_output();
            let (more, finished) = (session.has_output(), session.is_finished());
            if more {
                self.sessions.announce(key);
            } else if finished && output.is_none() {
                // It was queued only to leave.
                self.sessions.remove(key);
            } else if finished {
                self.finished = Some(key);
            }
            if let Some(output) = output {
                return Some((key, output));
            }
        }
        None
    }

    /// Returns when [`Server::handle_timeout`] should be called next. It may turn out then that nothing is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.sessions.next_timeout()
    }

    /// Makes every session do what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Each of them once: at the maximum time no deadline can be moved any further, and the loop must still end.
        for key in self.sessions.take_due(now) {
            if let Some(session) = self.sessions.get_mut(key) {
                session.handle_timeout(now);
                self.refresh(key);
            }
        }
    }

    /// Returns the number of sessions that are not closed.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns whether there are no sessions, or only closed ones.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Returns the sessions that are not closed, in the order of their ids.
    pub fn keys(&self) -> impl Iterator<Item = SessionKey> + '_ {
        self.sessions.keys()
    }

    /// Checks the laws of every session and of the container.
    ///
    /// # Errors
    /// Returns the first law that does not hold.
    pub fn check(&self) -> Result<(), Violation> {
        self.sessions.check_laws()?;
        for (key, session) in self.sessions.entries() {
            session.check()?;
            let (timeout, queued) = (session.next_timeout(), self.sessions.deadline(key));
            let laws = [
                (
                    "a session is found by its id until it is closed",
                    (self.sessions.find(session.sid()) == Some(key)) == (session.phase() != Phase::Closed),
                ),
                ("a session is woken in time", timeout.is_none_or(|at| queued.is_some_and(|set| set <= at))),
                (
                    "a session may be evicted until it is confirmed",
                    self.sessions.is_evictable(key) == session.is_unconfirmed(),
                ),
                ("outputs are announced", session.has_output() <= self.sessions.is_announced(key)),
            ];
            if let Some((law, _)) = laws.iter().find(|(_, holds)| !holds) {
                return Err(Violation(law));
            }
        }
        Ok(())
    }

    /// Notes what has changed in a session.
    fn refresh(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let (closed, next) = (session.phase() == Phase::Closed, session.next_timeout());
        let ready = session.has_output() || session.is_finished();
        if !session.is_unconfirmed() {
            self.sessions.set_evictable(key, None);
        }
        if closed {
            self.sessions.forget(key);
        }
        self.sessions.schedule(key, next);
        if ready {
            self.sessions.announce(key);
        }
    }
}

/// A guard for a session of a [`Server`].
#[derive(Debug)]
pub struct SessionMut<'a> {
    server: &'a mut Server,
    key: SessionKey,
}

impl Deref for SessionMut<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.server.sessions.value(self.key)
    }
}

impl DerefMut for SessionMut<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.server.sessions.value_mut(self.key)
    }
}

impl Drop for SessionMut<'_> {
    fn drop(&mut self) {
        self.server.refresh(self.key);
    }
}

#[cfg(test)]
mod tests;
