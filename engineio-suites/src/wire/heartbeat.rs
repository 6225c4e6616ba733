//! Pings, pongs, and clients that are silent.

use std::time::Duration;

use tokio::time::sleep;

use crate::adapter::{Builder, CloseReason, Socket, TransportError, bind};
use crate::host::{HOUR, Host, builder, reason};
use crate::raw::{Connection, Frame, Polling, TEXT, UPGRADE, WEBSOCKET, WebSocket, frame, request, within};
use crate::runtime::Mortal;

const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);
const SHORT: Duration = Duration::from_millis(20);
/// Long enough for a client on a busy machine.
const LONG: Duration = Duration::from_secs(2);

const SLOW: CloseReason = CloseReason::TransportError(TransportError::SlowConsumer);

/// Short interval, long timeout.
async fn patient() -> Host {
    Host::start(builder().ping_interval(SHORT)).await
}

/// Short interval, short timeout.
async fn impatient() -> Host {
    Host::start(builder().ping_interval(SHORT).ping_timeout(SHORT)).await
}

/// The buffers of both kernels take all that the application sends, for much longer than the deadline of the test.
pub async fn r118_a_silent_client_is_closed_although_the_application_sends() {
    let host = impatient().await;
    let (_silent, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    let sender = socket.handle();
    let sending = tokio::spawn(async move {
        while sender.send("burst").await.is_ok() {
            sleep(SHORT / 4).await;
        }
    });
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
    within(sending).await.unwrap();
}

/// The pongs wait in the sockets of a server that stands still for longer than a pong may take.
pub async fn r120_a_server_that_stood_still_keeps_its_clients() {
    let host = Mortal::new();
    let builder = Builder::new(host.runtime()).ping_interval(SHORT).ping_timeout(LONG);
    let server = builder.build().unwrap();
    let serving = server.clone();
    let addr = host.run(async move { bind(&serving, "127.0.0.1:0").await.unwrap() }).await;
    let mut websockets = Vec::new();
    for _ in 0..10 {
        websockets.push(WebSocket::open(addr).await.0);
    }
    let mut polling = Vec::new();
    for _ in 0..10 {
        polling.push((Polling::open(addr).await, Connection::open(addr).await));
    }
    for client in &mut websockets {
        assert_eq!(client.next().await, Frame::text("2"));
    }
    for (client, _) in &polling {
        assert_eq!(client.get().await.brief(), (200, "2"));
    }
    let runs = host.stand_still(LONG + LONG / 4).await;
    for client in &mut websockets {
        client.send("3").await;
    }
    for (client, connection) in &mut polling {
        connection.write(request("POST", &client.target, "", b"3")).await;
    }
    within(runs).await.unwrap();
    for client in &mut websockets {
        assert_eq!(client.next().await, Frame::text("2"));
    }
    for (client, connection) in &mut polling {
        assert_eq!(connection.response().await.brief(), (200, "ok"));
        assert_eq!(client.get().await.brief(), (200, "2"));
    }
    assert_eq!(server.len(), 20);
    host.end();
}

/// The pong is in the only POST, whose body takes several times as long as a pong may.
pub async fn r119_a_pong_in_a_slow_upload_is_waited_for() {
    let host = Host::start(builder().ping_interval(SHORT).ping_timeout(5 * SHORT)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let mut post = client.start_post("content-length: 24\r\n").await;
    assert_eq!(client.get().await.brief(), (200, "2"));
    for byte in "4aaaaaaaaaaaaaaaaaaaaa\x1e3".chars() {
        post.write(byte.to_string()).await;
        sleep(SHORT).await;
    }
    assert_eq!(post.response().await.brief(), (200, "ok"));
    assert_eq!(socket.stats().heartbeats_received, 1);
}

/// Covers: R-91
pub async fn t016_polling() {
    let host = patient().await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for rounds in 1..=3 {
        assert_eq!(client.get().await.brief(), (200, "2"));
        assert_eq!(client.post("3").await.brief(), (200, "ok"));
        assert_eq!((socket.stats().heartbeats_sent, socket.stats().heartbeats_received), (rounds, rounds));
    }
    assert_eq!(socket.close_reason(), None);
}

/// Covers: R-91
pub async fn t018_websocket() {
    let host = patient().await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    for rounds in 1..=3 {
        assert_eq!(client.next().await, Frame::text("2"));
        client.send("3").await;
        assert_eq!(socket.stats().heartbeats_sent, rounds);
    }
    assert_eq!(client.next().await, Frame::text("2"));
    assert_eq!((socket.stats().heartbeats_received, socket.close_reason()), (3, None));
}

/// Covers: E-015, R-91
pub async fn t018_the_first_ping_comes_after_an_interval() {
    let host = Host::start(builder().ping_interval(Duration::from_millis(400))).await;
    // The timer starts before the session does.
    let early = sleep(Duration::from_millis(300));
    tokio::pin!(early);
    let client = Polling::open(host.addr).await;
    let (mut socket, _) = WebSocket::open(host.addr).await;
    let mut held = client.start_get().await;
    tokio::select! {
        biased;
        () = &mut early => (),
        frame = socket.next() => panic!("{frame:?}"),
        response = held.response() => panic!("{response:?}"),
    }
    assert_eq!(socket.next().await, Frame::text("2"));
    assert_eq!(held.response().await.brief(), (200, "2"));
}

/// Covers: S-048, S-074, E-006
pub async fn t017_a_silent_client_on_polling() {
    let host = impatient().await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
    assert_eq!(client.get().await.brief(), UNKNOWN);
    assert_eq!(client.post("3").await.brief(), UNKNOWN);
}

/// Covers: S-074, R-50
pub async fn m037_a_ping_timeout_answers_a_held_get() {
    let host = Host::start(builder().ping_interval(SHORT).ping_timeout(LONG)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    // The ping first, then only the end.
    assert_eq!(client.get().await.brief(), (200, "2"));
    assert_eq!(client.get().await.brief(), (200, "1"));
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
}

/// Covers: S-073, R-50
pub async fn t019_a_silent_client_on_a_websocket() {
    let host = impatient().await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    assert_eq!(client.next().await, Frame::text("2"));
    client.closed().await;
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
}

/// Covers: R-94
pub async fn t018_a_pong_answers_no_later_ping() {
    let host = Host::start(builder().ping_interval(Duration::from_millis(100)).ping_timeout(SHORT)).await;
    let mut connection = Connection::open(host.addr).await;
    connection.write([request("GET", WEBSOCKET, UPGRADE, b""), frame(TEXT, "3")].concat()).await;
    let mut client = WebSocket::accepted(connection).await;
    let socket = host.accept().await;
    assert!(matches!(client.next().await, Frame::Text(open) if open.starts_with("0{")));
    assert_eq!(client.next().await, Frame::text("2"));
    client.closed().await;
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
    assert_eq!((socket.stats().heartbeats_sent, socket.stats().heartbeats_received), (1, 1));
}

/// Covers: M-036, R-40
pub async fn s049_a_client_that_vanished_before_the_close() {
    let host = Host::start(builder().ping_interval(SHORT).ping_timeout(SHORT).close_timeout(HOUR)).await;
    let _client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("never fetched").unwrap();
    socket.close();
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
    let _client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.close();
    // It ends with the heartbeat, but nothing was lost.
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
}

pub async fn s079_an_upgraded_session_is_pinged() {
    let host = patient().await;
    let client = Polling::open(host.addr).await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    let socket = host.accept().await;
    for _ in 0..3 {
        assert_eq!(upgraded.next().await, Frame::text("2"));
        upgraded.send("3").await;
    }
    assert_eq!(socket.close_reason(), None);
}

/// A ping that was outstanding at the switch must still be answered.
/// Covers: R-17
pub async fn m041_a_silent_client_after_an_upgrade() {
    let host = Host::start(builder().ping_interval(SHORT).ping_timeout(LONG)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    assert_eq!(client.get().await.brief(), (200, "2"));
    let mut upgraded = WebSocket::upgrade(&client).await;
    upgraded.closed().await;
    assert_eq!(reason(&socket).await, CloseReason::PingTimeout);
    assert_eq!(socket.stats().heartbeats_sent, 1);
}

/// The heartbeat continues while a probe is open, and the other way round.
/// Covers: R-19, E-003
pub async fn s079_a_heartbeat_during_an_upgrade() {
    let host = patient().await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let mut probe = WebSocket::probe(&client).await;
    probe.send("2probe").await;
    assert_eq!(probe.next().await, Frame::text("3probe"));
    let three_pings = async {
        let mut pings = 0;
        while pings < 3 {
            match client.get().await.brief() {
                (200, "6") => (),
                (200, "2") => {
                    pings += 1;
                    assert_eq!(client.post("3").await.brief(), (200, "ok"));
                }
                other => panic!("{other:?}"),
            }
        }
    };
    within(three_pings).await;
    probe.send("5").await;
    assert_eq!(probe.next().await, Frame::text("2"));
    assert_eq!((socket.is_upgraded(), socket.close_reason()), (true, None));
}

/// The application sends without limit, the client reads nothing, the buffers are full: the heartbeat still detects
/// this.
async fn flood(socket: &Socket) -> CloseReason {
    let message = vec![0; 256 * 1024];
    let sender = socket.handle();
    let flooding = async { while sender.send(message.clone()).await.is_ok() {} };
    let (reason, ()) = tokio::join!(reason(socket), within(flooding));
    reason
}

pub async fn sec72_a_client_that_does_not_read_its_websocket() {
    let host = Host::start(builder().ping_interval(SHORT).ping_timeout(LONG)).await;
    let (client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    // The first ping may have left before everything was full.
    assert!(matches!(flood(&socket).await, SLOW | CloseReason::PingTimeout));
    assert!(host.server.is_empty());
    drop(client);
}

pub async fn sec72_a_client_that_does_not_poll() {
    let host = Host::start(builder().ping_interval(SHORT).ping_timeout(LONG)).await;
    let _client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    assert_eq!(flood(&socket).await, SLOW);
    assert!(host.server.is_empty());
}
