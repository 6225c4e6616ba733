//! State of a session outside its machine: wakers, channels, recorded events, and the end.

use std::task::{Context, Waker};

use engineio_proto as proto;
use engineio_proto::{ChannelId, CloseReason, Machine, Phase};
use smallvec::SmallVec;

use super::deferred::Deferred;
use super::event::{Event, Observed, Queue};
use super::link::End;
use super::parts::Parts;

/// The wakers of tasks that wait for the same thing. Hardly ever there, so they are boxed.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Option<Box<SmallVec<[Waker; 2]>>>);

impl Wakers {
    /// Adds the waker of the task that is polled.
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        let wakers = self.0.get_or_insert_default();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
    }

    /// Removes the waker that wakes the same task.
    pub(crate) fn remove(&mut self, waker: &Waker) -> Option<Waker> {
        let wakers = self.0.as_mut()?;
        let index = wakers.iter().position(|other| other.will_wake(waker))?;
        let waker = wakers.remove(index);
        self.0.take_if(|wakers| wakers.is_empty());
        Some(waker)
    }

    /// Takes all of them.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.0.take().into_iter().flat_map(|wakers| *wakers)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// State of a session outside its machine. What a message needs comes last, beside the machine, so that it touches little
/// memory.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Attached {
    /// The tasks that wait for messages to be written.
    pub(crate) flushers: Wakers,
    /// The tasks that wait for the end, or at a client for the session to open.
    pub(crate) waiters: Wakers,
    /// The parts of the session's task.
    pub(super) parts: Parts,
    /// The tasks that wait for room to send.
    pub(crate) senders: Wakers,
    /// How the session ended, once everything was taken from it. Its machine is gone then.
    pub(crate) end: Option<Box<End>>,
    /// The application has aborted the session, so it waits for nothing more, not even for the server to be told.
    pub(crate) aborted: bool,
    /// The task of the channel knows that the machine wants prompt reports of what is written.
    reports: bool,
    /// The recorded events, if the session is observed.
    pub(crate) events: Option<Queue>,
    /// At most one, except while one channel replaces another.
    channels: SmallVec<[Channel; 1]>,
    /// The task that waits for messages or events.
    pub(crate) receiver: Option<Waker>,
}

/// A message channel, and the waker of the task that serves it.
#[derive(Debug)]
struct Channel {
    id: ChannelId,
    /// The session no longer uses the channel.
    close: bool,
    waker: Option<Waker>,
}

impl Attached {
    pub(crate) fn new(observed: bool) -> Self {
        Self { events: observed.then(Queue::default), ..Self::default() }
    }

    /// Passes an event of the machine to the tasks that wait for it. The `Side` handles the end of the session.
    pub(crate) fn notify(&mut self, event: proto::Event, deferred: &mut Deferred) {
        let observed = match event {
            proto::Event::Readable => {
                deferred.wake(self.receiver.take());
                Observed::Readable
            }
            proto::Event::Writable => return deferred.wake_all(self.senders.take()),
            proto::Event::Written => return deferred.wake_all(self.flushers.take()),
            proto::Event::Ended(_) => {
                deferred.wake_all(self.senders.take());
                deferred.wake_all(self.flushers.take());
                return deferred.wake_all(self.waiters.take());
            }
            proto::Event::Flush { packets } => Observed::Event(Event::Flush { packets }),
            proto::Event::Drain => Observed::Event(Event::Drain),
            proto::Event::Upgrading(transport) => Observed::Event(Event::Upgrading(transport)),
            proto::Event::Upgraded(transport) => Observed::Event(Event::Upgraded(transport)),
            proto::Event::UpgradeFailed(error) => Observed::Event(Event::UpgradeFailed(error)),
            proto::Event::Heartbeat => Observed::Event(Event::Heartbeat),
            // An event that this driver does not know: it comes from a newer core, and no observer expects it.
            _ => return,
        };
        if let Some(events) = self.events.as_mut().filter(|events| !events.ignores(&observed)) {
            events.push(observed);
            deferred.wake(self.receiver.take());
        }
    }

    /// Sets how the session ended, when its machine is about to be dropped. Only the first end counts.
    pub(crate) fn set_end(&mut self, end: End, deferred: &mut Deferred) {
        self.end.get_or_insert_with(|| Box::new(end));
        self.wake_all(deferred);
    }

    /// Wakes all tasks that wait: nothing more will happen.
    pub(crate) fn wake_all(&mut self, deferred: &mut Deferred) {
        deferred.wake(self.receiver.take());
        deferred.wake_all(self.senders.take());
        deferred.wake_all(self.flushers.take());
        deferred.wake_all(self.waiters.take());
    }

    /// Returns why the session ended, once its machine is gone.
    pub(crate) fn end_reason(&self) -> Option<CloseReason> {
        self.end.as_ref().map(|end| end.reason)
    }

    /// Adds a channel, whose task starts.
    pub(crate) fn open_channel(&mut self, id: ChannelId) {
        self.channels.push(Channel { id, close: false, waker: None });
    }

    /// Removes a channel, whose task has ended.
    pub(crate) fn remove_channel(&mut self, id: ChannelId, deferred: &mut Deferred) {
        if let Some(index) = self.channels.iter().position(|channel| channel.id == id) {
            deferred.release(self.channels.remove(index).waker);
        }
    }

    /// Marks a channel as no longer used by the session, and wakes its task.
    pub(crate) fn close_channel(&mut self, id: ChannelId, deferred: &mut Deferred) {
        if let Some(channel) = self.channel(id) {
            channel.close = true;
            deferred.wake(channel.waker.take());
        }
    }

    /// Wakes the task of a channel.
    pub(crate) fn wake_channel(&mut self, id: ChannelId, deferred: &mut Deferred) {
        if let Some(channel) = self.channel(id) {
            deferred.wake(channel.waker.take());
        }
    }

    /// Sets whether the task of the channel knows that the machine wants prompt reports of what is written.
    pub(crate) fn set_reports(&mut self, reports: bool) {
        self.reports = reports;
    }

    /// Wakes the task of the channel if the machine wants prompt reports of what is written, and did not before.
    pub(crate) fn note_wants_written(&mut self, machine: &dyn Machine, deferred: &mut Deferred) {
        let wants = machine.wants_written();
        if wants && !self.reports {
            if let Some(channel) = machine.current_channel() {
                self.wake_channel(channel, deferred);
            }
        }
        self.reports = wants;
    }

    /// Wakes the senders of a session that accepts no more messages. It may stay closing for long.
    pub(crate) fn note_phase(&mut self, machine: &dyn Machine, deferred: &mut Deferred) {
        if !self.senders.is_empty() && matches!(machine.phase(), Phase::Closing | Phase::Closed) {
            deferred.wake_all(self.senders.take());
        }
    }

    /// Registers the task of a channel. Returns whether the session no longer uses the channel.
    pub(crate) fn await_channel(&mut self, id: ChannelId, cx: &Context<'_>, deferred: &mut Deferred) -> bool {
        self.channel(id).is_some_and(|channel| {
            set(&mut channel.waker, cx, deferred);
            channel.close
        })
    }

    fn channel(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| channel.id == id)
    }
}

/// Stores the waker of the polled task, instead of the previous one.
pub(crate) fn set(slot: &mut Option<Waker>, cx: &Context<'_>, deferred: &mut Deferred) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        deferred.release(slot.replace(cx.waker().clone()));
    }
}
