//! What the unit tests share.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use sqlx::error::{DatabaseError, ErrorKind};

use crate::connector::{Records, StepError, Window};
use crate::decode::{DecodeError, RECORD_BYTES_MAX, Sink};

/// A sink that keeps what it is given, and checks the size of each record.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Collected {
    pub(crate) records: Vec<Vec<u8>>,
    /// The reason of each refusal, and what was refused.
    pub(crate) refused: Vec<(String, Vec<u8>)>,
    pub(crate) flushes: usize,
}

impl Collected {
    /// The records, each of which must be UTF-8.
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.records.iter().map(|record| std::str::from_utf8(record).unwrap()).collect()
    }

    /// The reasons of the refusals.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        self.refused.iter().map(|(reason, _)| reason.as_str()).collect()
    }

    /// The records, where nothing may be refused.
    pub(crate) fn accepted(&self) -> Vec<String> {
        assert!(self.refused.is_empty(), "{:?}", self.refused);
        self.texts().into_iter().map(str::to_owned).collect()
    }

    /// The bytes of all records, refused ones included.
    pub(crate) fn bytes(&self) -> usize {
        let refused = self.refused.iter().map(|(_, record)| record.len());
        self.records.iter().map(Vec::len).chain(refused).sum()
    }
}

impl Sink for Collected {
    fn header(&mut self, _: &[String], _: &[&str]) -> Result<(), DecodeError> {
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        assert!(record.len() <= RECORD_BYTES_MAX, "{} bytes", record.len());
        self.records.push(record.to_vec());
        Ok(())
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        // A refused row is quoted again, which can make it longer.
        assert!(record.len() <= 3 * RECORD_BYTES_MAX, "{} bytes", record.len());
        self.refused.push((reason.to_owned(), record.to_vec()));
        Ok(())
    }
}

#[async_trait]
impl Records for Collected {
    fn begin(&mut self, _: Window) {
        *self = Self::default();
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        self.flushes += 1;
        Ok(())
    }
}

/// An error of Postgres with this SQLSTATE, whose message quotes the value that was refused.
#[derive(Debug)]
pub(crate) struct PostgresError(pub(crate) &'static str);

impl fmt::Display for PostgresError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As the driver does.
        write!(formatter, "{} at line 768", self.message())
    }
}

impl Error for PostgresError {}

impl DatabaseError for PostgresError {
    fn message(&self) -> &'static str {
        "invalid input syntax for type bigint: \"Juana\""
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.0))
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
