//! Every sequence of a scope, shortest first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};

use engineio_proto::Instant;

/// What is explored: machines, beside a model of them or a network between them.
pub trait Explored: Clone {
    /// One thing that can happen.
    type Letter: Copy + Debug + 'static;
    /// What comes out of a machine.
    type Output: Debug;
    /// A row of a table of transitions.
    type Row: Copy + Ord;

    fn now(&self) -> Instant;

    /// What can happen next.
    fn letters(&self) -> Vec<Self::Letter>;

    /// Plays one letter, and tests every law that can be tested here. Returns what came out.
    fn play(&mut self, letter: Self::Letter) -> Vec<Self::Output>;

    /// The rows that the last step took.
    fn rows(&self, before: &Self, outputs: &[Self::Output]) -> Vec<Self::Row>;

    /// Whether nothing has changed, if that can be told without a fingerprint.
    fn is_unchanged(&self, before: &Self) -> bool;

    /// Everything about it in one number.
    fn fingerprint(&self) -> u64;

    /// Plays every way in which it must be possible to end; returns the number of steps.
    fn play_ends(&self) -> u64;
}

/// Which sequences there are from here.
#[derive(Clone, Debug)]
pub enum Scope<L: 'static> {
    /// All of so many letters.
    Depth(usize),
    /// All ways to shuffle these threads together.
    Threads(Vec<&'static [L]>),
    /// All until nothing can happen any more.
    Everything,
}

impl<L: Copy> Scope<L> {
    fn next<W: Explored<Letter = L>>(&self, world: &W) -> Vec<(L, Self)> {
        let then = |scope: Self| world.letters().into_iter().map(move |letter| (letter, scope.clone())).collect();
        match self {
            Self::Depth(0) => Vec::new(),
            Self::Depth(depth) => then(Self::Depth(depth - 1)),
            Self::Everything => then(Self::Everything),
            Self::Threads(threads) => {
                let step = |(index, thread): (usize, &&'static [L])| {
                    let (&letter, rest) = thread.split_first()?;
                    let mut threads = threads.clone();
                    threads[index] = rest;
                    Some((letter, Self::Threads(threads)))
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
            Self::Everything => u64::MAX,
        }
    }
}

/// Walks through a scope. Two sequences that lead to the same world are walked on from there only once; all of them
/// are counted.
pub struct Search<W: Explored> {
    name: String,
    start: W,
    path: Vec<W::Letter>,
    /// By world and what is left of the scope, how many sequences there are.
    known: BTreeMap<(u64, u64), u128>,
    /// The worlds whose possible ends were played.
    ended: BTreeSet<u64>,
    pub rows: BTreeSet<W::Row>,
    pub steps: u64,
    /// The length of the longest sequence so far.
    longest: usize,
}

impl<W: Explored> Search<W> {
    /// Searches from a world.
    pub fn new(name: impl Into<String>, start: W) -> Self {
        Self {
            name: name.into(),
            start,
            path: Vec::new(),
            known: BTreeMap::new(),
            ended: BTreeSet::new(),
            rows: BTreeSet::new(),
            steps: 0,
            longest: 0,
        }
    }

    /// All sequences of up to `depth` letters.
    pub fn deepen(&mut self, depth: usize) {
        let sequences = self.walk_to(depth);
        self.report(&format!("depth {depth}"), sequences);
    }

    /// All sequences until nothing can happen any more. Those of up to `depth` letters come first, so that a failure
    /// that is near is shown by a short way.
    pub fn exhaust(&mut self, depth: usize) {
        self.walk_to(depth);
        let start = self.start.clone();
        let sequences = self.walk(&start, start.fingerprint(), &Scope::Everything);
        self.report(&format!("everything, up to {} letters", self.longest), sequences);
    }

    /// All ways to shuffle the threads together.
    pub fn shuffle(&mut self, threads: &[&'static [W::Letter]]) {
        let start = self.start.clone();
        let sequences = self.walk(&start, start.fingerprint(), &Scope::Threads(threads.to_vec()));
        let letters: usize = threads.iter().map(|thread| thread.len()).sum();
        self.report(&format!("{letters} letters in {} threads", threads.len()), sequences);
    }

    fn walk_to(&mut self, depth: usize) -> u128 {
        let start = self.start.clone();
        let walk = |depth| self.walk(&start, start.fingerprint(), &Scope::Depth(depth));
        (1..=depth).map(walk).last().unwrap_or(1)
    }

    fn report(&self, scope: &str, sequences: u128) {
        let (name, steps, worlds) = (&self.name, self.steps, self.ended.len());
        println!("{name}: {scope}, {sequences} sequences through {worlds} worlds in {steps} steps");
    }

    /// How many sequences there are from here; each was tested.
    fn walk(&mut self, world: &W, fingerprint: u64, scope: &Scope<W::Letter>) -> u128 {
        let next = scope.next(world);
        if self.ended.insert(fingerprint) {
            self.steps += world.play_ends();
        }
        let mut sequences = u128::from(next.is_empty());
        for (letter, scope) in next {
            self.path.push(letter);
            self.longest = self.longest.max(self.path.len());
            let mut after = world.clone();
            let outputs = after.play(letter);
            self.steps += 1;
            self.rows.extend(after.rows(world, &outputs));
            sequences = sequences.saturating_add(self.walk_on(world, fingerprint, &after, &scope));
            self.path.pop();
        }
        sequences
    }

    /// Walks on from the world behind a step, unless that is known.
    fn walk_on(&mut self, before: &W, fingerprint: u64, after: &W, scope: &Scope<W::Letter>) -> u128 {
        // At the depth that is reached it is left to the next one to play the ends.
        if let Scope::Depth(0) = scope {
            return 1;
        }
        let fingerprint = if after.is_unchanged(before) { fingerprint } else { after.fingerprint() };
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
impl<W: Explored> Drop for Search<W> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut journal = format!("\nthe way to the failure, from {}:\n", self.name);
        let mut world = self.start.clone();
        let last = self.path.pop();
        for &letter in &self.path {
            let outputs = world.play(letter);
            let _ = writeln!(journal, "  {:?}  {letter:?}  {outputs:?}", world.now());
        }
        let _ = writeln!(journal, "  {:?}  {last:?}  and, if this went well, one of the ways to end it", world.now());
        eprintln!("{journal}");
    }
}
