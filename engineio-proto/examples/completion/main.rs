//! An Engine.IO server on io_uring, which echoes every message: one thread that handles completed operations. If the
//! kernel refuses io_uring, or with `DRIVER=poll` in the environment, `compio` uses readiness instead.
//!
//! Memory does not grow with what a client sends, or does not read: frames are handled only while little waits to be
//! written.
//!
//! | file | subject |
//! |---|---|
//! | `main.rs` | the loop: carries out the outputs of the core, and handles completed operations |
//! | `system.rs` | the operations: accept, read, write |
//! | `connection.rs` | a connection: requests, bodies, answers |
//! | `channel.rs` | a connection that has become a WebSocket |
//! | `../common` | shared by the examples: HTTP, the admission of requests, WebSocket messages |
//!
//! Not included: time limits other than those of the core (a client that sends the head of a request slowly, or does
//! not read its last answer, keeps its socket), a limit on connections, chunked bodies, `HEAD`, `Expect`, subprotocols
//! and compression.
//!
//! `cargo run -p engineio-proto --example completion -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use compio::driver::{DriverType, ProactorBuilder};
use compio::net::TcpListener;
use compio::runtime::RuntimeBuilder;
use compio::time::timeout;
use engineio_proto::server::{Output, SessionKey};
use engineio_proto::{Event, Instant, Server};

#[path = "../common/admission.rs"]
mod admission;
mod channel;
mod connection;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/options.rs"]
mod options;
mod system;
#[path = "../common/websocket.rs"]
mod websocket;

use connection::Connection;
use options::Options;
use system::{Done, System};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let mut proactor = ProactorBuilder::new();
    if env::var_os("DRIVER").is_some_and(|driver| driver == "poll") {
        proactor.driver_type(DriverType::Poll);
    }
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
    let driver = runtime.driver_type();
    runtime.block_on(serve(options, driver))
}

async fn serve(Options { port, config }: Options, driver: DriverType) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!(r#"{{"event":"listening","port":{},"driver":"{driver:?}"}}"#, listener.local_addr()?.port());
    let system = System::new();
    system.accept(listener)?;
    let mut event_loop = EventLoop {
        server: Server::new(config)?,
        start: std::time::Instant::now(),
        system,
        connections: BTreeMap::new(),
    };
    event_loop.run().await;
    Ok(())
}

struct EventLoop {
    server: Server,
    /// The start of the core's time.
    start: std::time::Instant,
    system: System,
    connections: BTreeMap<u64, Connection>,
}

impl EventLoop {
    async fn run(&mut self) {
        loop {
            self.server.handle_timeout(self.now());
            self.obey();
            let next = self.server.next_timeout();
            // A distant deadline stands for none.
            let patience = next.map_or(Duration::from_secs(3600), |at| at - self.now());
            if let Ok((number, done)) = timeout(patience, self.system.done()).await {
                self.hear(number, done);
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Handles a completed operation of a connection.
    fn hear(&mut self, number: u64, done: Done) {
        let now = self.now();
        let healthy = match done {
            Done::Accepted(stream) => {
                self.connections.insert(number, Connection::new(stream, number));
                true
            }
            Done::Read(bytes) => {
                let Some(connection) = self.connections.get_mut(&number) else { return };
                connection.read(bytes)
            }
            Done::Wrote(written) => {
                let Some(connection) = self.connections.get_mut(&number) else { return };
                connection.wrote(&mut self.server, now, written)
            }
        };
        if healthy {
            self.turn(number);
        } else if let Some(connection) = self.connections.remove(&number) {
            connection.lost(&mut self.server, now);
        }
    }

    /// Runs the turn of a connection.
    fn turn(&mut self, number: u64) {
        let now = self.now();
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.turn(&mut self.server, now, &self.system);
        }
    }

    /// Carries out the outputs of the core.
    fn obey(&mut self) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    let number = connection::number_of(exchange.0);
                    if let Some(connection) = self.connections.get_mut(&number) {
                        connection.answer(exchange, response);
                        self.turn(number);
                    }
                }
                Output::Abort { exchange } => drop(self.connections.remove(&connection::number_of(exchange.0))),
                // In its turn, the connection pulls frames, and reads if the session accepts input.
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => {
                    self.turn(connection::number_of(channel.0));
                }
                Output::ChannelClose { channel } => {
                    let number = connection::number_of(channel.0);
                    if let Some(connection) = self.connections.get_mut(&number) {
                        connection.close_channel();
                        self.turn(number);
                    }
                }
                // After the end there may still be messages to take, for which the session waits.
                Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => self.echo(key),
                Output::Event(_) => (),
            }
        }
    }

    /// The application: it echoes every message, and takes none while there is no room for its echo. So a client that
    /// does not read is not read from either.
    fn echo(&mut self, key: SessionKey) {
        let now = self.now();
        let Some(mut session) = self.server.session_mut(key) else { return };
        // If there is no room, `Writable` follows.
        while session.poll_ready() {
            let Some(message) = session.recv(now) else { break };
            let _ = session.send(message); // The message is of no use if the session has ended.
        }
    }
}
