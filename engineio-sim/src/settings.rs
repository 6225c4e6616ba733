//! The settings of a world: its size, its options, and its network.

use std::fmt;
use std::time::Duration;

use engineio_proto::client;
use engineio_proto::server::{Config, Overflow};
use engineio_proto::{Message, TransportKind};

use crate::Chooser;
use crate::expected::Limits;
use crate::oracle::{Law, Violation, broken};

/// Declares the settings once: fields, defaults, and their form in printed tests.
macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)*) => {
        /// The settings of a world. They are plain numbers, so that a failure can be printed as a program.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Settings {
            /// These settings with one more field as it is by default, for each field where that is a change.
            pub(crate) fn simpler(&self) -> Vec<Self> {
                let default = Self::default();
                let mut all = Vec::new();
                $(if self.$field != default.$field {
                    all.push(Self { $field: default.$field, ..self.clone() });
                })*
                all
            }

            /// These settings, and as by default what is so in the others.
            pub(crate) fn merged(&self, other: &Self) -> Self {
                let default = Self::default();
                Self { $($field: if other.$field == default.$field { other.$field } else { self.$field },)* }
            }
        }

        /// As an expression: what is not as by default.
        impl fmt::Display for Settings {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let default = Self::default();
                if *self == default {
                    return f.write_str("Settings::default()");
                }
                f.write_str("Settings { ")?;
                $(if self.$field != default.$field {
                    write!(f, "{}: {:?}, ", stringify!($field), self.$field)?;
                })*
                f.write_str("..Settings::default() }")
            }
        }
    };
}

settings! {
    /// The number of servers.
    servers: usize = 1,
    /// The number of clients.
    clients: usize = 1,
    /// The number of clients of other projects.
    foreign: usize = 0,
    /// The number of operations before all faults are healed.
    steps: usize = 200,
    /// The time that data takes from one side to the other, unless an operation lets it arrive earlier, in
    /// microseconds.
    latency: u64 = 20_000,
    /// The maximum number of frames of a channel in transit, in each direction.
    window: usize = 8,
    /// The maximum number of frames that an embedder pulls and holds until the network takes them.
    batch: usize = 4,
    /// The time that the network needs to take an answer, in microseconds; at most the latency.
    write_time: u64 = 0,
    /// Whether outputs of a machine are carried out only when time passes.
    lazy_outputs: bool = false,
    /// Whether frames are pulled only when time passes.
    lazy_writes: bool = false,
    /// Whether messages are taken only when time passes.
    lazy_reads: bool = false,
    /// The time that an embedder takes to report what is written, in microseconds.
    report_time: u64 = 0,
    /// Whether every machine has a twin, which gets the same calls and is drained only at the end (law 7).
    twins: bool = false,
    /// [`Config::ping_interval`], in milliseconds.
    ping_interval: u64 = 25_000,
    /// [`Config::ping_timeout`], in milliseconds.
    ping_timeout: u64 = 20_000,
    /// [`Config::upgrade_timeout`] and [`client::Config::upgrade_timeout`], in milliseconds.
    upgrade_timeout: u64 = 10_000,
    /// [`Config::close_timeout`] and [`client::Config::close_timeout`], in milliseconds.
    close_timeout: u64 = 30_000,
    /// [`Config::body_timeout`], in milliseconds.
    body_timeout: u64 = 30_000,
    /// [`Config::confirm_timeout`], in milliseconds.
    confirm_timeout: u64 = 10_000,
    /// The longest time for which a host stands still ([`Op::Stand`](crate::Op::Stand)), in milliseconds. With 0, none does.
    standstill: u64 = 60_000,
    /// [`client::Config::open_timeout`], in milliseconds.
    open_timeout: u64 = 20_000,
    /// [`Config::max_payload`], in bytes.
    max_payload: usize = 1000,
    /// [`Config::send_limit`] and [`client::Config::send_limit`], in bytes.
    send_limit: usize = 2000,
    /// [`Config::send_low`] and [`client::Config::send_low`], in bytes; at most the limit.
    send_low: usize = 500,
    /// [`Config::receive_limit`] and [`client::Config::receive_limit`], in bytes.
    receive_limit: usize = 2000,
    /// [`client::Config::max_packets`].
    max_packets: usize = 16,
    /// [`Config::max_sessions`].
    max_sessions: usize = 100,
    /// [`Config::allow_upgrades`].
    allow_upgrades: bool = true,
    /// Whether there is a [`Config::initial_message`].
    greeting: bool = false,
    /// Whether that message is binary.
    binary_greeting: bool = false,
    /// Whether [`Config::overflow`] is [`Overflow::Close`].
    close_when_full: bool = false,
    /// [`client::Config::base64`].
    base64: bool = false,
    /// [`ReconnectConfig::delay`](engineio_proto::client::ReconnectConfig::delay), in milliseconds; the maximum is five
    /// times that. If zero, clients do not reconnect.
    reconnect_delay: u64 = 0,
    /// [`ReconnectConfig::jitter_percent`](engineio_proto::client::ReconnectConfig::jitter_percent).
    reconnect_jitter: u8 = 0,
    /// [`ReconnectConfig::max_attempts`](engineio_proto::client::ReconnectConfig::max_attempts). If zero, there is no
    /// limit.
    reconnect_attempts: u32 = 0,
    /// [`ReconnectConfig::min_session`](engineio_proto::client::ReconnectConfig::min_session), in milliseconds.
    reconnect_session: u64 = 0,
}

