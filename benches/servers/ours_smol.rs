//! Our server on smol.

mod echo;
mod smol_threads;

use std::sync::Arc;

use engineio_benches::{ADDR, Options, announce};
use engineio_smol::rt::{Runtime, SmolExecutor, SmolTimer};
use smol::net::TcpListener;
use smol_threads::EXECUTOR;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = Options::of_program();
    smol_threads::run(options.workers, async move {
        let runtime = Runtime::new(SmolExecutor::new(Arc::clone(&EXECUTOR)), SmolTimer::new());
        let server = echo::server(engineio_smol::Builder::new(runtime))?;
        let listener = TcpListener::bind(ADDR).await?;
        announce(listener.local_addr()?);
        EXECUTOR.spawn(engineio_smol::serve(server.clone(), listener)).detach();
        if options.recv {
            EXECUTOR.spawn(echo::run_recv(server, |task| EXECUTOR.spawn(task).detach())).await;
        } else {
            EXECUTOR.spawn(echo::run(server)).await;
        }
        Ok(())
    })
}
