//! Law 14: written is a prefix of handed over, and handed over of accepted.
//!
//! The oracle keeps the parcels in which messages leave a machine, in order: HTTP answers, POSTs and frames. It is told
//! when the embedder reports one as written, and counts written messages itself.

use std::collections::VecDeque;

use engineio_proto::{CloseReason, ExchangeId, Stats, TransportError};

use super::{Law, Violation, broken};

/// The maximum number of answers of a session under way. Further polls wait.
pub(crate) const MAX_ANSWERS: usize = 8;

/// What has left a machine, and how much of it was reported as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    accepted: u64,
    handed_over: u64,
    written: u64,
    parcels: VecDeque<Parcel>,
    /// The numbers of messages that are waited for and were not written.
    awaited: Vec<u64>,
}

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Exchange(ExchangeId),
    Channel,
}

#[derive(Clone, Copy, Debug)]
struct Parcel {
    by: By,
    messages: u64,
    is_written: bool,
}

impl Written {
    /// Messages of the application were accepted.
    pub(crate) fn accept(&mut self, messages: u64) {
        self.accepted += messages;
    }

    /// An answer with packets that must not be lost leaves, or a POST.
    pub(crate) fn leave_by_http(&mut self, exchange: ExchangeId, messages: u64) {
        self.handed_over += messages;
        // Everything sent by HTTP left before the first frame, but may be reported later.
        let at = self.parcels.iter().position(|parcel| parcel.by == By::Channel).unwrap_or(self.parcels.len());
        self.parcels.insert(at, Parcel { by: By::Exchange(exchange), messages, is_written: false });
    }

    /// A frame with a message leaves.
    pub(crate) fn leave_by_channel(&mut self) {
        self.handed_over += 1;
        self.parcels.push_back(Parcel { by: By::Channel, messages: 1, is_written: false });
    }

    /// An answer is reported as written, or a POST was answered.
    pub(crate) fn exchange_written(&mut self, exchange: ExchangeId) {
        for parcel in self.parcels.iter_mut().filter(|parcel| parcel.by == By::Exchange(exchange)) {
            parcel.is_written = true;
        }
        self.advance();
    }

