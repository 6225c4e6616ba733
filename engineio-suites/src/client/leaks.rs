//! What a session leaves behind, and its cost while nothing happens.

use super::script::{Script, WEBSOCKET, open};
use crate::adapter::net::Endpoint;
use crate::adapter::{Client, ClientBuilder, Message, Socket, TransportKind};
use crate::counting::Counting;
use crate::raw::{BINARY, Frame, within};
use crate::runtime;

/// A client that counts tasks and polls.
fn client(counting: &Counting, script: &Script) -> ClientBuilder {
    let addr = script.addr;
    let connector = move |_: &str, _: u16| runtime::connect(addr);
    ClientBuilder::new(counting.runtime(), Endpoint::parse(&script.url).unwrap(), connector)
}

async fn polling(script: &mut Script, client: &Client) -> Socket {
    script.open(client, "S", "").await
}

/// Covers: SEC-63, R-49, R-58
pub async fn no_task_is_left_whatever_the_end() {
    for how in 0..10 {
        let counting = Counting::new();
        let mut script = Script::start().await;
        let client = client(&counting, &script).transports([TransportKind::Polling]).build().unwrap();
        let socket = polling(&mut script, &client).await;
        let mut held = None;
        let get = script.get().await;
        match how {
            0 => {
                socket.close();
                held = Some(get);
            }
            1 => {
                socket.abort();
                held = Some(get);
            }
            2 => drop(get),
            3 => get.ok("1").await,
            4 => get.ok("x").await,
            5 => get.answer(400, "", "").await,
            6 => get.reset(),
            7 => {
                socket.try_send("x").unwrap();
                drop(script.post().await);
                held = Some(get);
            }
            8 => {
                socket.try_send("x").unwrap();
                script.post().await.answer(500, "", "").await;
                held = Some(get);
            }
            _ => {
                drop(socket);
                held = Some(get);
            }
        }
        if matches!(how, 0 | 1 | 2 | 4 | 6 | 9) {
            script.post().await.ok("ok").await;
        }
        counting.all_over().await;
        if let Some(get) = held {
            get.gone().await;
        }
        script.stand(0).await;
    }
    for how in 0..8 {
        let counting = Counting::new();
        let mut script = Script::start().await;
        let client = client(&counting, &script).transports([TransportKind::WebSocket]).build().unwrap();
        let (socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
        let mut ending = Some(socket);
        let mut closes = true;
        match how {
            0 => ending.as_ref().unwrap().close(),
            1 => ending.as_ref().unwrap().abort(),
            2 => ending = None,
            3 => server.text("1").await,
            4 => server.text("x").await,
            5 => server.close(1000).await,
            6 => closes = false,
            _ => {
                server.frame(0xff, "").await;
            }
        }
        if closes {
            while !matches!(server.next().await, Frame::Close(..)) {}
            server.frame(crate::raw::CLOSE, "").await;
        }
        drop(server);
        counting.all_over().await;
        script.stand(0).await;
        drop(ending);
    }
}

pub async fn no_task_is_left_of_a_session_that_did_not_open() {
    let counting = Counting::new();
    let mut script = Script::start().await;
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        for how in 0..4 {
            let client = client(&counting, &script).transports([transport]).build().unwrap();
            let connecting = tokio::spawn(async move { client.connect().await.map(drop) });
            let request = script.next().await;
            match how {
                0 => request.answer(403, "", "no").await,
                1 => drop(request),
                2 => request.ok("x").await,
                _ => {
                    connecting.abort();
                    if transport == TransportKind::Polling {
                        // It waits for the answer, to tell the server if there is a session.
                        request.answer(403, "", "no").await;
                    } else {
                        request.gone().await;
                    }
                }
            }
            let _ = within(connecting).await;
            counting.all_over().await;
            script.stand(0).await;
        }
    }
    assert_eq!(script.pending(), 0);
}

