//! All sessions together, and the shutdown.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::adapter::error::ConfigError;
use crate::adapter::{Broadcast, Builder, CloseReason, Handle, Handler, Message, Phase, Server};
use crate::counting::Counting;
use crate::host::{HOUR, Host, builder, reason};
use crate::raw::{CLOSE, Connection, Frame, POLLING, Polling, WebSocket, get, request, within};

/// To all sessions except the sender's, and to some sessions.
pub async fn broadcasts_to_some() {
    let host = Host::start(builder().send_buffer(1, 0)).await;
    let (mut clients, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        clients.push(Polling::open(host.addr).await);
        sockets.push(host.accept().await);
    }
    let sender = sockets[0].id();
    let outcome = host.server.broadcast_except(|handle| handle.id() == sender, "others");
    assert_eq!(outcome, Broadcast { sent: 2, full: 0 });
    let handles = [sockets[0].handle(), sockets[1].handle()];
    assert_eq!(host.server.broadcast_to(&handles, "few"), Broadcast { sent: 1, full: 1 });
    for (client, expected) in clients.iter().zip(["4few", "4others", "4others"]) {
        assert_eq!(client.get().await.brief(), (200, expected));
    }
    assert_eq!(host.server.broadcast_to([] as [Handle; 0], "nobody"), Broadcast::default());
}

pub async fn a_handle_knows_the_phase_of_its_session() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    assert_eq!(socket.phase(), Phase::Open);
    socket.try_send("last").unwrap();
    socket.close();
    assert_eq!((socket.phase(), socket.is_open()), (Phase::Closing, false));
    assert_eq!(client.get().await.brief(), (200, "4last"));
    client.farewell().await;
    assert_eq!(socket.phase(), Phase::Closed);
}

/// Covers: S-166
pub async fn s165_a_server_with_the_defaults() {
    let seconds = Duration::from_secs;
    let server = crate::adapter::builder().build().unwrap();
    let config = server.config();
    assert_eq!(
        (config.ping_interval, config.ping_timeout, config.upgrade_timeout),
        (seconds(25), seconds(20), seconds(10))
    );
    assert_eq!((config.max_payload, config.allow_upgrades, server.header_timeout()), (1_000_000, true, seconds(30)));

    let other = crate::adapter::builder().ping_interval(seconds(7)).max_payload(8).header_timeout(seconds(9));
    let other = other.build().unwrap();
    assert_eq!((other.config().ping_interval, other.config().max_payload), (seconds(7), 8));
    assert_eq!(other.header_timeout(), seconds(9));
    assert!(crate::adapter::builder().ping_timeout(Duration::ZERO).build().is_err());
}

/// Timeouts that the clock cannot represent are shortened.
pub async fn options_of_connections_are_checked() {
    let builder = crate::adapter::builder;
    let zero = Duration::ZERO;
    for (invalid, name) in [
        (builder().header_timeout(zero), "header_timeout"),
        (builder().idle_timeout(zero), "idle_timeout"),
        (builder().write_timeout(zero), "write_timeout"),
        (builder().answer_timeout(zero), "answer_timeout"),
        (builder().shutdown_timeout(zero), "shutdown_timeout"),
        (builder().max_connections(0), "max_connections"),
        (builder().max_headers(0), "max_headers"),
        (builder().max_header_size(0), "max_header_size"),
    ] {
        assert_eq!(invalid.build().unwrap_err(), ConfigError::Zero(name));
    }
    let longest = Duration::MAX;
    let builder = builder().header_timeout(longest).idle_timeout(longest).write_timeout(longest);
    let host = Host::start(builder.answer_timeout(longest).shutdown_timeout(longest)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    // Larger than the buffers of the kernel: its connection blocks.
    let text = "x".repeat(20_000_000);
    socket.try_send(text.as_str()).unwrap();
    assert_eq!(client.get().await.body.len(), 1 + text.len());
    socket.abort();
    within(host.server.shutdown()).await;
}

/// The official client ends each session at once whose server announces a longer heartbeat than its timers can wait.
pub async fn a_heartbeat_that_kills_clients_is_refused() {
    let builder = crate::adapter::builder;
    for refused in [builder().ping_interval(Duration::MAX), builder().ping_timeout(Duration::from_millis(1 << 31))] {
        assert_eq!(refused.build().unwrap_err(), ConfigError::Heartbeat);
    }
    // The other times have no such limit.
    let longest = crate::host::builder()
        .upgrade_timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .body_timeout(Duration::MAX)
        .header_timeout(Duration::MAX);
    let host = Host::echo(longest).await;
    let client = Polling::open(host.addr).await;
    assert_eq!(client.post("4a").await.status, 200);
    assert_eq!(client.get().await.brief(), (200, "4a"));
    let mut client = WebSocket::upgrade(&client).await;
    client.send("4b").await;
    assert_eq!(client.next().await, Frame::text("4b"));
    let url = format!("http://{}", host.addr);
    let client = crate::adapter::client(&url)
        .unwrap()
        .open_timeout(Duration::MAX)
        .upgrade_timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .request_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .farewell_timeout(Duration::MAX);
    let mut socket = within(client.build().unwrap().connect()).await.unwrap();
    socket.send("c").await.unwrap();
    assert_eq!(within(socket.recv()).await, Some("c".into()));
    socket.close();
    assert_eq!(within(socket.closed()).await, CloseReason::ForcedClose);
}

pub async fn sessions_are_found_by_id() {
    let host = Host::start(builder()).await;
    let server = &host.server;
    assert!(server.is_empty() && server.sessions().is_empty());
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Polling::open(host.addr).await);
    }
    assert_eq!((server.len(), server.sessions().len()), (20, 20));
    for client in &clients {
        assert_eq!(server.get(&client.sid).unwrap().id().as_str(), client.sid);
    }
    for unknown in ["", "nope", "constructor"] {
        assert!(server.get(unknown).is_none());
    }
    // A closing session is still found, and a closed one is not.
    let handle = server.get(&clients[0].sid).unwrap();
    handle.close();
    assert!(server.get(&clients[0].sid).is_some());
    handle.abort();
    assert!(server.get(&clients[0].sid).is_none());
    assert_eq!((server.len(), server.sessions().len()), (19, 19));
}

