//! Servers, proxies and names that make trouble, and what the client says about them.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::script::{Script, WEBSOCKET, open};
use crate::adapter::net::Proxy;
use crate::adapter::{Client, CloseReason, ConnectError, RequestError, Socket, TransportError, TransportKind};
use crate::raw::{Frame, within};

/// Longer than anything here takes, and shorter than a test may take.
const SOON: Duration = Duration::from_secs(2);

const TRANSPORTS: [TransportKind; 2] = [TransportKind::Polling, TransportKind::WebSocket];

type Attempt = JoinHandle<Result<Socket, ConnectError>>;

fn connect(client: &Client) -> Attempt {
    let client = client.clone();
    tokio::spawn(async move { client.connect().await })
}

async fn refused(attempt: Attempt) -> ConnectError {
    within(attempt).await.unwrap().unwrap_err()
}

async fn opened(attempt: Attempt) -> Socket {
    within(attempt).await.unwrap().unwrap()
}

fn only(script: &Script, transport: TransportKind) -> Client {
    script.client().transports([transport]).build().unwrap()
}

/// Returns the texts of an error and of its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

pub async fn the_cause_of_a_lost_connection_is_kept() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:b\r\n".repeat(3000));
    for (bytes, cause) in [
        (&b"SSH-2.0-OpenSSH\r\n"[..], "not HTTP/1"),
        (b"0{\"sid\":\"S\"}\r\n\r\n", "not HTTP/1"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "expects TLS"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04", "HTTP/2"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP/1"),
        (large.as_bytes(), "too large"),
        (many.as_bytes(), "too large"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nx", "closed the connection"),
    ] {
        for transport in TRANSPORTS {
            let mut script = Script::start().await;
            let attempt = connect(&only(&script, transport));
            let mut request = script.next().await;
            request.write(bytes).await;
            drop(request);
            let text = chain(&refused(attempt).await);
            assert!(
                text.contains(cause),
                "{transport} {}: {text}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(20)])
            );
        }
    }
    for transport in TRANSPORTS {
        let mut script = Script::start().await;
        let attempt = connect(&only(&script, transport));
        script.next().await.reset();
        let error = refused(attempt).await;
        assert_eq!(error.io_error().map(std::io::Error::kind), Some(ErrorKind::ConnectionReset), "{}", chain(&error));
    }
}

