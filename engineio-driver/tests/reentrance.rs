//! Values of the application are woken and dropped when no lock is held: a destructor or a waker may call the session
//! that it comes from.
//!
//! Each path runs on a separate thread with a deadline, so that a deadlock fails instead of hanging.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use engineio_driver::mount::HyperService;
use engineio_driver::net::{BoxIo, Endpoint};
use engineio_driver::rt::Runtime;
use engineio_driver::{
    Builder, ClientBuilder, CloseReason, Handle, Message, Overflow, SendError, Server, Socket, TransportError,
};
use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

const DEADLINE: Duration = Duration::from_secs(30);
const TARGET: &str = "/engine.io/?EIO=4&transport=polling";
const MS: Duration = Duration::from_millis(1);

/// Calls everything that takes the lock of a session.
fn call_back(handle: &Handle) {
    let _ = (handle.stats(), handle.phase(), handle.close_reason(), handle.close_details(), handle.send_buffered());
    let _ = handle.try_send("from a destructor");
}

/// A value whose destructor calls a session.
#[derive(Clone)]
struct Caller(Arc<Call>);

struct Call {
    handle: Handle,
    ends: Arc<AtomicUsize>,
}

impl Drop for Call {
    fn drop(&mut self) {
        call_back(&self.handle);
        self.ends.fetch_add(1, Ordering::SeqCst);
    }
}

impl AsRef<[u8]> for Caller {
    fn as_ref(&self) -> &[u8] {
        b"data"
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        call_back(&self.0.handle);
    }
}

/// Counts how often a destructor ran.
#[derive(Clone, Default)]
struct Ends(Arc<AtomicUsize>);

impl Ends {
    fn caller(&self, handle: &Handle) -> Caller {
        Caller(Arc::new(Call { handle: handle.clone(), ends: Arc::clone(&self.0) }))
    }

    fn message(&self, handle: &Handle) -> Message {
        Message::from(Bytes::from_owner(self.caller(handle)))
    }

    fn waker(&self, handle: &Handle) -> Waker {
        Waker::from(Arc::new(self.caller(handle)))
    }

    #[track_caller]
    fn assert(&self, count: usize) {
        assert_eq!(self.0.load(Ordering::SeqCst), count, "destructors that ran");
    }
}

fn on_a_thread<F: Future<Output = ()>>(path: impl FnOnce(Ends) -> F + Send + 'static) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(path(Ends::default()));
        drop(runtime);
        done.send(()).unwrap();
    });
    match wait.recv_timeout(DEADLINE) {
        Ok(()) => (),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a deadlock"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the path has failed"),
    }
}

fn builder() -> Builder {
    Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new()))
}

type Answer = http::Response<engineio_driver::mount::ReplyBody>;

fn get(server: &Server, target: &str) -> impl Future<Output = Answer> + Send + 'static {
    let request = Request::builder().uri(target).body(Empty::<Bytes>::new()).unwrap();
    let answer = server.handle(request);
    async { answer.await.unwrap() }
}

async fn open(server: &Server) -> Socket {
    let answer = get(server, TARGET).await;
    assert!(answer.collect().await.unwrap().to_bytes().starts_with(b"0{"));
    server.accept().await
}

fn own(socket: &Handle) -> String {
    format!("{TARGET}&sid={}", socket.id().as_str())
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn an_abort_with_something_unsent() {
    on_a_thread(|ends| async move {
        let socket = open(&builder().build().unwrap()).await;
        socket.try_send(ends.message(&socket)).unwrap();
        socket.abort();
        ends.assert(1);
    });
}

#[test]
fn an_abort_of_all_sessions() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        socket.try_send(ends.message(&socket)).unwrap();
        server.abort_all();
        ends.assert(1);
    });
}

#[test]
fn an_orderly_end_that_takes_too_long() {
    on_a_thread(|ends| async move {
        let socket = open(&builder().close_timeout(20 * MS).build().unwrap()).await;
        socket.try_send(ends.message(&socket)).unwrap();
        socket.close();
        assert_eq!(socket.closed().await, CloseReason::TransportError(TransportError::CloseTimeout));
        ends.assert(1);
    });
}

