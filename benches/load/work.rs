//! Rows are measured here: servers are started, put under load in turn, and asked for their CPU time or memory.

mod cycles;
mod echo;
#[cfg(test)]
mod faults;
mod idle;
mod official;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::rows::{Row, Work};
use crate::server::{self, Server};
use crate::targets::Target;
use crate::{Options, Result, Sample};

/// How long a server has, after a round, for what is left to do.
const REST: Duration = Duration::from_millis(5);

/// A server in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) row: &'a Row,
    pub(crate) target: Target,
}

impl Entry<'_> {
    fn start(&self, options: &Options) -> Result<Server> {
        Server::start(self.target.command(&self.row.work, &options.peers)?, self.is_pinned(options))
    }

    fn is_pinned(&self, options: &Options) -> bool {
        !options.unpinned && !matches!(self.row.work, Work::Workers { .. })
    }

    fn name(&self) -> String {
        format!("{}, {}", self.row.name, self.target.name())
    }
}

/// Measures servers in turn, so that what else happens on the machine concerns all of them. Returns the samples of each.
pub(crate) async fn in_turn(options: &Options, entries: &[Entry<'_>]) -> Result<Vec<Vec<Sample>>> {
    let Some(first) = entries.first() else { return Ok(Vec::new()) };
    if first.is_pinned(options) { server::pin_generator() } else { server::unpin_generator() }?;
    match first.row.work {
        Work::Idle(kind) => idle::measure(options, entries, kind).await,
        Work::OfficialUpgrade => official::measure(options, entries),
        _ => under_load(options, entries).await,
    }
}

async fn under_load(options: &Options, entries: &[Entry<'_>]) -> Result<Vec<Vec<Sample>>> {
    let mut running = Vec::new();
    for entry in entries {
        let server = entry.start(options)?;
        let load = Load::open(options, &entry.row.work, server.addr).await;
        let mut load = load.map_err(|error| format!("{}: {error}", entry.name()))?;
        // Neither caches nor memory are cold when it counts.
        load.round(options.round() / 2).await.map_err(|error| format!("{}: {error}", entry.name()))?;
        running.push((server, load, Vec::new()));
    }
    for _ in 0..options.rounds() {
        eprint!(".");
        for (entry, (server, load, samples)) in entries.iter().zip(&mut running) {
            tokio::time::sleep(REST).await;
            let (before, began) = (server.cpu()?, Instant::now());
            let operations = load.round(options.round()).await.map_err(|error| format!("{}: {error}", entry.name()))?;
            let elapsed = began.elapsed();
            tokio::time::sleep(REST).await;
            let cpu = server.cpu()? - before;
            let operations = operations as f64;
            let cost = cpu.as_secs_f64() * 1e6 / operations;
            samples.push(Sample { cost, rate: operations / elapsed.as_secs_f64(), tenth: 0.0 });
        }
    }
    Ok(running.into_iter().map(|(_, _, samples)| samples).collect())
}

/// The clients of one server.
enum Load {
    WebSockets(echo::WebSockets),
    Polling(echo::PollingSessions),
    Broadcast(echo::Listeners),
    Cycles(cycles::Cycles),
}

impl Load {
    /// Connects clients, and checks what the server answers, byte by byte.
    async fn open(options: &Options, work: &Work, addr: SocketAddr) -> Result<Self> {
        Ok(match work {
            Work::WebSocketEcho(echo) | Work::Workers { echo, .. } => {
                Self::WebSockets(echo::WebSockets::open(options, *echo, addr).await?)
            }
            Work::PollingEcho(echo) => Self::Polling(echo::PollingSessions::open(options, *echo, addr).await?),
            Work::Broadcast { sessions, size, burst } => {
                Self::Broadcast(echo::Listeners::open(options.sessions(*sessions), *size, *burst, addr).await?)
            }
            Work::WebSocketCycle => Self::Cycles(cycles::Cycles::new(cycles::Cycle::WebSocket, addr)),
            Work::PollingCycle => Self::Cycles(cycles::Cycles::new(cycles::Cycle::Polling, addr)),
            Work::Upgrade => Self::Cycles(cycles::Cycles::new(cycles::Cycle::Upgrade, addr)),
            Work::Idle(_) | Work::OfficialUpgrade => return Err("not a load".into()),
        })
    }

    /// Works until the time is over and everything is answered. Returns the number of operations.
    async fn round(&mut self, time: Duration) -> Result<u64> {
        let over = Over::after(time);
        let operations = match self {
            Self::WebSockets(clients) => clients.round(over).await,
            Self::Polling(clients) => clients.round(over).await,
            Self::Broadcast(clients) => clients.round(&over).await,
            Self::Cycles(cycles) => cycles.round(over).await,
        }?;
        if operations == 0 { Err("nothing was done".into()) } else { Ok(operations) }
    }
}

/// Whether the time of a round is over.
#[derive(Clone, Debug)]
struct Over(Rc<Cell<bool>>);

impl Over {
    fn after(time: Duration) -> Self {
        let over = Self(Rc::default());
        let flag = over.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(time).await;
            flag.0.set(true);
        });
        over
    }

    fn is_over(&self) -> bool {
        self.0.get()
    }
}

/// Runs a task for each part of a load. Returns the parts, and all their operations.
async fn together<P: 'static, F>(parts: Vec<P>, task: impl Fn(P) -> F) -> Result<(Vec<P>, u64)>
where
    F: Future<Output = Result<(P, u64)>> + 'static,
{
    let tasks: Vec<_> = parts.into_iter().map(|part| tokio::task::spawn_local(task(part))).collect();
    let (mut parts, mut operations) = (Vec::new(), 0);
    for task in tasks {
        let (part, done) = task.await??;
        parts.push(part);
        operations += done;
    }
    Ok((parts, operations))
}