pub async fn the_error_of_the_connection_that_ended_a_session_is_kept() {
    // The poll.
    let mut script = Script::start().await;
    let client = only(&script, TransportKind::Polling);
    let socket = script.open(&client, "S", "").await;
    assert!(socket.close_error().is_none());
    script.get().await.reset();
    within(socket.closed()).await;
    assert_eq!(socket.close_error().map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
    // The server is told.
    let farewell = script.post().await;
    assert_eq!(farewell.text(), "1");
    farewell.ok("ok").await;
    // The POST.
    let socket = script.open(&client, "S", "").await;
    let _get = script.get().await;
    socket.try_send("x").unwrap();
    let mut post = script.post().await;
    post.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
    drop(post);
    within(socket.closed()).await;
    assert_eq!(socket.close_error().map(|error| error.kind()), Some(ErrorKind::UnexpectedEof));
    // The WebSocket.
    let client = only(&script, TransportKind::WebSocket);
    let (socket, websocket) = script.open_websocket(&client, &open("S", "")).await;
    websocket.reset();
    assert_eq!(within(socket.closed()).await, CloseReason::TransportLost);
    assert_eq!(socket.close_error().map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
    // An end that is not one of the connection.
    let (socket, mut websocket) = script.open_websocket(&client, &open("S", "")).await;
    websocket.text("1").await;
    within(socket.closed()).await;
    assert!(socket.close_error().is_none());
}

/// A failed upgrade is not the cause of a later end.
pub async fn the_error_of_an_upgrade_is_forgotten() {
    let mut script = Script::start().await;
    let client = script.patient();
    let socket = script.open(&client, "S", WEBSOCKET).await;
    let get = script.get().await;
    script.websocket().await.reset();
    get.ok("6").await;
    script.get().await.ok("1").await;
    assert_eq!(within(socket.closed()).await, CloseReason::TransportClose);
    assert!(socket.close_error().is_none());
}

/// Node takes 2000 headers, hyper 100 by default.
pub async fn many_headers_are_taken() {
    let headers = "x-number: 1\r\n".repeat(500);
    let mut script = Script::start().await;
    let client = only(&script, TransportKind::Polling);
    let attempt = connect(&client);
    script.next().await.answer(200, &headers, open("S", "")).await;
    opened(attempt).await;
    let attempt = connect(&only(&script, TransportKind::WebSocket));
    let mut websocket = script.websocket().await.accept_with(&headers, "").await;
    websocket.text(&open("S", "")).await;
    opened(attempt).await;
}

pub async fn a_redirect_tells_its_target() {
    for status in [301, 302, 303, 307, 308] {
        for target in ["https://other.example/engine.io/?a=b", "ftp://x/", "https://"] {
            let mut script = Script::start().await;
            let attempt = connect(&only(&script, TransportKind::Polling));
            script.next().await.answer(status, &format!("location: {target}\r\n"), "moved").await;
            let error = refused(attempt).await;
            assert!(error.to_string().contains(&format!("redirects to {target}")), "{error}");
        }
        let mut script = Script::start().await;
        let attempt = connect(&only(&script, TransportKind::WebSocket));
        script.next().await.answer(status, "location: http://127.0.0.1:1/\r\n", "moved").await;
        let error = refused(attempt).await;
        assert!(error.to_string().contains("redirects to http://127.0.0.1:1/"), "{error}");
    }
}

/// As the reference on Node, and 301 and 308 too. Secrets stay with the server that they are for.
pub async fn polling_follows_redirects() {
    for status in [301, 302, 303, 307, 308] {
        let (mut first, mut second) = (Script::start().await, Script::start().await);
        let builder = first.client().transports([TransportKind::Polling]).header("x-own", "1");
        let client = builder.header("authorization", "secret").header("cookie", "mine=0").build().unwrap();
        let (url, host) = (second.url.clone(), second.addr.to_string());
        let location = |target: &str| format!("location: {url}{target}\r\nset-cookie: a=b\r\n");
        let attempt = connect(&client);
        let get = first.next().await;
        assert_eq!(get.header("authorization"), Some("secret"));
        let target = get.target.clone();
        get.answer(status, &location(&target), "moved").await;
        let get = second.next().await;
        assert_eq!((&get.method[..], &get.target, get.header("host")), ("GET", &target, Some(&*host)));
        assert_eq!((get.header("authorization"), get.header("x-own")), (None, Some("1")));
        // Cookies do not distinguish ports: RFC 6265, section 8.5. Those of the application are for its server.
        assert_eq!(get.header("cookie"), Some("a=b"));
        get.answer(200, "", open("S", "")).await;
        let socket = opened(attempt).await;
        // Every request goes to the first server first.
        let get = first.next().await;
        assert_eq!((get.query("sid"), get.header("cookie")), (Some("S"), Some("mine=0; a=b")));
        get.answer(status, &location("/elsewhere?x=y"), "").await;
        let get = second.next().await;
        assert_eq!((&get.method[..], &get.target[..]), ("GET", "/elsewhere?x=y"));
        socket.try_send("hello").unwrap();
        let post = first.post().await;
        post.answer(status, &location("/elsewhere?x=z"), "").await;
        if status >= 307 {
            let post = second.post().await;
            assert_eq!((&post.target[..], post.text()), ("/elsewhere?x=z", "4hello"));
            post.answer(200, "", "ok").await;
            within(socket.flush()).await.unwrap();
        } else {
            // As a GET it would lose its body.
            let reason = within(socket.closed()).await;
            assert_eq!(reason, CloseReason::TransportError(TransportError::Post(RequestError::Status(status))));
        }
        drop(get);
    }
}

pub async fn redirects_have_an_end() {
    let mut script = Script::start().await;
    for (client, requests) in [
        (only(&script, TransportKind::Polling), 6),
        (script.client().transports([TransportKind::Polling]).max_redirects(0).build().unwrap(), 1),
    ] {
        let attempt = connect(&client);
        for _ in 0..requests {
            let location = format!("location: {}/again\r\n", script.url);
            script.next().await.answer(302, &location, "").await;
        }
        let error = refused(attempt).await;
        assert!(error.to_string().contains("redirects to http://"), "{error}");
        assert_eq!(script.pending(), 0);
    }
}

/// A server, or a proxy before it, that does not pass upgrades on.
pub async fn a_websocket_behind_a_proxy_without_upgrades() {
    const FINE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n";
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: close\r\n\r\n".to_owned(),
        format!("HTTP/1.1 101 Switching Protocols\r\n{FINE}\r\n"),
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>".to_owned(),
        "HTTP/1.1 400 Bad\r\ncontent-length: 34\r\n\r\n{\"code\":3,\"message\":\"Bad request\"}".to_owned(),
        "HTTP/1.0 400 Bad\r\n\r\n<html>".to_owned(),
        "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ] {
        let mut script = Script::start().await;
        let attempt = connect(&only(&script, TransportKind::WebSocket));
        let mut request = script.next().await;
        request.write(&answer).await;
        drop(request);
        let error = refused(attempt).await;
        assert_eq!(error.reason(), CloseReason::TransportError(TransportError::Unopened));
        assert!(error.to_string().contains("proxy"), "{error} after {answer}");
    }
    // Answers that say why.
    for (status, body) in [(403, "no"), (401, ""), (400, r#"{"code":1,"message":"Session ID unknown"}"#), (503, "")] {
        let mut script = Script::start().await;
        let attempt = connect(&only(&script, TransportKind::WebSocket));
        script.next().await.answer(status, "", body).await;
        let error = refused(attempt).await;
        assert!(!error.to_string().contains("proxy"), "{error} after {status} {body}");
    }
}

/// A server that always has bytes does not keep timers and other tasks from running.
pub async fn endless_interim_answers() {
    for transport in TRANSPORTS {
        for piece in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n"] {
            let (url, flood) = flood("", piece).await;
            let builder = crate::adapter::client(&url).unwrap().transports([transport]);
            let error = refused(connect(&builder.build().unwrap())).await;
            assert!(chain(&error).contains("interim answers"), "{}", chain(&error));
            within(flood).await.unwrap();
        }
    }
}

/// A listener whose first connection, once asked, gets these bytes and then a piece again and again.
async fn flood(start: &'static str, piece: &'static str) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let flood = tokio::spawn(async move {
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let piece = piece.repeat(64 * 1024 / piece.len());
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
    });
    (url, flood)
}

