//! Converts bodies to records, one at a time and of bounded size. A body is never held as a tree.

pub mod csv;
pub mod gzip;
pub mod json;
pub mod list;
pub mod object;
pub mod raw;
pub mod text;

use gzip::GzipError;

/// A longer record is not a report row. Also bounds the size of one field.
pub const RECORD_BYTES_MAX: usize = 8 << 20;
/// A record with more fields is not a report row.
pub const FIELDS_MAX: usize = 5_000;

/// A record: a JSON object whose values are all strings.
#[derive(Debug, Clone, Copy)]
pub struct Flat<'r> {
    pub record: &'r str,
    /// The possible names of its members, without duplicates.
    pub names: &'r [String],
    /// For each name, the range of its value in the record; `None` if it has none.
    pub values: &'r [Option<(usize, usize)>],
}

impl<'r> Flat<'r> {
    /// Name and JSON value of each member.
    pub fn members(&self) -> impl Iterator<Item = (&'r str, &'r str)> + use<'r> {
        let record = self.record;
        let members = self.names.iter().zip(self.values);
        members.filter_map(move |(name, value)| value.map(|(start, end)| (name.as_str(), &record[start..end])))
    }
}

/// Receives the records that a decoder finds.
pub trait Sink {
    /// Receives the titles of a table before the first row, and the names of members added to each row.
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError>;

    /// Receives one record, a complete JSON text.
    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError>;

    /// Receives one record whose members are known, so that it need not be parsed again.
    fn flat_record(&mut self, flat: Flat<'_>) -> Result<(), DecodeError> {
        self.record(flat.record.as_bytes())
    }

    /// Receives a piece of the body that is not a record but must be kept, and the reason.
    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError>;
}

/// Why a body could not be read in the expected format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("the body is empty where JSON was expected")]
    Empty,
    #[error("the body is {0} where JSON was expected")]
    NotJson(&'static str),
    #[error("the body is {0} where CSV was expected")]
    NotCsv(&'static str),
    /// The name comes from the vendor; it is redacted and quoted.
    #[error("the file is in a charset that is not known: {0}")]
    UnknownCharset(String),
    #[error("the file cannot be unpacked: {0}")]
    Packed(#[from] GzipError),
    #[error("the body is {0} where a list was expected")]
    Shape(&'static str),
    #[error("the body is truncated")]
    Cut,
    #[error("malformed JSON at byte {offset}: {what}")]
    Malformed { offset: u64, what: &'static str },
    #[error("a record is larger than {max} bytes")]
    RecordTooLarge { max: usize },
    /// The name of the member may contain anything and is not shown.
    #[error("a member outside the records is larger than {max} bytes")]
    MemberTooLarge { max: usize },
    #[error("the members outside the records are larger than {max} bytes together")]
    MembersTooLarge { max: usize },
    #[error("the body has more than {max} members outside its records")]
    TooManyMembers { max: usize },
    #[error("the file's first line is not a header of this table: most of its titles are not fields of the table")]
    ForeignHeader,
    #[error("none of the page's {records} records has a field of the table")]
    ForeignRecords { records: u64 },
    #[error("the header is larger than {max} bytes")]
    HeaderTooLarge { max: usize },
    #[error("a row has more than {max} columns")]
    TooManyColumns { max: usize },
}

impl DecodeError {
    /// A file whose charset is wrong or unknown.
    pub const OTHER_CHARSET: Self =
        Self::NotCsv("text in another charset than the announced or configured one (UTF-8 without either)");

    /// Whether only another setting can help, not another file.
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Self::UnknownCharset(_) | Self::ForeignHeader | Self::ForeignRecords { .. })
            || *self == Self::OTHER_CHARSET
            || *self == Self::UTF16
    }

    /// A file with a NUL byte next to every letter.
    pub const UTF16: Self = Self::NotCsv("UTF-16 without a byte order mark");
}

/// Appends `text` as a JSON string.
fn push_text(text: &str, json: &mut Vec<u8>) {
    // Few values need an escape, and the compiler vectorises this loop.
    let is_special = |byte| u8::from(matches!(byte, ..b' ' | b'"' | b'\\'));
    let needs_escape = text.bytes().fold(0, |any, byte| any | is_special(byte)) != 0;
    if needs_escape {
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(json, text);
    } else {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    }
}
