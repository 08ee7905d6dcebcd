//! From bytes to records, one at a time and size-capped; a body is never held as a tree.

pub mod json;

/// Where a decoder puts the records it finds.
pub trait Sink {
    /// Takes one record, a complete JSON text.
    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError>;

    /// Takes a piece of the body that is no record but must not be lost, and why it is none.
    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError>;
}

/// Why a body could not be read as what its vendor promised.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("the body is empty where JSON was expected")]
    Empty,
    #[error("the body is {0} where JSON was expected")]
    NotJson(&'static str),
    #[error("the body ends in the middle of its JSON")]
    Cut,
    #[error("malformed JSON at byte {offset}: {what}")]
    Malformed { offset: u64, what: &'static str },
    #[error("a record is larger than {max} bytes")]
    RecordTooLarge { max: usize },
    #[error("the member `{name}` is larger than {max} bytes")]
    MemberTooLarge { name: String, max: usize },
    #[error("the body has more than {max} members beside its records")]
    TooManyMembers { max: usize },
}
