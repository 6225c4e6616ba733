//! The limit for long-polling on smol: hyper, and of Engine.IO just enough for the load generator.

mod faked_polling;
mod smol_threads;

use engineio_benches::{ADDR, Options, announce};
use faked_polling::Sessions;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use smol::net::TcpListener;
use smol_hyper::rt::FuturesIo;
use smol_threads::EXECUTOR;

fn main() -> std::io::Result<()> {
    let options = Options::of_program();
    smol_threads::run(options.workers, async {
        let listener = TcpListener::bind(ADDR).await?;
        announce(listener.local_addr()?);
        EXECUTOR.spawn(accept(listener)).await
    })
}

async fn accept(listener: TcpListener) -> std::io::Result<()> {
    let sessions = Sessions::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let sessions = sessions.clone();
        let service = service_fn(move |request| sessions.clone().answer(request));
        let connection = http1::Builder::new().serve_connection(FuturesIo::new(stream), service);
        // A connection that breaks concerns nobody else.
        EXECUTOR.spawn(async { connection.await.ok() }).detach();
    }
}
