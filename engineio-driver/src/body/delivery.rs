//! What becomes of an answer, and who hears it.

use std::fmt;
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

/// Watches an answer until it is written. If this is dropped before that, it reports the answer as lost.
pub(crate) struct Delivery {
    pub(super) session: Arc<dyn Answered>,
    exchange: ExchangeId,
    taken: bool,
}

impl Delivery {
    pub(crate) fn new(session: Arc<dyn Answered>, exchange: ExchangeId) -> Self {
        Self { session, exchange, taken: false }
    }

    /// The last byte of the answer was taken.
    pub(super) fn taken(mut self) {
        self.taken = true;
        self.session.written(self.exchange);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.taken {
            self.session.lost(self.exchange);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
