//! The order of events.

use engineio_proto::{CloseReason, Event};

use super::{Law, Violation, broken};

/// The events of one side so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    /// It is a client, which gets an event when it is open.
    is_client: bool,
    opened: bool,
    flushing: bool,
    /// The number of refusals because of a full buffer, minus the number of announcements of room.
    pub(crate) full: u32,
    upgrading: bool,
    pub(crate) upgraded: bool,
    ended: Option<CloseReason>,
    pub(crate) closed: Option<CloseReason>,
}

impl Events {
    pub(crate) fn client() -> Self {
        Self { is_client: true, ..Self::default() }
    }

    pub(crate) fn server() -> Self {
        Self { opened: true, ..Self::default() }
    }

    /// Returns whether there was a session at all.
    pub(crate) const fn has_opened(&self) -> bool {
        self.opened
    }

    /// Returns whether an end was announced, after which only [`Event::Closed`] may follow, or remaining reads.
    pub(crate) const fn is_over(&self) -> bool {
        self.ended.is_some() || self.closed.is_some()
    }

    pub(crate) fn hear(&mut self, event: Event) -> Result<(), Violation> {
        let is_late = self.closed.is_some();
        let Some(wrong) = (if is_late { Some("behind the end") } else { self.judge(event) }) else { return Ok(()) };
        broken(Law::End, format!("{event:?} {wrong}"))
    }

    /// Returns what is wrong with an event, if anything.
    fn judge(&mut self, event: Event) -> Option<&'static str> {
        match event {
            Event::Opened => {
                let again = std::mem::replace(&mut self.opened, true);
                (again || !self.is_client || self.is_over()).then_some("twice, late, or at a server")
            }
            Event::Closed(reason) => {
                self.closed = Some(reason);
                self.ended.is_some_and(|ended| ended != reason).then_some("with another reason than it ended")
            }
            Event::Ended(reason) => self.ended.replace(reason).map(|_| "twice"),
            Event::Readable => None,
            _ if self.is_over() => Some("behind the end"),
            Event::Writable => {
                let waits = self.full > 0;
                self.full = self.full.saturating_sub(1);
                (!waits).then_some("although nobody waits for it")
            }
            Event::Flush { packets } => {
                let again = std::mem::replace(&mut self.flushing, true);
                (again || packets == 0).then_some("within a flush, or of nothing")
            }
            Event::Drain => (!std::mem::take(&mut self.flushing)).then_some("without a flush"),
            Event::Upgrading(_) => {
                self.upgrading = true;
                self.upgraded.then_some("of a session that was upgraded")
            }
            Event::Upgraded(_) => {
                let again = std::mem::replace(&mut self.upgraded, true);
                // A server does not require a probe before it.
                (again || (self.is_client && !self.upgrading)).then_some("twice, or out of the blue")
            }
            Event::UpgradeFailed(_) => {
                (self.upgraded || !self.is_client).then_some("of a session that was upgraded, or at a server")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engineio_proto::TransportKind;

    fn hear(events: &[Event]) -> Result<(), Violation> {
        let mut heard = Events::server();
        events.iter().try_for_each(|&event| heard.hear(event))
    }

    #[test]
    fn what_may_be_heard() {
        let up = TransportKind::WebSocket;
        let end = CloseReason::ForcedClose;
        let all = [
            Event::Flush { packets: 1 },
            Event::Drain,
            Event::Upgrading(up),
            Event::Upgraded(up),
            Event::Heartbeat,
            Event::Ended(end),
            Event::Readable,
            Event::Closed(end),
        ];
        assert_eq!(hear(&all), Ok(()));
    }

    #[test]
    fn what_may_not() {
        let end = Event::Closed(CloseReason::ForcedClose);
        for wrong in [
            &[end, end][..],
            &[end, Event::Readable],
            &[Event::Ended(CloseReason::PingTimeout), end],
            &[Event::Ended(CloseReason::PingTimeout), Event::Heartbeat],
            &[Event::Drain],
            &[Event::Flush { packets: 1 }, Event::Flush { packets: 1 }],
            &[Event::Flush { packets: 0 }],
            &[Event::Upgraded(TransportKind::WebSocket), Event::Upgraded(TransportKind::WebSocket)],
            &[Event::UpgradeFailed(engineio_proto::UpgradeError::Timeout)],
            &[Event::Writable],
            &[Event::Opened],
        ] {
            assert!(hear(wrong).is_err(), "{wrong:?}");
        }
    }
}
