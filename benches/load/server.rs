//! A server that runs.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// The processor of servers.
const SERVERS: usize = 0;
/// The processor of the load generator.
const GENERATOR: usize = 1;

#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts a server, on its processor if `pinned`.
    pub(crate) fn start(mut command: Command, pinned: bool) -> Result<Self> {
        let everywhere = sched_getaffinity(None)?;
        if pinned {
            // The process inherits it.
            pin(SERVERS)?;
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        if pinned {
            sched_setaffinity(None, &everywhere)?;
        }
        let mut process = process.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let mut line = String::new();
        let heard = process.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        let mut server = Self { process, addr: (Ipv4Addr::LOCALHOST, 0).into() };
        let port = heard.and_then(|_| line.trim().strip_prefix("listening on port ")?.parse().ok());
        server.addr.set_port(port.ok_or_else(|| format!("{:?} says {line:?}", command.get_program()))?);
        Ok(server)
    }

    /// The user and system time so far, of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += text.split(' ').next().ok_or("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no Rss")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Pins the load generator.
pub(crate) fn pin_generator() -> Result<()> {
    pin(GENERATOR)
}

/// Lets the load generator run on every processor.
pub(crate) fn unpin_generator() -> Result<()> {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|processor| set.set(processor));
    Ok(sched_setaffinity(None, &set)?)
}

fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).map_err(|error| format!("processor {processor}: {error}"))?;
    Ok(())
}
