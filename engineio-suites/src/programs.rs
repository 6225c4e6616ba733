//! The programs that are the same on every runtime. Each is generic over what it needs of a runtime and of its crate, which
//! the example of the runtime crate implements.

use std::future::Future;
use std::io;

pub mod connect;
pub mod echo;
pub mod visitors;

/// What every program needs of a runtime.
pub trait Program: 'static {
    /// Runs a future on so many threads; 0: one for each processor, 1: this one alone.
    ///
    /// # Errors
    /// Those of the future, and when threads cannot be started.
    fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E>;

    /// Runs a task in the background.
    fn spawn(task: impl Future<Output = ()> + Send + 'static);

    /// Waits for SIGTERM or SIGINT.
    fn stop() -> impl Future<Output = io::Result<()>> + Send;
}
