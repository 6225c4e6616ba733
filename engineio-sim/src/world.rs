//! A world: servers, clients, their applications, and a network between them.
//!
//! | module | subject |
//! |---|---|
//! | `core` | everything except the applications; what happens next, and when |
//! | `nodes` | clients, servers, and both sides of their sessions |
//! | `client`, `server` | the embedders of the machines, which carry out their outputs |
//! | `writing` | the embedders on the writing side: data that is handed over is written and reported, or lost |
//! | `arrivals` | what arrives at a server |
//! | `net` | data in transit |
//! | `apps` | what applications do with their sessions |
//! | `forgery` | what a server of another project could send to a client |
//! | `foreign`, `knocks` | clients of other projects; requests that must be rejected |
//! | `returning` | clients that reconnect |
//! | `faults` | faults of networks, proxies, strangers and clocks |
//! | `menu` | the possible operations, and their probabilities |
//! | `ending` | healing, rest, and the end |
//! | `twin` | machines whose outputs are drained late |

mod apps;
mod arrivals;
mod client;
mod core;
mod ending;
mod faults;
mod foreign;
mod forgery;
mod knocks;
mod menu;
mod net;
mod nodes;
mod returning;
mod server;
mod twin;
mod writing;

use std::fmt;
use std::time::Duration;

use engineio_proto::app::{Application, Peer, Sockets};
use engineio_proto::{Instant, Message, SendError};

use self::core::Core;
use self::net::Spoilt;
use self::nodes::{Call, What};
use crate::coverage::Coverage;
use crate::journal::Journal;
use crate::op::{Node, Op, Side};
use crate::oracle::{Asked, Law, Violation, broken};
use crate::{Chooser, Settings};

pub use ending::Ending;
pub use menu::Class;
pub(crate) use menu::Weights;

/// The totals of one world, or of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Operations.
    pub steps: u64,
    /// Microseconds of virtual time.
    pub micros: u64,
    /// Sessions that clients started.
    pub attempts: u64,
    /// Sessions that servers opened.
    pub sessions: u64,
    /// Sessions that opened at clients.
    pub opened: u64,
    /// Changes of the transport.
    pub upgrades: u64,
    /// Upgrades that failed.
    pub failed_upgrades: u64,
    /// Messages that were accepted from applications.
    pub messages_sent: u64,
    /// Messages that were delivered to applications.
    pub messages_received: u64,
    /// Operations by kind, in the order of [`Class::ALL`].
    pub classes: [u64; Class::ALL.len()],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            steps: 0,
            micros: 0,
            attempts: 0,
            sessions: 0,
            opened: 0,
            upgrades: 0,
            failed_upgrades: 0,
            messages_sent: 0,
            messages_received: 0,
            classes: [0; Class::ALL.len()],
        }
    }
}

impl Totals {
    /// Adds the totals of another world.
    pub fn merge(&mut self, other: &Self) {
        self.steps += other.steps;
        self.micros += other.micros;
        self.attempts += other.attempts;
        self.sessions += other.sessions;
        self.opened += other.opened;
        self.upgrades += other.upgrades;
        self.failed_upgrades += other.failed_upgrades;
        self.messages_sent += other.messages_sent;
        self.messages_received += other.messages_received;
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            *count += more;
        }
    }
}

/// Servers, clients, their applications, a network between them, and a clock.
///
/// A [`Simulation`](crate::Simulation) makes worlds. Use this type directly to run a scene step by step:
///
/// ```
/// use engineio_sim::{Op, Settings, Side, Start, World};
///
/// let mut world = World::new(Settings::default(), |_| (), |_| ())?;
/// world.step(Op::Connect { client: 0, server: 0, start: Start::Upgrade })?;
/// world.step(Op::Wait(1_000_000))?;
/// world.step(Op::Send { side: Side::Client(0), size: 10, binary: false })?;
/// world.rest()?; // everything arrives, and the laws of rest hold
/// assert_eq!((world.totals().upgrades, world.totals().messages_received), (1, 1));
/// # Ok::<(), engineio_sim::Violation>(())
/// ```
pub struct World<S = (), C = ()> {
    core: Core,
    servers: Vec<S>,
    clients: Vec<C>,
    /// Makes the application of a server, at first and when one has died.
    make_server: Box<dyn FnMut(usize) -> S>,
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for World<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.core.now)
            .field("settings", &self.core.settings)
            .field("servers", &self.servers)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}

