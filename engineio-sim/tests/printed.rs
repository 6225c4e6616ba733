//! The printed text of a failure compiles: `printed/found.rs` is such a test, and equals what is printed.
#![allow(clippy::unwrap_used)]

use engineio_sim::{Deed, Failure, Habit, Intrusion, Knock, Law, Line, Load, Node, Op, Side, Start, Violation};

mod found {
    include!("printed/found.rs");
}

#[test]
fn a_printed_test_is_a_program() {
    let ops = vec![
        Op::Connect { client: 0, server: 0, start: Start::Upgrade },
        Op::Wait(1_000_000),
        Op::Send { side: Side::Client(0), size: 1, binary: false },
        Op::Intrude(0, Intrusion::Get),
        Op::Intrude(0, Intrusion::Overtake),
        Op::Tear { line: Line::Up(0), client: 0, server: Some(1) },
        Op::Reset { line: Line::Get(0), arrives: 1, client: 0, server: None },
        Op::Throttle(Line::Post(0), 1000),
        Op::Lose(0, 1),
        Op::Await(Side::Client(0), 0),
        Op::Report(Side::Server(0), 1),
        Op::Withhold(Side::Server(0), 1000),
        Op::Impulse(Node::Client(0), 7),
        Op::Foreign(1000, Deed::Open(Habit::Java)),
        Op::Foreign(1000, Deed::OpenChannel { habit: Habit::Mute, base64: true }),
        Op::Foreign(1000, Deed::Post(Load::Lines)),
        Op::Foreign(1000, Deed::Leave { closes: false }),
        Op::Foreign(1000, Deed::Knock(Knock::Bare)),
        Op::Forge(Line::Down(0), Load::Noop),
        Op::Ready(Side::Client(0)),
        Op::Late(Node::Server(0), 1),
        Op::Spurious(Node::Client(0)),
        Op::Backwards(Node::Server(0), 1),
    ];
    let failure = Failure {
        seed: None,
        simulation: "Simulation::new()".into(),
        settings: engineio_sim::Settings { latency: 100, ..Default::default() },
        ops,
        ending: engineio_sim::Ending::Bursts,
        violation: Violation { law: Law::User, what: String::new() },
        journal: Vec::new(),
    };
    assert_eq!(failure.test(), include_str!("printed/found.rs"));
}
