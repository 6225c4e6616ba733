//! Law 3: the reason of an end is the true one.
//!
//! Nobody tells the oracle why a session ended. It knows what was done to the session and to the network; a reason is
//! true if something happened that explains it. So a live peer that is called silent is found here as well (law 9), and
//! a session that did not survive what it should have (law 8).

use engineio_proto::{CloseReason, RequestError, TransportError, UpgradeError};

/// What happened to a session, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incidents(u32);

impl Incidents {
    /// A connection was torn.
    pub(crate) const TORN: Self = Self(1);
    /// Nothing came through for a while, or late.
    pub(crate) const SILENT: Self = Self(1 << 1);
    /// A request was repeated on its way.
    pub(crate) const REPEATED: Self = Self(1 << 2);
    /// A stranger sent a GET or a POST.
    pub(crate) const STRANGER: Self = Self(1 << 3);
    /// A stranger sent what is no packet.
    pub(crate) const JUNK: Self = Self(1 << 4);
    /// A body did not come in time.
    pub(crate) const SLOW_BODY: Self = Self(1 << 5);
    /// A body or a message was too large.
    pub(crate) const LARGE: Self = Self(1 << 6);
    /// The server died.
    pub(crate) const CRASH: Self = Self(1 << 7);
    /// A channel was refused.
    pub(crate) const REFUSED: Self = Self(1 << 8);
    /// An application did not read.
    pub(crate) const SLOW: Self = Self(1 << 9);
    /// The server had no room for a session.
    pub(crate) const FULL: Self = Self(1 << 10);
    /// An application filled a buffer whose session ends for that.
    pub(crate) const OVERFLOW: Self = Self(1 << 11);

    /// Timers came late.
    pub(crate) const LATE: Self = Self(1 << 13);
    /// A stranger opened a channel.
    pub(crate) const OTHER_CHANNEL: Self = Self(1 << 12);

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) const fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How an application asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Close,
    Abort,
}

/// What the oracle knows about a session when one side ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Something that keeps it from hearing lasts, or did so not long ago.
    pub(crate) is_troubled: bool,
    pub(crate) incidents: Incidents,
    /// The application of this side asked for the end.
    pub(crate) asked: Option<Asked>,
    /// It asked so long ago that the time for it is over.
    pub(crate) is_over_time: bool,
    /// The other side has ended, or is about to, or never knew of this one.
    pub(crate) other_left: bool,
}

