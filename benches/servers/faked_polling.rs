//! HTTP long-polling, faked just enough for the load generator: the body of a POST is the body of the next GET, undecoded.
//! The same for tokio and smol.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engineio_benches::open_packet;
use futures::channel::oneshot;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

/// All sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    sessions: Mutex<HashMap<u64, Session>>,
}

/// The body that waits for a GET, or the GET that waits for a body.
#[derive(Debug)]
enum Session {
    Idle,
    Body(Bytes),
    Held(oneshot::Sender<Bytes>),
}

impl Sessions {
    /// Answers a request.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
        let sid = request.uri().query().and_then(|query| query.rsplit_once("sid=")).map(|(_, sid)| sid.parse::<u64>());
        let sid = match sid {
            None => return Ok(text(self.open())),
            Some(Ok(sid)) => sid,
            Some(Err(_)) => return Ok(unknown()),
        };
        if request.method() == Method::POST {
            let body = request.into_body().collect().await?.to_bytes();
            return Ok(if self.post(sid, body) { text("ok") } else { unknown() });
        }
        let held = match self.poll(sid) {
            None => return Ok(unknown()),
            Some(Ok(body)) => return Ok(text(body)),
            Some(Err(held)) => held,
        };
        Ok(held.await.map_or_else(|_| unknown(), text))
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<u64, Session>) -> T) -> T {
        work(&mut self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self) -> String {
        let sid = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.with(|sessions| sessions.insert(sid, Session::Idle));
        open_packet(sid)
    }

    fn post(&self, sid: u64, body: Bytes) -> bool {
        self.with(|sessions| {
            if body == "1" {
                return sessions.remove(&sid).is_some();
            }
            let Some(session) = sessions.get_mut(&sid) else { return false };
            match std::mem::replace(session, Session::Idle) {
                Session::Held(poll) => drop(poll.send(body)),
                Session::Idle | Session::Body(_) => *session = Session::Body(body),
            }
            true
        })
    }

    fn poll(&self, sid: u64) -> Option<Result<Bytes, oneshot::Receiver<Bytes>>> {
        self.with(|sessions| {
            let session = sessions.get_mut(&sid)?;
            Some(match std::mem::replace(session, Session::Idle) {
                Session::Body(body) => Ok(body),
                Session::Idle | Session::Held(_) => {
                    let (sender, receiver) = oneshot::channel();
                    *session = Session::Held(sender);
                    Err(receiver)
                }
            })
        })
    }
}

fn text(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

fn unknown() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
