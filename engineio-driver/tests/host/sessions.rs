//! The calls of an application for its sessions.

use std::time::Duration;

use engineio_driver::app::{Host, Peer};
use engineio_driver::{CloseReason, SendError};

use crate::{
    Act, Notes, POLLING, Told, UPGRADE, WEBSOCKET, builder, client, client_over, number, numbers, runtime, serve,
    until, within,
};

#[tokio::test(start_paused = true)]
async fn a_session_is_told_from_its_opening_to_its_end() {
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        let server = builder().build().unwrap();
        let there = serve(&server, Notes { echoes: true, ..Notes::quiet() });
        let here = Host::new(
            runtime(),
            Notes::new(|_, sockets, value| sockets.send(Peer(0), number(u64::from(value))).unwrap()),
        );
        let socket = within(client(&server, transports).connect()).await.unwrap();
        let handle = socket.handle();
        assert_eq!(here.attach(socket), Peer(0));
        assert_eq!(here.with(|notes| notes.of(0).to_vec()), [Told::Open]);
        (0..200).for_each(|value| here.impulse(value));
        until(&here, |notes| notes.messages(0).len() == 200).await;
        if transports.len() > 1 {
            until(&here, |_| handle.is_upgraded()).await;
        }
        handle.close();
        until(&here, |notes| notes.end(0).is_some()).await;
        until(&there, |notes| notes.end(0).is_some()).await;
        let told = |reason| {
            let mut told = vec![Told::Open];
            told.extend(numbers(200).into_iter().map(Told::Message));
            told.push(Told::Close(reason));
            told
        };
        assert_eq!(here.with(|notes| notes.of(0).to_vec()), told(CloseReason::ForcedClose));
        assert_eq!(there.with(|notes| notes.of(0).to_vec()), told(CloseReason::TransportClose));
    }
}

/// The same host has one session after the other, and several at a time.
#[tokio::test(start_paused = true)]
async fn numbers_are_not_used_twice() {
    let server = builder().build().unwrap();
    let (there, here) = (serve(&server, Notes::quiet()), Host::new(runtime(), Notes::quiet()));
    let client = client(&server, WEBSOCKET);
    for round in 0..3 {
        let socket = within(client.connect()).await.unwrap();
        let handle = socket.handle();
        assert_eq!(here.attach(socket), Peer(round));
        handle.close();
        until(&there, |notes| notes.end(round).is_some()).await;
        until(&here, |notes| notes.end(round).is_some()).await;
    }
    let (first, second) = (client.connect().await.unwrap(), client.connect().await.unwrap());
    assert_eq!([here.attach(first), here.attach(second)], [Peer(3), Peer(4)]);
    until(&there, |notes| notes.of(4) == [Told::Open]).await;
}

/// A peer that does not read: refused messages are sent later, when there is room, and in order.
#[tokio::test(start_paused = true)]
async fn room_is_told_after_a_refusal() {
    for transports in [POLLING, WEBSOCKET] {
        let server = builder().send_buffer(2000, 500).build().unwrap();
        let there = serve(&server, Notes::new(|notes, sockets, _| notes.pour(sockets, Peer(0))));
        let mut socket = within(client_over(&server, transports, 1000).connect()).await.unwrap();
        until(&there, |notes| notes.of(0) == [Told::Open]).await;
        there.with(|notes| notes.flood = (0..1000).rev().collect());
        there.impulse(0);
        there.impulse(0);
        there.with(|notes| assert_eq!((notes.refused, notes.writables(0)), (2, 0)));
        // It stays like that as long as the peer does not read.
        let stalled = |notes: &Notes| (notes.writables(0), notes.flood.len());
        let mut before = there.with(|notes| stalled(notes));
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let now = there.with(|notes| stalled(notes));
            if std::mem::replace(&mut before, now) == now {
                break;
            }
        }
        assert!(before.1 > 400, "{before:?}");
        for expected in numbers(1000) {
            assert_eq!(within(socket.recv()).await, Some(expected));
        }
        // Called once for each time that it had to wait, and the first two are one.
        there.with(|notes| assert_eq!((notes.flood.len(), notes.refused), (0, notes.writables(0) + 1)));
    }
}

/// If a session is closed before there is room, `on_writable` is not called.
#[tokio::test(start_paused = true)]
async fn no_room_is_told_of_what_was_closed() {
    let act: Act = |notes, sockets, impulse| match impulse {
        0 => notes.pour(sockets, Peer(0)),
        1 => sockets.close(Peer(0)),
        _ => sockets.abort(Peer(0)),
    };
    for end in [1, 2] {
        let server = builder().send_buffer(2000, 500).build().unwrap();
        let there = serve(&server, Notes::new(act));
        let mut socket = within(client_over(&server, WEBSOCKET, 1000).connect()).await.unwrap();
        until(&there, |notes| notes.of(0) == [Told::Open]).await;
        there.with(|notes| notes.flood = (0..1000).rev().collect());
        there.impulse(0);
        there.with(|notes| assert_eq!(notes.refused, 1));
        there.impulse(end);
        let mut received = 0;
        while within(socket.recv()).await.is_some() {
            received += 1;
        }
        let sent = 1000 - there.with(|notes| notes.flood.len());
        assert_eq!(received == sent, end == 1, "{received} of {sent}");
        until(&there, |notes| notes.end(0).is_some()).await;
        let told = there.with(|notes| notes.of(0).to_vec());
        assert_eq!(told, [Told::Open, Told::Close(CloseReason::ForcedClose)]);
    }
}

