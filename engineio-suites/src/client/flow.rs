//! Sending and receiving: batches, backpressure, and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, SinkExt, StreamExt};

use super::script::{Script, open, open_with};
use crate::adapter::error::SinkError;
use crate::adapter::{
    Client, CloseReason, Event, Message, RequestError, SendError, Socket, TransportError, TransportKind,
};
use crate::raw::{BINARY, Frame, PING, within};

/// The size that one empty message counts for.
const EMPTY: usize = Message::OVERHEAD;

fn websocket_only(script: &Script) -> Client {
    script.client().transports([TransportKind::WebSocket]).build().unwrap()
}

/// A session on polling whose server accepts bodies of this size.
async fn limited(script: &mut Script, max_payload: usize) -> Socket {
    let client = script.polling();
    script.begin(&client, &open_with("S", "", 3_600_000, max_payload)).await.unwrap()
}

fn texts(lens: &[usize], char: char) -> Vec<Message> {
    lens.iter().map(|&len| char.to_string().repeat(len).into()).collect()
}

/// Covers: C-066
pub async fn c050_posts_are_grouped_under_the_limit() {
    let mut script = Script::start().await;
    let socket = limited(&mut script, 100).await;
    let _get = script.get().await;
    let messages = [texts(&[99, 30, 30, 35], 'a'), texts(&[33], '€'), texts(&[99], 'b')].concat();
    socket.try_send_all(messages).unwrap();
    let mut groups = Vec::new();
    for _ in 0..4 {
        let post = script.post().await;
        assert!(post.body.len() <= 100);
        groups.push(post.text().split('\x1e').map(|packet| packet.len() - 1).collect::<Vec<_>>());
        post.ok("ok").await;
    }
    assert_eq!(groups, [vec![99], vec![30, 30, 35], vec![99], vec![99]]);
    // Base64 is longer than the data.
    let messages = vec![vec![0; 72].into(), vec![0; 20].into(), "t".repeat(20).into(), vec![0; 20].into()];
    socket.try_send_all(messages).unwrap();
    let first = script.post().await;
    assert_eq!(first.body.len(), 1 + 96);
    first.ok("ok").await;
    let second = script.post().await;
    assert_eq!(second.text().split('\x1e').map(str::len).collect::<Vec<_>>(), [29, 21, 29]);
    second.ok("ok").await;
    within(socket.flush()).await.unwrap();
    assert_eq!(script.pending(), 0);
}

/// The server would end the session because of it.
pub async fn c051_what_the_server_does_not_take_is_refused_here() {
    let mut script = Script::start().await;
    let socket = limited(&mut script, 100).await;
    let _get = script.get().await;
    for message in [Message::from("x".repeat(100)), vec![0; 75].into(), "€".repeat(34).into()] {
        assert_eq!(socket.try_send(message.clone()), Err(SendError::Oversized(message.clone())));
        assert_eq!(socket.send(message.clone()).await, Err(SendError::Oversized(message.clone())));
        let both: Vec<Message> = vec!["small".into(), message];
        assert_eq!(socket.try_send_all(both.clone()), Err(SendError::Oversized(both)));
    }
    socket.try_send(vec![0; 72]).unwrap();
    assert_eq!(script.post().await.body.len(), 97);
    // A WebSocket carries binary data as such.
    let client = websocket_only(&script);
    let (socket, mut server) = script.open_websocket(&client, &open_with("S", "", 3_600_000, 100)).await;
    socket.try_send(vec![7; 100]).unwrap();
    assert_eq!(server.next().await, Frame::Binary(vec![7; 100]));
    assert!(matches!(socket.try_send(vec![7; 101]), Err(SendError::Oversized(_))));
    assert!(matches!(socket.try_send("x".repeat(100)), Err(SendError::Oversized(_))));
}