/// Whether a server can have this reason.
pub(crate) fn explains_server(reason: CloseReason, scene: Scene) -> bool {
    let Scene { incidents, asked, other_left, .. } = scene;
    let any = |others| incidents.any(others);
    let doubled = Incidents::REPEATED.and(Incidents::STRANGER);
    match reason {
        CloseReason::ForcedClose => asked.is_some(),
        CloseReason::TransportClose => other_left || any(Incidents::TORN.and(Incidents::STRANGER)),
        // An end that was asked for, and did not come before the other side was gone.
        CloseReason::TransportLost => asked.is_some() && (other_left || any(Incidents::TORN.and(doubled))),
        CloseReason::PingTimeout => {
            other_left || (scene.is_troubled && any(Incidents::SILENT.and(Incidents::TORN).and(Incidents::SLOW)))
        }
        CloseReason::ParseError => any(Incidents::JUNK),
        CloseReason::TransportError(error) => match error {
            // Whoever asked for the end hears that it was asked for, or that something was lost.
            TransportError::PollLost | TransportError::PostLost => {
                asked.is_none() && (other_left || any(Incidents::TORN.and(doubled)))
            }
            TransportError::PollOverlap | TransportError::PostOverlap => any(doubled.and(Incidents::JUNK)),
            TransportError::PostTimeout => any(Incidents::SLOW_BODY.and(Incidents::SILENT).and(Incidents::TORN)),
            TransportError::CloseTimeout => scene.is_over_time || (asked.is_some() && any(Incidents::LATE)),
            TransportError::MessageTooLarge | TransportError::PayloadTooLarge => any(Incidents::LARGE),
            TransportError::SlowConsumer => {
                any(Incidents::SLOW.and(Incidents::SILENT).and(Incidents::OVERFLOW).and(Incidents::TORN)) || other_left
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether a client can have this reason.
pub(crate) fn explains_client(reason: CloseReason, scene: Scene) -> bool {
    let Scene { incidents, asked, other_left, .. } = scene;
    let any = |others| incidents.any(others);
    let cut = Incidents::TORN.and(Incidents::CRASH);
    match reason {
        CloseReason::ForcedClose => asked.is_some(),
        // A server that hears of the change of the transport too late has given it up, and closes the channel.
        CloseReason::TransportClose => other_left || any(Incidents::SILENT),
        // A message that is too large ends the connection.
        CloseReason::TransportLost => {
            any(cut.and(Incidents::LARGE)) || (asked.is_some() && (other_left || any(Incidents::SILENT)))
        }
        // A pong that nobody asked for puts off the next ping, at the server as in the reference.
        CloseReason::PingTimeout => {
            let unheard =
                cut.and(Incidents::SILENT).and(Incidents::SLOW).and(Incidents::STRANGER).and(Incidents::SLOW_BODY);
            other_left || (scene.is_troubled && any(unheard))
        }
        CloseReason::TransportError(error) => match error {
            TransportError::Poll(RequestError::Status(_)) => {
                other_left || any(Incidents::FULL.and(Incidents::STRANGER))
            }
            // A message that was taken before its limit was known.
            TransportError::Post(RequestError::Status(_)) => {
                other_left || any(Incidents::LARGE.and(Incidents::STRANGER))
            }
            TransportError::Poll(_) | TransportError::Post(_) => other_left || any(cut),
            TransportError::Unopened => other_left || any(cut.and(Incidents::REFUSED).and(Incidents::FULL)),
            TransportError::OpenTimeout => other_left || any(cut.and(Incidents::SILENT).and(Incidents::SLOW)),
            TransportError::CloseTimeout => scene.is_over_time || (asked.is_some() && any(Incidents::LATE)),
            TransportError::MessageTooLarge => any(Incidents::LARGE),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a client can fail to change its transport for this reason.
pub(crate) fn explains_upgrade_failure(error: UpgradeError, scene: Scene) -> bool {
    let Scene { incidents, asked, other_left, .. } = scene;
    let cut = Incidents::TORN.and(Incidents::CRASH).and(Incidents::REFUSED);
    let disturbed = cut.and(Incidents::SILENT).and(Incidents::SLOW_BODY);
    match error {
        // Where there is another channel already, this one is closed at once; and a server that waits too long closes it.
        UpgradeError::TransportClosed => {
            other_left || incidents.any(disturbed.and(Incidents::OTHER_CHANNEL).and(Incidents::SLOW))
        }
        UpgradeError::Timeout => other_left || incidents.any(disturbed.and(Incidents::SLOW)),
        // The session ended meanwhile, which has its own explanation.
        UpgradeError::SessionClosed => other_left || asked.is_some() || !incidents.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_happens_without_a_cause() {
        let quiet = Scene {
            incidents: Incidents::default(),
            is_troubled: true,
            asked: None,
            is_over_time: false,
            other_left: false,
        };
        for reason in [
            CloseReason::ForcedClose,
            CloseReason::PingTimeout,
            CloseReason::TransportClose,
            CloseReason::TransportLost,
            CloseReason::ParseError,
            CloseReason::TransportError(TransportError::PollOverlap),
            CloseReason::TransportError(TransportError::Poll(RequestError::Lost)),
            CloseReason::TransportError(TransportError::OpenTimeout),
        ] {
            assert!(!explains_server(reason, quiet) && !explains_client(reason, quiet), "{reason}");
        }
    }

    #[test]
    fn what_is_long_over_does_not_silence_a_peer() {
        let incidents = Incidents::SILENT.and(Incidents::TORN);
        let scene = Scene { incidents, is_troubled: false, asked: None, is_over_time: false, other_left: false };
        assert!(!explains_server(CloseReason::PingTimeout, scene) && !explains_client(CloseReason::PingTimeout, scene));
        let scene = Scene { is_troubled: true, ..scene };
        assert!(explains_server(CloseReason::PingTimeout, scene) && explains_client(CloseReason::PingTimeout, scene));
    }

    #[test]
    fn what_nobody_does_explains_nothing() {
        let all = Scene {
            incidents: Incidents(u32::MAX),
            is_troubled: true,
            asked: Some(Asked::Close),
            is_over_time: true,
            other_left: true,
        };
        for error in [TransportError::InvalidHandshake, TransportError::InvalidPacket, TransportError::Violation] {
            assert!(!explains_client(CloseReason::TransportError(error), all));
        }
        let heartbeat = CloseReason::TransportError(TransportError::HeartbeatDirection);
        assert!(!explains_server(heartbeat, all));
    }
}
