//! Connections of clients that leave, send too much, or take nothing. The pipes are small, so that nothing is hidden by
//! the buffers of a kernel.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::time::Duration;

use engineio_driver::mount::Listener;
use engineio_driver::rt::Runtime;
use engineio_driver::{Builder, CloseReason, Server, Socket, TransportError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, advance, timeout};

const TARGET: &str = "/engine.io/?EIO=4&transport=polling";
const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
/// Bytes that a pipe holds.
const ROOM: usize = 1000;
const HOUR: Duration = Duration::from_secs(3600);

/// A listener with one connection.
struct One(Option<DuplexStream>);

impl Listener for One {
    type Io = TokioIo<DuplexStream>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
        match self.0.take() {
            Some(stream) => Ok((TokioIo::new(stream), None)),
            None => pending().await,
        }
    }
}

/// Options without heartbeats.
fn builder() -> Builder {
    let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
    Builder::new(runtime).ping_interval(HOUR).ping_timeout(HOUR)
}

fn connect(server: &Server) -> DuplexStream {
    connect_with(server, ROOM)
}

fn connect_with(server: &Server, room: usize) -> DuplexStream {
    let (client, stream) = tokio::io::duplex(room);
    server.listen(One(Some(stream))).detach();
    client
}

fn head(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

/// Reads the head of the answer, and returns its status.
async fn status(client: &mut DuplexStream) -> u16 {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let byte = client.read_u8().await;
        read.push(byte.unwrap_or_else(|_| panic!("it ends after {}", String::from_utf8_lossy(&read))));
    }
    String::from_utf8_lossy(&read)[9..12].parse().unwrap()
}

async fn rest(client: &mut DuplexStream) -> String {
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    String::from_utf8_lossy(&read).into_owned()
}

/// Opens a session by polling, on a connection of its own.
async fn open(server: &Server) -> (Socket, String) {
    let mut client = connect(server);
    client.write_all(head("GET", TARGET, "connection: close\r\n").as_bytes()).await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 200"));
    let socket = server.accept().await;
    let target = format!("{TARGET}&sid={}", socket.id().as_str());
    (socket, target)
}

/// A client that sends its whole body before it reads. No answer may reset the connection before that.
#[tokio::test(start_paused = true)]
async fn sec52_a_rejection_can_be_read_behind_a_large_body() {
    let server = builder().build().unwrap();
    let mut websocket = connect(&server);
    let target = "/engine.io/?EIO=4&transport=websocket";
    websocket.write_all(head("GET", target, UPGRADE).as_bytes()).await.unwrap();
    assert_eq!(status(&mut websocket).await, 101);
    let socket = server.accept().await;
    // The first request does not give the connection away.
    assert!(socket.request().extensions().get::<hyper::upgrade::OnUpgrade>().is_none());
    let on_websocket = format!("{TARGET}&sid={}", socket.id().as_str());
    for (method, target, expected) in [
        ("POST", format!("{TARGET}&sid=nope"), 400),
        ("POST", TARGET.into(), 400),
        ("POST", "/other".into(), 404),
        ("GET", TARGET.into(), 200),
        ("POST", "/engine.io/?EIO=4&transport=nope".into(), 400),
        ("POST", on_websocket, 400),
    ] {
        for chunked in [false, true] {
            let mut client = connect(&server);
            let length = if chunked { "transfer-encoding: chunked\r\n" } else { "content-length: 900000\r\n" };
            client.write_all(head(method, &target, length).as_bytes()).await.unwrap();
            if chunked {
                client.write_all(b"dbba0\r\n").await.unwrap();
            }
            client.write_all(&[b'x'; 900_000]).await.unwrap();
            if chunked {
                client.write_all(b"\r\n0\r\n\r\n").await.unwrap();
            }
            assert_eq!(status(&mut client).await, expected, "{method} {target}");
        }
    }
}

