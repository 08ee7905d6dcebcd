//! A body on its way to whoever takes the records.

use super::{Records, StepError};
use crate::decode::DecodeError;
use crate::http::{Body, CallOutcome};

/// What is read of a body at a time: a socket may have gathered much more, and others wait while it is looked at.
const PIECE_BYTES: usize = 64 << 10;

/// Whether to ask again for what could not be read, and whether to believe that there is nothing.
///
/// An answer that cannot be read is asked for once more. Status 204 says that there are no rows; a 200 without a body may
/// be a fault that passes, so it says so only when it comes twice in a row.
#[derive(Debug, Default)]
pub(super) struct Reread {
    spent: bool,
    was_empty: bool,
}

impl Reread {
    /// After an answer that could not be read: whether to send the call once more.
    pub(super) fn again(&mut self, error: &StepError) -> bool {
        self.was_empty = is_empty(error);
        !std::mem::replace(&mut self.spent, true)
    }

    /// Whether an answer without a body is one without rows.
    pub(super) const fn believes(&self, no_content: bool) -> bool {
        no_content || self.was_empty
    }
}

/// Whether an answer could not be read because it has no body.
pub(super) const fn is_empty(error: &StepError) -> bool {
    matches!(error, StepError::Unreadable(DecodeError::Empty))
}

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
