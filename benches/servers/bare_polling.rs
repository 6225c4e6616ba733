//! The limit for long-polling: hyper, and of Engine.IO just enough for the load generator.

mod faked_polling;

use engineio_benches::{ADDR, Options, announce};
use faked_polling::Sessions;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::of_program();
    options.tokio()?.block_on(async {
        let listener = TcpListener::bind(ADDR).await?;
        announce(listener.local_addr()?);
        tokio::spawn(accept(listener)).await??;
        Ok(())
    })
}

async fn accept(listener: TcpListener) -> std::io::Result<()> {
    let sessions = Sessions::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let sessions = sessions.clone();
        let service = service_fn(move |request| sessions.clone().answer(request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks concerns nobody else.
        tokio::spawn(async { connection.await.ok() });
    }
}
