//! Answers of a server and of another service on the same connection.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::connection::Current;
use super::observed::Answer;
use super::tower::{Either, EngineBody};
use crate::body::{Answered, ReplyBody, ReplyData};

/// The session whose messages are in an answer, as an extension of the answer. So the connection knows it, although the
/// answer has passed through layers.
#[derive(Clone)]
pub(crate) struct OfSession(Weak<dyn Answered>);

impl OfSession {
    pub(crate) fn mark(response: &mut Response<ReplyBody>) {
        if let Some(session) = response.body().session() {
            response.extensions_mut().insert(Self(Arc::downgrade(&session)));
        }
    }
}

impl<R: Body> Answer for Response<EngineBody<R>> {
    type Body = MixedBody<R>;

    fn observe(self, current: &Arc<Current>) -> Response<MixedBody<R>> {
        let (mut parts, body) = self.into_parts();
        match body.body {
            Either::Engine { body } => Response::from_parts(parts, body).observe(current).map(MixedBody::engine),
            Either::Other { body } => {
                current.streams(parts.extensions.remove::<OfSession>().map(|session| session.0));
                let complete = Complete(Arc::clone(current));
                Response::from_parts(parts, MixedBody { body: Mixed::Other { body, _complete: complete } })
            }
        }
    }
}

pin_project! {
    /// The body of an answer, as a connection of ours writes it.
    pub(crate) struct MixedBody<R> {
        #[pin]
        body: Mixed<R>,
    }
}

pin_project! {
    #[project = MixedProjection]
    enum Mixed<R> {
        Engine { #[pin] body: ReplyBody },
        Other { #[pin] body: R, _complete: Complete },
    }
}

/// Tells the connection that a body is complete, when hyper drops it.
struct Complete(Arc<Current>);

impl Drop for Complete {
    fn drop(&mut self) {
        self.0.complete();
    }
}

impl<R> MixedBody<R> {
    const fn engine(body: ReplyBody) -> Self {
        Self { body: Mixed::Engine { body } }
    }
}

impl<R: Body> Body for MixedBody<R> {
    type Data = MixedData<R::Data>;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, R::Error>>> {
        match self.project().body.project() {
            MixedProjection::Engine { body } => body.poll_frame(cx).map(|frame| {
                frame.map(|frame| frame.map(|frame| frame.map_data(MixedData::Engine)).map_err(|never| match never {}))
            }),
            MixedProjection::Other { body, .. } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(MixedData::Other))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Mixed::Engine { body } => body.is_end_stream(),
            Mixed::Other { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Mixed::Engine { body } => body.size_hint(),
            Mixed::Other { body, .. } => body.size_hint(),
        }
    }
}

/// A piece of an answer.
pub(crate) enum MixedData<D> {
    Engine(ReplyData),
    Other(D),
}

impl<D: Buf> Buf for MixedData<D> {
    fn remaining(&self) -> usize {
        match self {
            Self::Engine(data) => data.remaining(),
            Self::Other(data) => data.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Engine(data) => data.chunk(),
            Self::Other(data) => data.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Engine(data) => data.chunks_vectored(slices),
            Self::Other(data) => data.chunks_vectored(slices),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Engine(data) => data.advance(count),
            Self::Other(data) => data.advance(count),
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        match self {
            Self::Engine(data) => data.copy_to_bytes(len),
            Self::Other(data) => data.copy_to_bytes(len),
        }
    }
}