#[test]
fn a_socket_that_is_dropped_and_then_lost() {
    on_a_thread(|ends| async move {
        let socket = open(&builder().close_timeout(20 * MS).build().unwrap()).await;
        let handle = socket.handle();
        handle.try_send(ends.message(&handle)).unwrap();
        drop(socket);
        handle.closed().await;
        ends.assert(1);
    });
}

#[test]
fn a_heartbeat_that_is_missed() {
    on_a_thread(|ends| async move {
        let socket = open(&builder().ping_interval(20 * MS).ping_timeout(20 * MS).build().unwrap()).await;
        socket.try_send(ends.message(&socket)).unwrap();
        assert_eq!(socket.closed().await, CloseReason::PingTimeout);
        ends.assert(1);
    });
}

#[test]
fn an_answered_request_that_is_dropped() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        let mut held = Box::pin(get(&server, &own(&socket)));
        assert!(poll_once(held.as_mut(), Waker::noop()).is_pending());
        socket.try_send(ends.message(&socket)).unwrap();
        // Its answer is ready, and was not taken.
        drop(held);
        ends.assert(1);
        assert_eq!(socket.close_reason(), Some(CloseReason::TransportError(TransportError::PollLost)));
    });
}

#[test]
fn a_request_that_waits_and_is_dropped_with_its_waker() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        let mut held = Box::pin(get(&server, &own(&socket)));
        assert!(poll_once(held.as_mut(), &ends.waker(&socket)).is_pending());
        ends.assert(0);
        // It replaces the earlier one, whose destructor sends a message, so that it is woken at once.
        assert!(poll_once(held.as_mut(), &ends.waker(&socket)).is_pending());
        ends.assert(2);
        drop(held);
        let mut held = Box::pin(get(&server, &own(&socket)));
        assert!(poll_once(held.as_mut(), &ends.waker(&socket)).is_ready(), "the session has ended");
        let socket = open(&server).await;
        let mut held = Box::pin(get(&server, &own(&socket)));
        assert!(poll_once(held.as_mut(), &ends.waker(&socket)).is_pending());
        drop(held);
        ends.assert(4);
    });
}

#[test]
fn a_request_that_waits_and_is_answered() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        let mut held = Box::pin(get(&server, &own(&socket)));
        assert!(poll_once(held.as_mut(), &ends.waker(&socket)).is_pending());
        socket.try_send("a").unwrap();
        ends.assert(1);
        assert!(held.await.collect().await.unwrap().to_bytes().starts_with(b"4a"));
    });
}

#[test]
fn an_answer_that_is_lost() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        socket.try_send(ends.message(&socket)).unwrap();
        drop(get(&server, &own(&socket)).await);
        ends.assert(1);
        assert_eq!(socket.close_reason(), Some(CloseReason::TransportError(TransportError::PollLost)));
    });
}

#[test]
fn an_answer_that_is_written() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        socket.try_send(ends.message(&socket)).unwrap();
        assert_eq!(get(&server, &own(&socket)).await.collect().await.unwrap().to_bytes(), "bZGF0YQ==");
        ends.assert(1);
        assert_eq!((socket.stats().messages_written, socket.send_buffered() > 0), (1, true));
    });
}

#[test]
fn a_buffer_that_overflows() {
    on_a_thread(|ends| async move {
        let server = builder().send_buffer(1, 0).overflow(Overflow::Close).build().unwrap();
        let socket = open(&server).await;
        socket.try_send(ends.message(&socket)).unwrap();
        let refused = socket.try_send(ends.message(&socket));
        // The buffered message was dropped with the session, and the other one was returned.
        ends.assert(1);
        assert!(matches!(refused, Err(SendError::Closed(_))));
        drop(refused);
        ends.assert(2);
    });
}

#[test]
fn a_message_that_waits_for_room() {
    on_a_thread(|ends| async move {
        let server = builder().send_buffer(1, 0).build().unwrap();
        let socket = open(&server).await;
        socket.try_send("full").unwrap();
        let mut waiting = Box::pin(socket.send(ends.message(&socket)));
        assert!(poll_once(waiting.as_mut(), &ends.waker(&socket)).is_pending());
        assert!(poll_once(waiting.as_mut(), &ends.waker(&socket)).is_pending());
        drop(waiting);
        ends.assert(3);
        // The same for several messages, and the session ends meanwhile.
        let mut waiting = Box::pin(socket.send_all(vec![ends.message(&socket)]));
        assert!(poll_once(waiting.as_mut(), &ends.waker(&socket)).is_pending());
        socket.abort();
        drop(waiting.await);
        ends.assert(5);
    });
}

