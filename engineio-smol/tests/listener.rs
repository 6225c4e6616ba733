//! The connections of a listener.
#![allow(clippy::unwrap_used, missing_docs)]

use engineio_smol::mount::{Accept, Listener};
use smol::net::{TcpListener, TcpStream};

/// Without this, a message behind another one waits for an acknowledgement, 40 ms on Linux.
#[test]
fn small_messages_are_sent_at_once() {
    smol::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, addr) = Accept(listener).accept().await.unwrap();
        assert!(io.get_ref().nodelay().unwrap());
        assert_eq!(addr, Some(client.local_addr().unwrap()));
    });
}
