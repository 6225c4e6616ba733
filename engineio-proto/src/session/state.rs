//! The states of a session and their transitions, as data.

use core::fmt;

/// Where the packets of a session travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// On polling.
    Polling,
    /// On polling. A channel is open, and no probe has arrived on it yet.
    Probing,
    /// On polling. A probe on the channel was answered, and held polls are released.
    Probed,
    /// On the channel.
    Channel,
    /// Nowhere: the session has ended.
    Closed,
}

/// What moves a session from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// A second transport opened.
    ProbeOpened,
    /// `2probe` arrived on the channel.
    ProbePinged,
    /// The channel closed, took too long, or carried an unexpected packet.
    ProbeFailed,
    /// `5` arrived on the channel. No probe is required before it, as in the reference.
    UpgradeReceived,
    /// The session ended, for any reason.
    Ended,
}

/// A transition: in this state, this trigger leads to that state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub State, pub Trigger, pub State);

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(from, trigger, to) = self;
        write!(f, "{from:?} --{trigger:?}--> {to:?}")
    }
}

/// All transitions of a session. In a state without a transition for it, a trigger is ignored.
///
/// `docs/state-machine.md` shows them as a diagram; a test compares the two.
pub const TRANSITIONS: &[Row] = {
    use State::{Channel, Closed, Polling, Probed, Probing};
    use Trigger::{Ended, ProbeFailed, ProbeOpened, ProbePinged, UpgradeReceived};
    &[
        Row(Polling, ProbeOpened, Probing),
        Row(Polling, Ended, Closed),
        Row(Probing, ProbePinged, Probed),
        Row(Probing, ProbeFailed, Polling),
        Row(Probing, UpgradeReceived, Channel),
        Row(Probing, Ended, Closed),
        Row(Probed, ProbePinged, Probed),
        Row(Probed, ProbeFailed, Polling),
        Row(Probed, UpgradeReceived, Channel),
        Row(Probed, Ended, Closed),
        Row(Channel, Ended, Closed),
    ]
};

impl State {
    /// Returns the state to which a trigger leads, or `None` if there is no such transition.
    pub fn next(self, trigger: Trigger) -> Option<Self> {
        TRANSITIONS.iter().find(|row| row.0 == self && row.1 == trigger).map(|row| row.2)
    }

    /// Returns whether a probe is under way.
    pub const fn is_probing(self) -> bool {
        matches!(self, Self::Probing | Self::Probed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    fn diagram() -> String {
        let rows = TRANSITIONS.iter().map(|Row(from, trigger, to)| format!("    {from:?} --> {to:?}: {trigger:?}\n"));
        format!("stateDiagram-v2\n    [*] --> Polling\n    [*] --> Channel\n{}", rows.collect::<String>())
    }

    #[test]
    fn no_state_and_trigger_has_two_rows() {
        for (index, row) in TRANSITIONS.iter().enumerate() {
            assert!(TRANSITIONS[..index].iter().all(|other| (other.0, other.1) != (row.0, row.1)), "{row:?}");
        }
    }

    #[test]
    fn the_diagram_in_the_docs_is_true() {
        let docs = include_str!("../../../docs/state-machine.md");
        assert!(docs.contains(&diagram()), "docs/state-machine.md should contain:\n{}", diagram());
    }

    #[test]
    fn a_session_probes_until_it_changes_its_transport() {
        let all = [State::Polling, State::Probing, State::Probed, State::Channel, State::Closed];
        let probing = all.into_iter().filter(|state| state.is_probing());
        assert!(probing.eq([State::Probing, State::Probed]));
    }

    #[test]
    fn a_row_reads_like_the_diagram() {
        assert_eq!(format!("{:?}", TRANSITIONS[0]), "Polling --ProbeOpened--> Probing");
    }
}
