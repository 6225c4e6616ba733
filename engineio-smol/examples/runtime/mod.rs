//! What the programs need of the runtime.

use std::future::{Future, pending};
use std::io;
use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use async_signal::{Signal, Signals};
use engineio_smol::{Builder, Runtime, SmolExecutor, SmolTimer};
use smol::io::{AsyncBufReadExt as _, BufReader};
use smol::net::TcpListener;
use smol::stream::StreamExt as _;
use smol::{Executor, Timer, Unblock};

/// Where the server's tasks are, and those of the program.
static EXECUTOR: LazyLock<Arc<Executor<'static>>> = LazyLock::new(Arc::default);

/// Runs a future on so many threads; 0: one for each processor, 1: this one alone.
pub(crate) fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let processors = || thread::available_parallelism().map_or(1, NonZero::get);
    let workers = if workers == 0 { processors() } else { workers };
    for _ in 1..workers {
        thread::Builder::new().spawn(|| smol::block_on(EXECUTOR.run(pending::<()>())))?;
    }
    smol::block_on(EXECUTOR.run(future))
}

pub(crate) fn builder() -> Builder {
    Builder::new(Runtime::new(SmolExecutor::new(Arc::clone(&EXECUTOR)), SmolTimer::new()))
}

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    EXECUTOR.spawn(task).detach();
}

pub(crate) async fn sleep(duration: Duration) {
    Timer::after(duration).await;
}

pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stop() -> io::Result<()> {
    let mut signals = Signals::new([Signal::Term, Signal::Int])?;
    signals.next().await.transpose().map(drop)
}

pub(crate) async fn stopped() {
    if stop().await.is_err() {
        pending::<()>().await;
    }
}

/// The lines of the standard input.
pub(crate) type Lines = smol::io::Lines<BufReader<Unblock<io::Stdin>>>;

pub(crate) fn lines() -> Lines {
    BufReader::new(Unblock::new(io::stdin())).lines()
}

/// Cancel safe.
pub(crate) async fn next_line(lines: &mut Lines) -> Option<String> {
    lines.next().await?.ok()
}
