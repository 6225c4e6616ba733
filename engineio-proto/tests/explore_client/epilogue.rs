//! The required end, from any world.

use engineio_proto::client;
use engineio_proto::{CloseReason, Phase, TransportError, TransportKind};

use crate::alphabet::{Op, Word};
use crate::explore_common::by::{More, is_late};
use crate::model::Item;
use crate::setting::{INTERVAL, OPEN_TIMEOUT, PATIENCE, WAIT};
use crate::world::World;

/// More rounds than any end needs.
const ROUNDS: usize = 40;

/// Plays every way to end; returns the number of steps.
pub fn play_all(world: &World) -> u64 {
    let mut steps = 0;
    let mut play = |end: fn(&mut Play)| {
        let mut play = Play { world: world.clone(), steps: 0 };
        end(&mut play);
        steps += play.steps;
    };
    play(everything_arrives);
    play(a_close_delivers);
    play(silence_ends);
    if world.model.phase() == Phase::Open && world.model.more == More::Unused {
        play(what_came_meanwhile_is_read);
    }
    let on_channel = world.model.state == client::State::Channel && world.model.phase() == Phase::Open;
    if on_channel && !world.model.is_written() {
        play(silence_ends_while_messages_leave);
        play(a_full_link_is_waited_for);
    }
    steps
}

struct Play {
    world: World,
    steps: u64,
}

impl Play {
    fn step(&mut self, op: Op) {
        self.world.step(op);
        self.steps += 1;
    }

    /// The application takes what there is.
    fn take_all(&mut self) {
        while !self.world.model.unread.is_empty() {
            self.step(Op::Recv);
        }
    }

    /// Whether something that waits will end the session.
    fn is_doomed(&self) -> bool {
        let ends = |item: &Item| matches!(item, Item::Other(Word::Close | Word::Junk));
        self.world.model.waiting.iter().any(ends)
    }

    /// One round of a server that does its duty: it opens what is to be opened, shows a client that doubts it that it is
    /// there, takes what is sent, answers the probe, and lets the client pause.
    fn duty(&mut self) {
        if self.world.model.channel.is_some_and(|channel| !channel.open) {
            self.step(Op::Opened);
        }
        if self.world.model.state == client::State::Opening {
            let by_polling = self.world.model.transport == TransportKind::Polling;
            self.step(if by_polling { Op::Got(&[Word::Open]) } else { Op::Frame(Word::Open) });
        }
        self.take_all();
        let model = &self.world.model;
        if model.is_in_doubt() && (model.state == client::State::Channel || model.get.is_some()) {
            self.ping();
        }
        while self.world.model.has_frames() {
            self.step(Op::Pull);
        }
        if self.world.model.ledger.on_channel() > 0 {
            self.step(Op::ChannelWritten);
        }
        if self.world.model.post.is_some() {
            self.step(Op::Posted);
        }
        let probed = self.world.model.channel.is_some_and(|channel| channel.probed);
        if self.world.model.state == client::State::Probing && probed {
            self.step(Op::Frame(Word::ProbeAnswer));
        }
        if self.world.model.state == client::State::Pausing && self.world.model.get.is_some() {
            self.step(Op::Got(&[Word::Noop]));
        }
    }

    fn is_quiet(&self) -> bool {
        let model = &self.world.model;
        let settled = matches!(model.state, client::State::Polling | client::State::Channel);
        settled && model.phase() == Phase::Open && model.is_idle() && !model.has_frames() && model.post.is_none()
    }

    fn ping(&mut self) {
        let on_channel = self.world.model.state == client::State::Channel;
        self.step(if on_channel { Op::Frame(Word::Ping) } else { Op::Got(&[Word::Ping]) });
    }
}

/// Law 2, 8 and 9: if all do their duty, all messages arrive, an upgrade that is under way completes, and a server that
/// pings is not given up; or the session is over.
fn everything_arrives(play: &mut Play) {
    let upgrades = play.world.model.is_upgrading();
    for _ in 0..ROUNDS {
        play.duty();
        if play.world.model.told {
            return;
        }
        if play.is_quiet() {
            assert!(play.world.model.is_written(), "law 2: something never leaves");
            assert!(play.world.model.upgraded || !upgrades, "an upgrade does not complete");
            return a_live_server_is_kept(play);
        }
    }
    panic!("law 2: something never arrives: {:#?}", play.world.model);
}

