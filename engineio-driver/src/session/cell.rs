//! The lock of one session, and how all code uses it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engineio_proto::{ChannelEnd, ChannelId, CloseReason, Instant, Machine};

use super::attached::Attached;
use super::cause::Cause;
use super::deferred::{Deferred, Owner};
use crate::runtime::{Clock, Runtime};
use crate::tasks::{Guard, Tasks};

/// One session with its lock: its `Side`, which owns the machine, and the state outside the machine.
pub(crate) struct Cell<S: Side + ?Sized> {
    environment: Arc<Environment>,
    /// A task waits for messages or events, and was not woken since.
    receiver_waits: AtomicBool,
    state: Mutex<State<S>>,
}

#[repr(C)]
struct State<S: ?Sized> {
    attached: Attached,
    side: S,
}

/// What a session does for its owner, a server or a client. Called under the session's lock.
pub(crate) trait Side: Send {
    /// Returns the machine, until the session has ended and everything was taken from it.
    fn machine(&self) -> Option<&dyn Machine>;

    /// Returns the machine, to change it.
    fn machine_mut(&mut self) -> Option<&mut dyn Machine>;

    /// Returns why the session has ended, while the machine still exists. Messages may still wait to be taken.
    fn over(&self, attached: &Attached) -> Option<CloseReason>;

    /// Keeps the cause of a failure, in case that the next input ends the session. Only a client does that.
    fn note_cause(&mut self, _: Cause) {}

    /// Returns the cause of the end, if it is known.
    fn cause(&self) -> Option<&Cause> {
        None
    }

    /// Carries out the outputs of the machine, reports to the owner, and drops the machine at the end.
    fn settle(&mut self, attached: &mut Attached, deferred: &mut Deferred);
}

/// What all sessions of one owner share.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) clock: Clock,
    /// How long the orderly close of a channel may take.
    pub(crate) close_timeout: Duration,
    /// The maximum size of a received message, in bytes.
    pub(crate) max_payload: usize,
    /// The tasks that a shutdown of the owner waits for.
    pub(crate) tasks: Option<Arc<Tasks>>,
}

impl Environment {
    pub(crate) const fn runtime(&self) -> &Runtime {
        self.clock.runtime()
    }

    /// Returns a guard for which the shutdown of the owner waits.
    pub(crate) fn guard(&self) -> Option<Guard> {
        self.tasks.as_ref().map(Guard::new)
    }
}

/// A session whose lock is held.
pub(crate) struct Visit<'a, S: ?Sized> {
    pub(crate) side: &'a mut S,
    pub(crate) attached: &'a mut Attached,
    pub(crate) deferred: &'a mut Deferred,
    time: Time<'a>,
    used: Used,
}

/// What the machine may have been used for since its outputs were carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    /// Nothing by the methods of the visit. The side may have been used directly, for anything.
    Unknown,
    /// Nothing.
    No,
    /// Messages that do not depend on the time. Without an output, nothing follows from them: neither the phase nor the
    /// deadline has changed.
    Messages,
    Anything,
}

/// The time during a visit. The clock is read at most once, and only if the time is needed.
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
    pub(crate) fn new(environment: Arc<Environment>, mut side: S, attached: Attached) -> Self {
        if let Some(machine) = side.machine_mut() {
            machine.observe_writes(attached.events.is_some());
        }
        let receiver_waits = AtomicBool::new(false);
        Self { environment, receiver_waits, state: Mutex::new(State { attached, side }) }
    }
}

