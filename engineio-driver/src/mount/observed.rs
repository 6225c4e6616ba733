//! A service that tells its connection what becomes of a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::connection::{Current, Stage};
use crate::body::ReplyBody;

/// An answer that a connection can write, and watch while it does.
pub(crate) trait Answer {
    /// The body that is written.
    type Body: Body;

    /// Tells the connection what is written.
    fn observe(self, current: &Arc<Current>) -> Response<Self::Body>;
}

impl Answer for Response<ReplyBody> {
    type Body = ReplyBody;

    fn observe(mut self, current: &Arc<Current>) -> Self {
        current.answered(self.body().session());
        // The connection keeps the data of an answer until it is written, so nothing need be held back.
        self.body_mut().keep_in_one_piece();
        self
    }
}

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

impl<S, B> Service<Request<Incoming>> for Observed<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    Response<B>: Answer,
{
    type Response = Response<<Response<B> as Answer>::Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.current.set(Stage::Asked);
        let is_connect = request.method() == Method::CONNECT;
        Answering { answer: self.service.call(request), current: Arc::clone(&self.current), is_connect }
    }
}

pin_project! {
    /// The answer to one request.
    pub(crate) struct Answering<F> {
        #[pin]
        answer: F,
        current: Arc<Current>,
        is_connect: bool,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    Response<B>: Answer,
{
    type Output = Result<Response<<Response<B> as Answer>::Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.answer.poll(cx);
        if polled.is_pending() {
            this.current.set(Stage::Held);
        }
        // After an error, hyper drops the connection.
        polled.map_ok(|response| {
            let status = response.status();
            let response = response.observe(this.current);
            if status == StatusCode::SWITCHING_PROTOCOLS || (*this.is_connect && status.is_success()) {
                this.current.set(Stage::Switching);
            }
            response
        })
    }
}
