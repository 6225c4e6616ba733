//! Shrinking of failures: by leaving out operations, not by trying other seeds.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::op::{Node, Op};
use crate::oracle::{Law, Violation};
use crate::settings::{Settings, Start};
use crate::simulation::{Failure, Simulation};
use crate::world::Ending;
use engineio_proto::app::Application;

impl<S: Application + 'static, C: Application + 'static> Simulation<S, C> {
    /// Shrinks a failure: operations are left out while the same law stays broken, the remaining ones become simpler,
    /// and so do the settings.
    #[must_use]
    pub fn shrink(&self, failure: Box<Failure>) -> Box<Failure> {
        let fails = |settings: &Settings, ops: &[Op], ending: Ending| {
            // Invalid settings break a law as well.
            self.world(settings, false).ok()?;
            self.play(settings, ops, ending, false).err().filter(|violation| same_law(violation, &failure.violation))
        };
        let Failure { mut settings, mut ops, mut ending, .. } = *failure.clone();
        if fails(&settings, &ops, ending).is_none() {
            return failure;
        }
        loop {
            let before = (settings.clone(), ops.clone(), ending);
            leave_out(&mut ops, |ops| fails(&settings, ops, ending).is_some());
            wait_instead(&mut ops, |ops| fails(&settings, ops, ending).is_some());
            for index in 0..ops.len() {
                for simpler in simpler(ops[index]) {
                    let mut other = ops.clone();
                    other[index] = simpler;
                    if fails(&settings, &other, ending).is_some() {
                        ops = other;
                        break;
                    }
                }
            }
            for simpler in settings.simpler() {
                // What was simplified before stays so.
                let merged = settings.merged(&simpler);
                if fails(&merged, &ops, ending).is_some() {
                    settings = merged;
                }
            }
            let (fewer, renumbered) = without_bystanders(&settings, &ops);
            if fails(&fewer, &renumbered, ending).is_some() {
                (settings, ops) = (fewer, renumbered);
            }
            if let Some(other) = Ending::ALL
                .into_iter()
                .take_while(|other| *other != ending)
                .find(|other| fails(&settings, &ops, *other).is_some())
            {
                ending = other;
            }
            if before == (settings.clone(), ops.clone(), ending) {
                break;
            }
        }
        match self.replay(&settings, &ops, ending) {
            Err(smaller) => Box::new(Failure { seed: failure.seed, ..*smaller }),
            Ok(_) => failure,
        }
    }
}

/// Whether it is the same law that is broken. Those of the user's own go by their names.
fn same_law(one: &Violation, other: &Violation) -> bool {
    let name = |violation: &Violation| violation.what.split(": ").next().map(str::to_owned);
    one.law == other.law && (one.law != Law::User || name(one) == name(other))
}

/// The same with no clients and servers but those to which something happens, numbered from 0.
fn without_bystanders(settings: &Settings, ops: &[Op]) -> (Settings, Vec<Op>) {
    let (clients, servers) = (RefCell::new(BTreeSet::new()), RefCell::new(BTreeSet::new()));
    let note = |seen: &RefCell<BTreeSet<usize>>, index| {
        if index < Op::FIRST_FOREIGN {
            seen.borrow_mut().insert(index);
        }
        index
    };
    for op in ops {
        let _ = op.renumbered(|client| note(&clients, client), |server| note(&servers, server));
    }
    let (clients, servers) = (clients.into_inner(), servers.into_inner());
    let client = |at| if at < Op::FIRST_FOREIGN { clients.range(..at).count() } else { at };
    let renumbered = ops.iter().map(|op| op.renumbered(client, |at| servers.range(..at).count()));
    let fewer = Settings { clients: clients.len().max(1), servers: servers.len().max(1), ..settings.clone() };
    (fewer, renumbered.collect())
}

/// Leaves out runs of operations, long ones first.
fn leave_out(ops: &mut Vec<Op>, fails: impl Fn(&[Op]) -> bool) {
    let mut len = ops.len();
    while len > 0 {
        let mut at = 0;
        while at < ops.len() {
            let end = (at + len).min(ops.len());
            let without: Vec<_> = ops[..at].iter().chain(&ops[end..]).copied().collect();
            if fails(&without) {
                *ops = without;
            } else {
                at = end;
            }
        }
        len /= 2;
    }
}

/// Several steps of time in a row become one wait.
fn wait_instead(ops: &mut Vec<Op>, fails: impl Fn(&[Op]) -> bool) {
    let mut at = 0;
    while at < ops.len() {
        let run = ops[at..].iter().take_while(|op| matches!(op, Op::Next | Op::Wait(_))).count();
        if run > 1 {
            let waits = [1, 100_000, 1_000_000, 5_000_000, 10_000_000, 30_000_000]
                .map(Op::Wait)
                .into_iter()
                .map(|wait| ops[..at].iter().chain([&wait]).chain(&ops[at + run..]).copied().collect::<Vec<_>>());
            if let Some(shorter) = waits.into_iter().find(|ops| fails(ops)) {
                *ops = shorter;
            }
        }
        at += run.max(1);
    }
}

/// Operations that do less, the simplest first.
fn simpler(op: Op) -> Vec<Op> {
    match op {
        Op::Wait(micros) => {
            // Always less, or this would never end.
            let rounder = [1_000_000, micros / 2].into_iter().filter(|&other| other < micros);
            std::iter::once(Op::Next).chain(rounder.map(Op::Wait)).collect()
        }
        Op::Connect { client, server, start } => {
            let simpler = [Start::Polling, Start::WebSocket, Start::Upgrade];
            let starts = simpler.into_iter().take_while(|&other| other != start);
            starts.map(|start| Op::Connect { client, server, start }).collect()
        }
        Op::Send { side, size, binary } if size > 0 || binary => {
            let smaller = [(1, false), (0, false), (1, binary), (size / 2, false), (size / 2, binary)];
            smaller
                .map(|(size, binary)| Op::Send { side, size, binary })
                .into_iter()
                .filter(|&other| other != op)
                .collect()
        }
        Op::SendTogether { side, count } if count > 1 => vec![Op::SendTogether { side, count: count - 1 }],
        Op::Flood(side) => vec![Op::Send { side, size: 1, binary: false }],
        Op::Impulse(node, value) if value > 0 => [0, value % 16, value / 2]
            .into_iter()
            .filter(|&other| other != value)
            .map(|value| Op::Impulse(node, value))
            .collect(),
        Op::Tear { line, client, server } if (client, server) != (0, Some(0)) => {
            vec![Op::Tear { line, client: 0, server: Some(0) }, Op::Tear { line, client: 0, server }]
                .into_iter()
                .filter(|&other| other != op)
                .collect()
        }
        Op::Reset { line, arrives, client, server } => {
            let tear = Op::Tear { line, client, server };
            let sooner = Op::Reset { line, arrives, client: 0, server: Some(0) };
            [tear, sooner].into_iter().filter(|&other| other != op).collect()
        }
        Op::Report(side, which) if which > 0 => vec![Op::Report(side, which - 1)],
        Op::Lose(client, which) if which > 0 => vec![Op::Lose(client, which - 1)],
        Op::Await(side, behind) if behind > 0 => vec![Op::Await(side, 0)],
        Op::Withhold(side, micros) if micros > 1000 => vec![Op::Withhold(side, micros / 2)],
        Op::Late(node @ Node::Server(_), micros) if micros > 1000 => vec![Op::Late(node, micros / 2)],
        Op::Stand(node, micros) if micros > 1_000_000 => vec![Op::Stand(node, micros / 2)],
        _ => Vec::new(),
    }
}
