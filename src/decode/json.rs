//! Splits a JSON body into its records while it arrives.
//!
//! A body is either an object with the records under one member, whose other members are small and kept ([`Envelope`]),
//! or a bare array of records. The splitter finds where values begin and end; the sink parses a record. Memory is
//! bounded by one record plus the kept members, whatever the body's size.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{DecodeError, RECORD_BYTES_MAX, Sink, raw};

/// A longer member is not a cursor, count or error text.
pub const MEMBER_BYTES_MAX: usize = 1 << 20;
/// A body with more members is an attack or another document.
const MEMBERS_MAX: usize = 256;
/// Bound on all members kept in the envelope, names included.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The members other than the records, by lower-cased name, each as raw text.
#[derive(Debug, Default)]
pub struct Envelope {
    members: BTreeMap<String, Box<RawValue>>,
    /// Whether the records member was an array; `false` if it was null, absent or something else.
    pub has_records: bool,
    /// Number of records.
    pub records: u64,
}

impl Envelope {
    /// The raw JSON of a member, by name in any case; `None` if it is absent or null.
    pub fn member(&self, name: &str) -> Option<&RawValue> {
        self.members.get(&name.to_ascii_lowercase()).map(AsRef::as_ref).filter(|raw| raw.get() != "null")
    }

    /// Whether the member is present, null included.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(&name.to_ascii_lowercase())
    }

    /// A member as a typed value; `None` if it is absent, null or of another type.
    pub fn parsed<'a, T: serde::Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        self.member(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    KeyOrEnd,
    Key,
    Colon,
    Value,
    CommaOrEnd,
    RecordOrEnd,
    Record,
    RecordCommaOrEnd,
    End,
}

/// Splits a body that arrives in chunks; see the module's documentation.
#[derive(Debug)]
pub struct Splitter {
    /// `None` if only a bare array contains records.
    records_member: Option<&'static str>,
    state: State,
    scan: Scan,
    /// The start of an unfinished key, member or record from earlier chunks.
    carry: Vec<u8>,
    key: String,
    envelope: Envelope,
    /// Bytes in the envelope.
    kept: usize,
    bare_array: bool,
    after_comma: bool,
    offset: u64,
}

impl Splitter {
    /// Records are the elements of the member `records_member` (in any case) or of a bare array.
    pub fn new(records_member: &'static str) -> Self {
        Self::of(Some(records_member))
    }

    /// Records are the elements of a bare array. If the body is an object, all its members are kept, since it may be an
    /// error.
    pub fn bare() -> Self {
        Self::of(None)
    }

    fn of(records_member: Option<&'static str>) -> Self {
        Self {
            records_member,
            state: State::Start,
            scan: Scan::default(),
            carry: Vec::new(),
            key: String::new(),
            envelope: Envelope::default(),
            kept: 0,
            bare_array: false,
            after_comma: false,
            offset: 0,
        }
    }

