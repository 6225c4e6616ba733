//! Opening a session, and why it may fail.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::script::{Request, Script, WEBSOCKET, open, open_with};
use crate::adapter::error::{BuildError, ConfigError};
use crate::adapter::{Client, CloseReason, ConnectError, Details, RequestError, Socket, TransportError, TransportKind};
use crate::raw::{BINARY, Frame, within};

/// Short enough to wait for; long enough for what must happen before, also on a busy machine.
const SHORT: Duration = Duration::from_secs(1);

const POLL_LOST: CloseReason = poll(RequestError::Lost);
const INVALID: CloseReason = CloseReason::TransportError(TransportError::InvalidHandshake);
const UNOPENED: CloseReason = CloseReason::TransportError(TransportError::Unopened);

const fn poll(error: RequestError) -> CloseReason {
    CloseReason::TransportError(TransportError::Poll(error))
}

fn answer(status: u16, body: &str) -> Details {
    Details::Answer { status, body: body.to_owned().into() }
}

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

fn websocket_only(script: &Script) -> Client {
    script.client().transports([TransportKind::WebSocket]).build().unwrap()
}

fn is_polling(request: &Request) -> bool {
    request.target.contains("transport=polling")
}

pub async fn what_the_server_offers() {
    let mut script = Script::start().await;
    let client = script.client().upgrade(false).build().unwrap();
    let body = r#"0{"sid":"S/1","upgrades":["webtransport","websocket"],"pingInterval":25000,"pingTimeout":20000}"#;
    let socket = script.begin(&client, body).await.unwrap();
    assert_eq!(socket.id().as_str(), "S/1");
    let offer = socket.offer().unwrap();
    assert!(offer.upgrades.contains(TransportKind::WebSocket) && !offer.upgrades.contains(TransportKind::Polling));
    assert_eq!((offer.ping_interval, offer.ping_timeout), (Duration::from_secs(25), Duration::from_secs(20)));
    assert_eq!(offer.max_payload, None);
    assert!(socket.is_open() && !socket.is_upgraded());
    assert_eq!(socket.transport(), TransportKind::Polling);
    let first = socket.request();
    assert_eq!(first.uri().to_string(), format!("{}/engine.io/", script.url));
    // As given, but encoded for a URL.
    assert_eq!(script.get().await.query("sid"), Some("S%2F1"));
    assert_eq!(script.pending(), 0);
}

/// What follows the open packet belongs to the session.
pub async fn y033_packets_behind_the_open_packet() {
    let mut script = Script::start().await;
    let body = format!("{}\x1e4one\x1e2\x1ebAAEC\x1e6\x1e4two", open("S", ""));
    let mut socket = script.begin(&script.polling(), &body).await.unwrap();
    assert_eq!(within(socket.recv()).await, Some("one".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![0, 1, 2].into()));
    assert_eq!(within(socket.recv()).await, Some("two".into()));
    // Held, or the session ends before it polls.
    let post = script.post().await;
    assert_eq!(post.text(), "3");
    assert_eq!(script.get().await.query("sid"), Some("S"));
}

