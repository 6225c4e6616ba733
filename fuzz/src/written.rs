//! What leaves a machine, and what was reported as written.

use std::collections::VecDeque;

use engineio_proto::{CloseReason, ExchangeId, Machine, Phase};

/// The maximum number of answers under way.
const MAX_ANSWERS: usize = 8;

/// The messages of a machine in the parcels in which they leave, in order.
#[derive(Debug, Default)]
pub(crate) struct Written {
    accepted: u64,
    handed_over: u64,
    written: u64,
    parcels: VecDeque<Parcel>,
    /// The smallest number of messages that is waited for.
    awaited: Option<u64>,
    /// The application closed the session in order.
    closing: bool,
    over: bool,
}

#[derive(Debug)]
struct Parcel {
    /// An answer or a POST; none for a frame.
    exchange: Option<ExchangeId>,
    /// The number of the last message in it; if it has none, of the last message before it.
    last: u64,
    is_written: bool,
}

impl Written {
    pub(crate) fn accept(&mut self, messages: usize) {
        self.accepted += messages as u64;
    }

    /// An answer or a POST leaves.
    pub(crate) fn leave(&mut self, exchange: ExchangeId, messages: usize) {
        self.handed_over += messages as u64;
        self.parcels.push_back(Parcel { exchange: Some(exchange), last: self.handed_over, is_written: false });
    }

    /// Checks that the answers under way do not exceed the limit.
    pub(crate) fn assert_bounded(&self) {
        let answers = self.parcels.iter().filter(|parcel| parcel.exchange.is_some()).count();
        assert!(answers <= MAX_ANSWERS, "law 14: {answers} answers are under way");
    }

    /// A frame with a message leaves.
    pub(crate) fn leave_on_channel(&mut self) {
        self.handed_over += 1;
        self.parcels.push_back(Parcel { exchange: None, last: self.handed_over, is_written: false });
    }

    /// Returns whether an answer or a POST has left and was not reported.
    pub(crate) fn is_under_way(&self, exchange: ExchangeId) -> bool {
        self.parcels.iter().any(|parcel| parcel.exchange == Some(exchange) && !parcel.is_written)
    }

    pub(crate) fn exchange_written(&mut self, exchange: ExchangeId) {
        self.report(|parcel| parcel.exchange == Some(exchange));
    }

    pub(crate) fn channel_written(&mut self, messages: u64) {
        self.report(|parcel| parcel.exchange.is_none() && parcel.last <= messages);
    }

    fn report(&mut self, is_it: impl Fn(&Parcel) -> bool) {
        for parcel in self.parcels.iter_mut().filter(|parcel| is_it(parcel)) {
            parcel.is_written = true;
        }
        while let Some(first) = self.parcels.pop_front() {
            if !first.is_written {
                self.parcels.push_front(first);
                break;
            }
            self.written = first.last;
        }
    }

    /// The application closes in order, or at once.
    pub(crate) fn close(&mut self, in_order: bool) {
        self.closing = in_order;
    }

    /// The application asked whether this many messages are written, and got this answer.
    pub(crate) fn asked(&mut self, messages: u64, is_written: bool) {
        assert_eq!(is_written, self.written >= messages, "law 14");
        if !is_written && !self.over {
            self.awaited = Some(self.awaited.map_or(messages, |nearest| nearest.min(messages)));
        }
    }

    /// The machine announces that what was waited for is written.
    pub(crate) fn told(&mut self) {
        assert!(self.awaited.take().is_some_and(|messages| messages <= self.written), "nobody waits for that");
    }

    /// After a call, when all outputs were carried out: the machine has the same counters, the application was told if
    /// it waited, and an orderly close says whether everything was written. `harmless`: the call reported no loss, so a
    /// closing session waits for what is not written.
    pub(crate) fn check(&mut self, machine: &dyn Machine, harmless: bool) {
        let stats = machine.stats();
        let counted = (stats.messages_accepted, stats.messages_sent, stats.messages_written);
        assert_eq!(counted, (self.accepted, self.handed_over, self.written), "law 14: {:?}", self.parcels);
        if machine.phase() == Phase::Closed && !std::mem::replace(&mut self.over, true) {
            self.awaited = None;
            let is_forced = machine.close_reason() == Some(CloseReason::ForcedClose);
            let is_complete = self.written == self.accepted;
            assert!(!self.closing || is_forced == is_complete, "law 3: {:?}", machine.close_reason());
            assert!(!self.closing || is_forced || !harmless, "law 3: it did not wait for what is not written");
        }
        assert!(self.awaited.is_none_or(|messages| messages > self.written), "nobody told that it is written");
    }
}
