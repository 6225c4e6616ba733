//! A small chat in the browser. Run `cargo run --release -p engineio-smol --example chat`, then open the printed
//! address in two windows. The page is an axum application, which runs on smol here.
#![allow(missing_docs)]

use async_signal::{Signal, Signals};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use engineio_suites::programs::visitors::{PAGE, Visitor};
use smol::net::TcpListener;
use smol::stream::StreamExt;

#[derive(Debug, Parser)]
#[command(about = "A chat in the browser, on 127.0.0.1")]
struct Args {
    /// The port; 0 for any free port.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    smol::block_on(async {
        let server = engineio_smol::builder().build()?;
        let app = Router::new()
            .route("/", get(|| async { Html(PAGE) }))
            .fallback(|| async { (http::StatusCode::NOT_FOUND, "not found\n") });

        let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let visitors = server.clone();
        smol::spawn(async move { visitors.run(|_socket| Visitor::join(&visitors)).await }).detach();
        let mut signals = Signals::new([Signal::Int, Signal::Term])?;
        smol::spawn(server.shutdown_on(async move { signals.next().await })).detach();
        engineio_smol::serve_with(server, listener, app).await;
        Ok(())
    })
}