/// Covers: C-024, C-060
pub async fn y031_a_refusal_says_why() {
    for (status, body) in [
        (403, r#"{"code":4,"message":"Forbidden"}"#),
        (400, r#"{"code":5,"message":"Unsupported protocol version"}"#),
        (404, "<html>not here</html>"),
        (502, ""),
        (302, "elsewhere"),
        (304, ""),
    ] {
        let mut script = Script::start().await;
        // The default: the first failure is final.
        let attempt = connect(&script.client().build().unwrap());
        let get = script.next().await;
        // 304 Not Modified has no body, and announces none.
        if status == 304 {
            let mut get = get;
            get.write("HTTP/1.1 304 Not Modified\r\n\r\n").await;
            get.go_on();
        } else {
            get.answer(status, "location: /elsewhere\r\n", body).await;
        }
        let error = refused(attempt).await;
        assert_eq!(error.reason(), poll(RequestError::Status(status)));
        assert_eq!(error.details(), Some(&answer(status, body)));
        assert!(error.io_error().is_none());
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}

pub async fn c060_an_unknown_session_by_polling() {
    let mut script = Script::start().await;
    let client = crate::adapter::client(&format!("{}/?sid=abc", script.url)).unwrap().build().unwrap();
    let attempt = connect(&client);
    let get = script.next().await;
    assert_eq!(get.query("sid"), Some("abc"));
    let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
    get.answer(400, "content-type: application/json\r\n", unknown).await;
    let error = refused(attempt).await;
    assert_eq!(error.reason(), poll(RequestError::Status(400)));
    assert_eq!(error.reason().as_str(), "transport error");
    assert_eq!(error.details(), Some(&answer(400, unknown)));
}

pub async fn c061_a_websocket_that_is_refused() {
    for (status, body) in [
        (400, r#"{"code":1,"message":"Session ID unknown"}"#),
        (403, "no"),
        (200, "0{}"),
        (404, ""),
        (301, "elsewhere"),
    ] {
        let mut script = Script::start().await;
        let attempt = connect(&websocket_only(&script));
        script.next().await.answer(status, "", body).await;
        let error = refused(attempt).await;
        assert_eq!((error.reason(), error.details()), (UNOPENED, Some(&answer(status, body))));
        assert_eq!(error.reason().to_string(), "transport error: websocket error");
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}

/// However long a server's answer is, its beginning is kept.
pub async fn a_long_refusal_is_cut() {
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        for chunked in [false, true] {
            let mut script = Script::start().await;
            let attempt = connect(&script.client().transports([transport]).build().unwrap());
            let body = "<html>".repeat(10_000);
            let mut request = script.next().await;
            if chunked {
                request.write("HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n").await;
                for chunk in body.as_bytes().chunks(1000) {
                    request.write([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await;
                }
            } else {
                request.write(super::script::response(500, "", &body)).await;
            }
            let error = refused(attempt).await;
            assert_eq!(error.details(), Some(&answer(500, &body[..Details::MAX_BODY])), "{transport:?} {chunked}");
            request.gone().await;
        }
    }
}

pub async fn y032_an_answer_that_is_no_beginning() {
    let not_first = format!("4early\x1e{}", open("S", ""));
    let zero = open_with("S", "", 0, 1000);
    for body in [
        "",
        "ok",
        "<html></html>",
        "4hello",
        "6",
        "1",
        "2",
        "0",
        "0{}",
        "0{\"sid\":\"S\"",
        r#"0{"sid":"","upgrades":[],"pingInterval":1,"pingTimeout":1}"#,
        r#"0{"sid":7,"upgrades":[],"pingInterval":1,"pingTimeout":1}"#,
        r#"0{"sid":"S","upgrades":[],"pingInterval":-1,"pingTimeout":-1}"#,
        r#"0{"sid":"S","upgrades":[],"pingInterval":"x","pingTimeout":1}"#,
        r#"0{"sid":"S","upgrades":[],"pingInterval":null,"pingTimeout":1}"#,
        "bAAEC",
        "\x1e",
        "\u{0}",
        &not_first,
        &zero,
    ] {
        let mut script = Script::start().await;
        let error = script.begin(&script.polling(), body).await.unwrap_err();
        assert_eq!(error.reason(), INVALID, "{body}");
        // No session is known, so no server is told of its end.
        script.stand(0).await;
        assert_eq!(script.pending(), 0);

        let attempt = connect(&websocket_only(&script));
        let mut websocket = script.next().await.accept().await;
        // What is a separate frame here.
        let first = body.split('\x1e').next().unwrap();
        websocket.text(first).await;
        assert_eq!(refused(attempt).await.reason(), INVALID, "{body}");
        websocket.closed().await;
    }
    let mut script = Script::start().await;
    let attempt = connect(&websocket_only(&script));
    let mut websocket = script.next().await.accept().await;
    websocket.frame(BINARY, open("S", "")).await;
    assert_eq!(refused(attempt).await.reason(), INVALID);
    websocket.closed().await;
}

/// Servers that compute their times, or read them from text.
pub async fn y032_numbers_are_those_of_javascript() {
    let open = |times: &str| format!(r#"0{{"sid":"S",{times}}}"#);
    for times in [
        r#""pingInterval":3333.3333333333335,"pingTimeout":20000"#,
        r#""pingInterval":"15000","pingTimeout":25000.0,"maxPayload":null"#,
        r#""pingInterval":1e21,"pingTimeout":18446744073709551616,"maxPayload":-1"#,
        r#""upgrades":null,"pingInterval":-1,"pingTimeout":20000,"maxPayload":"no""#,
    ] {
        let mut script = Script::start().await;
        let socket = script.begin(&script.polling(), &open(times)).await.unwrap();
        let _get = script.get().await;
        // No limit was announced.
        socket.try_send("x".repeat(1_000_000)).unwrap();
        assert_eq!(script.post().await.body.len(), 1_000_001);
    }
}

pub async fn y032_a_server_of_revision_3() {
    let other = r#"96:0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#;
    let mut script = Script::start().await;
    let error = script.begin(&script.polling(), other).await.unwrap_err();
    assert_eq!((error.reason(), error.details()), (INVALID, Some(&Details::Handshake { data: other.into() })));
    let text = "could not open a session: transport error: server error: invalid handshake; \
                the server uses another revision of the protocol: expected revision 4";
    assert_eq!(error.to_string(), text);
    let error = script.begin(&script.polling(), "<html>").await.unwrap_err();
    assert_eq!(error.details(), Some(&Details::Handshake { data: "<html>".into() }));
    assert_eq!(error.to_string(), "could not open a session: transport error: server error: invalid handshake");
    // A server that knows the revision, and rejects it.
    let client = script.polling();
    let body = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    let answer = async { script.get().await.answer(400, "", body).await };
    let error = within(async { tokio::join!(client.connect(), answer) }).await.0.unwrap_err();
    assert!(error.to_string().ends_with("; the server uses another revision of the protocol: expected revision 4"));
}

pub async fn an_answer_that_is_no_http() {
    for bytes in ["SSH-2.0-OpenSSH\r\n", "HTTP/2 200\r\n\r\n", "0{\"sid\":\"S\"}", "", "HTTP/1.1 200 OK\r\nx"] {
        for transport in [TransportKind::Polling, TransportKind::WebSocket] {
            let mut script = Script::start().await;
            let attempt = connect(&script.client().transports([transport]).build().unwrap());
            let mut request = script.next().await;
            request.write(bytes).await;
            drop(request);
            let expected = if transport == TransportKind::Polling { POLL_LOST } else { UNOPENED };
            let error = refused(attempt).await;
            assert_eq!((error.reason(), error.details()), (expected, None));
            script.stand(0).await;
        }
    }
}

pub async fn an_answer_above_the_limit() {
    let open = open("S", "");
    let body = format!("{open}\x1e4{}", "x".repeat(1000));
    for chunked in [false, true] {
        for (limit, fits) in [(body.len(), true), (body.len() - 1, false)] {
            let mut script = Script::start().await;
            let builder = script.client().transports([TransportKind::Polling]);
            let attempt = connect(&builder.max_payload(limit).build().unwrap());
            let mut get = script.next().await;
            if chunked {
                get.write(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len())).await;
                get.write(format!("{body}\r\n0\r\n\r\n")).await;
            } else {
                get.write(super::script::response(200, "", &body)).await;
            }
            if fits {
                get.go_on();
                opened(attempt).await;
            } else {
                assert_eq!(refused(attempt).await.reason(), poll(RequestError::TooLarge));
                get.gone().await;
            }
        }
    }
}

pub async fn nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (transport, reason) in
        [(TransportKind::Polling, poll(RequestError::Unreachable)), (TransportKind::WebSocket, UNOPENED)]
    {
        let client = crate::adapter::client(&url).unwrap().transports([transport]).build().unwrap();
        let error = refused(connect(&client)).await;
        assert_eq!((error.reason(), error.details()), (reason, None));
        assert_eq!(error.io_error().unwrap().kind(), ErrorKind::ConnectionRefused);
        // The next one is not affected.
        let error = refused(connect(&client)).await;
        assert!(error.io_error().is_some());
    }
}

/// The details of the last transport are reported, not those of an earlier one.
pub async fn the_error_of_an_earlier_transport_is_forgotten() {
    let mut script = Script::start().await;
    let addr = script.addr;
    let first = std::sync::atomic::AtomicBool::new(true);
    let connector = move |_: &str, _: u16| {
        let fails = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move {
            if fails {
                return Err(io::Error::other("no way"));
            }
            crate::runtime::connect(addr).await
        }
    };
    let client = script.client().connector(connector).try_all_transports(true).build().unwrap();
    let attempt = connect(&client);
    script.websocket().await.answer(403, "", "no").await;
    let error = refused(attempt).await;
    assert_eq!((error.reason(), error.details()), (UNOPENED, Some(&answer(403, "no"))));
    assert!(error.io_error().is_none(), "{:?}", error.io_error());
}

pub async fn a_connection_takes_too_long() {
    for (transport, reason) in
        [(TransportKind::Polling, poll(RequestError::Unreachable)), (TransportKind::WebSocket, UNOPENED)]
    {
        let connector = |_: &str, _: u16| pending::<io::Result<crate::adapter::net::BoxIo>>();
        let builder = crate::adapter::client("http://localhost").unwrap().connector(connector);
        let client = builder.transports([transport]).connect_timeout(SHORT).build().unwrap();
        let error = refused(connect(&client)).await;
        assert_eq!(error.reason(), reason);
        assert_eq!(error.io_error().unwrap().kind(), ErrorKind::TimedOut);
    }
}

pub async fn a_session_that_does_not_open_in_time() {
    const LATE: CloseReason = CloseReason::TransportError(TransportError::OpenTimeout);
    let mut script = Script::start().await;
    // No answer.
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let client = script.client().transports([transport]).open_timeout(SHORT).build().unwrap();
        let attempt = connect(&client);
        let request = script.next().await;
        assert_eq!(refused(attempt).await.reason(), LATE);
        request.gone().await;
    }
    // Half an answer.
    let client = script.client().open_timeout(SHORT).build().unwrap();
    let attempt = connect(&client);
    let mut get = script.next().await;
    get.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0{").await;
    assert_eq!(refused(attempt).await.reason(), LATE);
    get.gone().await;
    // The body of a rejection that never ends. The client waits a second for such a body, so the session has to be over
    // well before that, also if its deadline is met late and put off.
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let client = script.client().transports([transport]).open_timeout(SHORT / 5).build().unwrap();
        let attempt = connect(&client);
        let mut request = script.next().await;
        request.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 1000\r\n\r\nno").await;
        assert_eq!(refused(attempt).await.reason(), LATE);
        request.gone().await;
    }
    // A silent WebSocket.
    let client = script.client().transports([TransportKind::WebSocket]).open_timeout(SHORT).build().unwrap();
    let attempt = connect(&client);
    let websocket = script.next().await.accept().await;
    assert_eq!(refused(attempt).await.reason(), LATE);
    websocket.closed().await;
    // One timeout after the other.
    let client = script.client().try_all_transports(true).open_timeout(SHORT).build().unwrap();
    let attempt = connect(&client);
    let (get, websocket) = (script.get().await, script.websocket().await);
    get.gone().await;
    assert_eq!(refused(attempt).await.reason(), LATE);
    websocket.gone().await;
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

pub async fn a_request_takes_too_long() {
    let mut script = Script::start().await;
    let client = script.client().request_timeout(SHORT).upgrade(false).build().unwrap();
    let attempt = connect(&client);
    let get = script.next().await;
    assert_eq!(refused(attempt).await.reason(), poll(RequestError::Timeout));
    get.gone().await;
    // A poll is a request.
    let socket = script.open(&client, "S", "").await;
    let get = script.get().await;
    assert_eq!(within(socket.closed()).await, poll(RequestError::Timeout));
    get.gone().await;
    assert_eq!(script.post().await.text(), "1");
    // A POST is one, too.
    let socket = script.open(&client, "S", "").await;
    let poller = script.get().await;
    socket.try_send("").unwrap();
    let post = script.post().await;
    let reason = within(socket.closed()).await;
    let post_reason = CloseReason::TransportError(TransportError::Post(RequestError::Timeout));
    assert!(reason == poll(RequestError::Timeout) || reason == post_reason, "{reason}");
    post.gone().await;
    poller.gone().await;
}

pub async fn c023_from_polling_to_a_websocket() {
    let mut script = Script::start().await;
    let client = script.client().try_all_transports(true).build().unwrap();
    let attempt = connect(&client);
    script.next().await.answer(403, "", "no").await;
    let mut websocket = script.next().await.accept().await;
    websocket.text(&open("S", "")).await;
    let socket = opened(attempt).await;
    assert_eq!((socket.transport(), socket.is_upgraded()), (TransportKind::WebSocket, false));
    assert_eq!(socket.close_details(), None);
    socket.try_send("hello").unwrap();
    assert_eq!(websocket.next().await, Frame::text("4hello"));
    assert_eq!(script.pending(), 0);
}

/// A transport that has failed is not used for an upgrade.
pub async fn c022_from_a_websocket_to_polling() {
    let mut script = Script::start().await;
    let transports = [TransportKind::WebSocket, TransportKind::Polling];
    let client = script.client().transports(transports).try_all_transports(true).build().unwrap();
    for how in 0..5 {
        let attempt = connect(&client);
        let request = script.next().await;
        assert!(!is_polling(&request));
        let mut websocket = None;
        match how {
            0 => request.answer(400, "", "").await,
            1 => request.reset(),
            2 => request.accept().await.reset(),
            3 => websocket.insert(request.accept().await).text("4hello").await,
            _ => websocket.insert(request.accept().await).close(1011).await,
        }
        let get = script.get().await;
        get.ok(open("S", WEBSOCKET)).await;
        let mut socket = opened(attempt).await;
        assert_eq!(socket.transport(), TransportKind::Polling);
        script.get().await.ok("4hi").await;
        assert_eq!(within(socket.recv()).await, Some("hi".into()));
        let _get = script.get().await;
        assert_eq!(script.pending(), 0);
        drop(socket);
        script.post().await.ok("ok").await;
    }
}

pub async fn every_transport_fails() {
    let mut script = Script::start().await;
    let client = script.client().try_all_transports(true).build().unwrap();
    let attempt = connect(&client);
    script.next().await.answer(403, "", "first").await;
    script.next().await.answer(404, "", "second").await;
    let error = refused(attempt).await;
    assert_eq!((error.reason(), error.details()), (UNOPENED, Some(&answer(404, "second"))));
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

pub async fn c024_the_first_failure_is_final() {
    let mut script = Script::start().await;
    let attempt = connect(&script.client().build().unwrap());
    script.next().await.answer(403, "", "").await;
    assert_eq!(refused(attempt).await.reason(), poll(RequestError::Status(403)));
    let transports = [TransportKind::WebSocket, TransportKind::Polling];
    let attempt = connect(&script.client().transports(transports).build().unwrap());
    script.next().await.answer(403, "", "").await;
    assert_eq!(refused(attempt).await.reason(), UNOPENED);
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

/// RFC 6455, section 4.1: answers that the client must not accept.
pub async fn an_acceptance_that_is_none() {
    const FINE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n";
    for (head, behind) in [
        ("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", FINE),
        ("", FINE),
        ("connection: Upgrade\r\nupgrade: h2c\r\n", ""),
        (FINE, "sec-websocket-extensions: permessage-deflate\r\n"),
        (FINE, "sec-websocket-protocol: chat\r\n"),
    ] {
        let mut script = Script::start().await;
        let attempt = connect(&websocket_only(&script));
        let mut request = script.next().await;
        request.write(format!("HTTP/1.1 101 Switching Protocols\r\n{head}{behind}\r\n")).await;
        assert_eq!(refused(attempt).await.reason(), UNOPENED);
        request.gone().await;
    }
    for header in ["sec-websocket-extensions: permessage-deflate\r\n", "sec-websocket-protocol: chat\r\n"] {
        let mut script = Script::start().await;
        let attempt = connect(&websocket_only(&script));
        let websocket = script.next().await.accept_with(header, "").await;
        assert_eq!(refused(attempt).await.reason(), UNOPENED);
        websocket.ended().await;
    }
}

pub async fn a_websocket_that_ends_before_the_open_packet() {
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    let attempt = connect(&client);
    let mut websocket = script.next().await.accept().await;
    websocket.close(4001).await;
    let error = refused(attempt).await;
    assert_eq!(error.reason(), CloseReason::TransportClose);
    assert_eq!(error.details(), Some(&Details::CloseFrame { code: 4001, reason: String::new() }));
    assert_eq!(websocket.next().await, Frame::close(4001));
    websocket.ended().await;
    for abrupt in [false, true] {
        let attempt = connect(&client);
        let websocket = script.next().await.accept().await;
        if abrupt {
            websocket.reset();
        } else {
            drop(websocket);
        }
        assert_eq!(refused(attempt).await.reason(), CloseReason::TransportLost);
    }
    // A frame with a reserved bit.
    let attempt = connect(&client);
    let mut websocket = script.next().await.accept().await;
    websocket.frame(0xc1, "0").await;
    assert_eq!(refused(attempt).await.reason(), CloseReason::TransportError(TransportError::Violation));
    assert_eq!(websocket.next().await, Frame::close(1002));
    drop(websocket);
    script.stand(0).await;
}

/// Whether the first request of a client goes to a WebSocket. The request is rejected.
async fn begins_on_a_websocket(client: &Client, script: &mut Script) -> bool {
    let attempt = connect(client);
    let request = script.next().await;
    let websocket = !is_polling(&request);
    request.answer(403, "", "").await;
    refused(attempt).await;
    websocket
}

pub async fn c029_a_websocket_that_worked_is_remembered() {
    let mut script = Script::start().await;
    let client = script.client().remember_upgrade(true).build().unwrap();
    let socket = script.open(&client, "S", WEBSOCKET).await;
    let get = script.get().await;
    let mut websocket = script.websocket().await.accept().await;
    assert_eq!(websocket.next().await, Frame::text("2probe"));
    websocket.answer_probe().await;
    get.ok("6").await;
    assert_eq!(websocket.next().await, Frame::text("5"));
    // Other clients do not know of it.
    let other = script.client().remember_upgrade(true).build().unwrap();
    assert!(!begins_on_a_websocket(&other, &mut script).await);
    // The same client does, whether the session still exists or not.
    let attempt = connect(&client);
    let mut second = script.next().await.accept().await;
    second.text(&open("S2", "")).await;
    let again = opened(attempt).await;
    assert_eq!((again.transport(), again.is_upgraded()), (TransportKind::WebSocket, false));
    drop(again);
    second.closed().await;
    drop(socket);
    websocket.closed().await;
    // A failure resets it.
    assert!(begins_on_a_websocket(&client, &mut script).await);
    assert!(!begins_on_a_websocket(&client, &mut script).await);
}

pub async fn c030_without_the_option_nothing_is_remembered() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let socket = script.open(&client, "S", WEBSOCKET).await;
    let get = script.get().await;
    let mut websocket = script.websocket().await.accept().await;
    assert_eq!(websocket.next().await, Frame::text("2probe"));
    websocket.answer_probe().await;
    get.ok("6").await;
    assert_eq!(websocket.next().await, Frame::text("5"));
    socket.close();
    websocket.closed().await;
    assert!(!begins_on_a_websocket(&client, &mut script).await);
}

/// A probe that fails is a failure.
pub async fn c029_a_websocket_that_did_not_work_is_not_remembered() {
    let mut script = Script::start().await;
    let client = script.client().remember_upgrade(true).build().unwrap();
    let _socket = script.open(&client, "S", WEBSOCKET).await;
    let _get = script.get().await;
    script.websocket().await.answer(400, "", "").await;
    script.stand(1).await;
    assert!(!begins_on_a_websocket(&client, &mut script).await);
}

/// Polls a future once and drops it.
async fn drop_midway(client: &Client, script: &mut Script) -> Request {
    let mut connecting = Box::pin(client.connect());
    assert!((&mut connecting).now_or_never().is_none());
    let request = script.next().await;
    assert!((&mut connecting).now_or_never().is_none());
    request
}

/// The server opened a session for a client that has given up: it is told so, with the id, and once.
/// Covers: R-47, SEC-64
pub async fn r48_who_gives_up_during_the_handshake_tells_the_server() {
    let mut script = Script::start().await;
    let get = drop_midway(&script.client().build().unwrap(), &mut script).await;
    get.ok(format!("{}\x1e4hi", open("S", WEBSOCKET))).await;
    let post = script.next().await;
    assert_eq!((&*post.method, post.query("sid"), post.text()), ("POST", Some("S"), "1"));
    post.ok("ok").await;
    script.stand(0).await;
    // Neither a POST without an id nor a probe.
    assert_eq!(script.pending(), 0);
}

pub async fn r48_who_gives_up_on_a_refusal() {
    let mut script = Script::start().await;
    for status in [200, 403] {
        let client = script.client().try_all_transports(true).build().unwrap();
        let get = drop_midway(&client, &mut script).await;
        get.answer(status, "", "no").await;
        script.stand(0).await;
        // No other transport is tried.
        assert_eq!(script.pending(), 0);
    }
}

pub async fn r48_who_gives_up_on_a_websocket() {
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    // Before the 101.
    drop_midway(&client, &mut script).await.gone().await;
    // Before the open packet.
    let mut connecting = Box::pin(client.connect());
    assert!((&mut connecting).now_or_never().is_none());
    let mut websocket = script.next().await.accept().await;
    // It is open when it answers.
    websocket.frame(crate::raw::PING, "there?").await;
    assert_eq!(websocket.next().await, Frame::Pong(b"there?".to_vec()));
    assert!((&mut connecting).now_or_never().is_none());
    drop(connecting);
    websocket.closed().await;
    // With the open packet already there.
    let mut connecting = Box::pin(client.connect());
    assert!((&mut connecting).now_or_never().is_none());
    let mut websocket = script.next().await.accept().await;
    websocket.text(&open("S", "")).await;
    websocket.frame(crate::raw::PING, "there?").await;
    assert_eq!(websocket.next().await, Frame::Pong(b"there?".to_vec()));
    drop(connecting);
    websocket.closed().await;
    script.stand(0).await;
}

pub async fn who_gives_up_before_there_is_a_connection() {
    let script = Script::start().await;
    let client = script.client().build().unwrap();
    // Never polled: nothing was started.
    drop(client.connect());
    {
        let connecting = pin!(client.connect());
        assert!(connecting.now_or_never().is_none());
    }
    let mut script = script;
    // What was started may continue until the server can be told.
    let get = script.next().await;
    get.ok(open("S", "")).await;
    assert_eq!(script.next().await.text(), "1");
    script.stand(0).await;
    assert_eq!(script.accepted(), 1);
}

pub async fn clients_that_make_no_sense() {
    let builder = || crate::adapter::client("http://localhost").unwrap();
    assert_eq!(builder().transports([]).build().unwrap_err(), BuildError::Config(ConfigError::NoTransport));
    assert_eq!(builder().header("a b", "c").build().unwrap_err(), BuildError::Header("a b".into()));
    assert_eq!(builder().header("a", "b\r\nc: d").build().unwrap_err(), BuildError::Header("a".into()));
    assert_eq!(builder().path("/a?b").build().unwrap_err(), BuildError::Config(ConfigError::Path));
}