    /// Reads the next chunk and passes every record that ends in it to `sink`.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), DecodeError> {
        let mut at = 0;
        while at < chunk.len() {
            at += match self.state {
                State::Key | State::Value | State::Record => self.value(&chunk[at..], sink, at)?,
                _ => self.punctuation(chunk[at], at)?,
            };
        }
        self.offset += chunk.len() as u64;
        Ok(())
    }

    /// The body has ended: returns the members other than the records.
    pub fn finish(self) -> Result<Envelope, DecodeError> {
        match self.state {
            State::End => Ok(self.envelope),
            State::Start => Err(DecodeError::Empty),
            _ => Err(DecodeError::Cut),
        }
    }

    /// Bytes currently held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.carry.capacity() + self.key.capacity() + self.kept
    }

    fn malformed(&self, at: usize, what: &'static str) -> DecodeError {
        DecodeError::Malformed { offset: self.offset + at as u64, what }
    }

    /// Reads one byte between values. Returns the number of bytes used (0: the byte begins a value).
    fn punctuation(&mut self, byte: u8, at: usize) -> Result<usize, DecodeError> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(1);
        }
        let next = match (self.state, byte) {
            // A byte order mark before the document.
            (State::Start, 0xEF | 0xBB | 0xBF) if self.offset + (at as u64) < 3 => State::Start,
            (State::CommaOrEnd, b'}') => State::End,
            (State::Start, b'{') => State::KeyOrEnd,
            (State::Start, b'[') => {
                self.bare_array = true;
                self.envelope.has_records = true;
                State::RecordOrEnd
            }
            (State::Start, b'<') => return Err(DecodeError::NotJson("HTML or XML")),
            (State::Start, 0x1F) => return Err(DecodeError::NotJson("gzip without a Content-Encoding header")),
            (State::Start, _) => return Err(DecodeError::NotJson("text")),
            (State::KeyOrEnd, b'}') if !self.after_comma => State::End,
            (State::KeyOrEnd, b'"') => return Ok(self.begin(State::Key)),
            (State::Colon, b':') => State::Value,
            (State::CommaOrEnd, b',') => {
                self.after_comma = true;
                self.state = State::KeyOrEnd;
                return Ok(1);
            }
            (State::RecordOrEnd, b']') if !self.after_comma => self.records_end(),
            (State::RecordCommaOrEnd, b']') => self.records_end(),
            (State::RecordCommaOrEnd, b',') => {
                self.after_comma = true;
                self.state = State::RecordOrEnd;
                return Ok(1);
            }
            (State::RecordOrEnd, _) => return Ok(self.begin(State::Record)),
            (State::End, _) => return Err(self.malformed(at, "something follows the document")),
            _ => return Err(self.malformed(at, "an unexpected character between values")),
        };
        if next == State::Value {
            self.begin(State::Value);
        } else {
            self.state = next;
        }
        self.after_comma = false;
        Ok(1)
    }

    fn begin(&mut self, state: State) -> usize {
        self.state = state;
        self.scan = Scan::default();
        self.carry.clear();
        self.after_comma = false;
        0
    }

    const fn records_end(&self) -> State {
        if self.bare_array { State::End } else { State::CommaOrEnd }
    }

    /// Reads bytes of a key, a member's value or a record. Returns the number used.
    fn value(&mut self, bytes: &[u8], sink: &mut dyn Sink, at: usize) -> Result<usize, DecodeError> {
        if self.scan.kind == Kind::Unknown {
            let first = bytes[0];
            if matches!(first, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(1);
            }
            if self.state == State::Value
                && first == b'['
                && self.records_member.is_some_and(|name| self.key.eq_ignore_ascii_case(name))
            {
                self.envelope.has_records = true;
                self.state = State::RecordOrEnd;
                return Ok(1);
            }
            self.scan.kind = Kind::of(first).ok_or_else(|| self.malformed(at, "a value cannot begin like this"))?;
        }
        let (used, complete) = self.scan.advance(bytes);
        let max = if self.state == State::Record { RECORD_BYTES_MAX } else { MEMBER_BYTES_MAX };
        if self.carry.len() + used > max {
            return Err(match self.state {
                State::Record => DecodeError::RecordTooLarge { max },
                _ => DecodeError::MemberTooLarge { max },
            });
        }
        if !complete {
            self.carry.extend_from_slice(&bytes[..used]);
            return Ok(used);
        }
        if self.carry.is_empty() {
            self.complete(&bytes[..used], sink, at)?;
        } else {
            let mut whole = std::mem::take(&mut self.carry);
            whole.extend_from_slice(&bytes[..used]);
            self.complete(&whole, sink, at)?;
            self.carry = whole;
        }
        Ok(used)
    }

    fn complete(&mut self, text: &[u8], sink: &mut dyn Sink, at: usize) -> Result<(), DecodeError> {
        match self.state {
            State::Record => {
                self.state = State::RecordCommaOrEnd;
                self.envelope.records += 1;
                sink.record(text)
            }
            State::Key => {
                self.key =
                    serde_json::from_slice(text).map_err(|_| self.malformed(at, "a member's name is not a string"))?;
                self.state = State::Colon;
                Ok(())
            }
            _ => {
                let raw = kept(text).ok_or_else(|| self.malformed(at, "a member's value is not JSON"))?;
                if self.envelope.members.len() == MEMBERS_MAX {
                    return Err(DecodeError::TooManyMembers { max: MEMBERS_MAX });
                }
                self.kept += self.key.len() + raw.get().len();
                if self.kept > KEPT_BYTES_MAX {
                    return Err(DecodeError::MembersTooLarge { max: KEPT_BYTES_MAX });
                }
                self.envelope.members.insert(self.key.to_ascii_lowercase(), raw);
                self.state = State::CommaOrEnd;
                Ok(())
            }
        }
    }
}

/// A member's value as JSON: `NaN` and infinities become strings.
fn kept(text: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(text).ok().or_else(|| {
        let text = raw::quoted(std::str::from_utf8(text).ok()?)?;
        RawValue::from_string(text).ok()
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Unknown,
    Container,
    String,
    Scalar,
}

impl Kind {
    const fn of(first: u8) -> Option<Self> {
        Some(match first {
            b'{' | b'[' => Self::Container,
            b'"' => Self::String,
            // `NaN` and `Infinity` too: the consumer of the record checks them (`super::raw`).
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I' => Self::Scalar,
            _ => return None,
        })
    }
}

/// The scan state inside a value at the end of the last chunk.
#[derive(Debug, Default)]
pub(super) struct Scan {
    kind: Kind,
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Length of the value at the start of `bytes`, which contain all of it; `None` if no value can begin there.
    pub(super) fn length(bytes: &[u8]) -> Option<usize> {
        let mut scan = Self { kind: Kind::of(*bytes.first()?)?, ..Self::default() };
        Some(scan.advance(bytes).0)
    }

    /// Looks for the value's end. Returns the number of bytes that belong to it and whether it is complete.
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.kind == Kind::Scalar {
            let end = bytes.iter().position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
            return end.map_or((bytes.len(), false), |end| (end, true));
        }
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at += self.string(&bytes[at..]);
                if !self.in_string && self.depth == 0 {
                    return (at, true);
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        (at, false)
    }

    /// Reads bytes inside a string, including its closing quote. Returns their number.
    fn string(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.escaped {
            self.escaped = false;
            at = 1;
        }
        while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
            at += found + 1;
            if bytes[at - 1] == b'"' {
                self.in_string = false;
                return at;
            }
            if at == bytes.len() {
                self.escaped = true;
                return at;
            }
            at += 1;
        }
        bytes.len()
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
