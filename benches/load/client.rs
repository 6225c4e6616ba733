//! Connections of clients, as cheap as they can be: readiness by tokio, and bytes that were prepared.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::net::TcpStream;

use crate::Result;

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is wrong with a stream that has ended.
pub(crate) const ENDED: &str = "the server has closed the connection";

thread_local! {
    /// What was read and is examined at once.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]);
}

pub(crate) async fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How many sessions are opened at a time.
const AT_ONCE: usize = 32;

/// Opens a number of sessions.
pub(crate) async fn open_all<T, F: Future<Output = Result<T>>>(count: usize, open: impl Fn() -> F) -> Result<Vec<T>> {
    let opening = (0..count).map(|_| patiently("first messages", open()));
    stream::iter(opening).buffered(AT_ONCE).try_collect().await
}

/// Writes everything.
pub(crate) async fn write(stream: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for bytes and examines them. At the end of the stream, they are empty.
pub(crate) async fn read<T>(stream: &TcpStream, examine: impl FnOnce(&[u8]) -> T) -> Result<T> {
    loop {
        stream.readable().await?;
        let read = SCRATCH.with_borrow_mut(|scratch| stream.try_read(scratch));
        match read {
            Ok(len) => return Ok(SCRATCH.with_borrow(|scratch| examine(&scratch[..len]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the end of the stream. What arrives before it does not matter.
pub(crate) async fn read_to_end(stream: &TcpStream) -> Result<()> {
    while read(stream, |bytes| !bytes.is_empty()).await? {}
    Ok(())
}

/// Fails if it takes too long: answers are missing then.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|error| format!("{what}: {error}").into()),
        Err(_) => Err(format!("{what}: no answer within {} s", PATIENCE.as_secs()).into()),
    }
}
