//! Behaviours that the leading Rust server asserts beyond the others: E-003 and E-006.

use core::time::Duration;

use engineio_proto::{CloseReason, Event, TransportError, TransportKind};

use crate::common::World;

/// Covers: E-003
#[test]
fn e003_a_client_may_take_its_time_between_the_steps_of_an_upgrade() {
    let mut world = World::polling_with(|config| config.upgrade_timeout = Duration::from_secs(1_000));
    // Two heartbeats by polling between any two steps.
    let idle = |world: &mut World| {
        let mut pongs = 0;
        let mut get = world.get();
        while pongs < 2 {
            world.advance(100);
            match world.answer_of(get) {
                Some("200 2") => {
                    world.post("3");
                    pongs += 1;
                    get = world.get();
                }
                Some(answer) => {
                    assert_eq!(answer, "200 6");
                    get = world.get();
                }
                None => (),
            }
        }
    };
    idle(&mut world);
    // Only one GET may be held, so the next steps take over the one that is.
    world.send("a");
    world.probe_open();
    idle(&mut world);
    world.send("b");
    world.frame("2probe");
    assert_eq!(world.frames(), ["3probe"]);
    idle(&mut world);
    world.frame("5");
    assert_eq!(world.count(Event::Upgraded(TransportKind::WebSocket)), 1);
    assert_eq!(world.closed(), None);
}

/// Covers: E-006
#[test]
fn e006_the_reasons_of_the_end() {
    type End = fn(&mut World);
    let by_polling: [(End, CloseReason, &str); 5] = [
        (|world| world.advance(45_000), CloseReason::PingTimeout, "ping timeout"),
        (|world| _ = world.post("1"), CloseReason::TransportClose, "transport close"),
        (|world| _ = world.post("x"), CloseReason::ParseError, "parse error"),
        (World::abort, CloseReason::ForcedClose, "forced close"),
        (
            |world| {
                world.get();
                world.get();
            },
            CloseReason::TransportError(TransportError::PollOverlap),
            "transport error: overlap from client",
        ),
    ];
    for (end, reason, text) in by_polling {
        let mut world = World::polling();
        end(&mut world);
        assert_eq!(world.closed(), Some(reason));
        assert_eq!(reason.to_string(), text);
    }
    let by_websocket: [(End, CloseReason); 4] = [
        (
            |world| {
                world.advance(25_000);
                assert_eq!(world.frames(), ["2"]);
                world.advance(20_000);
            },
            CloseReason::PingTimeout,
        ),
        (World::channel_closed, CloseReason::TransportClose),
        (|world| world.frame("x"), CloseReason::ParseError),
        (World::close, CloseReason::ForcedClose),
    ];
    for (end, reason) in by_websocket {
        let mut world = World::websocket();
        end(&mut world);
        assert_eq!(world.closed(), Some(reason));
    }
}
