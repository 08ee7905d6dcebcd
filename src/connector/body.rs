//! Reads response bodies into the sink of their records.

use super::{CsvForm, Records, StepError, request};
use crate::decode::DecodeError;
use crate::decode::text::{Charset, FileText};
use crate::http::{Body, CallOutcome, HttpError, Redactor};

/// Bytes parsed at a time. A socket may have received much more, and other tasks wait while this task parses.
const PIECE_BYTES: usize = 64 << 10;

/// A body that has arrived and was fed to a decoder. Only the end of the decoder shows whether the body is complete, so
/// the call ends with [`Arrived::end`]. If dropped, the estimate stays counted.
#[derive(Debug)]
#[must_use]
pub(super) struct Arrived<'b>(Body<'b>);

impl Arrived<'_> {
    /// Ends the call by what the body was `read` as. Returns that, and the bytes that the call took.
    pub(super) async fn end<T, E: Into<StepError>>(self, read: Result<T, E>) -> Result<(T, u64), StepError> {
        let outcome = if read.is_ok() { CallOutcome::Ok } else { CallOutcome::Unreadable };
        let bytes = self.0.finish_as(outcome).await?;
        Ok((read.map_err(Into::into)?, bytes))
    }

    /// The same; with `accept_empty`, an empty body is an empty reading: `None`. The call still counts as unreadable,
    /// unless its status says that there is no content.
    pub(super) async fn end_or_empty<T, E: Into<StepError>>(
        self,
        read: Result<T, E>,
        accept_empty: bool,
    ) -> Result<(Option<T>, u64), StepError> {
        let read: Result<T, StepError> = read.map_err(Into::into);
        match read {
            Err(error) if accept_empty && request::is_empty(&error) => {
                let outcome = if self.0.is_no_content() { CallOutcome::Ok } else { CallOutcome::Unreadable };
                Ok((None, self.0.finish_as(outcome).await?))
            }
            read => self.end(read.map(Some)).await,
        }
    }
}

/// Passes a body to `feed` piece by piece, and flushes `records` after each piece. A body that breaks off or cannot be
/// read ends the call, and the quota ledger records this outcome.
pub(super) async fn read<'b, R: Records + ?Sized, E: Into<StepError>>(
    body: Body<'b>,
    records: &mut R,
    feed: impl FnMut(&[u8], &mut R) -> Result<(), E> + Send,
) -> Result<Arrived<'b>, StepError> {
    pour(body, FileText::plain(), records, feed).await
}

/// Like [`read`], for a file. `feed` receives the text in UTF-8: unpacked if the file is gzip, and decoded from the
/// charset that `form` or the file's Content-Type names. The size limit of the body applies to the unpacked text too.
pub(super) async fn read_file<'b, R: Records + ?Sized, E: Into<StepError>>(
    body: Body<'b>,
    form: &CsvForm,
    redactor: &Redactor,
    records: &mut R,
    feed: impl FnMut(&[u8], &mut R) -> Result<(), E> + Send,
) -> Result<Arrived<'b>, StepError> {
    let said = || Charset::of_content_type(body.content_type().unwrap_or_default());
    let charset = match form.charset.map_or_else(said, |charset| Ok(Some(charset))) {
        Ok(charset) => charset,
        Err(name) => {
            let error = DecodeError::UnknownCharset(redactor.quote(name));
            body.abandon(CallOutcome::Unreadable).await?;
            return Err(error.into());
        }
    };
    pour(body, FileText::new(charset), records, feed).await
}

async fn pour<'b, R: Records + ?Sized, E: Into<StepError>>(
    mut body: Body<'b>,
    text: FileText,
    records: &mut R,
    feed: impl FnMut(&[u8], &mut R) -> Result<(), E> + Send,
) -> Result<Arrived<'b>, StepError> {
    match poured(&mut body, text, records, feed).await {
        Ok(()) => Ok(Arrived(body)),
        Err(Fault::Arrival(error)) => {
            body.abandon(CallOutcome::of(&error)).await?;
            Err(error.into())
        }
        Err(Fault::Text(error)) => {
            body.abandon(CallOutcome::Unreadable).await?;
            Err(error)
        }
        Err(Fault::Loading(error)) => Err(error),
    }
}

/// Why a body was not read to its end.
enum Fault {
    Arrival(HttpError),
    Text(StepError),
    Loading(StepError),
}

async fn poured<R: Records + ?Sized, E: Into<StepError>>(
    body: &mut Body<'_>,
    mut text: FileText,
    records: &mut R,
    mut feed: impl FnMut(&[u8], &mut R) -> Result<(), E> + Send,
) -> Result<(), Fault> {
    let max = body.bytes_max();
    let mut left = max;
    let mut hand_over = |part: &[u8], records: &mut R| {
        left = left.checked_sub(part.len() as u64).ok_or(Fault::Text(HttpError::TooLarge { max }.into()))?;
        feed(part, records).map_err(|error| Fault::Text(error.into()))
    };
    while let Some(chunk) = body.chunk().await.map_err(Fault::Arrival)? {
        for piece in chunk.chunks(PIECE_BYTES) {
            let mut rest = piece;
            loop {
                let part = text.take(&mut rest).map_err(|error| Fault::Text(error.into()))?;
                if part.is_empty() {
                    break;
                }
                hand_over(&part, records)?;
                records.flush().await.map_err(Fault::Loading)?;
            }
        }
    }
    let last = text.finish().map_err(|error| Fault::Text(error.into()))?;
    hand_over(&last, records)?;
    records.flush().await.map_err(Fault::Loading)
}
