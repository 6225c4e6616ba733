//! One session of a client behind a lock, and what hangs on it.
//!
//! Whoever works with the session goes through [`Inner::with`]: lock, work, pass on what the machine asks for, unlock,
//! wake. What has to be done outside, requests and channels, is left to the task of the session.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use engineio_proto as proto;
use engineio_proto::client::Details;
use engineio_proto::{ChannelId, CloseReason, Event, Instant, TransportKind};

use crate::hands::{Hands, Later, Wakes, register, set};
use crate::head::RequestHead;
use crate::home::{ChannelPlace, Machine, Place, View};
use crate::runtime::{Clock, Runtime};
use crate::socket::{End, Link, Offer, Snapshot};

pub(crate) struct Inner {
    core: Mutex<Core>,
    config: Arc<proto::client::Config>,
    runtime: Runtime,
    clock: Clock,
    /// What the next session should know of this one.
    websocket_worked: Arc<AtomicBool>,
}

pub(crate) struct Core {
    pub(crate) client: proto::Client,
    hands: Hands,
    /// There from the moment in which the session opens.
    link: Option<Arc<Link>>,
    /// The head of the first request, until it is in the link.
    head: Option<RequestHead>,
    /// What the task has to do.
    actions: VecDeque<proto::client::Output>,
    task: Option<Waker>,
    /// When the task will look at the clock.
    armed: Option<Instant>,
    channel: Option<(ChannelId, ChannelPlace)>,
    wakes: Wakes,
    /// What the client said of it last.
    websocket_worked: bool,
    /// The task has done what there was to do, and is over.
    done: bool,
    /// The machine has told its end.
    closed: bool,
    /// The end is in the link. Nothing here matters any more.
    gone: bool,
}

/// Why a session was not opened, and what the server said.
pub(crate) type Unopened = (CloseReason, Option<Details>);

impl Inner {
    pub(crate) fn new(
        runtime: &Runtime,
        config: Arc<proto::client::Config>,
        head: RequestHead,
        websocket_worked: Arc<AtomicBool>,
        observe: bool,
    ) -> Result<Arc<Self>, proto::ConfigError> {
        let clock = Clock::new(runtime.clone());
        let client = proto::Client::new(clock.now(), Arc::clone(&config), entropy())?;
        let core = Core {
            client,
            hands: Hands::observed(observe),
            link: None,
            head: Some(head),
            actions: VecDeque::new(),
            task: None,
            armed: None,
            channel: None,
            wakes: Wakes::new(),
            websocket_worked: config.websocket_worked,
            done: false,
            closed: false,
            gone: false,
        };
        Ok(Arc::new(Self { core: Mutex::new(core), config, runtime: runtime.clone(), clock, websocket_worked }))
    }

    /// Works with the session, then passes on what it asks for.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        self.with_later(&mut Later::default(), work)
    }

    /// The same for whoever holds another lock: what must not be done under it is left for later.
    pub(crate) fn with_later<T>(&self, later: &mut Later, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let mut core = self.lock();
        let result = work(&mut core, self.clock.now());
        core.dispatch(&self.websocket_worked);
        later.wakes.append(&mut core.wakes);
        result
    }

    /// Looks at the session.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&Core) -> T) -> T {
        work(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // The machine is consistent between any two calls.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> &proto::client::Config {
        &self.config
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits until the session is open, or will never be.
    pub(crate) fn poll_opened(&self, cx: &Context<'_>) -> Poll<Result<Arc<Link>, Unopened>> {
        self.with(|core, _| match (&core.link, core.client.close_reason()) {
            (Some(link), _) => Poll::Ready(Ok(Arc::clone(link))),
            (None, Some(reason)) => Poll::Ready(Err((reason, core.client.details().cloned()))),
            (None, None) => {
                register(&mut core.hands.waiters, cx);
                Poll::Pending
            }
        })
    }

    /// Nobody wants the session any more.
    pub(crate) fn give_up(&self) {
        self.with(|core, now| {
            core.client.discard_incoming();
            core.client.close(now);
        });
    }
}

