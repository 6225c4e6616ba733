//! From polling to a WebSocket, or back.

use std::time::Duration;

use futures_util::FutureExt;

use super::script::{Request, Script, WEBSOCKET, WebSocket};
use crate::adapter::{
    Client, CloseReason, Event, Events, RequestError, Socket, TransportError, TransportKind, UpgradeError,
};
use crate::raw::{BINARY, CLOSE, Frame, PING, within};

/// A session whose GET is held and whose probe has arrived, with both requests.
async fn probed(script: &mut Script, client: &Client) -> (Events, Request, WebSocket) {
    let events = script.open_observed(client, "S", WEBSOCKET).await;
    let get = script.get().await;
    let mut websocket = script.websocket().await.accept().await;
    assert_eq!(websocket.next().await, Frame::text("2probe"));
    (events, get, websocket)
}

async fn next(events: &mut Events) -> Event {
    within(events.next()).await.unwrap()
}

/// Waits for the next event other than flush and drain.
async fn telling(events: &mut Events) -> Event {
    loop {
        match next(events).await {
            Event::Flush { .. } | Event::Drain => (),
            event => return event,
        }
    }
}

/// The session is on polling and works in both directions.
async fn works_on_polling(events: &mut Events, script: &mut Script) {
    assert_eq!(events.handle().transport(), TransportKind::Polling);
    assert_eq!(events.handle().close_reason(), None);
    events.handle().try_send("still").unwrap();
    let post = script.post().await;
    assert_eq!(post.text(), "4still");
    post.ok("ok").await;
    within(events.handle().flush()).await.unwrap();
    let get = script.get().await;
    get.ok("4here").await;
    assert_eq!(telling(events).await, Event::Message("here".into()));
}

