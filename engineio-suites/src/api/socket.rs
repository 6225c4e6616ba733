//! A session as applications use it.

use futures_util::{FutureExt, StreamExt};

use crate::adapter::error::SinkError;
use crate::adapter::{CloseReason, Message, SendError, Socket, TransportKind};
use crate::host::{Host, builder, reason};
use crate::raw::{Frame, POLLING, Polling, WebSocket, ask, sid_of, within};

async fn polling() -> (Host, Polling, Socket) {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

async fn websocket() -> (Host, WebSocket, Socket) {
    let host = Host::start(builder()).await;
    let (client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

pub async fn sessions_are_a_stream() {
    let host = Host::start(builder()).await;
    let mut incoming = host.server.incoming();
    assert!(incoming.next().now_or_never().is_none());
    let first = Polling::open(host.addr).await;
    let (_second, second) = WebSocket::open(host.addr).await;
    assert_eq!(within(incoming.next()).await.unwrap().id().as_str(), first.sid);
    assert_eq!(within(incoming.next()).await.unwrap().id().as_str(), second);
}

pub async fn two_may_accept() {
    let host = Host::start(builder()).await;
    let accepting =
        [host.server.clone(), host.server.clone()].map(|server| tokio::spawn(async move { server.accept().await }));
    let sids = [Polling::open(host.addr).await.sid, Polling::open(host.addr).await.sid];
    for task in accepting {
        let socket = within(task).await.unwrap();
        assert!(sids.iter().any(|sid| *sid == **socket.id()));
    }
}

/// Covers: S-092
pub async fn a_socket_is_a_stream_and_a_sink() {
    let (_host, mut client, socket) = websocket().await;
    let (sink, stream) = socket.split();
    let echo = tokio::spawn(stream.map(Ok).forward(sink));
    for text in ["4one", "4two"] {
        client.send(text).await;
        assert_eq!(client.next().await, Frame::text(text));
    }
    // At the end of the stream the sink is closed.
    client.send("1").await;
    client.closed().await;
    assert_eq!(within(echo).await.unwrap(), Ok(()));
}

pub async fn a_sink_flushes_and_closes() {
    use futures_util::SinkExt;
    let (_host, mut client, mut socket) = websocket().await;
    within(socket.feed("one".into())).await.unwrap();
    within(SinkExt::send(&mut socket, "two".into())).await.unwrap();
    assert_eq!(socket.stats().messages_sent, 2);
    within(SinkExt::close(&mut socket)).await.unwrap();
    assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
    assert_eq!(client.next().await, Frame::text("4one"));
    assert_eq!(client.next().await, Frame::text("4two"));
    client.closed().await;
    let refused = within(SinkExt::send(&mut socket, "three".into())).await;
    assert_eq!(refused, Err(SinkError::Refused(SendError::Closed("three".into()))));
}

/// Covers: S-120
pub async fn s118_flushed_is_what_has_left() {
    let (host, client, socket) = polling().await;
    // There is nothing to wait for.
    within(socket.flush()).await.unwrap();
    socket.try_send("one").unwrap();
    let flushing = tokio::spawn({
        let handle = socket.handle();
        async move { handle.flush().await }
    });
    assert!(socket.flush().now_or_never().is_none());
    assert_eq!(client.get().await.brief(), (200, "4one"));
    assert_eq!(within(flushing).await.unwrap(), Ok(()));

    let (mut client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    for number in 0..100 {
        socket.try_send(vec![number; 1000]).unwrap();
    }
    let (flushed, ()) = tokio::join!(within(socket.flush()), async {
        for number in 0..100 {
            assert_eq!(client.next().await, Frame::Binary(vec![number; 1000]));
        }
    });
    assert_eq!(flushed, Ok(()));
}

/// Covers: S-119
pub async fn s121_what_was_sent_before_an_upgrade_is_flushed_behind_it() {
    let (_host, client, socket) = polling().await;
    socket.try_send("one").unwrap();
    let flushing = tokio::spawn({
        let handle = socket.handle();
        async move { handle.flush().await }
    });
    let mut upgraded = WebSocket::upgrade(&client).await;
    assert_eq!(upgraded.next().await, Frame::text("4one"));
    assert_eq!(within(flushing).await.unwrap(), Ok(()));
}

/// Covers: S-125
pub async fn s124_what_never_left_is_not_flushed() {
    let (_host, client, socket) = polling().await;
    socket.try_send("one").unwrap();
    let flushing = tokio::spawn({
        let handle = socket.handle();
        async move { handle.flush().await }
    });
    assert!(socket.flush().now_or_never().is_none());
    client.post("1").await;
    assert_eq!(within(flushing).await.unwrap(), Err(CloseReason::TransportClose));
    assert_eq!(within(socket.flush()).await, Err(CloseReason::TransportClose));
    assert_eq!((socket.stats().messages_accepted, socket.stats().messages_sent), (1, 0));
}

pub async fn a_message_that_is_not_taken_comes_back() {
    let (_host, client, socket) = polling().await;
    let separated = Message::from("a\x1eb");
    assert_eq!(socket.try_send(separated.clone()), Err(SendError::Separator(separated.clone())));
    assert_eq!(within(socket.handle().send(separated.clone())).await, Err(SendError::Separator(separated)));
    socket.abort();
    assert_eq!(socket.try_send("late"), Err(SendError::Closed("late".into())));
    assert_eq!(within(socket.handle().send("late")).await, Err(SendError::Closed("late".into())));
    let late: Vec<Message> = vec!["late".into(), vec![1].into()];
    assert_eq!(socket.try_send_all(late.clone()), Err(SendError::Closed(late.clone())));
    assert_eq!(within(socket.send_all(late.clone())).await, Err(SendError::Closed(late)));
    assert_eq!(client.get().await.status, 400);
}

/// Covers: E-014
pub async fn r77_messages_that_belong_together_stay_together() {
    let (_host, client, socket) = polling().await;
    let pairs = |name: &str| -> Vec<Message> { vec![format!("{name} with").into(), vec![1, 2, 3, 4].into()] };
    let senders = ["a", "b", "c", "d"].map(|name| {
        let (handle, pair) = (socket.handle(), pairs(name));
        tokio::spawn(async move { handle.send_all(pair).await })
    });
    for sender in senders {
        within(sender).await.unwrap().unwrap();
    }
    let response = client.get().await;
    let packets: Vec<&str> = response.text().split('\x1e').collect();
    assert_eq!(packets.len(), 8);
    for pair in packets.chunks(2) {
        assert_eq!((&pair[0][2..], pair[1]), (" with", "bAQIDBA=="));
    }
}

pub async fn a_cancelled_recv_takes_nothing() {
    let (_host, client, mut socket) = polling().await;
    for number in 0..50 {
        // Nothing has arrived yet; the attempt is dropped.
        assert!(socket.recv().now_or_never().is_none());
        let (message, response) = tokio::join!(
            within(async {
                loop {
                    tokio::select! {
                        biased;
                        () = tokio::task::yield_now() => (),
                        message = socket.recv() => break message,
                    }
                }
            }),
            client.post(format!("4{number}")),
        );
        assert_eq!((message, response.status), (Some(number.to_string().into()), 200));
    }
    assert_eq!(socket.stats().messages_received, 50);
}

/// Messages that arrived before the end are delivered, and then the end.
pub async fn messages_outlive_their_session() {
    let (_host, mut client, mut socket) = websocket().await;
    client.send("4one").await;
    client.send("4two").await;
    drop(client);
    assert_eq!(within(socket.next()).await, Some("one".into()));
    assert_eq!(within(socket.next()).await, Some("two".into()));
    assert_eq!(within(socket.next()).await, None);
    assert_eq!(within(socket.next()).await, None);
    assert_eq!(socket.close_reason(), Some(CloseReason::TransportClose));
}

pub async fn what_was_not_taken_is_dropped_by_a_close() {
    let (_host, client, mut socket) = polling().await;
    assert_eq!(client.post("4one\x1e4two").await.status, 200);
    assert_eq!(within(socket.recv()).await, Some("one".into()));
    socket.close();
    assert_eq!(client.get().await.brief(), (200, "6\x1e1"));
    assert_eq!(within(socket.recv()).await, None);
}

pub async fn r51_closing_again_changes_nothing() {
    let (_host, mut client, socket) = websocket().await;
    let handle = socket.handle();
    socket.close();
    socket.close();
    handle.abort();
    drop(socket);
    handle.close();
    client.closed().await;
    assert_eq!(within(handle.closed()).await, CloseReason::ForcedClose);
    assert_eq!(within(handle.closed()).await, CloseReason::ForcedClose);
}

pub async fn a_dropped_socket_closes_its_session_in_order() {
    let (_host, mut client, socket) = websocket().await;
    let handle = socket.handle();
    socket.try_send("last words").unwrap();
    drop(socket);
    assert!(!handle.is_open());
    assert_eq!(client.next().await, Frame::text("4last words"));
    client.closed().await;
    assert_eq!(within(handle.closed()).await, CloseReason::ForcedClose);

    let (host, client, socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    drop(socket);
    assert_eq!(held.response().await.brief(), (200, "1"));
    assert!(host.server.is_empty());
}

/// A handle neither keeps a session open nor ends it.
pub async fn a_handle_is_only_a_handle() {
    let (host, client, socket) = polling().await;
    drop([socket.handle(), socket.handle()]);
    assert!(socket.is_open());
    let handle = host.server.get(&client.sid).unwrap();
    handle.try_send("by name").unwrap();
    assert_eq!(client.get().await.brief(), (200, "4by name"));
    drop(socket);
    client.farewell().await;
    assert_eq!(handle.close_reason(), Some(CloseReason::ForcedClose));
}

/// Covers: S-039, S-136, S-145, S-146, S-162, S-164
pub async fn s038_a_session_can_be_looked_at() {
    let host = Host::start(builder()).await;
    let target = format!("{POLLING}&token=a%20b&token=c");
    let headers = "cookie: a=1\r\nx-list: 1\r\nx-list: 2\r\nx-bytes: \u{e9}\r\n";
    let response = ask(host.addr, "GET", &target, headers, "").await;
    let sid = sid_of(response.text());
    let mut socket = host.accept().await;
    assert_eq!(socket.id().as_str(), sid);
    assert_eq!((socket.transport(), socket.is_upgraded(), socket.protocol()), (TransportKind::Polling, false, 4));
    assert_eq!(socket.remote_addr().map(|addr| addr.ip()), Some(host.addr.ip()));
    assert!(socket.is_open() && socket.close_reason().is_none());

    let client = Polling { addr: host.addr, target: format!("{POLLING}&sid={sid}"), sid };
    let mut upgraded = WebSocket::upgrade(&client).await;
    upgraded.send("4hello").await;
    upgraded.frame(crate::raw::BINARY, [1, 2, 3]).await;
    upgraded.send("3").await;
    assert_eq!(within(socket.recv()).await, Some("hello".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2, 3].into()));
    socket.try_send("four").unwrap();
    assert_eq!(upgraded.next().await, Frame::text("4four"));
    upgraded.send("1").await;
    upgraded.closed().await;
    assert_eq!(reason(&socket).await, CloseReason::TransportClose);

    // After the end it is unchanged.
    assert_eq!((socket.transport(), socket.is_upgraded()), (TransportKind::WebSocket, true));
    let stats = socket.stats();
    assert_eq!((stats.messages_received, stats.bytes_received), (2, 8));
    assert_eq!((stats.messages_accepted, stats.messages_sent, stats.bytes_sent), (1, 1, 4));
    assert_eq!((stats.heartbeats_sent, stats.heartbeats_received), (0, 1));
    let request = socket.request();
    assert_eq!(request.uri(), target.as_str());
    let values = |name| request.headers().get_all(name).iter().map(|value| value.as_bytes()).collect::<Vec<_>>();
    assert_eq!(values("cookie"), [b"a=1"]);
    assert_eq!(values("x-list"), [b"1", b"2"]);
    assert_eq!(values("x-bytes"), ["\u{e9}".as_bytes()]);
    assert!(!socket.is_open());
}

/// The id is a secret, and is not printed by accident.
pub async fn sec22_debug_output_keeps_the_secret() {
    let (host, client, socket) = polling().await;
    for printed in [format!("{socket:?}"), format!("{:?}", socket.handle()), format!("{:?}", host.server)] {
        assert!(!printed.contains(&client.sid), "{printed}");
    }
}
