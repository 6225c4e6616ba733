//! The connectors of the runtime crate.

use std::io::ErrorKind;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::adapter::TcpConnector;
use crate::adapter::net::{BoxIo, Connector, connect_any};
use crate::counting::Counting;
use crate::raw::within;

/// Sends and receives over a connection to the second argument.
async fn exchange(io: BoxIo, mut other: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut io = TokioIo::new(io);
    let mut bytes = [0; 5];
    io.write_all(b"hello").await.unwrap();
    other.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    other.write_all(b"there").await.unwrap();
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"there");
    io.shutdown().await.unwrap();
    assert_eq!(other.read(&mut bytes).await.unwrap(), 0);
}

pub async fn tcp_by_address_and_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The name may also resolve to ::1, where no server listens.
    for host in ["127.0.0.1", "localhost"] {
        let io = TcpConnector.connect(host, port).await.unwrap();
        exchange(io, listener.accept().await.unwrap().0).await;
    }
}

pub async fn tcp_by_an_ipv6_address_without_brackets() {
    // Not every machine has IPv6.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let io = TcpConnector.connect("::1", listener.local_addr().unwrap().port()).await.unwrap();
    exchange(io, listener.accept().await.unwrap().0).await;
}

/// An address whose host does not answer delays the connection by a moment, and does not use up its time.
#[cfg(target_os = "linux")]
pub async fn tcp_by_several_addresses_of_which_one_is_silent() {
    // The system answers no more attempts when the queue of a listener is full.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = silent.listen(1).unwrap();
    let addr = silent.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
        queue.push(stream);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let addrs = [addr, refused, addr, listener.local_addr().unwrap()];
    let io = within(connect_any(&Counting::new().runtime(), addrs, crate::runtime::connect)).await.unwrap();
    exchange(io, listener.accept().await.unwrap().0).await;
}

pub async fn tcp_where_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = TcpConnector.connect("127.0.0.1", port).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[cfg(unix)]
pub async fn a_unix_socket_whatever_the_host() {
    let path = std::env::temp_dir().join(format!("engineio-connect-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let connector = crate::adapter::UnixConnector::new(&path);
    let error = connector.connect("localhost", 80).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let io = connector.connect("no such host", 0).await.unwrap();
    exchange(io, listener.accept().await.unwrap().0).await;
    std::fs::remove_file(&path).unwrap();
}
