//! The chat of the example keeps its laws, and bugs in it are found and shrunk.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../examples/chat/laws.rs"]
mod laws;
#[path = "../examples/chat/rooms.rs"]
mod rooms;

use engineio_sim::{Ending, Law, Line, Message, Node, Op, Settings, Side, Start, Totals};

use crate::laws::simulation;
use crate::rooms::Bug;

#[test]
fn a_healthy_chat_keeps_its_laws() {
    let chat = simulation(None);
    let mut totals = Totals::default();
    for seed in 0..300 {
        match chat.run(seed) {
            Ok(report) => totals.merge(&report.totals),
            Err(failure) => panic!("{}", chat.shrink(failure)),
        }
    }
    // There were lines in them.
    assert!(totals.opened > 500 && totals.messages_received > 2000, "{totals:?}");
}

/// A bug breaks this law within this many worlds, needs at most this many operations, and the healthy server keeps the
/// law in the same scene.
#[track_caller]
fn is_found(bug: Bug, worlds: u64, operations: usize) {
    let chat = simulation(Some(bug));
    let found = (0..worlds).find_map(|seed| chat.run(seed).err());
    let Some(failure) = found else { panic!("{bug:?} was not found in {worlds} worlds") };
    let small = chat.shrink(failure);
    assert!(small.violation.law == Law::User && small.ops.len() <= operations, "{small}");
    let again = chat.replay(&small.settings, &small.ops, small.ending).unwrap_err();
    assert_eq!((again.violation, again.journal), (small.violation.clone(), small.journal.clone()));
    let healthy = simulation(None).replay(&small.settings, &small.ops, small.ending);
    assert!(healthy.is_ok(), "{}", healthy.unwrap_err());
    assert!(small.test().contains(&format!("laws::simulation(Some(rooms::Bug::{bug:?})).replay(")), "{}", small.test());
}

#[test]
fn a_server_that_forgets_what_was_refused_is_found() {
    is_found(Bug::ForgetsTheRefused, 200, 12);
}

#[test]
fn a_server_that_keeps_the_lost_is_found() {
    is_found(Bug::KeepsTheLost, 100, 12);
}

/// A key press; see `Client::on_impulse`.
fn press(client: usize, key: u32) -> Op {
    Op::Impulse(Node::Client(client), key)
}

fn connect(client: usize) -> Op {
    Op::Connect { client, server: 0, start: Start::WebSocket }
}

const JOIN: u32 = 0;
const SAY: u32 = 3;
const SOON: Op = Op::Wait(1_000_000);

/// A scene that is written by hand.
#[test]
fn two_people_talk() {
    let settings = Settings { clients: 2, ..Settings::default() };
    let ops = [
        connect(0),
        connect(1),
        SOON,
        press(0, JOIN),
        SOON,
        press(0, SAY),
        SOON,
        press(1, JOIN),
        SOON,
        press(0, SAY),
        SOON,
    ];
    let mut world =
        engineio_sim::World::new(settings, |_| rooms::Server::new(None), |_| rooms::Client::default()).unwrap();
    ops.into_iter().try_for_each(|op| world.step(op)).unwrap();
    let heard = |client: usize| world.clients()[client].visit.as_ref().map(|visit| (visit.from, visit.heard.clone()));
    assert_eq!(heard(0), Some((0, vec!["guest0 1".to_owned(), "guest0 2".to_owned()])));
    assert_eq!(heard(1), Some((1, vec!["guest0 2".to_owned()])));
}

/// The session of a member that does not read is closed; the others do not notice.
#[test]
fn the_slowest_member_does_not_hold_up_the_others() {
    let settings = Settings { clients: 2, send_limit: 200, receive_limit: 1, window: 1, ..Settings::default() };
    let mut ops = vec![connect(0), connect(1), SOON, press(0, JOIN), press(1, JOIN), SOON];
    ops.push(Op::Read(Side::Client(1), false));
    ops.extend((0..60).flat_map(|_| [press(0, SAY), Op::Wait(100_000)]));
    // A session that is closed in order waits for its peer to read.
    ops.push(Op::Wait(40_000_000));
    let mut world =
        engineio_sim::World::new(settings.clone(), |_| rooms::Server::new(None), |_| rooms::Client::default()).unwrap();
    ops.iter().try_for_each(|&op| world.step(op)).unwrap();
    assert_eq!(world.clients()[0].visit.as_ref().map(|visit| visit.heard.len()), Some(60));
    assert_eq!(world.servers()[0].members().count(), 1);
    let run = simulation(None).replay(&settings, &ops, Ending::Silence);
    assert!(run.is_ok(), "{}", run.unwrap_err());
}

