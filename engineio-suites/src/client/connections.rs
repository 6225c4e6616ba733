//! The connections that a client keeps, and those that it does not.

use std::time::Duration;

use super::script::{Script, open, response};
use crate::adapter::{CloseReason, RequestError, Socket, TransportError};
use crate::raw::within;

const POST_LOST: CloseReason = CloseReason::TransportError(TransportError::Post(RequestError::Lost));
const POLL_LOST: CloseReason = CloseReason::TransportError(TransportError::Poll(RequestError::Lost));

async fn closed(socket: &Socket) -> CloseReason {
    within(socket.closed()).await
}

pub async fn a_session_on_polling_uses_two() {
    let mut script = Script::start().await;
    let mut socket = script.open(&script.polling(), "S", "").await;
    for round in 0..20 {
        let get = script.get().await;
        assert!(get.connection() < 2, "in round {round}");
        socket.try_send("there").unwrap();
        let post = script.post().await;
        assert!(post.connection() < 2 && post.connection() != get.connection(), "in round {round}");
        post.ok("ok").await;
        within(socket.flush()).await.unwrap();
        get.ok("4back").await;
        assert_eq!(within(socket.recv()).await, Some("back".into()));
    }
    assert_eq!(script.accepted(), 2);
}

pub async fn a_server_may_end_a_connection_with_its_answer() {
    let mut script = Script::start().await;
    let client = script.polling();
    let answer = async { script.get().await.answer_and_close(200, "connection: close\r\n", open("S", "")).await };
    let (socket, ()) = within(async { tokio::join!(client.connect(), answer) }).await;
    let mut socket = socket.unwrap();
    for number in 1..5 {
        let get = script.get().await;
        assert_eq!(get.connection(), number);
        get.answer_and_close(200, "Connection: Close\r\n", "4x").await;
        assert_eq!(within(socket.recv()).await, Some("x".into()));
    }
    assert_eq!(socket.close_reason(), None);
}

/// The announcement is enough: such a server may close late, and a request in between would be lost.
pub async fn a_connection_that_the_server_is_about_to_close_is_not_used() {
    for header in ["connection: close\r\n", "connection: keep-alive, close\r\n", "keep-alive: timeout=1\r\n"] {
        let mut script = Script::start().await;
        let socket = script.open(&script.polling(), "S", "").await;
        let _get = script.get().await;
        let mut numbers = Vec::new();
        let mut answered = Vec::new();
        for _ in 0..4 {
            socket.try_send("").unwrap();
            let mut post = script.post().await;
            numbers.push(post.connection());
            post.write(response(200, header, "ok")).await;
            // It stays open on our side.
            answered.push(post);
            within(socket.flush()).await.unwrap();
        }
        assert_eq!(numbers, [2, 3, 4, 5].map(|number| number - 1), "{header}");
    }
}

pub async fn a_server_s_word_goes_before_the_option() {
    for (header, connections) in [("", 5), ("keep-alive: timeout=3600\r\n", 3), ("keep-alive: max=7\r\n", 5)] {
        let mut script = Script::start().await;
        let client = script.client().idle_timeout(Duration::ZERO).upgrade(false).build().unwrap();
        let socket = script.open(&client, "S", "").await;
        let _get = script.get().await;
        for _ in 0..3 {
            socket.try_send("").unwrap();
            script.post().await.answer(200, header, "ok").await;
            within(socket.flush()).await.unwrap();
        }
        // One for the handshake, one for the following poll, and those of the POSTs.
        assert_eq!(script.accepted(), connections, "{header}");
    }
}

/// The server closes a kept connection. The next request uses another one: once.
pub async fn a_kept_connection_that_is_gone_is_replaced() {
    let mut script = Script::start().await;
    let socket = script.open(&script.polling(), "S", "").await;
    let _get = script.get().await;
    for number in 1..5 {
        socket.try_send(format!("{number}")).unwrap();
        let post = script.post().await;
        assert_eq!((post.connection(), post.text()), (number, &*format!("4{number}")));
        post.answer_and_close(200, "", "ok").await;
        within(socket.flush()).await.unwrap();
    }
    assert_eq!((script.pending(), socket.close_reason()), (0, None));
}

/// Whether it arrived is not known, so it is never sent again.
/// Covers: R-49
pub async fn a_post_that_may_have_left_is_not_sent_again() {
    for (kept, abrupt) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut script = Script::start().await;
        let mut socket = script.open(&script.polling(), "S", "").await;
        let get = script.get().await;
        if kept {
            socket.try_send("before").unwrap();
            script.post().await.ok("ok").await;
            within(socket.flush()).await.unwrap();
        }
        socket.try_send("lost").unwrap();
        let post = script.post().await;
        assert_eq!(post.text(), "4lost");
        if abrupt {
            post.reset();
        } else {
            drop(post);
        }
        assert_eq!(closed(&socket).await, POST_LOST);
        assert_eq!(within(socket.flush()).await, Err(POST_LOST));
        assert_eq!(within(socket.recv()).await, None);
        // The poll ends too, and no connection stays.
        get.gone().await;
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}

pub async fn an_answer_to_a_post_that_is_cut() {
    let mut script = Script::start().await;
    let socket = script.open(&script.polling(), "S", "").await;
    let get = script.get().await;
    socket.try_send("lost").unwrap();
    let mut post = script.post().await;
    post.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
    drop(post);
    assert_eq!(closed(&socket).await, POST_LOST);
    get.gone().await;
    assert_eq!(script.pending(), 0);
}

/// The messages of the answer are gone, so the session ends. The server is told.
pub async fn a_poll_that_is_cut_ends_the_session() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncont",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n4a\x1e4b",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n4a\x1e4b\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n4a\x1e",
    ] {
        let mut script = Script::start().await;
        let mut socket = script.open(&script.polling(), "S", "").await;
        let mut get = script.get().await;
        get.write(answer).await;
        drop(get);
        assert_eq!(closed(&socket).await, POLL_LOST, "{answer}");
        assert_eq!(within(socket.recv()).await, None);
        let post = script.post().await;
        assert_eq!((post.query("sid"), post.text()), (Some("S"), "1"));
        post.ok("ok").await;
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}

pub async fn an_answer_in_pieces() {
    let mut script = Script::start().await;
    let mut socket = script.open(&script.polling(), "S", "").await;
    let mut get = script.get().await;
    for piece in ["HTT", "P/1.1 200 OK\r\nContent-Le", "ngth: 9\r\n\r", "\n4", "on", "e\x1e4", "tw"] {
        get.write(piece).await;
        tokio::task::yield_now().await;
    }
    get.write("o").await;
    get.go_on();
    assert_eq!(within(socket.recv()).await, Some("one".into()));
    assert_eq!(within(socket.recv()).await, Some("two".into()));
    let mut get = script.get().await;
    get.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n4th\r\n").await;
    get.write("3\r\nree\r\n0\r\n\r\n").await;
    get.go_on();
    assert_eq!(within(socket.recv()).await, Some("three".into()));
    // Some proxies confirm the request themselves.
    let mut get = script.get().await;
    get.write("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
    get.ok("4four").await;
    assert_eq!(within(socket.recv()).await, Some("four".into()));
    script.get().await;
    assert_eq!(script.accepted(), 1);
}
