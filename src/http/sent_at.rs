//! When a request was really sent: the time at which its body is handed to the open connection.
//!
//! Name look-up, TCP and TLS may take long after a quota was granted, and a vendor counts from the arrival of the
//! request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::quota::Reservation;

/// Observes when one request is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Departure {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    at: OnceLock<Instant>,
    notify: Notify,
}

impl Departure {
    /// A request body that records when it is read.
    pub(super) fn watch(&self, bytes: Vec<u8>) -> WatchedBody {
        WatchedBody { bytes: Some(bytes.into()), shared: Arc::clone(&self.shared) }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.shared.at.get().copied()
    }

    /// Records that the request has been sent by now, unless that was observed before.
    pub(super) fn not_later(&self) {
        let _ = self.shared.at.set(Instant::now());
    }

    /// The time from the reservation to the sending of the request; until now if it is not known.
    pub(super) fn offset(&self, reservation: &Reservation) -> Duration {
        let age = reservation.age();
        self.at().map_or(age, |at| age.saturating_sub(at.elapsed()))
    }

    /// Waits until the request has been sent; forever for one without a body.
    pub(super) async fn left(&self) {
        while self.at().is_none() {
            self.shared.notify.notified().await;
        }
    }
}

/// A request body of known size. It may contain credentials, so it does not print.
pub(super) struct WatchedBody {
    bytes: Option<Bytes>,
    shared: Arc<Shared>,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let _ = this.shared.at.set(Instant::now());
        this.shared.notify.notify_one();
        Poll::Ready(this.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