pub async fn a_broadcast_goes_to_all_that_have_room() {
    let host = Host::start(builder().send_buffer(2 * Message::OVERHEAD, 0)).await;
    let polling = Polling::open(host.addr).await;
    let full = Polling::open(host.addr).await;
    let closing = Polling::open(host.addr).await;
    let (mut websocket, _) = WebSocket::open(host.addr).await;
    let sockets = [host.accept().await, host.accept().await, host.accept().await, host.accept().await];
    sockets[1].try_send("").unwrap();
    sockets[1].try_send("").unwrap();
    sockets[2].close();
    assert_eq!(host.server.broadcast(""), Broadcast { sent: 2, full: 1 });
    assert_eq!(polling.get().await.brief(), (200, "4"));
    assert_eq!(websocket.next().await, Frame::text("4"));
    assert_eq!(full.get().await.brief(), (200, "4\x1e4"));
    assert_eq!(closing.get().await.brief(), (200, "6\x1e1"));
    assert_eq!(host.server.broadcast(vec![1, 2, 3, 4]), Broadcast { sent: 3, full: 0 });
    assert_eq!(websocket.next().await, Frame::Binary(vec![1, 2, 3, 4]));
    assert_eq!(full.get().await.brief(), (200, "bAQIDBA=="));
}

/// The list of sessions is kept from one broadcast to the next.
pub async fn a_broadcast_goes_to_those_that_are_open_then() {
    let host = Host::start(builder()).await;
    let (mut first, _) = WebSocket::open(host.addr).await;
    let first_socket = host.accept().await;
    assert_eq!(host.server.broadcast("one"), Broadcast { sent: 1, full: 0 });
    let (mut second, _) = WebSocket::open(host.addr).await;
    let _second_socket = host.accept().await;
    assert_eq!(host.server.broadcast("both"), Broadcast { sent: 2, full: 0 });
    for text in ["4one", "4both"] {
        assert_eq!(first.next().await, Frame::text(text));
    }
    assert_eq!(second.next().await, Frame::text("4both"));
    first_socket.abort();
    assert_eq!(host.server.broadcast("the other"), Broadcast { sent: 1, full: 0 });
    assert_eq!(second.next().await, Frame::text("4the other"));
}

/// Covers, S-082
pub async fn sec15_all_sessions_can_be_closed_at_once() {
    let host = Host::start(builder()).await;
    // One session in each state: with messages to send, closing, probing, held, on a WebSocket, with a POST under way.
    let buffered = Polling::open(host.addr).await;
    let closing = Polling::open(host.addr).await;
    let probing = Polling::open(host.addr).await;
    let holding = Polling::open(host.addr).await;
    let posting = Polling::open(host.addr).await;
    let (mut websocket, _) = WebSocket::open(host.addr).await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        sockets.push(host.accept().await);
    }
    sockets[0].try_send("never read").unwrap();
    sockets[1].try_send("never read").unwrap();
    sockets[1].close();
    let mut probe = WebSocket::probe(&probing).await;
    let mut held = holding.start_get().await;
    host.holds(1).await;
    let mut post = posting.start_post("content-length: 10\r\n").await;

    host.server.abort_all();
    assert!(host.server.is_empty());
    for socket in &sockets {
        assert_eq!(reason(socket).await, CloseReason::ForcedClose);
    }
    probe.closed().await;
    assert_eq!(held.response().await.brief(), (200, "1"));
    websocket.closed().await;
    post.ended().await;
    host.holds(0).await;
    assert_eq!(buffered.get().await.status, 400);
    assert_eq!(closing.get().await.status, 400);
    // New sessions are still served.
    Polling::open(host.addr).await;
    assert_eq!(host.server.len(), 1);
}

