//! One container of sessions behind a lock, and what hangs on each session: wakers, places for answers, observers.
//!
//! Whoever works with a session goes through [`Shard::with`]: lock, work, do what the machine asks for, unlock, wake.
//! Nothing waits while the lock is held, and nothing here decides anything about the protocol.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use engineio_proto as proto;
use engineio_proto::{ChannelId, ExchangeId, Instant, Message, Output, Response, SessionKey};
use smallvec::SmallVec;

use crate::runtime::Clock;
use crate::socket::{Event, Link, Snapshot};
use crate::table::Table;

/// Tasks to wake once the lock is released.
pub(crate) type Wakes = SmallVec<[Waker; 4]>;

#[derive(Debug)]
pub(crate) struct Shard {
    core: Mutex<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) server: proto::Server,
    /// Beside each session, by the index of its key.
    hands: Vec<Option<Box<Hands>>>,
    exchanges: Table<Exchange>,
    channels: Table<Channel>,
    pub(crate) timer: TimerState,
    /// How many sessions there are in all shards.
    sessions: Arc<AtomicUsize>,
    /// Who is to be woken after the visit.
    pub(crate) wakes: Wakes,
    /// What is to be dropped after the visit: it may own things of the application, whose code must not run here.
    graveyard: SmallVec<[Box<Hands>; 1]>,
}

/// When the shard's timer task will look next, and how to make it look earlier.
#[derive(Debug, Default)]
pub(crate) struct TimerState {
    pub(crate) started: bool,
    pub(crate) armed: Option<Instant>,
    pub(crate) waker: Option<Waker>,
}

/// What hangs on a session.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) link: Arc<Link>,
    pub(crate) receiver: Option<Waker>,
    pub(crate) senders: SmallVec<[Waker; 1]>,
    /// Who waits for messages to leave, or for the end.
    pub(crate) waiters: SmallVec<[Waker; 1]>,
    /// How many messages are written, beyond being handed to a transport.
    pub(crate) written: u64,
    pub(crate) events: Option<Box<Events>>,
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

/// The place for the answer to one HTTP request.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) answer: Option<Answer>,
    pub(crate) waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Response(Response),
    Abort,
}

/// A message channel and the task that serves it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) close: bool,
    pub(crate) waker: Option<Waker>,
}

impl Shard {
    pub(crate) fn new(server: proto::Server, sessions: Arc<AtomicUsize>) -> Self {
        Self {
            core: Mutex::new(Core {
                server,
                hands: Vec::new(),
                exchanges: Table::default(),
                channels: Table::default(),
                timer: TimerState::default(),
                sessions,
                wakes: Wakes::new(),
                graveyard: SmallVec::new(),
            }),
        }
    }

    /// Works with the sessions, then does what they ask for.
    pub(crate) fn with<T>(&self, clock: &Clock, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let (result, wakes, graveyard) = {
            let mut core = self.lock();
            let result = work(&mut core, clock.now());
            core.dispatch();
            (result, std::mem::take(&mut core.wakes), std::mem::take(&mut core.graveyard))
        };
        drop(graveyard);
        wakes.into_iter().for_each(Waker::wake);
        result
    }

    /// Looks at the sessions.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&Core) -> T) -> T {
        work(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic elsewhere must not take every session with it; the machines are consistent between any two calls.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    pub(crate) fn hands(&self, key: SessionKey) -> Option<&Hands> {
        self.hands.get(key.index())?.as_deref().filter(|hands| hands.link.key == key)
    }

    pub(crate) fn hands_mut(&mut self, key: SessionKey) -> Option<&mut Hands> {
        self.hands.get_mut(key.index())?.as_deref_mut().filter(|hands| hands.link.key == key)
    }

    pub(crate) fn attach(&mut self, link: Arc<Link>, observe: bool) {
        let index = link.key.index();
        if self.hands.len() <= index {
            self.hands.resize_with(index + 1, || None);
        }
        if let Some(place) = self.hands.get_mut(index) {
            *place = Some(Box::new(Hands {
                link,
                receiver: None,
                senders: SmallVec::new(),
                waiters: SmallVec::new(),
                written: 0,
                events: observe.then(Box::default),
            }));
        }
    }

    pub(crate) fn open_exchange(&mut self) -> ExchangeId {
        ExchangeId(self.exchanges.insert(Exchange { answer: None, waker: None }))
    }

    pub(crate) fn exchange(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.exchanges.get_mut(id.0)
    }

    pub(crate) fn close_exchange(&mut self, id: ExchangeId) -> Option<Exchange> {
        self.exchanges.remove(id.0)
    }

    pub(crate) fn open_channel(&mut self) -> ChannelId {
        ChannelId(self.channels.insert(Channel { close: false, waker: None }))
    }

    pub(crate) fn channel(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id.0)
    }

