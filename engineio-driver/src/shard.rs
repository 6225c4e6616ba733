//! One container of sessions behind a lock, and what hangs on each session: wakers, places for answers, observers.
//!
//! Whoever works with a session goes through [`Shard::with`]: lock, work, do what the machine asks for, unlock, wake.
//! Nothing waits while the lock is held, and nothing here decides anything about the protocol.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use engineio_proto as proto;
use engineio_proto::http::Response;
use engineio_proto::server::{Output, SessionKey};
use engineio_proto::{ChannelId, ExchangeId, Instant};
use smallvec::SmallVec;

use crate::hands::{Hands, Later, Wakes};
use crate::home::{ChannelPlace, Machine, Place, View};
use crate::runtime::Clock;
use crate::socket::{End, Link, Snapshot};
use crate::table::Table;

#[derive(Debug)]
pub(crate) struct Shard {
    core: Mutex<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) server: proto::Server,
    /// Beside each session, by the index of its key.
    attached: Vec<Option<Box<Attached>>>,
    exchanges: Table<Exchange>,
    channels: Table<ChannelPlace>,
    pub(crate) timer: TimerState,
    /// How many sessions there are in all shards.
    sessions: Arc<AtomicUsize>,
    /// Who is to be woken after the visit.
    pub(crate) wakes: Wakes,
    /// What is to be dropped after the visit: it may own things of the application, whose code must not run here.
    graveyard: SmallVec<[Box<Attached>; 1]>,
}

/// When the shard's timer task will look next, and how to make it look earlier.
#[derive(Debug, Default)]
pub(crate) struct TimerState {
    pub(crate) started: bool,
    pub(crate) armed: Option<Instant>,
    pub(crate) waker: Option<Waker>,
}

/// A session's hands, and whose they are.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) key: SessionKey,
    pub(crate) link: Arc<Link>,
    pub(crate) hands: Hands,
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

impl Shard {
    pub(crate) fn new(server: proto::Server, sessions: Arc<AtomicUsize>) -> Self {
        Self {
            core: Mutex::new(Core {
                server,
                attached: Vec::new(),
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
        self.with_later(clock, &mut Later::default(), work)
    }

    /// The same for whoever holds another lock: what must not be done under it is left for later.
    pub(crate) fn with_later<T>(
        &self,
        clock: &Clock,
        later: &mut Later,
        work: impl FnOnce(&mut Core, Instant) -> T,
    ) -> T {
        let mut core = self.lock();
        let result = work(&mut core, clock.now());
        core.dispatch();
        later.wakes.append(&mut core.wakes);
        later.graveyard.append(&mut core.graveyard);
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
    pub(crate) fn link(&self, key: SessionKey) -> Option<&Arc<Link>> {
        self.attached.get(key.index())?.as_deref().filter(|attached| attached.key == key).map(|attached| &attached.link)
    }

    /// A session with all that hangs on it.
    pub(crate) fn place(&mut self, key: SessionKey) -> Option<Place<'_>> {
        let attached = self.attached.get_mut(key.index())?.as_deref_mut().filter(|attached| attached.key == key)?;
        let session = self.server.session_mut(key)?;
        let channel = session.current_channel().and_then(|channel| self.channels.get_mut(channel.0));
        let over = session.close_reason();
        let (hands, wakes) = (&mut attached.hands, &mut self.wakes);
        Some(Place { machine: Machine::Session(session), hands, channel, wakes, over })
    }

    pub(crate) fn attach(&mut self, key: SessionKey, link: Arc<Link>, observe: bool) {
        let index = key.index();
        if self.attached.len() <= index {
            self.attached.resize_with(index + 1, || None);
        }
        if let Some(place) = self.attached.get_mut(index) {
            *place = Some(Box::new(Attached { key, link, hands: Hands::observed(observe) }));
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
        ChannelId(self.channels.insert(ChannelPlace::default()))
    }

    pub(crate) fn channel(&mut self, id: ChannelId) -> Option<&mut ChannelPlace> {
        self.channels.get_mut(id.0)
    }

    pub(crate) fn close_channel(&mut self, id: ChannelId) -> Option<ChannelPlace> {
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

    fn wake_channel(&mut self, channel: ChannelId) {
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
        if let Some(Place { machine, hands, wakes, .. }) = self.place(key) {
            hands.set_written(machine.view().stats().messages_sent, wakes);
        }
    }

    fn event(&mut self, key: SessionKey, event: proto::Event) {
        if let proto::Event::Closed(reason) = event {
            return self.detach(key, reason);
        }
        let attached = self.attached.get_mut(key.index()).and_then(Option::as_deref_mut);
        if let Some(attached) = attached.filter(|attached| attached.key == key) {
            attached.hands.tell(event, &mut self.wakes);
        }
    }

    /// The session leaves the server: whoever still holds it finds its end in the link.
    fn detach(&mut self, key: SessionKey, reason: proto::CloseReason) {
        let Some(last) = self.server.session(key).map(|session| Snapshot::of(View::Session(session))) else { return };
        let Some(mut attached) = self.attached.get_mut(key.index()).and_then(Option::take) else { return };
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        let hands = &mut attached.hands;
        attached.link.set_closed(End::new(reason, None, last, hands.written, hands.events.take()));
        hands.wake_all(&mut self.wakes);
        self.graveyard.push(attached);
        while let Some(None) = self.attached.last() {
            self.attached.pop();
        }
    }
}