pub async fn a_separator_has_no_form_on_polling() {
    let mut script = Script::start().await;
    let client = script.polling();
    let socket = script.open(&client, "S", "").await;
    assert_eq!(socket.try_send("a\x1eb"), Err(SendError::Separator("a\x1eb".into())));
    socket.try_send(b"a\x1eb".to_vec()).unwrap();
    assert_eq!(script.post().await.text(), "bYR5i");
    let client = websocket_only(&script);
    let (mut socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    socket.try_send("a\x1eb").unwrap();
    assert_eq!(server.next().await, Frame::text("4a\x1eb"));
    server.text("4c\x1ed").await;
    assert_eq!(within(socket.recv()).await, Some("c\x1ed".into()));
}

/// Covers: C-065
pub async fn c069_base64_where_it_is_asked_for() {
    let mut script = Script::start().await;
    let client = script.client().base64(true).transports([TransportKind::WebSocket]).build().unwrap();
    let (mut socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    socket.try_send(vec![0, 1, 2]).unwrap();
    assert_eq!(server.next().await, Frame::text("bAAEC"));
    server.text("bAwQF").await;
    assert_eq!(within(socket.recv()).await, Some(vec![3, 4, 5].into()));
    // Whether the server follows the request or not.
    server.frame(BINARY, [6, 7]).await;
    assert_eq!(within(socket.recv()).await, Some(vec![6, 7].into()));
}

/// From a server that encodes with line ends, as Java does.
pub async fn m013_white_space_in_base64_is_skipped() {
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    let (mut socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    server.text("bAwQF\r\n").await;
    assert_eq!(within(socket.recv()).await, Some(vec![3, 4, 5].into()));
    let client = script.polling();
    let mut socket = script.open(&client, "S", "").await;
    script.get().await.ok("bAQIDBA==\n\x1e4after").await;
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2, 3, 4].into()));
    assert_eq!(within(socket.recv()).await, Some("after".into()));
}

/// A server that answered every poll at once, with nothing, was asked as often as the network allowed.
pub async fn a_server_that_answers_nothing_is_polled_more_slowly() {
    let mut script = Script::start().await;
    let mut socket = script.open(&script.polling(), "S", "").await;
    let start = Instant::now();
    for _ in 0..13 {
        script.get().await.ok("6").await;
    }
    // The tenth answer and each one after it has a tenth of a second before the next poll.
    assert!(start.elapsed() >= Duration::from_millis(200));
    script.get().await.ok("4a").await;
    assert_eq!(within(socket.recv()).await, Some("a".into()));
}

///
pub async fn a_full_send_buffer() {
    let mut script = Script::start().await;
    let builder = script.client().transports([TransportKind::Polling]).send_buffer(4 * EMPTY, 2 * EMPTY);
    let client = builder.build().unwrap();
    let socket = script.open(&client, "S", "").await;
    socket.try_send("under way").unwrap();
    let post = script.post().await;
    for _ in 0..4 {
        socket.try_send("").unwrap();
    }
    assert_eq!(socket.send_buffered(), 4 * EMPTY);
    assert_eq!(socket.try_send("too many"), Err(SendError::Full("too many".into())));
    let five: Vec<Message> = vec!["".into(); 5];
    assert_eq!(socket.try_send_all(five.clone()), Err(SendError::TooLarge(five)));
    let handle = socket.handle();
    let sending = tokio::spawn(async move { handle.send("waited").await });
    let handle = socket.handle();
    let together = tokio::spawn(async move { handle.send_all(vec!["to".into(), "gether".into()]).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!sending.is_finished() && !together.is_finished());
    post.ok("ok").await;
    within(sending).await.unwrap().unwrap();
    within(together).await.unwrap().unwrap();
    let post = script.post().await;
    assert_eq!(post.text(), "4\x1e4\x1e4\x1e4");
    // The messages of a POST have left the buffer, but not the client.
    assert!(socket.flush().now_or_never().is_none());
    post.ok("ok").await;
    let post = script.post().await;
    let mut rest: Vec<_> = post.text().split('\x1e').collect();
    assert!(rest == ["4waited", "4to", "4gether"] || rest == ["4to", "4gether", "4waited"], "{rest:?}");
    rest.clear();
    post.ok("ok").await;
    within(socket.flush()).await.unwrap();
    assert_eq!(socket.send_buffered(), 0);
}

/// A server that does not read blocks the sender, and no more than the buffers on the way are filled.
pub async fn a_websocket_whose_server_does_not_read() {
    const SIZE: usize = 1 << 18;
    const MESSAGES: usize = 160;
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    let (socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (handle, count) = (socket.handle(), Arc::clone(&sent));
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            handle.send(vec![number as u8; SIZE]).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
        handle.flush().await.unwrap();
    });
    for number in 0..MESSAGES {
        assert_eq!(server.next().await, Frame::Binary(vec![number as u8; SIZE]));
        let ahead = sent.load(Ordering::Relaxed).saturating_sub(number);
        // The send buffer, those of the two sockets, and what is being written and read.
        assert!(ahead <= 80, "{ahead} messages ahead");
        assert!(socket.send_buffered() <= (1 << 20) + SIZE + EMPTY);
    }
    within(sending).await.unwrap();
}

