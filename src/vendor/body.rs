//! A body on its way to whoever takes the records.

use super::{Records, StepError};
use crate::http::{Body, CallOutcome};

/// What is read of a body at a time: a socket may have gathered much more, and others wait while it is looked at.
const PIECE_BYTES: usize = 64 << 10;

/// Gives a body to `feed` piece by piece, and lets `records` pass on what has gathered after each; answers the bytes that
/// the call took. A body that breaks off or cannot be read ends the call, and its quota is told so.
pub(super) async fn read<R: Records, E: Into<StepError>>(
    mut body: Body<'_>,
    records: &mut R,
    mut feed: impl FnMut(&[u8], &mut R) -> Result<(), E> + Send,
) -> Result<u64, StepError> {
    loop {
        let chunk = match body.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(body.finish().await?),
            Err(error) => {
                body.abandon(CallOutcome::of(&error)).await?;
                return Err(error.into());
            }
        };
        for piece in chunk.chunks(PIECE_BYTES) {
            if let Err(error) = feed(piece, records).map_err(Into::into) {
                body.abandon(CallOutcome::Unreadable).await?;
                return Err(error);
            }
            records.flush().await?;
        }
    }
}
