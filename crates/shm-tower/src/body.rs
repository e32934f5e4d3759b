//! A body that holds a permit.

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use shm_lib::Permit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The inner service's body, or an empty body of a request that was not admitted. It holds the request's permit until it
    /// has ended (even with an error) or is dropped.
    #[derive(Debug)]
    pub struct LimitedBody<R> {
        #[pin]
        inner: Option<R>,
        permit: Option<Permit>,
    }
}

impl<R> LimitedBody<R> {
    pub(crate) fn new(inner: R, permit: Option<Permit>) -> LimitedBody<R> {
        LimitedBody { inner: Some(inner), permit }
    }

    pub(crate) fn empty() -> LimitedBody<R> {
        LimitedBody { inner: None, permit: None }
    }
}

impl<R: Body> Body for LimitedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(inner.as_mut().poll_frame(context));
        // A server that knows that this was the last frame does not poll again, so the permit must be released now.
        if !matches!(frame, Some(Ok(_))) || inner.is_end_stream() {
            *this.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
