//! A session, to be sent to and to be looked at.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use engineio_proto::client::Details;
use engineio_proto::{CloseReason, Instant, Machine, Message, Phase, SendError, Sid, Stats, TransportKind};

use super::waiting::Waiting;
use crate::session::{AnySession, Deferred, Link, Offer, Side, Snapshot, Visit, register};

/// A session, to be sent to and to be looked at. It can be cloned, kept in maps and used from any task.
///
/// A handle does not keep the session open; the [`Socket`](crate::Socket) does.
#[derive(Clone)]
pub struct Handle {
    pub(super) session: AnySession,
    link: Arc<Link>,
}

impl Handle {
    pub(crate) const fn new(session: AnySession, link: Arc<Link>) -> Self {
        Self { session, link }
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
        self.session.over()
    }

    /// Of a client: what the server said when it refused or ended something, if that ended the session.
    pub fn close_details(&self) -> Option<Details> {
        self.session.look(|side, attached| match (side.machine(), &attached.end) {
            (Some(machine), _) => machine.details().cloned(),
            (None, end) => end.as_ref().and_then(|end| end.details.clone()),
        })
    }

    /// Bytes that were sent and wait to be handed to the transport, each message counting for a little more than its
    /// data.
    pub fn send_buffered(&self) -> usize {
        self.session.look(|side, _| side.machine().map_or(0, |machine| machine.send_buffered()))
    }

    /// Bytes that arrived and wait to be taken, counted in the same way.
    pub fn receive_buffered(&self) -> usize {
        self.session.look(|side, _| side.machine().map_or(0, |machine| machine.receive_buffered()))
    }

    /// How far the session is on its way. It is closed from the moment in which it is over, though there may still be
    /// messages to be taken.
    pub fn phase(&self) -> Phase {
        self.session.look(|side, _| side.machine().map_or(Phase::Closed, |machine| machine.phase()))
    }

