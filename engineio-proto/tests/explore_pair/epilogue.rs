//! The required end, from any world, when nothing more goes wrong.

use engineio_proto::client;
use engineio_proto::server::State;
use engineio_proto::{CloseReason, Phase, Stats};

use crate::setting::{CLOSE_TIMEOUT, Closer, INTERVAL, TIMEOUT};
use crate::world::{Letter, Side, World};

/// More letters than anything needs to arrive.
const LETTERS: usize = 300;

/// Plays the end; returns the number of steps.
pub fn play_all(world: &World) -> u64 {
    let mut steps = 0;
    let mut world = world.clone();
    let latest = world.now + 2 * (INTERVAL + TIMEOUT) + CLOSE_TIMEOUT;
    loop {
        steps += deliver_all(&mut world);
        if is_open(&world) || is_over(&world) {
            break;
        }
        world.step(Letter::Tick);
        steps += 1;
        assert!(world.now <= latest, "law 12: it does not end: {}", show(&world));
    }
    judge(&world);
    steps
}

/// Delivers whatever is on its way.
fn deliver_all(world: &mut World) -> u64 {
    for steps in 0..LETTERS {
        let Some(&next) = world.deliveries().first() else { return steps as u64 };
        world.step(next);
    }
    panic!("there is no end of what is on its way: {}", show(world));
}

/// Law 9 and 12: both are open, on the same transport, nothing waits, and no ping is without its pong: the next thing
/// that is due is the next ping.
fn is_open(world: &World) -> bool {
    let Some(session) = world.session() else { return false };
    let client = &world.client;
    let same = match client.state() {
        client::State::Polling => session.state() == State::Polling,
        client::State::Channel => session.state() == State::Channel,
        _ => false,
    };
    let open = client.phase() == Phase::Open && session.phase() == Phase::Open;
    let answered = session.next_timeout().is_some_and(|next| next <= world.now + INTERVAL);
    let written = |stats: Stats| stats.messages_written == stats.messages_accepted;
    same && open && answered && received_all(world) && written(client.stats()) && written(session.stats())
}

fn received_all(world: &World) -> bool {
    world.at_client.received == world.at_server.sent && world.at_server.received == world.at_client.sent
}

/// Law 3 and 12: both have told that it is over, and the server has forgotten the session.
fn is_over(world: &World) -> bool {
    let told = world.at_client.closed.is_some() && (world.at_server.closed.is_some() || world.key.is_none());
    told && world.session().is_none() && world.client.is_finished()
}

fn judge(world: &World) {
    let over = is_over(world);
    if !world.lossy && !world.may_lose_by_haste() {
        assert_eq!(over, world.promised.is_some(), "it ends without need, or goes on: {}", show(world));
    }
    if over {
        judge_reasons(world);
    } else if !world.faulty && !world.is_hurried() {
        assert!(world.client.upgraded(), "an upgrade does not complete: {}", show(world));
    }
}

/// Law 3 and 14: who closes in order gets the end that was asked for if, and only if, everything that was sent is written.
/// Then the other side has heard it all, and no message is lost in silence; but nobody can know of what is lost after it
/// was written. Without a close nobody has asked for the end.
fn judge_reasons(world: &World) {
    let World { at_client, at_server, .. } = world;
    let in_order = |side: &Side| side.closed == Some(CloseReason::ForcedClose);
    let (closer, other) = match (world.scene.closer, world.promised) {
        (Closer::Client, Some(_)) => (at_client, at_server),
        (Closer::Server, Some(_)) => (at_server, at_client),
        _ => {
            let asked = in_order(at_client) || in_order(at_server);
            return assert!(!asked, "law 3: nobody asked for the end: {}", show(world));
        }
    };
    assert_eq!(Some(in_order(closer)), closer.complete, "law 14: the reason of a close: {}", show(world));
    let promised = world.promised.unwrap_or_default();
    let excused = world.network.silent_loss || world.may_lose_by_haste();
    let kept = !in_order(closer) || other.received >= promised;
    assert!(kept || excused, "law 2: a close loses messages in silence: {}", show(world));
    assert!(!in_order(other), "law 3: the other side asked for nothing: {}", show(world));
    assert!(in_order(closer) || world.lossy || excused, "law 2: a close loses messages: {}", show(world));
}

fn show(world: &World) -> String {
    let World { client, network, at_client, at_server, .. } = world;
    format!("{client:#?} {:#?} {network:#?} {at_client:?} {at_server:?}", world.session())
}
