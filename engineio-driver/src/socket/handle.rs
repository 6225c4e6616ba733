//! A session, to be sent to and to be looked at.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use engineio_proto::client::Details;
use engineio_proto::{CloseReason, Instant, Message, Phase, SendError, Sid, Stats, TransportKind};

use super::link::{Link, Offer, Snapshot};
use crate::hands::{Hands, Later, Wakers, register, set};
use crate::home::{Home, Machine, Place};

/// A session, to be sent to and to be looked at. It can be cloned, kept in maps and used from any task.
///
/// It does not keep the session open: that does the [`Socket`](crate::Socket).
#[derive(Clone)]
pub struct Handle {
    pub(super) home: Home,
    pub(super) link: Arc<Link>,
}

impl Handle {
    pub(crate) const fn new(home: Home, link: Arc<Link>) -> Self {
        Self { home, link }
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

    /// The revision of the protocol that is spoken.
    pub fn protocol(&self) -> u8 {
        engineio_proto::PROTOCOL
    }

    /// Where the first request came from, if the server was told.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.link.remote_addr
    }

    /// Of a client: what the server told when it opened the session. `None` at a server.
    pub fn offer(&self) -> Option<Offer> {
        self.link.offer
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
        let end = || self.link.end.get().map(|end| end.reason);
        self.home.over().or_else(end)
    }

    /// Of a client: what the server said when it refused or ended something, if that ended the session.
    pub fn close_details(&self) -> Option<Details> {
        let end = || self.link.end.get().and_then(|end| end.details.clone());
        self.home.look(|view| view.details().cloned()).flatten().or_else(end)
    }

    /// Bytes that were sent and wait to be handed to the transport, each message counting for a little more than its
    /// data.
    pub fn send_buffered(&self) -> usize {
        self.home.look(|view| view.send_buffered()).unwrap_or(0)
    }

    /// Bytes that arrived and wait to be taken, counted in the same way.
    pub fn receive_buffered(&self) -> usize {
        self.home.look(|view| view.receive_buffered()).unwrap_or(0)
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.home.look(|view| view.phase()) == Some(Phase::Open)
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// Gives the message back when there is no room, when the session is over, when it is text with the character 0x1E,
    /// for which polling has no form, or when it is larger than what the server of a client takes.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        // Converted first: whatever that does, it must not happen under the lock.
        let message = message.into();
        self.try_send_later(message, &mut Later::default())
    }

    pub(crate) fn try_send_later(&self, message: Message, later: &mut Later) -> Result<(), SendError> {
        self.home.visit_later(later, |place, now| offer(place, message, |machine, message| machine.send(now, message)))
    }

