//! An Engine.IO server on one thread, which echoes every message: the core, non-blocking sockets, and a loop that waits
//! until some of them are ready.
//!
//! `EventLoop::run` is all that happens: wait, give a turn to each connection that may go on, tell the core what time it
//! is, do what it asks for. What is read and written, and why, is in `connection/`, which does no I/O either.
//!
//! `cargo run -p engineio-proto --example event_loop -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock and no socket. This has.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

use bytes::Buf;
use clap::Parser;
use engineio_proto::{Output, SessionKey};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use connection::{Connection, Core, Flags};

mod connection;

/// The listening socket. The token of a connection is its place in the slab.
const LISTENER: Token = Token(usize::MAX);
/// Read at once. There is one buffer for all.
const CHUNK: usize = 64 * 1024;
/// How long to wait when the system has no resources for another connection.
const BREATHER: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let core = Core::new(flags.config())?;
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, flags.port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    io::stdout().flush()?;
    EventLoop { core, poll, listener, crowd: false, sockets: Slab::new(), due: BTreeSet::new() }.run()?;
    Ok(())
}

struct EventLoop {
    core: Core,
    poll: Poll,
    listener: TcpListener,
    /// Somebody may be waiting to be accepted. The system says so once, and here it is remembered.
    crowd: bool,
    sockets: Slab<Socket>,
    /// The sockets that may go on.
    due: BTreeSet<usize>,
}

struct Socket {
    stream: TcpStream,
    connection: Connection,
    /// There may be something to read. This, too, is said once.
    readable: bool,
}

impl EventLoop {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut chunk = vec![0; CHUNK];
        loop {
            let timeouts = [
                (!self.due.is_empty()).then_some(Duration::ZERO),
                self.crowd.then_some(BREATHER),
                self.core.next_timeout().map(|at| at - self.core.now()),
            ];
            match self.poll.poll(&mut events, timeouts.into_iter().flatten().min()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => (),
            }
            for event in &events {
                let Token(index) = event.token();
                if event.token() == LISTENER {
                    self.crowd = true;
                } else if let Some(socket) = self.sockets.get_mut(index) {
                    socket.readable = true;
                    self.due.insert(index);
                }
            }
            self.accept();
            for index in mem::take(&mut self.due) {
                let Some(socket) = self.sockets.get_mut(index) else { continue };
                match socket.turn(&mut self.core, &mut chunk) {
                    Ok(true) => drop(self.due.insert(index)),
                    Ok(false) => (),
                    Err(_gone) => self.remove(index),
                }
            }
            while let Some(index) = self.core.pop_expired() {
                let Some(socket) = self.sockets.get_mut(index) else { continue };
                if !socket.connection.expire(&mut self.core) {
                    self.remove(index);
                }
            }
            self.core.server.handle_timeout(self.core.now());
            while let Some((key, output)) = self.core.server.poll_output() {
                self.carry_out(key, output);
            }
        }
    }

    fn accept(&mut self) {
        while self.crowd {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let entry = self.sockets.vacant_entry();
                    let index = entry.key();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let registered = self.poll.registry().register(&mut stream, Token(index), interest);
                    if registered.and_then(|()| stream.set_nodelay(true)).is_ok() {
                        let connection = Connection::new(&mut self.core, index);
                        entry.insert(Socket { stream, connection, readable: true });
                        self.due.insert(index);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.crowd = false,
                Err(_) => return, // Too many connections. Some of them will end.
            }
        }
    }

    /// Does what a session asks for.
    fn carry_out(&mut self, key: SessionKey, output: Output) {
        match output {
            Output::Respond { exchange, response } => {
                if let Some(index) = self.find(exchange.0) {
                    self.sockets[index].connection.answer(&mut self.core, &response.into_reply());
                }
            }
            Output::Abort { exchange } => {
                if let Some(index) = self.find(exchange.0) {
                    self.remove(index);
                }
            }
            // In its turn it pulls frames, and reads if it may.
            Output::ChannelReady { channel } | Output::ChannelRead { channel, .. } => drop(self.find(channel.0)),
            Output::ChannelClose { channel } => {
                if let Some(index) = self.find(channel.0) {
                    self.sockets[index].connection.say_goodbye(&mut self.core);
                }
            }
            Output::Event(event) => self.core.handle_event(key, event),
        }
    }

    /// The socket of an exchange or a channel, unless that is over. Its turn is due.
    fn find(&mut self, number: u64) -> Option<usize> {
        let index = Connection::index_of(number);
        self.sockets.get(index).filter(|socket| socket.connection.serves(number))?;
        self.due.insert(index);
        Some(index)
    }

    fn remove(&mut self, index: usize) {
        if let Some(mut socket) = self.sockets.try_remove(index) {
            socket.connection.lose(&mut self.core);
        }
    }
}

impl Socket {
    /// Does what can be done without waiting: writes everything, reads once. Whether another turn is due already.
    fn turn(&mut self, core: &mut Core, chunk: &mut [u8]) -> io::Result<bool> {
        self.connection.advance(core);
        self.write(core)?;
        if self.readable && self.connection.wants_input() {
            match self.stream.read(chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.connection.receive(core, &chunk[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
            self.write(core)?;
        }
        Ok(self.readable && self.connection.wants_input())
    }

    fn write(&mut self, core: &mut Core) -> io::Result<()> {
        while !self.connection.output.is_empty() {
            match self.stream.write(&self.connection.output) {
                Ok(len) => self.connection.output.advance(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
            if self.connection.output.is_empty() {
                self.connection.written(core);
            }
        }
        if self.connection.is_lingering() {
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}