/// A server that was killed has no members, whoever was there.
#[test]
fn a_server_that_died_has_a_new_application() {
    let settings = Settings { clients: 1, ..Settings::default() };
    let ops = [
        connect(0),
        SOON,
        press(0, JOIN),
        SOON,
        Op::Crash(0),
        connect(0),
        SOON,
        connect(0),
        SOON,
        press(0, JOIN),
        SOON,
    ];
    let mut world =
        engineio_sim::World::new(settings.clone(), |_| rooms::Server::new(None), |_| rooms::Client::default()).unwrap();
    ops.iter().try_for_each(|&op| world.step(op)).unwrap();
    let members: Vec<_> = world.servers()[0].members().collect();
    assert_eq!(members, [("lobby", "guest1".to_owned())]);
    let run = simulation(None).replay(&settings, &ops, Ending::Both);
    assert!(run.is_ok(), "{}", run.unwrap_err());
}

/// A broken law of the user stays the broken law while a failure is shrunk; and invalid settings are not a smaller
/// failure.
#[test]
fn shrinking_keeps_to_the_law_that_was_broken() {
    let chat = simulation(None)
        .law("nobody joins", |world| match world.clients().iter().any(|client| client.visit.is_some()) {
            true => Err("somebody did".into()),
            false => Ok(()),
        })
        .law("no time passes", |world| match world.now().as_micros() > 5_000_000 {
            true => Err("it did".into()),
            false => Ok(()),
        });
    let settings = Settings { send_limit: 1, send_low: 0, clients: 3, ..Settings::default() };
    let ops = [connect(2), SOON, press(2, JOIN), Op::Arrive(Line::Up(2)), SOON, press(2, SAY), Op::Wait(30_000_000)];
    let failure = chat.replay(&settings, &ops, Ending::Clients).unwrap_err();
    assert_eq!(failure.violation.what, "nobody joins: somebody did");
    let small = chat.shrink(failure);
    assert_eq!(small.violation.what, "nobody joins: somebody did");
    assert!(small.ops.len() <= 4, "{small}");
    // Clients to which nothing happens are removed.
    assert!(small.settings.clients == 1 && small.ops.contains(&press(0, JOIN)), "{small}");
}

/// A message that is not a command, or cannot be sent to everyone, is answered and has no other effect.
#[test]
fn a_server_that_is_told_nonsense_is_sorry() {
    use engineio_sim::{Application, Peer, SendError, Sockets};

    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Sockets for Notes {
        fn send(&mut self, _: Peer, message: Message) -> Result<(), SendError> {
            if let Message::Text(text) = message {
                self.0.push(text.as_str().into());
            }
            Ok(())
        }

        fn close(&mut self, _: Peer) {}

        fn abort(&mut self, _: Peer) {}

        fn now(&self) -> engineio_sim::Instant {
            engineio_sim::Instant::ZERO
        }
    }

    let (mut server, mut notes, peer) = (rooms::Server::new(None), Notes::default(), Peer(7));
    server.on_open(&mut notes, peer);
    for text in ["join cellar", "say hello", "dance", "leave", "join attic", "say a\u{1e}b", "say hello"] {
        server.on_message(&mut notes, peer, Message::from(text));
    }
    server.on_message(&mut notes, peer, Message::from(vec![1, 2]));
    assert_eq!(
        notes.0,
        [
            "sorry no such room",
            "sorry you are nowhere",
            "sorry what",
            "joined attic 0 guest7",
            "sorry plain text only",
            "said guest7 hello",
            "sorry plain text only",
        ]
    );
}
