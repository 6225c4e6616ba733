//! A server for the tests, with its application.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::watch;

use crate::adapter::mount::HyperService;
use crate::adapter::{Builder, CloseReason, Server, Socket};
use crate::raw::within;
use crate::runtime;

/// Intervals that are longer than any test.
pub(crate) fn builder() -> Builder {
    crate::adapter::builder().ping_interval(HOUR).ping_timeout(HOUR).upgrade_timeout(HOUR)
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A server on a free port. Tests can wait for the number of requests that it holds.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) addr: SocketAddr,
    pub(crate) server: Server,
    held: watch::Receiver<usize>,
}

impl Host {
    pub(crate) async fn start(builder: Builder) -> Self {
        let server = builder.build().expect("the options make sense");
        let (listener, addr) = runtime::bind().await;
        let (held, watched) = watch::channel(0);
        runtime::spawn(listen(listener, server.clone(), held));
        Self { addr, server, held: watched }
    }

    /// An application that echoes every message.
    pub(crate) async fn echo(builder: Builder) -> Self {
        let host = Self::start(builder).await;
        tokio::spawn(echo(host.server.clone()));
        host
    }

    pub(crate) async fn accept(&self) -> Socket {
        within(self.server.accept()).await
    }

    /// Waits until exactly this many requests are held.
    pub(crate) async fn holds(&self, requests: usize) {
        let mut held = self.held.clone();
        within(held.wait_for(|held| *held == requests)).await.expect("the server runs");
    }
}

pub(crate) async fn echo(server: Server) {
    loop {
        let mut socket = server.accept().await;
        tokio::spawn(async move {
            while let Some(message) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Waits for the end of a session.
pub(crate) async fn reason(socket: &Socket) -> CloseReason {
    within(socket.closed()).await
}

/// The server's reports of rejected requests: code, message, context.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<(u8, String, String)>>>);

impl Reports {
    /// Records the reports of a server here.
    pub(crate) fn of(&self, builder: Builder) -> Builder {
        let reports = self.clone();
        builder.on_connection_error(move |error| {
            let report = (error.code() as u8, error.message().to_owned(), error.rejection.to_string());
            reports.0.lock().expect("nobody panics here").push(report);
        })
    }

    /// Takes the reports since the last call.
    pub(crate) fn take(&self) -> Vec<(u8, String, String)> {
        std::mem::take(&mut self.0.lock().expect("nobody panics here"))
    }
}

async fn listen(listener: runtime::TcpListener, server: Server, held: watch::Sender<usize>) {
    while let Ok((stream, addr)) = listener.accept().await {
        let service = Tap { service: HyperService::new(server.clone(), Some(addr)), held: held.clone() };
        runtime::spawn(server.serve_connection(stream, service));
    }
}

/// The service of a connection, and the number of its requests that are not answered at once.
struct Tap {
    service: HyperService,
    held: watch::Sender<usize>,
}

type Request = hyper::Request<Incoming>;

impl Service<Request> for Tap {
    type Response = <HyperService as Service<Request>>::Response;
    type Error = <HyperService as Service<Request>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request) -> Self::Future {
        let mut answer = self.service.call(request);
        let held = self.held.clone();
        Box::pin(async move {
            if let Some(answer) = (&mut answer).now_or_never() {
                return answer;
            }
            let _held = Held::new(held);
            answer.await
        })
    }
}

struct Held(watch::Sender<usize>);

impl Held {
    fn new(held: watch::Sender<usize>) -> Self {
        held.send_modify(|held| *held += 1);
        Self(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}
