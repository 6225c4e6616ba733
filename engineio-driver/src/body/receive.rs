//! Bodies that arrive, with a limit.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use engineio_proto::server::BodyError;
use http_body::Body;
use hyper::rt::Sleep;

/// Why a body could not be read: a reason of the protocol, or a peer that is gone.
#[derive(Debug)]
pub(crate) enum ReadError<E> {
    Body(BodyError),
    Lost(E),
}

/// Reads a body of at most so many bytes. No more than that is ever kept, whatever the headers announce. A body that
/// announces more is rejected before it is read.
///
/// The result is a copy of exactly its size. A body of hyper's is a slice of its read buffer, which would stay allocated
/// for as long as a message of the body is kept: 8 KiB and more for a message of one byte. A body of the application may
/// hold its memory (`Bytes::from_owner`), whose destructor may call back; and what is read goes into a session, which
/// drops it under its lock.
#[derive(Debug)]
pub(crate) struct Receive {
    read: Vec<u8>,
    limit: usize,
    done: bool,
}

impl Receive {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { read: Vec::new(), limit, done: false }
    }

    /// Returns whether the body was received, or could not be.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    pub(crate) fn poll<B: Body>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, ReadError<B::Error>>> {
        let read = loop {
            // Headers may announce the length.
            if self.read.is_empty() && body.size_hint().lower() > self.limit as u64 {
                break Err(ReadError::Body(BodyError::TooLarge));
            }
            match ready!(body.as_mut().poll_frame(cx)) {
                None => break Ok(self.take()),
                Some(Err(error)) => break Err(ReadError::Lost(error)),
                Some(Ok(frame)) => {
                    // Trailers are no data.
                    let Ok(data) = frame.into_data() else { continue };
                    if self.read.len() + data.remaining() > self.limit {
                        break Err(ReadError::Body(BodyError::TooLarge));
                    }
                    self.keep(data);
                    // Saves the poll that would return the end.
                    if body.is_end_stream() {
                        break Ok(self.take());
                    }
                }
            }
        };
        self.done = true;
        Poll::Ready(read)
    }

    /// Takes what was read.
    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.read).into_boxed_slice().into()
    }

    fn keep(&mut self, mut data: impl Buf) {
        if self.read.is_empty() {
            // Most bodies come in one piece.
            self.read.reserve_exact(data.remaining());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let step = chunk.len();
            self.read.extend_from_slice(chunk);
            data.advance(step);
        }
    }
}

/// Reads a body; see [`Receive`].
pub(crate) async fn read<B: Body>(mut body: Pin<&mut B>, limit: usize) -> Result<Bytes, ReadError<B::Error>> {
    let mut receive = Receive::new(limit);
    poll_fn(|cx| receive.poll(body.as_mut(), cx)).await
}

/// Reads and drops the rest of a body, up to a few times the limit and up to the deadline.
pub(crate) async fn discard<B: Body>(mut body: Pin<Box<B>>, limit: usize, mut deadline: Pin<Box<dyn Sleep>>) {
    let mut left = limit.saturating_mul(4).max(1 << 20);
    poll_fn(|cx| {
        loop {
            // A client that always has bytes must not put the deadline off.
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let len = frame.data_ref().map_or(0, Buf::remaining);
                    left = left.saturating_sub(len.max(1));
                    if left == 0 {
                        return Poll::Ready(());
                    }
                }
                None | Some(Err(_)) => return Poll::Ready(()),
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use std::convert::Infallible;
    use std::pin::pin;
    use std::task::Context;

    async fn read<B: Body>(body: B, limit: usize) -> Result<Bytes, ReadError<B::Error>> {
        super::read(pin!(body), limit).await
    }

    fn chunks(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> {
        let frames: Vec<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))).collect();
        StreamBody::new(Frames(frames.into_iter()))
    }

    struct Frames<I>(I);

    impl<I: Iterator + Unpin> futures_core::Stream for Frames<I> {
        type Item = I::Item;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
            Poll::Ready(self.0.next())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whole_and_chunked_bodies() {
        let data = Bytes::from_static(b"4hello");
        let copy = read(Full::new(data.clone()), 6).await.unwrap();
        assert_eq!(copy, data);
        assert_ne!(copy.as_ptr(), data.as_ptr(), "it may be the application's");
        assert_eq!(read(chunks(&["4he", "", "llo"]), 6).await.unwrap(), "4hello");
        assert_eq!(read(chunks(&[]), 6).await.unwrap(), "");
    }

    /// A body of hyper's is a slice of its read buffer.
    #[tokio::test(start_paused = true)]
    async fn sec1_a_body_keeps_no_other_memory_than_its_own() {
        for lens in [&[2][..], &[1000], &[1, 5], &[300; 30]] {
            let buffer = Bytes::from(vec![b'x'; 100_000]);
            let frames: Vec<_> =
                lens.iter().map(|&len| Ok::<_, Infallible>(Frame::data(buffer.slice(..len)))).collect();
            let body = read(StreamBody::new(Frames(frames.into_iter())), 10_000).await.unwrap();
            let len = lens.iter().sum::<usize>();
            assert_eq!(body.len(), len);
            // Nobody else has the memory, and there is no more of it.
            assert_eq!(body.try_into_mut().map(|body| body.capacity()), Ok(len), "{lens:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sec1_nothing_above_the_limit_is_kept() {
        for result in
            [read(Full::new(Bytes::from_static(b"4hello!")), 6).await, read(chunks(&["4he", "llo!"]), 6).await]
        {
            assert!(matches!(result, Err(ReadError::Body(BodyError::TooLarge))));
        }
    }
}
