//! A small chat: the number of visitors, and their messages. The same on every runtime.

use std::time::{SystemTime, UNIX_EPOCH};

use engineio_driver::{CloseReason, Handle, Handler, Message, Server};
use serde_json::{Value, json};

/// The page of the chat.
pub const PAGE: &str = include_str!("page.html");

/// One visitor.
#[derive(Debug)]
pub struct Visitor {
    server: Server,
}

impl Visitor {
    pub fn join(server: &Server) -> Self {
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

/// Tells all visitors how many there are.
fn present(server: &Server) {
    server.broadcast(json!({ "type": "presence", "count": server.len() }).to_string());
}

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
