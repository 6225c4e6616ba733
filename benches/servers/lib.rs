//! What the servers of the benchmarks have in common: options, the faked open packet, and the line that names the port.
//!
//! The servers are small and separate, so that anyone can check whether the comparison is fair. `load` starts them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser;

/// The time between two pings, for all servers that send pings: none is due while something is measured.
pub const PING_INTERVAL: Duration = Duration::from_secs(3600);

/// The longest message that a client may send, in bytes.
pub const MAX_PAYLOAD: usize = 1_000_000;

/// The address to listen on: any free port.
pub const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The options of every server.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Threads that run tasks.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Use `accept`, `recv` and `send` instead of callbacks; only our own servers have both.
    #[arg(long)]
    pub recv: bool,
    /// The read buffer of a connection, in bytes; only the bare WebSocket servers have one.
    #[arg(long, default_value_t = 128 * 1024)]
    pub read_buffer: usize,
}

impl Options {
    /// Parses the arguments of the program.
    #[must_use]
    pub fn of_program() -> Self {
        Self::parse()
    }

    /// Builds the tokio runtime of a server: one thread for everything, or several.
    ///
    /// # Errors
    /// Returns an error if the system does not provide what the runtime needs.
    pub fn tokio(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut runtime = match self.workers {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        runtime.worker_threads(self.workers).enable_all().build()
    }
}

/// Prints the line that `load` waits for.
pub fn announce(addr: SocketAddr) {
    println!("listening on port {}", addr.port());
}

/// The open packet of the servers that fake the protocol.
#[must_use]
pub fn open_packet(sid: u64) -> String {
    let interval = PING_INTERVAL.as_millis();
    format!(
        r#"0{{"sid":"{sid:020}","upgrades":[],"pingInterval":{interval},"pingTimeout":20000,"maxPayload":{MAX_PAYLOAD}}}"#
    )
}

/// The command of a client that asks for a broadcast: `4bcast:COUNT:SIZE` asks for COUNT text messages of SIZE bytes to
/// every session.
///
/// `text` is the message, without the packet type. Returns COUNT and the text to send.
#[must_use]
pub fn broadcast(text: &str) -> Option<(usize, String)> {
    let (count, size) = text.strip_prefix("bcast:")?.split_once(':')?;
    Some((count.parse().ok()?, "x".repeat(size.parse().ok()?)))
}
