//! Applications on sockets: they are called as is promised, whoever sits on the other side. Servers and clients meet in
//! memory, and the clock is paused: what does not happen lets time jump, and is seen at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use engineio_driver::{
    Application, BoxIo, Builder, Client, ClientBuilder, CloseReason, Connecting, Connector, Endpoint, Host,
    HyperService, Instant, Message, Peer, Runtime, SendError, Server, Socket, Sockets, TransportKind,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

const HOUR: Duration = Duration::from_secs(3600);
const POLLING: &[TransportKind] = &[TransportKind::Polling];
const WEBSOCKET: &[TransportKind] = &[TransportKind::WebSocket];
const UPGRADE: &[TransportKind] = &[TransportKind::Polling, TransportKind::WebSocket];

/// Connects to a server in the same process, over so many bytes of memory.
struct Memory {
    server: Server,
    bytes: usize,
}

impl Connector for Memory {
    fn connect(&self, _: &str, _: u16) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(self.bytes);
        let service = HyperService::new(self.server.clone(), None);
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
        tokio::spawn(connection.with_upgrades());
        Box::pin(async { Ok(Box::new(TokioIo::new(ours)) as BoxIo) })
    }
}

fn runtime() -> Runtime {
    Runtime::new(TokioExecutor::new(), TokioTimer::new())
}

/// A server whose intervals no test lives to see, unless it waits for them.
fn builder() -> Builder {
    Builder::new(runtime()).ping_interval(100 * HOUR).ping_timeout(HOUR).upgrade_timeout(HOUR)
}

fn client(server: &Server, transports: &[TransportKind]) -> Client {
    client_over(server, transports, 64 * 1024)
}

fn client_over(server: &Server, transports: &[TransportKind], bytes: usize) -> Client {
    let memory = Memory { server: server.clone(), bytes };
    let endpoint = Endpoint::parse("http://memory").unwrap();
    let builder: ClientBuilder = ClientBuilder::new(runtime(), endpoint, memory);
    builder.transports(transports.iter().copied()).receive_buffer(1000).build().unwrap()
}

/// What must happen, happens; nothing else is due for a day.
async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(24 * HOUR, work).await.expect("it does not happen")
}

