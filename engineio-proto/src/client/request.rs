//! HTTP requests: the numbers and targets of requests and channels.

use alloc::string::String;

use base64::Engine as _;

use super::Client;
use crate::client::event::{Output, Request};
use crate::parts::event::{ChannelId, ExchangeId};
use crate::parts::transport::TransportKind;
use crate::wire::payload::Payload;

/// Numbers and stamps that were not used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The last number that was given to a request or a channel.
    last: u64,
    /// The source of the next stamp.
    stamp: u64,
}

impl Numbers {
    pub(super) const fn new(entropy: u64) -> Self {
        Self { last: 0, stamp: entropy }
    }

    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn next_stamp(&mut self) -> String {
        let stamp = stamp(self.stamp);
        self.stamp = self.stamp.wrapping_add(STEP);
        stamp
    }
}

impl Client {
    /// Sends a request: a POST if it has a body, else a GET.
    pub(super) fn request(&mut self, body: Option<Payload>) -> ExchangeId {
        let exchange = ExchangeId(self.numbers.next());
        let target = self.next_target(TransportKind::Polling);
        self.flow.output(Output::Request { exchange, request: Request { target, body } });
        exchange
    }

    /// Cancels a request whose result does not matter any more.
    pub(super) fn cancel(&mut self, exchange: ExchangeId) {
        self.flow.output(Output::Cancel { exchange });
    }

    /// Asks for a channel to be opened.
    pub(super) fn ask_for_channel(&mut self, transport: TransportKind) -> ChannelId {
        let channel = ChannelId(self.numbers.next());
        let target = self.next_target(transport);
        self.flow.output(Output::ChannelOpen { channel, target });
        channel
    }

    fn next_target(&mut self, transport: TransportKind) -> String {
        let stamp = self.numbers.next_stamp();
        self.config.target(transport, self.opened.as_ref().map(|opened| opened.sid.as_str()), &stamp)
    }
}

/// Odd, so that the sequence visits every number; its bits are spread, so that consecutive stamps differ in many
/// characters.
const STEP: u64 = 0x9e37_79b9_7f4b;

/// Eight characters that are unique among the requests of a client, and unlikely to repeat among clients.
fn stamp(number: u64) -> String {
    let [_, _, bytes @ ..] = number.to_be_bytes();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn c013_stamps_have_eight_characters_and_differ() {
        let mut seen = BTreeSet::new();
        let mut number = 0_u64;
        for _ in 0..10_000 {
            let stamp = stamp(number);
            assert!(
                stamp.len() == 8 && stamp.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
            assert!(seen.insert(stamp));
            number = number.wrapping_add(STEP);
        }
    }
}
