//! Operations of the kernel. Each is a task that waits for one operation, and then sends its result.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use compio::io::{AsyncRead, AsyncWrite};
use compio::net::{PollFd, TcpListener, TcpStream};
use compio::runtime::{JoinHandle, spawn};
use compio::time::sleep;
use futures::channel::mpsc;
use futures::future::{Either, select};
use futures::{SinkExt, StreamExt};

/// The result of an operation of a connection.
pub(crate) enum Done {
    /// There is a new connection.
    Accepted(TcpStream),
    /// These bytes arrived. There are none at the end of the connection.
    Read(io::Result<Vec<u8>>),
    Wrote(Written),
}

/// The result of a write.
pub(crate) struct Written {
    /// The bytes that the socket has not taken.
    pub(crate) rest: io::Result<Bytes>,
    /// The socket had no room at first, and then took bytes.
    pub(crate) unblocked: bool,
}

/// An operation under way. Dropping it cancels the operation.
pub(crate) type Job = JoinHandle<()>;

pub(crate) struct System {
    sender: mpsc::Sender<(u64, Done)>,
    receiver: mpsc::Receiver<(u64, Done)>,
}

/// A write that takes longer than this was blocked.
const BLOCKED: Duration = Duration::from_millis(10);

impl System {
    pub(crate) fn new() -> Self {
        // The channel has room for one result of each operation.
        let (sender, receiver) = mpsc::channel(0);
        Self { sender, receiver }
    }

    /// Waits for the next result, and returns it with the number of its connection.
    pub(crate) async fn done(&mut self) -> (u64, Done) {
        match self.receiver.next().await {
            Some(done) => done,
            None => std::future::pending().await, // A sender is in this struct, so this does not happen.
        }
    }

    /// Accepts connections, and numbers them.
    pub(crate) fn accept(&self, listener: TcpListener) -> io::Result<()> {
        // With readiness, compio 0.16 loses the connection for which `accept` has waited. So this code never waits
        // there.
        let listener = PollFd::new(listener)?;
        let mut sender = self.sender.clone();
        spawn(async move {
            let mut number = 0;
            loop {
                let accepted = match listener.accept_ready().await {
                    Ok(()) => listener.accept().await,
                    Err(error) => Err(error),
                };
                match accepted {
                    Ok((stream, _)) if stream.set_nodelay(true).is_ok() => {
                        number += 1;
                        let _ = sender.send((number, Done::Accepted(stream))).await;
                    }
                    Ok(_) => (),
                    // There may be too many connections for the moment.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        })
        .detach();
        Ok(())
    }

    /// Reads once.
    pub(crate) fn read(&self, number: u64, mut stream: TcpStream) -> Job {
        let mut sender = self.sender.clone();
        spawn(async move {
            let (result, bytes) = stream.read(Vec::with_capacity(4096)).await.into();
            let _ = sender.send((number, Done::Read(result.map(|_| bytes)))).await;
        })
    }

    /// Writes once. `is_rest`: the previous write took only the bytes before these.
    pub(crate) fn write(&self, number: u64, mut stream: TcpStream, bytes: Bytes, is_rest: bool) -> Job {
        let mut sender = self.sender.clone();
        spawn(async move {
            let write = pin!(async { stream.write(bytes).await.into() });
            // If both are ready, the write counts.
            let ((result, mut bytes), waited): ((io::Result<usize>, Bytes), bool) =
                match select(write, pin!(sleep(BLOCKED))).await {
                    Either::Left((written, _)) => (written, is_rest),
                    Either::Right(((), write)) => (write.await, true),
                };
            let rest = match result {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    bytes.advance(len);
                    Ok(bytes)
                }
                Err(error) => Err(error),
            };
            let unblocked = waited && rest.is_ok();
            let _ = sender.send((number, Done::Wrote(Written { rest, unblocked }))).await;
        })
    }

    /// Ends our side of a connection.
    pub(crate) fn shut_down(&self, number: u64, mut stream: TcpStream) -> Job {
        let mut sender = self.sender.clone();
        spawn(async move {
            let rest = stream.shutdown().await.map(|()| Bytes::new());
            let _ = sender.send((number, Done::Wrote(Written { rest, unblocked: false }))).await;
        })
    }
}
