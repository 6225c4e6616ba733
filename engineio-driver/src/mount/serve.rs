//! Serving connections.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{Service, service_fn};

use super::connection::{Connection, Current};
use super::hyper::answer;
use super::observed::{Answer, Observed};
use crate::body::ReplyBody;
use crate::net::connect::Io;
use crate::server::{Server, Slot};
use crate::tasks::Guard;

/// The maximum size of hyper's read buffer, in bytes. A connection keeps its buffer.
const READ_BUFFER: usize = 64 * 1024;

/// The maximum number of headers that hyper accepts by default. If it is set, even to the same number, hyper allocates
/// and fills two tables of that size for each request.
const HYPER_HEADERS: usize = 100;

/// How long to wait when the system has no resources for another connection.
const BREATHER: Duration = Duration::from_millis(50);

/// A source of connections for a server.
///
/// The runtime crates listen on TCP. Any other stream of bytes can be served through this trait.
pub trait Listener: Send {
    /// The type of the connections.
    type Io: Io + 'static;

    /// Waits for the next connection, and returns it with the peer's address, if it has one. Cancel safe.
    ///
    /// After an error, it is called again: at once if the error concerns a single connection, else after a short delay.
    /// While it runs, no other connection is accepted. Do whatever a peer can delay, such as a TLS handshake, in
    /// another task.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<SocketAddr>)>> + Send;
}

impl Server {
    /// Serves the connections of a listener.
    ///
    /// Returns when [`Server::shutdown`] is complete: it stops listening when the sessions have ended, and then waits for
    /// the connections to end. If you drop the future, the server stops listening at once, and connections that are already
    /// open continue.
    ///
    /// ```
    /// use engineio_driver::Server;
    /// use engineio_driver::mount::Listener;
    ///
    /// # async fn serve(server: Server, listener: impl Listener, signal: impl Future + Send + 'static) {
    /// tokio::spawn(server.shutdown_on(signal));
    /// server.serve(listener).await;
    /// # }
    /// ```
    ///
    /// Requests outside the server's path are answered with 404. See [`Server::serve_with`] (feature `tower`) for an
    /// application with other paths.
    pub async fn serve(&self, listener: impl Listener) {
        self.serve_each(listener, |io, addr| {
            let server = self.clone();
            // As `HyperService`, without an allocation for each request.
            self.carry(io, service_fn(move |request| answer(&server, request, addr)))
        })
        .await;
    }

    /// Serves the connections of a listener, each by a future in a task of its own, until a shutdown is complete.
    pub(super) async fn serve_each<L: Listener, F>(
        &self,
        mut listener: L,
        mut connection: impl FnMut(L::Io, Option<SocketAddr>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let listening = Guard::new(self.listeners());
        let accepting = async move {
            loop {
                match listener.accept().await {
                    Ok((io, addr)) => self.runtime().spawn(connection(io, addr)),
                    // A connection that broke before it was accepted is not an error of the listener.
                    Err(error) if is_about_the_connection(&error) => (),
                    Err(_) => self.runtime().sleep(BREATHER).await,
                }
            }
        };
        {
            // Drops the listener when it ends.
            let accepting = pin!(accepting);
            race(accepting, listening.ending()).await;
        }
        listening.overdue().await;
    }

    /// Serves one connection over HTTP/1, to its end or until a WebSocket takes it over, for code that accepts connections
    /// itself. `service` is a [`HyperService`](crate::mount::HyperService), or a service around one.
    ///
    /// All options of [`Builder`](crate::Builder) about connections hold. [`Server::shutdown`] waits for the connection. A
    /// connection above the maximum number is dropped at once.
    pub fn serve_connection<I, S>(&self, io: I, service: S) -> impl Future<Output = ()> + Send + use<I, S>
    where
        I: Io + 'static,
        S: Service<Request<Incoming>, Response = Response<ReplyBody>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.carry(io, service)
    }

    /// Serves one connection, with answers of any kind.
    pub(super) fn carry<I, S, B>(&self, io: I, service: S) -> impl Future<Output = ()> + Send + use<I, S, B>
    where
        I: Io + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        Response<B>: Answer<Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static>,
    {
        let under_way = self.guard();
        let slot = self.connections().open();
        let server = self.clone();
        // The connection is made inside the future, which would have room for it twice otherwise.
        async move {
            let Some(slot) = slot else { return };
            let connection = server.connection(io, service, slot);
            drop(server);
            let mut connection = pin!(connection);
            // The sessions of a connection learn how it ends.
            if !race(connection.as_mut(), under_way.ending()).await {
                connection.as_mut().graceful_shutdown();
                race(connection, under_way.overdue()).await;
            }
        }
    }

