//! A service that a server serves beside itself.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tower_service::Service;

use crate::adapter::mount::RemoteAddr;
use crate::raw::ACCEPT;

/// Answers `/` with the address of the client, and `/late` when it is told to. Upgrades `/echo` to a connection that
/// returns all bytes.
#[derive(Clone, Debug)]
pub struct App {
    /// The number of requests for `/late` that wait, and whether they may be answered.
    late: watch::Sender<(usize, bool)>,
}

impl App {
    pub(crate) fn new() -> Self {
        Self { late: watch::Sender::default() }
    }

    /// Waits for a request for `/late`.
    pub(crate) async fn is_asked(&self) {
        let mut late = self.late.subscribe();
        crate::raw::within(late.wait_for(|late| late.0 > 0)).await.expect("there is a sender");
    }

    /// Answers the requests for `/late`.
    pub(crate) fn answer(&self) {
        self.late.send_modify(|late| late.1 = true);
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer
}

impl Service<Request<Incoming>> for App {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let late = self.late.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/" => {
                    let addr = request.extensions().get::<RemoteAddr>().map(|addr| addr.0.to_string());
                    answer(StatusCode::OK, addr.unwrap_or_default())
                }
                "/late" => {
                    late.send_modify(|late| late.0 += 1);
                    let _ = late.subscribe().wait_for(|late| late.1).await;
                    answer(StatusCode::OK, "late")
                }
                "/echo" => {
                    let upgrade = hyper::upgrade::on(&mut request);
                    crate::runtime::spawn(async move {
                        if let Ok(io) = upgrade.await {
                            let (mut read, mut write) = tokio::io::split(TokioIo::new(io));
                            let _ = tokio::io::copy(&mut read, &mut write).await;
                        }
                    });
                    let mut answer = answer(StatusCode::SWITCHING_PROTOCOLS, "");
                    for (name, value) in
                        [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", ACCEPT)]
                    {
                        answer.headers_mut().insert(name, http::HeaderValue::from_static(value));
                    }
                    answer
                }
                _ => answer(StatusCode::NOT_FOUND, "not here"),
            })
        })
    }
}