    /// Sends several messages that stay together, as text with its binary attachments, if there is room for all.
    ///
    /// # Errors
    /// As [`Handle::try_send`], and when they are too many for the buffer altogether. None is sent then.
    pub fn try_send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.home.visit(|place, now| offer(place, messages, |machine, messages| machine.send_all(now, messages)))
    }

    /// Sends a message, waiting for room.
    ///
    /// Sent means: it is in the session's buffer. [`Handle::flush`] waits until it has left. Dropped before it is done,
    /// the future drops the message.
    ///
    /// # Errors
    /// As [`Handle::try_send`], but for the lack of room.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_when_ready(message.into(), |machine, now, message| machine.send(now, message)).await
    }

    /// Sends several messages that stay together, waiting for room for all.
    ///
    /// # Errors
    /// As [`Handle::try_send_all`], but for the lack of room.
    pub async fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.send_when_ready(messages, |machine, now, messages| machine.send_all(now, messages)).await
    }

    async fn send_when_ready<T>(
        &self,
        what: T,
        send: fn(&mut Machine<'_>, Instant, T) -> Result<(), SendError<T>>,
    ) -> Result<(), SendError<T>> {
        let mut waiting = Some(what);
        let mut seat = Seat::new(self, |hands| &mut hands.senders);
        poll_fn(|cx| {
            let Some(what) = waiting.take() else { return Poll::Ready(Ok(())) };
            let sent = self.home.visit(|place, now| {
                let Some(Place { mut machine, hands, .. }) = place else {
                    return Poll::Ready(Err(SendError::Closed(what)));
                };
                match send(&mut machine, now, what) {
                    Err(SendError::Full(back)) => {
                        waiting = Some(back);
                        register(&mut hands.senders, cx);
                        Poll::Pending
                    }
                    result => Poll::Ready(result),
                }
            });
            seat.keep(cx, sent)
        })
        .await
    }

    /// Waits for room for a message. Whether there is any: where nothing is taken any more, there will be none.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, later: &mut Later) -> Poll<bool> {
        self.home.visit_later(later, |place, _| {
            let Some(Place { mut machine, hands, .. }) = place else { return Poll::Ready(false) };
            if machine.view().phase() != Phase::Open {
                return Poll::Ready(false);
            }
            if machine.poll_ready() {
                return Poll::Ready(true);
            }
            register(&mut hands.senders, cx);
            Poll::Pending
        })
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

    pub(super) fn poll_flushed(&self, cx: &Context<'_>, target: &mut Option<u64>) -> Poll<Result<(), CloseReason>> {
        let waiting = self.home.visit(|place, _| {
            let mut place = place?;
            let view = place.machine.view();
            let target = *target.get_or_insert(view.stats().messages_accepted);
            if place.hands.written >= target {
                return Some(Poll::Ready(Ok(())));
            }
            if let Some(reason) = place.over {
                return Some(Poll::Ready(Err(reason)));
            }
            register(&mut place.hands.waiters, cx);
            // The task of a channel says when everything is written, but only if somebody waits for it.
            place.wake_channel();
            Some(Poll::Pending)
        });
        waiting.unwrap_or_else(|| {
            Poll::Ready(match self.link.end.get() {
                Some(end) if end.written < target.unwrap_or(end.last.stats.messages_accepted) => Err(end.reason),
                _ => Ok(()),
            })
        })
    }

    /// Closes the session in order: what was sent before is delivered first. At a server, what was received and not taken
    /// is dropped; at a client, it can still be taken, and so can what arrives meanwhile.
    pub fn close(&self) {
        self.close_later(&mut Later::default());
    }

    pub(crate) fn close_later(&self, later: &mut Later) {
        self.link.unwanted.store(true, Ordering::Relaxed);
        self.home.visit_later(later, |place, now| {
            if let Some(mut place) = place {
                place.machine.close(now);
            }
        });
    }

    /// Closes the session at once. What was not handed over is dropped.
    pub fn abort(&self) {
        self.abort_later(&mut Later::default());
    }

    pub(crate) fn abort_later(&self, later: &mut Later) {
        self.link.unwanted.store(true, Ordering::Relaxed);
        self.home.visit_later(later, |place, now| {
            if let Some(mut place) = place {
                place.hands.aborted = true;
                place.machine.abort(now);
            }
        });
    }

    /// Whether the application has closed it.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.link.unwanted.load(Ordering::Relaxed)
    }

    /// Waits for the end of the session. At a client that closes in order, that is when everything has left and the server
    /// was told, so that a program may end then.
    pub async fn closed(&self) -> CloseReason {
        let mut seat = Seat::new(self, |hands| &mut hands.waiters);
        poll_fn(|cx| seat.keep(cx, self.poll_closed(cx, &mut Later::default()))).await
    }

    pub(crate) fn poll_closed(&self, cx: &Context<'_>, later: &mut Later) -> Poll<CloseReason> {
        let waiting = self.home.visit_later(later, |place, _| {
            let place = place?;
            register(&mut place.hands.waiters, cx);
            Some(place.over.map_or(Poll::Pending, Poll::Ready))
        });
        waiting.unwrap_or_else(|| self.link.end.get().map_or(Poll::Pending, |end| Poll::Ready(end.reason)))
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.home.look(Snapshot::of);
        // Whatever left its home has left its end behind.
        now.or_else(|| self.link.end.get().map(|end| end.last)).unwrap_or(Snapshot {
            transport: TransportKind::Polling,
            upgraded: false,
            stats: Stats::default(),
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", self.id()).finish_non_exhaustive()
    }
}

/// Offers something to a session, if it is still there.
fn offer<T>(
    place: Option<Place<'_>>,
    what: T,
    send: impl FnOnce(&mut Machine<'_>, T) -> Result<(), SendError<T>>,
) -> Result<(), SendError<T>> {
    match place {
        Some(mut place) => send(&mut place.machine, what),
        None => Err(SendError::Closed(what)),
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
        self.handle.home.visit(|place, _| {
            let Some(Place { hands, wakes, .. }) = place else { return };
            let list = (self.list)(hands);
            let left = list.iter().position(|other| other.will_wake(waker)).map(|index| list.remove(index));
            // Another future of the same task may rely on it.
            wakes.extend(left);
        });
    }
}
