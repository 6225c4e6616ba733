//! An Engine.IO server on plain threads and blocking sockets, which echoes every message.
//!
//! Each connection has a thread. Another thread accepts connections, and the main thread is the timer. All of them use
//! the core under one lock, and none waits for a socket while it holds the lock.
//!
//! A thread can wait for only one thing: the thread of a WebSocket waits for its client, and the thread of a held
//! request waits for its session. Every 10 ms it checks the other one.
//!
//! | file | subject |
//! |---|---|
//! | `shared.rs` | the core with its lock, and how its outputs are carried out |
//! | `connection.rs` | a connection: requests, bodies, answers |
//! | `channel.rs` | a connection that has become a WebSocket |
//! | `../common` | shared by the examples: HTTP, the admission of requests, WebSocket messages |
//!
//! Not included: time limits other than those of the core (a client that sends the head of a request slowly keeps its
//! thread), a limit on connections, chunked bodies, `HEAD`, `Expect`, subprotocols and compression.
//!
//! `cargo run -p engineio-proto --example blocking -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock, thread or socket. This has.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

#[path = "../common/admission.rs"]
mod admission;
mod channel;
mod connection;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/options.rs"]
mod options;
mod shared;
#[path = "../common/watched.rs"]
mod watched;
#[path = "../common/websocket.rs"]
mod websocket;

use connection::Connection;
use options::Options;
use shared::Shared;

fn main() -> Result<(), Box<dyn Error>> {
    let Options { port, config } = Options::parse()?;
    // Threads use it until the program ends.
    let shared: &'static Shared = Box::leak(Box::new(Shared::new(config)?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    thread::spawn(move || accept(&listener, shared));
    shared.run_timer()
}

fn accept(listener: &TcpListener, shared: &'static Shared) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // There may be too many connections for the moment.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        // A connection that gets no thread is dropped.
        let _ = thread::Builder::new().spawn(move || Connection::new(shared, stream).serve());
    }
}
