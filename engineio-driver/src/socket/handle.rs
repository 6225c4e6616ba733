//! Handles to a session: sending, closing, and state.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use engineio_proto::client::Details;
use engineio_proto::{CloseReason, Instant, Machine, Message, Phase, SendError, Sid, Stats, TransportKind};

use super::waiting::Waiting;
use crate::session::{AnySession, Deferred, Link, Offer, PartKind, Side, Snapshot, Visit};

/// A handle to a session: sends messages, closes the session, returns its state.
///
/// It can be cloned, stored in maps and used from any task. A handle does not keep the session open; the
/// [`Socket`](crate::Socket) does.
#[derive(Clone)]
pub struct Handle {
    pub(super) session: AnySession,
    link: Arc<Link>,
}

impl Handle {
    pub(crate) const fn new(session: AnySession, link: Arc<Link>) -> Self {
        Self { session, link }
    }

    /// Returns the id of the session. The id is a secret: anyone who knows it can act as the client.
    pub fn id(&self) -> &Sid {
        &self.link.sid
    }

    /// Returns the current transport, or the last one if the session has ended.
    pub fn transport(&self) -> TransportKind {
        self.snapshot().transport
    }

    /// Returns whether the session has changed its transport.
    pub fn is_upgraded(&self) -> bool {
        self.snapshot().upgraded
    }

    /// Returns the protocol revision of the session.
    pub fn protocol(&self) -> u8 {
        engineio_proto::PROTOCOL
    }