/// The message of [`Settings::greeting`].
pub(crate) const GREETING: &str = "welcome";

impl Settings {
    /// Draws settings. In any one world about half of them have their default values.
    pub fn draw(chooser: &mut impl Chooser) -> Self {
        let mut settings = Self::default();
        let mut or = |default: u64, others: &[u64]| match chooser.below(2) {
            0 => default,
            _ => chooser.pick(others).copied().unwrap_or(default),
        };
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        settings.clients = size(or(1, &[1, 2, 2, 3]));
        settings.servers = size(or(1, &[1, 1, 1, 2]));
        settings.steps = size(or(200, &[20, 60, 400]));
        settings.latency = or(20_000, &[0, 100, 3_000, 80_000]);
        settings.window = size(or(8, &[1, 1, 2, 3, 64]));
        settings.batch = size(or(4, &[1, 2, 16, 16]));
        settings.write_time = or(0, &[1_000, 20_000, 80_000]);
        settings.lazy_outputs = or(0, &[0, 1]) == 1;
        settings.lazy_writes = or(0, &[0, 1]) == 1;
        settings.lazy_reads = or(0, &[0, 1]) == 1;
        settings.report_time = or(0, &[50, 5_000, 100_000, 500_000]);
        settings.twins = or(0, &[0, 0, 1]) == 1;
        settings.ping_interval = or(25_000, &[2_000, 5_000]);
        settings.ping_timeout = or(20_000, &[2_000, 4_000, 30_000]);
        settings.upgrade_timeout = or(10_000, &[1_000, 60_000]);
        settings.close_timeout = or(30_000, &[2_000, 100_000]);
        settings.body_timeout = or(30_000, &[2_000, 10_000, 100_000]);
        settings.open_timeout = or(20_000, &[2_000]);
        settings.max_payload = size(or(1000, &[40, 100, 300, 3000]));
        settings.send_limit = size(or(2000, &[1, 200, 100_000]));
        settings.send_low = size(or(500, &[0, 1_000_000])).min(settings.send_limit);
        settings.receive_limit = size(or(2000, &[1, 100, 100_000]));
        settings.max_packets = size(or(16, &[1, 2, 100]));
        settings.max_sessions = size(or(100, &[100, 100, 1, 2]));
        settings.allow_upgrades = or(1, &[1, 1, 0]) == 1;
        settings.greeting = or(0, &[1, 0]) == 1;
        settings.close_when_full = or(0, &[0, 0, 1]) == 1;
        settings.base64 = or(0, &[0, 0, 1]) == 1;
        settings.confirm_timeout = or(10_000, &[2_000, 60_000]);
        settings.standstill = or(60_000, &[0, 10_000, 3_600_000]);
        settings.foreign = size(or(0, &[0, 1, 1, 2]));
        settings.reconnect_delay = or(0, &[0, 0, 100, 1_000]);
        settings.reconnect_jitter = or(0, &[50, 100]) as u8;
        settings.reconnect_attempts = or(0, &[1, 3]) as u32;
        settings.reconnect_session = or(0, &[500, 5_000]);
        settings.binary_greeting = or(0, &[0, 1]) == 1;
        settings
    }

