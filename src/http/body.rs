//! A vendor's answer as a stream of bytes that is counted and capped.

use std::time::Duration;

use bytes::Bytes;

use super::session::InFlight;
use super::{CallOutcome, HttpError};

/// Uncompressed. No page or export that fits a warehouse slice comes near; a gzip bomb ends here.
const BODY_BYTES_MAX: u64 = 64 << 30;

/// The body of a successful answer. Must be [`Body::finish`]ed so that the quota learns what it cost; dropped, the
/// estimate stays counted.
#[derive(Debug)]
pub struct Body<'a> {
    response: reqwest::Response,
    in_flight: InFlight<'a>,
    /// Silence between two pieces beyond this is a broken connection.
    silence_max: Duration,
}

impl<'a> Body<'a> {
    pub(super) fn new(response: reqwest::Response, in_flight: InFlight<'a>, silence_max: Duration) -> Self {
        Self { response, in_flight, silence_max }
    }

    /// The next piece; none at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let next = tokio::time::timeout(self.silence_max, self.response.chunk()).await;
        let chunk = match next {
            Err(_) => return Err(HttpError::Transport { what: "the body stopped arriving", source: None }),
            Ok(outcome) => outcome.map_err(HttpError::transport)?,
        };
        if let Some(chunk) = &chunk {
            self.in_flight.received += chunk.len() as u64;
            if self.in_flight.received > BODY_BYTES_MAX {
                return Err(HttpError::TooLarge { max: BODY_BYTES_MAX });
            }
        }
        Ok(chunk)
    }

    /// The whole body, for answers that are small by nature.
    pub async fn small(mut self, max: usize) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > max {
                self.finish().await?;
                return Err(HttpError::TooLarge { max: max as u64 });
            }
            bytes.extend_from_slice(&chunk);
        }
        self.finish().await?;
        Ok(bytes)
    }

    /// Tells the quota what the call cost; answers the bytes of request and answer together.
    pub async fn finish(self) -> Result<u64, HttpError> {
        self.in_flight.settle(CallOutcome::Ok).await
    }

    /// Ends a call whose body was no use: what was received is counted.
    pub async fn abandon(self, outcome: CallOutcome) -> Result<(), HttpError> {
        self.in_flight.settle(outcome).await.map(|_| ())
    }
}
