//! What every example program needs from the runtime.

use std::future::{Future, pending};
use std::io;
use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use async_signal::{Signal, Signals};
use engineio_suites::programs::Program;
use smol::stream::StreamExt as _;
use smol::{Executor, Timer};

/// The executor for the tasks of the server and of the program.
pub(crate) static EXECUTOR: LazyLock<Arc<Executor<'static>>> = LazyLock::new(Arc::default);

pub(crate) struct Smol;

impl Program for Smol {
    fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        let workers = if workers == 0 { processors() } else { workers };
        for _ in 1..workers {
            thread::Builder::new().spawn(|| smol::block_on(EXECUTOR.run(pending::<()>())))?;
        }
        smol::block_on(EXECUTOR.run(future))
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        EXECUTOR.spawn(task).detach();
    }

    async fn sleep(duration: Duration) {
        Timer::after(duration).await;
    }

    async fn stop() -> io::Result<()> {
        let mut signals = Signals::new([Signal::Term, Signal::Int])?;
        // In a task of its own, which is not polled whenever the executor is.
        EXECUTOR.spawn(async move { signals.next().await.transpose().map(drop) }).await
    }
}