pub async fn r77_many_tasks_send() {
    const TASKS: usize = 20;
    const ROUNDS: usize = 20;
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::Polling]).send_buffer(2000, 500).build().unwrap();
    let socket = script.open(&client, "S", "").await;
    for task in 0..TASKS {
        let handle = socket.handle();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let text = format!("{task}:{round}");
                let together = vec![Message::from(text.as_str()), text.clone().into_bytes().into(), text.into()];
                handle.send_all(together).await.unwrap();
            }
        });
    }
    let mut packets: Vec<String> = Vec::new();
    while packets.len() < TASKS * ROUNDS * 3 {
        let post = script.post().await;
        packets.extend(post.text().split('\x1e').map(str::to_owned));
        post.ok("ok").await;
    }
    let mut rounds = [0; TASKS];
    for together in packets.chunks(3) {
        assert_eq!(together[0], together[2]);
        assert!(together[0].starts_with('4') && together[1].starts_with('b'));
        let (task, round) = together[0][1..].split_once(':').unwrap();
        let (task, round): (usize, usize) = (task.parse().unwrap(), round.parse().unwrap());
        assert_eq!(rounds[task], round);
        rounds[task] += 1;
    }
    assert_eq!(rounds, [ROUNDS; TASKS]);
}

pub async fn a_socket_is_a_sink_and_a_stream() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::Polling]).send_buffer(EMPTY, 0).build().unwrap();
    let socket = script.open(&client, "S", "").await;
    let handle = socket.handle();
    let (mut sink, mut stream) = socket.split();
    let get = script.get().await;
    let sending = tokio::spawn(async move {
        for number in 0..10 {
            sink.send(Message::from(format!("{number}"))).await.unwrap();
        }
        sink.close().await.unwrap();
        sink.send("late".into()).await
    });
    get.ok("4a\x1e4b").await;
    assert_eq!(within(stream.next()).await, Some("a".into()));
    assert_eq!(within(stream.next()).await, Some("b".into()));
    let mut packets = Vec::new();
    while packets.len() < 11 {
        let post = script.post().await;
        packets.extend(post.text().split('\x1e').map(str::to_owned));
        post.ok("ok").await;
    }
    assert_eq!(packets, (0..10).map(|number| format!("4{number}")).chain(["1".into()]).collect::<Vec<_>>());
    assert_eq!(within(sending).await.unwrap(), Err(SinkError::Refused(SendError::Closed("late".into()))));
    assert_eq!(within(stream.next()).await, None);
    assert_eq!(handle.close_reason(), Some(CloseReason::ForcedClose));
}

pub async fn a_sink_whose_session_ends() {
    let mut script = Script::start().await;
    let client = script.polling();
    let mut socket = script.open(&client, "S", "").await;
    let lost = CloseReason::TransportError(TransportError::Post(RequestError::Lost));
    let cut = async { drop(script.post().await) };
    let (sent, ()) = within(async { tokio::join!(SinkExt::send(&mut socket, Message::from("lost")), cut) }).await;
    assert_eq!(sent, Err(SinkError::Ended(lost)));
}

/// The server is slowed down: there is no next poll before there is room.
pub async fn a_slow_application_holds_up_polling() {
    let mut script = Script::start().await;
    let builder = script.client().transports([TransportKind::Polling]).receive_buffer(4 * EMPTY);
    let client = builder.build().unwrap();
    let mut socket = script.open(&client, "S", "").await;
    let body: Vec<String> = (0..100).map(|number| format!("4{number:03}")).collect();
    script.get().await.ok(body.join("\x1e")).await;
    for number in 0..100 {
        assert_eq!(within(socket.recv()).await, Some(format!("{number:03}").into()));
        assert!(socket.receive_buffered() <= 5 * (EMPTY + 3));
        // Sending continues meanwhile.
        if number % 10 == 0 {
            socket.try_send("x").unwrap();
            let post = script.post().await;
            assert_eq!(post.text(), "4x");
            post.ok("ok").await;
            within(socket.flush()).await.unwrap();
        }
        if number < 90 {
            assert_eq!(script.pending(), 0);
        }
    }
    script.get().await.ok("4more").await;
    assert_eq!(within(socket.recv()).await, Some("more".into()));
}

