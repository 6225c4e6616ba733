//! Many worlds break no law, the same seed is the same world, and a broken law is found and shrunk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use engineio_sim::{Coverage, Ending, FromBytes, Line, Op, Settings, Side, Simulation, Start, UNREACHED, World};

/// The number of worlds for a test.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 5000 };

#[test]
fn no_law_is_broken() {
    let simulation = Simulation::new();
    let mut coverage = Coverage::default();
    for seed in 0..SEEDS {
        match simulation.run(seed) {
            Ok(report) => coverage.merge(&report.coverage),
            Err(failure) => panic!("{}", simulation.shrink(failure)),
        }
    }
    let missing = coverage.missing_pairs();
    for (pair, why) in UNREACHED {
        assert!(missing.iter().any(|name| name == pair), "{pair} occurred, although {why}");
    }
    if !cfg!(debug_assertions) {
        assert_eq!(coverage.missing_rows(), Vec::<String>::new());
        assert_eq!(coverage.missing_situations(), Vec::<String>::new());
    }
}

/// Law 10. The hash is the same in builds with and without optimizations, on any machine. It changes when the events of
/// a world change: for example if an operation is added, or if a machine behaves differently.
#[test]
fn a_seed_is_the_same_world_everywhere() {
    const HASH: u64 = 0x06fc_fa5c_05e1_e083;
    let simulation = Simulation::new();
    let hash = |seed| simulation.run(seed).map(|report| report.hash).unwrap();
    let all = || (1..=100).fold(0_u64, |sum, seed| sum.rotate_left(1) ^ hash(seed));
    let (first, second) = (all(), all());
    assert_eq!(first, second);
    assert_eq!(first, HASH, "{first:#018x}");
}

#[test]
fn a_journal_that_is_kept_changes_nothing() {
    let simulation = Simulation::new();
    for seed in 0..20 {
        let (without, with) = (simulation.run(seed).unwrap(), simulation.run_with_journal(seed).unwrap());
        assert_eq!(without.hash, with.hash);
        assert!(without.journal.is_empty() && !with.journal.is_empty());
    }
}

#[test]
fn any_bytes_are_a_world() {
    let simulation = Simulation::new();
    for bytes in [&[][..], &[0xff; 500], b"any bytes are a world, whatever they are, and however few there are of them"]
    {
        simulation.run_bytes(bytes).unwrap();
    }
    assert!(FromBytes::new(&[]).is_empty());
}

/// A law that does not hold: no session may be upgraded. Breaking it takes only a client.
#[test]
fn a_failure_is_shrunk_and_printed() {
    let simulation = Simulation::new().law("nobody is upgraded", |world: &World| match world.totals().upgrades {
        0 => Ok(()),
        some => Err(format!("{some} were")),
    });
    let failure = (0..100).find_map(|seed| simulation.run(seed).err()).unwrap();
    let small = simulation.shrink(failure);
    assert_eq!(small.ops, [Op::Connect { client: small.ops.len() - 1, server: 0, start: Start::Upgrade }]);
    let text = small.to_string();
    assert!(text.contains("nobody is upgraded: 1 were"), "{text}");
    assert!(text.contains("#[test]") && text.contains("Connect { client: 0, server: 0, start: Upgrade },"), "{text}");
    assert!(text.contains("3probe"), "{text}");
    // The printed operations break the law again.
    assert!(simulation.replay(&small.settings, &small.ops, small.ending).is_err());
}

#[test]
fn operations_without_a_meaning_do_nothing() {
    let ops = [
        Op::Send { side: Side::Server(7), size: 1, binary: true },
        Op::Arrive(Line::Down(3)),
        Op::Tear { line: Line::Post(0), client: 0, server: None },
        Op::Close(Side::Client(0)),
        Op::Connect { client: 9, server: 9, start: Start::Polling },
        Op::Crash(9),
        Op::Shutdown(9),
        Op::Silence(9),
        Op::Suspend(9, 1),
        Op::Late(engineio_sim::Node::Server(9), 1),
        Op::Late(engineio_sim::Node::Client(9), 1),
        Op::Stand(engineio_sim::Node::Client(9), 1),
        Op::Stand(engineio_sim::Node::Server(9), 1),
        Op::Backwards(engineio_sim::Node::Server(9), 1),
        Op::Spurious(engineio_sim::Node::Client(9)),
        Op::Spurious(engineio_sim::Node::Server(9)),
        Op::Repeat(Line::Get(9)),
        Op::Refuse(9),
        Op::Intrude(9, engineio_sim::Intrusion::Get),
        Op::Impulse(engineio_sim::Node::Client(9), 1),
        Op::Intrude(9, engineio_sim::Intrusion::Overtake),
        Op::Reset { line: Line::Up(9), arrives: 1, client: 0, server: Some(0) },
        Op::Lose(9, 0),
        Op::Throttle(Line::Down(9), 1),
        Op::Withhold(Side::Server(9), 1),
        Op::Report(Side::Client(9), 0),
        Op::Await(Side::Server(9), 0),
        Op::Foreign(9, engineio_sim::Deed::Poll),
        Op::Foreign(1009, engineio_sim::Deed::Poll),
        Op::Forge(Line::Get(9), engineio_sim::Load::Noop),
        Op::Ready(Side::Server(1009)),
    ];
    for ending in Ending::ALL {
        Simulation::new().replay(&Settings::default(), &ops, ending).unwrap();
    }
}

#[test]
fn a_small_scope_is_explored_to_its_end() {
    let ways = Simulation::new().explore(engineio_sim::Scope::new(3), (0, 1), |_| ()).unwrap();
    // Both halves together are the whole.
    let half = |part| Simulation::new().explore(engineio_sim::Scope::new(3), (part, 2), |_| ()).unwrap();
    assert_eq!(half(0) + half(1), ways);
    assert!(ways > 500, "{ways}");
}