    pub(crate) fn close_channel(&mut self, id: ChannelId) -> Option<Channel> {
        self.channels.remove(id.0)
    }

    /// Does what the machines ask for, and sees that the timer looks in time.
    fn dispatch(&mut self) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    if let Response::Payload(_) = response {
                        self.note_written(key);
                    }
                    self.answer(exchange, Answer::Response(response));
                }
                Output::Abort { exchange } => self.answer(exchange, Answer::Abort),
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => self.wake_channel(channel),
                Output::ChannelClose { channel } => {
                    if let Some(channel) = self.channels.get_mut(channel.0) {
                        channel.close = true;
                    }
                    self.wake_channel(channel);
                }
                Output::Event(event) => self.event(key, event),
            }
        }
        let next = self.server.next_timeout();
        if next.is_some_and(|next| self.timer.armed.is_none_or(|armed| next < armed)) {
            self.wakes.extend(self.timer.waker.take());
        }
    }

    pub(crate) fn wake_channel(&mut self, channel: ChannelId) {
        self.wakes.extend(self.channels.get_mut(channel.0).and_then(|channel| channel.waker.take()));
    }

    fn answer(&mut self, exchange: ExchangeId, answer: Answer) {
        if let Some(place) = self.exchanges.get_mut(exchange.0) {
            place.answer = Some(answer);
            self.wakes.extend(place.waker.take());
        }
    }

    /// On polling, what was handed over counts as written.
    fn note_written(&mut self, key: SessionKey) {
        if let Some(sent) = self.server.session(key).map(|session| session.stats().messages_sent) {
            self.set_written(key, sent);
        }
    }

    /// So many messages have left.
    pub(crate) fn set_written(&mut self, key: SessionKey, messages: u64) {
        let Some(hands) = self.hands.get_mut(key.index()).and_then(Option::as_deref_mut) else { return };
        if hands.link.key == key && hands.written < messages {
            hands.written = messages;
            self.wakes.extend(hands.waiters.drain(..));
        }
    }

    fn event(&mut self, key: SessionKey, event: proto::Event) {
        let Some(hands) = self.hands.get_mut(key.index()).and_then(Option::as_deref_mut) else { return };
        let observed = match event {
            proto::Event::Readable => {
                self.wakes.extend(hands.receiver.take());
                Observed::Readable
            }
            proto::Event::Writable => {
                self.wakes.extend(hands.senders.drain(..));
                return;
            }
            proto::Event::Ended(_) => {
                self.wakes.extend(hands.senders.drain(..));
                self.wakes.extend(hands.waiters.drain(..));
                return;
            }
            proto::Event::Closed(reason) => return self.detach(key, reason),
            proto::Event::Flush { packets } => Observed::Event(Event::Flush { packets }),
            proto::Event::Drain => Observed::Event(Event::Drain),
            proto::Event::Upgrading(transport) => Observed::Event(Event::Upgrading(transport)),
            proto::Event::Upgraded(transport) => Observed::Event(Event::Upgrade(transport)),
            proto::Event::Heartbeat => Observed::Event(Event::Heartbeat),
            // What a later core may tell and this driver does not know is for observers it does not have.
            _ => return,
        };
        if let Some(events) = &mut hands.events {
            events.push(observed);
            self.wakes.extend(hands.receiver.take());
        }
    }

    /// The session leaves the server: whoever still holds it finds its end in the link.
    fn detach(&mut self, key: SessionKey, reason: proto::CloseReason) {
        let Some(last) = self.server.session(key).map(Snapshot::of) else { return };
        let Some(mut hands) = self.hands.get_mut(key.index()).and_then(Option::take) else { return };
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        hands.link.set_closed(reason, last, hands.written, hands.events.take());
        self.wakes.extend(hands.receiver.take());
        self.wakes.extend(hands.senders.drain(..));
        self.wakes.extend(hands.waiters.drain(..));
        self.graveyard.push(hands);
        while let Some(None) = self.hands.last() {
            self.hands.pop();
        }
    }

    /// Takes the next message of a session.
    pub(crate) fn recv(&mut self, key: SessionKey, now: Instant) -> Option<Message> {
        self.server.session_mut(key)?.recv(now)
    }
}
