//! The body of an answer, which reports whether it was written or lost.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::delivery::{Answered, Delivery};
use super::pieces::{Front, LAST, PIECE};

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
    delivery: Delivery,
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
        self.delivery = delivery.unwrap_or_default();
        self
    }

    /// Returns the session whose messages are in the answer.
    pub(crate) fn session(&self) -> Option<Arc<dyn Answered>> {
        self.delivery.session()
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
        Poll::Ready(piece.map(|bytes| ReplyData::new(bytes, self.delivery.before_last())))
    }

    /// For a connection that keeps data until it is written. There the last byte of the answer tells when it is
    /// written, so nothing is held back.
    pub(crate) fn keep_in_one_piece(&mut self) {
        self.whole = true;
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
        let last = ReplyData::new(bytes, std::mem::take(&mut this.delivery));
        Poll::Ready(Some(Ok(Frame::data(last))))
    }

    fn is_end_stream(&self) -> bool {
        self.end_asked.store(true, Ordering::Relaxed);
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length_asked.store(true, Ordering::Relaxed);
        let front = self.front.as_ref().map_or(0, |front| front.len());
        SizeHint::with_exact((front + self.rest.len()) as u64)
    }
}

/// A piece of an answer's data. hyper keeps it until it is written, so it knows whether it was.
pub struct ReplyData {
    bytes: Bytes,
    delivery: Delivery,
    /// The connection has taken a part of the piece, and no more at that moment.
    blocked: bool,
}

impl fmt::Debug for ReplyData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyData").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl ReplyData {
    const fn new(bytes: Bytes, delivery: Delivery) -> Self {
        Self { bytes, delivery, blocked: false }
    }

    fn note_taken(&mut self) {
        let all_taken = self.bytes.is_empty();
        // That all of the answer is written says more.
        if self.blocked && !(all_taken && self.delivery.is_last()) {
            self.delivery.unblocked();
        }
        self.blocked = true;
        if all_taken {
            self.delivery.taken();
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
    use http_body_util::BodyExt as _;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};
    use std::time::Duration;

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
        let mut body = reply(900_000).0;
        body.keep_in_one_piece();
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
