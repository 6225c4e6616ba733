//! The connections of a listener.
#![allow(clippy::unwrap_used, missing_docs)]

use engineio_tokio::mount::{Accept, Listener};
use tokio::net::{TcpListener, TcpStream};

/// Without this, a message behind another one waits for an acknowledgement, 40 ms on Linux.
#[tokio::test]
async fn small_messages_are_sent_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, addr) = Accept(listener).accept().await.unwrap();
    assert!(io.inner().nodelay().unwrap());
    assert_eq!(addr, Some(client.local_addr().unwrap()));
}
