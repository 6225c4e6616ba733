//! When to ping, and when a client is gone.
//!
//! The rules, with what differs from the reference:
//!
//! * The first ping is due one interval after the session began, the next one interval after any pong.
//! * A pong must come within the timeout, counted from when the ping was *handed over*: what has not left cannot be
//!   answered. The reference counts from when it was queued. A ping that cannot be handed over within the timeout ends
//!   the session too.
//! * Any other packet extends the wait once per ping, as in the reference.
//! * The wait is extended while the session itself does not read (its application is slow): then a pong that came would
//!   not be seen. It is not extended for a client that meanwhile takes nothing of what waits for it.
//! * The wait is extended when a channel that was full took more, because then the client does read, and when a client
//!   polls a session that is closing, which sends no pings.
//! * A change of the transport changes nothing. The reference forgets the deadline there.

use crate::config::Config;
use crate::parts::time::Instant;
use crate::parts::wait::{Verdict, Wait, at_least};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    /// The next ping is due then.
    Waiting { ping_at: Instant },
    /// A ping is outstanding.
    Pinged {
        wait: Wait,
        /// It was handed to a transport.
        sent: bool,
        /// The extension by another packet was used.
        extended: bool,
    },
    /// The session is over.
    Off,
}

/// What a heartbeat that is due asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    /// The client is gone: it does not answer, or, when slow, it does not take what is sent to it.
    Dead {
        slow: bool,
    },
}

impl Heartbeat {
    pub(crate) fn new(now: Instant, config: &Config) -> Self {
        Self::Waiting { ping_at: now + at_least(config.ping_interval) }
    }

    pub(crate) const fn timeout(&self) -> Option<Instant> {
        match *self {
            Self::Waiting { ping_at } => Some(ping_at),
            Self::Pinged { wait, .. } => Some(wait.deadline()),
            Self::Off => None,
        }
    }

    /// Looks at the clock. `reading_paused`: the session does not read at the moment. `waiting`: messages wait to be
    /// taken by the client.
    pub(crate) fn handle_timeout(&mut self, now: Instant, config: &Config, reading_paused: bool, waiting: bool) -> Due {
        match self {
            Self::Waiting { ping_at } if *ping_at <= now => {
                let wait = Wait::new(now, config.ping_timeout, reading_paused);
                *self = Self::Pinged { wait, sent: false, extended: false };
                Due::Ping
            }
            Self::Pinged { wait, sent: false, .. } if wait.deadline() <= now => Due::Dead { slow: true },
            Self::Pinged { wait, .. } => match wait.judge(now, config.ping_timeout, reading_paused, waiting) {
                Verdict::Alive => Due::Nothing,
                Verdict::Dead { slow } => Due::Dead { slow },
            },
            _ => Due::Nothing,
        }
    }

    /// Whether a ping waits to be handed over.
    pub(crate) const fn owes_ping(&self) -> bool {
        matches!(self, Self::Pinged { sent: false, .. })
    }

    /// Hands the ping over, if one waits.
    pub(crate) fn take_ping(&mut self, now: Instant, config: &Config) -> bool {
        let Self::Pinged { wait, sent: sent @ false, .. } = self else { return false };
        *sent = true;
        wait.extend(now, config.ping_timeout);
        true
    }

    /// A pong arrived. One that nobody asked for postpones the next ping, but does not answer it.
    pub(crate) fn pong(&mut self, now: Instant, config: &Config) {
        match self {
            Self::Pinged { sent: false, wait, .. } => wait.extend(now, config.ping_timeout),
            Self::Pinged { .. } | Self::Waiting { .. } => *self = Self::new(now, config),
            Self::Off => (),
        }
    }

    /// Another packet arrived.
    pub(crate) fn packet(&mut self, now: Instant, config: &Config) {
        if let Self::Pinged { wait, extended: extended @ false, .. } = self {
            *extended = true;
            wait.extend(now, config.ping_timeout);
        }
    }

