//! The application of our own servers, the same on every runtime: it echoes, and broadcasts if a message asks for it.

use engineio_benches::{MAX_PAYLOAD, PING_INTERVAL, broadcast};
use engineio_driver::{Builder, Handle, Handler, Message, Server};
use futures_util::future::BoxFuture;

/// Builds the server.
pub(crate) fn server(builder: Builder) -> Result<Server, engineio_driver::error::ConfigError> {
    builder.ping_interval(PING_INTERVAL).max_payload(MAX_PAYLOAD).build()
}

/// Serves sessions with callbacks.
pub(crate) async fn run(server: Server) {
    server.run(|_| Echo { server: server.clone() }).await;
}

struct Echo {
    server: Server,
}

impl Handler for Echo {
    const OBSERVES_WRITES: bool = false;

    async fn message(&mut self, socket: &Handle, message: Message) {
        if !broadcasts(&self.server, &message) {
            // If the session has ended, no answer is needed.
            let _ = socket.send(message).await;
        }
    }
}

/// Serves sessions with `accept`, `recv` and `send`, each by a task.
pub(crate) async fn run_recv(server: Server, spawn: impl Fn(BoxFuture<'static, ()>)) {
    loop {
        let mut socket = server.accept().await;
        let server = server.clone();
        spawn(Box::pin(async move {
            while let Some(message) = socket.recv().await {
                if !broadcasts(&server, &message) && socket.send(message).await.is_err() {
                    break;
                }
            }
        }));
    }
}

/// Broadcasts if the message asks for it.
fn broadcasts(server: &Server, message: &Message) -> bool {
    let Message::Text(text) = message else { return false };
    let Some((count, text)) = broadcast(text) else { return false };
    let message = Message::from(text);
    for _ in 0..count {
        server.broadcast(message.clone());
    }
    true
}
