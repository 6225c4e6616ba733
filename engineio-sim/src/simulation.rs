//! Runs of worlds: from a seed, from bytes, or from a list of operations.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use engineio_proto::app::Application;

use crate::coverage::Coverage;
use crate::journal::Entry;
use crate::op::Op;
use crate::oracle::{Law, Violation};
use crate::world::{Ending, Totals, Weights, World};
use crate::{Chooser, FromBytes, Seeded, Settings};

/// A simulation: the applications that use the sessions, and their laws.
///
/// ```
/// use engineio_sim::Simulation;
///
/// let simulation = Simulation::new();
/// for seed in 0..20 {
///     if let Err(failure) = simulation.run(seed) {
///         panic!("{}", simulation.shrink(failure));
///     }
/// }
/// ```
pub struct Simulation<S = (), C = ()> {
    server: Arc<dyn Fn(usize) -> S + Send + Sync>,
    client: Arc<dyn Fn(usize) -> C + Send + Sync>,
    laws: Vec<UserLaw<S, C>>,
    adjust: Vec<Adjust>,
    pub(crate) own_applications: bool,
    /// The expression that makes this simulation, for printed tests.
    name: String,
}

struct UserLaw<S, C> {
    name: String,
    /// Whether it must hold only when the world has come to rest.
    at_rest: bool,
    holds: Holds<S, C>,
}

type Adjust = Arc<dyn Fn(&mut Settings) + Send + Sync>;
type Holds<S, C> = Arc<dyn Fn(&World<S, C>) -> Result<(), String> + Send + Sync>;

impl<S, C> Clone for Simulation<S, C> {
    fn clone(&self) -> Self {
        Self {
            server: Arc::clone(&self.server),
            client: Arc::clone(&self.client),
            laws: self.laws.clone(),
            adjust: self.adjust.clone(),
            own_applications: self.own_applications,
            name: self.name.clone(),
        }
    }
}

impl<S, C> Clone for UserLaw<S, C> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), at_rest: self.at_rest, holds: Arc::clone(&self.holds) }
    }
}

impl<S, C> fmt::Debug for Simulation<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let laws: Vec<_> = self.laws.iter().map(|law| &law.name).collect();
        f.debug_struct("Simulation").field("laws", &laws).finish_non_exhaustive()
    }
}

/// The result of a world without a violation.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash of everything that happened.
    pub hash: u64,
    /// The totals of the world.
    pub totals: Totals,
    /// The states and inputs that were reached.
    pub coverage: Coverage,
    /// What happened, if a journal was requested.
    pub journal: Vec<Entry>,
}

/// A broken law, with everything that is needed to break it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed, if there is one.
    pub seed: Option<u64>,
    /// The expression that makes the simulation; see [`Simulation::named`].
    pub simulation: String,
    /// The settings of the world.
    pub settings: Settings,
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// How the world ended.
    pub ending: Ending,
    /// The broken law.
    pub violation: Violation,
    /// What happened.
    pub journal: Vec<Entry>,
}

