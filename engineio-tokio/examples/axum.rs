//! An Engine.IO server and an axum application on the same port: `cargo run --example axum`, then connect to port 3000.
#![allow(missing_docs)]

use axum::Router;
use axum::routing::get;
use engineio_tokio::{Handle, Handler, Message};
use tokio::net::TcpListener;

/// Echoes every message.
struct Echo;

impl Handler for Echo {
    async fn message(&mut self, socket: &Handle, message: Message) {
        // If the session has ended, no answer is needed.
        let _ = socket.send(message).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = engineio_tokio::builder().build()?;
    let app = Router::new().route("/", get(|| async { "An Engine.IO server is at /engine.io/\n" }));

    let sessions = server.clone();
    tokio::spawn(async move { sessions.run(|_socket| Echo).await });

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::spawn(server.shutdown_on(tokio::signal::ctrl_c()));
    // Returns when the shutdown is complete.
    engineio_tokio::serve_with(server, listener, app).await;
    Ok(())
}
