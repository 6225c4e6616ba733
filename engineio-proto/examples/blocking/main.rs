//! An Engine.IO server on plain threads, which echoes every message: all that it takes to give the core hands.
//!
//! Each connection has a thread, each WebSocket a second one that writes, and one thread is the timer. They visit the
//! core for a moment, under its one lock, and do all their waiting outside of it. What is here is about the core; HTTP
//! is in `connection.rs`, as much of it as clients of Engine.IO use, and WebSockets are in `websocket.rs`.
//!
//! `cargo run -p engineio-proto --example blocking -- --port 3000`
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock, thread or socket. This has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};
use std::{env, error, thread};

use engineio_proto::{
    ChannelId, Config, Event, ExchangeId, Input, Instant, Message, Output, Response, SendError, Server, SessionKey,
};

use connection::Connection;

mod connection;
mod websocket;

fn main() -> Result<(), Box<dyn error::Error>> {
    let (mut port, mut config) = (0, Config::default());
    let mut words = env::args().skip(1);
    while let Some(flag) = words.next() {
        let value: u32 = words.next().ok_or("a flag needs a value")?.parse()?;
        let millis = Duration::from_millis(value.into());
        match &*flag {
            "--port" => port = value.try_into()?,
            "--ping-interval" => config.ping_interval = millis,
            "--ping-timeout" => config.ping_timeout = millis,
            "--upgrade-timeout" => config.upgrade_timeout = millis,
            "--max-payload" => config.max_payload = value.try_into()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let shared = Shared::new(Server::new(config)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!(r#"{{"event":"listening","port":{}}}"#, listener.local_addr()?.port());
    thread::scope(|scope| {
        scope.spawn(|| shared.run_timer());
        for socket in listener.incoming() {
            let served = socket.and_then(|socket| {
                let connection = Connection::new(&shared, socket);
                thread::Builder::new().spawn_scoped(scope, || connection.serve())
            });
            if served.is_err() {
                // There are too many connections. Some will end.
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    Ok(())
}

/// The core, and what belongs to it outside.
struct Core {
    server: Server,
    /// Where the answers go. An exchange whose sender is dropped ends without one.
    answers: BTreeMap<ExchangeId, Sender<Response>>,
    /// Who is to pull frames. A channel whose sender is dropped is closed.
    channels: BTreeMap<ChannelId, Sender<()>>,
    /// Echoes that found the send buffer full.
    kept: BTreeMap<SessionKey, Message>,
    /// Exchanges and channels are numbered together.
    last_number: u64,
}

/// A request that waits for its answer.
struct Exchange {
    key: SessionKey,
    id: ExchangeId,
    answer: Receiver<Response>,
}

/// A WebSocket that waits for frames.
struct Channel {
    key: SessionKey,
    id: ChannelId,
    ready: Receiver<()>,
}

impl Core {
    fn open_exchange(&mut self, now: Instant, key: SessionKey, input: impl FnOnce(ExchangeId) -> Input) -> Exchange {
        let id = ExchangeId(self.next_number());
        let (sender, answer) = mpsc::channel();
        self.answers.insert(id, sender);
        self.tell(now, key, input(id));
        Exchange { key, id, answer }
    }

    /// The client of an exchange is gone, with or without the answer.
    fn lose_exchange(&mut self, now: Instant, key: SessionKey, exchange: ExchangeId) {
        self.answers.remove(&exchange);
        self.tell(now, key, Input::ExchangeLost { exchange });
    }

    fn open_channel(&mut self, key: SessionKey, id: ChannelId) -> Channel {
        let (sender, ready) = mpsc::channel();
        self.channels.insert(id, sender);
        Channel { key, id, ready }
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Tells a session what happened. One that is gone need not know.
    fn tell(&mut self, now: Instant, key: SessionKey, input: Input) {
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(now, input);
        }
    }

    /// Does what the sessions ask for.
    fn carry_out(&mut self, now: Instant) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    let _ = self.answers.remove(&exchange).map(|answer| answer.send(response));
                }
                Output::Abort { exchange } => drop(self.answers.remove(&exchange)),
                Output::ChannelReady { channel } => {
                    let _ = self.channels.get(&channel).map(|ready| ready.send(()));
                }
                Output::ChannelRead { .. } => (), // Whoever reads asks the session itself, see `Shared::wait_to_read`.
                Output::ChannelClose { channel } => drop(self.channels.remove(&channel)),
                Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => self.echo(now, key),
                Output::Event(Event::Closed(_)) => drop(self.kept.remove(&key)),
                Output::Event(_) => (),
            }
        }
    }

    /// The application. It takes a message when it has sent the one before: a client that does not read is not read.
    fn echo(&mut self, now: Instant, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        while let Some(message) = self.kept.remove(&key).or_else(|| session.recv(now)) {
            if let Err(SendError::Full(message)) = session.send(message) {
                self.kept.insert(key, message); // `Writable` follows.
                break;
            }
        }
    }
}

/// The core, for all threads.
struct Shared {
    core: Mutex<Core>,
    /// Somebody has visited the core.
    visited: Condvar,
    began: Clock,
    config: Arc<Config>,
}

impl Shared {
    fn new(server: Server) -> Self {
        let config = Arc::clone(server.config());
        let (answers, channels, kept) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let core = Mutex::new(Core { server, answers, channels, kept, last_number: 0 });
        Self { core, visited: Condvar::new(), began: Clock::now(), config }
    }

    /// Works with the core, then does what it asks for.
    fn visit<T>(&self, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let (mut core, now) = (self.lock(), self.now());
        let result = work(&mut core, now);
        core.carry_out(now);
        self.visited.notify_all();
        result
    }

    /// The timer of all sessions. With every visit the time that it waits for may change.
    fn run_timer(&self) {
        let mut core = self.lock();
        loop {
            let now = self.now();
            core.server.handle_timeout(now);
            core.carry_out(now);
            self.visited.notify_all();
            let wait = core.server.next_timeout().map_or(self.patience(), |at| at - now);
            core = self.visited.wait_timeout(core, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns when a session takes frames of a channel, or the channel is to be read to its end.
    fn wait_to_read(&self, key: SessionKey, channel: ChannelId) {
        let paused = |core: &mut Core| {
            let session = core.server.session(key);
            core.channels.contains_key(&channel) && session.is_some_and(|session| !session.wants_frames(channel))
        };
        drop(self.visited.wait_while(self.lock(), paused));
    }

    /// Who keeps to the protocol is not silent for longer, nor leaves what is sent to it for longer.
    fn patience(&self) -> Duration {
        self.config.ping_interval + self.config.ping_timeout + self.config.upgrade_timeout
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }
}