    /// Whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// Gives the message back when there is no room, when the session is over, when it is text with the character 0x1E,
    /// for which polling has no form, or when it is larger than what the server of a client takes.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        // Converted first: whatever that does, it must not happen under the lock.
        let message = message.into();
        self.try_send_deferred(message, &mut Deferred::default())
    }

    pub(crate) fn try_send_deferred(&self, message: Message, deferred: &mut Deferred) -> Result<(), SendError> {
        self.session.visit_deferred(deferred, |visit| send(visit, message))
    }

    /// Sends several messages that stay together, as text with its binary attachments, if there is room for all.
    ///
    /// # Errors
    /// As [`Handle::try_send`], and when they are too many for the buffer altogether. None is sent then.
    pub fn try_send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.session.visit(|visit| send_all(visit, messages))
    }

    /// Sends a message, waiting for room.
    ///
    /// Sent means: it is in the session's buffer. [`Handle::flush`] waits until it has left. Dropped before it is done,
    /// the future drops the message.
    ///
    /// # Errors
    /// As [`Handle::try_send`], but for the lack of room.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_when_ready(message.into(), send).await
    }

    /// Sends several messages that stay together, waiting for room for all.
    ///
    /// # Errors
    /// As [`Handle::try_send_all`], but for the lack of room.
    pub async fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.send_when_ready(messages, send_all).await
    }

    async fn send_when_ready<T>(
        &self,
        what: T,
        send: impl Fn(&mut Visit<'_, dyn Side>, T) -> Result<(), SendError<T>>,
    ) -> Result<(), SendError<T>> {
        let mut unsent = Some(what);
        let mut waiting = Waiting::new(&self.session, |attached| &mut attached.senders);
        poll_fn(|cx| {
            let Some(what) = unsent.take() else { return Poll::Ready(Ok(())) };
            let sent = self.session.visit(|visit| match send(visit, what) {
                Err(SendError::Full(back)) => {
                    unsent = Some(back);
                    register(&mut visit.attached.senders, cx);
                    Poll::Pending
                }
                result => Poll::Ready(result),
            });
            waiting.note(cx, sent)
        })
        .await
    }

    /// Waits for room for a message. Whether there is any: where nothing is taken any more, there will be none.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<bool> {
        self.session.visit_deferred(deferred, |visit| {
            let Some(machine) = visit.side.machine_mut() else { return Poll::Ready(false) };
            if machine.phase() != Phase::Open {
                return Poll::Ready(false);
            }
            if machine.poll_ready() {
                return Poll::Ready(true);
            }
            register(&mut visit.attached.senders, cx);
            Poll::Pending
        })
    }

    /// Waits until every message sent before this call has been written to its transport.
    ///
    /// # Errors
    /// When the session ends before that, with the reason.
    pub async fn flush(&self) -> Result<(), CloseReason> {
        let mut target = None;
        let mut waiting = Waiting::new(&self.session, |attached| &mut attached.waiters);
        poll_fn(|cx| waiting.note(cx, self.poll_flushed(cx, &mut target))).await
    }

    pub(super) fn poll_flushed(&self, cx: &Context<'_>, target: &mut Option<u64>) -> Poll<Result<(), CloseReason>> {
        self.session.visit(|visit| {
            let accepted = match (visit.side.machine(), &visit.attached.end) {
                (Some(machine), _) => machine.stats().messages_accepted,
                (None, end) => end.as_ref().map_or(0, |end| end.last.stats.messages_accepted),
            };
            let target = *target.get_or_insert(accepted);
            let written = match (visit.side.machine_mut(), &visit.attached.end) {
                (Some(machine), _) => machine.poll_written(target),
                (None, end) => end.as_ref().is_none_or(|end| target <= end.last.stats.messages_written),
            };
            if written {
                return Poll::Ready(Ok(()));
            }
            if let Some(reason) = visit.over() {
                return Poll::Ready(Err(reason));
            }
            register(&mut visit.attached.waiters, cx);
            Poll::Pending
        })
    }

    /// Closes the session in order: what was sent before is delivered first. At a server, what was received and not taken
    /// is dropped; at a client, it can still be taken, and so can what arrives meanwhile.
    pub fn close(&self) {
        self.close_deferred(&mut Deferred::default());
    }

    pub(crate) fn close_deferred(&self, deferred: &mut Deferred) {
        self.link.set_unwanted();
        self.session.visit_deferred(deferred, |visit| {
            if let Some((machine, now)) = visit.timed() {
                machine.close(now);
            }
        });
    }

    /// Closes the session at once. What was not handed over is dropped.
    pub fn abort(&self) {
        self.abort_deferred(&mut Deferred::default());
    }

    pub(crate) fn abort_deferred(&self, deferred: &mut Deferred) {
        self.link.set_unwanted();
        self.session.visit_deferred(deferred, |visit| {
            if let Some((machine, now)) = visit.timed() {
                machine.abort(now);
                visit.attached.aborted = true;
            }
        });
    }

    /// Whether the application has closed it.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.link.is_unwanted()
    }

    /// Waits for the end of the session. At a client that closes in order, that is when everything has left and the server
    /// was told, so that a program may end then.
    pub async fn closed(&self) -> CloseReason {
        let mut waiting = Waiting::new(&self.session, |attached| &mut attached.waiters);
        poll_fn(|cx| waiting.note(cx, self.poll_closed(cx, &mut Deferred::default()))).await
    }

    pub(crate) fn poll_closed(&self, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<CloseReason> {
        self.session.visit_deferred(deferred, |visit| {
            if let Some(reason) = visit.over() {
                return Poll::Ready(reason);
            }
            register(&mut visit.attached.waiters, cx);
            Poll::Pending
        })
    }

    fn snapshot(&self) -> Snapshot {
        self.session.look(|side, attached| match (side.machine(), &attached.end) {
            (Some(machine), _) => Snapshot::of(machine),
            (None, Some(end)) => end.last,
            (None, None) => Snapshot::default(),
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", self.id()).finish_non_exhaustive()
    }
}

/// Sends a message, if the session is still there.
fn send(visit: &mut Visit<'_, dyn Side>, message: Message) -> Result<(), SendError> {
    offer(visit, message, |machine, now, message| machine.send(now, message))
}

/// Sends several messages that stay together, if the session is still there.
fn send_all(visit: &mut Visit<'_, dyn Side>, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
    offer(visit, messages, |machine, now, messages| machine.send_all(now, messages))
}

fn offer<T>(
    visit: &mut Visit<'_, dyn Side>,
    what: T,
    send: impl FnOnce(&mut dyn Machine, Instant, T) -> Result<(), SendError<T>>,
) -> Result<(), SendError<T>> {
    match visit.timed() {
        Some((machine, now)) => send(machine, now, what),
        None => Err(SendError::Closed(what)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use super::*;
    use crate::Builder;
    use crate::rt::Runtime;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_learns_that_the_session_is_closing() {
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let server = Builder::new(runtime).send_buffer(Message::OVERHEAD, 0).build().unwrap();
        let closers: [fn(crate::Socket) -> Option<crate::Socket>; 2] = [
            |socket| {
                socket.close();
                Some(socket)
            },
            |socket| {
                drop(socket);
                None
            },
        ];
        for close in closers {
            let target = "/engine.io/?EIO=4&transport=polling";
            let request = http::Request::builder().uri(target).body(Empty::<Bytes>::new()).unwrap();
            server.handle(request).await.unwrap().collect().await.unwrap().to_bytes();
            let socket = server.accept().await;
            let handle = socket.handle();
            handle.try_send("").unwrap();

            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(Arc::clone(&wakes));
            let mut cx = Context::from_waker(&waker);
            let mut sending = pin!(handle.send("late"));
            assert!(sending.as_mut().poll(&mut cx).is_pending());
            let _socket = close(socket);
            assert_eq!(handle.phase(), Phase::Closing);
            assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
            assert_eq!(sending.as_mut().poll(&mut cx), Poll::Ready(Err(SendError::Closed("late".into()))));
        }
    }
}
