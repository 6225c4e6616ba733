//! The executor of the servers on smol.

use std::future::{Future, pending};
use std::io;
use std::sync::{Arc, LazyLock};
use std::thread;

use smol::Executor;

/// The executor of all tasks.
pub(crate) static EXECUTOR: LazyLock<Arc<Executor<'static>>> = LazyLock::new(Arc::default);

/// Runs a future, and the tasks of the executor, on a number of threads, this one included.
pub(crate) fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    for _ in 1..workers {
        thread::Builder::new().spawn(|| smol::block_on(EXECUTOR.run(pending::<()>())))?;
    }
    smol::block_on(EXECUTOR.run(future))
}