/// Covers: C-045, R-01
pub async fn an_upgrade_step_by_step() {
    let mut script = Script::start().await;
    let client = script.patient();
    let (mut events, get, mut websocket) = probed(&mut script, &client).await;
    assert!(events.next().now_or_never().is_none());
    // It polls until the answer arrives.
    events.handle().try_send("one").unwrap();
    assert_eq!(next(&mut events).await, Event::Flush { packets: 1 });
    let post = script.post().await;
    get.ok("4a\x1e6").await;
    assert_eq!(next(&mut events).await, Event::Message("a".into()));
    let get = script.get().await;
    websocket.text("3probe").await;
    assert_eq!(next(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
    // Now it waits for what is under way, and sends no more requests.
    events.handle().try_send("two").unwrap();
    events.handle().try_send(vec![2]).unwrap();
    get.ok("6\x1e4b").await;
    assert_eq!(next(&mut events).await, Event::Message("b".into()));
    assert!(events.next().now_or_never().is_none());
    assert_eq!((script.pending(), events.handle().transport()), (0, TransportKind::Polling));
    assert!(!events.handle().is_upgraded());
    post.ok("ok").await;
    assert_eq!(next(&mut events).await, Event::Drain);
    assert_eq!(next(&mut events).await, Event::Upgraded(TransportKind::WebSocket));
    assert_eq!(websocket.next().await, Frame::text("5"));
    assert_eq!(websocket.next().await, Frame::text("4two"));
    assert_eq!(websocket.next().await, Frame::Binary(vec![2]));
    assert_eq!(next(&mut events).await, Event::Flush { packets: 2 });
    assert_eq!(next(&mut events).await, Event::Drain);
    assert!(events.handle().is_upgraded());
    assert_eq!(events.handle().transport(), TransportKind::WebSocket);
    websocket.text("4c").await;
    websocket.frame(BINARY, [3]).await;
    assert_eq!(next(&mut events).await, Event::Message("c".into()));
    assert_eq!(next(&mut events).await, Event::Message(vec![3].into()));
    assert_eq!(script.pending(), 0);
    events.handle().close();
    websocket.closed().await;
    assert_eq!(next(&mut events).await, Event::Close(CloseReason::ForcedClose));
    script.stand(0).await;
}

pub async fn c019_no_upgrade_that_is_not_wanted_or_not_offered() {
    let mut script = Script::start().await;
    for (client, offered) in [
        (script.client().upgrade(false).build().unwrap(), WEBSOCKET),
        (script.polling(), WEBSOCKET),
        (script.client().build().unwrap(), ""),
        (script.client().build().unwrap(), r#""webtransport""#),
    ] {
        let mut events = script.open_observed(&client, "S", offered).await;
        works_on_polling(&mut events, &mut script).await;
        let get = script.get().await;
        assert_eq!(script.pending(), 0);
        events.handle().abort();
        get.gone().await;
        script.post().await.ok("ok").await;
    }
}

/// The noop that releases the poll comes before the answer to the probe, any number of times.
pub async fn r02_noops_come_first() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let (mut events, mut get, mut websocket) = probed(&mut script, &client).await;
    for _ in 0..5 {
        get.ok("6").await;
        get = script.get().await;
    }
    // A noop that was meant for a poll.
    websocket.text("6").await;
    websocket.text("3probe").await;
    assert_eq!(next(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
    get.ok("6").await;
    assert_eq!(next(&mut events).await, Event::Upgraded(TransportKind::WebSocket));
    assert_eq!(websocket.next().await, Frame::text("5"));
    assert_eq!(script.pending(), 0);
}

/// Messages that are sent during the change are neither lost nor repeated, and keep their order.
/// Covers: R-07, R-13, R-28
pub async fn messages_both_ways_during_an_upgrade() {
    const MESSAGES: usize = 200;
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let (events, mut get, mut websocket) = probed(&mut script, &client).await;
    let sender = events.handle().clone();
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            sender.send(format!("{number}")).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut there = Vec::new();
    let mut sent = 0;
    for round in 0..10 {
        let post = script.post().await;
        there.extend(post.text().split('\x1e').map(str::to_owned));
        get.ok(format!("4{sent}\x1e4{}", sent + 1)).await;
        sent += 2;
        get = script.get().await;
        if round == 9 {
            websocket.answer_probe().await;
        }
        post.ok("ok").await;
    }
    get.ok(format!("4{sent}")).await;
    sent += 1;
    assert_eq!(websocket.next().await, Frame::text("5"));
    while sent < 50 {
        websocket.text(&format!("4{sent}")).await;
        sent += 1;
    }
    while there.len() < MESSAGES {
        let Frame::Text(text) = websocket.next().await else { panic!("everything is text") };
        there.push(text);
    }
    within(sending).await.unwrap();
    assert_eq!(there, (0..MESSAGES).map(|number| format!("4{number}")).collect::<Vec<_>>());
    let mut events = events;
    for number in 0..sent {
        loop {
            if let Event::Message(message) = next(&mut events).await {
                assert_eq!(message, format!("{number}").into());
                break;
            }
        }
    }
    assert_eq!(script.pending(), 0);
}

pub async fn y035_an_upgrade_that_is_refused() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    for how in 0..4 {
        let mut events = script.open_observed(&client, "S", WEBSOCKET).await;
        let handshake = script.websocket().await;
        match how {
            0 => handshake.answer(400, "", r#"{"code":3,"message":"Bad request"}"#).await,
            1 => handshake.ok("6").await,
            2 => handshake.reset(),
            _ => drop(handshake),
        }
        assert_eq!(next(&mut events).await, Event::UpgradeFailed(UpgradeError::TransportClosed));
        works_on_polling(&mut events, &mut script).await;
        // It does not concern the end of the session.
        assert_eq!(events.handle().close_details(), None);
        let get = script.get().await;
        events.handle().abort();
        script.post().await.ok("ok").await;
        get.gone().await;
        // It is not tried again.
        assert_eq!(script.pending(), 0);
    }
}

pub async fn r14_a_wrong_answer_to_the_probe() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    for answer in ["3", "3prob", "4hello", "2probe", "", "x", "1"] {
        let (mut events, get, mut websocket) = probed(&mut script, &client).await;
        websocket.text(answer).await;
        assert_eq!(next(&mut events).await, Event::UpgradeFailed(UpgradeError::UnexpectedPacket), "{answer}");
        // Once, and the probe is closed.
        websocket.closed().await;
        get.ok("6").await;
        works_on_polling(&mut events, &mut script).await;
        let get = script.get().await;
        events.handle().abort();
        script.post().await.ok("ok").await;
        get.gone().await;
        assert_eq!(telling(&mut events).await, Event::Close(CloseReason::ForcedClose));
    }
}

/// Covers: R-22
pub async fn r21_an_upgrade_that_takes_too_long() {
    let mut script = Script::start().await;
    for stage in 0..4 {
        let client = script.client().upgrade_timeout(Duration::from_millis(50)).build().unwrap();
        let mut events = script.open_observed(&client, "S", WEBSOCKET).await;
        let handshake = script.websocket().await;
        let get = script.get().await;
        if stage == 0 {
            // The proxy never relays the 101.
            handshake.gone().await;
        } else {
            let mut websocket = handshake.accept().await;
            assert_eq!(websocket.next().await, Frame::text("2probe"));
            if stage == 2 {
                websocket.text("3pro").await;
            } else if stage == 3 {
                websocket.text("3probe").await;
                assert_eq!(next(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
                // The poll is not released.
            }
            websocket.closed().await;
        }
        let error = next(&mut events).await;
        let expected = if stage == 2 { UpgradeError::UnexpectedPacket } else { UpgradeError::Timeout };
        assert_eq!(error, Event::UpgradeFailed(expected));
        get.ok("6").await;
        works_on_polling(&mut events, &mut script).await;
        let get = script.get().await;
        events.handle().abort();
        script.post().await.ok("ok").await;
        get.gone().await;
        script.stand(0).await;
    }
}

pub async fn r12_the_websocket_dies_after_the_answer() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    for how in 0..4 {
        for posting in [false, true] {
            let (mut events, get, mut websocket) = probed(&mut script, &client).await;
            let mut post = None;
            if posting {
                events.handle().try_send("one").unwrap();
                post = Some(script.post().await);
            }
            websocket.text("3probe").await;
            assert_eq!(telling(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
            events.handle().try_send("two").unwrap();
            events.handle().try_send("three").unwrap();
            let expected = match how {
                0 => {
                    drop(websocket);
                    UpgradeError::TransportClosed
                }
                1 => {
                    websocket.reset();
                    UpgradeError::TransportClosed
                }
                2 => {
                    websocket.close(1011).await;
                    UpgradeError::TransportClosed
                }
                _ => {
                    websocket.text("4early").await;
                    UpgradeError::UnexpectedPacket
                }
            };
            assert_eq!(next(&mut events).await, Event::UpgradeFailed(expected));
            if let Some(post) = post {
                assert_eq!(post.text(), "4one");
                post.ok("ok").await;
            }
            let post = script.post().await;
            assert_eq!(post.text(), "4two\x1e4three");
            post.ok("ok").await;
            get.ok("4there").await;
            assert_eq!(telling(&mut events).await, Event::Message("there".into()));
            works_on_polling(&mut events, &mut script).await;
            let get = script.get().await;
            events.handle().abort();
            script.post().await.ok("ok").await;
            get.gone().await;
            assert_eq!(script.pending(), 0);
        }
    }
}

/// It closes when the last request that it waited for has finished: then it is the session's transport.
pub async fn the_websocket_dies_after_the_switch() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let (mut events, get, mut websocket) = probed(&mut script, &client).await;
    websocket.text("3probe").await;
    assert_eq!(next(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
    get.ok("6").await;
    assert_eq!(next(&mut events).await, Event::Upgraded(TransportKind::WebSocket));
    // Before this has left, the server would have to be told of the end by polling.
    assert_eq!(websocket.next().await, Frame::text("5"));
    drop(websocket);
    assert_eq!(next(&mut events).await, Event::Close(CloseReason::TransportLost));
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

/// Polling ends while the probe is under way: then everything does.
/// Covers: R-22, R-43
pub async fn the_session_ends_during_an_upgrade() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let lost = CloseReason::TransportError(TransportError::Poll(RequestError::Lost));
    let refused = CloseReason::TransportError(TransportError::Poll(RequestError::Status(400)));
    for pausing in [false, true] {
        for (how, expected) in [(0, CloseReason::TransportClose), (1, refused), (2, lost)] {
            let (mut events, get, mut websocket) = probed(&mut script, &client).await;
            if pausing {
                websocket.text("3probe").await;
                assert_eq!(next(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
            }
            match how {
                0 => get.ok("1").await,
                1 => get.answer(400, "", "").await,
                _ => drop(get),
            }
            assert_eq!(next(&mut events).await, Event::UpgradeFailed(UpgradeError::SessionClosed));
            assert_eq!(next(&mut events).await, Event::Close(expected));
            websocket.closed().await;
            if how == 2 {
                let post = script.post().await;
                assert_eq!(post.text(), "1");
                post.ok("ok").await;
            }
            script.stand(0).await;
            assert_eq!(script.pending(), 0);
        }
    }
}

/// The messages of a POST are not written before its answer, whatever a probe does meanwhile.
pub async fn flush_waits_for_the_post_during_a_probe() {
    for lost in [false, true] {
        let mut script = Script::start().await;
        let client = script.client().build().unwrap();
        let (events, get, mut websocket) = probed(&mut script, &client).await;
        let handle = events.handle().clone();
        handle.try_send("one").unwrap();
        let post = script.post().await;
        let flushing = tokio::spawn(async move { handle.flush().await });
        // The task of the probe has run when this is answered.
        websocket.frame(PING, "").await;
        assert_eq!(websocket.next().await, Frame::Pong(Vec::new()));
        websocket.frame(PING, "").await;
        assert_eq!(websocket.next().await, Frame::Pong(Vec::new()));
        assert!(!flushing.is_finished());
        if lost {
            drop(post);
            let reason = CloseReason::TransportError(TransportError::Post(RequestError::Lost));
            assert_eq!(within(flushing).await.unwrap(), Err(reason));
            get.gone().await;
            websocket.closed().await;
        } else {
            post.ok("ok").await;
            assert_eq!(within(flushing).await.unwrap(), Ok(()));
        }
    }
}

/// Messages of an answered POST are written, even if the WebSocket that follows closes at once.
pub async fn flush_of_the_last_post_before_the_switch() {
    let mut script = Script::start().await;
    let client = script.patient();
    let (mut events, get, mut websocket) = probed(&mut script, &client).await;
    events.handle().try_send("one").unwrap();
    let post = script.post().await;
    websocket.answer_probe().await;
    get.ok("6").await;
    let handle = events.handle().clone();
    let flushing = tokio::spawn(async move { handle.flush().await });
    assert_eq!(telling(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
    post.ok("ok").await;
    assert_eq!(within(flushing).await.unwrap(), Ok(()));
    assert_eq!(websocket.next().await, Frame::text("5"));
}

/// An orderly close by the server, on a WebSocket that the client is about to change to.
pub async fn a_probe_that_says_goodbye() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let (mut events, get, mut websocket) = probed(&mut script, &client).await;
    websocket.frame(CLOSE, "").await;
    assert_eq!(next(&mut events).await, Event::UpgradeFailed(UpgradeError::TransportClosed));
    assert_eq!(websocket.next().await, Frame::close(None));
    websocket.ended().await;
    get.ok("6").await;
    works_on_polling(&mut events, &mut script).await;
}

/// An abandoned probe whose server never answers its close frame blocks nothing.
pub async fn an_abandoned_probe_does_not_hold_up_the_end() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let (mut events, get, mut websocket) = probed(&mut script, &client).await;
    websocket.text("4wrong").await;
    assert_eq!(next(&mut events).await, Event::UpgradeFailed(UpgradeError::UnexpectedPacket));
    events.handle().close();
    script.post().await.ok("ok").await;
    assert_eq!(within(events.handle().closed()).await, CloseReason::ForcedClose);
    get.gone().await;
    assert_eq!(websocket.next().await, Frame::close(None));
    websocket.ended().await;
}

async fn ended_by(socket: &Socket) -> CloseReason {
    within(socket.closed()).await
}

/// Messages that were sent before follow the client to its transport; closing loses nothing.
/// Covers: C-054, C-055
pub async fn c052_close_during_an_upgrade() {
    let mut script = Script::start().await;
    let client = script.patient();
    // The probe was answered: the client changes its transport first.
    for message in [None, Some("last")] {
        let socket = script.open(&client, "S", WEBSOCKET).await;
        let get = script.get().await;
        let mut websocket = script.websocket().await.accept().await;
        assert_eq!(websocket.next().await, Frame::text("2probe"));
        socket.try_send("posted").unwrap();
        let post = script.post().await;
        websocket.answer_probe().await;
        websocket.frame(PING, "").await;
        assert_eq!(websocket.next().await, Frame::Pong(Vec::new()));
        if let Some(message) = message {
            socket.try_send(message).unwrap();
        }
        socket.close();
        assert!(socket.try_send("too late").is_err());
        assert_eq!(socket.close_reason(), None);
        get.ok("6").await;
        post.ok("ok").await;
        assert_eq!(websocket.next().await, Frame::text("5"));
        if let Some(message) = message {
            assert_eq!(websocket.next().await, Frame::Text(format!("4{message}")));
        }
        websocket.closed().await;
        assert_eq!(ended_by(&socket).await, CloseReason::ForcedClose);
        assert_eq!((socket.send_buffered(), script.pending()), (0, 0));
    }
}

pub async fn c053_close_during_an_upgrade_that_fails() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    let (mut events, get, mut websocket) = probed(&mut script, &client).await;
    websocket.text("3probe").await;
    assert_eq!(next(&mut events).await, Event::Upgrading(TransportKind::WebSocket));
    events.handle().try_send("last").unwrap();
    events.handle().close();
    drop(websocket);
    assert_eq!(next(&mut events).await, Event::UpgradeFailed(UpgradeError::TransportClosed));
    let post = script.post().await;
    assert_eq!(post.text(), "4last\x1e1");
    get.ok("6").await;
    post.ok("ok").await;
    assert_eq!(telling(&mut events).await, Event::Close(CloseReason::ForcedClose));
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

/// The server has not agreed to anything yet, so the probe is abandoned.
/// Covers: R-53
pub async fn r09_close_during_a_probe() {
    let mut script = Script::start().await;
    let client = script.client().build().unwrap();
    for opened in [false, true] {
        let mut events = script.open_observed(&client, "S", WEBSOCKET).await;
        let get = script.get().await;
        let handshake = script.websocket().await;
        events.handle().try_send("last").unwrap();
        let first = script.post().await;
        if opened {
            let mut websocket = handshake.accept().await;
            assert_eq!(websocket.next().await, Frame::text("2probe"));
            events.handle().try_send("very last").unwrap();
            events.handle().close();
            websocket.closed().await;
        } else {
            events.handle().try_send("very last").unwrap();
            events.handle().close();
            handshake.gone().await;
        }
        assert_eq!(telling(&mut events).await, Event::UpgradeFailed(UpgradeError::SessionClosed));
        assert_eq!(first.text(), "4last");
        first.ok("ok").await;
        let second = script.post().await;
        assert_eq!(second.text(), "4very last\x1e1");
        second.ok("ok").await;
        assert_eq!(telling(&mut events).await, Event::Close(CloseReason::ForcedClose));
        get.gone().await;
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}

/// The last answer to the poll waits for an application that only waits for the end. The change of the transport would
/// wait as long, and with it the remaining messages.
pub async fn r09_close_during_an_upgrade_by_who_does_not_read() {
    for early in [false, true] {
        let mut script = Script::start().await;
        let client = script.client().receive_buffer(1).build().unwrap();
        let socket = script.open(&client, "S", WEBSOCKET).await;
        let get = script.get().await;
        let mut websocket = script.websocket().await.accept().await;
        assert_eq!(websocket.next().await, Frame::text("2probe"));
        socket.try_send("first").unwrap();
        let post = script.post().await;
        websocket.answer_probe().await;
        socket.try_send("last").unwrap();
        if early {
            get.ok("4a\x1e4b\x1e4c").await;
            while socket.receive_buffered() == 0 {
                tokio::task::yield_now().await;
            }
            socket.close();
        } else {
            socket.close();
            get.ok("4a\x1e4b\x1e4c").await;
        }
        websocket.closed().await;
        post.ok("ok").await;
        let post = script.post().await;
        assert_eq!(post.text(), "4last\x1e1");
        post.ok("ok").await;
        assert_eq!(ended_by(&socket).await, CloseReason::ForcedClose);
        assert_eq!(within(socket.flush()).await, Ok(()));
        script.stand(0).await;
        assert_eq!(script.pending(), 0);
    }
}
