//! Which requests get a session, and with which id.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::adapter::{CloseReason, Refusal, Sid};
use crate::host::{Host, Reports, builder, reason};
use crate::raw::{
    Connection, Frame, POLLING, Polling, UPGRADE, WEBSOCKET, WebSocket, ask, get, request, sid_of, within,
};

const BAD: (u16, &str) = (400, r#"{"code":3,"message":"Bad request"}"#);
const FULL: (u16, &str) = (503, r#"{"code":3,"message":"Bad request"}"#);

fn sid(text: &str) -> Sid {
    Sid::new(text).unwrap()
}

/// Covers: S-007
pub async fn s006_the_application_may_refuse() {
    for (refusal, text) in [
        (Refusal::new(), "Forbidden"),
        (Refusal::with_message("members only"), "members only"),
        (Refusal::with_message(""), "Forbidden"),
    ] {
        let reports = Reports::default();
        let host =
            Host::start(reports.of(builder().allow_request(move |_| std::future::ready(Err(refusal.clone()))))).await;
        let body = format!(r#"{{"code":4,"message":"{text}"}}"#);
        assert_eq!(get(host.addr, POLLING).await.brief(), (403, body.as_str()));
        assert_eq!(ask(host.addr, "GET", WEBSOCKET, UPGRADE, "").await.brief(), (400, text));
        for (code, message, _) in reports.take() {
            assert_eq!((code, message.as_str()), (4, "Forbidden"));
        }
        assert!(host.server.is_empty());
    }
}

/// The application sees the request, may take its time, and is asked once for each session.
pub async fn s006_the_application_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let host = Host::echo(builder().allow_request(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let allowed = request.headers.get("authorization").is_some_and(|value| value == "open sesame");
        async move {
            tokio::task::yield_now().await;
            if allowed { Ok(()) } else { Err(Refusal::new()) }
        }
    }))
    .await;
    assert_eq!(get(host.addr, POLLING).await.status, 403);
    let response = ask(host.addr, "GET", POLLING, "authorization: open sesame\r\n", "").await;
    let sid = sid_of(response.text());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let client = Polling { addr: host.addr, target: format!("{POLLING}&sid={sid}"), sid };
    assert_eq!(client.post("4hello").await.status, 200);
    assert_eq!(client.get().await.brief(), (200, "4hello"));
    let mut upgraded = WebSocket::upgrade(&client).await;
    upgraded.send("4again").await;
    assert_eq!(upgraded.next().await, Frame::text("4again"));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Rejections are reported with their code, their context and the request.
/// Covers: S-037
pub async fn s001_refusals_are_reported() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let host = Host::start(builder().on_connection_error(move |error| {
        let context = error.rejection.to_string();
        report.send((error.code() as u8, error.message(), context, error.request.uri.to_string())).unwrap();
    }))
    .await;
    let client = Polling::open(host.addr).await;
    let wrong = format!("{WEBSOCKET}&sid={}", client.sid);
    for (method, target, expected) in [
        ("GET", "/engine.io/?transport=x", (0, "Transport unknown", "Transport unknown: \"x\"")),
        ("GET", "/engine.io/?EIO=4&transport=polling&sid=x", (1, "Session ID unknown", "Session ID unknown")),
        ("POST", POLLING, (2, "Bad handshake method", "Bad handshake method")),
        ("GET", wrong.as_str(), (3, "Bad request", "Bad request: websocket is asked for, the session is on polling")),
        (
            "GET",
            "/engine.io/?transport=polling",
            (5, "Unsupported protocol version", "Unsupported protocol version: 3"),
        ),
    ] {
        ask(host.addr, method, target, "", "").await;
        let (code, message, context, uri) = within(reports.recv()).await.unwrap();
        assert_eq!((code, message, context.as_str()), expected);
        assert_eq!(uri, target);
    }
}

pub async fn s024_an_id_of_ones_own() {
    let host = Host::start(builder().generate_id(|request| {
        let id = request.headers.get("x-id").map(|id| sid(id.to_str().unwrap()));
        async { id }
    }))
    .await;
    let response = ask(host.addr, "GET", POLLING, "x-id: my-id\r\n", "").await;
    assert_eq!(sid_of(response.text()), "my-id");
    assert!(host.server.get("my-id").is_some());
    let mut connection = Connection::open(host.addr).await;
    connection.write(request("GET", WEBSOCKET, &format!("{UPGRADE}x-id: other.id\r\n"), b"")).await;
    let mut websocket = WebSocket::accepted(connection).await;
    let Frame::Text(open) = websocket.next().await else { panic!("text") };
    assert_eq!(sid_of(&open), "other.id");
    let mut ids: Vec<String> = host.server.sessions().iter().map(|session| session.id().to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["my-id", "other.id"]);
}

pub async fn s025_an_id_that_takes_its_time() {
    let (entered, mut handshakes) = mpsc::unbounded_channel();
    let host = Host::start(builder().generate_id(move |_| {
        let (give, given) = oneshot::channel();
        entered.send(give).unwrap();
        async { given.await.ok() }
    }))
    .await;
    let mut connection = Connection::open(host.addr).await;
    connection.get(POLLING).await;
    let give = within(handshakes.recv()).await.unwrap();
    // Nothing exists before the id does.
    assert!(host.server.is_empty());
    give.send(sid("late")).unwrap();
    assert_eq!(sid_of(connection.response().await.text()), "late");
    assert!(host.server.get("late").is_some());
}

/// Covers: S-027
pub async fn s026_an_id_that_cannot_be_made() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder().generate_id(|_| async { None }))).await;
    assert_eq!(get(host.addr, POLLING).await.brief(), BAD);
    assert_eq!(ask(host.addr, "GET", WEBSOCKET, UPGRADE, "").await.brief(), (400, "Bad request"));
    let context = "Bad request: no session id, or it is taken".to_owned();
    let report = (3, "Bad request".to_owned(), context);
    assert_eq!(reports.take(), [report.clone(), report]);
    assert!(host.server.is_empty());
}

