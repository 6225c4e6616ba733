//! Law 2: messages received are a prefix of messages sent.

use std::collections::VecDeque;

use engineio_proto::Message;

use super::{Law, Violation, broken};

/// The messages of one direction of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// Messages that were accepted from the sender and not delivered.
    under_way: VecDeque<Message>,
    sent: u64,
    received: u64,
}

impl Flow {
    /// A message was accepted from the sender.
    pub(crate) fn send(&mut self, message: Message) {
        self.sent += 1;
        self.under_way.push_back(message);
    }

    /// A message was delivered to the receiver.
    pub(crate) fn receive(&mut self, message: &Message) -> Result<(), Violation> {
        match self.under_way.pop_front() {
            Some(expected) if expected == *message => {
                self.received += 1;
                Ok(())
            }
            Some(expected) => broken(
                Law::Messages,
                format!("received {message:?} as number {}, expected {expected:?}", self.received + 1),
            ),
            None => broken(Law::Messages, format!("received {message:?}, but all {} were received", self.sent)),
        }
    }

    /// Of the accepted messages, only the first `kept` are still to come, and then this one of a stranger.
    pub(crate) fn divert(&mut self, kept: u64, other: Message) {
        self.under_way.truncate(usize::try_from(kept.saturating_sub(self.received)).unwrap_or(usize::MAX));
        self.under_way.push_back(other);
    }

    /// Returns the number of messages that were accepted and not delivered.
    pub(crate) fn missing(&self) -> usize {
        self.under_way.len()
    }
}
