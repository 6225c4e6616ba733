//! One HTTP request that waits for its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use engineio_proto::server::{BodyError, Config, Entry, Input, NotAdmitted};
use engineio_proto::{ExchangeId, http as proto};

use super::session::{Answer, Served, answered};
use crate::body::Delivery;
use crate::session::{Cell, Visit};

/// Waits for an answer. Its owner keeps the server alive, whose timer drives the session. If it is dropped before the
/// answer comes, the session learns that the peer is gone.
pub(crate) struct Waiting {
    cell: Arc<Cell<Served>>,
    exchange: ExchangeId,
    /// The answer, if it came at once.
    answer: Option<Answer>,
    answered: bool,
    /// The task was registered when the request entered, so its first poll need not visit the session.
    registered: bool,
}

impl Waiting {
    /// Passes a request to its session, with the body of a POST if that was read already, and registers the task for the
    /// answer.
    ///
    /// # Errors
    /// Returns an error if the request is not valid for the session, or if the session has ended since it was looked
    /// up.
    pub(crate) fn enter(
        config: &Config,
        cell: Arc<Cell<Served>>,
        request: &proto::SessionRequest,
        octet_stream: bool,
        body: Option<Result<Bytes, BodyError>>,
        cx: &Context<'_>,
    ) -> Result<Self, NotAdmitted> {
        let enter = |visit: &mut Visit<'_, Served>| {
            let now = visit.now();
            let exchange = ExchangeId(visit.side.next_number());
            let Some(session) = visit.side.session_mut() else {
                return Err(NotAdmitted::Rejected(proto::Rejection::UnknownSid));
            };
            request.enter(session, config, now, Entry::Exchange { exchange, octet_stream })?;
            if let Some(body) = body {
                session.handle_input(now, Input::PostBody { exchange, body });
            }
            visit.side.open_exchange(exchange);
            Ok(exchange)
        };
        let (exchange, answer) = cell.visit_then(enter, |visit, entered| {
            entered.map(|exchange| (exchange, visit.side.poll_answer(exchange, cx, visit.deferred)))
        })?;
        Ok(Self::new(cell, exchange, answer))
    }

    /// Returns the exchange that has opened a session. It is open since the server knows the session.
    pub(crate) fn first(cell: Arc<Cell<Served>>, cx: &Context<'_>) -> Self {
        let exchange = Served::FIRST_EXCHANGE;
        let answer = cell.visit_then(|_| (), |visit, ()| visit.side.poll_answer(exchange, cx, visit.deferred));
        Self::new(cell, exchange, answer)
    }

    fn new(cell: Arc<Cell<Served>>, exchange: ExchangeId, answer: Poll<Answer>) -> Self {
        let (answer, answered) = match answer {
            Poll::Ready(answer) => (Some(answer), true),
            Poll::Pending => (None, false),
        };
        Self { cell, exchange, answer, answered, registered: true }
    }

    /// Returns whether the answer has come.
    pub(crate) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Passes another input of the same exchange, which may produce the answer. If the answer came before the input, the
    /// input is dropped.
    pub(crate) fn input(&mut self, input: impl FnOnce(ExchangeId) -> Input) {
        if self.answered {
            return;
        }
        let exchange = self.exchange;
        let pass = |visit: &mut Visit<'_, Served>| {
            let answer = visit.side.take_answer(exchange);
            if answer.is_none() {
                let now = visit.now();
                if let Some(session) = visit.side.session_mut() {
                    session.handle_input(now, input(exchange));
                }
            }
            answer
        };
        self.answer = self.cell.visit_then(pass, |visit, answer| answer.or_else(|| visit.side.take_answer(exchange)));
        self.answered = self.answer.is_some();
    }

    /// Returns an observer that learns whether the answer was written.
    pub(crate) fn delivery(&self) -> Delivery {
        Delivery::new(answered(&self.cell), self.exchange)
    }
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        if let Some(answer) = this.answer.take() {
            return Poll::Ready(answer);
        }
        if std::mem::take(&mut this.registered) {
            return Poll::Pending;
        }
        let answer = this.cell.visit(|visit| visit.side.poll_answer(this.exchange, cx, visit.deferred));
        this.answered = answer.is_ready();
        answer
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            self.cell.visit(|visit| {
                let now = visit.now();
                visit.side.close_exchange(self.exchange, visit.deferred);
                if let Some(session) = visit.side.session_mut() {
                    session.handle_input(now, Input::ExchangeLost { exchange: self.exchange });
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    use bytes::Bytes;
    use engineio_proto::{CloseReason, TransportError};
    use http::Request;
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use crate::rt::Runtime;
    use crate::{Builder, Server};

    async fn get(server: &Server, target: String) -> http::Response<crate::mount::ReplyBody> {
        let request = Request::builder().uri(target).body(Empty::<Bytes>::new()).unwrap();
        server.handle(request).await.unwrap()
    }

    #[tokio::test]
    async fn r79_an_answer_that_nobody_takes_ends_the_session() {
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        let opened = get(&server, "/engine.io/?EIO=4&transport=polling".into()).await;
        assert!(opened.collect().await.unwrap().to_bytes().starts_with(b"0{"));
        let socket = server.accept().await;
        let target = format!("/engine.io/?EIO=4&transport=polling&sid={}", socket.id());

        socket.send("a").await.unwrap();
        let taken = get(&server, target.clone()).await;
        assert_eq!(taken.collect().await.unwrap().to_bytes(), "4a");
        assert!(socket.is_open());

        socket.send("b").await.unwrap();
        let lost = get(&server, target).await;
        assert_eq!(lost.body().size_hint().exact(), Some(2));
        drop(lost);
        assert_eq!(socket.close_reason(), Some(CloseReason::TransportError(TransportError::PollLost)));
    }

    /// Sends to all sessions when it is woken.
    struct Broadcasts(Server);

    impl Wake for Broadcasts {
        fn wake(self: Arc<Self>) {
            self.0.broadcast("x");
        }
    }

    /// Another thread can visit a session as soon as the server knows it. The answer to the handshake was lost if that
    /// happened before its request began to wait for it.
    #[tokio::test(start_paused = true)]
    async fn the_answer_to_a_handshake_is_not_lost_to_who_visits_the_session_first() {
        let target = "/engine.io/?EIO=4&transport=polling";
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let server = Builder::new(runtime).max_sessions(1).build().unwrap();
        get(&server, target.into()).await.collect().await.unwrap().to_bytes();
        let first = server.accept().await;
        // It is evicted by the next handshake, when that session has a place already.
        let waker = Waker::from(Arc::new(Broadcasts(server.clone())));
        let mut closed = pin!(first.closed());
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        tokio::time::sleep(server.config().evict_after()).await;
        let opened = tokio::time::timeout(Duration::from_secs(3600), get(&server, target.into())).await;
        assert!(opened.unwrap().collect().await.unwrap().to_bytes().starts_with(b"0{"));
        assert!(first.close_reason().is_some());
        assert_eq!(server.accept().await.send_buffered(), "x".len() + engineio_proto::Message::OVERHEAD);
    }
}
