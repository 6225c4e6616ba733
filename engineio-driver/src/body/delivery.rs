//! The report whether an answer was written or lost.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use engineio_proto::ExchangeId;

/// Learns whether an answer was written.
pub(crate) trait Answered: Send + Sync {
    /// The answer to this exchange is completely written.
    fn written(&self, exchange: ExchangeId);

    /// A connection that was blocked while it wrote an answer takes more bytes again.
    fn unblocked(&self);

    /// The answer to this exchange is lost.
    fn lost(&self, exchange: ExchangeId);

    /// Returns whether the session has ended, so that nothing depends on its answers any more.
    fn is_over(&self) -> bool;
}

/// Watches an answer, or a piece of one, until it is written. hyper keeps one with each piece, so it is small.
#[derive(Default)]
pub(crate) struct Delivery {
    /// `None` if nothing is to be reported any more.
    session: Option<Arc<dyn Answered>>,
    /// The number of the exchange, with the last piece of its answer. If this is dropped before that piece was taken, the
    /// answer is lost.
    exchange: Option<NonZeroU64>,
}

impl Delivery {
    /// Watches the answer to an exchange. The numbers of exchanges begin at 1.
    pub(crate) fn new(session: Arc<dyn Answered>, exchange: ExchangeId) -> Self {
        Self { session: Some(session), exchange: NonZeroU64::new(exchange.0) }
    }

    /// Watches a piece before the last one: only whether its connection takes more bytes again.
    pub(super) fn before_last(&self) -> Self {
        Self { session: self.session.clone(), exchange: None }
    }

    pub(super) fn session(&self) -> Option<Arc<dyn Answered>> {
        self.session.clone()
    }

    /// The connection was blocked, and has taken more bytes.
    pub(super) fn unblocked(&self) {
        if let Some(session) = &self.session {
            session.unblocked();
        }
    }

    pub(super) const fn is_last(&self) -> bool {
        self.exchange.is_some()
    }

    /// All bytes were taken.
    pub(super) fn taken(&mut self) {
        if let (Some(session), Some(exchange)) = (self.session.take(), self.exchange.take()) {
            session.written(ExchangeId(exchange.get()));
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let (Some(session), Some(exchange)) = (&self.session, self.exchange) {
            session.lost(ExchangeId(exchange.get()));
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
