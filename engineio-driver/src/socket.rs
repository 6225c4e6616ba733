//! A session in the hands of the application.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use engineio_proto::{CloseReason, Instant, Message, SendError, Session, SessionKey, Sid, Stats, TransportKind};
use futures_core::Stream;
use futures_sink::Sink;
use smallvec::SmallVec;

use crate::head::RequestHead;
use crate::server::Inner;
use crate::shard::{Core, Events as Queue, Hands, Observed};

/// What stays the same for a session, and how it ended.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    pub(crate) key: SessionKey,
    sid: Sid,
    remote_addr: Option<SocketAddr>,
    head: RequestHead,
    end: OnceLock<Box<End>>,
}

/// A session that is over.
#[derive(Debug)]
struct End {
    reason: CloseReason,
    last: Snapshot,
    written: u64,
    /// What was not observed yet.
    events: Mutex<Option<Box<Queue>>>,
}

/// What changes about a session, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    transport: TransportKind,
    upgraded: bool,
    stats: Stats,
}

impl Snapshot {
    pub(crate) fn of(session: &Session) -> Self {
        Self { transport: session.transport(), upgraded: session.upgraded(), stats: session.stats() }
    }
}

impl Link {
    pub(crate) fn new(
        shard: usize,
        key: SessionKey,
        sid: Sid,
        remote_addr: Option<SocketAddr>,
        head: RequestHead,
    ) -> Self {
        Self { shard, key, sid, remote_addr, head, end: OnceLock::new() }
    }

    pub(crate) fn set_closed(&self, reason: CloseReason, last: Snapshot, written: u64, events: Option<Box<Queue>>) {
        let events = Mutex::new(events);
        let _ = self.end.set(Box::new(End { reason, last, written, events }));
    }
}

/// What happens to a session.
///
/// Messages come in order, and so do the other events. A message and another event that came in one request, as a pong
/// between two messages, may change places.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message arrived.
    Message(Message),
    /// Packets are handed to the transport.
    Flush {
        /// How many.
        packets: usize,
    },
    /// The transport took the packets of the last [`Event::Flush`].
    Drain,
    /// A probe was answered: the client is about to change to this transport.
    Upgrading(TransportKind),
    /// The session changed to this transport.
    Upgrade(TransportKind),
    /// A pong arrived.
    Heartbeat,
    /// So many [`Flush`](Event::Flush), [`Drain`](Event::Drain), [`Upgrading`](Event::Upgrading) and
    /// [`Heartbeat`](Event::Heartbeat) events were dropped because nobody took them.
    Lagged {
        /// How many.
        events: usize,
    },
    /// The session is over. The last event.
    Close(CloseReason),
}

/// A session, to be sent to and to be looked at. It can be cloned, kept in maps and used from any task.
///
/// It does not keep the session open: that does the [`Socket`].
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
    link: Arc<Link>,
}

impl Handle {
    pub(crate) const fn new(inner: Arc<Inner>, link: Arc<Link>) -> Self {
        Self { inner, link }
    }

    /// The id of the session. A secret: who knows it can act for the client.
    pub fn id(&self) -> &Sid {
        &self.link.sid
    }

    /// The transport that the session is on; after its end, the last one.
    pub fn transport(&self) -> TransportKind {
        self.snapshot().transport
    }

    /// Whether the session changed its transport.
    pub fn is_upgraded(&self) -> bool {
        self.snapshot().upgraded
    }

    /// The revision of the protocol that the client speaks.
    pub fn protocol(&self) -> u8 {
        engineio_proto::PROTOCOL
    }

