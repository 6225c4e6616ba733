//! The states of a client and their transitions, as data.

use core::fmt;

/// Where the packets of a client travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nowhere: the server has not opened the session yet.
    Opening,
    /// On polling.
    Polling,
    /// On polling. A channel is being opened, or its probe was not answered yet.
    Probing,
    /// On polling. The probe was answered: requests that are under way finish, and no new ones are sent. The exception is
    /// a POST whose answer takes long: the client polls until it arrives.
    Pausing,
    /// On the channel.
    Channel,
    /// Nowhere: the session has ended.
    Closed,
}

/// What moves a client from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The transport failed before the session was open, and another one is tried.
    Retried,
    /// The open packet arrived on polling.
    OpenedByPolling,
    /// The open packet arrived on a channel.
    OpenedOnChannel,
    /// The server offers an upgrade, and a channel is being opened.
    ProbeStarted,
    /// `3probe` arrived on the channel.
    ProbeAnswered,
    /// The channel could not be opened, closed, took too long, or carried an unexpected packet.
    ProbeFailed,
    /// Nothing is under way on polling any more.
    Paused,
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

/// All transitions of a client. In a state without a transition for it, a trigger is ignored.
///
/// `docs/state-machine.md` shows them as a diagram; a test compares the two.
pub const TRANSITIONS: &[Row] = {
    use Row;
    use State::{Channel, Closed, Opening, Pausing, Polling, Probing};
    use Trigger::{Ended, OpenedByPolling, OpenedOnChannel, Paused, ProbeAnswered, ProbeFailed, ProbeStarted, Retried};
    &[
        Row(Opening, Retried, Opening),
        Row(Opening, OpenedByPolling, Polling),
        Row(Opening, OpenedOnChannel, Channel),
        Row(Opening, Ended, Closed),
        Row(Polling, ProbeStarted, Probing),
        Row(Polling, Ended, Closed),
        Row(Probing, ProbeAnswered, Pausing),
        Row(Probing, ProbeFailed, Polling),
        Row(Probing, Ended, Closed),
        Row(Pausing, Paused, Channel),
        Row(Pausing, ProbeFailed, Polling),
        Row(Pausing, Ended, Closed),
        Row(Channel, Ended, Closed),
    ]
};

impl State {
    /// Returns the state to which a trigger leads, or `None` if there is no such transition.
    pub fn next(self, trigger: Trigger) -> Option<Self> {
        TRANSITIONS.iter().find(|row| row.0 == self && row.1 == trigger).map(|row| row.2)
    }

    /// Returns whether an upgrade is under way.
    pub const fn is_upgrading(self) -> bool {
        matches!(self, Self::Probing | Self::Pausing)
    }

    /// Returns whether packets travel by polling.
    pub const fn is_polling(self) -> bool {
        matches!(self, Self::Polling | Self::Probing | Self::Pausing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    fn diagram() -> String {
        let row = |Row(from, trigger, to): &Row| format!("    {from:?} --> {to:?}: {trigger:?}\n");
        let rows = TRANSITIONS.iter().map(row);
        format!("stateDiagram-v2\n    [*] --> Opening\n{}", rows.collect::<String>())
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
    fn a_row_reads_like_the_diagram() {
        assert_eq!(format!("{:?}", TRANSITIONS[0]), "Opening --Retried--> Opening");
    }
}
