//! The life of a host: what ends it, what it leaves behind, what it survives.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use engineio_driver::app::{Application, Host, Instant, Peer, Sockets};
use engineio_driver::mount::HyperService;
use engineio_driver::{CloseReason, Message, Socket};
use hyper_util::rt::TokioIo;

use crate::{Notes, Told, WEBSOCKET, builder, client, runtime, serve, until, within};

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_until_every_end_was_told() {
    let server = builder().build().unwrap();
    let there = serve(&server, Notes::quiet());
    let client = client(&server, WEBSOCKET);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(within(client.connect()).await.unwrap());
    }
    until(&there, |notes| notes.told.len() == 5).await;
    within(server.shutdown()).await;
    there.with(|notes| assert!((0..5).all(|peer| notes.end(peer) == Some(CloseReason::ForcedClose))));
}

/// A silent client ends for the application when it ends for the server.
#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_asked_for_has_its_reason() {
    let second = Duration::from_secs(1);
    let server = builder().ping_interval(second).ping_timeout(second).build().unwrap();
    let there = serve(&server, Notes::quiet());
    // Its pings are not answered.
    let (mut client, io) = tokio::io::duplex(4096);
    let service = HyperService::new(server.clone(), None);
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    tokio::spawn(connection.with_upgrades());
    let request = b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
    until(&there, |notes| notes.end(0).is_some()).await;
    there.with(|notes| assert_eq!(notes.end(0), Some(CloseReason::PingTimeout)));
}

/// An application lives as long as a host handle or a session.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_behind() {
    struct Kept {
        _kept: Arc<()>,
        closed: Arc<AtomicUsize>,
    }

    impl Application for Kept {
        fn on_close(&mut self, _: &mut dyn Sockets, _: Peer, _: CloseReason) {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }

        fn next_timeout(&self) -> Option<Instant> {
            Some(Instant::from_millis(u64::MAX))
        }
    }

    let (kept, closed) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
    let left: Weak<()> = Arc::downgrade(&kept);
    let server = builder().build().unwrap();
    let host = Host::new(runtime(), Kept { _kept: kept, closed: Arc::clone(&closed) });
    let socket = within(client(&server, WEBSOCKET).connect()).await.unwrap();
    host.attach(within(server.accept()).await);
    drop(host);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(left.upgrade().is_some());
    socket.close();
    within(socket.closed()).await;
    let gone = async {
        while left.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(gone).await;
    assert_eq!(closed.load(Ordering::Relaxed), 1);
}

/// A panic ends the session of the call. Other sessions are not affected.
#[tokio::test(start_paused = true)]
async fn a_call_that_panics_ends_its_own_session() {
    #[derive(Default)]
    struct Fragile(Vec<Peer>);

    impl Application for Fragile {
        fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
            self.0.push(peer);
            assert_ne!(message, "panic".into());
            sockets.send(peer, message).unwrap();
        }
    }

    let server = builder().build().unwrap();
    let there = serve(&server, Fragile::default());
    let client = client(&server, WEBSOCKET);
    let first = within(client.connect()).await.unwrap();
    first.try_send("panic").unwrap();
    assert_eq!(within(first.closed()).await, CloseReason::TransportClose);
    let mut second: Socket = within(client.connect()).await.unwrap();
    second.try_send("hello").unwrap();
    assert_eq!(within(second.recv()).await, Some("hello".into()));
    there.with(|fragile| assert_eq!(fragile.0, [Peer(0), Peer(1)]));
    until(&there, |_| server.len() == 1).await;
}

/// Also when a session opens: the next one is accepted all the same.
#[tokio::test(start_paused = true)]
async fn an_opening_that_panics_ends_its_own_session() {
    struct Shy;

    impl Application for Shy {
        fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
            assert_ne!(peer, Peer(0));
            sockets.send(peer, "hello".into()).unwrap();
        }
    }

    let server = builder().build().unwrap();
    let _there = serve(&server, Shy);
    let client = client(&server, WEBSOCKET);
    let first = within(client.connect()).await.unwrap();
    assert_eq!(within(first.closed()).await, CloseReason::TransportClose);
    let mut second = within(client.connect()).await.unwrap();
    assert_eq!(within(second.recv()).await, Some("hello".into()));
    assert_eq!(server.len(), 1);
}

/// A waker may run code of the user: the application's lock is free by then.
#[tokio::test(start_paused = true)]
async fn wakers_run_without_the_lock() {
    struct Curious {
        host: Host<Notes>,
        woken: AtomicUsize,
    }

    impl Wake for Curious {
        fn wake(self: Arc<Self>) {
            self.host.with(|notes| assert_eq!(notes.of(0)[0], Told::Open));
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
    }

    for at_client in [false, true] {
        let server = builder().build().unwrap();
        let there = serve(&server, Notes::new(|_, sockets, _| sockets.abort(Peer(0))));
        let here = Host::new(runtime(), Notes::new(|_, sockets, _| sockets.abort(Peer(0))));
        let socket = within(client(&server, WEBSOCKET).connect()).await.unwrap();
        let ours = socket.handle();
        here.attach(socket);
        until(&there, |notes| notes.of(0) == [Told::Open]).await;
        let theirs = server.sessions().remove(0);
        let (host, handle) = if at_client { (here.clone(), ours) } else { (there.clone(), theirs) };
        let curious = Arc::new(Curious { host: host.clone(), woken: AtomicUsize::new(0) });
        let waker = Waker::from(Arc::clone(&curious));
        let mut closed = pin!(handle.closed());
        assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        host.impulse(0);
        within(poll_fn(|cx| match curious.woken.load(Ordering::Relaxed) {
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }))
        .await;
        until(&host, |notes| notes.end(0).is_some()).await;
    }
}
