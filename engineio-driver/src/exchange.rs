//! One HTTP request that waits for its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engineio_proto::http::{Rejection, Response};
use engineio_proto::server::{Input, SessionKey};
use engineio_proto::{ExchangeId, Instant};

use crate::server::Inner;
use crate::shard::{Answer, Core};

/// Waits for the answer. Dropped before it came, it tells the session that the peer is gone.
#[derive(Debug)]
pub(crate) struct Waiting {
    inner: Arc<Inner>,
    shard: usize,
    key: SessionKey,
    exchange: ExchangeId,
    answered: bool,
}

impl Waiting {
    /// Opens an exchange with its first input.
    pub(crate) fn open(
        inner: &Arc<Inner>,
        shard: usize,
        key: SessionKey,
        input: impl FnOnce(ExchangeId) -> Input,
    ) -> Self {
        let exchange = inner.with(shard, |core, now| {
            let exchange = core.open_exchange();
            if let Some(mut session) = core.server.session_mut(key) {
                session.handle_input(now, input(exchange));
            } else if let Some(place) = core.exchange(exchange) {
                // It ended since it was found.
                place.answer = Some(Answer::Response(Response::Rejected(Rejection::UnknownSid)));
            }
            exchange
        });
        Self { inner: Arc::clone(inner), shard, key, exchange, answered: false }
    }

    /// A further input of the same exchange.
    pub(crate) fn input(&self, input: impl FnOnce(ExchangeId) -> Input) {
        self.inner.with(self.shard, |core, now| {
            if let Some(mut session) = core.server.session_mut(self.key) {
                session.handle_input(now, input(self.exchange));
            }
        });
    }

    /// Something that learns whether the answer was taken.
    pub(crate) fn delivery(&self) -> Delivery {
        Delivery {
            inner: Arc::clone(&self.inner),
            shard: self.shard,
            key: self.key,
            exchange: self.exchange,
            taken: false,
        }
    }
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let answer = this.inner.with(this.shard, |core, _| {
            let place = core.exchange(this.exchange)?;
            if place.answer.is_some() {
                return core.close_exchange(this.exchange)?.answer;
            }
            if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                place.waker = Some(cx.waker().clone());
            }
            None
        });
        match answer {
            Some(answer) => {
                this.answered = true;
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            self.inner.with(self.shard, |core, now| {
                core.close_exchange(self.exchange);
                lose(core, now, self.key, self.exchange);
            });
        }
    }
}

/// Dropped before the answer was taken, it tells the session that the answer is lost.
#[derive(Debug)]
pub(crate) struct Delivery {
    inner: Arc<Inner>,
    shard: usize,
    key: SessionKey,
    exchange: ExchangeId,
    taken: bool,
}

impl Delivery {
    pub(crate) fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.taken {
            self.inner.with(self.shard, |core, now| lose(core, now, self.key, self.exchange));
        }
    }
}

fn lose(core: &mut Core, now: Instant, key: SessionKey, exchange: ExchangeId) {
    if let Some(mut session) = core.server.session_mut(key) {
        session.handle_input(now, Input::ExchangeLost { exchange });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engineio_proto::{CloseReason, TransportError};
    use http::Request;
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::{TokioExecutor, TokioTimer};

    use crate::{Builder, Runtime, Server};

    async fn get(server: &Server, target: String) -> http::Response<crate::ReplyBody> {
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
}