#[test]
fn a_broadcast() {
    on_a_thread(|ends| async move {
        let server = builder().send_buffer(1, 0).build().unwrap();
        let (full, socket) = (open(&server).await, open(&server).await);
        full.try_send("full").unwrap();
        let outcome = server.broadcast(ends.message(&full));
        assert_eq!((outcome.sent, outcome.full), (1, 1));
        socket.abort();
        ends.assert(1);
    });
}

#[test]
fn those_who_wait_and_are_woken_or_replaced() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let mut socket = open(&server).await;
        let handle = socket.handle();
        {
            let (mut closed, mut recv) = (pin!(handle.closed()), pin!(socket.recv()));
            for count in [0, 1, 2] {
                assert!(poll_once(recv.as_mut(), &ends.waker(&handle)).is_pending());
                // The last waker is kept, and the previous one is dropped.
                ends.assert(count);
            }
            assert!(poll_once(closed.as_mut(), &ends.waker(&handle)).is_pending());
            handle.try_send("something").unwrap();
            let mut flush = Box::pin(handle.flush());
            assert!(poll_once(flush.as_mut(), &ends.waker(&handle)).is_pending());
            drop(flush);
        }
        handle.abort();
        drop(socket);
        ends.assert(5);
    });
}

/// A socket remembers who waits. If that one was woken before, nobody else has its waker.
#[test]
fn one_who_was_woken_and_is_replaced() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let mut socket = open(&server).await;
        let handle = socket.handle();
        assert!(poll_once(pin!(socket.recv()), &ends.waker(&handle)).is_pending());
        ends.assert(0);
        assert_eq!(ends.post(&server, &handle, "4a").await, Some(200));
        // The body is gone.
        ends.assert(1);
        assert_eq!(poll_once(pin!(socket.recv()), Waker::noop()), Poll::Ready(Some("a".into())));
        ends.assert(2);
    });
}

#[test]
fn events_that_are_waited_for() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        let handle = socket.handle();
        let mut events = socket.events();
        for count in [0, 1] {
            assert!(poll_once(pin!(events.next()), &ends.waker(&handle)).is_pending());
            ends.assert(count);
        }
        handle.try_send("a").unwrap();
        get(&server, &own(&handle)).await.collect().await.unwrap().to_bytes();
        // It was woken, but the events keep it, to find out whether they are already waited for.
        ends.assert(1);
        drop(events);
        ends.assert(2);
    });
}

#[test]
fn those_who_wait_for_sessions() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let first = open(&server).await;
        let mut accept = Box::pin(server.accept());
        assert!(poll_once(accept.as_mut(), &ends.waker(&first)).is_pending());
        get(&server, TARGET).await.collect().await.unwrap().to_bytes();
        // The future keeps it, to find it in the list, until it is polled or dropped.
        ends.assert(0);
        assert_eq!(accept.await.id().len(), 20);
        ends.assert(1);
    });
}

#[test]
fn a_websocket_whose_client_reads_nothing() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let (mut client, io) = tokio::io::duplex(256);
        let service = HyperService::new(server.clone(), None);
        tokio::spawn(server.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
        let head = "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut client, head.as_bytes()).await.unwrap();
        let socket = server.accept().await;
        // More than is written ahead.
        socket.try_send(vec![0; 200_000]).unwrap();
        socket.try_send(ends.message(&socket)).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(client);
        socket.closed().await;
        ends.assert(1);
    });
}

/// A value in the head of a request.
#[derive(Clone)]
struct Extension(Arc<Mutex<Option<Server>>>, Arc<AtomicUsize>);