/// Covers: M-049, R-109
pub async fn sec79_an_id_that_is_taken() {
    let generate = |_: &_| async { Some(sid("the-one")) };
    let host = Host::start(builder().generate_id(generate).max_sessions(2).accept_backlog(2)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for _ in 0..3 {
        assert_eq!(get(host.addr, POLLING).await.brief(), BAD);
        assert_eq!(ask(host.addr, "GET", WEBSOCKET, UPGRADE, "").await.brief(), (400, "Bad request"));
    }
    assert_eq!(host.server.len(), 1);
    socket.try_send("unharmed").unwrap();
    assert_eq!(client.get().await.brief(), (200, "4unharmed"));
    // A free id can be used again, and the end of the first session is not that of the second.
    client.post("1").await;
    let (mut second, _) = WebSocket::open(host.addr).await;
    drop(socket);
    let socket = host.accept().await;
    socket.try_send("hello").unwrap();
    assert_eq!(second.next().await, Frame::text("4hello"));
    assert_eq!(host.server.len(), 1);
}

/// Covers: M-048
pub async fn r107_a_client_that_leaves_before_it_has_an_id() {
    let (entered, mut handshakes) = mpsc::unbounded_channel();
    let host = Host::start(
        builder()
            .generate_id(move |_| {
                let (give, given) = oneshot::channel();
                entered.send(give).unwrap();
                async { given.await.ok() }
            })
            .max_sessions(1),
    )
    .await;
    for (target, headers) in [(POLLING, ""), (WEBSOCKET, UPGRADE)] {
        for abrupt in [false, true] {
            let mut connection = Connection::open(host.addr).await;
            connection.write(request("GET", target, headers, b"")).await;
            let mut give: oneshot::Sender<Sid> = within(handshakes.recv()).await.unwrap();
            connection.leave(abrupt);
            within(give.closed()).await;
            host.holds(0).await;
            assert!(host.server.is_empty());
        }
    }
    // Clients that have left do not take up room.
    let mut connection = Connection::open(host.addr).await;
    connection.get(POLLING).await;
    within(handshakes.recv()).await.unwrap().send(sid("stays")).unwrap();
    assert_eq!(sid_of(connection.response().await.text()), "stays");
    assert_eq!(host.accept().await.id().as_str(), "stays");
}

pub async fn sec70_sessions_that_nobody_accepts_are_bounded() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder().accept_backlog(2))).await;
    let first = Polling::open(host.addr).await;
    let (_second, _) = WebSocket::open(host.addr).await;
    let response = get(host.addr, POLLING).await;
    assert_eq!((response.brief(), response.header("content-type")), (FULL, Some("application/json")));
    assert_eq!(ask(host.addr, "GET", WEBSOCKET, UPGRADE, "").await.brief(), (503, "Bad request"));
    assert_eq!(reports.take().len(), 2);
    assert_eq!(host.server.len(), 2);
    // One is accepted, and one more fits.
    let accepted = host.accept().await;
    assert_eq!(accepted.id().as_str(), first.sid);
    let third = Polling::open(host.addr).await;
    assert_eq!(get(host.addr, POLLING).await.brief(), FULL);
    // A session that has ended can still be accepted, with its messages.
    third.post("4last\u{1e}1").await;
    host.accept().await;
    let mut third = host.accept().await;
    assert_eq!(reason(&third).await, CloseReason::TransportClose);
    assert_eq!(within(third.recv()).await, Some("last".into()));
    assert_eq!(within(third.recv()).await, None);
}