    /// The options of its servers.
    pub(crate) fn server(&self) -> Config {
        let mut config = Config::default();
        config.ping_interval = Duration::from_millis(self.ping_interval);
        config.ping_timeout = Duration::from_millis(self.ping_timeout);
        config.upgrade_timeout = Duration::from_millis(self.upgrade_timeout);
        config.close_timeout = Duration::from_millis(self.close_timeout);
        config.body_timeout = Duration::from_millis(self.body_timeout);
        config.confirm_timeout = Duration::from_millis(self.confirm_timeout);
        config.max_payload = self.max_payload;
        config.send_limit = self.send_limit;
        config.send_low = self.send_low.min(self.send_limit);
        config.receive_limit = self.receive_limit;
        config.max_sessions = self.max_sessions;
        config.allow_upgrades = self.allow_upgrades;
        config.initial_message = self.initial_message();
        config.overflow = if self.close_when_full { Overflow::Close } else { Overflow::Refuse };
        config
    }

    /// The message that every client receives first.
    pub(crate) fn initial_message(&self) -> Option<Message> {
        self.greeting.then(|| match self.binary_greeting {
            true => Message::from(GREETING.as_bytes().to_vec()),
            false => Message::from(GREETING),
        })
    }

    /// The limits of buffers.
    pub(crate) fn limits(&self) -> Limits {
        Limits { send: self.send_limit, send_low: self.send_low.min(self.send_limit), receive: self.receive_limit }
    }

    /// The options of a client that begins like this.
    pub(crate) fn client(&self, start: Start) -> client::Config {
        let mut config = client::Config::default();
        let (transports, all): (&[_], _) = match start {
            Start::Polling => (&[TransportKind::Polling], false),
            Start::WebSocket => (&[TransportKind::WebSocket], false),
            Start::Upgrade => (&[TransportKind::Polling, TransportKind::WebSocket], false),
            Start::Fallback => (&[TransportKind::WebSocket, TransportKind::Polling], true),
        };
        config.transports = transports.to_vec();
        config.try_all_transports = all;
        config.upgrade_timeout = Duration::from_millis(self.upgrade_timeout);
        config.close_timeout = Duration::from_millis(self.close_timeout);
        config.open_timeout = Duration::from_millis(self.open_timeout);
        config.send_limit = self.send_limit;
        config.send_low = self.send_low.min(self.send_limit);
        config.receive_limit = self.receive_limit;
        config.max_packets = self.max_packets;
        config.base64 = self.base64;
        config
    }

    /// Whether they can be reckoned with.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        /// A year, in milliseconds.
        const LONGEST: u64 = 365 * 24 * 3600 * 1000;
        /// More of anything is not a world that fits into a machine.
        const MOST: usize = 1 << 30;
        let times = [
            self.latency / 1000,
            self.ping_interval,
            self.ping_timeout,
            self.upgrade_timeout,
            self.close_timeout,
            self.open_timeout,
            self.body_timeout,
            self.confirm_timeout,
            self.standstill,
            self.write_time / 1000,
            self.reconnect_delay,
            self.reconnect_session,
            self.report_time / 1000,
        ];
        let sizes = [
            self.max_payload,
            self.send_limit,
            self.receive_limit,
            self.clients,
            self.foreign,
            self.servers,
            self.window,
            self.batch,
        ];
        if times.into_iter().any(|time| time > LONGEST) || sizes.into_iter().any(|size| size > MOST) {
            return broken(Law::Settings, "a time is longer than a year, or something larger than 2^30");
        }
        Ok(())
    }

    /// After so long without trouble nothing may be under way that has not come to its end, in microseconds.
    pub(crate) fn patience(&self) -> u64 {
        let times = [self.close_timeout, self.upgrade_timeout, self.open_timeout, self.body_timeout];
        let slowest = times.into_iter().max().unwrap_or(0);
        // Silence is noticed after an interval and a timeout, put off at most twice; then something may close in order.
        1000 * (3 * (self.ping_interval + self.ping_timeout) + 2 * slowest) + 100 * self.latency + 10 * self.report_time
    }
}

/// How a client starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// On polling, where it stays.
    Polling,
    /// On a WebSocket.
    WebSocket,
    /// On polling, with an upgrade to a WebSocket.
    Upgrade,
    /// On a WebSocket, or on polling if that fails.
    Fallback,
}

impl Start {
    /// All ways to start.
    pub const ALL: [Self; 4] = [Self::Upgrade, Self::Polling, Self::WebSocket, Self::Fallback];
}
