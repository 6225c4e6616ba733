//! A service that tells its connection what becomes of a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::connection::{Current, Stage};
use crate::body::ReplyBody;

/// The service of one connection.
pub(crate) struct Observed<S> {
    service: S,
    current: Arc<Current>,
}

impl<S> Observed<S> {
    pub(crate) const fn new(service: S, current: Arc<Current>) -> Self {
        Self { service, current }
    }
}

impl<S> Service<Request<Incoming>> for Observed<S>
where
    S: Service<Request<Incoming>, Response = Response<ReplyBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.current.set(Stage::Asked);
        Answering { answer: self.service.call(request), current: Arc::clone(&self.current) }
    }
}

pin_project! {
    /// The answer to one request.
    pub(crate) struct Answering<F> {
        #[pin]
        answer: F,
        current: Arc<Current>,
    }
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<ReplyBody>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.answer.poll(cx);
        match &polled {
            Poll::Pending => this.current.set(Stage::Held),
            Poll::Ready(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                this.current.set(Stage::Switching);
            }
            Poll::Ready(Ok(response)) => this.current.answered(response.body().session()),
            // hyper drops the connection.
            Poll::Ready(Err(_)) => (),
        }
        // The connection keeps the data of an answer until it is written, so nothing need be held back.
        polled.map_ok(|response| response.map(ReplyBody::in_one_piece))
    }
}
