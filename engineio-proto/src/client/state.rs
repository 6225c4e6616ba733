//! Where a client's packets travel, as data.

use core::fmt;

/// Where the packets of a client travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nowhere yet: the server has not opened the session.
    Opening,
    /// By polling.
    Polling,
    /// By polling; a channel is being opened, or a probe on it was not answered yet.
    Probing,
    /// The probe was answered; what is under way by polling comes to its end, and nothing new is begun. (Except for polls
    /// while the answer to a POST is withheld for long.)
    Pausing,
    /// On the channel.
    Channel,
    /// Nowhere any more.
    Closed,
}

/// What moves a client from state to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The transport failed before the session was open, and another one is tried.
    Retried,
    /// The open packet came by polling.
    OpenedByPolling,
    /// The open packet came on a channel.
    OpenedOnChannel,
    /// The server offers a channel, and it is being opened.
    ProbeStarted,
    /// `3probe` arrived on it.
    ProbeAnswered,
    /// It did not open, closed, took too long, or carried anything unexpected.
    ProbeFailed,
    /// Nothing is under way by polling any more.
    Paused,
    /// The session ended, for whatever reason.
    Ended,
}

/// One rule: in this state, this trigger leads to that state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub State, pub Trigger, pub State);

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(from, trigger, to) = self;
        write!(f, "{from:?} --{trigger:?}--> {to:?}")
    }
}

/// All transitions of a client that there are. What is not here does not happen.
///
/// `docs/state-machine.md` shows them as a diagram; a test keeps it true.
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
    /// Where a trigger leads from here; `None` if nowhere.
    pub fn next(self, trigger: Trigger) -> Option<Self> {
        TRANSITIONS.iter().find(|row| row.0 == self && row.1 == trigger).map(|row| row.2)
    }

    /// Whether an upgrade is under way.
    pub const fn is_upgrading(self) -> bool {
        matches!(self, Self::Probing | Self::Pausing)
    }

    /// Whether packets travel by polling.
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
