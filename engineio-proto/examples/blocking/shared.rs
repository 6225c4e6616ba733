//! The core with its lock, and how its outputs are carried out.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engineio_proto::http::Response;
use engineio_proto::server::{Config, Input, Output, SessionKey};
use engineio_proto::{ConfigError, Event, Instant, Server};

/// What all threads share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Signalled when a session has ended an exchange or a channel, or when the timer must wait for another time.
    changed: Condvar,
    config: Arc<Config>,
}

/// What the lock protects.
pub(crate) struct Core {
    pub(crate) server: Server,
    /// The time of this visit.
    pub(crate) now: Instant,
    start: std::time::Instant,
    /// The last number that was given to an exchange or a channel.
    number: u64,
    /// How sessions have ended exchanges and channels, by number. The threads of the connections take the entries.
    endings: BTreeMap<u64, Ending>,
}

/// How a session ended an exchange or a channel.
pub(crate) enum Ending {
    /// The exchange is answered.
    Answer(Response),
    /// The connection of the exchange is to be dropped.
    Abort,
    /// The channel is to be closed.
    Close,
}

impl Core {
    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn has_ended(&self, number: u64) -> bool {
        self.endings.contains_key(&number)
    }

    /// Carries out the outputs of the core.
    fn obey(&mut self) {
        while let Some((key, output)) = self.server.poll_output() {
            match output {
                Output::Respond { exchange, response } => {
                    self.endings.insert(exchange.0, Ending::Answer(response));
                }
                Output::Abort { exchange } => {
                    self.endings.insert(exchange.0, Ending::Abort);
                }
                Output::ChannelClose { channel } => {
                    self.endings.insert(channel.0, Ending::Close);
                }
                // The thread of the channel asks the session itself, with `next_frame` and `wants_frames`.
                Output::ChannelReady { .. } | Output::ChannelRead { .. } => (),
                // After the end there may still be messages to take, for which the session waits.
                Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => self.echo(key),
                Output::Event(_) => (),
            }
        }
    }

    /// The application: it echoes every message, and takes none while there is no room for its echo. So a client that
    /// does not read is not read from either.
    fn echo(&mut self, key: SessionKey) {
        let Some(mut session) = self.server.session_mut(key) else { return };
        // If there is no room, `Writable` follows.
        while session.poll_ready() {
            let Some(message) = session.recv(self.now) else { break };
            let _ = session.send(message); // The message is of no use if the session has ended.
        }
    }
}

impl Shared {
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        let server = Server::new(config)?;
        let config = Arc::clone(server.config());
        let start = std::time::Instant::now();
        let core = Core { server, now: Instant::ZERO, start, number: 0, endings: BTreeMap::new() };
        Ok(Self { core: Mutex::new(core), changed: Condvar::new(), config })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a closure with the core, then carries out the outputs.
    pub(crate) fn visit<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        core.now = Instant::ZERO + core.start.elapsed();
        let before = (core.endings.len(), core.server.next_timeout());
        let result = work(&mut core);
        core.obey();
        let after = (core.endings.len(), core.server.next_timeout());
        drop(core);
        if before != after {
            self.changed.notify_all();
        }
        result
    }

    /// Passes an input to a session, unless it has ended.
    pub(crate) fn input(&self, key: SessionKey, input: Input) {
        self.visit(|core| {
            let now = core.now;
            if let Some(mut session) = core.server.session_mut(key) {
                session.handle_input(now, input);
            }
        });
    }

    pub(crate) fn has_session(&self, key: SessionKey) -> bool {
        self.visit(|core| core.server.session(key).is_some())
    }

    /// Waits until a session ends an exchange or a channel, for at most `patience`.
    pub(crate) fn wait_for_ending(&self, number: u64, patience: Duration) -> Option<Ending> {
        let waits = |core: &mut Core| !core.endings.contains_key(&number);
        let (mut core, _) =
            self.changed.wait_timeout_while(self.lock(), patience, waits).unwrap_or_else(PoisonError::into_inner);
        core.endings.remove(&number)
    }

    /// Calls `handle_timeout` when it is due.
    pub(crate) fn run_timer(&self) -> ! {
        loop {
            self.visit(|core| core.server.handle_timeout(core.now));
            let core = self.lock();
            let now = Instant::ZERO + core.start.elapsed();
            match core.server.next_timeout() {
                Some(at) => drop(self.changed.wait_timeout(core, at - now)),
                None => drop(self.changed.wait(core)),
            }
        }
    }
}
