//! One HTTP request that waits for its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use engineio_proto::{ExchangeId, Input, Instant, Rejection, Response, SessionKey};

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