    /// Where the first request came from, if the server was told.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.link.remote_addr
    }

    /// The first request of the session: target, headers and extensions.
    ///
    /// It is kept in a compact form and built anew by each call.
    pub fn request(&self) -> http::Request<()> {
        self.link.head.to_request()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.snapshot().stats
    }

    /// Why the session is over, if it is. There may still be messages to be taken.
    pub fn close_reason(&self) -> Option<CloseReason> {
        let reason = |core: &Core| core.server.session(self.link.key).and_then(Session::close_reason);
        let end = || self.link.end.get().map(|end| end.reason);
        self.inner.look(self.link.shard, reason).or_else(end)
    }

    /// Bytes that were sent and wait to be handed to the transport, each message counting for a little more than its
    /// data.
    pub fn send_buffered(&self) -> usize {
        self.inner.look(self.link.shard, |core| core.server.session(self.link.key).map_or(0, Session::send_buffered))
    }

    /// Bytes that arrived and wait to be taken, counted in the same way.
    pub fn receive_buffered(&self) -> usize {
        let buffered = |core: &Core| core.server.session(self.link.key).map_or(0, Session::receive_buffered);
        self.inner.look(self.link.shard, buffered)
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        let open = |session: &Session| session.phase() == engineio_proto::Phase::Open;
        self.inner.look(self.link.shard, |core| core.server.session(self.link.key).is_some_and(open))
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// Gives the message back when there is no room, when the session is over, or when it is text with the character
    /// 0x1E, for which polling has no form.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        // Converted first: whatever that does, it must not happen under the lock.
        let message = message.into();
        self.with(|core, _| offer(core, self.link.key, message, Session::send))
    }

    /// Sends several messages that stay together, as text with its binary attachments, if there is room for all.
    ///
    /// # Errors
    /// As [`Handle::try_send`], and when they are too many for the buffer altogether. None is sent then.
    pub fn try_send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.with(|core, _| offer(core, self.link.key, messages, Session::send_all))
    }

    /// Sends a message, waiting for room.
    ///
    /// Sent means: it is in the session's buffer. [`Handle::flush`] waits until it has left. Dropped before it is done,
    /// the future drops the message.
    ///
    /// # Errors
    /// As [`Handle::try_send`], but for the lack of room.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_when_ready(message.into(), Session::send).await
    }

    /// Sends several messages that stay together, waiting for room for all.
    ///
    /// # Errors
    /// As [`Handle::try_send_all`], but for the lack of room.
    pub async fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.send_when_ready(messages, Session::send_all).await
    }

    async fn send_when_ready<T>(
        &self,
        what: T,
        send: fn(&mut Session, T) -> Result<(), SendError<T>>,
    ) -> Result<(), SendError<T>> {
        let mut waiting = Some(what);
        let mut seat = Seat::new(self, |hands| &mut hands.senders);
        poll_fn(|cx| {
            let Some(what) = waiting.take() else { return Poll::Ready(Ok(())) };
            let sent = self.with(|core, _| match offer(core, self.link.key, what, send) {
                Err(SendError::Full(back)) => {
                    waiting = Some(back);
                    if let Some(hands) = core.hands_mut(self.link.key) {
                        register(&mut hands.senders, cx);
                    }
                    Poll::Pending
                }
                result => Poll::Ready(result),
            });
            seat.keep(cx, sent)
        })
        .await
    }

    /// Waits until every message sent before this call has been written to its transport.
    ///
    /// # Errors
    /// When the session ends before that, with the reason.
    pub async fn flush(&self) -> Result<(), CloseReason> {
        let mut target = None;
        let mut seat = Seat::new(self, |hands| &mut hands.waiters);
        poll_fn(|cx| seat.keep(cx, self.poll_flushed(cx, &mut target))).await
    }

    fn poll_flushed(&self, cx: &Context<'_>, target: &mut Option<u64>) -> Poll<Result<(), CloseReason>> {
        let key = self.link.key;
        let waiting = self.with(|core, _| {
            let session = core.server.session(key)?;
            let target = *target.get_or_insert(session.stats().messages_accepted);
            let (channel, ended) = (session.current_channel(), session.close_reason());
            let hands = core.hands_mut(key)?;
            if hands.written >= target {
                return Some(Poll::Ready(Ok(())));
            }
            if let Some(reason) = ended {
                return Some(Poll::Ready(Err(reason)));
            }
            register(&mut hands.waiters, cx);
            if let Some(channel) = channel {
                // Its task says when everything is written, but only if somebody waits for it.
                core.wake_channel(channel);
            }
            Some(Poll::Pending)
        });
        waiting.unwrap_or_else(|| {
            Poll::Ready(match self.link.end.get() {
                Some(end) if end.written < target.unwrap_or(end.last.stats.messages_accepted) => Err(end.reason),
                _ => Ok(()),
            })
        })
    }

    /// Closes the session in order: what was sent before is delivered first. What was received and not taken is
    /// dropped.
    pub fn close(&self) {
        self.with(|core, now| {
            if let Some(mut session) = core.server.session_mut(self.link.key) {
                session.close(now);
            }
        });
    }

    /// Closes the session at once. What was not handed over is dropped.
    pub fn abort(&self) {
        self.with(|core, now| {
            if let Some(mut session) = core.server.session_mut(self.link.key) {
                session.abort(now);
            }
        });
    }

    /// Waits for the end of the session.
    pub async fn closed(&self) -> CloseReason {
        let mut seat = Seat::new(self, |hands| &mut hands.waiters);
        poll_fn(|cx| seat.keep(cx, self.poll_closed(cx))).await
    }

    fn poll_closed(&self, cx: &Context<'_>) -> Poll<CloseReason> {
        self.with(|core, _| {
            if let Some(hands) = core.hands_mut(self.link.key) {
                register(&mut hands.waiters, cx);
            }
        });
        self.close_reason().map_or(Poll::Pending, Poll::Ready)
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.inner.look(self.link.shard, |core| core.server.session(self.link.key).map(Snapshot::of));
        // Whatever left the server has left its end behind.
        now.or_else(|| self.link.end.get().map(|end| end.last)).unwrap_or(Snapshot {
            transport: TransportKind::Polling,
            upgraded: false,
            stats: Stats::default(),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        self.inner.with(self.link.shard, work)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", self.id()).finish_non_exhaustive()
    }
}

/// A session: a [`Stream`] of the messages that arrive and a [`Sink`] for those to be sent.
///
/// There is one for each session. Dropping it closes the session in order. Everything but receiving is done through
/// the [`Handle`] that it dereferences to, and that can be cloned from it.
#[derive(Debug)]
pub struct Socket {
    handle: Handle,
    /// What the flush of the sink waits for.
    flushing: Option<u64>,
}

impl std::ops::Deref for Socket {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Socket {
    pub(crate) const fn new(handle: Handle) -> Self {
        Self { handle, flushing: None }
    }

    /// A handle to send with, to keep or to give away.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::send`]. It stands here too so that it is the one that is meant where `SinkExt` is in scope.
    ///
    /// # Errors
    /// As [`Handle::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.handle.send(message).await
    }

    /// As [`Handle::flush`].
    ///
    /// # Errors
    /// As [`Handle::flush`].
    pub async fn flush(&self) -> Result<(), CloseReason> {
        self.handle.flush().await
    }

    /// As [`Handle::close`].
    pub fn close(&self) {
        self.handle.close();
    }

    /// The next message; `None` once the session is over and every message was taken.
    ///
    /// Cancel safe: a message is taken only by a call that returns it.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<Message>> {
        let key = self.handle.link.key;
        self.handle.with(|core, now| {
            if let Some(message) = core.recv(key, now) {
                return Poll::Ready(Some(message));
            }
            // A closed session without messages leaves the server in this very visit; then the link says so.
            match core.hands_mut(key) {
                Some(hands) => {
                    set(&mut hands.receiver, cx);
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        })
    }

    /// Everything that happens to the session, messages among it, instead of messages alone.
    ///
    /// What happened before is not told. Observing costs a little; a session that is not observed pays nothing.
    pub fn events(self) -> Events {
        self.handle.with(|core, _| {
            if let Some(hands) = core.hands_mut(self.handle.link.key) {
                hands.events.get_or_insert_default();
            }
        });
        Events { socket: self, readable: true, closed: false }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.handle.with(|core, now| {
            if let Some(mut session) = core.server.session_mut(self.handle.link.key) {
                session.discard_incoming();
                session.close(now);
            }
        });
    }
}

impl Stream for Socket {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv(cx)
    }
}

/// Why a [`Socket`] as a sink takes no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A message was not taken. It comes back.
    #[error(transparent)]
    Refused(#[from] SendError),
    /// The session ended before every message was written.
    #[error("the session ended before every message was written: {0}")]
    Ended(CloseReason),
}

/// Ready when there is room. Flushed when every message has been written to its transport. Closed when the session is.
impl Sink<Message> for Socket {
    type Error = SinkError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let key = self.handle.link.key;
        self.handle.with(|core, _| {
            let ready = core.server.session_mut(key).is_none_or(|mut session| session.poll_ready());
            match core.hands_mut(key) {
                Some(hands) if !ready => {
                    register(&mut hands.senders, cx);
                    Poll::Pending
                }
                // A session that is over says so when the message is there to be given back.
                _ => Poll::Ready(Ok(())),
            }
        })
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), SinkError> {
        Ok(self.try_send(message)?)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let Self { handle, flushing } = &mut *self;
        let flushed = handle.poll_flushed(cx, flushing);
        if flushed.is_ready() {
            *flushing = None;
        }
        flushed.map_err(SinkError::Ended)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.handle.close();
        self.handle.poll_closed(cx).map(|_| Ok(()))
    }
}

