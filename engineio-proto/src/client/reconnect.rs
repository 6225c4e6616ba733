//! Decides when to reconnect.

use core::time::Duration;

use crate::parts::config::ConfigError;
use crate::parts::time::Instant;
use crate::parts::wait::at_least;

/// The options of a client that reconnects.
///
/// The defaults are those of the Socket.IO client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconnectConfig {
    /// The delay before the first attempt. It doubles with every further attempt. Greater than zero. Default: 1 s.
    pub delay: Duration,
    /// The maximum delay, before the jitter. At least `delay`. Default: 5 s.
    pub max_delay: Duration,
    /// The jitter: by how many percent a delay is randomly lengthened or shortened, so that clients that were lost
    /// together do not return together. At most 100. Default: 50.
    pub jitter_percent: u8,
    /// The number of failed attempts in a row after which the client gives up. Default: no limit.
    pub max_attempts: Option<u32>,
    /// How long a session must last to count as a success, which resets the delays. Default: 0, so every session that
    /// opens counts.
    pub min_session: Duration,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(5),
            jitter_percent: 50,
            max_attempts: None,
            min_session: Duration::ZERO,
        }
    }
}

impl ReconnectConfig {
    /// Checks the options. [`Reconnect::new`] does it, too.
    ///
    /// # Errors
    /// Returns an error for the first option that is not valid.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.delay.as_micros() == 0 {
            return Err(ConfigError::Zero("delay"));
        }
        if self.max_delay < self.delay || self.jitter_percent > 100 {
            return Err(ConfigError::Delays);
        }
        Ok(())
    }
}

/// Decides when a client that has lost its session tries again: with growing delays, jitter, and a maximum number of
/// attempts.
///
/// It is independent of [`Client`](crate::Client). Report every attempt that [failed](Reconnect::lost) and every
/// session that [opened](Reconnect::opened); it returns when the next attempt is due.
///
/// ```
/// use std::time::Duration;
/// use engineio_proto::client::{Reconnect, ReconnectConfig};
/// use engineio_proto::Instant;
///
/// let mut config = ReconnectConfig::default();
/// config.jitter_percent = 0;
/// config.max_attempts = Some(2);
/// let mut reconnect = Reconnect::new(config)?;
///
/// let now = Instant::ZERO;
/// let entropy = 7; // yours: a random number
/// assert_eq!(reconnect.lost(now, entropy), Some(now + Duration::from_secs(1)));
/// assert_eq!(reconnect.lost(now, entropy), Some(now + Duration::from_secs(2)));
/// assert_eq!(reconnect.lost(now, entropy), None);
/// # Ok::<(), engineio_proto::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconnect {
    config: ReconnectConfig,
    /// The latest time of any call.
    now: Instant,
    /// The number of attempts since the last success.
    attempts: u32,
    /// When the current session opened.
    opened: Option<Instant>,
    next: Option<Instant>,
}

