//! Applications with timeouts: they are called when the time has come, and what they do then breaks no law.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use engineio_sim::{
    Application, CloseReason, Ending, Instant, Law, Message, Node, Op, Peer, Settings, Simulation, Sockets, Start,
    Totals, World,
};

/// How long a guest may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// How many messages it may send at once.
const CHATTY: u32 = 5;

/// A server that closes silent sessions, and aborts those that send too much within one tick of its clock.
#[derive(Debug, Default)]
struct Host {
    guests: BTreeMap<Peer, Guest>,
    /// With the bug of an earlier version of a server: it waits for the latest deadline, not for the earliest.
    careless: bool,
    /// It was called too early.
    early: bool,
    /// Sessions of which only the end may be reported.
    aborted: Vec<Peer>,
    wrong: Option<String>,
    closed: u32,
}

#[derive(Debug)]
struct Guest {
    heard_at: Instant,
    said: u32,
    /// The server has closed it.
    leaving: bool,
}

impl Host {
    fn careless() -> Self {
        Self { careless: true, ..Self::default() }
    }

    fn note(&mut self, peer: Peer, what: &str) {
        if self.aborted.contains(&peer) {
            self.wrong.get_or_insert(format!("{what} of {peer:?}, which was aborted"));
        }
    }

    /// Guests whose session must be closed by now.
    fn idle(&self, now: Instant) -> Vec<Peer> {
        let is_idle = |guest: &Guest| !guest.leaving && guest.heard_at + IDLE <= now;
        self.guests.iter().filter(|(_, guest)| is_idle(guest)).map(|(peer, _)| *peer).collect()
    }
}

impl Application for Host {
    fn on_open(&mut self, sockets: &mut dyn Sockets, peer: Peer) {
        let guest = Guest { heard_at: sockets.now(), said: 0, leaving: false };
        if self.guests.insert(peer, guest).is_some() {
            self.wrong.get_or_insert(format!("{peer:?} opened twice"));
        }
    }

    fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, _: Message) {
        self.note(peer, "a message");
        let now = sockets.now();
        let Some(guest) = self.guests.get_mut(&peer) else {
            self.wrong.get_or_insert(format!("a message of {peer:?}, which is not open"));
            return;
        };
        guest.said = if guest.heard_at == now { guest.said + 1 } else { 1 };
        guest.heard_at = now;
        if guest.said > CHATTY {
            guest.leaving = true;
            sockets.abort(peer);
            self.aborted.push(peer);
        }
    }

    fn on_writable(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.note(peer, "room");
    }

    fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, _: CloseReason) {
        if self.guests.remove(&peer).is_none() {
            self.wrong.get_or_insert(format!("{peer:?} closed, and was not open"));
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let staying = self.guests.values().filter(|guest| !guest.leaving).map(|guest| guest.heard_at + IDLE);
        if self.careless { staying.max() } else { staying.min() }
    }

    fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
        self.early |= self.next_timeout().is_none_or(|at| sockets.now() < at);
        for peer in self.idle(sockets.now()) {
            if let Some(guest) = self.guests.get_mut(&peer) {
                guest.leaving = true;
            }
            self.closed += 1;
            sockets.close(peer);
        }
    }
}

/// A client that sends at an impulse: once, or often.
#[derive(Debug, Default)]
struct Visitor {
    peer: Option<Peer>,
    wrong: bool,
}

impl Application for Visitor {
    fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.wrong |= self.peer.replace(peer).is_some();
    }

    fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, _: CloseReason) {
        self.wrong |= self.peer.take() != Some(peer);
    }

    fn on_impulse(&mut self, sockets: &mut dyn Sockets, impulse: u32) {
        let Some(peer) = self.peer else { return };
        let times = if impulse % 16 == 0 { 2 * CHATTY } else { 1 };
        for _ in 0..times {
            drop(sockets.send(peer, "hello".into()));
        }
    }
}

