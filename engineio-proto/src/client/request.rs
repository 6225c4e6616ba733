//! HTTP requests and channels: their numbers and targets, and the answers to requests.
//!
//! At most one GET and one POST are under way. No request is ever sent again: a second POST would repeat its messages,
//! and a second GET could not bring back those in the answer to the first. So a request that fails ends the session.

use alloc::boxed::Box;
use alloc::string::String;

use base64::Engine as _;
use bytes::Bytes;

use super::Client;
use crate::client::event::{Details, Output, Request};
use crate::client::state::State;
use crate::parts::event::{ChannelId, CloseReason, ExchangeId, RequestError, TransportError};
use crate::parts::transport::TransportKind;
use crate::wire::payload::Payload;

/// Payload Too Large.
const TOO_LARGE: u16 = 413;

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

    /// Handles the answer to a request.
    pub(super) fn answered(&mut self, exchange: ExchangeId, status: u16, body: Bytes) {
        if !(200..300).contains(&status) {
            return self.exchange_failed(exchange, RequestError::Status(status), Some(&body));
        }
        if self.get == Some(exchange) && body.len() > self.config.max_payload {
            return self.exchange_failed(exchange, RequestError::TooLarge, None);
        }
        if self.get.take_if(|get| *get == exchange).is_some() {
            self.pace.answered(self.now);
            self.note_first(|| body.clone());
            self.flow.inbox.push_body(self.codec.decode_payload(body));
        } else if let Some(post) = self.post.take_if(|post| post.exchange == exchange) {
            self.posted(post);
        }
    }

    /// Handles a request that failed, or whose answer reports an error.
    pub(super) fn exchange_failed(&mut self, exchange: ExchangeId, error: RequestError, body: Option<&Bytes>) {
        let answered = matches!(error, RequestError::Status(_));
        if self.get.take_if(|get| *get == exchange).is_some() {
            if self.post.is_some_and(|post| post.is_last) {
                // The answer to the last POST tells whether the last messages arrived.
                return;
            }
            self.keep_details(error, body);
            let reason = CloseReason::TransportError(TransportError::Poll(error));
            if self.state() == State::Opening {
                return self.fail_opening(reason);
            }
            // A server that rejects a poll does not have the session any more.
            if answered { self.finish(reason) } else { self.leave(reason) }
        } else if self.post.take_if(|post| post.exchange == exchange).is_some() {
            self.keep_details(error, body);
            let reason = CloseReason::TransportError(TransportError::Post(error));
            // Only after an answer is no POST under way; and only after a 413 does the server still have the session.
            if error == RequestError::Status(TOO_LARGE) { self.leave(reason) } else { self.finish(reason) }
        }
    }

    /// Keeps the first data of the server, in case that it is not an open packet.
    pub(super) fn note_first(&mut self, data: impl FnOnce() -> Bytes) {
        if self.state() == State::Opening {
            self.details = Some(Box::new(Details::handshake(&data())));
        }
    }

    fn keep_details(&mut self, error: RequestError, body: Option<&Bytes>) {
        if let (RequestError::Status(status), Some(body)) = (error, body) {
            self.details = Some(Box::new(Details::answer(status, body)));
        }
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