/// A server on the runtime crate's own listener.
async fn bound() -> (Server, std::net::SocketAddr) {
    let server = builder().close_timeout(HOUR).build().unwrap();
    let addr = crate::adapter::bind(&server, "127.0.0.1:0").await.unwrap();
    (server, addr)
}

/// Covers: S-083, S-085, S-086
pub async fn s084_a_shutdown_waits_for_everyone() {
    let (server, addr) = bound().await;
    let idle = Connection::open(addr).await;
    let polling = Polling::open(addr).await;
    let holding = Polling::open(addr).await;
    let upgrading = Polling::open(addr).await;
    let mut probe = WebSocket::probe(&upgrading).await;
    let (mut websocket, _) = WebSocket::open(addr).await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(within(server.accept()).await);
    }
    let mut held = holding.start_get().await;
    sockets[0].try_send("last").unwrap();
    sockets[3].try_send("words").unwrap();

    let shutdown = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown().await }
    });
    // The WebSocket is closed first; clients on polling get the rest by polling.
    assert_eq!(websocket.next().await, Frame::text("4words"));
    assert_eq!(websocket.next().await, Frame::close(None));
    assert_eq!(get(addr, POLLING).await.status, 503);
    assert_eq!(polling.get().await.brief(), (200, "4last"));
    polling.farewell().await;
    let farewell = held.response().await;
    assert!(["1", "6\x1e1"].contains(&farewell.text()), "{farewell:?}");
    assert_eq!(upgrading.get().await.brief(), (200, "6\x1e1"));
    probe.closed().await;
    assert!(!shutdown.is_finished());
    websocket.frame(CLOSE, "").await;
    within(shutdown).await.unwrap();
    websocket.connection.ended().await;
    assert!(server.is_empty());
    // Idle connections are not waited for.
    drop(idle);
    for socket in &sockets {
        assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
    }
}

pub async fn a_shutdown_of_nothing_is_over_at_once() {
    let (server, addr) = bound().await;
    within(server.shutdown()).await;
    // The server listens no more.
    within(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
    within(server.shutdown()).await;
}

/// If another listener goes on, its clients get no sessions.
pub async fn a_server_that_was_shut_down_opens_no_sessions() {
    let host = Host::start(builder()).await;
    within(host.server.shutdown()).await;
    let mut connection = Connection::open(host.addr).await;
    let _ = connection.try_write(request("GET", POLLING, "", b"")).await;
    assert!(connection.try_response().await.is_none_or(|response| response.status == 503));
    assert!(host.server.is_empty());
}

/// Reports when its last callback begins, and ends it on request.
struct Slow(mpsc::UnboundedSender<&'static str>);

impl Handler for Slow {
    async fn close(&mut self, _: &Handle, _: CloseReason) {
        self.0.send("closing").unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.0.send("closed").unwrap();
    }
}

pub async fn a_shutdown_waits_for_handlers() {
    let (server, addr) = bound().await;
    let (note, mut notes) = mpsc::unbounded_channel();
    let running = tokio::spawn({
        let server = server.clone();
        let note = note.clone();
        async move { server.run(|_| Slow(note.clone())).await }
    });
    let (mut client, sid) = WebSocket::open(addr).await;
    let handle = server.get(&sid).unwrap();
    let shutdown = async {
        server.shutdown().await;
        note.send("shut down").unwrap();
    };
    let ((), ()) = tokio::join!(within(shutdown), client.closed());
    for expected in ["closing", "closed", "shut down"] {
        assert_eq!(within(notes.recv()).await, Some(expected));
    }
    assert_eq!(handle.close_reason(), Some(CloseReason::ForcedClose));
    running.abort();
}

/// When the server, its sessions and its clients are gone, no task is left.
/// Covers: S-084, R-22
pub async fn sec21_no_task_stays_behind() {
    let counting = Counting::new();
    let server = Builder::new(counting.runtime()).close_timeout(Duration::from_millis(50)).build().unwrap();
    let (listener, addr) = crate::runtime::bind().await;
    let listening = tokio::spawn(crate::adapter::serve(server.clone(), listener));
    let mut sockets = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        // One session of each kind, in the middle of something, accepted and not.
        let polling = Polling::open(addr).await;
        let held = polling.start_get().await;
        let post = polling.start_post("content-length: 10\r\n").await;
        let upgrading = Polling::open(addr).await;
        let probe = WebSocket::probe(&upgrading).await;
        let upgraded = WebSocket::upgrade(&Polling::open(addr).await).await;
        let (websocket, _) = WebSocket::open(addr).await;
        clients.push((held, post, probe, upgraded, websocket));
        for _ in 0..3 {
            sockets.push(within(server.accept()).await);
        }
    }
    assert!(counting.tasks() > 0);
    let handles: Vec<Handle> = sockets.iter().map(|socket| socket.handle()).collect();
    listening.abort();
    drop((server, sockets, clients));
    within(async {
        for handle in &handles {
            handle.closed().await;
        }
    })
    .await;
    drop(handles);
    counting.all_over().await;
}
