//! A small chat in the browser: `cargo run --release -p engineio-tokio --example chat`, then open the address that it
//! prints in two windows.
#![allow(missing_docs)]

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use engineio_tokio::{CloseReason, EngineLayer, Handle, Handler, Message, Server};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
#[command(about = "A chat in the browser, on 127.0.0.1")]
struct Args {
    /// The port; 0 takes any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

/// One visitor.
struct Visitor {
    server: Server,
}

impl Visitor {
    fn join(server: &Server) -> Self {
        present(server);
        Self { server: server.clone() }
    }
}

impl Handler for Visitor {
    async fn message(&mut self, socket: &Handle, message: Message) {
        let Message::Text(text) = message else { return };
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return };
        match value.get("type").and_then(Value::as_str) {
            // The page measures the round trip with this.
            Some("rtt") => drop(socket.send(text).await),
            Some("chat") => {
                self.server.broadcast(
                    json!({ "type": "chat", "name": value["name"], "text": value["text"], "at": unix_millis() })
                        .to_string(),
                );
            }
            _ => (),
        }
    }

    async fn close(&mut self, _: &Handle, _: CloseReason) {
        present(&self.server);
    }
}

/// Tells everybody how many are here.
fn present(server: &Server) {
    server.broadcast(json!({ "type": "presence", "count": server.len() }).to_string());
}

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let server = engineio_tokio::builder().build()?;
    let app: Router = Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "not found\n") })
        .layer(EngineLayer::new(server.clone()));

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let visitors = server.clone();
    tokio::spawn(async move { server.run(|_socket| Visitor::join(&visitors)).await });
    axum::serve(listener, app).await?;
    Ok(())
}