    /// Returns the address from which the first request came, if the server knows it.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.link.remote_addr
    }

    /// Returns what the server announced in its handshake. `None` on a server's sessions.
    pub fn offer(&self) -> Option<Offer> {
        self.link.offer.as_deref().copied()
    }

    /// Returns the first request of the session: target, headers and extensions.
    ///
    /// The request is stored in a compact form, and each call builds it again. Headers that exceed
    /// [`Builder::max_header_size`](crate::Builder::max_header_size) are left out.
    pub fn request(&self) -> http::Request<()> {
        self.link.request()
    }

    /// Returns the session's counters.
    pub fn stats(&self) -> Stats {
        self.snapshot().stats
    }

    /// Returns why the session has ended, if it has. Messages may still wait to be taken.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.session.over()
    }

    /// Returns what the server sent with a rejection or a close frame, if that ended the session. `None` on a server's
    /// sessions.
    pub fn close_details(&self) -> Option<Details> {
        self.session.look(|side, attached| match (side.machine(), &attached.end) {
            (Some(machine), _) => machine.details().cloned(),
            (None, end) => end.as_ref().and_then(|end| end.details.clone()),
        })
    }

    /// Returns the error of the connection that ended the session, if there was one: the cause of a
    /// [`CloseReason::TransportError`] or of [`CloseReason::TransportLost`]. `None` on a server's sessions.
    pub fn close_error(&self) -> Option<Arc<io::Error>> {
        self.session.look(|side, attached| {
            let cause = side.cause().or_else(|| attached.end.as_ref().and_then(|end| end.cause.as_ref()));
            cause.and_then(|cause| cause.error.clone())
        })
    }

    /// Returns the size of the messages that wait to be handed to the transport. Each counts for its data, plus a small
    /// constant; in bytes.
    pub fn send_buffered(&self) -> usize {
        self.session.look(|side, _| side.machine().map_or(0, |machine| machine.send_buffered()))
    }

    /// Returns the size of the messages that wait to be taken by the application, counted in the same way. A socket takes a
    /// few messages together and returns them one by one; those are not counted.
    pub fn receive_buffered(&self) -> usize {
        self.session.look(|side, _| side.machine().map_or(0, |machine| machine.receive_buffered()))
    }

    /// Returns the phase of the session. It is closed as soon as the session has ended, even if messages still wait to
    /// be taken.
    pub fn phase(&self) -> Phase {
        self.session.look(|side, _| side.machine().map_or(Phase::Closed, |machine| machine.phase()))
    }

    /// Returns whether messages can still be sent.
    pub fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    /// Returns the message if the buffer is full; if the session has ended; if it is text with the character 0x1E,
    /// which polling cannot carry; or if it is larger than the server accepts, at a client.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        // Converted before locking: the conversion may run code of the application.
        let message = message.into();
        let streamed = self.session.stream(message, |machine, message| machine.send(Instant::ZERO, message));
        streamed.unwrap_or_else(|message| self.try_send_deferred(message, &mut Deferred::default()))
    }

    pub(crate) fn try_send_deferred(&self, message: Message, deferred: &mut Deferred) -> Result<(), SendError> {
        self.session.visit_deferred(deferred, |visit| send(visit, message))
    }

    /// Sends several messages together, such as text with its binary attachments, if there is room for all.
    ///
    /// # Errors
    /// The same as [`Handle::try_send`], and if the messages together can never fit into the buffer. None is sent then.
    pub fn try_send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.session.visit(|visit| send_all(visit, messages))
    }

    /// Sends a message, and waits for room if the buffer is full.
    ///
    /// The message is sent when it is in the session's buffer; [`Handle::flush`] waits until it is written. If the
    /// future is dropped before it completes, the message is dropped.
    ///
    /// # Errors
    /// The same as [`Handle::try_send`], except that a full buffer is not an error.
    pub fn send(&self, message: impl Into<Message>) -> impl Future<Output = Result<(), SendError>> {
        self.send_message(message.into())
    }

    #[inline]
    fn send_message(&self, message: Message) -> impl Future<Output = Result<(), SendError>> {
        self.send_when_ready(message, |handle, message| handle.try_send(message), send)
    }

    /// Sends several messages together, and waits for room for all.
    ///
    /// # Errors
    /// The same as [`Handle::try_send_all`], except that a full buffer is not an error.
    pub async fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
        self.send_when_ready(messages, Self::try_send_all, send_all).await
    }

    /// Not an `async fn`, which would be several times as large. It is a part of every task that answers its messages.
    fn send_when_ready<T>(
        &self,
        what: T,
        try_send: impl Fn(&Self, T) -> Result<(), SendError<T>>,
        send: impl Fn(&mut Visit<'_, dyn Side>, T) -> Result<(), SendError<T>>,
    ) -> impl Future<Output = Result<(), SendError<T>>> {
        let mut unsent = Some(what);
        let mut waiting = Waiting::new(&self.session, |attached| &mut attached.senders);
        poll_fn(move |cx| {
            let Some(what) = unsent.take() else { return Poll::Ready(Ok(())) };
            let sent = match try_send(self, what) {
                Err(SendError::Full(what)) => self.session.visit(|visit| match send(visit, what) {
                    Err(SendError::Full(back)) => {
                        unsent = Some(back);
                        visit.attached.senders.register(cx);
                        Poll::Pending
                    }
                    result => Poll::Ready(result),
                }),
                result => Poll::Ready(result),
            };
            waiting.note(cx, sent)
        })
    }

    /// Waits for room for a message. Returns `false` if the session accepts no more messages.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<bool> {
        self.session.visit_deferred(deferred, |visit| {
            let Some(machine) = visit.side.machine_mut() else { return Poll::Ready(false) };
            if machine.phase() != Phase::Open {
                return Poll::Ready(false);
            }
            if machine.poll_ready() {
                return Poll::Ready(true);
            }
            visit.attached.senders.register(cx);
            Poll::Pending
        })
    }

    /// Waits until all messages that were sent before this call are written to the transport.
    ///
    /// # Errors
    /// Returns the reason, if the session ends before that.
    pub async fn flush(&self) -> Result<(), CloseReason> {
        let mut target = None;
        let mut waiting = Waiting::new(&self.session, |attached| &mut attached.flushers);
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
            visit.attached.flushers.register(cx);
            Poll::Pending
        })
    }

    /// Closes the session in order: messages that were sent before are delivered first.
    ///
    /// On a server, received messages that were not taken are dropped. On a client they can still be taken, and so can
    /// messages that arrive while the session closes.
    pub fn close(&self) {
        self.close_deferred(&mut Deferred::default());
    }

    pub(crate) fn close_deferred(&self, deferred: &mut Deferred) {
        self.link.set_unwanted();
        self.session.visit_deferred(deferred, |visit| {
            if let Some((machine, now)) = visit.timed() {
                if machine.close_drops_messages() {
                    self.link.set_dropped_messages();
                }
                machine.close(now);
            }
        });
    }

    /// Closes the session at once. Messages that were not handed to the transport are dropped.
    pub fn abort(&self) {
        self.abort_deferred(&mut Deferred::default());
    }

    pub(crate) fn abort_deferred(&self, deferred: &mut Deferred) {
        self.link.set_unwanted();
        self.link.set_dropped_messages();
        self.session.visit_deferred(deferred, |visit| {
            if let Some((machine, now)) = visit.timed() {
                machine.abort(now);
                visit.attached.aborted = true;
            }
        });
    }

    /// Runs a future as a part of the session's task.
    pub(crate) fn run(&self, part: impl Future<Output = ()> + Send + 'static) {
        self.session.run(PartKind::Application, part);
    }

    /// Returns whether the application has closed the session.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.link.is_unwanted()
    }

    /// Returns whether the application has closed the session such that received messages were dropped.
    pub(super) fn has_dropped_messages(&self) -> bool {
        self.link.has_dropped_messages()
    }

    /// Waits until the session has ended.
    ///
    /// After an orderly close by a client, everything was sent by then, and the server was told of the end, so the
    /// program may exit.
    pub async fn closed(&self) -> CloseReason {
        let mut waiting = Waiting::new(&self.session, |attached| &mut attached.waiters);
        poll_fn(|cx| waiting.note(cx, self.poll_closed(cx, &mut Deferred::default()))).await
    }

    pub(crate) fn poll_closed(&self, cx: &Context<'_>, deferred: &mut Deferred) -> Poll<CloseReason> {
        self.session.visit_deferred(deferred, |visit| {
            if let Some(reason) = visit.over() {
                return Poll::Ready(reason);
            }
            visit.attached.waiters.register(cx);
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

/// Sends a message, if the machine still exists.
pub(crate) fn send<S: Side + ?Sized>(visit: &mut Visit<'_, S>, message: Message) -> Result<(), SendError> {
    offer(visit, message, |machine, now, message| machine.send(now, message))
}

/// Sends several messages together, if the machine still exists.
fn send_all(visit: &mut Visit<'_, dyn Side>, messages: Vec<Message>) -> Result<(), SendError<Vec<Message>>> {
    offer(visit, messages, |machine, now, messages| machine.send_all(now, messages))
}

fn offer<T, S: Side + ?Sized>(
    visit: &mut Visit<'_, S>,
    what: T,
    send: impl FnOnce(&mut dyn Machine, Instant, T) -> Result<(), SendError<T>>,
) -> Result<(), SendError<T>> {
    match visit.streamed() {
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

    async fn opened(server: &crate::Server) -> crate::Socket {
        let request = http::Request::builder().uri(TARGET).body(Empty::<Bytes>::new()).unwrap();
        server.handle(request).await.unwrap().collect().await.unwrap().to_bytes();
        server.accept().await
    }

    const TARGET: &str = "/engine.io/?EIO=4&transport=polling";

    /// Who waits for the end was woken by every message that was written.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_end_is_woken_by_the_end_only() {
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let server = Builder::new(runtime).build().unwrap();
        let socket = opened(&server).await;
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut closed = pin!(socket.closed());
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..10 {
            let mut sent = pin!(async {
                socket.send("a message").await.unwrap();
                socket.flush().await.unwrap();
            });
            assert!(poll_fn(|cx| Poll::Ready(sent.as_mut().poll(cx).is_pending())).await);
            let request = http::Request::builder().uri(format!("{TARGET}&sid={}", socket.id().as_str()));
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            server.handle(request).await.unwrap().collect().await.unwrap().to_bytes();
            sent.await;
        }
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        socket.handle().abort();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    }

    /// Futures that are dropped, or complete, leave nothing behind, also when the session ended with unread messages.
    #[tokio::test(start_paused = true)]
    async fn futures_leave_no_wakers() {
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let server = Builder::new(runtime).send_buffer(Message::OVERHEAD, 0).build().unwrap();
        let socket = opened(&server).await;
        socket.try_send("").unwrap();
        let wakers = || {
            socket.session.look(|_, attached| {
                [&attached.senders, &attached.flushers, &attached.waiters].map(|wakers| !wakers.is_empty())
            })
        };
        for phase in [Phase::Open, Phase::Closed] {
            for _ in 0..3 {
                let waker = Waker::from(Arc::<Wakes>::default());
                let mut cx = Context::from_waker(&waker);
                let ended = phase == Phase::Closed;
                let (mut sending, mut flushing) = (Box::pin(socket.send("")), Box::pin(socket.flush()));
                let mut closed = Box::pin(socket.closed());
                assert_eq!(sending.as_mut().poll(&mut cx).is_ready(), ended);
                assert_eq!(flushing.as_mut().poll(&mut cx).is_ready(), ended);
                assert_eq!(closed.as_mut().poll(&mut cx).is_ready(), ended);
                assert_eq!(wakers(), [!ended; 3]);
                drop((sending, flushing, closed));
                assert_eq!(wakers(), [false; 3]);
            }
            let request = http::Request::post(format!("{TARGET}&sid={}", socket.id().as_str()));
            let request = request.body(http_body_util::Full::new(Bytes::from("4unread\u{1e}1"))).unwrap();
            server.handle(request).await.unwrap();
            assert_eq!(socket.phase(), Phase::Closed);
        }
        assert!(socket.receive_buffered() > 0);
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
            let socket = opened(&server).await;
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
