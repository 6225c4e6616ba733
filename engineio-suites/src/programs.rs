//! The programs that are the same on every runtime. Each is generic over what it needs from a runtime and a runtime
//! crate; the example of the runtime crate implements that.

use std::future::Future;
use std::io;
use std::time::Duration;

pub mod connect;
pub mod echo;
pub mod visitors;

/// What every program needs from a runtime.
pub trait Program: 'static {
    /// Runs a future on a number of threads; 0: one for each processor, 1: only this one.
    ///
    /// # Errors
    /// Returns the error of the future, or an error if threads cannot be started.
    fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E>;

    /// Runs a task in the background.
    fn spawn(task: impl Future<Output = ()> + Send + 'static);

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;

    /// Waits for SIGTERM or SIGINT.
    fn stop() -> impl Future<Output = io::Result<()>> + Send;
}