    /// A full channel took more: the client reads.
    pub(crate) fn progress(&mut self, now: Instant, config: &Config) {
        if let Self::Pinged { wait, .. } = self {
            wait.extend(now, config.ping_timeout);
        }
    }

    /// The client took a message.
    pub(crate) fn taken(&mut self) {
        if let Self::Pinged { wait, .. } = self {
            wait.taken();
        }
    }

    /// The session stopped to read.
    pub(crate) fn pause(&mut self) {
        if let Self::Pinged { wait, .. } = self {
            wait.pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(20);
    const START: Instant = Instant::from_millis(1000);

    fn due(heartbeat: &mut Heartbeat, now: Instant) -> Due {
        heartbeat.handle_timeout(now, &Config::default(), false, false)
    }

    fn pinged() -> (Heartbeat, Instant) {
        let mut heartbeat = Heartbeat::new(START, &Config::default());
        let now = START + INTERVAL;
        assert_eq!(due(&mut heartbeat, now), Due::Ping);
        assert!(heartbeat.take_ping(now, &Config::default()));
        (heartbeat, now)
    }

    #[test]
    fn a_silent_client_is_dead_after_interval_and_timeout() {
        let (mut heartbeat, now) = pinged();
        assert_eq!(due(&mut heartbeat, now + (TIMEOUT - Duration::from_micros(1))), Due::Nothing);
        assert_eq!(due(&mut heartbeat, now + TIMEOUT), Due::Dead { slow: false });
    }

    #[test]
    fn other_packets_extend_once_per_ping() {
        let (mut heartbeat, now) = pinged();
        let config = Config::default();
        heartbeat.packet(now + Duration::from_secs(5), &config);
        heartbeat.packet(now + Duration::from_secs(9), &config);
        assert_eq!(heartbeat.timeout(), Some(now + Duration::from_secs(25)));
    }

    #[test]
    fn r94_an_unsolicited_pong_does_not_answer_a_later_ping() {
        let config = Config::default();
        let mut heartbeat = Heartbeat::new(START, &config);
        heartbeat.pong(START + Duration::from_secs(10), &config);
        assert_eq!(heartbeat.timeout(), Some(START + Duration::from_secs(35)));
        // A pong while the ping waits to be handed over answers nothing either.
        assert_eq!(due(&mut heartbeat, START + Duration::from_secs(35)), Due::Ping);
        heartbeat.pong(START + Duration::from_secs(36), &config);
        assert!(heartbeat.owes_ping());
    }

    #[test]
    fn a_slow_application_is_not_a_dead_client() {
        let (mut heartbeat, now) = pinged();
        let config = Config::default();
        heartbeat.pause();
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT, &config, true, false), Due::Nothing);
        // Reading again: one more timeout, and then it counts.
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 2, &config, false, false), Due::Nothing);
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 3, &config, false, false), Due::Dead { slow: false });
    }

    #[test]
    fn a_slow_application_does_not_excuse_a_client_that_takes_nothing() {
        let config = Config::default();
        let (mut heartbeat, now) = pinged();
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT, &config, true, true), Due::Nothing);
        heartbeat.taken();
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 2, &config, true, true), Due::Nothing);
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 3, &config, true, true), Due::Dead { slow: true });

        let mut heartbeat = Heartbeat::new(START, &config);
        assert_eq!(due(&mut heartbeat, START + INTERVAL), Due::Ping);
        let now = START + INTERVAL + TIMEOUT;
        assert_eq!(heartbeat.handle_timeout(now, &config, true, true), Due::Dead { slow: true }, "not even the ping");
    }

    #[test]
    fn a_client_that_takes_more_is_not_dead() {
        // Nor before its ping left: a session that is closing sends none.
        let config = Config::default();
        let mut heartbeat = Heartbeat::new(START, &config);
        let now = START + INTERVAL;
        assert_eq!(due(&mut heartbeat, now), Due::Ping);
        heartbeat.progress(now + Duration::from_secs(15), &config);
        assert_eq!(heartbeat.timeout(), Some(now + Duration::from_secs(15) + TIMEOUT));
    }
}
