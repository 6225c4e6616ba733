//! Law 3: the reason of an end is the true one.
//!
//! The oracle is not told why a session ended. It knows the operations on the session and on the network; a reason is
//! true if one of them explains it. So a live peer that is closed for silence is found here as well (law 9), and so is
//! a session that did not survive what it should (law 8).

use engineio_proto::{CloseReason, RequestError, TransportError, UpgradeError};

/// What happened to a session, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incidents(u32);

/// Declares the incidents. Each has a bit of its own.
macro_rules! incidents {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[allow(clippy::upper_case_acronyms, non_camel_case_types)]
        enum Bit {
            $($name,)*
        }

        impl Incidents {
            $($(#[$doc])* pub(crate) const $name: Self = Self(1 << Bit::$name as u32);)*

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

incidents! {
    /// A connection broke.
    TORN,
    /// Nothing arrived for some time, or it was late.
    SILENT,
    /// A request was repeated in transit.
    REPEATED,
    /// A stranger sent a GET or a POST.
    STRANGER,
    /// A stranger sent invalid data.
    JUNK,
    /// A body was late.
    SLOW_BODY,
    /// A body or a message was too large.
    LARGE,
    /// The server was killed.
    CRASH,
    /// A channel was refused.
    REFUSED,
    /// An application did not read.
    SLOW,
    /// The server had no room for a session.
    FULL,
    /// A report of written data was late.
    UNREPORTED,
    /// Answers, or frames to the client, left slowly.
    SLOW_DOWN,
    /// Frames to the server left slowly.
    SLOW_UP,
    /// The body of a POST left slowly.
    UPLOAD,
    /// It is the session of a foreign client.
    FOREIGN,
    /// An application filled a buffer, which ends its session.
    OVERFLOW,
    /// Timers were late.
    LATE,
    /// The host of the server stood still.
    SERVER_STOOD,
    /// The host of the client stood still.
    CLIENT_STOOD,
    /// A stranger opened a channel.
    OTHER_CHANNEL,
}

impl Incidents {
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

/// How an application has asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Close,
    Abort,
}

/// What the oracle knows about a session when one side ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Something that keeps it from receiving lasts, or did so recently.
    pub(crate) is_troubled: bool,
    pub(crate) incidents: Incidents,
    /// The application of this side has asked for the end.
    pub(crate) asked: Option<Asked>,
    /// It asked so long ago that its time is over.
    pub(crate) is_over_time: bool,
    /// The other side has ended, or is about to, or never knew of this one.
    pub(crate) other_left: bool,
}

/// Returns whether a server can have this reason.
pub(crate) fn explains_server(reason: CloseReason, scene: Scene) -> bool {
    let Scene { incidents, asked, other_left, .. } = scene;
    let any = |others: &[Incidents]| others.iter().any(|&other| incidents.any(other));
    let doubled = Incidents::REPEATED.and(Incidents::STRANGER);
    match reason {
        CloseReason::ForcedClose => asked.is_some(),
        CloseReason::TransportClose => other_left || any(&[Incidents::TORN, Incidents::STRANGER]),
        // An orderly close, and the other side was gone before everything was written.
        CloseReason::TransportLost => asked.is_some() && (other_left || any(&[Incidents::TORN, doubled])),
        // Neither a slow link to the client nor a slow body explains this: the first shows that the client reads, and
        // the second that it sends. That the server's own host stood still does not explain it either: what the client
        // sent waited in the sockets.
        CloseReason::PingTimeout => {
            let unheard = &[
                Incidents::SILENT,
                Incidents::TORN,
                Incidents::SLOW,
                Incidents::SLOW_UP,
                Incidents::UNREPORTED,
                Incidents::CLIENT_STOOD,
            ];
            other_left || (scene.is_troubled && any(unheard))
        }
        CloseReason::ParseError => any(&[Incidents::JUNK]),
        CloseReason::TransportError(error) => match error {
            // A close is reported as requested, or as a loss.
            TransportError::PollLost | TransportError::PostLost => {
                asked.is_none() && (other_left || any(&[Incidents::TORN, doubled]))
            }
            TransportError::PollOverlap | TransportError::PostOverlap => any(&[doubled, Incidents::JUNK]),
            TransportError::PostTimeout => {
                any(&[Incidents::SLOW_BODY, Incidents::SILENT, Incidents::TORN, Incidents::CLIENT_STOOD])
            }
            // Clients poll at once, unless their application does not take the initial message, or the answer is slow.
            TransportError::Unconfirmed => {
                let unheard = [Incidents::SILENT, Incidents::TORN, Incidents::SLOW, Incidents::CLIENT_STOOD];
                other_left || any(&unheard) || any(&[Incidents::FULL, Incidents::SLOW_DOWN, Incidents::REFUSED])
            }
            TransportError::MessageTooLarge | TransportError::PayloadTooLarge => any(&[Incidents::LARGE]),
            TransportError::SlowConsumer => {
                let unread = [
                    Incidents::SLOW,
                    Incidents::SILENT,
                    Incidents::TORN,
                    Incidents::UNREPORTED,
                    Incidents::CLIENT_STOOD,
                ];
                other_left || any(&unread) || any(&[Incidents::OVERFLOW])
            }
            TransportError::CloseTimeout => scene.is_over_time || (asked.is_some() && any(&[Incidents::LATE])),
            _ => false,
        },
        _ => false,
    }
}

/// Returns whether a client can have this reason.
pub(crate) fn explains_client(reason: CloseReason, scene: Scene) -> bool {
    let Scene { incidents, asked, other_left, .. } = scene;
    let any = |others: &[Incidents]| others.iter().any(|&other| incidents.any(other));
    let cut = Incidents::TORN.and(Incidents::CRASH);
    // Incidents that delay so much that one side has given up what the other continues.
    let late = Incidents::SILENT.and(Incidents::SLOW_DOWN).and(Incidents::SLOW_UP).and(Incidents::UPLOAD);
    match reason {
        CloseReason::ForcedClose => asked.is_some(),
        // A server that learns of the change of the transport too late has given it up, and closes the channel.
        CloseReason::TransportClose => other_left || any(&[late, Incidents::SERVER_STOOD, Incidents::CLIENT_STOOD]),
        // A message that is too large ends the connection. A close is too late if the other side was gone before.
        CloseReason::TransportLost => {
            any(&[cut, Incidents::LARGE]) || (asked.is_some() && (other_left || any(&[late])))
        }
        // An unsolicited pong postpones the next ping, at the server as in the reference.
        CloseReason::PingTimeout => {
            let unheard = &[
                cut,
                Incidents::SILENT,
                Incidents::SLOW,
                Incidents::STRANGER,
                Incidents::SLOW_BODY,
                Incidents::SLOW_DOWN,
                Incidents::SLOW_UP,
                Incidents::UNREPORTED,
                Incidents::SERVER_STOOD,
            ];
            other_left || (scene.is_troubled && any(unheard))
        }
        CloseReason::TransportError(error) => match error {
            TransportError::Poll(RequestError::Status(_)) => other_left || any(&[Incidents::FULL, Incidents::STRANGER]),
            // A message that was accepted before the limit was known.
            TransportError::Post(RequestError::Status(_)) => {
                other_left || any(&[Incidents::LARGE, Incidents::STRANGER])
            }
            TransportError::Poll(_) | TransportError::Post(_) => other_left || any(&[cut]),
            TransportError::Unopened => other_left || any(&[cut, Incidents::REFUSED, Incidents::FULL]),
            TransportError::OpenTimeout => other_left || any(&[cut, late, Incidents::SLOW, Incidents::SERVER_STOOD]),
            TransportError::CloseTimeout => scene.is_over_time || (asked.is_some() && any(&[Incidents::LATE])),
            TransportError::MessageTooLarge => any(&[Incidents::LARGE]),
            _ => false,
        },
        _ => false,
    }
}

/// Returns whether a client's change of its transport can fail for this reason.
pub(crate) fn explains_upgrade_failure(error: UpgradeError, scene: Scene) -> bool {
    let Scene { incidents, asked, other_left, .. } = scene;
    let disturbed = Incidents::TORN
        .and(Incidents::CRASH)
        .and(Incidents::REFUSED)
        .and(Incidents::SILENT)
        .and(Incidents::SLOW)
        .and(Incidents::SLOW_BODY)
        .and(Incidents::SLOW_DOWN)
        .and(Incidents::SLOW_UP)
        .and(Incidents::UPLOAD)
        .and(Incidents::SERVER_STOOD);
    match error {
        // If there is another channel already, this one is closed at once; and a server that waits too long closes it.
        UpgradeError::TransportClosed => {
            other_left || incidents.any(disturbed.and(Incidents::OTHER_CHANNEL).and(Incidents::CLIENT_STOOD))
        }
        UpgradeError::Timeout => other_left || incidents.any(disturbed),
        // The session ended meanwhile, which is explained separately.
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

    /// Two with the same bit would explain each other's ends.
    #[test]
    fn an_incident_is_no_other() {
        let mut all = Incidents::default();
        for &incident in Incidents::ALL {
            assert!(!incident.is_empty() && !all.any(incident), "{incident:?} is another one too");
            all.add(incident);
        }
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
