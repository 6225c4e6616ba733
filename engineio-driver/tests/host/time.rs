//! Applications with timeouts.

use std::collections::BTreeMap;
use std::time::Duration;

use engineio_driver::app::{Application, Host, Instant, Peer, Sockets};
use engineio_driver::{CloseReason, Message};

use crate::{WEBSOCKET, builder, client, runtime, serve, until, within};

/// Closes sessions that are silent for ten seconds.
#[derive(Default)]
struct Bouncer {
    heard: BTreeMap<Peer, Instant>,
    closed: Vec<(Peer, Instant)>,
}

const IDLE: Duration = Duration::from_secs(10);

impl Application for Bouncer {
    fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        self.heard.insert(peer, sockets.now());
    }

    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, _: Message) {
        self.heard.insert(peer, sockets.now());
    }

    fn on_close(&mut self, sockets: &mut dyn Sockets, peer: Peer, reason: CloseReason) {
        assert_eq!(reason, CloseReason::ForcedClose);
        self.closed.push((peer, sockets.now()));
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.heard.values().map(|at| *at + IDLE).min()
    }

    fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
        let now = sockets.now();
        assert!(self.next_timeout().is_some_and(|at| at <= now));
        self.heard.retain(|&peer, heard_at| {
            let stays = *heard_at + IDLE > now;
            if !stays {
                sockets.close(peer);
            }
            stays
        });
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_told_to_go_in_time() {
    let server = builder().build().unwrap();
    let there = serve(&server, Bouncer::default());
    let client = client(&server, WEBSOCKET);
    let quiet = within(client.connect()).await.unwrap();
    until(&there, |bouncer| bouncer.heard.len() == 1).await;
    let talks = within(client.connect()).await.unwrap();
    until(&there, |bouncer| bouncer.heard.len() == 2).await;
    let opened = there.with(|bouncer| bouncer.heard.clone());
    tokio::time::sleep(Duration::from_secs(6)).await;
    talks.try_send("still here").unwrap();
    until(&there, |bouncer| bouncer.heard[&Peer(1)] > opened[&Peer(1)]).await;
    let heard = there.with(|bouncer| bouncer.heard[&Peer(1)]);
    assert_eq!(within(quiet.closed()).await, CloseReason::TransportClose);
    assert_eq!(within(talks.closed()).await, CloseReason::TransportClose);
    let closed = there.with(|bouncer| bouncer.closed.clone());
    let late = Duration::from_millis(100);
    for ((peer, at), due) in closed.into_iter().zip([opened[&Peer(0)] + IDLE, heard + IDLE]) {
        // The clock is paused: the result depends on the armed timer, not on the speed of the machine.
        assert!(due <= at && at < due + late, "{peer:?} {at:?} {due:?}");
    }
}

/// Is called at any times that the test sets.
#[derive(Default)]
struct Clock {
    due: Vec<Instant>,
    called: Vec<Instant>,
}

impl Application for Clock {
    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
        self.due.push(sockets.now() + Duration::from_secs(u64::from(impulse)));
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.due.iter().min().copied()
    }

    fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
        let now = sockets.now();
        assert!(self.due.iter().any(|at| *at <= now));
        self.due.retain(|at| *at > now);
        self.called.push(now);
    }
}

/// Without a session; earlier than the armed time; later, or not at all.
#[tokio::test(start_paused = true)]
async fn a_time_may_change_with_every_call() {
    let host = Host::new(runtime(), Clock::default());
    let seconds = |host: &Host<Clock>| {
        host.with(|clock| clock.called.iter().map(|at| at.as_micros() / 1_000_000).collect::<Vec<_>>())
    };
    host.impulse(100);
    host.impulse(10);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(seconds(&host), [10]);
    // Postponed, then cancelled.
    host.with(|clock| clock.due = vec![Instant::from_millis(200_000)]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(seconds(&host), [10]);
    host.with(|clock| clock.due.clear());
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(seconds(&host), [10]);
    host.impulse(5);
    host.impulse(6);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(seconds(&host), [10, 255, 256]);
}

/// It is called again and again, and everything else continues.
#[tokio::test(start_paused = true)]
async fn an_application_whose_time_does_not_pass_holds_up_nobody() {
    #[derive(Default)]
    struct Stuck(u64);

    impl Application for Stuck {
        fn next_timeout(&self) -> Option<Instant> {
            (self.0 < 1000).then_some(Instant::ZERO)
        }

        fn on_timeout(&mut self, _: &mut dyn Sockets) {
            self.0 += 1;
        }
    }

    let host = Host::new(runtime(), Stuck::default());
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(host.with(|stuck| (1..1000).contains(&stuck.0)));
    until(&host, |stuck| stuck.0 == 1000).await;
}
