//! How it must end, from any world, when nothing more goes wrong.

use engineio_proto::Phase;
use engineio_proto::client;
use engineio_proto::server::State;

use crate::setting::{CLOSE_TIMEOUT, Closer, INTERVAL, TIMEOUT};
use crate::world::{Letter, World};

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
    same && open && answered && received_all(world) && client.send_buffered() + session.send_buffered() == 0
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
        // Whoever closes in order is heard to the end, if nothing is lost on the way.
        let heard = match world.scene.closer {
            Closer::Client => world.at_server.received,
            _ => world.at_client.received,
        };
        let kept = world.promised.is_none_or(|promised| heard >= promised);
        assert!(kept || world.lossy || world.may_lose_by_haste(), "law 2: a close loses messages: {}", show(world));
    } else if !world.faulty && !world.is_hurried() {
        assert!(world.client.upgraded(), "an upgrade does not complete: {}", show(world));
    }
}

fn show(world: &World) -> String {
    let World { client, network, at_client, at_server, .. } = world;
    format!("{client:#?} {:#?} {network:#?} {at_client:?} {at_server:?}", world.session())
}
