//! Sockets of smol as streams of hyper.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::future::poll_fn;
use std::io::{IoSlice, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use engineio_smol::net::SmolIo;
use hyper::rt::{Read as _, ReadBuf, Write as _};
use smol::Async;

/// A connection, and the peer's side of it, which blocks.
fn pair() -> (SmolIo<UnixStream>, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    (SmolIo::new(Async::new(ours).unwrap()), peer)
}

/// Reads up to so many bytes.
fn poll_read(io: &mut SmolIo<UnixStream>, cx: &mut Context<'_>, len: usize) -> Poll<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut buf = ReadBuf::new(&mut bytes);
    let read = Pin::new(io).poll_read(cx, buf.unfilled());
    read.map(|read| read.map(|()| buf.filled().to_vec()).unwrap())
}

async fn read(io: &mut SmolIo<UnixStream>, len: usize) -> Vec<u8> {
    poll_fn(|cx| poll_read(io, cx, len)).await
}

async fn write(io: &mut SmolIo<UnixStream>, bytes: &[u8]) -> usize {
    poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, bytes)).await.unwrap()
}

/// Wakes another waker, and counts how often.
struct Forward(Waker, AtomicUsize);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.wake_by_ref();
    }
}

#[test]
fn bytes_arrive_in_order_whatever_the_size_of_a_read() {
    let sent: Vec<u8> = (0..1_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    for size in [1000, 4096, 100_000, 1 << 20] {
        let (mut io, mut peer) = pair();
        let bytes = sent.clone();
        let sender = thread::spawn(move || bytes.chunks(77_777).for_each(|chunk| peer.write_all(chunk).unwrap()));
        smol::block_on(async {
            let mut received = Vec::new();
            loop {
                let bytes = read(&mut io, size).await;
                if bytes.is_empty() {
                    break;
                }
                received.extend(bytes);
            }
            assert!(received == sent, "{size}");
            assert!(read(&mut io, size).await.is_empty());
        });
        sender.join().unwrap();
    }
}

/// After a read that took everything, and while the task waits, the socket is not asked. What arrives wakes the task.
#[test]
fn what_arrives_later_is_read() {
    let (mut io, mut peer) = pair();
    smol::block_on(async {
        peer.write_all(b"one").unwrap();
        assert_eq!(read(&mut io, 10).await, b"one");
        peer.write_all(b"two").unwrap();
        assert_eq!(read(&mut io, 10).await, b"two");
        assert!(poll_read(&mut io, &mut Context::from_waker(Waker::noop()), 10).is_pending());
        peer.write_all(b"three").unwrap();
        assert_eq!(read(&mut io, 2).await, b"th");
        assert_eq!(read(&mut io, 10).await, b"ree");
        drop(peer);
        assert_eq!(read(&mut io, 10).await, b"");
    });
}

/// A task may have another waker each time. The last one counts, and a new one wakes nobody.
#[test]
fn the_waker_of_a_reader_may_change() {
    let (mut io, peer) = pair();
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while let Ok(1) = (&peer).read(&mut byte) {
            (&peer).write_all(&byte).unwrap();
        }
    });
    smol::block_on(async {
        let mut polls = 0;
        for byte in 0..10_000_u32 {
            write(&mut io, &[byte as u8]).await;
            let bytes = poll_fn(|cx| {
                polls += 1;
                let [first, last] = [(); 2].map(|()| Arc::new(Forward(cx.waker().clone(), AtomicUsize::new(0))));
                let polled = poll_read(&mut io, &mut Context::from_waker(&Waker::from(Arc::clone(&first))), 1);
                if polled.is_ready() {
                    return polled;
                }
                let polled = poll_read(&mut io, &mut Context::from_waker(&Waker::from(last)), 1);
                if polled.is_pending() {
                    assert_eq!(first.1.load(Ordering::Relaxed), 0);
                }
                polled
            })
            .await;
            assert_eq!(bytes, [byte as u8]);
        }
        assert!(polls <= 30_000, "{polls}");
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
        assert!(read(&mut io, 1).await.is_empty());
    });
    echo.join().unwrap();
}

#[test]
fn parts_are_written_together() {
    let (mut io, mut peer) = pair();
    assert!(io.is_write_vectored());
    smol::block_on(async {
        let parts = [IoSlice::new(b"one "), IoSlice::new(b"two "), IoSlice::new(b"three")];
        assert_eq!(poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &parts)).await.unwrap(), 13);
        poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await.unwrap();
    });
    let mut received = String::new();
    peer.read_to_string(&mut received).unwrap();
    assert_eq!(received, "one two three");
}