impl<S: Side + ?Sized> Cell<S> {
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Works with the session, then carries out the outputs of its machine.
    pub(crate) fn visit<T>(&self, work: impl FnOnce(&mut Visit<'_, S>) -> T) -> T {
        self.visit_deferred(&mut Deferred::default(), work)
    }

    /// As [`Cell::visit`]. Also looks at the session after the outputs were carried out; `then` must not give its machine
    /// anything to do.
    pub(crate) fn visit_then<T, U>(
        &self,
        work: impl FnOnce(&mut Visit<'_, S>) -> T,
        then: impl FnOnce(&mut Visit<'_, S>, T) -> U,
    ) -> U {
        self.visit_with(&mut Deferred::default(), work, then)
    }

    /// As [`Cell::visit`], for use under another lock: what must not happen under a lock is put into `deferred`.
    pub(crate) fn visit_deferred<T>(&self, deferred: &mut Deferred, work: impl FnOnce(&mut Visit<'_, S>) -> T) -> T {
        self.visit_with(deferred, work, |_, result| result)
    }

    fn visit_with<T, U>(
        &self,
        deferred: &mut Deferred,
        work: impl FnOnce(&mut Visit<'_, S>) -> T,
        then: impl FnOnce(&mut Visit<'_, S>, T) -> U,
    ) -> U {
        let mut state = self.lock();
        let State { attached, side } = &mut *state;
        let time = Time { clock: &self.environment.clock, now: None };
        let mut visit = Visit { side, attached, deferred, time, used: Used::Unknown };
        // If the visit panics, the next poll looks again.
        self.receiver_waits.store(false, Ordering::Relaxed);
        let result = work(&mut visit);
        visit.settle();
        let result = then(&mut visit, result);
        self.receiver_waits.store(visit.attached.receiver.is_some(), Ordering::Release);
        result
    }

    /// Passes messages to the machine, if they do not depend on the time and nothing follows from them: without the rest
    /// of a visit. Otherwise returns what was to be passed.
    ///
    /// # Errors
    /// Returns what was to be passed, if it needs a visit.
    pub(crate) fn stream<W, T>(&self, what: W, work: impl FnOnce(&mut dyn Machine, W) -> T) -> Result<T, W> {
        let mut state = self.lock();
        let machine = state.side.machine_mut();
        let Some(machine) = machine.filter(|machine| !machine.needs_time()) else { return Err(what) };
        let result = work(machine, what);
        if machine.has_output() {
            drop(state);
            self.visit(|_| ());
        }
        Ok(result)
    }

    /// Returns whether a task waits for messages or events, and was not woken since. Takes no lock.
    pub(crate) fn receiver_waits(&self) -> bool {
        self.receiver_waits.load(Ordering::Acquire)
    }

    /// Reads the session.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&S, &Attached) -> T) -> T {
        let state = self.lock();
        work(&state.side, &state.attached)
    }

    /// Returns why the session has ended, if it has.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        self.look(|side, attached| attached.end_reason().or_else(|| side.over(attached)))
    }

    /// Removes a channel, whose task has ended.
    pub(crate) fn leave_channel(&self, channel: ChannelId) {
        self.visit(|visit| {
            visit.attached.remove_channel(channel, visit.deferred);
            if let Some((machine, now)) = visit.timed() {
                machine.channel_closed(now, channel, ChannelEnd::Lost, None);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // A panic elsewhere must not break the session: the machine is consistent between any two calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Side + ?Sized> Visit<'_, S> {
    pub(crate) fn now(&mut self) -> Instant {
        self.time.now()
    }

    /// Returns the machine and the current time.
    pub(crate) fn timed(&mut self) -> Option<(&mut dyn Machine, Instant)> {
        self.used = Used::Anything;
        let machine = self.side.machine_mut()?;
        Some((machine, self.time.now()))
    }

    /// As [`Visit::timed`], for messages only, if the side is not used directly in this visit: the clock is not read if they
    /// do not depend on the time.
    pub(crate) fn streamed(&mut self) -> Option<(&mut dyn Machine, Instant)> {
        let machine = self.side.machine_mut()?;
        if machine.needs_time() {
            self.used = Used::Anything;
            return Some((machine, self.time.now()));
        }
        if self.used != Used::Anything {
            self.used = Used::Messages;
        }
        Some((machine, Instant::ZERO))
    }

    /// Returns why the session has ended, if it has.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        self.attached.end_reason().or_else(|| self.side.over(self.attached))
    }

    /// Carries out the outputs of the machine so far. This also happens at the end of the visit.
    pub(crate) fn settle(&mut self) {
        match std::mem::replace(&mut self.used, Used::No) {
            Used::No => return,
            Used::Messages if self.side.machine().is_some_and(|machine| !machine.has_output()) => return,
            Used::Messages | Used::Unknown | Used::Anything => (),
        }
        self.side.settle(self.attached, self.deferred);
        if let Some(machine) = self.side.machine() {
            self.attached.note_wants_written(machine, self.deferred);
            self.attached.note_phase(machine, self.deferred);
        }
    }
}

/// A session of either side, as applications and the tasks of channels use it. It keeps its owner alive.
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
