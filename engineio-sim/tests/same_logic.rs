//! The chat of the example runs unchanged in a simulated world and on real sockets: with the same script, the same
//! laws, and, whenever the script is at rest, the same people in the same rooms with the same lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../examples/chat/laws.rs"]
mod laws;
#[path = "../examples/chat/rooms.rs"]
mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use engineio_sim::{Ending, Node, Op, Settings, Side, Start, World};
use engineio_tokio::app::Host;
use engineio_tokio::{ClientBuilder, Handle, Socket, TransportKind};

use crate::rooms::{Client, ROOMS, Server};

/// The number of people.
const PEOPLE: usize = 3;

/// What they do.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(usize, Start),
    /// A key press; see `Client::on_impulse`.
    Press(usize, u32),
    Close(usize),
    Abort(usize),
    /// Wait until nothing is in transit.
    Rest,
}

const LOBBY: u32 = 0;
const ATTIC: u32 = 1;
const LEAVE: u32 = 2;
const SAY: u32 = 3;

/// By polling, on a WebSocket, and with an upgrade; all at the same time; with one client that closes in order, one
/// that aborts, and one that returns.
fn script() -> Vec<Step> {
    use Step::{Abort, Close, Connect, Press, Rest};
    let mut script = Vec::new();
    // They connect one after the other, so that they have the same names everywhere.
    for (person, start) in [Start::Polling, Start::WebSocket, Start::Upgrade].into_iter().enumerate() {
        script.extend([Connect(person, start), Rest]);
    }
    script.extend([Press(0, LOBBY), Press(0, SAY), Press(0, SAY), Press(1, LOBBY), Press(2, ATTIC)]);
    for round in 0..40 {
        script.extend((0..PEOPLE).map(|person| Press(person, SAY)));
        match round {
            10 => script.push(Press(1, ATTIC)),
            20 => script.extend([Press(2, LEAVE), Press(2, LOBBY)]),
            30 => script.push(Press(1, LOBBY)),
            // The server closes the session of a guest for whom more than 32 messages wait.
            _ if round % 8 == 7 => script.push(Rest),
            _ => (),
        }
    }
    // All lines of a client that closes in order arrive. Those of a client that aborts are certain only at rest.
    script.extend([Press(2, SAY), Close(2), Press(0, SAY), Rest, Abort(1), Press(0, SAY), Rest]);
    script.extend([Connect(1, Start::Upgrade), Rest, Connect(2, Start::Fallback), Rest]);
    script.extend([Press(1, LOBBY), Press(2, LOBBY)]);
    for _ in 0..5 {
        script.extend((0..8).flat_map(|_| [Press(0, SAY), Press(1, SAY), Press(2, SAY)]));
        script.push(Rest);
    }
    script.extend([Press(0, LEAVE), Rest, Close(0), Close(1), Abort(2), Rest]);
    script
}

/// The state that is the same everywhere, independent of timing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scene {
    guests: BTreeSet<String>,
    members: BTreeSet<(&'static str, String)>,
    /// The people in each room, in any order.
    lines: BTreeMap<&'static str, Vec<String>>,
    /// For each person: the room, the name, and whether it has left; the last one where it is.
    visits: Vec<Vec<(String, String, bool)>>,
}

impl Scene {
    fn of(servers: &[&Server], clients: &[&Client]) -> Self {
        let lines = |room| {
            let mut lines: Vec<_> = servers.iter().flat_map(|server| server.lines(room)).cloned().collect();
            lines.sort_unstable();
            lines
        };
        let visits = |client: &&Client| {
            let all = client.visits.iter().chain(&client.visit);
            all.map(|visit| (visit.room.clone(), visit.name.clone(), visit.until.is_some())).collect()
        };
        Self {
            guests: servers.iter().flat_map(|server| server.guests()).collect(),
            members: servers.iter().flat_map(|server| server.members()).collect(),
            lines: ROOMS.into_iter().map(|room| (room, lines(room))).collect(),
            visits: clients.iter().map(visits).collect(),
        }
    }
}

fn hold(laws: &[(&str, laws::Law)], servers: &[&Server], clients: &[&Client]) -> Result<(), String> {
    laws.iter().try_for_each(|(name, law)| law(servers, clients).map_err(|what| format!("{name}: {what}")))
}

/// In a simulated world: the state at each rest.
fn simulated() -> Vec<Scene> {
    let settings = Settings {
        clients: PEOPLE,
        // Enough for what a client sends at a time, and not for what it receives.
        send_limit: 1000,
        ..Settings::default()
    };
    let ops: Vec<Op> = script()
        .into_iter()
        .map(|step| match step {
            Step::Connect(client, start) => Op::Connect { client, server: 0, start },
            Step::Press(client, key) => Op::Impulse(Node::Client(client), key),
            Step::Close(client) => Op::Close(Side::Client(client)),
            Step::Abort(client) => Op::Abort(Side::Client(client)),
            Step::Rest => Op::Wait(5_000_000),
        })
        .collect();
    let run = laws::simulation(None).replay(&settings, &ops, Ending::Clients);
    assert!(run.is_ok(), "{}", run.unwrap_err());

    let mut world = World::new(settings, |_| Server::new(None), |_| Client::default()).unwrap();
    let mut scenes = Vec::new();
    for op in ops {
        world.step(op).unwrap();
        if let Op::Wait(_) = op {
            let (servers, clients) =
                (world.servers().iter().collect::<Vec<_>>(), world.clients().iter().collect::<Vec<_>>());
            hold(&laws::AT_REST, &servers, &clients).unwrap();
            scenes.push(Scene::of(&servers, &clients));
        }
    }
    scenes
}

/// The applications on real sockets.
struct Hosts {
    server: Host<Server>,
    clients: Vec<Host<Client>>,
}

