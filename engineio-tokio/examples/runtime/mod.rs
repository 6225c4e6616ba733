//! What every example program needs from the runtime.

use std::future::Future;
use std::io;
use std::time::Duration;

use engineio_suites::programs::Program;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) struct Tokio;

impl Program for Tokio {
    fn run<T, E: From<io::Error>>(workers: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut runtime = match workers {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if workers > 1 {
            runtime.worker_threads(workers);
        }
        runtime.enable_all().build()?.block_on(future)
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn stop() -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = tokio::signal::ctrl_c() => result,
        }
    }
}
