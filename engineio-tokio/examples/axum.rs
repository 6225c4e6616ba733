//! An Engine.IO server inside an axum application: `cargo run --example axum`, then connect to port 3000.
#![allow(missing_docs)]

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt;
use engineio_tokio::mount::EngineLayer;
use engineio_tokio::{Handle, Handler, Message};

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
    let app: Router = Router::new()
        .route("/", get(|| async { "An Engine.IO server is at /engine.io/\n" }))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "not here\n") })
        .layer(EngineLayer::new(server.clone()));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    // Small messages are sent at once.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    tokio::spawn(async move { server.run(|_socket| Echo).await });
    axum::serve(listener, app).await?;
    Ok(())
}
