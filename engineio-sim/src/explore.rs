//! Exhaustive exploration of everything that can happen in a small scope.

use crate::choose::{Chooser, Enumerated};
use crate::op::{Line, Node, Op, Side};
use crate::settings::{Settings, Start};
use crate::simulation::{Failure, Simulation};
use crate::world::{Class, Ending, World};
use engineio_proto::app::Application;

/// The scope of an exploration: one client and one server, with limits on operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The number of operations, after the first one, with which the client starts.
    pub depth: usize,
    /// The maximum number of messages of either side; with your own applications, of impulses.
    pub sends: usize,
    /// The maximum number of closes, by either side, in order or at once.
    pub closes: usize,
    /// The maximum number of faults.
    pub faults: usize,
}

impl Scope {
    /// Creates a scope of this depth, with one message each way, one close, and one fault.
    pub const fn new(depth: usize) -> Self {
        Self { depth, sends: 1, closes: 1, faults: 1 }
    }
}

impl<S: Application + 'static, C: Application + 'static> Simulation<S, C> {
    /// Runs every sequence of operations in a scope, each to its end, and returns their number. Several explorers can
    /// share the work: this one is number `part` of `parts`. `tell` is called from time to time with the number of
    /// sequences so far.
    ///
    /// # Errors
    /// Returns the first broken law.
    pub fn explore(
        &self,
        scope: Scope,
        (part, parts): (u64, u64),
        mut tell: impl FnMut(u64),
    ) -> Result<u64, Box<Failure>> {
        let mut chooser = Enumerated::default();
        let mut ways = 0;
        while chooser.begin() {
            // What is written is reported so late that several polls may have been answered, or when a way says so.
            let settings = Settings { steps: scope.depth, report_time: REPORT_TIME, ..Settings::default() };
            let settings = self.adjusted(settings);
            let mut ops = Vec::new();
            let mut is_ours = scope.depth > 0 || part == 0;
            let result = crate::simulation::caught(|| {
                let mut world = self.world(&settings, false)?;
                let starts = [Start::Upgrade, Start::Polling, Start::WebSocket];
                let start = chooser.pick(&starts).copied().unwrap_or(Start::Upgrade);
                ops.push(Op::Connect { client: 0, server: 0, start });
                self.step(&mut world, ops[0])?;
                for step in 0..scope.depth {
                    let mut letters = letters(&world, &ops, scope, self.own_applications);
                    if step == 0 {
                        let mut index = 0;
                        letters.retain(|_| {
                            index += 1;
                            index % parts.max(1) == part % parts.max(1)
                        });
                    }
                    let Some(&op) = chooser.pick(&letters) else {
                        // The others have it all.
                        is_ours = false;
                        return Ok(());
                    };
                    ops.push(op);
                    self.step(&mut world, op)?;
                }
                if is_ours { self.finish(&mut world, Ending::Both) } else { Ok(()) }
            });
            if let Err(violation) = result {
                return Err(self.failure(None, settings, ops, Ending::Both, violation));
            }
            ways += u64::from(is_ours);
            if ways % 1024 == 0 {
                tell(ways);
            }
        }
        tell(ways);
        Ok(ways)
    }
}

/// How long an embedder takes to report what is written, unless a letter says that it does, in microseconds.
const REPORT_TIME: u64 = 200_000;

/// Of the impulses of applications of one's own, so many are tried.
const IMPULSES: u32 = 4;

/// What can happen next.
fn letters<S: Application, C: Application>(
    world: &World<S, C>,
    ops: &[Op],
    scope: Scope,
    own_applications: bool,
) -> Vec<Op> {
    let count = |wanted: &dyn Fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
    let mut letters = vec![Op::Next];
    world.candidates(Class::Arrive, &mut letters);
    for side in [Side::Client(0), Side::Server(0)] {
        let node = match side {
            Side::Client(_) => Node::Client(0),
            Side::Server(_) => Node::Server(0),
        };
        if own_applications {
            let pressed = count(&|op| matches!(op, Op::Impulse(other, _) if *other == node));
            if pressed < scope.sends {
                letters.extend((0..IMPULSES).map(|impulse| Op::Impulse(node, impulse)));
            }
        } else if count(&|op| matches!(op, Op::Send { side: other, .. } if *other == side)) < scope.sends {
            letters.push(Op::Send { side, size: 1, binary: false });
        }
        // Of both sides, the first two of what is written, in either order.
        letters.extend((0..world.reports(side).min(2)).map(|which| Op::Report(side, which)));
        if count(&|op| matches!(op, Op::Close(_) | Op::Abort(_))) < scope.closes {
            letters.extend([Op::Close(side), Op::Abort(side)]);
        }
    }
    if count(&|op| Class::of(op).is_fault()) < scope.faults {
        let mut faults = Vec::new();
        world.candidates(Class::Tear, &mut faults);
        world.candidates(Class::Repeat, &mut faults);
        world.candidates(Class::Refuse, &mut faults);
        world.candidates(Class::SlowBody, &mut faults);
        world.candidates(Class::LargeBody, &mut faults);
        world.candidates(Class::Lose, &mut faults);
        if !own_applications {
            world.candidates(Class::Overtake, &mut faults);
        }
        for op in faults {
            letters.push(op);
            if let Op::Tear { line: line @ Line::Up(_), client, server } = op {
                // A prefix of what is on its way arrives.
                letters.push(Op::Reset { line, arrives: 1, client, server });
            }
            if let Op::Tear { line: line @ (Line::Get(_) | Line::Post(_)), .. } = op {
                // An answer that is lost without anybody at the server hearing of it.
                letters.push(Op::Tear { line, client: 0, server: None });
            }
        }
    }
    letters
}
