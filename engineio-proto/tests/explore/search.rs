//! Every sequence of a scope, shortest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use engineio_proto::{Output, Row};

use crate::alphabet::{EVERYTHING, Op};
use crate::epilogue;
use crate::world::World;

/// Which sequences there are from here.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All of so many letters.
    Depth(usize),
    /// All ways to shuffle these threads together.
    Threads(Vec<&'static [Op]>),
}

impl Scope {
    fn next(&self) -> Vec<(Op, Self)> {
        match self {
            Self::Depth(0) => Vec::new(),
            Self::Depth(depth) => EVERYTHING.iter().map(|&op| (op, Self::Depth(depth - 1))).collect(),
            Self::Threads(threads) => {
                let step = |(index, thread): (usize, &&'static [Op])| {
                    let (&op, rest) = thread.split_first()?;
                    let mut threads = threads.clone();
                    threads[index] = rest;
                    Some((op, Self::Threads(threads)))
                };
                threads.iter().enumerate().filter_map(step).collect()
            }
        }
    }

    /// A number that tells a scope from those that are left of the same one.
    fn rank(&self) -> u64 {
        match self {
            Self::Depth(depth) => *depth as u64,
            Self::Threads(threads) => threads.iter().fold(0, |rank, thread| rank * 16 + thread.len() as u64),
        }
    }
}

/// Walks through a scope. Two sequences that lead to the same world are walked on from there only once; all of them
/// are counted.
pub struct Search {
    name: &'static str,
    start: World,
    path: Vec<Op>,
    /// By world and what is left of the scope, how many sequences there are.
    known: BTreeMap<(u64, u64), u64>,
    /// The worlds whose possible ends were played.
    ended: BTreeSet<u64>,
    pub rows: BTreeSet<Row>,
    pub steps: u64,
}

impl Search {
    /// Searches from a world.
    pub fn new(name: &'static str, start: World) -> Self {
        Self {
            name,
            start,
            path: Vec::new(),
            known: BTreeMap::new(),
            ended: BTreeSet::new(),
            rows: BTreeSet::new(),
            steps: 0,
        }
    }

    /// All sequences of up to `depth` letters.
    pub fn deepen(&mut self, depth: usize) {
        let start = self.start.clone();
        let mut sequences = 0;
        for depth in 1..=depth {
            sequences = self.walk(&start, start.fingerprint(), &Scope::Depth(depth));
        }
        self.report(&format!("depth {depth}"), sequences);
    }

    /// All ways to shuffle the threads together.
    pub fn shuffle(&mut self, threads: &[&'static [Op]]) {
        let start = self.start.clone();
        let sequences = self.walk(&start, start.fingerprint(), &Scope::Threads(threads.to_vec()));
        let letters: usize = threads.iter().map(|thread| thread.len()).sum();
        self.report(&format!("{letters} letters in {} threads", threads.len()), sequences);
    }

    fn report(&self, scope: &str, sequences: u64) {
        let (name, steps, worlds) = (self.name, self.steps, self.ended.len());
        println!("{name}: {scope}, {sequences} sequences through {worlds} worlds in {steps} steps");
    }

    /// How many sequences there are from here; each was tested.
    fn walk(&mut self, world: &World, fingerprint: u64, scope: &Scope) -> u64 {
        let next = scope.next();
        if self.ended.insert(fingerprint) {
            self.steps += epilogue::play_all(world);
        }
        let mut sequences = u64::from(next.is_empty());
        for (op, scope) in next {
            self.path.push(op);
            let mut after = world.clone();
            let outputs = after.step(op);
            self.steps += 1;
            self.rows.extend(World::row(world.model.state, after.model.state, &outputs));
            sequences += self.walk_on(world, fingerprint, &after, &scope);
            self.path.pop();
        }
        sequences
    }

    /// Walks on from the world behind a step, unless that is known.
    fn walk_on(&mut self, before: &World, fingerprint: u64, after: &World, scope: &Scope) -> u64 {
        // At the depth that is reached it is left to the next one to play the ends.
        if let Scope::Depth(0) = scope {
            return 1;
        }
        let fingerprint = if after == before { fingerprint } else { after.fingerprint() };
        let key = (fingerprint, scope.rank());
        if let Some(&sequences) = self.known.get(&key) {
            return sequences;
        }
        let sequences = self.walk(after, fingerprint, scope);
        self.known.insert(key, sequences);
        sequences
    }
}

/// Shows the way to a failure, with what came out on it.
impl Drop for Search {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut journal = format!("\nthe way to the failure, from {}:\n", self.name);
        let mut world = self.start.clone();
        let last = self.path.pop();
        for op in &self.path {
            let outputs: Vec<Output> = world.step(*op);
            let _ = writeln!(journal, "  {:?}  {op:?}  {outputs:?}", world.model.now);
        }
        let _ =
            writeln!(journal, "  {:?}  {last:?}  and, if this went well, one of the ways to end it", world.model.now);
        eprintln!("{journal}");
    }
}