/// The end of the client's side stands behind its request before the server reads.
#[tokio::test(start_paused = true)]
async fn r123_a_client_that_ends_its_side_gets_a_ready_answer() {
    let server = builder().build().unwrap();
    let (socket, target) = open(&server).await;
    let post = |body: &str| format!("{}{body}", head("POST", &target, &format!("content-length: {}\r\n", body.len())));
    for (request, expected) in [
        (head("GET", TARGET, ""), "200"),
        (head("GET", "/other", ""), "404"),
        (head("GET", &format!("{TARGET}&sid=nope"), ""), "400"),
        (post("4hello"), "200"),
        (head("GET", &target, ""), "200"),
    ] {
        if request.contains("GET") {
            // The answer to the poll is ready.
            socket.try_send("x".repeat(10 * ROOM)).unwrap();
        }
        let mut client = connect(&server);
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{request}\n{answer}");
    }
    assert_eq!(socket.close_reason(), None);
}

/// Bytes behind a held poll, or the body that it announces, do not hide that its client leaves.
#[tokio::test(start_paused = true)]
async fn r122_a_client_that_leaves_a_held_poll_is_noticed() {
    for (headers, behind) in [
        ("", String::new()),
        ("", "\r\n".into()),
        ("", head("GET", "/other", "")),
        ("", "x".repeat(10_000)),
        ("content-length: 10\r\n", String::new()),
        ("content-length: 10\r\n", "four".into()),
        ("content-length: 100000\r\n", "x".repeat(10_000)),
        ("transfer-encoding: chunked\r\n", String::new()),
        ("transfer-encoding: chunked\r\n", "4\r\nfo".into()),
        ("transfer-encoding: chunked\r\n", "no length".into()),
    ] {
        let server = builder().build().unwrap();
        let (socket, target) = open(&server).await;
        let mut client = connect(&server);
        client.write_all(format!("{}{behind}", head("GET", &target, headers)).as_bytes()).await.unwrap();
        // It is held.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(socket.close_reason(), None);
        let start = Instant::now();
        drop(client);
        let reason = timeout(HOUR / 2, socket.closed()).await;
        assert_eq!(reason, Ok(CloseReason::TransportError(TransportError::PollLost)), "{headers:?} {behind:?}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

/// How long it takes until the server ends a connection on which it has nothing more to write.
#[track_caller]
fn time_to_end(client: &mut DuplexStream) -> impl Future<Output = Duration> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        assert!(timeout(HOUR / 2, rest(client)).await.is_ok(), "{caller}: the server ends the connection");
        start.elapsed()
    }
}

/// Sends nothing more, and reads nothing. Returns after how many seconds the session ends.
async fn seconds_to_end(socket: &Socket) -> u64 {
    let start = Instant::now();
    let reason = timeout(HOUR / 2, socket.closed()).await;
    assert_eq!(reason, Ok(CloseReason::TransportError(TransportError::PollLost)));
    start.elapsed().as_secs()
}

/// Answers to polls are not taken: at all, or byte by byte.
#[tokio::test(start_paused = true)]
async fn sec72_an_answer_has_a_deadline() {
    for (step, seconds) in [(None, 60), (Some(59), 300), (Some(1), 300)] {
        let server = builder().build().unwrap();
        let (socket, target) = open(&server).await;
        socket.try_send("x".repeat(900_000)).unwrap();
        let mut client = connect(&server);
        client.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
        assert_eq!(status(&mut client).await, 200);
        let reading = tokio::spawn(async move {
            let Some(step) = step else { return pending().await };
            loop {
                tokio::time::sleep(Duration::from_secs(step)).await;
                if client.read(&mut [0]).await.unwrap() == 0 {
                    return;
                }
            }
        });
        assert_eq!(seconds_to_end(&socket).await, seconds, "{step:?}");
        reading.abort();
        timeout(Duration::from_secs(1), server.shutdown()).await.expect("no connection is left");
    }
}

/// The rest of an answer whose session is over is not worth waiting for longer than for a close.
#[tokio::test(start_paused = true)]
async fn sec72_an_answer_of_a_session_that_is_over_ends_soon() {
    let server = builder().build().unwrap();
    let (socket, target) = open(&server).await;
    socket.try_send("x".repeat(900_000)).unwrap();
    let mut client = connect(&server);
    client.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
    assert_eq!(status(&mut client).await, 200);
    socket.abort();
    assert_eq!(socket.closed().await, CloseReason::ForcedClose);
    let start = Instant::now();
    while client.read(&mut [0; 10]).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // What the pipe holds is read after the end.
    assert!((30..=31 + ROOM as u64 / 10).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

/// The host stands still while an answer is being written: the client could take no more than the pipe held.
#[tokio::test(start_paused = true)]
async fn r120_an_answer_survives_a_host_that_stood_still() {
    let server = builder().build().unwrap();
    let (socket, target) = open(&server).await;
    socket.try_send("x".repeat(900_000)).unwrap();
    let mut client = connect(&server);
    client.write_all(head("GET", &target, "connection: close\r\n").as_bytes()).await.unwrap();
    assert_eq!(status(&mut client).await, 200);
    advance(HOUR).await;
    assert_eq!(rest(&mut client).await.len(), 900_001);
    assert_eq!(socket.close_reason(), None);

    // A client that takes nothing is not waited for much longer.
    socket.try_send("x".repeat(900_000)).unwrap();
    let mut client = connect(&server);
    client.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
    assert_eq!(status(&mut client).await, 200);
    advance(HOUR).await;
    assert_eq!(seconds_to_end(&socket).await, 5);
}

/// A client that takes its answer slowly, but in time, gets all of it.
#[tokio::test(start_paused = true)]
async fn law9_a_slow_reader_is_served() {
    let server = builder().build().unwrap();
    let (socket, target) = open(&server).await;
    let mut client = connect(&server);
    for _ in 0..3 {
        socket.try_send("x".repeat(250 * ROOM)).unwrap();
        client.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
        assert_eq!(status(&mut client).await, 200);
        let mut left = 250 * ROOM + 1;
        while left > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let len = client.read(&mut [0; ROOM]).await.unwrap();
            assert_ne!(len, 0, "{left} bytes are missing");
            left -= len;
        }
        assert_eq!(socket.close_reason(), None);
    }
}

/// The head of a request, and the time without a request, have deadlines of their own.
#[tokio::test(start_paused = true)]
async fn sec71_idle_connections_and_slow_heads_end() {
    let server = builder().build().unwrap();
    let mut client = connect(&server);
    assert_eq!(time_to_end(&mut client).await.as_secs(), 30);
    for start in ["\r", "GET / HTTP/1.1\r\nhost: x\r\nx: "] {
        let mut client = connect(&server);
        tokio::time::sleep(Duration::from_secs(29)).await;
        client.write_all(start.as_bytes()).await.unwrap();
        assert_eq!(time_to_end(&mut client).await.as_secs(), 1, "{start:?}");
    }
    let mut client = connect(&server);
    client.write_all(head("GET", "/", "").as_bytes()).await.unwrap();
    assert_eq!(time_to_end(&mut client).await.as_secs(), 75);
    // A head that begins late has all its time.
    let mut client = connect(&server);
    for _ in 0..3 {
        client.write_all(head("GET", "/", "").as_bytes()).await.unwrap();
        assert_eq!(status(&mut client).await, 404);
        client.read_exact(&mut [0; 9]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(74)).await;
    }
    for byte in "GET / HTTP/1.1\r\nhost: xxxxxx".chars() {
        client.write_all(&[byte as u8]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(time_to_end(&mut client).await.as_secs(), 30 - 28);
    // A held poll is not idle.
    let (socket, target) = open(&server).await;
    let mut client = connect(&server);
    client.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
    tokio::time::sleep(HOUR / 2).await;
    socket.try_send("late").unwrap();
    assert_eq!(status(&mut client).await, 200);
}

/// A client may send any number of digits before the size of a chunk.
#[tokio::test(start_paused = true)]
async fn sec71_a_body_that_goes_on_without_data_ends() {
    let server = builder().build().unwrap();
    let (socket, target) = open(&server).await;
    for target in [target, format!("{TARGET}&sid=nope"), "/other".into()] {
        let mut client = connect(&server);
        client.write_all(head("POST", &target, "transfer-encoding: chunked\r\n").as_bytes()).await.unwrap();
        let start = Instant::now();
        let zeros = async {
            while client.write_all(b"0000000000").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(HOUR / 2, zeros).await.expect("the connection ends");
        // Something more than the time for a body, to read the answer.
        assert!((30..=41).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
    assert_eq!(socket.close_reason(), Some(CloseReason::TransportError(TransportError::PostTimeout)));
}

/// The size and the number of headers are limited; what a session keeps of them too.
#[tokio::test(start_paused = true)]
async fn sec32_a_head_has_a_limit() {
    let server = builder().build().unwrap();
    let fields = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    for (headers, expected) in [
        (format!("x-long: {}\r\n", "x".repeat(16_000)), 200),
        (format!("x-long: {}\r\n", "x".repeat(17_000)), 431),
        (fields(99), 200),
        (fields(100), 431),
    ] {
        let mut client = connect(&server);
        client.write_all(head("GET", TARGET, &headers).as_bytes()).await.unwrap();
        assert_eq!(status(&mut client).await, expected, "{} bytes", headers.len());
    }
    // A head that does not end.
    let mut client = connect(&server);
    let _ = client.write_all(head("GET", TARGET, &"x: y\r\n".repeat(100_000)).as_bytes()).await;
    assert_eq!(status(&mut client).await, 431);
}

/// A silent client delays a shutdown only up to its deadline, on either transport.
#[tokio::test(start_paused = true)]
async fn a_shutdown_has_a_deadline() {
    let server = builder().build().unwrap();
    let mut websocket = connect(&server);
    let target = "/engine.io/?EIO=4&transport=websocket";
    websocket.write_all(head("GET", target, UPGRADE).as_bytes()).await.unwrap();
    assert_eq!(status(&mut websocket).await, 101);
    let first = server.accept().await;
    // An answer that is not taken, a session that does not poll, a POST whose body does not come, and a slow head.
    let (second, target) = open(&server).await;
    second.try_send("x".repeat(900_000)).unwrap();
    let mut poll = connect(&server);
    poll.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
    assert_eq!(status(&mut poll).await, 200);
    let (third, target) = open(&server).await;
    third.try_send("waits").unwrap();
    let mut post = connect(&server);
    post.write_all(head("POST", &target, "content-length: 10\r\n").as_bytes()).await.unwrap();
    let mut slow = connect(&server);
    slow.write_all(b"GET /").await.unwrap();
    let start = Instant::now();
    timeout(HOUR / 2, server.shutdown()).await.expect("it ends");
    assert_eq!(start.elapsed().as_secs(), 8);
    for socket in [first, second, third] {
        assert!(socket.close_reason().is_some());
    }
    // The connections are dropped.
    for mut client in [websocket, poll, post, slow] {
        assert_eq!(time_to_end(&mut client).await, Duration::ZERO);
    }
}

/// `close_timeout` has no upper limit, and the clock cannot represent its end: the connection panicked.
#[tokio::test(start_paused = true)]
async fn the_longest_times_are_no_error() {
    let max = Duration::MAX;
    let server = builder().close_timeout(max).body_timeout(max).write_timeout(max).answer_timeout(max);
    let server = server.header_timeout(max).idle_timeout(max).shutdown_timeout(max).build().unwrap();
    let (socket, target) = open(&server).await;
    socket.try_send("x".repeat(10 * ROOM)).unwrap();
    let mut client = connect(&server);
    client.write_all(head("GET", &target, "").as_bytes()).await.unwrap();
    client.read_u8().await.unwrap();
    // The rest of the answer waits, and nothing depends on it any more.
    socket.handle().abort();
    assert!(rest(&mut client).await.ends_with(&"x".repeat(10 * ROOM)));
}
