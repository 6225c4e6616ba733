//! The side that pings: the server in revision 4.
//!
//! The rules, with the differences from the reference:
//!
//! * The first ping is due one interval after the session began, the next one an interval after any pong.
//! * A pong must arrive within the timeout, counted from the moment the ping was *handed over*: a ping that has not
//!   left cannot be answered. The reference counts from the moment it was queued. A ping that cannot be handed over
//!   within the timeout ends the session too.
//! * Any other packet extends the deadline once per ping, as in the reference.
//! * The deadline is extended while the session itself does not read because its application is slow: a pong would not
//!   be seen. It is not extended for a peer that meanwhile takes none of the messages that wait for it.
//! * The deadline is extended while the body of a POST is being received, by the time that takes: the pong may be in it
//!   or after it. The body has its own deadline.
//! * The deadline is extended when a blocked connection takes bytes again, because then the peer reads; and when a
//!   client polls a session that is closing, which sends no pings. Handing packets over is not a sign of life: the
//!   kernel takes them too.
//! * A deadline that is met late, because the host stood still, is put off once, by a quarter of the timeout: the pong may
//!   wait in a socket. Another packet that arrives then extends the deadline, even if that was used.
//! * A change of the transport has no effect. The reference drops the deadline there.

use core::time::Duration;

use crate::parts::time::Instant;
use crate::parts::wait::{Situation, Verdict, Wait, at_least};

/// Sends pings, and waits for pongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinger {
    /// The next ping is due at `ping_at`.
    Waiting { ping_at: Instant },
    /// A ping is outstanding.
    Pinged {
        wait: Wait,
        /// The ping was handed to a transport.
        sent: bool,
        /// The extension for another packet was used.
        extended: bool,
    },
    /// The session has ended.
    Off,
}

/// The times of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// The time from a pong to the next ping.
    pub(crate) interval: Duration,
    /// The time from a ping to its pong.
    pub(crate) timeout: Duration,
}

/// What a heartbeat that is due requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    /// The peer is gone: it does not answer. If `slow`, it does not take what is sent to it.
    Dead {
        slow: bool,
    },
}

impl Pinger {
    pub(crate) fn new(now: Instant, times: Times) -> Self {
        Self::Waiting { ping_at: now + at_least(times.interval) }
    }

    pub(crate) const fn timeout(&self) -> Option<Instant> {
        match *self {
            Self::Waiting { ping_at } => Some(ping_at),
            Self::Pinged { wait, .. } => Some(wait.deadline()),
            Self::Off => None,
        }
    }

    /// Checks the deadline.
    pub(crate) fn handle_timeout(&mut self, now: Instant, times: Times, situation: Situation) -> Due {
        match self {
            Self::Waiting { ping_at } if *ping_at <= now => {
                let wait = Wait::new(now, times.timeout, situation.paused);
                *self = Self::Pinged { wait, sent: false, extended: false };
                Due::Ping
            }
            Self::Pinged { wait, sent, extended } => {
                let is_unsent = !*sent && wait.deadline() <= now && !situation.receiving;
                let verdict = match is_unsent {
                    true => wait.expire(now, times.timeout, true),
                    false => wait.judge(now, times.timeout, situation),
                };
                match verdict {
                    Verdict::Alive => Due::Nothing,
                    Verdict::PutOff => {
                        *extended = false;
                        Due::Nothing
                    }
                    Verdict::Dead { slow } => Due::Dead { slow },
                }
            }
            _ => Due::Nothing,
        }
    }

    /// Returns whether a ping waits to be handed over.
    pub(crate) const fn owes_ping(&self) -> bool {
        matches!(self, Self::Pinged { sent: false, .. })
    }

    /// Returns whether a pong is awaited.
    pub(crate) const fn is_pinged(&self) -> bool {
        matches!(self, Self::Pinged { .. })
    }

    /// Takes the ping that waits to be handed over, if there is one.
    pub(crate) fn take_ping(&mut self, now: Instant, times: Times) -> bool {
        let Self::Pinged { wait, sent: sent @ false, .. } = self else { return false };
        *sent = true;
        wait.renew(now, times.timeout);
        true
    }