impl Hosts {
    fn new(server: Host<Server>, client: impl Fn() -> Host<Client>) -> Self {
        Self { server, clients: (0..PEOPLE).map(|_| client()).collect() }
    }

    /// Returns the state of all of them at one moment.
    fn look<T>(&self, look: impl FnOnce(&[&Server], &[&Client]) -> T) -> T {
        self.server.with(|server| look_at(&self.clients, &[], |clients| look(&[&*server], clients)))
    }

    /// Waits until the state is as expected. The laws hold all the time.
    async fn rest(&self, expected: &Scene) {
        let began = Instant::now();
        let missing = |servers: &[&Server], clients: &[&Client]| {
            hold(&laws::ALWAYS, servers, clients).unwrap();
            let scene = Scene::of(servers, clients);
            let rests = if scene == *expected { Ok(()) } else { Err(format!("{scene:?}, not {expected:?}")) };
            rests.and_then(|()| hold(&laws::AT_REST, servers, clients))
        };
        while let Err(what) = self.look(missing) {
            assert!(began.elapsed() < DEADLINE, "{what}");
            yield_now().await;
        }
    }

    /// Runs the script. At each rest, the state is as in the simulated world.
    async fn play(&self, connect: impl AsyncFn(Start) -> Socket, scenes: &[Scene]) {
        let mut handles: Vec<Option<(Handle, Start)>> = vec![None; PEOPLE];
        let mut scenes = scenes.iter();
        for step in script() {
            match step {
                Step::Connect(person, start) => {
                    let socket = connect(start).await;
                    let began = if matches!(start, Start::Polling | Start::Upgrade) { POLLING } else { WEBSOCKET };
                    assert_eq!(socket.offer().unwrap().transport, began);
                    handles[person] = Some((socket.handle(), start));
                    self.clients[person].attach(socket);
                }
                Step::Press(person, key) => self.clients[person].impulse(key),
                Step::Close(person) => left(&mut handles[person]).await.close(),
                Step::Abort(person) => left(&mut handles[person]).await.abort(),
                Step::Rest => {
                    self.rest(scenes.next().unwrap()).await;
                }
            }
        }
        assert!(scenes.next().is_none());
    }
}

fn look_at<T, F: FnOnce(&[&Client]) -> T>(hosts: &[Host<Client>], seen: &[&Client], look: F) -> T {
    match hosts.split_first() {
        None => look(seen),
        Some((host, others)) => host.with(|client| {
            let mut seen = seen.to_vec();
            seen.push(client);
            look_at(others, &seen, look)
        }),
    }
}

/// A client that leaves has completed its upgrade by then, if it has one. Until then it sends.
async fn left(place: &mut Option<(Handle, Start)>) -> Handle {
    let (handle, start) = place.take().unwrap();
    let began = Instant::now();
    while start == Start::Upgrade && !handle.is_upgraded() {
        assert!(began.elapsed() < DEADLINE);
        yield_now().await;
    }
    handle
}

/// Longer than any machine needs.
const DEADLINE: Duration = Duration::from_secs(60);
const POLLING: TransportKind = TransportKind::Polling;
const WEBSOCKET: TransportKind = TransportKind::WebSocket;

/// The client that starts like one of the simulation.
fn started(builder: ClientBuilder, start: Start) -> engineio_tokio::Client {
    let transports: &[_] = match start {
        Start::Polling => &[POLLING],
        Start::WebSocket => &[WEBSOCKET],
        Start::Upgrade => &[POLLING, WEBSOCKET],
        Start::Fallback => &[WEBSOCKET, POLLING],
    };
    builder.transports(transports.iter().copied()).build().unwrap()
}

/// Lets other tasks run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Does something while something else continues.
async fn beside<T>(background: impl Future<Output = Infallible>, work: impl Future<Output = T>) -> T {
    let (mut background, mut work) = (pin!(background), pin!(work));
    poll_fn(|cx| match background.as_mut().poll(cx) {
        Poll::Ready(never) => match never {},
        Poll::Pending => work.as_mut().poll(cx),
    })
    .await
}

/// The test of a runtime: its crate, and a function that runs a future on it.
macro_rules! plays_on {
    ($test:ident, $runtime:ident, $block_on:expr) => {
        #[test]
        fn $test() {
            let scenes = simulated();
            $block_on(async {
                // What a client receives at a time does not fit, and has to wait for room.
                let server = $runtime::builder().send_buffer(200, 50).build().unwrap();
                let addr = $runtime::bind(&server, "127.0.0.1:0").await.unwrap().detach();
                let hosts = Hosts::new($runtime::host(Server::new(None)), || $runtime::host(Client::default()));
                let connect = async |start| {
                    let builder = $runtime::client(&format!("http://{addr}")).unwrap();
                    started(builder, start).connect().await.unwrap()
                };
                beside(hosts.server.serve(&server), hosts.play(connect, &scenes)).await;
                server.shutdown().await;
            });
        }
    };
}

plays_on!(on_tokio, engineio_tokio, |play| {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play);
});

plays_on!(on_tokio_with_threads, engineio_tokio, |play| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(play);
});

plays_on!(on_smol, engineio_smol, |play| {
    smol::block_on(play);
});

/// An operation of the script.
#[test]
fn in_a_simulated_world() {
    let scenes = simulated();
    let said: usize = scenes.last().unwrap().lines.values().map(Vec::len).sum();
    assert_eq!(said, 2 + 3 * 40 + 3 + 3 * 40);
    assert!(scenes.iter().any(|scene| scene.members.len() == PEOPLE));
    assert_eq!(scenes.last().unwrap().guests, BTreeSet::new());
    assert_eq!(scenes.last().unwrap().visits.iter().map(Vec::len).sum::<usize>(), 1 + 4 + 3);
}
