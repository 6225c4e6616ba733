//! The core with its clock and its application, and the options that it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engineio_proto::{
    ChannelId, Config, ConfigError, Event, Input, Instant, Message, Mount, SendError, Server, SessionKey,
};

#[derive(clap::Parser)]
pub(crate) struct Flags {
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    #[arg(long, default_value_t = 25_000)]
    ping_interval: u64,
    #[arg(long, default_value_t = 20_000)]
    ping_timeout: u64,
    #[arg(long, default_value_t = 10_000)]
    upgrade_timeout: u64,
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: usize,
}

impl Flags {
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.ping_interval = Duration::from_millis(self.ping_interval);
        config.ping_timeout = Duration::from_millis(self.ping_timeout);
        config.upgrade_timeout = Duration::from_millis(self.upgrade_timeout);
        config.max_payload = self.max_payload;
        config
    }
}

pub(crate) struct Core {
    pub(crate) server: Server,
    pub(super) mount: Mount,
    /// When connections lose patience, by their index.
    pub(super) deadlines: BTreeSet<(Instant, usize)>,
    began: std::time::Instant,
    numbers: u64,
    /// Echoes that found the send buffer full.
    kept: BTreeMap<SessionKey, Message>,
}

impl Core {
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            server: Server::new(config)?,
            mount: Mount::default(),
            deadlines: BTreeSet::new(),
            began: std::time::Instant::now(),
            numbers: 0,
            kept: BTreeMap::new(),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// When a session or a connection wants to hear what time it is.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|&(at, _)| at);
        self.server.next_timeout().into_iter().chain(deadline).min()
    }

    /// A connection whose deadline has passed.
    pub(crate) fn pop_expired(&mut self) -> Option<usize> {
        let now = self.now();
        self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.deadlines.pop_first().map(|(_, index)| index)
    }

    /// The application. It echoes, and takes no more than it can send back: so a client that does not read is not read
    /// either.
    pub(crate) fn handle_event(&mut self, key: SessionKey, event: Event) {
        let now = self.now();
        match event {
            Event::Readable | Event::Writable | Event::Ended(_) => {
                let Some(mut session) = self.server.session_mut(key) else { return };
                while let Some(message) = self.kept.remove(&key).or_else(|| session.recv(now)) {
                    if let Err(SendError::Full(message)) = session.send(message) {
                        self.kept.insert(key, message); // `Writable` follows, or `Ended`.
                        return;
                    }
                }
            }
            Event::Closed(_) => drop(self.kept.remove(&key)),
            _ => (),
        }
    }

    /// A number that was not used before. Its lower half is the index of a connection.
    pub(super) fn number(&mut self, index: usize) -> u64 {
        self.numbers += 1;
        self.numbers << 32 | index as u64
    }

    pub(super) fn tell(&mut self, key: SessionKey, input: Input) {
        let now = self.now();
        if let Some(mut session) = self.server.session_mut(key) {
            session.handle_input(now, input);
        }
    }

    pub(super) fn wants_frames(&self, key: SessionKey, channel: ChannelId) -> bool {
        self.server.session(key).is_some_and(|session| session.wants_frames(channel))
    }
}
