//! An Engine.IO server on io_uring, which echoes every message: one thread that hears what the system has done. Where the
//! kernel refuses io_uring, or with `DRIVER=poll` in the environment, `compio` does the same by readiness.
//!
//! Nothing grows with what a client sends, or does not take: frames move only while little waits to be written.
//!
//! | file | subject |
//! |---|---|
//! | `main.rs` | the loop: it carries out the outputs of the core, and hears what the system has done |
//! | `system.rs` | the jobs of the system: accept, read, write |
//! | `connection.rs` | a connection: requests, bodies, answers |
//! | `channel.rs` | a connection that has become a WebSocket |
//! | `../common` | what the examples share: HTTP, the admission of requests, WebSocket messages |
//!
//! Left out are: limits on time beside those of the core (a client that is slow with the head of a request, or does not take
//! its last answer, keeps its socket), a limit on connections, chunked bodies, `HEAD`, `Expect`, subprotocols and compression.
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
    /// The time of the core is counted from here.
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
            // A timer that is far away is as good as none.
            let patience = next.map_or(Duration::from_secs(3600), |at| at - self.now());
            if let Ok((number, done)) = timeout(patience, self.system.done()).await {
                self.hear(number, done);
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// The system has done something for a connection.
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

    /// Lets a connection do what it can do now.
    fn turn(&mut self, number: u64) {
        let now = self.now();
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.turn(&mut self.server, now, &self.system);
        }
    }

    /// Carries out what the core asks for.
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
                // In its turn the connection pulls frames, and reads if the session wants to.
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
                // At the end too, there may be messages to take. A session waits for that.
                Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => self.echo(key),
                Output::Event(_) => (),
            }
        }
    }

    /// The application: it sends every message back, and takes none for whose echo there is no room. So a client that does
    /// not read is not read either.
    fn echo(&mut self, key: SessionKey) {
        let now = self.now();
        let Some(mut session) = self.server.session_mut(key) else { return };
        // When there is no room, `Writable` follows.
        while session.poll_ready() {
            let Some(message) = session.recv(now) else { break };
            let _ = session.send(message); // The message is of no use if the session has ended.
        }
    }
}