/// Waits until something is true of an application. It becomes true by what is under way.
async fn until<A: Application + Send>(host: &Host<A>, mut is_true: impl FnMut(&A) -> bool) {
    let polled = async {
        while !host.with(|application| is_true(application)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(polled).await;
}

fn serve<A: Application + Send>(server: &Server, application: A) -> Host<A> {
    let host = Host::new(runtime(), application);
    let (serving, server) = (host.clone(), server.clone());
    tokio::spawn(async move { serving.serve(&server).await });
    host
}

/// What an application was told of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Open,
    Message(Message),
    Writable,
    Close(CloseReason),
}

type Act = fn(&mut Notes, &mut dyn Sockets, u32);

/// Writes down what it is told, and does at an impulse what the test wants.
struct Notes {
    told: BTreeMap<Peer, Vec<Told>>,
    act: Act,
    /// Sends every message back.
    echoes: bool,
    /// Aborts who says this.
    taboo: Option<Message>,
    /// What was not taken yet, of a flood.
    flood: Vec<u64>,
    refused: usize,
}

impl Notes {
    fn new(act: Act) -> Self {
        Self { told: BTreeMap::new(), act, echoes: false, taboo: None, flood: Vec::new(), refused: 0 }
    }

    fn quiet() -> Self {
        Self::new(|_, _, _| ())
    }

    fn note(&mut self, peer: Peer, what: Told) {
        let told = self.told.entry(peer).or_default();
        assert_eq!(told.is_empty(), what == Told::Open, "{told:?}, then {what:?}");
        assert!(!matches!(told.last(), Some(Told::Close(_))), "{told:?}, then {what:?}");
        told.push(what);
    }

    fn of(&self, peer: u64) -> &[Told] {
        self.told.get(&Peer(peer)).map_or(&[], Vec::as_slice)
    }

    fn messages(&self, peer: u64) -> Vec<Message> {
        let messages = self.of(peer).iter();
        messages
            .filter_map(|told| if let Told::Message(message) = told { Some(message.clone()) } else { None })
            .collect()
    }

    fn end(&self, peer: u64) -> Option<CloseReason> {
        match self.of(peer).last() {
            Some(Told::Close(reason)) => Some(*reason),
            _ => None,
        }
    }

    fn writables(&self, peer: u64) -> usize {
        self.of(peer).iter().filter(|told| **told == Told::Writable).count()
    }

    /// Sends what is left of the flood, for as long as it is taken.
    fn pour(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        while let Some(next) = self.flood.pop() {
            match sockets.send(peer, number(next)) {
                Ok(()) => (),
                Err(SendError::Full(_)) => {
                    self.refused += 1;
                    return self.flood.push(next);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A message of some size.
fn number(number: u64) -> Message {
    format!("{number:0100}").into()
}

fn numbers(count: u64) -> Vec<Message> {
    (0..count).map(number).collect()
}

impl Application for Notes {
    fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.note(peer, Told::Open);
    }

    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
        self.note(peer, Told::Message(message.clone()));
        if self.taboo.as_ref() == Some(&message) {
            sockets.abort(peer);
            assert!(matches!(sockets.send(peer, message), Err(SendError::Closed(_))));
        } else if self.echoes {
            sockets.send(peer, message).unwrap();
        }
    }

    fn on_writable(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        self.note(peer, Told::Writable);
        self.pour(sockets, peer);
    }

    fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, reason: CloseReason) {
        self.note(peer, Told::Close(reason));
    }

    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
        (self.act)(self, sockets, impulse);
    }
}

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

/// A reader that does not read: what is refused comes later, when there is room, and in order.
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
        // It stays like that for as long as nobody reads.
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
        // Told once for each time that it had to wait, and the first two are one.
        there.with(|notes| assert_eq!((notes.flood.len(), notes.refused), (0, notes.writables(0) + 1)));
    }
}

/// Whoever is closed before there is room is not told of any.
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

/// An application that aborts a session hears of its end, once, and of nothing else that it said.
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
        // What it does with a session that is gone does nothing.
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

/// The same at a client, where messages had arrived that were not told.
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

/// Who closes in order has said all of it. Who just leaves has said the first part. It is slowed down meanwhile: no more
/// waits than the buffer of its session holds.
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

/// The slowest does not hold up the others: what it is sent is refused.
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

/// A silent client is gone for the application when it is for the server.
#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_asked_for_has_its_reason() {
    let second = Duration::from_secs(1);
    let server = builder().ping_interval(second).ping_timeout(second).build().unwrap();
    let there = serve(&server, Notes::quiet());
    // Nobody answers its pings.
    let (mut client, io) = tokio::io::duplex(4096);
    let service = HyperService::new(server.clone(), None);
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    tokio::spawn(connection.with_upgrades());
    let request = b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
    until(&there, |notes| notes.end(0).is_some()).await;
    there.with(|notes| assert_eq!(notes.end(0), Some(CloseReason::PingTimeout)));
}

/// Closes who says nothing for ten seconds.
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
        // The clock is paused: it is a matter of what is armed, not of how fast this machine is.
        assert!(due <= at && at < due + late, "{peer:?} {at:?} {due:?}");
    }
}

/// Calls itself at any times that it is told.
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

/// Without a session; sooner than what was armed; later, or not at all.
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
    // Put off, then given up.
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

/// It is called again and again, and everything else goes on.
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

/// An application lives as long as somebody needs it: who holds the host, or a session.
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

/// The session that a call is about ends with it. The others do not notice.
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

/// Whoever is woken by what an application does may be code of the user: it finds the application free.
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