    /// The frames of a channel up to this message are reported as written.
    pub(crate) fn channel_written(&mut self, messages: u64) {
        let mut number = self.written;
        for parcel in &mut self.parcels {
            number += parcel.messages;
            parcel.is_written |= parcel.by == By::Channel && number <= messages;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(&first) = self.parcels.front().filter(|first| first.is_written) {
            self.written += first.messages;
            self.parcels.pop_front();
        }
    }

    /// Returns whether an answer is under way: sent, and not reported.
    pub(crate) fn is_under_way(&self, exchange: ExchangeId) -> bool {
        self.parcels.iter().any(|parcel| parcel.by == By::Exchange(exchange) && !parcel.is_written)
    }

    /// Returns the first answer, or POST, of those under way.
    pub(crate) fn first_exchange(&self) -> Option<ExchangeId> {
        self.parcels.iter().find_map(|parcel| match parcel.by {
            By::Exchange(exchange) => Some(exchange),
            By::Channel => None,
        })
    }

    /// Returns whether a later answer than this one is reported as written.
    pub(crate) fn is_overtaken(&self, exchange: ExchangeId) -> bool {
        let behind = self.parcels.iter().skip_while(|parcel| parcel.by != By::Exchange(exchange));
        behind.skip(1).any(|parcel| parcel.is_written)
    }

    /// Returns whether an answer carries no message.
    pub(crate) fn is_without_messages(&self, exchange: ExchangeId) -> bool {
        self.parcels.iter().any(|parcel| parcel.by == By::Exchange(exchange) && parcel.messages == 0)
    }

    /// Returns the number of answers, or POSTs, that are under way, or wait for an earlier one.
    pub(crate) fn exchanges(&self) -> usize {
        self.parcels.iter().filter(|parcel| parcel.by != By::Channel).count()
    }

    /// Returns whether every accepted message is written.
    pub(crate) fn is_complete(&self) -> bool {
        self.written == self.accepted
    }

    /// Returns the number of accepted messages.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Returns the number of messages that have left.
    pub(crate) fn handed_over(&self) -> u64 {
        self.handed_over
    }

    /// Compares with the counters of a machine, when all its outputs were carried out.
    pub(crate) fn compare(&self, whose: impl FnOnce() -> String, stats: Stats) -> Result<(), Violation> {
        let counted = [stats.messages_accepted, stats.messages_sent, stats.messages_written];
        let seen = [self.accepted, self.handed_over, self.written];
        if counted == seen {
            return Ok(());
        }
        broken(
            Law::Written,
            format!("{} counts {counted:?} messages accepted, handed over and written, and they are {seen:?}", whose()),
        )
    }

    // Waiting.

    /// The application asked whether this many messages are written, and they are not.
    pub(crate) fn wait(&mut self, messages: u64) {
        self.awaited.push(messages);
    }

    /// Compares the answer to that question with what was observed.
    pub(crate) fn compare_answer(&self, whose: &str, messages: u64, is_written: bool) -> Result<(), Violation> {
        if is_written == (self.written >= messages) {
            return Ok(());
        }
        let what = format!("{whose} says that {messages} messages are written: {is_written}, of {}", self.written);
        broken(Law::Written, what)
    }

    /// The machine announces that what was waited for is written: all who wait ask again. If outputs are carried out
    /// late, `late`, they may have done so already.
    pub(crate) fn hear(&mut self, whose: &str, late: bool) -> Result<Vec<u64>, Violation> {
        if !late && self.awaited.iter().all(|&messages| messages > self.written) {
            return broken(Law::Written, format!("{whose} says that messages are written, and nobody waits for that"));
        }
        Ok(std::mem::take(&mut self.awaited))
    }

    /// Returns whether messages that are waited for are written, which must be announced.
    pub(crate) fn is_silent(&self) -> bool {
        self.awaited.iter().any(|&messages| messages <= self.written)
    }

    /// Ends all waiting.
    pub(crate) fn stop_waiting(&mut self) {
        self.awaited.clear();
    }
}

/// Returns whether a session that was closing in order may end with this reason: as requested if and only if everything
/// was written.
pub(crate) fn is_true_end(reason: CloseReason, is_complete: bool) -> bool {
    let is_loss = !matches!(
        reason,
        CloseReason::ForcedClose
            | CloseReason::TransportClose
            | CloseReason::TransportError(TransportError::PollLost | TransportError::PostLost)
    );
    if is_complete { reason == CloseReason::ForcedClose } else { is_loss }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(written: &Written) -> u64 {
        written.written
    }

    #[test]
    fn what_is_written_is_a_prefix() {
        let mut seen = Written::default();
        seen.accept(3);
        seen.leave_by_http(ExchangeId(1), 1);
        seen.leave_by_http(ExchangeId(2), 1);
        seen.leave_by_channel();
        seen.channel_written(3);
        seen.exchange_written(ExchangeId(2));
        assert_eq!((written(&seen), seen.exchanges()), (0, 2));
        assert!(seen.is_overtaken(ExchangeId(1)) && seen.is_under_way(ExchangeId(1)));
        assert!(!seen.is_under_way(ExchangeId(2)));
        seen.exchange_written(ExchangeId(1));
        assert_eq!((written(&seen), seen.is_complete()), (3, true));
    }

    #[test]
    fn a_channel_says_nothing_of_a_post() {
        let mut seen = Written::default();
        seen.accept(1);
        seen.leave_by_http(ExchangeId(1), 1);
        seen.channel_written(1);
        assert_eq!(written(&seen), 0);
    }

    #[test]
    fn who_waits_is_told_once() {
        let mut seen = Written::default();
        seen.accept(2);
        seen.leave_by_channel();
        assert!(seen.compare_answer("it", 1, true).is_err() && seen.compare_answer("it", 1, false).is_ok());
        seen.wait(1);
        assert!(seen.hear("it", false).is_err() && !seen.is_silent());
        seen.channel_written(1);
        assert!(seen.is_silent());
        assert_eq!(seen.hear("it", false), Ok(vec![1]));
        assert!(seen.hear("it", false).is_err());
    }

    #[test]
    fn an_end_in_order_says_whether_everything_was_written() {
        let timeout = CloseReason::TransportError(TransportError::CloseTimeout);
        for (reason, is_complete, is_true) in [
            (CloseReason::ForcedClose, true, true),
            (CloseReason::ForcedClose, false, false),
            (CloseReason::TransportLost, false, true),
            (CloseReason::TransportLost, true, false),
            (timeout, false, true),
            (timeout, true, false),
            (CloseReason::TransportClose, false, false),
        ] {
            assert_eq!(is_true_end(reason, is_complete), is_true, "{reason}, {is_complete}");
        }
    }
}