impl Core {
    /// The session with all that hangs on it.
    pub(crate) fn place(&mut self) -> Option<Place<'_>> {
        if self.gone {
            return None;
        }
        let over = self.over();
        let Self { client, hands, channel, wakes, .. } = self;
        let current = client.current_channel();
        let channel = channel.as_mut().filter(|(id, _)| Some(*id) == current).map(|(_, place)| place);
        Some(Place { machine: Machine::Client(client), hands, channel, wakes, over })
    }

    pub(crate) fn view(&self) -> Option<&proto::Client> {
        Some(&self.client).filter(|_| !self.gone)
    }

    /// One that was closed in order is over when everything has left and the server was told. Then a program may end.
    /// What was not written until then is lost, and the end was none in order.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        let reason = self.client.close_reason()?;
        if reason != CloseReason::ForcedClose || self.hands.aborted {
            return Some(reason);
        }
        let lost = self.hands.written < self.client.stats().messages_accepted;
        self.done.then_some(if lost { CloseReason::TransportLost } else { reason })
    }

    pub(crate) fn open_channel(&mut self, id: ChannelId) {
        self.channel = Some((id, ChannelPlace::default()));
    }

    pub(crate) fn channel(&mut self, id: ChannelId) -> Option<&mut ChannelPlace> {
        self.channel.as_mut().filter(|(current, _)| *current == id).map(|(_, place)| place)
    }

    pub(crate) fn close_channel(&mut self, id: ChannelId) {
        self.channel.take_if(|(current, _)| *current == id);
    }

    /// What the task is to do next, and until when it may sleep then.
    pub(crate) fn next_actions(
        &mut self,
        now: Instant,
        cx: &Context<'_>,
    ) -> (VecDeque<proto::client::Output>, Option<Instant>) {
        self.client.handle_timeout(now);
        self.dispatch_events();
        set(&mut self.task, cx);
        self.armed = self.client.next_timeout();
        (std::mem::take(&mut self.actions), self.armed)
    }

    /// The task is over.
    pub(crate) fn finish(&mut self) {
        self.done = true;
        self.hands.wake_all(&mut self.wakes);
    }

    fn dispatch(&mut self, memory: &AtomicBool) {
        self.dispatch_events();
        if self.websocket_worked != self.client.websocket_worked() {
            // Only news: another session may know better by now.
            self.websocket_worked = self.client.websocket_worked();
            memory.store(self.websocket_worked, Ordering::Relaxed);
        }
        let next = self.client.next_timeout();
        let earlier = next.is_some_and(|next| self.armed.is_none_or(|armed| next < armed));
        if earlier || !self.actions.is_empty() {
            self.wakes.extend(self.task.take());
        }
        if let (true, Some(reason), false) = (self.closed, self.over(), self.gone) {
            self.detach(reason);
        }
    }

    /// Tells what is to be told at once, and keeps the rest for the task.
    fn dispatch_events(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                proto::client::Output::ChannelReady { channel }
                | proto::client::Output::ChannelRead { channel, .. } => {
                    self.wake_channel(channel);
                }
                proto::client::Output::ChannelClose { channel } => {
                    if let Some(place) = self.channel(channel) {
                        place.close = true;
                    }
                    self.wake_channel(channel);
                    self.actions.push_back(output);
                }
                proto::client::Output::Event(Event::Closed(_)) => self.closed = true,
                proto::client::Output::Event(event) => self.event(event),
                proto::client::Output::Request { .. }
                | proto::client::Output::Cancel { .. }
                | proto::client::Output::ChannelOpen { .. } => {
                    self.actions.push_back(output);
                }
            }
        }
    }

    fn wake_channel(&mut self, id: ChannelId) {
        let waker = self.channel(id).and_then(|place| place.waker.take());
        self.wakes.extend(waker);
    }

    fn event(&mut self, event: Event) {
        if event == Event::Opened {
            if let (Some(sid), Some(head)) = (self.client.sid().cloned(), self.head.take()) {
                self.link = Some(Arc::new(Link::new(sid, None, head, Offer::of(&self.client))));
            }
            self.wakes.extend(self.hands.waiters.drain(..));
        }
        if event == Event::Drain && self.client.transport() == TransportKind::Polling {
            // What a POST carried that was answered is written, and more than that. On a channel, its task knows.
            self.hands.set_written(self.client.stats().messages_written, &mut self.wakes);
        }
        self.hands.tell(event, &mut self.wakes);
    }

    /// The session is over: whoever still holds it finds its end in the link.
    fn detach(&mut self, reason: CloseReason) {
        self.gone = true;
        if let Some(link) = &self.link {
            let last = Snapshot::of(View::Client(&self.client));
            let details = self.client.details().cloned();
            link.set_closed(End::new(reason, details, last, self.hands.written, self.hands.events.take()));
        }
        self.hands.wake_all(&mut self.wakes);
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// Something unlike what others have. Without randomness it is just nothing special.
pub(crate) fn entropy() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
