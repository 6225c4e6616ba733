//! The laws, and how they are checked.
//!
//! The oracle knows the laws, and does not depend on how the machines keep them. It sees what goes in and what comes
//! out: accepted and delivered messages, events, every byte on the wire, and close reasons.

mod cost;
mod events;
mod messages;
mod reasons;
mod wire;
mod written;

use std::fmt;

pub(crate) use cost::{Cost, check_timers};
pub(crate) use events::Events;
pub(crate) use messages::Flow;
pub(crate) use reasons::{Asked, Incidents, Scene, explains_client, explains_server, explains_upgrade_failure};
pub(crate) use wire::{check_body, check_frame, check_headers};
pub(crate) use written::{MAX_ANSWERS, Written, is_true_end};

/// One of the laws of `ARCHITECTURE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// 1. Every exchange is answered exactly once, or reported lost. At most one held GET and one POST.
    Exchanges,
    /// 2. Messages received are a prefix of messages sent.
    Messages,
    /// 3. The end is announced exactly once and last, with the true reason, and nothing leaks.
    End,
    /// 4. Byte counts are exact and within their limits.
    Bytes,
    /// 5. What was due is done, or moved into the future.
    Timers,
    /// 6. Redundant calls change nothing, and a clock that goes backwards is clamped.
    Idle,
    /// 7. It makes no difference when outputs are drained.
    Drains,
    /// 8. A failed probe leaves polling working, and a second channel disturbs nothing.
    Probes,
    /// 9. A silent peer is closed in time, a live one never.
    Heartbeat,
    /// 10. The same calls give the same outputs.
    Determinism,
    /// 11. Everything that is sent can be decoded, and keeps the limit.
    Wire,
    /// 12. At the end both sides are open with empty buffers, or both are closed.
    Quiescence,
    /// 13. Nothing panics.
    Panics,
    /// 14. Written is a prefix of handed over, and handed over of accepted. Nothing counts as written that was not
    ///     reported.
    Written,
    /// 15. The work of a machine is bounded by its calls and by the bytes that it takes.
    Cost,
    /// A request is admitted or rejected as the reference does it.
    Admission,
    /// A call returns, and leads to, what is expected of it: see the module `expected`.
    Expected,
    /// The laws that a machine checks itself: [`Session::check`](engineio_proto::Session::check) and the like.
    Check,
    /// A law of the user.
    User,
    /// Settings that are not valid. This is not a law.
    Settings,
}

impl Law {
    /// Returns the number of the law in `ARCHITECTURE.md`.
    pub const fn number(self) -> Option<u32> {
        match self {
            Self::Admission | Self::Expected | Self::Check | Self::User | Self::Settings => None,
            law => Some(law as u32 + 1),
        }
    }
}

/// A law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.law.number() {
            Some(number) => write!(f, "law {number} ({:?}): {}", self.law, self.what),
            None => write!(f, "{:?}: {}", self.law, self.what),
        }
    }
}

impl std::error::Error for Violation {}

/// Returns a violation.
pub(crate) fn broken<T>(law: Law, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { law, what: what.into() })
}
