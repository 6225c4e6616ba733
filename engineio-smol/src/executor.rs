//! Executors for the tasks of servers and clients.

use std::sync::{Arc, Weak};

use engineio_driver::rt::Task;
use smol::Executor;

/// Starts tasks on an executor of the application, without keeping the executor alive.
///
/// The tasks end when the executor is dropped. A [`SmolExecutor`](crate::rt::SmolExecutor) with an [`Arc`] suits an
/// executor that lives as long as the program: its tasks own the `Arc`, so the executor is never dropped.
#[derive(Clone, Debug)]
pub struct WeakExecutor(Weak<Executor<'static>>);

impl WeakExecutor {
    /// Creates a handle that starts tasks on `executor`.
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
pub(crate) struct Global;

impl hyper::rt::Executor<Task> for Global {
    fn execute(&self, task: Task) {
        smol::spawn(task).detach();
    }
}
