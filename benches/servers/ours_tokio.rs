//! Our server on tokio.

mod echo;

use engineio_benches::{ADDR, Options, announce};
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::of_program();
    options.tokio()?.block_on(async {
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