/// What happens to a session: see [`Socket::events`].
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    /// There may be messages.
    readable: bool,
    closed: bool,
}

impl Events {
    /// A handle to the session.
    pub fn handle(&self) -> &Handle {
        &self.socket
    }

    /// The next event; `None` after [`Event::Close`].
    ///
    /// Cancel safe: an event is taken only by a call that returns it.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        if self.closed {
            return Poll::Ready(None);
        }
        let link = Arc::clone(&self.socket.handle.link);
        let key = link.key;
        let found = self.socket.handle.with(|core, now| {
            loop {
                if self.readable {
                    if let Some(message) = core.recv(key, now) {
                        return Some(Event::Message(message));
                    }
                    self.readable = false;
                }
                let hands = core.hands_mut(key)?;
                match hands.events.as_mut().and_then(|events| events.pop()) {
                    Some(Observed::Readable) => self.readable = true,
                    Some(Observed::Event(event)) => return Some(event),
                    None => {
                        set(&mut hands.receiver, cx);
                        return None;
                    }
                }
            }
        });
        if found.is_some() {
            return Poll::Ready(found);
        }
        let Some(end) = link.end.get() else { return Poll::Pending };
        // The session is over; its messages were all taken, or it would not be.
        let mut rest = end.events.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(observed) = rest.as_mut().and_then(|events| events.pop()) {
            if let Observed::Event(event) = observed {
                return Poll::Ready(Some(event));
            }
        }
        self.closed = true;
        Poll::Ready(Some(Event::Close(end.reason)))
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

