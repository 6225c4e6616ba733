//! Backpressure: the faster side waits for the slower one, and nothing is lost.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;

use crate::adapter::{CloseReason, Message, Overflow, SendError, TransportError};
use crate::host::{Host, builder, reason};
use crate::raw::{BINARY, Connection, Frame, Polling, WebSocket, frame, request, within};

/// The size that one empty message counts for.
const EMPTY: usize = Message::OVERHEAD;

///
pub async fn a_full_buffer_gives_messages_back() {
    let host = Host::start(builder().send_buffer(4 * EMPTY, 2 * EMPTY)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for _ in 0..4 {
        socket.try_send("").unwrap();
    }
    assert_eq!(socket.try_send("too many"), Err(SendError::Full("too many".into())));
    let both: Vec<Message> = vec!["".into(), "".into()];
    assert_eq!(socket.try_send_all(both.clone()), Err(SendError::Full(both)));
    let five: Vec<Message> = vec!["".into(); 5];
    assert_eq!(socket.try_send_all(five.clone()), Err(SendError::TooLarge(five)));
    // An empty buffer always accepts one message.
    assert_eq!(client.get().await.brief(), (200, "4\x1e4\x1e4\x1e4"));
    let large = "x".repeat(100 * EMPTY);
    socket.try_send(large.as_str()).unwrap();
    assert_eq!(client.get().await.text().len(), large.len() + 1);
}

pub async fn send_waits_for_a_client_that_does_not_poll() {
    let host = Host::start(builder().send_buffer(4 * EMPTY, 2 * EMPTY)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for _ in 0..4 {
        socket.handle().send("").now_or_never().unwrap().unwrap();
    }
    let sender = socket.handle();
    let mut waiting = Box::pin(async move { sender.send("waited").await });
    assert!((&mut waiting).now_or_never().is_none());
    let sender = socket.handle();
    let mut together = Box::pin(async move { sender.send_all(vec!["to".into(), "gether".into()]).await });
    assert!((&mut together).now_or_never().is_none());
    assert_eq!(client.get().await.brief(), (200, "4\x1e4\x1e4\x1e4"));
    within(waiting).await.unwrap();
    within(together).await.unwrap();
    assert_eq!(client.get().await.brief(), (200, "4waited\x1e4to\x1e4gether"));
}

/// Waiting senders do not wake each other, however many there are.
pub async fn many_may_wait() {
    const SENDERS: usize = 200;
    let host = Host::start(builder().send_buffer(EMPTY, 0)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("").unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let sending: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (sender, polls) = (socket.handle(), Arc::clone(&polls));
            tokio::spawn(async move {
                let mut send = pin!(sender.send(""));
                poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    send.as_mut().poll(cx)
                })
                .await
            })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(polls.load(Ordering::Relaxed), SENDERS);
    let mut received = 0;
    while received <= SENDERS {
        received += client.get().await.text().split('\x1e').count();
    }
    for sender in sending {
        within(sender).await.unwrap().unwrap();
    }
}

/// A future that is dropped while it waits does not block others, not even in the same task.
pub async fn who_stops_waiting_disturbs_nobody() {
    let host = Host::start(builder().send_buffer(EMPTY, 0)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("").unwrap();
    let sender = socket.handle();
    let task = tokio::spawn(async move {
        let mut first = Some(Box::pin(sender.send("first")));
        let mut second = pin!(sender.send("second"));
        poll_fn(|cx| {
            let sent = second.as_mut().poll(cx);
            if let Some(mut first) = first.take() {
                assert!(first.as_mut().poll(cx).is_pending());
            }
            sent
        })
        .await
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.get().await.brief(), (200, "4"));
    within(task).await.unwrap().unwrap();
    assert_eq!(client.get().await.brief(), (200, "4second"));
}

/// A waker that does nothing.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

pub async fn who_stops_waiting_leaves_nothing_behind() {
    let host = Host::start(builder().send_buffer(EMPTY, 0)).await;
    let _client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("").unwrap();
    for _ in 0..3 {
        let nobody = Arc::new(Nobody);
        let waker = Waker::from(Arc::clone(&nobody));
        let cx = &mut Context::from_waker(&waker);
        assert!(pin!(socket.handle().send("")).poll(cx).is_pending());
        assert!(pin!(socket.handle().flush()).poll(cx).is_pending());
        assert!(pin!(socket.handle().closed()).poll(cx).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&nobody), 1);
    }
}

pub async fn send_that_waits_learns_of_the_end() {
    let host = Host::start(builder().send_buffer(EMPTY, 0)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("").unwrap();
    let sender = socket.handle();
    let waiting = tokio::spawn(async move { sender.send("late").await });
    assert!(socket.handle().send("other").now_or_never().is_none());
    client.post("1").await;
    assert_eq!(within(waiting).await.unwrap(), Err(SendError::Closed("late".into())));
}

/// The application is ahead by no more than the buffers between it and the client hold.
pub async fn send_waits_for_a_client_that_does_not_read() {
    const MESSAGES: usize = 100;
    const SIZE: usize = 1 << 20;
    /// The send buffer, the buffers of two sockets, and what is being written and read.
    const AHEAD: usize = 64;
    let host = Host::start(builder()).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (sender, count) = (socket.handle(), Arc::clone(&sent));
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            sender.send(vec![number as u8; SIZE]).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for number in 0..MESSAGES {
        assert_eq!(client.next().await, Frame::Binary(vec![number as u8; SIZE]));
        let ahead = sent.load(Ordering::Relaxed).saturating_sub(number);
        assert!(ahead <= AHEAD, "{ahead} messages ahead");
    }
    within(sending).await.unwrap();
    assert_eq!(socket.stats().bytes_sent, (MESSAGES * SIZE) as u64);
}

pub async fn sec72_an_overflow_may_end_the_session() {
    let host = Host::start(builder().send_buffer(2 * EMPTY, EMPTY).overflow(Overflow::Close)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("").unwrap();
    socket.try_send("").unwrap();
    assert_eq!(socket.try_send("one"), Err(SendError::Closed("one".into())));
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::SlowConsumer));
    assert_eq!(client.get().await.status, 400);
}

/// The answer to a POST is withheld until the application has taken what does not fit.
pub async fn a_slow_application_holds_up_posts() {
    let host = Host::start(builder().receive_buffer(4 * EMPTY)).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    // What fits is answered at once.
    assert_eq!(client.post("4\x1e4").await.brief(), (200, "ok"));
    let mut post = Connection::open(host.addr).await;
    let body: Vec<String> = (0..10).map(|number| format!("4{number}")).collect();
    post.write(request("POST", &client.target, "", body.join("\x1e").as_bytes())).await;
    host.holds(1).await;
    assert_eq!(socket.stats().messages_received, 4);
    for expected in ["", "", "0", "1", "2", "3", "4"] {
        assert_eq!(within(socket.recv()).await, Some(expected.into()));
    }
    // Four more have arrived, and the last one waits.
    assert_eq!(socket.stats().messages_received, 11);
    host.holds(1).await;
    for expected in ["5", "6"] {
        assert_eq!(within(socket.recv()).await, Some(expected.into()));
    }
    assert_eq!(post.response().await.brief(), (200, "ok"));
    for expected in ["7", "8", "9"] {
        assert_eq!(within(socket.recv()).await, Some(expected.into()));
    }
}

/// A client that is blocked by a slow application is not closed for silence.
pub async fn a_slow_application_does_not_lose_its_client() {
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(500));
    let host = Host::start(builder().receive_buffer(4 * EMPTY).ping_interval(interval).ping_timeout(timeout)).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut post = Connection::open(host.addr).await;
    post.write(request("POST", &client.target, "", ["4"; 10].join("\x1e").as_bytes())).await;
    assert_eq!(client.get().await.brief(), (200, "2"));
    // The pong cannot be posted. Without the exception the session would end.
    for _ in 0..2 {
        Polling::open(host.addr).await;
        assert_eq!(reason(&host.accept().await).await, CloseReason::PingTimeout);
    }
    assert_eq!(socket.close_reason(), None);
    for _ in 0..10 {
        assert_eq!(within(socket.recv()).await, Some("".into()));
    }
    assert_eq!(post.response().await.brief(), (200, "ok"));
}

/// The client's messages wait in the client's buffers, and arrive in the end.
pub async fn a_slow_application_holds_up_a_websocket() {
    const MESSAGES: usize = 400;
    const SIZE: usize = 64 * 1024;
    let host = Host::start(builder().receive_buffer(4 * SIZE)).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let mut socket = host.accept().await;
    let writing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            client.connection.try_write(frame(BINARY, vec![number as u8; SIZE])).await.unwrap();
        }
        client
    });
    for number in 0..MESSAGES {
        assert_eq!(within(socket.recv()).await, Some(vec![number as u8; SIZE].into()));
        // Below the limit, one more is accepted.
        let waiting = socket.stats().messages_received - (number as u64 + 1);
        assert!(waiting <= 4, "{waiting} messages wait");
    }
    drop(within(writing).await.unwrap());
    assert_eq!(reason(&socket).await, CloseReason::TransportClose);
}