/// A session that waits costs nothing, whatever it waits for.
///
pub async fn who_waits_does_not_spin() {
    let counting = Counting::new();
    let mut script = Script::start().await;
    // For an answer to its handshake.
    let client = client(&counting, &script).build().unwrap();
    let connecting = tokio::spawn({
        let client = client.clone();
        async move { client.connect().await.unwrap() }
    });
    let get = script.get().await;
    counting.at_rest().await;
    get.ok(open("S", WEBSOCKET)).await;
    let mut socket = within(connecting).await.unwrap();
    // For a poll and a 101.
    let handshake = script.websocket().await;
    let get = script.get().await;
    counting.at_rest().await;
    // For the answer to its probe, and with a POST under way.
    let mut server = handshake.accept().await;
    assert_eq!(server.next().await, Frame::text("2probe"));
    socket.try_send("x").unwrap();
    let post = script.post().await;
    counting.at_rest().await;
    // For requests that are under way on polling.
    server.answer_probe().await;
    counting.at_rest().await;
    assert_eq!(script.pending(), 0);
    get.ok("6").await;
    counting.at_rest().await;
    post.ok("ok").await;
    assert_eq!(server.next().await, Frame::text("5"));
    counting.at_rest().await;
    // For its application, with a server that continues to send.
    let flood = tokio::spawn(async move {
        for _ in 0..400 {
            if server.try_frame(BINARY, vec![0; 1 << 16]).await.is_err() {
                break;
            }
        }
        server
    });
    within(async {
        while socket.receive_buffered() < 1 << 20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    counting.at_rest().await;
    for _ in 0..400 {
        assert_eq!(within(socket.recv()).await, Some(Message::from(vec![0; 1 << 16])));
    }
    let mut server = within(flood).await.unwrap();
    // For a server that does not read.
    while socket.try_send(vec![0; 1 << 18]).is_ok() {
        tokio::task::yield_now().await;
    }
    counting.at_rest().await;
    // For the end.
    socket.close();
    counting.at_rest().await;
    while !matches!(server.next().await, Frame::Close(..)) {}
    counting.at_rest().await;
    server.frame(crate::raw::CLOSE, "").await;
    within(socket.closed()).await;
    counting.all_over().await;
}

/// The same on polling.
pub async fn who_waits_on_polling_does_not_spin() {
    let counting = Counting::new();
    let mut script = Script::start().await;
    let builder =
        client(&counting, &script).transports([TransportKind::Polling]).receive_buffer(100).send_buffer(100, 50);
    let client = builder.build().unwrap();
    let mut socket = polling(&mut script, &client).await;
    let get = script.get().await;
    counting.at_rest().await;
    get.ok(["4message"; 50].join("\x1e")).await;
    counting.at_rest().await;
    // A POST under way, and no room for more.
    while socket.try_send("x".repeat(30)).is_ok() {}
    let post = script.post().await;
    let handle = socket.handle();
    let sending = tokio::spawn(async move { handle.send("y").await });
    counting.at_rest().await;
    for _ in 0..50 {
        assert_eq!(within(socket.recv()).await, Some("message".into()));
    }
    let get = script.get().await;
    counting.at_rest().await;
    post.ok("ok").await;
    within(sending).await.unwrap().unwrap();
    let post = script.post().await;
    socket.close();
    counting.at_rest().await;
    post.ok("ok").await;
    let last = script.post().await;
    counting.at_rest().await;
    last.ok("ok").await;
    within(socket.closed()).await;
    get.gone().await;
    counting.all_over().await;
}

/// A heartbeat costs a few polls, not many.
pub async fn a_heartbeat_is_cheap() {
    const ROUNDS: usize = 100;
    let counting = Counting::new();
    let mut script = Script::start().await;
    let client = client(&counting, &script).transports([TransportKind::WebSocket]).build().unwrap();
    let (_socket, mut server) = script.open_websocket(&client, &open("S", "")).await;
    counting.at_rest().await;
    let before = counting.polls();
    for _ in 0..ROUNDS {
        server.text("2").await;
        assert_eq!(server.next().await, Frame::text("3"));
    }
    let polls = counting.polls() - before;
    assert!(polls <= 4 * ROUNDS, "{polls} polls");
}