impl<S: Application, C: Application> World<S, C> {
    /// Creates a world in which nothing has happened. One application is made for each server and each client; a server
    /// that was killed ([`Op::Crash`]) restarts with a new one.
    ///
    /// # Errors
    /// Returns an error if the settings are not valid.
    pub fn new(
        settings: Settings,
        server: impl FnMut(usize) -> S + 'static,
        client: impl FnMut(usize) -> C,
    ) -> Result<Self, Violation> {
        Self::with_journal(settings, false, server, client)
    }

    /// As [`World::new`]; if `keep` is `true`, the journal is kept.
    ///
    /// # Errors
    /// Returns an error if the settings are not valid.
    pub fn with_journal(
        settings: Settings,
        keep: bool,
        mut server: impl FnMut(usize) -> S + 'static,
        client: impl FnMut(usize) -> C,
    ) -> Result<Self, Violation> {
        let core = Core::new(settings, keep)?;
        let servers = (0..core.servers.len()).map(&mut server).collect();
        let clients = (0..core.own_clients()).map(client).collect();
        let mut world = Self { core, servers, clients, make_server: Box::new(server) };
        let nodes = (0..world.clients.len()).map(Node::Client).chain((0..world.servers.len()).map(Node::Server));
        nodes.collect::<Vec<_>>().into_iter().for_each(|node| world.set_alarm(node));
        Ok(world)
    }

    /// Carries out an operation, and everything that follows from it at once. An operation that has no meaning now does
    /// nothing.
    ///
    /// # Errors
    /// Returns the broken law.
    pub fn step(&mut self, op: Op) -> Result<(), Violation> {
        let core = &mut self.core;
        let op = op.renumbered(|client| core.place(client), |server| server);
        if !core.knows(&op) {
            return Ok(());
        }
        core.totals.steps += 1;
        core.totals.classes[Class::of(&op) as usize] += 1;
        let end = |side| core.end_of(side);
        match op {
            Op::Wait(micros) => {
                // More than a month at once would be nothing but heartbeats.
                let until = core.later(micros.min(30 * 24 * 3600 * 1_000_000));
                self.advance(until)?;
            }
            Op::Next => {
                if let Some((at, _)) = core.next_task() {
                    self.advance(at)?;
                }
            }
            Op::Connect { client, server, start } => core.start(client, server, start)?,
            Op::Arrive(line) => {
                if let Some(task) = core.arrives(line) {
                    core.perform(task)?;
                }
            }
            Op::Send { side, size, binary } => {
                if let Some(end) = end(side) {
                    let message = core.make(end, size, binary);
                    drop(core.send(end, vec![message])?);
                }
            }
            Op::SendTogether { side, count } => {
                if let Some(end) = end(side) {
                    let messages = (0..count.min(4)).map(|index| core.make(end, 1, index % 2 == 1)).collect();
                    drop(core.send(end, messages)?);
                }
            }
            Op::Flood(side) => {
                if let Some(end) = end(side) {
                    for _ in 0..64 {
                        let message = core.make(end, 8, false);
                        if core.send(end, vec![message])?.is_err() {
                            break;
                        }
                    }
                }
            }
            Op::Take(side) => end(side).map_or(Ok(()), |end| core.take(end))?,
            Op::Read(side, reads) => {
                if let Some(end) = end(side) {
                    core.set_reading(end, reads);
                }
            }
            Op::Discard(side) => end(side).map_or(Ok(()), |end| core.discard(end))?,
            Op::Await(side, behind) => end(side).map_or(Ok(()), |end| core.wait_for_written(end, behind))?,
            Op::Report(side, which) => {
                if let Some(&task) = core.reports(side).get(which) {
                    core.perform(task)?;
                }
            }
            Op::Close(side) => end(side).map_or(Ok(()), |end| core.close(end, Asked::Close))?,
            Op::Abort(side) => end(side).map_or(Ok(()), |end| core.close(end, Asked::Abort))?,
            Op::Impulse(node, impulse) => self.call_application(node, |application, sockets| {
                application.on_impulse(sockets, impulse);
            })?,
            Op::Foreign(client, deed) => core.act(client, deed)?,
            Op::Forge(line, load) => core.forge(line, load),
            Op::Ready(side) => end(side).map_or(Ok(()), |end| core.ask_whether_ready(end))?,
            Op::Tear { line, client, server } => core.tear(line, 0, client, server),
            Op::Reset { line, arrives, client, server } => core.tear(line, arrives, client, server),
            Op::Lose(client, which) => core.lose(client, which),
            Op::Throttle(line, micros) => core.throttle(line, micros),
            Op::Withhold(side, micros) => core.withhold(side, micros),
            Op::Delay(line, micros) => core.delay(line, micros),
            Op::Repeat(line) => core.repeat(line),
            Op::SlowBody(client) => core.spoil(client, Spoilt::Slow),
            Op::LargeBody(client) => core.spoil(client, Spoilt::Large),
            Op::Refuse(client) => core.refuse(client),
            Op::Silence(client) => core.set_silent(client, true),
            Op::Restore(client) => core.set_silent(client, false),
            Op::Intrude(client, what) => core.intrude(client, what),
            Op::Suspend(client, micros) => core.suspend(client, micros),
            Op::Late(node, micros) => core.delay_timers(node, micros),
            Op::Stand(node, micros) => {
                let until = core.stand_still(node, micros.min(30 * 24 * 3600 * 1_000_000));
                self.advance(until)?;
            }
            Op::Spurious(node) => core.call_without_need(node)?,
            Op::Backwards(node, micros) => core.set_back(node, micros)?,
            Op::Shutdown(server) => core.shut_down(server)?,
            Op::Crash(server) => {
                core.crash(server)?;
                // What its application knew is lost with it.
                if let Some(application) = self.servers.get_mut(server) {
                    *application = (self.make_server)(server);
                    self.set_alarm(Node::Server(server));
                }
            }
        }
        self.advance(self.core.now)?;
        self.core.probes_in_time()?;
        self.core.bodies_in_time()
    }