impl Reconnect {
    /// Starts without any attempt.
    ///
    /// # Errors
    /// Returns an error if the options are not valid.
    pub fn new(config: ReconnectConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { config, now: Instant::ZERO, attempts: 0, opened: None, next: None })
    }

    /// Reports that a session has opened.
    pub fn opened(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.next = None;
        self.opened = Some(self.now);
    }

    /// Reports that a session was lost, or that an attempt to open one has failed. Returns when to try again, or `None`
    /// to give up. `entropy` should be random.
    pub fn lost(&mut self, now: Instant, entropy: u64) -> Option<Instant> {
        self.now = self.now.max(now);
        let lasted = self.opened.take().map(|opened| self.now.saturating_since(opened));
        if lasted.is_some_and(|lasted| lasted >= self.config.min_session) {
            self.attempts = 0;
        }
        if self.config.max_attempts.is_some_and(|max| self.attempts >= max) {
            self.next = None;
            return None;
        }
        let delay = at_least(self.delay(entropy));
        self.attempts = self.attempts.saturating_add(1);
        self.next = Some(self.now + delay);
        self.next
    }

    /// Returns when the next attempt is due, if there is one.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Returns whether the next attempt is due. It returns `true` once per attempt.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.now = self.now.max(now);
        self.next.take_if(|next| *next <= self.now).is_some()
    }

    /// Returns the number of attempts in a row. The count restarts when a session that has lasted long enough is lost.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Forgets earlier failures, for example after a change of the network: the next delay is the first one again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    fn delay(&self, entropy: u64) -> Duration {
        let doubled =
            1_u32.checked_shl(self.attempts).map_or(Duration::MAX, |times| self.config.delay.saturating_mul(times));
        let delay = doubled.min(self.config.max_delay);
        let spread = delay / 100 * u32::from(self.config.jitter_percent.min(100));
        // Uniform from `delay - spread` to `delay + spread`.
        let width = u64::try_from(spread.saturating_mul(2).as_micros()).unwrap_or(u64::MAX);
        let share = (u128::from(entropy) * u128::from(width)) >> 64;
        (delay - spread).saturating_add(Duration::from_micros(u64::try_from(share).unwrap_or(width)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    fn with(change: impl FnOnce(&mut ReconnectConfig)) -> Reconnect {
        let mut config = ReconnectConfig { jitter_percent: 0, ..ReconnectConfig::default() };
        change(&mut config);
        Reconnect::new(config).unwrap()
    }

    fn delays(reconnect: &mut Reconnect, entropy: u64, count: usize) -> alloc::vec::Vec<u128> {
        let delay = |at: Option<Instant>| at.unwrap().saturating_since(NOW).as_millis();
        (0..count).map(|_| delay(reconnect.lost(NOW, entropy))).collect()
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        assert_eq!(delays(&mut with(|_| ()), 0, 5), [1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn delays_never_fall() {
        for (delay, max_delay) in [(1, 5_000), (1_000, 5_000), (1, u64::MAX / 1_000_000)] {
            let change = |config: &mut ReconnectConfig| {
                (config.delay, config.max_delay) = (Duration::from_millis(delay), Duration::from_millis(max_delay));
            };
            let delays = delays(&mut with(change), 0, 100);
            assert!(delays.is_sorted(), "{delays:?}");
            assert_eq!(delays.last(), Some(&u128::from(max_delay)), "and they reach the longest");
        }
    }

    #[test]
    fn delays_are_spread_evenly_around_their_middle() {
        let spread = |entropy| delays(&mut with(|config| config.jitter_percent = 50), entropy, 4);
        assert_eq!(spread(0), [500, 1000, 2000, 2500]);
        assert_eq!(spread(1 << 63), [1000, 2000, 4000, 5000]);
        assert_eq!(spread(u64::MAX), [1499, 2999, 5999, 7499]);
    }

    #[test]
    fn a_success_begins_anew() {
        let mut reconnect = with(|_| ());
        delays(&mut reconnect, 0, 3);
        reconnect.opened(NOW);
        assert_eq!((reconnect.next_timeout(), reconnect.attempts()), (None, 3));
        assert_eq!(delays(&mut reconnect, 0, 2), [1000, 2000]);
    }

    #[test]
    fn a_session_that_did_not_last_is_no_success() {
        let mut reconnect = with(|config| config.min_session = Duration::from_secs(10));
        delays(&mut reconnect, 0, 1);
        reconnect.opened(NOW);
        assert_eq!(reconnect.lost(NOW + Duration::from_secs(9), 0), Some(NOW + Duration::from_secs(11)));
        reconnect.opened(NOW + Duration::from_secs(11));
        assert_eq!(reconnect.lost(NOW + Duration::from_secs(21), 0), Some(NOW + Duration::from_secs(22)));
    }

    #[test]
    fn it_gives_up() {
        let mut reconnect = with(|config| config.max_attempts = Some(1));
        assert!(reconnect.lost(NOW, 0).is_some());
        assert_eq!((reconnect.lost(NOW, 0), reconnect.next_timeout()), (None, None));
        reconnect.reset();
        assert!(reconnect.lost(NOW, 0).is_some());
    }

    #[test]
    fn an_attempt_is_due_once() {
        let mut reconnect = with(|_| ());
        let at = reconnect.lost(NOW, 0).unwrap();
        assert_eq!(reconnect.next_timeout(), Some(at));
        assert!(!reconnect.handle_timeout(NOW));
        assert!(reconnect.handle_timeout(at));
        assert!(!reconnect.handle_timeout(at));
    }

    #[test]
    fn the_end_of_time_is_no_trouble() {
        let mut reconnect = with(|config| (config.delay, config.max_delay) = (Duration::MAX, Duration::MAX));
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(reconnect.lost(end, u64::MAX), Some(end));
        for _ in 0..100 {
            assert!(reconnect.lost(end, u64::MAX).is_some());
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |change: fn(&mut ReconnectConfig)| {
            let mut config = ReconnectConfig::default();
            change(&mut config);
            Reconnect::new(config).unwrap_err()
        };
        assert_eq!(refused(|config| config.delay = Duration::ZERO), ConfigError::Zero("delay"));
        assert_eq!(refused(|config| config.max_delay = Duration::from_millis(1)), ConfigError::Delays);
        assert_eq!(refused(|config| config.jitter_percent = 101), ConfigError::Delays);
        let all = ReconnectConfig { jitter_percent: 100, ..ReconnectConfig::default() };
        assert_eq!((all.validate(), with(|config| config.max_delay = config.delay).attempts()), (Ok(()), 0));
    }
}
