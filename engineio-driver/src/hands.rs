//! What hangs on a session beside its machine: who waits for what, and what was observed.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use engineio_proto as proto;
use smallvec::SmallVec;

use crate::shard::Attached;
use crate::socket::Event;

/// Tasks that wait for the same thing.
pub(crate) type Wakers = SmallVec<[Waker; 1]>;

/// Tasks to wake once the lock is released.
pub(crate) type Wakes = SmallVec<[Waker; 4]>;

/// What is to be done after a visit, when no lock is held any more: tasks are woken, and what is dropped may own things of
/// the application, whose code must not run under a lock. It is done when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Later {
    pub(crate) wakes: Wakes,
    pub(crate) graveyard: SmallVec<[Box<Attached>; 1]>,
}

impl Drop for Later {
    fn drop(&mut self) {
        self.graveyard.clear();
        self.wakes.drain(..).for_each(Waker::wake);
    }
}

/// Those who wait for something of a session.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    pub(crate) receiver: Option<Waker>,
    pub(crate) senders: Wakers,
    /// Who waits for messages to leave, or for the end.
    pub(crate) waiters: Wakers,
    /// The application waits for nothing more, not even for the server to be told.
    pub(crate) aborted: bool,
    /// How many messages are written, beyond being handed to a transport.
    pub(crate) written: u64,
    pub(crate) events: Option<Box<Events>>,
}

impl Hands {
    pub(crate) fn observed(observe: bool) -> Self {
        Self { events: observe.then(Box::default), ..Self::default() }
    }

    /// So many messages have left.
    pub(crate) fn set_written(&mut self, messages: u64, wakes: &mut Wakes) {
        if self.written < messages {
            self.written = messages;
            wakes.extend(self.waiters.drain(..));
        }
    }

    /// Tells those who wait for it of an event. What ends the session is for its home to handle.
    pub(crate) fn tell(&mut self, event: proto::Event, wakes: &mut Wakes) {
        let observed = match event {
            proto::Event::Readable => {
                wakes.extend(self.receiver.take());
                Observed::Readable
            }
            proto::Event::Writable => {
                wakes.extend(self.senders.drain(..));
                return;
            }
            proto::Event::Ended(_) => {
                wakes.extend(self.senders.drain(..));
                wakes.extend(self.waiters.drain(..));
                return;
            }
            proto::Event::Flush { packets } => Observed::Event(Event::Flush { packets }),
            proto::Event::Drain => Observed::Event(Event::Drain),
            proto::Event::Upgrading(transport) => Observed::Event(Event::Upgrading(transport)),
            proto::Event::Upgraded(transport) => Observed::Event(Event::Upgrade(transport)),
            proto::Event::UpgradeFailed(error) => Observed::Event(Event::UpgradeError(error)),
            proto::Event::Heartbeat => Observed::Event(Event::Heartbeat),
            // What a later core may tell and this driver does not know is for observers it does not have.
            _ => return,
        };
        if let Some(events) = &mut self.events {
            events.push(observed);
            wakes.extend(self.receiver.take());
        }
    }

    /// The session is gone: nobody need wait for anything.
    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        wakes.extend(self.receiver.take());
        wakes.extend(self.senders.drain(..));
        wakes.extend(self.waiters.drain(..));
    }
}

/// What happened, for whoever observes.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Observed>,
    lost: usize,
}

/// Observations that nobody takes are kept up to this number.
const MAX_EVENTS: usize = 1024;

#[derive(Debug)]
pub(crate) enum Observed {
    /// Messages can be taken at this point.
    Readable,
    Event(Event),
}

impl Events {
    fn push(&mut self, event: Observed) {
        if self.queue.len() >= MAX_EVENTS {
            // What only observes gives way to what cannot be missed.
            let expendable = |event: &Observed| {
                use Event::{Drain, Flush, Heartbeat, Upgrading};
                matches!(event, Observed::Event(Flush { .. } | Drain | Heartbeat | Upgrading(_)))
            };
            if let Some(index) = self.queue.iter().position(expendable) {
                self.queue.remove(index);
                self.lost += 1;
            }
        }
        self.queue.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Observed> {
        if self.lost > 0 {
            return Some(Observed::Event(Event::Lagged { events: std::mem::take(&mut self.lost) }));
        }
        self.queue.pop_front()
    }
}

pub(crate) fn set(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

pub(crate) fn register(wakers: &mut Wakers, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}
