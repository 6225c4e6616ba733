//! The lock of one session, and how everything works with it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engineio_proto::{ChannelEnd, ChannelId, CloseReason, Instant, Machine};

use super::attached::Attached;
use super::deferred::{Deferred, Owner};
use crate::runtime::{Clock, Runtime};
use crate::tasks::{Guard, Tasks};

/// One session behind a lock of its own: its machine with what its side keeps beside it, and what hangs on it.
pub(crate) struct Cell<S: Side + ?Sized> {
    environment: Arc<Environment>,
    state: Mutex<State<S>>,
}

struct State<S: ?Sized> {
    attached: Attached,
    side: S,
}

/// What a session does for its owner: a server, or a client. It is called under the session's lock.
pub(crate) trait Side: Send {
    /// The machine, until the session has ended and everything was taken from it.
    fn machine(&self) -> Option<&dyn Machine>;

    /// The machine, to work with.
    fn machine_mut(&mut self) -> Option<&mut dyn Machine>;

    /// Why the session is over, for those who wait for that, while there is a machine. Messages may still be there.
    fn over(&self, attached: &Attached) -> Option<CloseReason>;

    /// Carries out what the machine asks for, tells the owner what concerns it, and lets go of the machine at the end.
    fn settle(&mut self, attached: &mut Attached, deferred: &mut Deferred);
}

/// What is the same for all sessions of one owner.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) clock: Clock,
    /// How long the orderly end of a channel may take.
    pub(crate) close_timeout: Duration,
    /// Bytes of one message to us.
    pub(crate) max_payload: usize,
    /// What a shutdown of the owner waits for.
    pub(crate) tasks: Option<Arc<Tasks>>,
}

impl Environment {
    pub(crate) const fn runtime(&self) -> &Runtime {
        self.clock.runtime()
    }

    /// Something for the shutdown of the owner to wait for.
    pub(crate) fn guard(&self) -> Option<Guard> {
        self.tasks.as_ref().map(Guard::new)
    }
}

/// A session under its lock.
pub(crate) struct Visit<'a, S: ?Sized> {
    pub(crate) side: &'a mut S,
    pub(crate) attached: &'a mut Attached,
    pub(crate) deferred: &'a mut Deferred,
    time: Time<'a>,
}

/// The time of a visit: the clock is read at most once, and only if time is asked for.
struct Time<'a> {
    clock: &'a Clock,
    now: Option<Instant>,
}

impl Time<'_> {
    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(|| self.clock.now())
    }
}

impl<S: Side> Cell<S> {
    pub(crate) const fn new(environment: Arc<Environment>, side: S, attached: Attached) -> Self {
        Self { environment, state: Mutex::new(State { attached, side }) }
    }
}

impl<S: Side + ?Sized> Cell<S> {
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Works with the session, then carries out what it asks for.
    pub(crate) fn visit<T>(&self, work: impl FnOnce(&mut Visit<'_, S>) -> T) -> T {
        self.visit_deferred(&mut Deferred::default(), work)
    }

    /// As [`Cell::visit`], under another lock: what must not be done under a lock is left in `deferred`.
    pub(crate) fn visit_deferred<T>(&self, deferred: &mut Deferred, work: impl FnOnce(&mut Visit<'_, S>) -> T) -> T {
        let mut state = self.lock();
        let State { attached, side } = &mut *state;
        let time = Time { clock: &self.environment.clock, now: None };
        let mut visit = Visit { side, attached, deferred, time };
        let result = work(&mut visit);
        visit.settle();
        result
    }

    /// Looks at the session.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&S, &Attached) -> T) -> T {
        let state = self.lock();
        work(&state.side, &state.attached)
    }

    /// Why the session is over, if it is, for those who wait for that.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        self.look(|side, attached| attached.end_reason().or_else(|| side.over(attached)))
    }

    /// The task of a channel is over.
    pub(crate) fn leave_channel(&self, channel: ChannelId) {
        self.visit(|visit| {
            visit.attached.remove_channel(channel, visit.deferred);
            if let Some((machine, now)) = visit.timed() {
                machine.channel_closed(now, channel, ChannelEnd::Lost, None);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // A panic elsewhere must not take the session with it; the machine is consistent between any two calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Side + ?Sized> Visit<'_, S> {
    pub(crate) fn now(&mut self) -> Instant {
        self.time.now()
    }

    /// The machine, if it is still there.
    pub(crate) fn machine(&mut self) -> Option<&mut dyn Machine> {
        self.side.machine_mut()
    }

    /// The machine and the time.
    pub(crate) fn timed(&mut self) -> Option<(&mut dyn Machine, Instant)> {
        let machine = self.side.machine_mut()?;
        Some((machine, self.time.now()))
    }

    /// Why the session is over, if it is, for those who wait for that.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        self.attached.end_reason().or_else(|| self.side.over(self.attached))
    }

    /// Carries out what the machine asks for so far. It is done at the end of the visit too.
    pub(crate) fn settle(&mut self) {
        self.side.settle(self.attached, self.deferred);
        if let Some(machine) = self.side.machine() {
            self.attached.note_wants_written(machine, self.deferred);
            self.attached.note_phase(machine, self.deferred);
        }
    }
}

/// A session of either side, as applications and the tasks of channels hold it: with its owner, which lives as long.
#[derive(Clone)]
pub(crate) struct AnySession {
    cell: Arc<Cell<dyn Side>>,
    _owner: Option<Arc<dyn Owner>>,
}

impl AnySession {
    pub(crate) fn new<S: Side + 'static>(cell: Arc<Cell<S>>, owner: Option<Arc<dyn Owner>>) -> Self {
        Self { cell, _owner: owner }
    }
}

impl std::ops::Deref for AnySession {
    type Target = Cell<dyn Side>;

    fn deref(&self) -> &Self::Target {
        &self.cell
    }
}

impl fmt::Debug for AnySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl<S: Side + ?Sized> fmt::Debug for Cell<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cell")
    }
}