/// Offers something to a session, if it is still there.
fn offer<T>(
    core: &mut Core,
    key: SessionKey,
    what: T,
    send: impl FnOnce(&mut Session, T) -> Result<(), SendError<T>>,
) -> Result<(), SendError<T>> {
    match core.server.session_mut(key) {
        Some(mut session) => send(&mut session, what),
        None => Err(SendError::Closed(what)),
    }
}

fn set(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

type Wakers = SmallVec<[Waker; 1]>;

fn register(wakers: &mut Wakers, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

/// The place of a future among those who wait. It is given up with the future, or futures that are dropped would leave
/// their wakers behind.
struct Seat<'a> {
    handle: &'a Handle,
    list: fn(&mut Hands) -> &mut Wakers,
    waker: Option<Waker>,
}

impl<'a> Seat<'a> {
    const fn new(handle: &'a Handle, list: fn(&mut Hands) -> &mut Wakers) -> Self {
        Self { handle, list, waker: None }
    }

    /// The seat is taken by a future that is not ready.
    fn keep<T>(&mut self, cx: &Context<'_>, poll: Poll<T>) -> Poll<T> {
        if poll.is_pending() {
            set(&mut self.waker, cx);
        }
        poll
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Some(waker) = &self.waker else { return };
        self.handle.with(|core, _| {
            let list = core.hands_mut(self.handle.link.key).map(self.list);
            let left = list.and_then(|list| {
                let index = list.iter().position(|other| other.will_wake(waker))?;
                Some(list.remove(index))
            });
            // Another future of the same task may rely on it.
            core.wakes.extend(left);
        });
    }
}
