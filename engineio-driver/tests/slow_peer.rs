//! A WebSocket whose peer reads slowly and steadily, so that its connection never takes everything at once.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engineio_driver::mount::HyperService;
use engineio_driver::rt::Runtime;
use engineio_driver::{Builder, SendError, Server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const HANDSHAKE: &str = "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A WebSocket on a connection that holds so many bytes.
async fn open(server: &Server, holds: usize) -> DuplexStream {
    let (mut client, io) = tokio::io::duplex(holds);
    let service = HyperService::new(server.clone(), None);
    tokio::spawn(server.http1().serve_connection(TokioIo::new(io), service).with_upgrades());
    client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    client
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_is_written_though_more_is_sent() {
    let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
    let mut client = open(&server, 1024).await;
    let socket = server.accept().await;
    let sender = socket.handle();
    let sending = tokio::spawn(async move { while sender.send(vec![0; 100]).await.is_ok() {} });
    let mut chunk = [0; 512];
    client.read_exact(&mut chunk).await.unwrap();

    let flushed = Arc::new(AtomicBool::new(false));
    let (handle, done) = (socket.handle(), Arc::clone(&flushed));
    let flushing = tokio::spawn(async move {
        handle.flush().await.unwrap();
        done.store(true, Ordering::Relaxed);
    });
    // Many times what may wait to be written, in the session and for the connection.
    for _ in 0..(8 << 20) / chunk.len() {
        client.read_exact(&mut chunk).await.unwrap();
    }
    assert!(flushed.load(Ordering::Relaxed));
    flushing.await.unwrap();
    socket.abort();
    sending.await.unwrap();
    assert!(matches!(socket.try_send("late"), Err(SendError::Closed(_))));
}
