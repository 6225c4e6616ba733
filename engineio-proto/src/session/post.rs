//! POST: data from the client.
//!
//! At most one POST is under way. A second one breaks the protocol: it is refused, and the session ends.

use bytes::Bytes;

use super::Session;
use crate::http::response::Response;
use crate::parts::event::{CloseReason, ExchangeId, TransportError};
use crate::parts::time::Instant;
use crate::parts::wait::at_least;
use crate::session::event::{BodyError, Output};

/// The place for a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    Free,
    /// Its body is on the way, and must be there at the deadline.
    Receiving {
        exchange: ExchangeId,
        deadline: Instant,
    },
    /// Its body is being decoded; its answer waits until the last packet was handled.
    Held(ExchangeId),
}

impl Post {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Receiving { deadline, .. } => Some(deadline),
            Self::Free | Self::Held(_) => None,
        }
    }
}

impl Session {
    /// The head of a POST arrived.
    pub(super) fn post_head(&mut self, exchange: ExchangeId, octet_stream: bool) {
        if let Some(rejection) = self.not_on_polling() {
            return self.respond(exchange, Response::Rejected(rejection));
        }
        let error = match self.post {
            Post::Free if octet_stream => TransportError::InvalidContent,
            Post::Free => {
                let deadline = self.now + at_least(self.config.body_timeout);
                self.post = Post::Receiving { exchange, deadline };
                return;
            }
            Post::Receiving { .. } | Post::Held(_) => TransportError::PostOverlap,
        };
        self.respond(exchange, Response::Refused);
        self.finish(CloseReason::TransportError(error));
    }

    /// The body of a POST arrived, or is refused. The session may have left polling meanwhile: it counts all the same.
    pub(super) fn post_body(&mut self, exchange: ExchangeId, body: Result<Bytes, BodyError>) {
        let deadline = match self.post {
            Post::Receiving { exchange: receiving, deadline } if receiving == exchange => deadline,
            _ => return,
        };
        match body {
            Ok(body) => {
                self.post = Post::Held(exchange);
                // From its head, also where the deadline has passed and nobody looked.
                let took = (self.now + at_least(self.config.body_timeout)).saturating_since(deadline);
                self.pinger.received(self.now, took, self.config.times());
                self.flow.inbox.push_body(self.codec.decode_payload(body), u32::MAX);
            }
            Err(BodyError::TooLarge) => self.refuse_body(Response::TooLarge, TransportError::PayloadTooLarge),
        }
    }

    /// Ends the session if the body of a POST is not there in time.
    pub(super) fn post_timeout(&mut self) {
        if self.post.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.refuse_body(Response::Timeout, TransportError::PostTimeout);
        }
    }

    /// The messages of the body are lost, so the session must end.
    fn refuse_body(&mut self, response: Response, error: TransportError) {
        if let Post::Receiving { exchange, .. } = core::mem::replace(&mut self.post, Post::Free) {
            self.respond(exchange, response);
        }
        // Frames behind the body would pass over the hole.
        self.flow.inbox.drop_frames();
        self.finish(CloseReason::TransportError(error));
    }

    /// The peer of a POST went away, if it is this one.
    pub(super) fn lose_post(&mut self, exchange: ExchangeId) -> bool {
        match self.post {
            Post::Receiving { exchange: lost, .. } if lost == exchange => {
                // Behind a body that is not there would be a hole.
                self.flow.inbox.drop_frames();
            }
            // What was received whole is still delivered.
            Post::Held(lost) if lost == exchange => (),
            _ => return false,
        }
        self.post = Post::Free;
        true
    }

    /// The end of a session drops a body that is on its way.
    pub(super) fn abort_post(&mut self) {
        if let Post::Receiving { exchange, .. } = self.post {
            self.post = Post::Free;
            self.flow.output(Output::Abort { exchange });
            self.flow.inbox.drop_frames();
        }
    }

    /// A POST whose body was received is answered.
    pub(super) fn end_post(&mut self, response: Response) {
        if let Post::Held(exchange) = self.post {
            self.post = Post::Free;
            self.respond(exchange, response);
        }
    }
}
