//! How it must be possible to end, from any world.

use engineio_proto::{CloseReason, Phase, TransportError};

use crate::alphabet::{Op, Word};
use crate::model::Post;
use crate::setting::{INTERVAL, TIMEOUT};
use crate::world::World;

/// More rounds than any end needs.
const ROUNDS: usize = 40;

/// Plays every way to end; returns the number of steps.
pub fn play_all(world: &World) -> u64 {
    let mut steps = 0;
    for end in [everything_arrives, a_close_delivers, silence_ends] {
        let mut play = Play { world: world.clone(), steps: 0 };
        end(&mut play);
        steps += play.steps;
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
    }
}

/// Law 2 and 8: if all do their duty, all messages arrive, or the session is over.
fn everything_arrives(play: &mut Play) {
    for _ in 0..ROUNDS {
        play.duty();
        let model = &play.world.model;
        if model.told || model.is_idle() && model.queue.is_empty() && model.phase() == Phase::Open {
            return;
        }
    }
    panic!("law 2: something never arrives: {:#?}", play.world.model);
}

/// Law 2 and 3: a close in order hands over everything that was sent before.
fn a_close_delivers(play: &mut Play) {
    let was_open = play.world.model.phase() == Phase::Open;
    play.step(Op::Close);
    for _ in 0..ROUNDS {
        if play.world.model.told {
            let model = &play.world.model;
            let complete = model.queue.is_empty() || model.reason != Some(CloseReason::ForcedClose);
            return assert!(complete || !was_open, "law 2: a close in order loses messages");
        }
        play.duty();
    }
    panic!("law 3: the session does not close: {:#?}", play.world.model);
}

/// Law 3 and 9: if the client falls silent, the session ends, in time.
fn silence_ends(play: &mut Play) {
    play.take_all();
    let latest = play.world.model.now + INTERVAL + 3 * TIMEOUT;
    for _ in 0..ROUNDS {
        if play.world.model.told {
            return;
        }
        play.step(Op::Tick);
        assert!(play.world.model.now <= latest, "law 9: a silent client lives on: {:#?}", play.world.model);
        let reason = play.world.model.reason;
        let slow = CloseReason::TransportError(TransportError::SlowConsumer);
        let known = [None, Some(CloseReason::PingTimeout), Some(CloseReason::ForcedClose), Some(slow)];
        assert!(known.contains(&reason), "law 3: {reason:?} is not why a silent client is given up");
    }
    panic!("law 9: a silent client lives on: {:#?}", play.world.model);
}
