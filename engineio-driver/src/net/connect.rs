//! Connections of a client, and their encryption.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::{Read, Sleep, Timer, Write};

/// A connection that carries bytes in order.
pub trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin + ?Sized> Io for T {}

/// A connection, as a boxed trait object.
pub type BoxIo = Box<dyn Io>;

/// A future that resolves to a connection.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// Opens connections for a client.
///
/// The runtime crates have connectors for TCP and Unix sockets; any other stream of bytes will do. A function that
/// takes a host and a port and returns a future of a connection is also a connector.
pub trait Connector: Send + Sync + 'static {
    /// Connects to a host and a port. The host is a name, or an address without brackets.
    fn connect(&self, host: &str, port: u16) -> Connecting;
}

impl<F, Fut, T> Connector for F
where
    F: Fn(&str, u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<T>> + Send + 'static,
    T: Io + 'static,
{
    fn connect(&self, host: &str, port: u16) -> Connecting {
        let connecting = self(host, port);
        Box::pin(async { connecting.await.map(|io| Box::new(io) as BoxIo) })
    }
}

/// How long an attempt may take before the next one starts beside it: RFC 8305, section 5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to one of several addresses, the first that accepts: RFC 8305, "Happy Eyeballs". For connectors.
///
/// The addresses are tried in their order, except that IPv6 and IPv4 take turns. An attempt starts when the one before it
/// has failed, or has taken 250 ms; earlier attempts go on beside it. The others are dropped as soon as one succeeds. There
/// is no limit of time: a client has [`ClientBuilder::connect_timeout`](crate::ClientBuilder::connect_timeout) for all
/// attempts together, and for the look-up before them.
///
/// # Errors
/// If all attempts fail, returns the error of the one that failed last. Returns an error if there is no address.
pub async fn connect_any<T, F>(
    timer: &impl Timer,
    addrs: impl IntoIterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut addrs = take_turns(addrs);
    let mut attempts: Vec<Pin<Box<F>>> = Vec::new();
    let mut delay: Option<Pin<Box<dyn Sleep>>> = None;
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    poll_fn(|cx| {
        loop {
            let before = attempts.len();
            let mut connected = None;
            attempts.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                _ if connected.is_some() => false,
                Poll::Pending => true,
                Poll::Ready(Ok(io)) => {
                    connected = Some(io);
                    false
                }
                Poll::Ready(Err(failed)) => {
                    error = failed;
                    false
                }
            });
            if let Some(io) = connected {
                return Poll::Ready(Ok(io));
            }
            let has_failed = attempts.len() < before;
            let is_due = delay.as_mut().is_none_or(|delay| delay.as_mut().poll(cx).is_ready());
            if !has_failed && !is_due {
                return Poll::Pending;
            }
            delay = None;
            match addrs.next() {
                Some(addr) => {
                    attempts.push(Box::pin(connect(addr)));
                    delay = Some(timer.sleep(ATTEMPT_DELAY));
                }
                None if attempts.is_empty() => {
                    return Poll::Ready(Err(std::mem::replace(&mut error, io::ErrorKind::NotFound.into())));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

/// Orders addresses so that the two families take turns, beginning with that of the first address.
fn take_turns(addrs: impl IntoIterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut addrs = addrs.into_iter().peekable();
    let is_v6 = addrs.peek().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs.partition(|addr| addr.is_ipv6() == is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        if turn { first.next().or_else(|| second.next()) } else { second.next().or_else(|| first.next()) }
    })
}

/// Encrypts connections for a client. The runtime crates have an encryptor for TLS.
pub trait Encryptor: Send + Sync + 'static {
    /// Performs a TLS handshake on a connection, and verifies that the peer is `host`.
    fn encrypt(&self, io: BoxIo, host: &str) -> Connecting;
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioTimer;
    use std::io::ErrorKind;
    use std::sync::Mutex;
    use tokio::time::{Instant, sleep};

    fn addrs(addrs: &[&str]) -> Vec<SocketAddr> {
        addrs.iter().map(|addr| format!("{addr}:80").parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        for (given, expected) in [
            (&[][..], &[][..]),
            (&["1.1.1.1", "1.1.1.2"], &["1.1.1.1", "1.1.1.2"]),
            (&["[::1]", "[::2]", "[::3]", "1.1.1.1"], &["[::1]", "1.1.1.1", "[::2]", "[::3]"]),
            (&["1.1.1.1", "1.1.1.2", "[::1]", "[::2]"], &["1.1.1.1", "[::1]", "1.1.1.2", "[::2]"]),
        ] {
            assert_eq!(take_turns(addrs(given)).collect::<Vec<_>>(), addrs(expected));
        }
    }

    /// Attempts by the last byte of an address: each takes so many milliseconds, and succeeds or not. Returns the byte of
    /// the connection, when the attempts started, and how long it took.
    async fn connect(attempts: &[(&str, u64, bool)]) -> (Result<String, ErrorKind>, Vec<(String, u64)>, u64) {
        let start = Instant::now();
        let elapsed = || u64::try_from(start.elapsed().as_millis()).unwrap();
        let started = Mutex::new(Vec::new());
        let all: Vec<_> = attempts.iter().map(|attempt| attempt.0).collect();
        let timer = TokioTimer::new();
        let connected = connect_any(&timer, addrs(&all), |addr| {
            let (name, time, succeeds) = *attempts.iter().find(|attempt| addrs(&[attempt.0])[0] == addr).unwrap();
            started.lock().unwrap().push((name.to_owned(), elapsed()));
            async move {
                sleep(Duration::from_millis(time)).await;
                if succeeds { Ok(name.to_owned()) } else { Err(io::Error::from(ErrorKind::ConnectionRefused)) }
            }
        });
        let connected = connected.await.map_err(|error| error.kind());
        let started = started.lock().unwrap().clone();
        (connected, started, elapsed())
    }

    fn starts(starts: &[(&str, u64)]) -> Vec<(String, u64)> {
        starts.iter().map(|&(name, at)| (name.to_owned(), at)).collect()
    }

    const SILENT: u64 = 1_000_000;

    #[tokio::test(start_paused = true)]
    async fn addresses_are_tried_side_by_side() {
        let ok = |name: &str| Ok(name.to_owned());
        // The first that accepts.
        let row = connect(&[("[::1]", 10, true), ("1.1.1.1", 10, true)]).await;
        assert_eq!(row, (ok("[::1]"), starts(&[("[::1]", 0)]), 10));
        // A silent address delays the next one by 250 ms, and no more.
        let row = connect(&[("[::1]", SILENT, true), ("[::2]", SILENT, true), ("1.1.1.1", 10, true)]).await;
        assert_eq!(row, (ok("1.1.1.1"), starts(&[("[::1]", 0), ("1.1.1.1", 250)]), 260));
        // A slow one still wins if it is faster than the others.
        let row = connect(&[("1.1.1.1", 300, true), ("1.1.1.2", 100, true)]).await;
        assert_eq!(row, (ok("1.1.1.1"), starts(&[("1.1.1.1", 0), ("1.1.1.2", 250)]), 300));
        // One that refuses does not delay the next one.
        let row = connect(&[("1.1.1.1", 1, false), ("1.1.1.2", 1, false), ("1.1.1.3", 1, true)]).await;
        assert_eq!(row, (ok("1.1.1.3"), starts(&[("1.1.1.1", 0), ("1.1.1.2", 1), ("1.1.1.3", 2)]), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_fail() {
        let row = connect(&[("1.1.1.1", 400, false), ("1.1.1.2", 1, false)]).await;
        assert_eq!(row, (Err(ErrorKind::ConnectionRefused), starts(&[("1.1.1.1", 0), ("1.1.1.2", 250)]), 400));
        assert_eq!(connect(&[]).await, (Err(ErrorKind::NotFound), Vec::new(), 0));
    }
}
