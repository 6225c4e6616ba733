//! Where tasks run.

use std::sync::{Arc, Weak};

use engineio_driver::rt::Task;
use smol::Executor;

/// Starts tasks on an executor of one's own, for as long as that lives. With it they end.
///
/// A [`SmolExecutor`](crate::rt::SmolExecutor) with an [`Arc`] in it is for an executor that lives as long as the program: its
/// tasks hold it, so it is never dropped.
#[derive(Clone, Debug)]
pub struct WeakExecutor(Weak<Executor<'static>>);

impl WeakExecutor {
    /// Starts tasks on this executor.
    pub fn new(executor: &Arc<Executor<'static>>) -> Self {
        Self(Arc::downgrade(executor))
    }
}

impl hyper::rt::Executor<Task> for WeakExecutor {
    fn execute(&self, task: Task) {
        if let Some(executor) = self.0.upgrade() {
            executor.spawn(task).detach();
        }
    }
}

/// The executor of [`smol::spawn`].
#[derive(Debug)]
pub(crate) struct Global;

impl hyper::rt::Executor<Task> for Global {
    fn execute(&self, task: Task) {
        smol::spawn(task).detach();
    }
}