fn simulation(host: fn() -> Host) -> Simulation<Host, Visitor> {
    Simulation::with_applications(move |_| host(), |_| Visitor::default())
        .law("nobody is called early", |world| match world.servers().iter().any(|host| host.early) {
            true => Err("a server was".into()),
            false => Ok(()),
        })
        .law("what is told makes sense", |world| {
            let wrong = world.servers().iter().find_map(|host| host.wrong.clone());
            let visitor = || world.clients().iter().any(|visitor| visitor.wrong);
            wrong.map_or_else(|| if visitor() { Err("a client opened twice".into()) } else { Ok(()) }, Err)
        })
        // Before that, timers may be late.
        .law_at_rest("nobody stays who says nothing", |world| {
            let idle: Vec<_> = world.servers().iter().flat_map(|host| host.idle(world.now())).collect();
            if idle.is_empty() { Ok(()) } else { Err(format!("{idle:?} did")) }
        })
}

#[test]
fn who_says_nothing_is_told_to_go() {
    let simulation = simulation(Host::default);
    let mut totals = Totals::default();
    for seed in 0..300 {
        match simulation.run(seed) {
            Ok(report) => totals.merge(&report.totals),
            Err(failure) => panic!("{}", simulation.shrink(failure)),
        }
    }
    assert!(totals.opened > 500 && totals.messages_received > 1000, "{totals:?}");
}

#[test]
fn a_server_that_waits_for_the_wrong_time_is_found() {
    let careless = simulation(Host::careless);
    // What is left of a world depends on the world.
    let failures = (0..2000).filter_map(|seed| careless.run(seed).err()).take(5);
    let small = failures.map(|failure| careless.shrink(failure)).min_by_key(|small| small.ops.len());
    let small = small.expect("no world shows it");
    assert!(small.violation.law == Law::User && small.ops.len() <= 8, "{small}");
    assert!(small.violation.what.starts_with("nobody stays who says nothing"), "{small}");
    simulation(Host::default).replay(&small.settings, &small.ops, small.ending).unwrap();
}

/// Sends a message every second to all sessions, whatever happens to it, and leaves after a while.
#[derive(Debug, Default)]
struct Talker {
    peers: Vec<Peer>,
    ticks: u64,
}

impl Application for Talker {
    fn on_open(&mut self, _: &mut dyn Sockets, peer: Peer) {
        self.peers.push(peer);
    }

    fn on_close(&mut self, _: &mut dyn Sockets, peer: Peer, _: CloseReason) {
        self.peers.retain(|other| *other != peer);
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(Instant::from_millis(1000 * (self.ticks + 1)))
    }

    fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
        // The host may have slept.
        self.ticks = sockets.now().as_micros() / 1_000_000;
        for (index, peer) in self.peers.iter().enumerate() {
            drop(sockets.send(*peer, self.ticks.to_string().into()));
            match (self.ticks + index as u64) % 20 {
                7 => sockets.close(*peer),
                13 => sockets.abort(*peer),
                _ => (),
            }
        }
    }
}

/// The laws of the protocol also hold for applications with timeouts: while a world comes to rest, and in silence.
#[test]
fn who_acts_by_itself_breaks_no_law() {
    let simulation = Simulation::with_applications(|_| Talker::default(), |_| Talker::default());
    for seed in 0..400 {
        if let Err(failure) = simulation.run(seed) {
            panic!("{}", simulation.shrink(failure));
        }
    }
}

fn world(settings: Settings) -> World<Host, Visitor> {
    World::new(settings, |_| Host::default(), |_| Visitor::default()).unwrap()
}

const CONNECT: Op = Op::Connect { client: 0, server: 0, start: Start::WebSocket };

