//! Hosts that stand still: all timers are late at once, and what arrived meanwhile waits to be read.

use std::time::Duration;

use engineio_driver::{Builder, CloseReason, Message, Socket};
use tokio::time::advance;

use crate::{HOUR, POLLING, UPGRADE, WEBSOCKET, client, runtime, within};

/// With the default heartbeat: an interval of 25 s, and a timeout of 20 s.
fn builder() -> Builder {
    Builder::new(runtime())
}

async fn echo(mut here: Socket, mut there: Socket) -> (Socket, Socket) {
    here.send("there?").await.unwrap();
    assert_eq!(within(there.recv()).await, Some(Message::from("there?")));
    there.send("here!").await.unwrap();
    assert_eq!(within(here.recv()).await, Some(Message::from("here!")));
    (here, there)
}

/// Both sides are on a host that stands still, for longer than any deadline, again and again. Whatever the heartbeat was
/// doing at that time, both read before they give the other up.
#[tokio::test(start_paused = true)]
async fn r120_both_sides_survive_a_host_that_stood_still() {
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        for runs in [1_u64, 24, 25, 26, 44] {
            let server = builder().build().unwrap();
            let client = client(&server, transports);
            let there = within(client.connect()).await.unwrap();
            let here = within(server.accept()).await;
            let (mut here, mut there) = echo(here, there).await;
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(runs)).await;
                advance(HOUR).await;
                (here, there) = echo(here, there).await;
            }
            tokio::time::sleep(Duration::from_secs(200)).await;
            (here, there) = echo(here, there).await;
            assert_eq!((here.close_reason(), there.close_reason()), (None, None), "{transports:?}, {runs} s");
        }
    }
}

/// A message that is sent right after the host stood still does not end the session, and arrives.
#[tokio::test(start_paused = true)]
async fn r120_a_client_that_stood_still_sends() {
    for transports in [POLLING, WEBSOCKET, UPGRADE] {
        let server = builder().build().unwrap();
        let client = client(&server, transports);
        let there = within(client.connect()).await.unwrap();
        let mut here = within(server.accept()).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        advance(HOUR).await;
        there.try_send("still there").unwrap();
        assert_eq!(within(here.recv()).await, Some(Message::from("still there")), "{transports:?}");
        assert_eq!(there.close_reason(), None);
    }
}

/// A peer that is gone is given up all the same.
#[tokio::test(start_paused = true)]
async fn r120_a_silent_peer_ends_after_a_standstill() {
    let server = builder().build().unwrap();
    let gone = client(&server, POLLING);
    let there = within(gone.connect()).await.unwrap();
    let here = within(server.accept()).await;
    // It does not poll, because its application takes nothing.
    here.send("x".repeat(1000)).await.unwrap();
    here.send("x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let start = tokio::time::Instant::now();
    advance(HOUR).await;
    assert_eq!(within(here.closed()).await, CloseReason::PingTimeout);
    assert_eq!(start.elapsed().as_secs(), HOUR.as_secs() + 5);
    drop(there);
}
