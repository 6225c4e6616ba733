//! Our server on tokio.

mod echo;

use engineio_benches::{ADDR, Options, announce};
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::of_program();
    let mut runtime = match options.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.worker_threads(options.workers).enable_all().build()?.block_on(async {
        let server = echo::server(engineio_tokio::builder())?;
        let listener = TcpListener::bind(ADDR).await?;
        announce(listener.local_addr()?);
        tokio::spawn(engineio_tokio::serve(server.clone(), listener));
        if options.recv {
            tokio::spawn(echo::run_recv(server, |task| drop(tokio::spawn(task)))).await?;
        } else {
            tokio::spawn(echo::run(server)).await?;
        }
        Ok(())
    })
}