    /// Handles a pong. A pong without a ping postpones the next ping.
    pub(crate) fn pong(&mut self, now: Instant, times: Times) {
        match self {
            Self::Pinged { sent: false, wait, .. } => wait.renew(now, times.timeout),
            Self::Pinged { .. } | Self::Waiting { .. } => *self = Self::new(now, times),
            Self::Off => (),
        }
    }

    /// Handles another packet.
    #[inline]
    pub(crate) fn packet(&mut self, now: Instant, times: Times) {
        if let Self::Pinged { wait, extended: extended @ false, .. } = self {
            *extended = true;
            wait.extend(now, times.timeout);
        }
    }

    /// Notes that the peer reads.
    pub(crate) fn progress(&mut self, now: Instant, times: Times) {
        if let Self::Pinged { wait, .. } = self {
            wait.renew(now, times.timeout);
        }
    }

    /// Notes that a body was received, and how long that took.
    pub(crate) fn received(&mut self, now: Instant, took: Duration, times: Times) {
        if let Self::Pinged { wait, .. } = self {
            wait.received(now, took, times.timeout);
        }
    }

    /// Notes that a message to the peer was written.
    pub(crate) fn written(&mut self) {
        if let Self::Pinged { wait, .. } = self {
            wait.written();
        }
    }