impl Simulation {
    /// Creates a simulation with applications that send, read and close at random.
    pub fn new() -> Self {
        Self {
            server: Arc::new(|_| ()),
            client: Arc::new(|_| ()),
            laws: Vec::new(),
            adjust: Vec::new(),
            own_applications: false,
            name: "Simulation::new()".into(),
        }
    }
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Application + 'static, C: Application + 'static> Simulation<S, C> {
    /// Creates a simulation with your own applications: one for each server, and one for each client.
    pub fn with_applications(
        server: impl Fn(usize) -> S + Send + Sync + 'static,
        client: impl Fn(usize) -> C + Send + Sync + 'static,
    ) -> Self {
        Self {
            server: Arc::new(server),
            client: Arc::new(client),
            laws: Vec::new(),
            adjust: Vec::new(),
            own_applications: true,
            name: "simulation()".into(),
        }
    }

    /// Adds a law that must hold after every step.
    #[must_use]
    pub fn law(
        self,
        name: impl Into<String>,
        holds: impl Fn(&World<S, C>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.add(name, false, holds)
    }

    /// Adds a law that must hold when the world was healed and has come to rest.
    #[must_use]
    pub fn law_at_rest(
        self,
        name: impl Into<String>,
        holds: impl Fn(&World<S, C>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.add(name, true, holds)
    }

    fn add(
        mut self,
        name: impl Into<String>,
        at_rest: bool,
        holds: impl Fn(&World<S, C>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.laws.push(UserLaw { name: name.into(), at_rest, holds: Arc::new(holds) });
        self
    }

    /// Sets the expression that makes this simulation, with which a printed test ([`Failure::test`]) begins. The
    /// default, with your own applications, is `simulation()`.
    #[must_use]
    pub fn named(self, expression: impl Into<String>) -> Self {
        Self { name: expression.into(), ..self }
    }

    /// Changes the settings that are drawn for a world, or with which a scope is explored. A replay uses its own
    /// settings.
    #[must_use]
    pub fn settings(mut self, adjust: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        self.adjust.push(Arc::new(adjust));
        self
    }

    /// Runs the world of a seed.
    ///
    /// # Errors
    /// Returns the broken law, and what led to it.
    pub fn run(&self, seed: u64) -> Result<Report, Box<Failure>> {
        let run = self.draw(&mut Seeded::new(seed), false);
        run.map_err(|failure| Box::new(Failure { seed: Some(seed), ..*failure }))
    }

    /// As [`Simulation::run`], and keeps the journal.
    ///
    /// # Errors
    /// Returns the broken law, and what led to it.
    pub fn run_with_journal(&self, seed: u64) -> Result<Report, Box<Failure>> {
        let run = self.draw(&mut Seeded::new(seed), true);
        run.map_err(|failure| Box::new(Failure { seed: Some(seed), ..*failure }))
    }

    /// Runs the world of a fuzzer's bytes.
    ///
    /// # Errors
    /// Returns the broken law, and what led to it.
    pub fn run_bytes(&self, bytes: &[u8]) -> Result<Report, Box<Failure>> {
        self.draw(&mut FromBytes::new(bytes), false)
    }

    /// Runs a world with choices from any source. (With [`Enumerated`](crate::Enumerated) there would be too many
    /// worlds; use [`Simulation::explore`] for small scopes.)
    ///
    /// # Errors
    /// Returns the broken law, and what led to it.
    pub fn draw(&self, chooser: &mut impl Chooser, keep_journal: bool) -> Result<Report, Box<Failure>> {
        let settings = self.adjusted(Settings::draw(chooser));
        let ending = chooser.pick(&Ending::ALL).copied().unwrap_or(Ending::Clients);
        let weights = Weights::draw(chooser, self.own_applications);
        let mut ops = Vec::new();
        let result = caught(|| {
            let mut world = self.world(&settings, keep_journal)?;
            for _ in 0..settings.steps {
                let op = world.draw(chooser, &weights);
                ops.push(op);
                self.step(&mut world, op)?;
            }
            self.finish(&mut world, ending)?;
            Ok(report(&world))
        });
        result.map_err(|violation| self.failure(None, settings, ops, ending, violation))
    }

    /// Applies the changes of the user to settings.
    pub(crate) fn adjusted(&self, mut settings: Settings) -> Settings {
        self.adjust.iter().for_each(|adjust| adjust(&mut settings));
        settings
    }

    pub(crate) fn failure(
        &self,
        seed: Option<u64>,
        settings: Settings,
        ops: Vec<Op>,
        ending: Ending,
        violation: Violation,
    ) -> Box<Failure> {
        let journal = self.journal(&settings, &ops, ending);
        Box::new(Failure { seed, simulation: self.name.clone(), settings, ops, ending, violation, journal })
    }

    /// Runs a world with these operations.
    ///
    /// # Errors
    /// Returns the broken law.
    pub fn replay(&self, settings: &Settings, ops: &[Op], ending: Ending) -> Result<Report, Box<Failure>> {
        let run = self.play(settings, ops, ending, false);
        run.map_err(|violation| self.failure(None, settings.clone(), ops.to_vec(), ending, violation))
    }

    /// As `replay`, but a failure has only the law.
    pub(crate) fn play(
        &self,
        settings: &Settings,
        ops: &[Op],
        ending: Ending,
        keep: bool,
    ) -> Result<Report, Violation> {
        caught(|| {
            let mut world = self.world(settings, keep)?;
            ops.iter().try_for_each(|&op| self.step(&mut world, op))?;
            self.finish(&mut world, ending)?;
            Ok(report(&world))
        })
    }

    /// Returns the journal up to the broken law.
    fn journal(&self, settings: &Settings, ops: &[Op], ending: Ending) -> Vec<Entry> {
        let Ok(mut world) = self.world(settings, true) else { return Vec::new() };
        // It fails as it did before.
        drop(caught(|| {
            ops.iter().try_for_each(|&op| self.step(&mut world, op))?;
            self.finish(&mut world, ending)
        }));
        world.journal().entries().to_vec()
    }

    pub(crate) fn world(&self, settings: &Settings, keep: bool) -> Result<World<S, C>, Violation> {
        let server = Arc::clone(&self.server);
        World::with_journal(settings.clone(), keep, move |index| server(index), |index| (self.client)(index))
    }

    pub(crate) fn step(&self, world: &mut World<S, C>, op: Op) -> Result<(), Violation> {
        world.step(op)?;
        self.judge(world, false)
    }

    pub(crate) fn finish(&self, world: &mut World<S, C>, ending: Ending) -> Result<(), Violation> {
        world.rest()?;
        self.judge(world, false)?;
        self.judge(world, true)?;
        // A user-defined application would not know messages that it has not sent.
        let ending = if ending == Ending::Bursts && self.own_applications { Ending::Silence } else { ending };
        world.end(ending)?;
        self.judge(world, false)
    }

    fn judge(&self, world: &World<S, C>, at_rest: bool) -> Result<(), Violation> {
        for law in self.laws.iter().filter(|law| law.at_rest == at_rest) {
            if let Err(what) = (law.holds)(world) {
                return Err(Violation { law: Law::User, what: format!("{}: {what}", law.name) });
            }
        }
        Ok(())
    }
}

fn report<S, C>(world: &World<S, C>) -> Report {
    Report {
        hash: world.journal().hash(),
        totals: world.totals(),
        coverage: world.coverage().clone(),
        journal: world.journal().entries().to_vec(),
    }
}

std::thread_local! {
    /// Whether a world runs on this thread.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether a panic of this thread is one of a world.
#[cfg(feature = "cli")]
pub(crate) fn is_caught() -> bool {
    CAUGHT.get()
}

/// Law 13: a panic is a violation like others.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    let before = CAUGHT.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    CAUGHT.set(before);
    result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { law: Law::Panics, what: text.unwrap_or_else(|| "a panic".into()) })
    })
}

/// Everything that is needed to see the failure again: as text, and as a test.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The number of lines of the journal that are shown.
        const LINES: usize = 40;
        writeln!(f, "{}", self.violation)?;
        match self.seed {
            Some(seed) => writeln!(f, "seed {seed}, engineio-sim {}", env!("CARGO_PKG_VERSION"))?,
            None => writeln!(f, "engineio-sim {}", env!("CARGO_PKG_VERSION"))?,
        }
        let skipped = self.journal.len().saturating_sub(LINES);
        if skipped > 0 {
            writeln!(f, "… {skipped} lines before")?;
        }
        self.journal.iter().skip(skipped).try_for_each(|entry| writeln!(f, "{entry}"))?;
        writeln!(f, "\n{}", self.test())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// Returns the failure as a test.
    pub fn test(&self) -> String {
        let name = self.seed.map_or_else(|| "found".to_owned(), |seed| format!("seed_{seed}"));
        let ops: String = self.ops.iter().map(|op| format!("        {op},\n")).collect();
        format!(
            "#[test]\nfn {name}() {{\n    #[allow(unused_imports)]\n    use engineio_sim::{{Deed, Ending, Habit, Intrusion, Knock, Load, Line::*, Node, Op::*, Settings, \
             Side::*, Simulation, Start::*}};\n    let settings = {};\n    let ops = [\n{ops}    ];\n    let run = \
             {}.replay(&settings, &ops, Ending::{:?});\n    assert!(run.is_ok(), \"{{}}\", run.unwrap_err());\n}}\n",
            self.settings, self.simulation, self.ending
        )
    }
}
