//! An Engine.IO server on one thread, which echoes every message: the core, non-blocking sockets, and a loop that waits
//! until some of them are ready (epoll, kqueue).
//!
//! Memory does not grow with what a client sends, or does not read: a connection is read only while nothing waits to be
//! written, and only while its session accepts input.
//!
//! | file | subject |
//! |---|---|
//! | `main.rs` | the loop: waits, runs the connections' turns, and carries out the outputs of the core |
//! | `connection.rs` | a connection: requests, bodies, answers |
//! | `channel.rs` | a connection that has become a WebSocket |
//! | `../common` | shared by the examples: HTTP, the admission of requests, WebSocket messages |
//!
//! Not included: time limits other than those of the core (a client that sends the head of a request slowly, or does
//! not read its last answer, keeps its socket), a limit on connections, chunked bodies, `HEAD`, `Expect`, subprotocols
//! and compression.
//!
//! `cargo run -p engineio-proto --example event_loop -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::Ipv4Addr;
use std::time::Duration;

use engineio_proto::server::{Output, SessionKey};
use engineio_proto::{Event, Instant, Server};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

#[path = "../common/admission.rs"]
mod admission;
mod channel;
mod connection;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/options.rs"]
mod options;
#[path = "../common/watched.rs"]
mod watched;
#[path = "../common/websocket.rs"]
mod websocket;

use connection::Connection;
use options::Options;

/// The token of the listener. Connections have tokens from 1.
const LISTENER: Token = Token(0);

fn main() -> Result<(), Box<dyn Error>> {
    let Options { port, config } = Options::parse()?;
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port).into())?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    let mut event_loop = EventLoop {
        server: Server::new(config)?,
        start: std::time::Instant::now(),
        poll,
        listener,
        accepted: 0,
        connections: BTreeMap::new(),
        due: BTreeSet::new(),
    };
    event_loop.run()?;
    Ok(())
}

struct EventLoop {
    server: Server,
    /// The start of the core's time.
    start: std::time::Instant,
    poll: Poll,
    listener: TcpListener,
    /// The number of the last connection.
    accepted: usize,
    connections: BTreeMap<usize, Connection>,
    /// The connections whose turn is due.
    due: BTreeSet<usize>,
}

impl EventLoop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.wait(&mut events)?;
            self.accept();
            for number in mem::take(&mut self.due) {
                self.turn(number);
            }
            let now = self.now();
            self.server.handle_timeout(now);
            self.obey(now);
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Waits until a socket is ready, or a deadline of the core has come.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = if self.due.is_empty() {
            self.server.next_timeout().map(|at| at - self.now())
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => (),
        }
        self.due.extend(events.iter().map(|event| event.token().0));
        Ok(())
    }

    /// Accepts connections. If there are too many, waiting ones are tried again after the next event, such as the end
    /// of a connection.
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            self.accepted += 1;
            let interests = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut stream, Token(self.accepted), interests);
            if registered.and_then(|()| stream.set_nodelay(true)).is_ok() {
                self.connections.insert(self.accepted, Connection::new(stream, self.accepted));
            }
        }
    }

    fn turn(&mut self, number: usize) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match connection.turn(&mut self.server, now) {
            Ok(true) => drop(self.due.insert(number)),
            Ok(false) => (),
            Err(_) => {
                connection.lost(&mut self.server, now);
                self.connections.remove(&number);
            }
        }
    }

    /// Carries out the outputs of the core. Connections do their part in their next turns.
    fn obey(&mut self, now: Instant) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    let number = connection::number_of(exchange.0);
                    if let Some(connection) = self.connections.get_mut(&number) {
                        connection.answer(exchange, response);
                    }
                    self.due.insert(number);
                }
                Output::Abort { exchange } => drop(self.connections.remove(&connection::number_of(exchange.0))),
                // In its turn, the connection pulls frames, and reads if the session accepts input.
                Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => {
                    self.due.insert(connection::number_of(channel.0));
                }
                Output::ChannelClose { channel } => {
                    let number = connection::number_of(channel.0);
                    if let Some(connection) = self.connections.get_mut(&number) {
                        connection.close_channel();
                    }
                    self.due.insert(number);
                }
                // After the end there may still be messages to take, for which the session waits.
                Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => self.echo(now, key),
                Output::Event(_) => (),
            }
        }
    }

    /// The application: it echoes every message, and takes none while there is no room for its echo. So a client that
    /// does not read is not read from either.
    fn echo(&mut self, now: Instant, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        // If there is no room, `Writable` follows.
        while session.poll_ready() {
            let Some(message) = session.recv(now) else { break };
            let _ = session.send(message); // The message is of no use if the session has ended.
        }
    }
}
