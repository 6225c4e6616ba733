//! POST: data from the client.
//!
//! At most one POST is under way. A second one violates the protocol: it is refused, and the session ends.

use core::time::Duration;

use bytes::Bytes;

use super::Session;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, ExchangeId, TransportError};
use crate::parts::time::Instant;
use crate::parts::wait::{Deadline, at_least};
use crate::session::event::{BodyError, Output};

/// The POST that is under way, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    Free,
    /// Its body is being received, and must be complete at the deadline.
    Receiving {
        exchange: ExchangeId,
        deadline: Deadline,
    },
    /// Its body is being decoded. It is answered when the last packet was handled.
    Held(ExchangeId),
}

impl Post {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Receiving { deadline, .. } => Some(deadline.at()),
            Self::Free | Self::Held(_) => None,
        }
    }
}

impl Session {
    /// Handles the head of a POST.
    pub(super) fn post_head(&mut self, exchange: ExchangeId, octet_stream: bool) {
        if let Some(rejection) = self.not_on_polling() {
            return self.respond(exchange, Response::Rejected(rejection));
        }
        let error = match self.post {
            Post::Free if octet_stream => TransportError::InvalidContent,
            Post::Free => {
                let deadline = Deadline::new(self.now + at_least(self.config.body_timeout));
                self.post = Post::Receiving { exchange, deadline };
                return;
            }
            Post::Receiving { .. } | Post::Held(_) => TransportError::PostOverlap,
        };
        self.respond(exchange, Response::Refused);
        self.finish(CloseReason::TransportError(error));
    }

    /// Handles the body of a POST, or its refusal. The body counts even if the session has left polling meanwhile.
    pub(super) fn post_body(&mut self, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        let deadline = match self.post {
            Post::Receiving { exchange: receiving, deadline } if receiving == exchange => deadline,
            _ => return,
        };
        match body {
            Ok(body) => {
                self.post = Post::Held(exchange);
                // From its head, also where the deadline has passed and nobody looked.
                let took = (self.now + at_least(self.config.body_timeout)).saturating_since(deadline.at());
                // If the host stood still meanwhile, the pong has all its time again.
                let took = if deadline.is_put_off() { Duration::MAX } else { took };
                self.pinger.received(self.now, took, self.config.times());
                self.flow.inbox.push_body(self.codec.decode_payload(body));
            }
            Err(BodyError::TooLarge) => self.refuse_body(Response::TooLarge, TransportError::PayloadTooLarge),
        }
    }

    /// Ends the session if the body of a POST is late.
    pub(super) fn post_timeout(&mut self) {
        let (now, time) = (self.now, self.config.body_timeout);
        let is_over = match &mut self.post {
            Post::Receiving { deadline, .. } => deadline.is_over(now, time),
            Post::Free | Post::Held(_) => false,
        };
        if is_over {
            self.refuse_body(Response::Timeout, TransportError::PostTimeout);
        }
    }

    /// Refuses a body. Its messages are lost, so the session must end.
    fn refuse_body(&mut self, response: Response, error: TransportError) {
        if let Post::Receiving { exchange, .. } = core::mem::replace(&mut self.post, Post::Free) {
            self.respond(exchange, response);
        }
        // Frames after the body would follow a gap.
        self.flow.inbox.drop_frames();
        self.finish(CloseReason::TransportError(error));
    }

    /// Handles the loss of a POST's connection, if the exchange is that POST.
    pub(super) fn lose_post(&mut self, exchange: ExchangeId) -> bool {
        match self.post {
            Post::Receiving { exchange: lost, .. } if lost == exchange => {
                // Frames after the missing body would follow a gap.
                self.flow.inbox.drop_frames();
            }
            // A body that was completely received is still delivered.
            Post::Held(lost) if lost == exchange => (),
            _ => return false,
        }
        self.post = Post::Free;
        true
    }

    /// Aborts a body that is being received, at the end of the session.
    pub(super) fn abort_post(&mut self) {
        if let Post::Receiving { exchange, .. } = self.post {
            self.post = Post::Free;
            self.flow.output(Output::Abort { exchange });
            self.flow.inbox.drop_frames();
        }
    }

    /// Answers a POST whose body was received.
    pub(super) fn end_post(&mut self, response: Response) {
        if let Post::Held(exchange) = self.post {
            self.post = Post::Free;
            self.respond(exchange, response);
        }
    }
}