/// A server that was slow to accept, and whose clients have left, rejected all new ones although it had no session.
pub async fn sec70_sessions_that_have_ended_unaccepted_give_their_places_up() {
    for builder in [builder().accept_backlog(2), builder().max_sessions(2)] {
        let host = Host::start(builder).await;
        for last in ["4first\u{1e}1", "4second\u{1e}1"] {
            Polling::open(host.addr).await.post(last).await;
        }
        assert_eq!(host.server.len(), 0);
        // The oldest goes first.
        let third = Polling::open(host.addr).await;
        let mut second = host.accept().await;
        assert_eq!(within(second.recv()).await, Some("second".into()));
        drop(second);
        let accepted = host.accept().await;
        assert_eq!(accepted.id().as_str(), third.sid);
        third.post("1").await;
        drop(accepted);
        let [fourth, fifth] = [Polling::open(host.addr).await, Polling::open(host.addr).await];
        assert_eq!(get(host.addr, POLLING).await.brief(), FULL);
        fifth.post("1").await;
        Polling::open(host.addr).await;
        assert_eq!(host.accept().await.id().as_str(), fourth.sid);
    }
}

pub async fn sec70_sessions_are_bounded() {
    let host = Host::start(builder().max_sessions(2)).await;
    let first = Polling::open(host.addr).await;
    let (mut second, _) = WebSocket::open(host.addr).await;
    assert_eq!(get(host.addr, POLLING).await.brief(), FULL);
    assert_eq!(ask(host.addr, "GET", WEBSOCKET, UPGRADE, "").await.brief(), (503, "Bad request"));
    let sockets = [host.accept().await, host.accept().await];
    assert_eq!(get(host.addr, POLLING).await.brief(), FULL);
    // Each end makes room for one.
    first.post("1").await;
    assert_eq!(reason(&sockets[0]).await, CloseReason::TransportClose);
    let third = Polling::open(host.addr).await;
    assert_eq!(get(host.addr, POLLING).await.brief(), FULL);
    second.send("1").await;
    second.closed().await;
    let _fourth = Polling::open(host.addr).await;
    third.post("1").await;
    let _fifth = Polling::open(host.addr).await;
    assert_eq!(get(host.addr, POLLING).await.brief(), FULL);
    assert_eq!(host.server.len(), 2);
}
