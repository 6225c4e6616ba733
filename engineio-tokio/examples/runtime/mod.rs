//! What the programs need of the runtime.

use std::future::{Future, pending};
use std::io;
use std::time::Duration;

use engineio_tokio::Builder;
use tokio::io::{AsyncBufReadExt as _, BufReader, Stdin};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a future on so many threads; 0: one for each processor, 1: this one alone.
pub(crate) fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let mut runtime = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if workers > 1 {
        runtime.worker_threads(workers);
    }
    runtime.enable_all().build()?.block_on(future)
}

pub(crate) fn builder() -> Builder {
    engineio_tokio::builder()
}

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        result = tokio::signal::ctrl_c() => result,
    }
}

pub(crate) async fn stopped() {
    if stop().await.is_err() {
        pending::<()>().await;
    }
}

/// The lines of the standard input.
pub(crate) type Lines = tokio::io::Lines<BufReader<Stdin>>;

pub(crate) fn lines() -> Lines {
    BufReader::new(tokio::io::stdin()).lines()
}

/// Cancel safe.
pub(crate) async fn next_line(lines: &mut Lines) -> Option<String> {
    lines.next_line().await.ok().flatten()
}
