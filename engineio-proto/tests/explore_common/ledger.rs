//! The messages that one side has handed over, counted by what carried them.

use std::collections::VecDeque;

/// Carriers in the order in which they took messages: HTTP exchanges, and a channel behind the last of them.
///
/// A message is written when its carrier is, and every carrier before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Messages handed over so far.
    pub handed: u64,
    /// Messages written so far: the first ones.
    pub written: u64,
    /// Exchanges from the first one that is not written.
    exchanges: VecDeque<Exchange>,
    /// The channel has written everything up to this message, if the exchanges before it are written.
    channel: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Exchange {
    id: u64,
    messages: u64,
    written: bool,
}

impl Ledger {
    /// An exchange takes so many messages.
    pub fn give(&mut self, id: u64, messages: usize) {
        self.handed += messages as u64;
        self.exchanges.push_back(Exchange { id, messages: messages as u64, written: false });
    }

    /// The channel takes a message.
    pub fn give_to_channel(&mut self) {
        self.handed += 1;
    }

    /// An exchange is written. Returns whether more messages are written than before.
    pub fn exchange_written(&mut self, id: u64) -> bool {
        self.exchanges.iter_mut().filter(|exchange| exchange.id == id).for_each(|exchange| exchange.written = true);
        self.advance()
    }

    /// The channel has written everything up to this message, as far as it was handed over. Returns whether more
    /// messages are written than before.
    pub fn channel_written(&mut self, messages: u64) -> bool {
        self.channel = self.channel.max(messages.min(self.handed));
        self.advance()
    }

    fn advance(&mut self) -> bool {
        let before = self.written;
        while let Some(first) = self.exchanges.front().filter(|first| first.written) {
            self.written += first.messages;
            self.exchanges.pop_front();
        }
        if self.exchanges.is_empty() {
            self.written = self.written.max(self.channel);
        }
        self.written > before
    }

    /// An exchange has got its number.
    pub fn rename(&mut self, from: u64, to: u64) {
        self.exchanges.iter_mut().filter(|exchange| exchange.id == from).for_each(|exchange| exchange.id = to);
    }

    /// How many exchanges there are from the first one that is not written.
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    /// The highest number of an exchange from the first one that is not written.
    pub fn highest(&self) -> Option<u64> {
        self.exchanges.iter().map(|exchange| exchange.id).max()
    }

    /// The exchanges that are not written, oldest first.
    pub fn unwritten(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.exchanges.iter().filter(|exchange| !exchange.written).map(|exchange| exchange.id)
    }

    /// How many messages the channel has taken and not written.
    pub fn on_channel(&self) -> u64 {
        let by_exchanges: u64 = self.exchanges.iter().map(|exchange| exchange.messages).sum();
        self.handed - self.channel.max(self.written + by_exchanges)
    }

    /// The report that one more message is written by the channel.
    pub fn next_on_channel(&self) -> u64 {
        self.handed - self.on_channel() + 1
    }
}

#[test]
fn written_is_a_prefix() {
    let mut ledger = Ledger::default();
    ledger.give(1, 1);
    ledger.give(2, 0);
    ledger.give(3, 2);
    ledger.give_to_channel();
    ledger.give_to_channel();
    assert_eq!((ledger.on_channel(), ledger.next_on_channel()), (2, 4));
    assert!(!ledger.exchange_written(3) && !ledger.channel_written(4) && !ledger.exchange_written(9));
    assert_eq!((ledger.handed, ledger.written, ledger.on_channel()), (5, 0, 1));
    assert!(ledger.unwritten().eq([1, 2]));
    assert!(ledger.exchange_written(1));
    assert_eq!((ledger.written, ledger.exchanges()), (1, 2));
    assert!(ledger.exchange_written(2));
    assert_eq!((ledger.written, ledger.exchanges()), (4, 0));
    assert!(ledger.channel_written(99) && !ledger.channel_written(1));
    assert_eq!((ledger.written, ledger.on_channel()), (5, 0));
}