    /// Lets time pass, and tells applications what happens meanwhile.
    fn advance(&mut self, until: Instant) -> Result<(), Violation> {
        loop {
            let is_there = self.core.advance(until)?;
            let mut calls = 0;
            while let Some(call) = self.core.calls.pop_front() {
                self.deliver(call)?;
                calls += 1;
                if calls > 100_000 {
                    return broken(Law::User, "the applications do not come to rest");
                }
            }
            if is_there && self.core.next_task().is_none_or(|(at, _)| at > self.core.now) {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self, call: Call) -> Result<(), Violation> {
        match call {
            Call::Of { node, peer, what } if self.core.is_wanted(node, peer, &what) => {
                self.call_application(node, |application, sockets| match what {
                    What::Open => application.on_open(sockets, peer),
                    What::Message(message) => application.on_message(sockets, peer, message),
                    What::Writable => application.on_writable(sockets, peer),
                    What::Close(reason) => application.on_close(sockets, peer, reason),
                })
            }
            Call::Of { .. } => Ok(()),
            Call::Timeout(node) => {
                self.call_application(node, |application, sockets| application.on_timeout(sockets))?;
                let now = self.core.now;
                match self.application(node).and_then(|application| application.next_timeout()) {
                    Some(next) if next <= now => {
                        let what =
                            format!("the application of {node:?} was called at {now:?}, and {next:?} is due still");
                        broken(Law::User, what)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn application(&self, node: Node) -> Option<&dyn Application> {
        match node {
            Node::Client(client) => self.clients.get(client).map(|application| application as _),
            Node::Server(server) => self.servers.get(server).map(|application| application as _),
        }
    }

    fn set_alarm(&mut self, node: Node) {
        let alarm = self.application(node).and_then(|application| application.next_timeout());
        self.core.set_alarm(node, alarm);
    }

    fn call_application(
        &mut self,
        node: Node,
        call: impl FnOnce(&mut dyn Application, &mut dyn Sockets),
    ) -> Result<(), Violation> {
        let mut sockets = WorldSockets { core: &mut self.core, node, violation: None };
        let application: Option<&mut dyn Application> = match node {
            Node::Client(client) => self.clients.get_mut(client).map(|application| application as _),
            Node::Server(server) => self.servers.get_mut(server).map(|application| application as _),
        };
        if let Some(application) = application {
            call(application, &mut sockets);
        }
        let violation = sockets.violation;
        self.set_alarm(node);
        violation.map_or(Ok(()), Err)
    }

    /// Draws the next operation.
    pub(crate) fn draw(&self, chooser: &mut impl Chooser, weights: &Weights) -> Op {
        self.core.draw(chooser, weights)
    }

    /// Everything that is on its way and that an operation could let arrive, or begin, in a small world.
    pub(crate) fn candidates(&self, class: Class, out: &mut Vec<Op>) {
        self.core.candidates(class, out);
    }

    /// How much one side has written and not reported.
    pub(crate) fn reports(&self, side: Side) -> usize {
        self.core.reports(side).len()
    }

    /// Heals all faults. The world must come to rest: both sides of every session are open with empty buffers, or both
    /// are closed.
    ///
    /// # Errors
    /// Returns the broken law.
    pub fn rest(&mut self) -> Result<(), Violation> {
        self.core.heal();
        self.settle()?;
        self.core.audit()
    }

    fn settle(&mut self) -> Result<(), Violation> {
        let patience = self.core.settings.patience();
        let deadline = self.core.later(patience);
        let (transit, mut arrives) = (self.core.transit(), true);
        let mut arrival = self.core.later(transit);
        let slice = 4 * self.core.settings.latency + 10_000;
        loop {
            let at = self.core.later(slice).min(deadline);
            self.advance(at)?;
            let Some(unrest) = self.core.unrest() else { return Ok(()) };
            // What an application sends or closes in its time is on its way from then on.
            arrival = arrival.max(self.core.alarmed_at + Duration::from_micros(transit));
            if arrives && self.core.now >= arrival {
                arrives = false;
                if let Some(what) = self.core.dawdling() {
                    let what = format!("{what}, {transit} µs after the world was healed, although nothing went wrong");
                    return broken(Law::Quiescence, what);
                }
            }
            if self.core.now >= deadline {
                return broken(Law::Quiescence, format!("{unrest}, {patience} µs after the world was healed"));
            }
            // Nothing happens before the next task, so that there is nothing to wait for before it.
            let next = self.core.next_task().map_or(deadline, |(at, _)| at.min(deadline));
            self.advance(if arrives { next.min(arrival) } else { next })?;
        }
    }

    /// Ends the world: all sessions end, and nothing is left of them.
    ///
    /// # Errors
    /// Returns the broken law.
    pub fn end(&mut self, ending: Ending) -> Result<(), Violation> {
        let patience = self.core.begin_ending(ending)?;
        if ending.is_silent() {
            let until = self.core.later(patience);
            while ending == Ending::Bursts && self.core.now < until {
                self.core.burst()?;
                let pause = self.core.settings.ping_timeout * 1000 / 2;
                self.advance(self.core.later(pause).min(until))?;
            }
            self.advance(until)?;
            self.core.audit_ending(ending)?;
            self.core.heal();
        }
        self.advance(self.core.now)?;
        self.settle()?;
        self.core.audit_ending(ending)?;
        self.core.audit()?;
        self.core.is_emptied()
    }
}

impl<S, C> World<S, C> {
    /// Returns the virtual time.
    pub fn now(&self) -> Instant {
        self.core.now
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// Returns the applications of the servers.
    pub fn servers(&self) -> &[S] {
        &self.servers
    }

    /// Returns the applications of the clients.
    pub fn clients(&self) -> &[C] {
        &self.clients
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Journal {
        &self.core.journal
    }

    /// Returns the states and inputs that were reached.
    pub fn coverage(&self) -> &Coverage {
        &self.core.coverage
    }

    /// Returns the totals.
    pub fn totals(&self) -> Totals {
        Totals { micros: self.core.now.as_micros(), ..self.core.totals.clone() }
    }
}

/// The sessions of a node, for its application.
struct WorldSockets<'a> {
    core: &'a mut Core,
    node: Node,
    violation: Option<Violation>,
}

impl Sockets for WorldSockets<'_> {
    fn send(&mut self, peer: Peer, message: Message) -> Result<(), SendError> {
        let Some(end) = self.core.end_of_peer(self.node, peer) else { return Err(SendError::Closed(message)) };
        match self.core.send(end, vec![message.clone()]) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error {
                SendError::Full(_) => SendError::Full(message),
                SendError::TooLarge(_) => SendError::TooLarge(message),
                SendError::Separator(_) => SendError::Separator(message),
                SendError::Oversized(_) => SendError::Oversized(message),
                _ => SendError::Closed(message),
            }),
            Err(violation) => {
                self.violation.get_or_insert(violation);
                Err(SendError::Closed(message))
            }
        }
    }

    fn close(&mut self, peer: Peer) {
        self.end(peer, Asked::Close);
    }

    fn abort(&mut self, peer: Peer) {
        self.end(peer, Asked::Abort);
    }

    fn now(&self) -> Instant {
        self.core.now
    }
}

impl WorldSockets<'_> {
    fn end(&mut self, peer: Peer, how: Asked) {
        if let Some(end) = self.core.end_of_peer(self.node, peer) {
            if let Err(violation) = self.core.close(end, how) {
                self.violation.get_or_insert(violation);
            }
        }
    }
}
