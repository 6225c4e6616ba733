//! What hangs on a session beside its machine: who waits for what, its channels, what was observed, how it ended.

use std::task::{Context, Waker};

use engineio_proto as proto;
use engineio_proto::{ChannelId, CloseReason, Machine, Phase};
use smallvec::SmallVec;

use super::deferred::Deferred;
use super::event::{Event, Observed, Queue};
use super::link::End;

/// Tasks that wait for the same thing.
pub(crate) type Wakers = SmallVec<[Waker; 1]>;

/// What hangs on a session beside its machine.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    /// Waits for messages or events.
    pub(crate) receiver: Option<Waker>,
    /// Wait for room to send.
    pub(crate) senders: Wakers,
    /// Wait for messages to be written, or for the end.
    pub(crate) waiters: Wakers,
    /// The application gave the session up: it waits for nothing more, not even for the server to be told.
    pub(crate) aborted: bool,
    /// There if somebody observes.
    pub(crate) events: Option<Box<Queue>>,
    /// There once the session has ended and everything was taken from it; its machine is gone then.
    pub(crate) end: Option<Box<End>>,
    /// The task of the channel knows that the machine wants to hear at once of what is written.
    reports: bool,
    /// One at most at a time, but for a moment in which a channel goes and another comes.
    channels: SmallVec<[Channel; 1]>,
}

/// A message channel and the task that serves it.
#[derive(Debug)]
struct Channel {
    id: ChannelId,
    /// The session is done with it.
    close: bool,
    waker: Option<Waker>,
}

impl Attached {
    pub(crate) fn new(observed: bool) -> Self {
        Self { events: observed.then(Box::default), ..Self::default() }
    }

    /// Passes an event of the machine on to those who wait for it. The end of the session is its side's to handle.
    pub(crate) fn notify(&mut self, event: proto::Event, deferred: &mut Deferred) {
        let observed = match event {
            proto::Event::Readable => {
                deferred.wake(self.receiver.take());
                Observed::Readable
            }
            proto::Event::Writable => return deferred.wake(self.senders.drain(..)),
            proto::Event::Written => return deferred.wake(self.waiters.drain(..)),
            proto::Event::Ended(_) => {
                deferred.wake(self.senders.drain(..));
                return deferred.wake(self.waiters.drain(..));
            }
            proto::Event::Flush { packets } => Observed::Event(Event::Flush { packets }),
            proto::Event::Drain => Observed::Event(Event::Drain),
            proto::Event::Upgrading(transport) => Observed::Event(Event::Upgrading(transport)),
            proto::Event::Upgraded(transport) => Observed::Event(Event::Upgraded(transport)),
            proto::Event::UpgradeFailed(error) => Observed::Event(Event::UpgradeFailed(error)),
            proto::Event::Heartbeat => Observed::Event(Event::Heartbeat),
            // What a later core may say and this driver does not know is for observers that it does not have.
            _ => return,
        };
        if let Some(events) = &mut self.events {
            events.push(observed);
            deferred.wake(self.receiver.take());
        }
    }

    /// The session is over, and its machine is about to go. The first end counts.
    pub(crate) fn set_end(&mut self, end: End, deferred: &mut Deferred) {
        self.end.get_or_insert_with(|| Box::new(end));
        self.wake_all(deferred);
    }

    /// Nobody need wait for anything.
    pub(crate) fn wake_all(&mut self, deferred: &mut Deferred) {
        deferred.wake(self.receiver.take());
        deferred.wake(self.senders.drain(..));
        deferred.wake(self.waiters.drain(..));
    }

    /// Why the session has ended, once its machine is gone.
    pub(crate) fn end_reason(&self) -> Option<CloseReason> {
        self.end.as_ref().map(|end| end.reason)
    }

    /// A channel gets a task.
    pub(crate) fn open_channel(&mut self, id: ChannelId) {
        self.channels.push(Channel { id, close: false, waker: None });
    }

    /// The task of a channel is over.
    pub(crate) fn remove_channel(&mut self, id: ChannelId, deferred: &mut Deferred) {
        if let Some(index) = self.channels.iter().position(|channel| channel.id == id) {
            deferred.release(self.channels.remove(index).waker);
        }
    }

    /// The session is done with a channel.
    pub(crate) fn close_channel(&mut self, id: ChannelId, deferred: &mut Deferred) {
        if let Some(channel) = self.channel(id) {
            channel.close = true;
            deferred.wake(channel.waker.take());
        }
    }

    /// There is something to do for the task of a channel.
    pub(crate) fn wake_channel(&mut self, id: ChannelId, deferred: &mut Deferred) {
        if let Some(channel) = self.channel(id) {
            deferred.wake(channel.waker.take());
        }
    }

    /// The task of the channel knows whether the machine wants to hear at once of what is written.
    pub(crate) fn set_reports(&mut self, reports: bool) {
        self.reports = reports;
    }

    /// If the machine wants to hear at once of what is written, and did not before, the task of its channel should look.
    pub(crate) fn note_wants_written(&mut self, machine: &dyn Machine, deferred: &mut Deferred) {
        let wants = machine.wants_written();
        if wants && !self.reports {
            if let Some(channel) = machine.current_channel() {
                self.wake_channel(channel, deferred);
            }
        }
        self.reports = wants;
    }

    /// Nobody need wait for room in a session that takes no more messages, though it may go on for long.
    pub(crate) fn note_phase(&mut self, machine: &dyn Machine, deferred: &mut Deferred) {
        if !self.senders.is_empty() && matches!(machine.phase(), Phase::Closing | Phase::Closed) {
            deferred.wake(self.senders.drain(..));
        }
    }

    /// The task of a channel waits for something to do. Whether the session is done with the channel.
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

/// Keeps the waker of the task that is polled, instead of the one before.
pub(crate) fn set(slot: &mut Option<Waker>, cx: &Context<'_>, deferred: &mut Deferred) {
    if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        deferred.release(slot.replace(cx.waker().clone()));
    }
}

/// Keeps the waker of the task that is polled, beside those of others.
pub(crate) fn register(wakers: &mut Wakers, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}
