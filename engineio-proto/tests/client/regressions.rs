//! What was wrong once.

use engineio_proto::{CloseReason, Event};

use crate::world::{NO_HANDSHAKE, World};

const FORCED: Option<CloseReason> = Some(CloseReason::ForcedClose);

// The first packet was no handshake, and the messages behind it were delivered: of a session that never was.
#[test]
fn y032_nothing_is_delivered_of_a_session_that_never_opened() {
    let mut world = World::with(|_| ());
    world.answer_get("4a\x1e4b\x1e4c");
    assert_eq!((world.recv(), world.events()), (None, vec![Event::Closed(NO_HANDSHAKE)]));
    assert_eq!(world.client.stats().messages_received, 0);
    world.assert_over();
}
