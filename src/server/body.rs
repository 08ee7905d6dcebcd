//! The body of a POST: it is read before the request takes a seat, so a client that does not send it keeps no other out
//! of the port.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::auth::Login;
use super::places::Place;

/// Forms are small.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024;
/// A client that has not sent its body within this time gets an error.
pub(super) const BODY_READ_MAX: Duration = Duration::from_secs(5);

/// The body of a POST, or why it could not be read.
#[derive(Debug, Clone)]
pub(super) struct Sent(pub(super) Arc<Result<Vec<u8>, BodyFault>>);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyFault {
    #[error("the body is larger than 8 KiB")]
    TooLarge,
    #[error("the body did not arrive within {} s", BODY_READ_MAX.as_secs())]
    Late,
    #[error("the body cannot be read: it ended early, or its chunks are not those of HTTP")]
    Broken(#[source] axum::Error),
}

impl BodyFault {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The request with its body as an extension. While it is read, the client gives way as if it had sent nothing yet.
/// Without a login nothing can be changed, so the body is not read.
pub(super) async fn receive(request: Request, login: Login) -> Request {
    let (mut parts, body) = request.into_parts();
    let place = parts.extensions.get::<Arc<Place>>().cloned();
    let sent = if login == Login::Open {
        Ok(Vec::new())
    } else {
        if let Some(place) = &place {
            place.asks_further();
        }
        let sent = read(body).await;
        if let Some(place) = &place {
            place.asked();
        }
        sent
    };
    parts.extensions.insert(Sent(Arc::new(sent)));
    Request::from_parts(parts, Body::empty())
}

/// The whole body, within bounds of size and time.
async fn read(body: Body) -> Result<Vec<u8>, BodyFault> {
    // The length that the client states is known at once.
    let is_small = usize::try_from(body.size_hint().lower()).is_ok_and(|stated| stated <= BODY_BYTES_MAX);
    if !is_small {
        return Err(BodyFault::TooLarge);
    }
    let (mut chunks, mut whole) = (body.into_data_stream(), Vec::new());
    let until = Instant::now() + BODY_READ_MAX;
    while let Some(chunk) = timeout_at(until, chunks.next()).await.map_err(|_| BodyFault::Late)? {
        let chunk = chunk.map_err(BodyFault::Broken)?;
        if whole.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(BodyFault::TooLarge);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}
