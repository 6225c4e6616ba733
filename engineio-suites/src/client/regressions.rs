//! Regression tests of the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};

use super::script::{Script, WEBSOCKET, open};
use crate::adapter::error::{BuildError, SinkError};
use crate::adapter::{CloseReason, ReconnectConfig, Reconnecting, RequestError, Socket, TransportError, TransportKind};
use crate::raw::{Frame, within};

const POST_LOST: CloseReason = CloseReason::TransportError(TransportError::Post(RequestError::Lost));

fn websocket_only(script: &Script) -> crate::adapter::Client {
    script.client().transports([TransportKind::WebSocket]).build().unwrap()
}

/// A session ended in order as soon as its last message was taken from its buffer, written or not.
pub async fn a_close_on_a_websocket_that_loses_a_message_is_none_in_order() {
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    let (socket, server) = script.open_websocket(&client, &open("S", "")).await;
    while socket.try_send(vec![7; 700_000]).is_ok() {
        tokio::task::yield_now().await;
    }
    socket.close();
    assert!(socket.closed().now_or_never().is_none());
    server.reset();
    assert_eq!(within(socket.closed()).await, CloseReason::TransportLost);
}

/// After a close, a flush reported that messages were lost, although they were under way.
pub async fn a_flush_behind_a_close_waits_for_the_messages() {
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    let (socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    socket.try_send("x").unwrap();
    socket.close();
    let handle = socket.handle();
    let flush = tokio::spawn(async move { handle.flush().await });
    assert_eq!(server.next().await, Frame::Text("4x".into()));
    server.closed().await;
    assert_eq!(within(flush).await.unwrap(), Ok(()));
    assert_eq!(within(socket.closed()).await, CloseReason::ForcedClose);
}

/// A sink closed successfully whatever happened to its messages.
pub async fn a_sink_that_lost_messages_does_not_close_well() {
    for forward in [false, true] {
        let mut script = Script::start().await;
        let client = script.polling();
        let mut socket = script.open(&client, "S", "").await;
        let _get = script.get().await;
        let closing = tokio::spawn(async move {
            if forward {
                futures_util::stream::iter([Ok("x".into())]).forward(socket).await
            } else {
                socket.feed("x".into()).await.unwrap();
                futures_util::SinkExt::<crate::adapter::Message>::close(&mut socket).await
            }
        });
        // Read, and lost.
        drop(script.post().await);
        assert_eq!(within(closing).await.unwrap(), Err(SinkError::Ended(POST_LOST)));
    }
}

/// An abandoned flush of the sink left its target behind, and the next flush used it.
pub async fn a_flush_of_a_sink_is_for_all_that_was_fed() {
    let mut script = Script::start().await;
    let client = script.polling();
    let mut socket = script.open(&client, "S", "").await;
    let _get = script.get().await;
    socket.feed("one".into()).await.unwrap();
    let first = script.post().await;
    assert!(futures_util::SinkExt::<crate::adapter::Message>::flush(&mut socket).now_or_never().is_none());
    socket.feed("two".into()).await.unwrap();
    first.ok("ok").await;
    let second = script.post().await;
    assert!(futures_util::SinkExt::<crate::adapter::Message>::flush(&mut socket).now_or_never().is_none());
    second.ok("ok").await;
    within(futures_util::SinkExt::<crate::adapter::Message>::flush(&mut socket)).await.unwrap();
}

/// A time beyond the range of the clock was added to it.
pub async fn connections_may_be_kept_for_ever() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::Polling]).idle_timeout(Duration::MAX).build().unwrap();
    let socket = script.open(&client, "S", "").await;
    assert!(socket.is_open());
}

/// A header of the user could split a message in two.
pub async fn headers_that_are_not_the_users_are_refused() {
    let script = Script::start().await;
    let ours =
        ["Content-Length", "transfer-encoding", "connection", "upgrade", "sec-websocket-key", "te", "keep-alive"];
    for name in ours {
        let refused = script.client().header(name, "3").build().unwrap_err();
        assert_eq!(refused, BuildError::Header(name.to_owned()));
    }
}

/// A server that chose an offered protocol was rejected.
pub async fn a_protocol_that_was_offered_may_be_chosen() {
    let mut script = Script::start().await;
    for (offered, opens) in [(true, true), (false, false)] {
        let mut builder = script.client().transports([TransportKind::WebSocket]);
        if offered {
            builder = builder.header("sec-websocket-protocol", "chat");
        }
        let client = builder.build().unwrap();
        let opening = tokio::spawn(async move { client.connect().await.map(drop).is_ok() });
        let request = script.websocket().await;
        assert_eq!(request.header("sec-websocket-protocol").is_some(), offered);
        let mut websocket = request.accept_with("sec-websocket-protocol: chat\r\n", "").await;
        if opens {
            websocket.text(&open("S", "")).await;
        }
        assert_eq!(within(opening).await.unwrap(), opens);
    }
}

/// The connections of polling stayed open for as long as the WebSocket that had replaced them.
pub async fn an_upgraded_session_has_one_connection() {
    let mut script = Script::start().await;
    let client = script.client().idle_timeout(Duration::from_secs(3600)).build().unwrap();
    let _socket = script.open(&client, "S", WEBSOCKET).await;
    let get = script.get().await;
    let mut websocket = script.websocket().await.accept().await;
    assert_eq!(websocket.next().await, Frame::Text("2probe".into()));
    websocket.answer_probe().await;
    get.ok("6").await;
    assert_eq!(websocket.next().await, Frame::Text("5".into()));
    script.stand(1).await;
}

/// A connector that panicked, or a runtime that ended, counted as the application's close.
pub async fn a_connector_that_panics_loses_the_connection() {
    let mut script = Script::start().await;
    let (addr, attempts) = (script.addr, Arc::new(AtomicUsize::new(0)));
    let connector = move |_: &str, _: u16| {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        async move {
            assert_ne!(attempt, 1, "this is part of the test");
            crate::runtime::connect(addr).await
        }
    };
    let client = script.client().transports([TransportKind::Polling]).connector(connector).build().unwrap();
    let socket = script.open(&client, "S", "").await;
    let _get = script.get().await;
    socket.try_send("x").unwrap();
    let reason = within(socket.closed()).await;
    assert!(matches!(reason, CloseReason::TransportError(_)), "{reason:?}");
}

/// The status of a rejection was lost with its body.
pub async fn a_refusal_whose_words_do_not_come_is_a_refusal() {
    let mut script = Script::start().await;
    let client = script.polling();
    let opening = tokio::spawn(async move { client.connect().await.map(drop) });
    let mut get = script.get().await;
    get.write("HTTP/1.1 403 No\r\ncontent-length: 100\r\n\r\nno").await;
    let error = within(opening).await.unwrap().unwrap_err();
    let details = crate::adapter::Details::Answer { status: 403, body: Bytes::from_static(b"no") };
    assert_eq!(error.details(), Some(&details));
    drop(get);
}

/// What a task does with a session must be able to move between threads.
pub async fn futures_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    let client = crate::adapter::client("http://127.0.0.1:1").unwrap().build().unwrap();
    spawnable(&client.connect());
    spawnable(&client.connect_observed());
    let mut sessions: Reconnecting = client.reconnecting(ReconnectConfig::default()).unwrap();
    spawnable(&sessions.send("a"));
    spawnable(&sessions.next());
    let check = |socket: &mut Socket| {
        spawnable(&Socket::flush(socket));
        spawnable(&Socket::send(socket, "a"));
        spawnable(&socket.closed());
        spawnable(&socket.recv());
    };
    let _ = check;
}
