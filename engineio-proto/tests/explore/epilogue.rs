//! The required end, from any world.

use engineio_proto::{CloseReason, Phase, TransportError};

use crate::alphabet::{Op, Word};
use crate::explore_common::by::{More, is_late};
use crate::model::{Item, Post};
use crate::setting::{INTERVAL, TIMEOUT};
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
    if world.is_pinged() && world.model.phase() == Phase::Open {
        play(silence_ends_while_messages_leave);
        play(a_full_link_is_waited_for);
        play(what_came_meanwhile_is_read);
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

    /// Whether something of the client that waits will end the session.
    fn is_doomed(&self) -> bool {
        let ends = |item: &Item| matches!(item, Item::Other(Word::Close));
        self.world.model.waiting.iter().chain(&self.world.model.behind).any(ends)
    }

    /// Everything that was handed over is written.
    fn write_all(&mut self) {
        while self.world.model.ledger.unwritten().next().is_some() {
            self.step(Op::AnswerWritten);
        }
        if self.world.model.ledger.on_channel() > 0 {
            self.step(Op::ChannelWritten);
        }
    }

    /// One round of a client that does its duty: it finishes its POST, and comes for packets.
    fn duty(&mut self) {
        if let Post::Receiving(_) = self.world.model.post {
            self.step(Op::Body(&[Word::Message]));
        }
        self.take_all();
        let model = &self.world.model;
        if model.on_polling() && model.get.is_none() {
            self.step(Op::Get);
        }
        while self.world.model.has_frames() {
            self.step(Op::Pull);
        }
        self.write_all();
    }
}

/// Law 2 and 8: if all do their duty, all messages arrive, or the session is over.
fn everything_arrives(play: &mut Play) {
    for _ in 0..ROUNDS {
        play.duty();
        let model = &play.world.model;
        if model.told || model.is_idle() && model.is_written() && model.phase() == Phase::Open {
            return;
        }
    }
    panic!("law 2: something never arrives: {:#?}", play.world.model);
}

/// Law 2, 3 and 14: a close in order delivers everything that was sent before, and waits until it is written.
fn a_close_delivers(play: &mut Play) {
    let was_open = play.world.model.phase() == Phase::Open && !play.is_doomed();
    play.step(Op::Close);
    for _ in 0..ROUNDS {
        if play.world.model.told {
            let model = &play.world.model;
            let in_order = model.is_written() && model.reason == Some(CloseReason::ForcedClose);
            return assert!(in_order || !was_open, "law 2: a close in order loses messages: {model:#?}");
        }
        play.duty();
    }
    panic!("law 3: the session does not close: {:#?}", play.world.model);
}

/// Law 3 and 9: if the client falls silent, the session ends, in time.
fn silence_ends(play: &mut Play) {
    play.take_all();
    end_of_silence(play, |play| play.step(Op::Tick));
}

/// The same although the application sends, and connections take what is sent: nobody has seen the client read it.
fn silence_ends_while_messages_leave(play: &mut Play) {
    play.take_all();
    end_of_silence(play, |play| {
        play.step(Op::Wait);
        play.step(Op::Send);
        while play.world.model.has_frames() {
            play.step(Op::Pull);
        }
        play.write_all();
        play.step(Op::Tick);
    });
}

/// Law 9: a client that reads is not given up, however long its pong takes.
fn a_full_link_is_waited_for(play: &mut Play) {
    play.take_all();
    let model = &play.world.model;
    // What is read before the client knows its session says nothing.
    let counts = model.post == Post::Free && model.phase() == Phase::Open && model.confirm_by.is_none();
    if play.is_doomed() || !counts {
        return;
    }
    let end = play.world.model.now + 2 * TIMEOUT;
    while play.world.model.now < end {
        play.step(Op::Unblocked);
        let before = play.world.model.now;
        play.step(Op::Wait);
        if play.world.model.now == before {
            // Something else is due at once.
            play.step(Op::Tick);
        }
        assert_eq!(play.world.model.phase(), Phase::Open, "law 9: a client that reads is given up");
    }
}

/// Law 9: a host that stood still reads what came meanwhile before it gives a client up.
fn what_came_meanwhile_is_read(play: &mut Play) {
    let model = &play.world.model;
    if model.post != Post::Free || model.more != More::Unused || model.confirm_by.is_some() {
        return;
    }
    let patience = play.world.model.patience();
    play.step(Op::Late);
    let model = &play.world.model;
    // Something else may have been due before.
    let late = patience.is_some_and(|at| is_late(at, model.now));
    assert!(!late || model.phase() == Phase::Open, "law 9: a client is given up before it is heard");
}

fn end_of_silence(play: &mut Play, round: fn(&mut Play)) {
    let latest = play.world.model.now + INTERVAL + 3 * TIMEOUT;
    for _ in 0..ROUNDS {
        if play.world.model.told {
            return;
        }
        round(play);
        assert!(play.world.model.now <= latest, "law 9: a silent client lives on: {:#?}", play.world.model);
        let slow = CloseReason::TransportError(TransportError::SlowConsumer);
        let no_body = CloseReason::TransportError(TransportError::PostTimeout);
        let unwritten = CloseReason::TransportError(TransportError::CloseTimeout);
        let unconfirmed = CloseReason::TransportError(TransportError::Unconfirmed);
        let known = [CloseReason::PingTimeout, CloseReason::ForcedClose, slow, no_body, unwritten, unconfirmed];
        let reason = play.world.model.reason;
        assert!(
            reason.is_none_or(|reason| known.contains(&reason)),
            "law 3: {reason:?} is not why a silent client is given up"
        );
    }
    panic!("law 9: a silent client lives on: {:#?}", play.world.model);
}