/// Without lateness the time is exact to the microsecond; with lateness, it is later.
#[test]
fn an_application_is_called_when_its_time_has_come() {
    for late in [0, 3_000_000] {
        let mut world = world(Settings::default());
        world.step(CONNECT).unwrap();
        world.step(Op::Wait(5_000_000)).unwrap();
        let due = world.servers()[0].next_timeout().unwrap();
        world.step(Op::Wait((due - world.now()).as_micros() as u64 - 1)).unwrap();
        world.step(Op::Late(Node::Server(0), late + 1)).unwrap();
        assert_eq!(world.servers()[0].closed, 0);
        world.step(Op::Wait(late)).unwrap();
        assert_eq!(world.servers()[0].closed, 0);
        world.step(Op::Wait(1)).unwrap();
        assert_eq!(world.servers()[0].closed, 1);
        world.rest().unwrap();
        assert_eq!(world.clients()[0].peer, None);
    }
}

/// A timeout of an application is an event of the world.
#[test]
fn a_timeout_of_an_application_comes_next() {
    /// Counts seconds.
    #[derive(Debug, Default)]
    struct Ticks(u64);

    impl Application for Ticks {
        fn next_timeout(&self) -> Option<Instant> {
            Some(Instant::from_millis(1000 * (self.0 + 1)))
        }

        fn on_timeout(&mut self, sockets: &mut dyn Sockets) {
            self.0 += 1;
            assert_eq!(sockets.now(), Instant::from_millis(1000 * self.0));
        }
    }

    let mut world = World::with_journal(Settings::default(), true, |_| Ticks::default(), |_| Ticks::default()).unwrap();
    world.step(Op::Next).unwrap();
    assert_eq!((world.now(), world.servers()[0].0, world.clients()[0].0), (Instant::from_millis(1000), 1, 1));
    assert_eq!(world.journal().entries().iter().filter(|entry| entry.what == "timeout").count(), 2);
    // Nothing is forgotten while time passes.
    world.step(Op::Wait(4_000_000)).unwrap();
    assert_eq!((world.servers()[0].0, world.clients()[0].0), (5, 5));
}

#[test]
fn an_application_of_a_server_that_died_has_its_own_time() {
    let mut world = world(Settings { clients: 1, ..Settings::default() });
    for op in [CONNECT, Op::Wait(5_000_000), Op::Crash(0)] {
        world.step(op).unwrap();
    }
    assert_eq!(world.servers()[0].next_timeout(), None);
    world.step(Op::Wait(60_000_000)).unwrap();
    assert_eq!(world.servers()[0].closed, 0);
}

/// Of a session that the application has aborted, only the end is reported, whatever had arrived.
#[test]
fn who_says_too_much_is_heard_no_more() {
    let mut world = world(Settings { send_limit: 100_000, receive_limit: 100_000, ..Settings::default() });
    for op in [CONNECT, Op::Wait(1_000_000), Op::Impulse(Node::Client(0), 16), Op::Wait(1_000_000)] {
        world.step(op).unwrap();
    }
    let host = &world.servers()[0];
    assert!(host.aborted.len() == 1 && host.guests.is_empty() && host.wrong.is_none(), "{host:?}");
    assert_eq!(world.clients()[0].peer, None);
}

/// A client that finds no server gets no session.
#[test]
fn an_attempt_that_opens_nothing_is_not_told() {
    let mut world = world(Settings::default());
    for op in [Op::Silence(0), CONNECT, Op::Wait(60_000_000)] {
        world.step(op).unwrap();
    }
    assert_eq!(world.totals().attempts, 1);
    assert!(!world.clients()[0].wrong);
    world.rest().unwrap();
}

/// The failure is reported, and the world does not wait forever.
#[test]
fn an_application_whose_time_does_not_pass_is_found() {
    struct Stuck;

    impl Application for Stuck {
        fn next_timeout(&self) -> Option<Instant> {
            Some(Instant::from_millis(7))
        }
    }

    let simulation = Simulation::with_applications(|_| Stuck, |_| ());
    let failure = simulation.replay(&Settings::default(), &[Op::Wait(10_000)], Ending::Clients).unwrap_err();
    assert_eq!(failure.violation.law, Law::User);
    assert!(failure.violation.what.contains("is due still"), "{}", failure.violation);
}