    /// Notes that the session has stopped reading.
    pub(crate) fn pause(&mut self) {
        if let Self::Pinged { wait, .. } = self {
            wait.pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(20);
    const TIMES: Times = Times { interval: INTERVAL, timeout: TIMEOUT };
    const START: Instant = Instant::from_millis(1000);

    fn situation(paused: bool, waiting: bool) -> Situation {
        Situation { paused, waiting, receiving: false }
    }

    fn due(heartbeat: &mut Pinger, now: Instant) -> Due {
        heartbeat.handle_timeout(now, TIMES, situation(false, false))
    }

    fn pinged() -> (Pinger, Instant) {
        let mut heartbeat = Pinger::new(START, TIMES);
        let now = START + INTERVAL;
        assert_eq!(due(&mut heartbeat, now), Due::Ping);
        assert!(heartbeat.take_ping(now, TIMES));
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
        heartbeat.packet(now + Duration::from_secs(5), TIMES);
        heartbeat.packet(now + Duration::from_secs(9), TIMES);
        assert_eq!(heartbeat.timeout(), Some(now + Duration::from_secs(25)));
    }

    #[test]
    fn r94_an_unsolicited_pong_does_not_answer_a_later_ping() {
        let mut heartbeat = Pinger::new(START, TIMES);
        heartbeat.pong(START + Duration::from_secs(10), TIMES);
        assert_eq!(heartbeat.timeout(), Some(START + Duration::from_secs(35)));
        // A pong while the ping waits to be handed over does not answer the ping.
        assert_eq!(due(&mut heartbeat, START + Duration::from_secs(35)), Due::Ping);
        heartbeat.pong(START + Duration::from_secs(36), TIMES);
        assert!(heartbeat.owes_ping());
    }

    #[test]
    fn a_slow_application_is_not_a_dead_client() {
        let (mut heartbeat, now) = pinged();
        heartbeat.pause();
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT, TIMES, situation(true, false)), Due::Nothing);
        // Reading again: one more timeout, and then the silence counts.
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 2, TIMES, situation(false, false)), Due::Nothing);
        assert_eq!(
            heartbeat.handle_timeout(now + TIMEOUT * 3, TIMES, situation(false, false)),
            Due::Dead { slow: false }
        );
    }

    #[test]
    fn a_slow_application_does_not_excuse_a_client_that_takes_nothing() {
        let (mut heartbeat, now) = pinged();
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT, TIMES, situation(true, true)), Due::Nothing);
        heartbeat.written();
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 2, TIMES, situation(true, true)), Due::Nothing);
        assert_eq!(heartbeat.handle_timeout(now + TIMEOUT * 3, TIMES, situation(true, true)), Due::Dead { slow: true });

        let mut heartbeat = Pinger::new(START, TIMES);
        assert_eq!(due(&mut heartbeat, START + INTERVAL), Due::Ping);
        let now = START + INTERVAL + TIMEOUT;
        assert_eq!(
            heartbeat.handle_timeout(now, TIMES, situation(true, true)),
            Due::Dead { slow: true },
            "not even the ping"
        );
    }

    #[test]
    fn r119_a_body_that_is_being_received_excuses() {
        let receiving = Situation { paused: false, waiting: true, receiving: true };
        let (mut pinger, mut now) = pinged();
        for _ in 0..5 {
            now += TIMEOUT;
            assert_eq!(pinger.handle_timeout(now, TIMES, receiving), Due::Nothing);
        }
        // Once the body is received, the pong has one more timeout.
        assert_eq!(due(&mut pinger, now + (TIMEOUT - Duration::from_micros(1))), Due::Nothing);
        assert_eq!(due(&mut pinger, now + TIMEOUT), Due::Dead { slow: false });

        let mut pinger = Pinger::new(START, TIMES);
        assert_eq!(due(&mut pinger, START + INTERVAL), Due::Ping);
        let now = START + INTERVAL + TIMEOUT;
        assert_eq!(pinger.handle_timeout(now, TIMES, receiving), Due::Nothing, "the ping has not left");
    }

    #[test]
    fn r120_a_host_that_stood_still_waits_a_little_for_what_came_meanwhile() {
        let (mut pinger, now) = pinged();
        let late = now + TIMEOUT * 3;
        assert_eq!(due(&mut pinger, late), Due::Nothing);
        assert_eq!(pinger.timeout(), Some(late + TIMEOUT / 4));
        assert_eq!(due(&mut pinger, late + TIMEOUT / 4), Due::Dead { slow: false });
        // Once, even if the host stands still again.
        let mut again = pinged().0;
        assert_eq!(due(&mut again, late), Due::Nothing);
        assert_eq!(due(&mut again, late + TIMEOUT), Due::Dead { slow: false });
        // With the pong, everything is as before.
        let mut alive = pinged().0;
        assert_eq!(due(&mut alive, late), Due::Nothing);
        alive.pong(late, TIMES);
        assert_eq!(alive.timeout(), Some(late + INTERVAL));
    }

    #[test]
    fn r120_a_packet_extends_a_deadline_that_was_put_off() {
        let (mut pinger, now) = pinged();
        pinger.packet(now, TIMES);
        let late = now + TIMEOUT * 3;
        assert_eq!(due(&mut pinger, late), Due::Nothing);
        pinger.packet(late, TIMES);
        pinger.packet(late + TIMEOUT / 2, TIMES);
        assert_eq!(pinger.timeout(), Some(late + TIMEOUT));
        // Without the pong, the session ends, also if the host stands still again.
        assert_eq!(due(&mut pinger, late + TIMEOUT * 2), Due::Dead { slow: false });
    }

    #[test]
    fn r120_a_ping_that_could_not_leave_is_waited_for_a_little() {
        let mut pinger = Pinger::new(START, TIMES);
        assert_eq!(due(&mut pinger, START + INTERVAL), Due::Ping);
        let late = START + INTERVAL + TIMEOUT * 2;
        assert_eq!(due(&mut pinger, late), Due::Nothing);
        // The poll that waited in the socket takes it.
        assert!(pinger.take_ping(late, TIMES));
        assert_eq!(pinger.timeout(), Some(late + TIMEOUT));
        // And the host may stand still while the pong is on its way.
        assert_eq!(due(&mut pinger, late + TIMEOUT * 2), Due::Nothing);
    }

    #[test]
    fn a_client_that_takes_more_is_not_dead() {
        // Nor before its ping has left: a closing session sends none.
        let mut heartbeat = Pinger::new(START, TIMES);
        let now = START + INTERVAL;
        assert_eq!(due(&mut heartbeat, now), Due::Ping);
        heartbeat.progress(now + Duration::from_secs(15), TIMES);
        assert_eq!(heartbeat.timeout(), Some(now + Duration::from_secs(15) + TIMEOUT));
    }
}