fn a_live_server_is_kept(play: &mut Play) {
    play.ping();
    play.duty();
    let end = play.world.model.now + 2 * PATIENCE;
    while play.world.model.now < end {
        // So often that it is in time, and as late as that.
        for _ in 0..INTERVAL.as_micros() / WAIT.as_micros() + 1 {
            play.step(Op::Wait);
        }
        play.ping();
        play.duty();
        assert!(play.is_quiet(), "law 9: a server that lives is given up: {:#?}", play.world.model);
    }
}

/// Law 2 and 3: a close in order delivers everything that was sent before.
fn a_close_delivers(play: &mut Play) {
    let was_open = matches!(play.world.model.phase(), Phase::Opening | Phase::Open) && !play.is_doomed();
    play.step(Op::Close);
    for _ in 0..ROUNDS {
        if play.world.model.told {
            let model = &play.world.model;
            let in_order = model.is_written() && model.reason == Some(CloseReason::ForcedClose);
            return assert!(in_order || !was_open, "law 2: a close in order loses messages: {model:#?}");
        }
        play.duty();
    }
    panic!("law 3: the client does not close: {:#?}", play.world.model);
}

/// Law 3 and 9: if the server falls silent, the session ends, in time.
fn silence_ends(play: &mut Play) {
    play.take_all();
    end_of_silence(play, |play| play.step(Op::Tick));
}

/// The same although the application sends, and the connection takes what is sent: nobody has seen the server read it.
fn silence_ends_while_messages_leave(play: &mut Play) {
    play.take_all();
    end_of_silence(play, |play| {
        play.step(Op::Wait);
        play.step(Op::Send);
        while play.world.model.has_frames() {
            play.step(Op::Pull);
        }
        if play.world.model.ledger.on_channel() > 0 {
            play.step(Op::ChannelWritten);
        }
        play.step(Op::Tick);
    });
}

/// Law 9: a server that reads is not given up, however long its ping takes.
fn a_full_link_is_waited_for(play: &mut Play) {
    play.take_all();
    if play.world.model.phase() != Phase::Open {
        return;
    }
    let end = play.world.model.now + 2 * PATIENCE;
    while play.world.model.now < end {
        play.step(Op::Unblocked);
        play.step(Op::Wait);
        assert_eq!(play.world.model.phase(), Phase::Open, "law 9: a server that reads is given up");
    }
}

/// Law 9: a host that stood still reads what came meanwhile before it gives the server up.
fn what_came_meanwhile_is_read(play: &mut Play) {
    let patience = play.world.model.patience;
    play.step(Op::Late);
    let model = &play.world.model;
    // Something else may have been due before.
    let late = patience.is_some_and(|at| is_late(at, model.now));
    assert!(!late || model.phase() == Phase::Open, "law 9: a server is given up before it is heard");
}

fn end_of_silence(play: &mut Play, round: fn(&mut Play)) {
    let before = play.world.model.reason;
    let latest = play.world.model.now + 2 * OPEN_TIMEOUT + 3 * PATIENCE;
    for _ in 0..ROUNDS {
        if play.world.model.told {
            return;
        }
        round(play);
        assert!(play.world.model.now <= latest, "law 9: a silent server is waited for: {:#?}", play.world.model);
        let reason = play.world.model.reason;
        let never_opened = CloseReason::TransportError(TransportError::OpenTimeout);
        let never_closed = CloseReason::TransportError(TransportError::CloseTimeout);
        let known = [CloseReason::PingTimeout, CloseReason::ForcedClose, never_opened, never_closed].map(Some);
        let known = [&known[..], &[before]].concat();
        assert!(known.contains(&reason), "law 3: {reason:?} is not why a silent server is given up");
    }
    panic!("law 9: a silent server is waited for: {:#?}", play.world.model);
}
