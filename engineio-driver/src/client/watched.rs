//! A connection for requests that reports when it takes bytes again.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use engineio_proto::client::Input;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use super::failure::Received;
use super::session::Opened;
use crate::net::connect::BoxIo;
use crate::session::Cell;

/// A connection for the requests of one session, which also keeps the first bytes that it receives, for errors, and fails if
/// there are too many interim answers.
///
/// While a large POST is being sent, the server may send no ping, because the pong that it waits for follows that POST. A
/// connection that was blocked and takes bytes again shows that the server is alive. WebSockets have their own connections,
/// whose tasks report the same.
pub(super) struct Watched {
    io: BoxIo,
    /// The connection took no more bytes at the last attempt.
    blocked: bool,
    session: Weak<Cell<Opened>>,
    received: Arc<Received>,
    /// Some bytes have arrived.
    started: bool,
}

impl Watched {
    pub(super) const fn new(io: BoxIo, session: Weak<Cell<Opened>>, received: Arc<Received>) -> Self {
        Self { io, blocked: false, session, received, started: false }
    }

    /// Reads the first bytes, over a buffer on the stack.
    fn read_start(&mut self, cx: &mut Context<'_>, buf: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut chunk = [const { MaybeUninit::uninit() }; 1024];
        let room = chunk.len().min(buf.remaining());
        let mut read = ReadBuf::uninit(chunk.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(cx, read.unfilled()))?;
        let bytes = read.filled();
        buf.put_slice(bytes);
        if !bytes.is_empty() {
            self.started = true;
            self.received.keep_start(bytes);
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let was_blocked = std::mem::replace(&mut self.blocked, written.is_pending());
        if was_blocked && matches!(written, Poll::Ready(Ok(1..))) {
            if let Some(session) = self.session.upgrade() {
                session.input(Input::Unblocked, None);
            }
        }
        written
    }
}

impl Read for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.received.check()?;
        if !self.started {
            return self.read_start(cx, &mut buf);
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engineio_proto::{CloseReason, TransportKind};
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::mpsc;

    use crate::net::{BoxIo, Endpoint};
    use crate::rt::Runtime;
    use crate::{ClientBuilder, Socket};

    const OPEN: &str = r#"0{"sid":"S","upgrades":[],"pingInterval":1000,"pingTimeout":1000,"maxPayload":1000000}"#;
    /// Bytes that a connection takes before its server reads.
    const ROOM: usize = 1000;

    async fn answer(io: &mut DuplexStream, body: &str) {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        io.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Reads up to the end of a head, and gives what came of a body.
    async fn head(io: &mut DuplexStream) -> (String, usize) {
        let mut read = Vec::new();
        loop {
            assert!(io.read_buf(&mut read).await.unwrap() > 0);
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                return (String::from_utf8_lossy(&read[..end]).into_owned(), read.len() - end - 4);
            }
        }
    }

    /// A session by polling whose server has yet to ping. It hears nothing for two seconds at most.
    async fn open() -> (Socket, mpsc::UnboundedReceiver<DuplexStream>) {
        let (sender, mut connections) = mpsc::unbounded_channel();
        let connector = move |_: &str, _: u16| {
            let (client, server) = tokio::io::duplex(ROOM);
            sender.send(server).unwrap();
            std::future::ready(Ok::<_, std::io::Error>(Box::new(TokioIo::new(client)) as BoxIo))
        };
        let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
        let builder = ClientBuilder::new(runtime, Endpoint::parse("http://localhost").unwrap(), connector);
        let client = builder.transports([TransportKind::Polling]).build().unwrap();
        let opened = tokio::spawn(async move { client.connect().await });
        let mut first = connections.recv().await.unwrap();
        assert!(head(&mut first).await.0.starts_with("GET "));
        answer(&mut first, OPEN).await;
        let socket = opened.await.unwrap().unwrap();
        // The poll is held, so that the POST gets a connection of its own.
        assert!(head(&mut first).await.0.starts_with("GET "));
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(first);
        });
        (socket, connections)
    }

    #[tokio::test(start_paused = true)]
    async fn law9_a_server_that_reads_a_long_upload_is_alive() {
        let (socket, mut connections) = open().await;
        socket.try_send("x".repeat(10 * ROOM)).unwrap();
        let mut io = connections.recv().await.unwrap();
        let (head, begun) = head(&mut io).await;
        assert!(head.starts_with("POST "));
        let mut left = 10 * ROOM + 1 - begun;
        let mut seconds = 0;
        while left > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            seconds += 1;
            left -= io.read(&mut [0; ROOM]).await.unwrap();
            assert_eq!(socket.close_reason(), None, "{left} bytes are left after {seconds} seconds");
        }
        assert!(seconds > 4, "{seconds}");
        answer(&mut io, "ok").await;
        socket.flush().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn law9_a_server_that_reads_nothing_of_an_upload_is_not() {
        let (socket, mut connections) = open().await;
        socket.try_send("x".repeat(10 * ROOM)).unwrap();
        let io = connections.recv().await.unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(socket.closed().await, CloseReason::PingTimeout);
        assert_eq!(start.elapsed().as_secs(), 2);
        drop(io);
    }
}
