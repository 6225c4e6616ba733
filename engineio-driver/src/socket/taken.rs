//! Messages that were taken from a session and not returned to the application yet.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use engineio_proto::Message;

use super::handle::Handle;
use crate::session::{Side, Visit, set};

/// The maximum number of messages that are taken in one visit to the session.
const MESSAGES: usize = 32;
/// No further message is taken in the same visit once those that were taken have so many bytes.
const BYTES: usize = 16 * 1024;

/// Messages that were taken together, because a visit for each would cost more.
///
/// None are taken ahead while data waits to be decoded: it waits because the application is slow, and would take their
/// room. So at most as much is taken ahead as the session may keep.
#[derive(Debug, Default)]
pub(super) struct Taken {
    messages: VecDeque<Message>,
    /// The waker that was registered when everything was taken.
    registered: Option<Waker>,
}

impl Taken {
    /// Returns the next message. Returns `None` after the application has closed the session, if the close dropped the
    /// messages of the session: those that were taken ahead are dropped as well.
    pub(super) fn next(&mut self, handle: &Handle) -> Option<Message> {
        if self.messages.is_empty() {
            return None;
        }
        if handle.has_dropped_messages() {
            self.messages = VecDeque::new();
        }
        let message = self.messages.pop_front();
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        message
    }

    /// Takes messages from the session. Returns the first; the others are next. Also returns whether no more are ready.
    pub(super) fn take<S: Side + ?Sized>(&mut self, visit: &mut Visit<'_, S>) -> (Option<Message>, bool) {
        let Some((machine, now)) = visit.streamed() else { return (None, true) };
        let mut first = None;
        let messages = if machine.has_undecoded() { 1 } else { MESSAGES };
        let all = machine.recv_many(now, messages, BYTES, &mut |message| match first {
            None => first = Some(message),
            Some(_) => {
                if self.messages.capacity() == 0 {
                    self.messages.reserve(MESSAGES - 1);
                }
                self.messages.push_back(message);
            }
        });
        (first, all)
    }

    /// Registers the task that is polled as the one that waits for more.
    pub(super) fn register<S: Side + ?Sized>(&mut self, visit: &mut Visit<'_, S>, cx: &Context<'_>) {
        set(&mut visit.attached.receiver, cx, visit.deferred);
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            visit.deferred.release(self.registered.replace(cx.waker().clone()));
        }
    }

    /// Forgets which task was registered, so that the session is visited before anything waits for it.
    pub(super) fn forget_waker(&mut self) {
        self.registered = None;
    }

    /// Returns whether the task that is polled is already registered, and nothing has happened since.
    pub(super) fn is_waiting(&self, handle: &Handle, cx: &Context<'_>) -> bool {
        let is_same = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        is_same && handle.session.receiver_waits()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use bytes::Bytes;
    use engineio_proto::Message;
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use crate::app::{Application, Host, Peer, Sockets};
    use crate::rt::Runtime;
    use crate::{Builder, Event, Server, Socket};

    async fn request(server: &Server, method: &str, sid: Option<&str>, body: &'static str) -> Bytes {
        let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/engine.io/?EIO=4&transport=polling{sid}"))
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        server.handle(request).await.unwrap().collect().await.unwrap().to_bytes()
    }

    /// Opens a session whose client has posted packets.
    async fn posted(body: &'static str) -> Socket {
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let server = Builder::new(runtime).build().unwrap();
        request(&server, "GET", None, "").await;
        let socket = server.accept().await;
        let sid = socket.id().as_str().to_owned();
        request(&server, "POST", Some(&sid), body).await;
        socket
    }

    const THREE: &str = "4a\u{1e}4b\u{1e}4c";

    #[tokio::test(start_paused = true)]
    async fn an_application_that_closes_gets_no_message_that_was_taken_ahead() {
        let closers: [fn(&Socket); 2] = [|socket| socket.close(), |socket| socket.handle().abort()];
        for close in closers {
            let mut socket = posted(THREE).await;
            assert_eq!(socket.recv().await, Some("a".into()));
            assert_eq!(socket.receive_buffered(), 0, "the others were taken ahead");
            close(&socket);
            let mut recv = pin!(socket.recv());
            let received = poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx))).await;
            assert!(!matches!(received, Poll::Ready(Some(_))), "{received:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_taken_ahead_outlive_the_session() {
        let mut socket = posted("4a\u{1e}4b\u{1e}4c\u{1e}1").await;
        assert_eq!(socket.recv().await, Some("a".into()));
        assert!(!socket.is_open());
        // It comes too late to drop anything.
        socket.close();
        for text in ["b", "c"] {
            assert_eq!(socket.recv().await, Some(text.into()));
        }
        assert_eq!(socket.recv().await, None);
    }

    /// The session of an observed server records events from its beginning, whatever its socket is used for.
    #[tokio::test(start_paused = true)]
    async fn events_that_were_recorded_while_messages_were_waited_for_are_not_missed() {
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let server = Builder::new(runtime).build().unwrap();
        let observer = server.clone();
        assert!(poll_fn(|cx| Poll::Ready(pin!(observer.accept_observed()).as_mut().poll(cx).is_pending())).await);
        request(&server, "GET", None, "").await;
        let mut socket = server.accept().await;
        assert!(poll_fn(|cx| Poll::Ready(pin!(socket.recv()).as_mut().poll(cx).is_pending())).await);
        socket.try_send("a").unwrap();
        let sid = socket.id().as_str().to_owned();
        request(&server, "GET", Some(&sid), "").await;
        assert!(poll_fn(|cx| Poll::Ready(pin!(socket.recv()).as_mut().poll(cx).is_pending())).await);
        let mut events = socket.events();
        let mut recorded = Vec::new();
        while let Poll::Ready(event) = poll_fn(|cx| Poll::Ready(pin!(events.next()).as_mut().poll(cx))).await {
            recorded.push(event.unwrap());
        }
        assert!(recorded.contains(&Event::Flush { packets: 1 }) && recorded.contains(&Event::Drain), "{recorded:?}");
    }

    /// Keeps what arrives.
    #[derive(Default)]
    struct Kept(Vec<Message>);

    impl Application for Kept {
        fn on_message(&mut self, _: &mut dyn Sockets, _: Peer, message: Message) {
            self.0.push(message);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_gets_messages_that_were_taken_ahead() {
        let mut socket = posted(THREE).await;
        assert_eq!(socket.recv().await, Some("a".into()));
        let host = Host::new(Runtime::new(TokioExecutor::new(), TokioTimer::new()), Kept::default());
        host.attach(socket);
        tokio::task::yield_now().await;
        assert_eq!(host.with(|kept| kept.0.clone()), ["b", "c"].map(Message::from));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_were_taken_ahead_are_among_the_events() {
        let mut socket = posted(THREE).await;
        assert_eq!(socket.recv().await, Some("a".into()));
        let mut events = socket.events();
        for text in ["b", "c"] {
            assert_eq!(events.next().await, Some(Event::Message(Message::from(text))));
        }
    }
}
