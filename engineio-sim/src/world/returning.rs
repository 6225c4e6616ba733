//! Clients that reconnect: the core's policy says when, and the oracle knows the rule as well.

use std::time::Duration;

use engineio_proto::Instant;
use engineio_proto::client::{Reconnect, ReconnectConfig};

use super::core::{Core, Outcome};
use crate::oracle::{Law, broken};
use crate::settings::{Settings, Start};

/// A client that starts another session when it has lost one.
#[derive(Debug)]
pub(crate) struct Returning {
    policy: Reconnect,
    rule: Rule,
    /// What it starts again.
    server: usize,
    start: Start,
}

/// What the policy must say.
#[derive(Clone, Copy, Debug)]
struct Rule {
    delay: u128,
    max_delay: u128,
    jitter: u128,
    max_attempts: Option<u32>,
    min_session: Duration,
    /// The attempts since the last session that lasted.
    failed: u32,
    opened_at: Option<Instant>,
}

impl Returning {
    fn new(settings: &Settings, server: usize, start: Start) -> Outcome<Self> {
        let mut config = ReconnectConfig::default();
        config.delay = Duration::from_millis(settings.reconnect_delay);
        config.max_delay = config.delay * 5;
        config.jitter_percent = settings.reconnect_jitter;
        config.max_attempts = (settings.reconnect_attempts > 0).then_some(settings.reconnect_attempts);
        config.min_session = Duration::from_millis(settings.reconnect_session);
        let rule = Rule {
            delay: config.delay.as_micros(),
            max_delay: config.max_delay.as_micros(),
            jitter: config.jitter_percent.into(),
            max_attempts: config.max_attempts,
            min_session: config.min_session,
            failed: 0,
            opened_at: None,
        };
        match Reconnect::new(config) {
            Ok(policy) => Ok(Self { policy, rule, server, start }),
            Err(error) => broken(Law::Settings, format!("the settings make no sense: {error}")),
        }
    }

    /// Returns when it tries again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.policy.next_timeout()
    }
}

impl Rule {
    /// Returns how long a client waits, in microseconds, if it tries again. `share` of 2^64 is random.
    fn lost(&mut self, now: Instant, share: u64) -> Option<u128> {
        if self.opened_at.take().is_some_and(|at| now.saturating_since(at) >= self.min_session) {
            self.failed = 0;
        }
        if self.max_attempts.is_some_and(|max| self.failed >= max) {
            return None;
        }
        let middle = (self.delay << self.failed.min(64)).min(self.max_delay);
        self.failed += 1;
        let spread = middle / 100 * self.jitter;
        Some((middle - spread + ((u128::from(share) * (2 * spread)) >> 64)).max(1))
    }
}

impl Core {
    /// A client starts a session because an operation says so. It will start others, if the settings say so.
    pub(crate) fn will_return(&mut self, client: usize, server: usize, start: Start) -> Outcome {
        if self.settings.reconnect_delay > 0 {
            self.clients[client].returning = Some(Box::new(Returning::new(&self.settings, server, start)?));
        }
        Ok(())
    }

    /// A client's session has opened.
    pub(crate) fn has_opened(&mut self, client: usize) {
        let now = self.now;
        if let Some(returning) = &mut self.clients[client].returning {
            returning.policy.opened(now);
            returning.rule.opened_at = Some(now);
        }
    }

    /// A client's session is over, or did not open.
    pub(crate) fn has_lost(&mut self, client: usize) -> Outcome {
        let (now, number) = (self.now, self.attempts.len() as u64);
        let Some(returning) = &mut self.clients[client].returning else { return Ok(()) };
        let share = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let seen = returning.policy.lost(now, share).map(|at| at.saturating_since(now).as_micros());
        let expected = returning.rule.lost(now, share);
        // The jitter is a share of a hundredth of the delay.
        let is_near = match (seen, expected) {
            (Some(seen), Some(expected)) => seen.abs_diff(expected) <= 200,
            (seen, expected) => seen == expected,
        };
        if !is_near || returning.policy.attempts() != returning.rule.failed {
            let attempts = (returning.policy.attempts(), returning.rule.failed);
            let what =
                format!("client {client} returns after {seen:?} µs, expected {expected:?}; attempts {attempts:?}");
            return broken(Law::Expected, what);
        }
        Ok(())
    }

    /// It is time to try again.
    pub(crate) fn returns(&mut self, client: usize) -> Outcome {
        let now = self.now;
        let Some(returning) = &mut self.clients[client].returning else { return Ok(()) };
        let is_due = returning.policy.handle_timeout(now);
        if !is_due || returning.policy.next_timeout().is_some() {
            return broken(Law::Timers, format!("client {client} does not return when it is due"));
        }
        let (server, start) = (returning.server, returning.start);
        self.connect(client, server, start)
    }
}
