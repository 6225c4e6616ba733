//! A small chat in the browser. Run `cargo run --release -p engineio-tokio --example chat`, then open the printed
//! address in two windows.
#![allow(missing_docs)]

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use engineio_suites::programs::visitors::{PAGE, Visitor};
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
#[command(about = "A chat in the browser, on 127.0.0.1")]
struct Args {
    /// The port; 0 for any free port.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let server = engineio_tokio::builder().build()?;
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "not found\n") });

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let visitors = server.clone();
    tokio::spawn(async move { visitors.run(|_socket| Visitor::join(&visitors)).await });
    tokio::spawn(server.shutdown_on(tokio::signal::ctrl_c()));
    engineio_tokio::serve_with(server, listener, app).await;
    Ok(())
}