    /// A connection with its deadlines.
    fn connection<I, S, B>(&self, io: I, service: S, slot: Slot) -> UpgradeableConnection<Connection<I>, Observed<S>>
    where
        I: Io + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        Response<B>: Answer<Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static>,
    {
        let current = Arc::<Current>::default();
        let service = Observed::new(service, Arc::clone(&current));
        let io = Connection::new(io, self.clone(), current, slot);
        // Without a timer: the connection has a deadline of its own for heads, which does not include the time without a
        // request.
        self.http1_untimed().serve_connection(io, service).with_upgrades()
    }

    /// Returns hyper's settings for a connection, for code that serves connections itself in another way than by
    /// [`Server::serve_connection`].
    ///
    /// The number and size of headers and the time for the head of a request are limited; that time includes the time
    /// without a request before it. An answer counts as written when the connection took its last byte, for every kind of
    /// connection, because [`writev`](http1::Builder::writev) is on. With `writev` off, hyper copies answers into its own
    /// buffer, and the loss of that buffer is not detected; see [when an answer counts as
    /// written](Server#when-an-answer-counts-as-written).
    pub fn http1(&self) -> http1::Builder {
        let mut builder = self.http1_untimed();
        builder.timer(self.runtime().clone()).header_read_timeout(self.options().header_timeout);
        builder
    }

    fn http1_untimed(&self) -> http1::Builder {
        let options = self.options();
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None)
            .max_header_size(options.max_header_size)
            .max_buf_size(READ_BUFFER.max(options.max_header_size))
            .writev(true);
        if options.max_headers != HYPER_HEADERS {
            builder.max_headers(options.max_headers);
        }
        builder
    }
}

/// Waits for a future to end, or for another one. Returns whether the first one has ended.
pub(super) async fn race(mut future: Pin<&mut impl Future>, other: impl Future<Output = ()>) -> bool {
    let mut other = pin!(other);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => other.as_mut().poll(cx).map(|()| false),
    })
    .await
}

fn is_about_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::Pin;
    use std::task::Context;

    use engineio_proto::{CloseReason, TransportError};
    use hyper::rt::{Read, ReadBufCursor, Write};
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use crate::Builder;
    use crate::rt::Runtime;

    /// A listener with a fixed list of connections.
    struct These(Vec<DuplexStream>);

    impl Listener for These {
        type Io = Plain;

        async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
            match self.0.pop() {
                Some(stream) => Ok((Plain(TokioIo::new(stream)), None)),
                None => pending().await,
            }
        }
    }

    /// A connection without vectored writes.
    struct Plain(TokioIo<DuplexStream>);

    impl Read for Plain {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl Write for Plain {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// A listener that fails before it returns connections.
    struct Failing(Vec<io::ErrorKind>, These);

    impl Listener for Failing {
        type Io = Plain;

        async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
            match self.0.pop() {
                Some(kind) => Err(kind.into()),
                None => self.1.accept().await,
            }
        }
    }

    const TARGET: &str = "/engine.io/?EIO=4&transport=polling";

    async fn get(stream: &mut DuplexStream, target: &str) {
        stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    }

    /// Without vectored writes, hyper would copy an answer at once, and the answer would count as written.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_written_in_part_is_lost_whatever_the_connection_is_made_of() {
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        let (mut client, stream) = tokio::io::duplex(1024);
        let _listening = server.listen(These(vec![stream]));
        get(&mut client, TARGET).await;
        let socket = server.accept().await;
        let mut open = Vec::new();
        while !open.ends_with(b"}") {
            client.read_buf(&mut open).await.unwrap();
        }
        socket.try_send("x".repeat(100_000)).unwrap();
        get(&mut client, &format!("{TARGET}&sid={}", socket.id().as_str())).await;
        let mut some = [0; 1000];
        client.read_exact(&mut some).await.unwrap();
        assert_eq!(socket.close_reason(), None);
        drop(client);
        assert_eq!(socket.closed().await, CloseReason::TransportError(TransportError::PollLost));
    }

    /// A connection that broke too early does not delay the others; after a lack of resources the listener continues.
    #[tokio::test(start_paused = true)]
    async fn a_listener_that_fails_is_asked_again() {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, OutOfMemory};
        let server = Builder::new(Runtime::new(TokioExecutor::new(), TokioTimer::new())).build().unwrap();
        for (errors, breathers) in [(vec![ConnectionReset, ConnectionAborted], 0), (vec![OutOfMemory; 3], 3)] {
            let (mut client, stream) = tokio::io::duplex(1024);
            let began = tokio::time::Instant::now();
            let _listening = server.listen(Failing(errors, These(vec![stream])));
            get(&mut client, TARGET).await;
            server.accept().await;
            // The clock is paused: it advances only while something waits for it.
            assert_eq!(began.elapsed().as_millis() / BREATHER.as_millis(), breathers);
        }
    }
}