/// An application that aborts a session is called for its end, once, and for none of its other messages.
#[tokio::test(start_paused = true)]
async fn who_was_aborted_is_heard_no_more() {
    for transports in [POLLING, WEBSOCKET] {
        let server = builder().build().unwrap();
        let there = serve(&server, Notes { taboo: Some(number(3)), ..Notes::quiet() });
        let socket = within(client(&server, transports).connect()).await.unwrap();
        for message in numbers(10) {
            socket.try_send(message).unwrap();
        }
        until(&there, |notes| notes.end(0).is_some()).await;
        within(socket.closed()).await;
        there.with(|notes| {
            assert_eq!(notes.messages(0), numbers(4));
            assert_eq!(notes.end(0), Some(CloseReason::ForcedClose));
        });
        // Operations on a session that is gone have no effect.
        there.with(|notes| {
            notes.act = |_, sockets, _| {
                sockets.close(Peer(0));
                sockets.abort(Peer(7));
                assert!(matches!(sockets.send(Peer(0), "late".into()), Err(SendError::Closed(_))));
            }
        });
        there.impulse(0);
        assert!(server.is_empty());
    }
}

/// The same at a client, with messages that had arrived and were not delivered.
#[tokio::test(start_paused = true)]
async fn a_client_that_aborted_hears_no_more() {
    let server = builder().build().unwrap();
    let here = Host::new(runtime(), Notes { taboo: Some(number(3)), ..Notes::quiet() });
    let connected = tokio::spawn({
        let client = client(&server, WEBSOCKET);
        async move { client.connect().await.unwrap() }
    });
    let there = within(server.accept()).await;
    for message in numbers(10) {
        there.try_send(message).unwrap();
    }
    there.flush().await.unwrap();
    here.attach(connected.await.unwrap());
    until(&here, |notes| notes.end(0).is_some()).await;
    here.with(|notes| {
        assert_eq!(notes.messages(0), numbers(4));
        assert_eq!(notes.end(0), Some(CloseReason::ForcedClose));
    });
}

/// All messages of a peer that closes in order are delivered, and the first part of those of a peer that aborts. Such a
/// peer is slowed down meanwhile: no more waits than the buffer of its session holds.
#[tokio::test(start_paused = true)]
async fn a_client_that_floods_and_leaves() {
    for (transports, in_order) in [(POLLING, true), (WEBSOCKET, true), (POLLING, false), (WEBSOCKET, false)] {
        let server = builder().receive_buffer(1000).build().unwrap();
        let there = serve(&server, Notes::quiet());
        let socket = within(client(&server, transports).connect()).await.unwrap();
        for message in numbers(2000) {
            within(socket.send(message)).await.unwrap();
            assert!(server.sessions().iter().all(|session| session.receive_buffered() < 2000));
        }
        if in_order {
            socket.close();
        } else {
            socket.abort();
        }
        until(&there, |notes| notes.end(0).is_some()).await;
        there.with(|notes| {
            let heard = notes.messages(0);
            assert!(numbers(2000).starts_with(&heard));
            if in_order {
                assert_eq!((heard.len(), notes.end(0)), (2000, Some(CloseReason::TransportClose)));
            }
        });
    }
}

/// The slowest session does not delay the others: messages for it are refused.
#[tokio::test(start_paused = true)]
async fn a_slow_client_is_slow_alone() {
    let server = builder().send_buffer(2000, 500).build().unwrap();
    let act: Act = |notes, sockets, value| {
        for peer in [Peer(0), Peer(1)] {
            match sockets.send(peer, number(u64::from(value))) {
                Err(SendError::Full(_)) => notes.refused += 1,
                sent => sent.unwrap(),
            }
        }
    };
    let there = serve(&server, Notes::new(act));
    let client = client_over(&server, WEBSOCKET, 1000);
    let slow = within(client.connect()).await.unwrap();
    until(&there, |notes| notes.of(0) == [Told::Open]).await;
    let mut fast = within(client.connect()).await.unwrap();
    until(&there, |notes| notes.of(1) == [Told::Open]).await;
    for value in 0..1000 {
        there.impulse(value);
        assert_eq!(within(fast.recv()).await, Some(number(u64::from(value))));
    }
    there.with(|notes| {
        assert!(notes.refused > 400, "{}", notes.refused);
        assert_eq!(notes.writables(1), 0);
    });
    drop((slow, fast));
    until(&there, |notes| notes.end(0).is_some() && notes.end(1).is_some()).await;
}
