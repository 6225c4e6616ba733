//! Resident memory of idle sessions: the growth of a server by many sessions that have echoed once.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::{Entry, echo};
use crate::client::{open_all, write};
use crate::http::{self, Polling};
use crate::rows::Kind;
use crate::server::Server;
use crate::websocket::WebSocket;
use crate::{Options, Result, Sample};

/// Sessions that are there before memory is read for the first time: what a server needs once does not count.
const FIRST: usize = 100;

/// Each round starts a server of its own, so a few are enough.
const ROUNDS: usize = 3;
const QUICK: usize = 1;

/// How long a server has to become idle.
const REST: Duration = Duration::from_millis(300);

pub(super) async fn measure(options: &Options, entries: &[Entry<'_>], kind: Kind) -> Result<Vec<Vec<Sample>>> {
    let sessions = options.sessions(options.idle);
    let mut samples = vec![Vec::new(); entries.len()];
    for _ in 0..options.rounds().min(if options.quick { QUICK } else { ROUNDS }) {
        eprint!(".");
        for (entry, samples) in entries.iter().zip(&mut samples) {
            let server = entry.start(options)?;
            let grown = grown(&server, kind, sessions).await;
            samples.push(grown.map_err(|error| format!("{}: {error}", entry.name()))?);
        }
    }
    Ok(samples)
}

async fn grown(server: &Server, kind: Kind, sessions: usize) -> Result<Sample> {
    let mut clients = Clients { sockets: Vec::new(), polls: Vec::new() };
    clients.open(server, kind, FIRST).await?;
    let before = server.resident()?;
    let few = (sessions / 10).max(1);
    clients.open(server, kind, few).await?;
    let tenth = (server.resident()? - before) / few as f64;
    clients.open(server, kind, sessions - few).await?;
    let cost = (server.resident()? - before) / sessions as f64;
    Ok(Sample { cost, rate: 0.0, tenth })
}

struct Clients {
    sockets: Vec<WebSocket>,
    polls: Vec<Polling>,
}

impl Clients {
    /// Opens more sessions, and lets the server become idle.
    async fn open(&mut self, server: &Server, kind: Kind, sessions: usize) -> Result<()> {
        let addr = server.addr;
        if kind == Kind::Polling {
            let open = || async move {
                let mut polling = Polling::open(addr).await?;
                echo::check_body(&mut polling, addr, b"4hello").await?;
                // It is held.
                write(&polling.connection.stream, &polling.get).await?;
                Ok(polling)
            };
            self.polls.extend(open_all(sessions, open).await?);
        } else {
            self.sockets.extend(open_all(sessions, || echo::open_and_check(addr)).await?);
        }
        loop {
            tokio::time::sleep(REST).await;
            if self.answer_pings(addr).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Answers pings, which some servers send soon after the handshake. Returns how many there were. Fails if anything else
    /// has arrived.
    async fn answer_pings(&mut self, addr: SocketAddr) -> Result<usize> {
        let mut pings = 0;
        for socket in &mut self.sockets {
            pings += socket.answer_pings().await?;
        }
        for polling in &mut self.polls {
            let Some(answer) = polling.connection.answer(|body| body == b"2").now_or_never() else { continue };
            if !answer? {
                return Err("a session is not idle".into());
            }
            polling.post(&http::post(addr, &polling.sid, b"3")).await?;
            write(&polling.connection.stream, &polling.get).await?;
            pings += 1;
        }
        Ok(pings)
    }
}