impl Drop for Extension {
    fn drop(&mut self) {
        if let Some(server) = &*self.0.lock().unwrap() {
            let _ = (server.len(), server.sessions());
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn the_head_of_the_first_request() {
    on_a_thread(|_| async move {
        let server = builder().build().unwrap();
        let (place, drops) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let extension = Extension(Arc::clone(&place), Arc::clone(&drops));
        let request = Request::builder().uri(TARGET).extension(extension).body(Empty::<Bytes>::new()).unwrap();
        server.handle(request).await.unwrap().collect().await.unwrap().to_bytes();
        let socket = server.accept().await;
        let handle = socket.handle();
        *place.lock().unwrap() = Some(server.clone());
        drop(socket);
        drop(handle);
        assert_eq!(drops.load(Ordering::SeqCst), 0, "the session is still there");
        server.abort_all();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        // A rejected request.
        let extension = Extension(Arc::clone(&place), Arc::clone(&drops));
        server.shutdown().await;
        let request = Request::builder().uri(TARGET).extension(extension).body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(server.handle(request).await.unwrap().status(), 503);
        assert!(drops.load(Ordering::SeqCst) > 1);
        place.lock().unwrap().take();
    });
}

#[test]
fn a_server_that_is_dropped() {
    on_a_thread(|_| async move {
        // With a handle there would still be a server.
        struct Last(Arc<AtomicUsize>);
        impl AsRef<[u8]> for Last {
            fn as_ref(&self) -> &[u8] {
                b"data"
            }
        }
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        socket.try_send(Bytes::from_owner(Last(Arc::clone(&drops)))).unwrap();
        drop(socket);
        assert_eq!(drops.load(Ordering::SeqCst), 0);
        drop(server);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

async fn connect(server: &Server) -> Socket {
    let server = server.clone();
    let connector = move |_: &str, _: u16| {
        let (client, io) = tokio::io::duplex(64 * 1024);
        let service = HyperService::new(server.clone(), None);
        tokio::spawn(server.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
        std::future::ready(Ok::<_, std::io::Error>(Box::new(TokioIo::new(client)) as BoxIo))
    };
    let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
    let endpoint = Endpoint::parse("http://localhost").unwrap();
    ClientBuilder::new(runtime, endpoint, connector).upgrade(false).build().unwrap().connect().await.unwrap()
}

#[test]
fn a_client_that_aborts() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = connect(&server).await;
        // The first one leaves with a POST, the second one waits for its answer.
        socket.try_send(ends.message(&socket)).unwrap();
        socket.try_send(ends.message(&socket)).unwrap();
        socket.abort();
        drop(server.accept().await);
        socket.closed().await;
        while ends.0.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_client_whose_server_is_gone() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = connect(&server).await;
        let mut waiting = Box::pin(socket.closed());
        assert!(poll_once(waiting.as_mut(), &ends.waker(&socket)).is_pending());
        socket.try_send(ends.message(&socket)).unwrap();
        server.abort_all();
        waiting.await;
        while ends.0.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_client_whose_runtime_ends() {
    let ends = Ends::default();
    let counted = ends.clone();
    on_a_thread(move |_| async move {
        let server = builder().build().unwrap();
        let socket = connect(&server).await;
        socket.try_send(counted.message(&socket)).unwrap();
        // It waits for the POST of the first one.
        socket.try_send(counted.message(&socket)).unwrap();
        std::mem::forget(server);
    });
    ends.assert(2);
}

#[test]
fn a_post_whose_session_ends() {
    on_a_thread(|ends| async move {
        let server = builder().build().unwrap();
        let socket = open(&server).await;
        let body = http_body_util::StreamBody::new(Never);
        let request = Request::builder().method("POST").uri(own(&socket)).body(body).unwrap();
        let mut post = Box::pin(server.handle(request));
        for count in [0, 1] {
            assert!(poll_once(post.as_mut(), &ends.waker(&socket)).is_pending());
            ends.assert(count);
        }
        socket.abort();
        ends.assert(2);
        assert!(post.await.is_err());
        let request = Request::builder().method("POST").uri(own(&socket)).body(Full::new(Bytes::from("4a"))).unwrap();
        assert_eq!(server.handle(request).await.unwrap().status(), 400);
    });
}

struct Never;

impl futures_core::Stream for Never {
    type Item = Result<http_body::Frame<Bytes>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

/// A body in memory of the application.
struct Part(&'static str, #[allow(dead_code)] Caller);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Ends {
    /// A POST whose body is in the application's memory.
    fn post(&self, server: &Server, handle: &Handle, body: &'static str) -> impl Future<Output = Option<u16>> + use<> {
        let body = Bytes::from_owner(Part(body, self.caller(handle)));
        let request = Request::builder().method("POST").uri(own(handle)).body(Full::new(body)).unwrap();
        let answer = server.handle(request);
        async { answer.await.ok().map(|answer| answer.status().as_u16()) }
    }
}

/// The messages and the rest of a body that was received are dropped by the session: while it reads the body, when it ends, and
/// when its messages are taken.
#[test]
fn a_body_that_is_read_to_its_end_at_once() {
    for body in ["3", "bZGF0YQ==", "4a", "", "3\u{1e}6"] {
        on_a_thread(move |ends| async move {
            let server = builder().build().unwrap();
            let socket = open(&server).await;
            assert_eq!(
                ends.post(&server, &socket, body).await,
                Some(if body.is_empty() { 400 } else { 200 }),
                "{body}"
            );
            drop(socket);
            ends.assert(1);
        });
    }
}

#[test]
fn a_body_that_is_refused() {
    for body in ["x", "4a\u{1e}x", "2", "4a\u{1e}1\u{1e}4b"] {
        on_a_thread(move |ends| async move {
            let server = builder().build().unwrap();
            let socket = open(&server).await;
            assert!(ends.post(&server, &socket, body).await.is_some());
            assert!(socket.close_reason().is_some(), "{body}");
            drop(socket);
            ends.assert(1);
        });
    }
}

/// One message was taken up, and the others wait undecoded.
const SEVERAL: &str = "4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u{1e}4b\u{1e}4c";

#[test]
fn messages_that_nobody_takes() {
    let leave: [fn(&Server, Socket); 5] = [
        |_, socket| socket.abort(),
        |_, socket| socket.close(),
        |_, socket| drop(socket),
        |server, _socket| server.abort_all(),
        |_, socket| drop(socket.events()),
    ];
    for leave in leave {
        for room in [1, 100_000] {
            on_a_thread(move |ends| async move {
                let server = builder().receive_buffer(room).build().unwrap();
                let socket = open(&server).await;
                let mut post = Box::pin(ends.post(&server, &socket, SEVERAL));
                assert_eq!(poll_once(post.as_mut(), Waker::noop()).is_pending(), room == 1);
                leave(&server, socket);
                drop(post);
                ends.assert(1);
            });
        }
    }
}

#[test]
fn messages_that_are_taken_one_by_one() {
    on_a_thread(|ends| async move {
        let server = builder().receive_buffer(1).build().unwrap();
        let mut socket = open(&server).await;
        let mut post = Box::pin(ends.post(&server, &socket, "4a\u{1e}bZGF0YQ==\u{1e}3"));
        assert!(poll_once(post.as_mut(), Waker::noop()).is_pending());
        assert_eq!(socket.recv().await, Some("a".into()));
        assert_eq!(socket.recv().await, Some(Bytes::from("data").into()));
        assert_eq!(post.await, Some(200));
        ends.assert(1);
    });
}

#[test]
fn a_post_that_is_dropped_while_its_body_waits() {
    on_a_thread(|ends| async move {
        let server = builder().receive_buffer(1).build().unwrap();
        let socket = open(&server).await;
        let mut post = Box::pin(ends.post(&server, &socket, SEVERAL));
        assert!(poll_once(post.as_mut(), Waker::noop()).is_pending());
        drop(post);
        socket.abort();
        ends.assert(1);
    });
}

#[test]
fn a_second_post_beside_one_that_waits() {
    on_a_thread(|ends| async move {
        let server = builder().receive_buffer(1).build().unwrap();
        let socket = open(&server).await;
        let mut post = Box::pin(ends.post(&server, &socket, SEVERAL));
        assert!(poll_once(post.as_mut(), Waker::noop()).is_pending());
        assert!(ends.post(&server, &socket, "4a").await.is_some());
        drop((post, socket));
        // A task reads and forgets the second body.
        while ends.0.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    });
}
