//! Request bodies with a limit, and answer bodies that report whether they were written.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use engineio_proto::ExchangeId;
use engineio_proto::server::BodyError;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Sleep;

/// Learns whether an answer was written.
pub(crate) trait Answered: Send + Sync {
    /// The answer to this exchange is completely written.
    fn written(&self, exchange: ExchangeId);

    /// A connection that was blocked while it wrote an answer takes more bytes again.
    fn unblocked(&self);

    /// The answer to this exchange is lost.
    fn lost(&self, exchange: ExchangeId);
}

/// Watches an answer until it is written. If this is dropped before that, it reports the answer as lost.
pub(crate) struct Delivery {
    session: Arc<dyn Answered>,
    exchange: ExchangeId,
    taken: bool,
}

impl Delivery {
    pub(crate) fn new(session: Arc<dyn Answered>, exchange: ExchangeId) -> Self {
        Self { session, exchange, taken: false }
    }

    fn taken(mut self) {
        self.taken = true;
        self.session.written(self.exchange);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.taken {
            self.session.lost(self.exchange);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// Why a body could not be read: a reason of the protocol, or a peer that is gone.
#[derive(Debug)]
pub(crate) enum ReadError {
    Body(BodyError),
    Lost,
}

/// Reads a body of at most `limit` bytes. No more than that is ever kept, whatever the headers announce. A body that
/// announces more is rejected before it is read.
pub(crate) async fn read<B: Body>(body: B, limit: usize) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::Body(BodyError::TooLarge));
    }
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx));
        let mut data = match frame.await {
            None => break,
            Some(Err(_)) => return Err(ReadError::Lost),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        let len = data.remaining();
        if first.len() + rest.len() + len > limit {
            return Err(ReadError::Body(BodyError::TooLarge));
        }
        if first.is_empty() && rest.is_empty() {
            // A body in one piece, the usual case, is not copied.
            first = data.copy_to_bytes(len);
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.reserve(len);
            while data.has_remaining() {
                let chunk = data.chunk();
                let step = chunk.len();
                rest.extend_from_slice(chunk);
                data.advance(step);
            }
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Reads and drops the rest of a body, up to a few times the limit and up to the deadline.
pub(crate) async fn discard<B: Body>(body: Pin<Box<B>>, limit: usize, deadline: Pin<Box<dyn Sleep>>) {
    let mut body = body;
    let mut deadline = deadline;
    let mut left = limit.saturating_mul(4).max(1 << 20);
    poll_fn(|cx| {
        loop {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let len = frame.data_ref().map_or(0, Buf::remaining);
                    left = left.saturating_sub(len);
                    if left == 0 {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Pending => return deadline.as_mut().poll(cx),
            }
        }
    })
    .await;
}

/// The maximum size of an answer in one piece, and of each piece of a longer answer, in bytes.
const PIECE: usize = 16 * 1024;

/// The size of the last piece of a longer answer, in bytes. It is longer than two TCP segments on Ethernet: without
/// `TCP_NODELAY`, a shorter piece would wait for a delayed acknowledgement.
const LAST: usize = 4 * 1024;

/// The body of a server's answer.
///
/// An answer of at most 16 KiB is one piece of data. A longer answer is split into pieces of at most 16 KiB, the last
/// one of 4 KiB, unless [`Server::serve`](crate::Server::serve) writes it. The total length is known from the
/// beginning.
///
/// The answer counts as written once all bytes of its last piece were taken from their [`Buf`]. If the body or its last
/// piece is dropped before that, the answer is lost, and the session ends. See [when an answer counts as
/// written](crate::Server#when-an-answer-counts-as-written).
///
/// The last of several pieces is ready once all earlier pieces were dropped: hyper drops data when it is written. A
/// layer that keeps all pieces until it has the last one would wait forever. So the last piece waits only if the layer
/// reads the body as hyper does: it asks for the length ([`Body::size_hint`]) before it takes the first piece, and for
/// the end ([`Body::is_end_stream`]) before it takes any piece. Other layers get the last piece at once.
#[derive(Default)]
pub struct ReplyBody {
    /// What was not taken. If there is a front, this is the last piece.
    rest: Bytes,
    delivery: Option<Delivery>,
    /// What comes before the last piece; present from the first poll on.
    front: Option<Box<Front>>,
    /// The answer is one piece, whatever its length.
    whole: bool,
    length_asked: AtomicBool,
    /// The end was asked for since a piece was taken.
    end_asked: AtomicBool,
}

impl ReplyBody {
    pub(crate) fn with_delivery(mut self, delivery: Option<Delivery>) -> Self {
        self.delivery = delivery;
        self
    }

    /// Returns the next piece of the front, or `None` when the last piece may follow.
    fn poll_front(&mut self, cx: &Context<'_>) -> Poll<Option<ReplyData>> {
        let Self { rest, front, .. } = self;
        let front = front.get_or_insert_with(|| {
            let last = rest.split_off(rest.len() - LAST);
            Box::new(Front::new(std::mem::replace(rest, last)))
        });
        let piece = ready!(front.poll(*self.length_asked.get_mut() & *self.end_asked.get_mut(), cx));
        *self.end_asked.get_mut() = false;
        let answered = self.delivery.as_ref().map(|delivery| Arc::clone(&delivery.session));
        Poll::Ready(piece.map(|bytes| ReplyData { answered, ..ReplyData::new(bytes) }))
    }

    /// For a connection that keeps data until it is written. There the last byte of the answer tells when it is
    /// written, so nothing is held back.
    pub(crate) fn in_one_piece(mut self) -> Self {
        self.whole = true;
        self
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody").field("rest", &self.rest.len()).finish_non_exhaustive()
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self { rest: bytes, ..Self::default() }
    }
}

impl Body for ReplyBody {
    type Data = ReplyData;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ReplyData>, Infallible>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        if this.front.is_some() || (this.rest.len() > PIECE && !this.whole) {
            if let Some(piece) = ready!(this.poll_front(cx)) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        let bytes = std::mem::take(&mut this.rest);
        let last = ReplyData { delivery: this.delivery.take(), ..ReplyData::new(bytes) };
        Poll::Ready(Some(Ok(Frame::data(last))))
    }

    fn is_end_stream(&self) -> bool {
        self.end_asked.store(true, Ordering::Relaxed);
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length_asked.store(true, Ordering::Relaxed);
        let front = self.front.as_ref().map_or(0, |front| front.rest.len());
        SizeHint::with_exact((front + self.rest.len()) as u64)
    }
}

/// The part of an answer before its last piece. It decides when the last piece may follow.
#[derive(Debug)]
struct Front {
    /// What was not taken.
    rest: Bytes,
    state: Arc<Mutex<FrontState>>,
    /// A piece was taken without asking for the length or the end. The layer that took it may keep all pieces.
    unasked: bool,
    /// An earlier poll found that all pieces were dropped.
    seen: bool,
}

#[derive(Debug, Default)]
struct FrontState {
    dropped: bool,
    waker: Option<Waker>,
}

impl Front {
    fn new(bytes: Bytes) -> Self {
        let state = Arc::<Mutex<FrontState>>::default();
        let rest = Bytes::from_owner(Taken { bytes, state: Arc::clone(&state) });
        Self { rest, state, unasked: false, seen: false }
    }

    /// Returns the next piece, or `None` when the last piece may follow. `asked`: the length was asked for, and, since
    /// the last piece, the end.
    ///
    /// The front is dropped when it was written, but also when its connection broke. So the last piece may follow one
    /// poll after the front was found to be dropped: if the connection broke, the body is dropped before that poll. A
    /// layer that copied the front can write it in between.
    fn poll(&mut self, asked: bool, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        self.unasked |= !asked;
        if !self.rest.is_empty() {
            // No reference to the piece may stay here, or the piece would never count as dropped.
            let len = self.rest.len();
            let piece = if len > PIECE { self.rest.split_to(PIECE) } else { std::mem::take(&mut self.rest) };
            return Poll::Ready(Some(piece));
        }
        if self.unasked || self.seen {
            return Poll::Ready(None);
        }
        let waker = Some(cx.waker().clone());
        let (dropped, _replaced) = {
            // A replaced waker is dropped without the lock: its task may be dropped with it, and the front with the
            // task.
            let mut state = lock(&self.state);
            (state.dropped, std::mem::replace(&mut state.waker, waker))
        };
        if dropped {
            self.seen = true;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The bytes of the front, until the last piece of it is dropped.
struct Taken {
    bytes: Bytes,
    state: Arc<Mutex<FrontState>>,
}

impl AsRef<[u8]> for Taken {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.state);
            state.dropped = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock(state: &Mutex<FrontState>) -> MutexGuard<'_, FrontState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A piece of an answer's data. hyper keeps it until it is written, so it knows whether it was.
pub struct ReplyData {
    bytes: Bytes,
    /// Learns whether the last byte of the answer was taken. Only the last piece has it.
    delivery: Option<Delivery>,
    /// The session, in a piece before the last.
    answered: Option<Arc<dyn Answered>>,
    /// The connection has taken a part of the piece, and no more at that moment.
    blocked: bool,
}

impl fmt::Debug for ReplyData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyData").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl ReplyData {
    const fn new(bytes: Bytes) -> Self {
        Self { bytes, delivery: None, answered: None, blocked: false }
    }

    fn note_taken(&mut self) {
        let last = self.delivery.as_ref().filter(|_| !self.bytes.is_empty()).map(|delivery| &delivery.session);
        if let Some(session) = self.answered.as_ref().or(last).filter(|_| self.blocked) {
            session.unblocked();
        }
        self.blocked = true;
        if let Some(delivery) = self.delivery.take_if(|_| self.bytes.is_empty()) {
            delivery.taken();
        }
    }
}

impl Buf for ReplyData {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.note_taken();
    }

    /// Does not copy.
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        let bytes = self.bytes.copy_to_bytes(len);
        self.note_taken();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::time::Duration;

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
        let read_back = read(Full::new(data.clone()), 6).await.unwrap();
        assert_eq!(read_back.as_ptr(), data.as_ptr());
        assert_eq!(read(chunks(&["4he", "", "llo"]), 6).await.unwrap(), "4hello");
        assert_eq!(read(chunks(&[]), 6).await.unwrap(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn sec1_nothing_above_the_limit_is_kept() {
        for result in
            [read(Full::new(Bytes::from_static(b"4hello!")), 6).await, read(chunks(&["4he", "llo!"]), 6).await]
        {
            assert!(matches!(result, Err(ReadError::Body(BodyError::TooLarge))));
        }
    }

    fn reply(len: usize) -> (ReplyBody, Bytes) {
        let bytes: Bytes = (0..len).map(|index| index as u8).collect();
        (ReplyBody::from(bytes.clone()), bytes)
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a body as hyper does, and counts how often it is woken.
    struct Hyper {
        body: ReplyBody,
        wakes: Arc<Wakes>,
    }

    impl Hyper {
        fn new(len: usize) -> Self {
            let (body, _) = reply(len);
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some(len as u64));
            Self { body, wakes: Arc::default() }
        }

        /// Returns the next piece, and whether it is the last.
        fn poll(&mut self) -> Poll<Option<(ReplyData, bool)>> {
            let waker = Arc::clone(&self.wakes).into();
            let frame = Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker));
            frame.map(|frame| frame.map(|Ok(frame)| (frame.into_data().unwrap(), self.body.is_end_stream())))
        }

        fn ready(&mut self) -> (ReplyData, bool) {
            match self.poll() {
                Poll::Ready(Some(piece)) => piece,
                other => panic!("{other:?}"),
            }
        }

        fn woken(&self) -> usize {
            self.wakes.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_small_answer_is_one_piece() {
        for len in [1, PIECE] {
            let (mut body, bytes) = reply(len);
            assert_eq!(body.size_hint().exact(), Some(len as u64));
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else { panic!("{body:?}") };
            let data = frame.into_data().unwrap();
            assert_eq!((data.chunk(), data.chunk().as_ptr()), (&bytes[..], bytes.as_ptr()));
            assert!(body.is_end_stream());
            assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)));
        }
        assert!(reply(0).0.is_end_stream());
    }

    #[test]
    fn an_answer_that_knows_when_it_is_written_is_one_piece() {
        let mut body = reply(900_000).0.in_one_piece();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else { panic!("{body:?}") };
        assert_eq!(frame.into_data().unwrap().remaining(), 900_000);
        assert!(body.is_end_stream());
    }

    #[test]
    fn a_large_answer_is_pieces() {
        let front = |len: usize| [vec![PIECE; len / PIECE], vec![len % PIECE; usize::from(len % PIECE > 0)]].concat();
        for len in [PIECE + 1, PIECE + LAST, PIECE + LAST + 1, 2 * PIECE, 900_000] {
            let (mut body, bytes) = reply(len);
            let mut pieces = Vec::new();
            let mut at = 0;
            while !body.is_end_stream() {
                assert_eq!(body.size_hint().exact(), Some((len - at) as u64));
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(&mut body).poll_frame(&mut cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let data = frame.into_data().unwrap();
                        // Nothing was copied.
                        assert_eq!(data.chunk().as_ptr(), bytes[at..].as_ptr());
                        at += data.remaining();
                        pieces.push(data.remaining());
                    }
                    other => assert!(other.is_pending()),
                }
            }
            assert_eq!(pieces, [front(len - LAST), vec![LAST]].concat());
        }
    }

    #[test]
    fn the_last_piece_waits_for_those_before_it() {
        let mut hyper = Hyper::new(2 * PIECE + LAST);
        let pieces = [hyper.ready(), hyper.ready()].map(|(piece, last)| (piece.remaining(), last, piece));
        assert!(pieces.iter().all(|(len, last, _)| (*len, *last) == (PIECE, false)));
        let [(.., first), (.., mut second)] = pieces;
        assert!(hyper.poll().is_pending());
        drop(first);
        assert!(hyper.poll().is_pending());
        // Written data counts only when it is dropped, and so do bytes that were split off.
        second.advance(1000);
        let rest = second.copy_to_bytes(second.remaining());
        drop(second);
        assert!(hyper.poll().is_pending());
        assert_eq!(hyper.woken(), 0);
        drop(rest);
        assert_eq!(hyper.woken(), 1);
        // A layer whose connection broke does not poll again.
        assert!(hyper.poll().is_pending());
        assert_eq!(hyper.woken(), 2);
        let (last, is_last) = hyper.ready();
        assert_eq!((last.remaining(), is_last), (LAST, true));
        assert!(matches!(hyper.poll(), Poll::Ready(None)));
    }

    /// A layer that keeps all pieces would wait for itself.
    #[tokio::test(start_paused = true)]
    async fn the_last_piece_waits_only_for_those_who_ask_as_hyper_does() {
        let (body, bytes) = reply(900_000);
        let collected = tokio::time::timeout(Duration::from_secs(1), body.collect()).await;
        assert_eq!(collected.unwrap().unwrap().to_bytes(), bytes);
        // Between hyper and another layer, or alone.
        for (length, end, each) in [(true, false, true), (false, true, true), (true, true, false)] {
            let (mut body, bytes) = reply(900_000);
            if length {
                body.size_hint();
            }
            if end {
                body.is_end_stream();
            }
            let mut taken = Vec::new();
            while let Some(frame) = tokio::time::timeout(Duration::from_secs(1), body.frame()).await.unwrap() {
                taken.push(frame.unwrap().into_data().unwrap());
                if each {
                    body.is_end_stream();
                }
            }
            assert_eq!(taken.iter().map(Buf::chunk).collect::<Vec<_>>().concat(), bytes);
        }
    }
}
