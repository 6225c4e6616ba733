//! How many connections a server has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections that a server serves, up to a limit.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicUsize,
    limit: usize,
}

impl Connections {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { open: AtomicUsize::new(0), limit }
    }

    /// Counts another connection, unless there are too many.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Slot> {
        let more = |open: usize| (open < self.limit).then(|| open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot(Arc::clone(self)))
    }
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Connections>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
