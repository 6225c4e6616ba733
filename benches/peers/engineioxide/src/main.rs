//! engineioxide: it echoes, and broadcasts if a message asks for it. `--workers N` sets the number of threads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::socket::Sid;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// engineioxide has no broadcast, so its sockets are kept here.
#[derive(Debug, Default)]
struct Echo {
    sockets: Mutex<HashMap<Sid, Arc<Socket<()>>>>,
}

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, socket: Arc<Socket<()>>) {
        self.sockets.lock().unwrap().insert(socket.id, socket);
    }

    fn on_disconnect(&self, socket: Arc<Socket<()>>, _: DisconnectReason) {
        self.sockets.lock().unwrap().remove(&socket.id);
    }

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        match broadcast(&message) {
            Some((count, text)) => self.broadcast(count, text),
            // If the session has ended, no answer is needed.
            None => drop(socket.emit(message)),
        }
    }

    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<()>>) {
        let _ = socket.emit_binary(data);
    }
}

impl Echo {
    fn broadcast(&self, count: usize, text: Str) {
        let sockets: Vec<_> = self.sockets.lock().unwrap().values().cloned().collect();
        for _ in 0..count {
            for socket in &sockets {
                let _ = socket.emit(text.clone());
            }
        }
    }
}

/// `bcast:COUNT:SIZE` asks for COUNT messages of SIZE bytes.
fn broadcast(text: &str) -> Option<(usize, Str)> {
    let (count, size) = text.strip_prefix("bcast:")?.split_once(':')?;
    Some((count.parse().ok()?, "x".repeat(size.parse().ok()?).into()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let workers = match args.as_slice() {
        [] => 1,
        [flag, workers] if flag == "--workers" => workers.parse()?,
        _ => return Err("usage: server-engineioxide [--workers N]".into()),
    };
    let mut runtime = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.worker_threads(workers).enable_all().build()?.block_on(async {
        tokio::spawn(serve()).await??;
        Ok(())
    })
}

async fn serve() -> std::io::Result<()> {
    // An hour: no ping is due while something is measured.
    let config = EngineIoConfig::builder().ping_interval(Duration::from_secs(3600)).max_payload(1_000_000).build();
    let service = EngineIoService::with_config(Arc::new(Echo::default()), config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on port {}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service.clone())
            .with_upgrades();
        // A connection that breaks concerns nobody else.
        tokio::spawn(async { connection.await.ok() });
    }
}