/// What is not an interim answer, and arrives without an end, is ended by the timeouts.
pub async fn endless_bytes_do_not_put_a_timeout_off() {
    // A chunk's size of zeros.
    let (url, flood_of_zeros) = flood("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0").await;
    let client = crate::adapter::client(&url).unwrap().open_timeout(SOON).build().unwrap();
    let error = refused(connect(&client)).await;
    assert_eq!(error.reason(), CloseReason::TransportError(TransportError::OpenTimeout));
    within(flood_of_zeros).await.unwrap();
    // A proxy.
    let (url, proxy) = flood("", "HTTP/1.1 100 Continue\r\n\r\n").await;
    let client = crate::adapter::client("http://localhost").unwrap().proxy(Proxy::parse(&url).unwrap());
    let error = refused(connect(&client.connect_timeout(SOON).build().unwrap())).await;
    assert_eq!(error.io_error().map(std::io::Error::kind), Some(ErrorKind::TimedOut), "{}", chain(&error));
    within(proxy).await.unwrap();
}

/// RFC 6265: a cookie is for its host, its path and its scheme.
pub async fn c074_cookies_go_where_they_belong() {
    const SET: &str = "set-cookie: plain=1\r\nset-cookie: secure=1; Secure\r\nset-cookie: other=1; Path=/other\r\n\
        set-cookie: path=1; Path=/engine.io\r\nset-cookie: foreign=1; Domain=example.com\r\n\
        set-cookie: host=1; Domain=127.0.0.1\r\nset-cookie: part=1; Domain=0.0.1\r\n\
        set-cookie: __Host-a=1; Path=/\r\nset-cookie: __Secure-a=1\r\n";
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let attempt = connect(&client);
    script.next().await.answer(200, SET, open("S", WEBSOCKET)).await;
    let _socket = opened(attempt).await;
    // The end of one request would end the session, and so the other one.
    let (poll, websocket) = (script.get().await, script.websocket().await);
    for request in [&poll, &websocket] {
        assert_eq!(request.header("cookie"), Some("plain=1; path=1; host=1"));
    }
}

/// The header of a frame is enough.
pub async fn sec38_a_server_whose_frames_break_the_rules() {
    for (rule, bytes) in [
        ("masked", &[0x82, 0xff, 0, 0, 0, 0, 0, 0x0d, 0xbb, 0xa0][..]),
        ("rsv1", &[0xc2, 0x7f]),
        ("reserved", &[0x83, 126]),
        ("a large ping", &[0x89, 126]),
        ("a ping in fragments", &[0x09, 5]),
        ("a continuation of nothing", &[0x80, 126]),
        ("a message in a message", &[0x02, 0, 0x82, 126]),
    ] {
        let mut script = Script::start().await;
        let client = only(&script, TransportKind::WebSocket);
        let (socket, mut websocket) = script.open_websocket(&client, &open("S", "")).await;
        websocket.bytes(bytes).await;
        let reason = within(socket.closed()).await;
        assert_eq!(reason, CloseReason::TransportError(TransportError::Violation), "{rule}");
        assert_eq!(websocket.next().await, Frame::close(1002), "{rule}");
    }
}