/// Nothing is read from the connection, so the server's buffers and those on the way fill up.
pub async fn a_slow_application_holds_up_a_websocket() {
    const SIZE: usize = 1 << 16;
    const MESSAGES: usize = 500;
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::WebSocket]).receive_buffer(4 * SIZE).build().unwrap();
    let (mut socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let writing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            server.try_frame(BINARY, vec![number as u8; SIZE]).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
        server
    });
    for number in 0..MESSAGES {
        assert_eq!(within(socket.recv()).await, Some(vec![number as u8; SIZE].into()));
        assert!(socket.receive_buffered() <= 5 * (SIZE + EMPTY), "{}", socket.receive_buffered());
        let ahead = written.load(Ordering::Relaxed).saturating_sub(number);
        assert!(ahead <= 300, "{ahead} messages ahead");
    }
    let mut server = within(writing).await.unwrap();
    server.frame(PING, "").await;
    assert_eq!(server.next().await, Frame::Pong(Vec::new()));
}

/// A server that is blocked by our application is not closed for silence.
pub async fn a_slow_application_does_not_lose_its_server() {
    let mut script = Script::start().await;
    let builder = script.client().transports([TransportKind::Polling]).receive_buffer(EMPTY);
    let client = builder.build().unwrap();
    let mut slow = script.begin(&client, &open_with("S", "", 20, 1000)).await.unwrap();
    script.get().await.ok("4\x1e4\x1e2").await;
    // Without the exception the session would end.
    for _ in 0..3 {
        let client = script.polling();
        let other = script.begin(&client, &open_with("T", "", 20, 1000)).await.unwrap();
        assert_eq!(within(other.closed()).await, CloseReason::PingTimeout);
        script.post().await.ok("ok").await;
        script.cut_pending();
    }
    assert_eq!(slow.close_reason(), None);
    for _ in 0..2 {
        assert_eq!(within(slow.recv()).await, Some("".into()));
    }
    let pong = script.post().await;
    assert_eq!((pong.query("sid"), pong.text()), (Some("S"), "3"));
}

pub async fn an_answer_above_the_limit() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::Polling]).max_payload(1000).build().unwrap();
    let mut socket = script.open(&client, "S", "").await;
    script.get().await.ok(format!("4{}", "x".repeat(999))).await;
    assert_eq!(within(socket.recv()).await, Some("x".repeat(999).into()));
    let mut get = script.get().await;
    // The length is enough; the body need not arrive.
    get.write("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n4").await;
    let expected = CloseReason::TransportError(TransportError::Poll(RequestError::TooLarge));
    assert_eq!(within(socket.closed()).await, expected);
    get.gone().await;
    assert_eq!(script.post().await.text(), "1");
}

pub async fn a_websocket_message_above_the_limit() {
    let mut script = Script::start().await;
    for fragments in [false, true] {
        let client = script.client().transports([TransportKind::WebSocket]).max_payload(1000).build().unwrap();
        let (mut socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
        server.frame(BINARY, [7; 1000]).await;
        assert_eq!(within(socket.recv()).await, Some(vec![7; 1000].into()));
        if fragments {
            server.frame(BINARY & 0x7f, [7; 600]).await;
            server.frame(0x80, [7; 600]).await;
        } else {
            server.frame(BINARY, [7; 1001]).await;
        }
        let expected = CloseReason::TransportError(TransportError::MessageTooLarge);
        assert_eq!(within(socket.closed()).await, expected);
        assert_eq!(server.next().await, Frame::close(1009));
    }
}

/// Events that are not observed do not accumulate.
pub async fn events_that_nobody_takes_are_bounded() {
    const ROUNDS: usize = 1000;
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::WebSocket]).build().unwrap();
    let answer = async {
        let mut server = script.websocket().await.accept().await;
        server.text(&open("S", "")).await;
        server
    };
    let (events, mut server) = within(async { tokio::join!(client.connect_observed(), answer) }).await;
    let mut events = events.unwrap();
    for _ in 0..ROUNDS {
        server.text("2").await;
        assert_eq!(server.next().await, Frame::text("3"));
    }
    events.handle().close();
    server.closed().await;
    within(events.handle().closed()).await;
    let mut lost = 0;
    let mut seen = 0;
    while let Some(event) = within(events.next()).await {
        match event {
            Event::Lagged { events } => lost += events,
            Event::Close(_) => (),
            _ => seen += 1,
        }
    }
    // A heartbeat, a flush and a drain in each round.
    assert!(seen <= 1024 && lost + seen == 3 * ROUNDS, "{seen} {lost}");
}
