//! Turns the records of a page into COPY rows, chunk by chunk.
//!
//! A row is `_row_key`, the layout's fields, `_extra`. A chunk's rows share one layout; a field that appears, or gets a wider
//! type or a variant, in the middle of a page begins a new chunk. Every buffer is bounded, whatever the vendor sends. Which key a record gets,
//! and into which fields it falls apart, depends on nothing but the record: a slice that is read again meets its rows.

mod fields;
mod identity;
mod key;
mod members;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::xxh3_128;

pub use key::{KeyField, RowKey, row_key};
use members::Refusal;

use super::binary;
use super::buffer::{Buffers, SharedBuffers};
pub use super::chunk::{BatchEnd, Chunk, DuplicateCounts, RecordCounts, Reject, SharedRecord};
use super::encode::EMPTY;
use super::extra::{Extra, Span, cut, span};
use super::fingerprint::{self, Fingerprinter, RowKind};
use super::layout::{FIELD_BYTES_MAX, Layout};
use super::timestamp::Moment;
use crate::catalogue::Stream;
use crate::decode::{DecodeError, Flat, Sink, raw};

/// A chunk is handed on when it has grown to this.
pub const CHUNK_BYTES: usize = 128 << 10;
/// Room for the row that makes a chunk full.
const CHUNK_ROOM: usize = CHUNK_BYTES + (8 << 10);
/// Rows merged by one statement; also bounds the map that counts identical records.
pub const BATCH_ROWS_MAX: usize = 10_000;
/// Objects nested deeper than this are kept whole.
const FLATTEN_DEPTH_MAX: usize = 8;
/// Fields of one record beyond this are refused with it.
pub const RECORD_FIELDS_MAX: usize = 5_000;
/// Values of one row beyond this go to `_extra`. A row must fit a block of 8 KiB, and Postgres moves no value out of it
/// that is shorter than 25 bytes.
pub const ROW_VALUES_MAX: usize = 300;

/// So many records of a page do not by chance lack every field that was known.
const FOREIGN_RECORDS_MIN: u64 = 20;

/// The half-open window that rows should lie in: the slice, or the part of it that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct RowWindow {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// Normalises one stream's records; made once per task and reused for every page.
#[derive(Debug)]
pub struct PageWriter {
    layout: Arc<Layout>,
    key: RowKey,
    time_path: Option<String>,
    /// Whether neighbouring windows share their boundary second.
    shared_second: bool,
    /// Fields that are no part of a record's content, as places in the layout.
    ours: Vec<usize>,
    window: Option<RowWindow>,
    chunk: Chunk,
    chunk_weight: usize,
    buffers: Buffers,
    /// Whether the page, or the one before where none is begun, has a chunk that is full.
    large: bool,
    ready: Vec<Chunk>,
    duplicates: DuplicateCounts,
    batch_rows: usize,
    /// What the last reading of the slice is known to have brought; none where rows are not compared with it.
    fingerprinter: Option<Fingerprinter>,
    // What follows belongs to the record under way.
    /// Path of the member that is looked at.
    path: String,
    /// The field that the next member probably is.
    expected: usize,
    /// Where the value of each field stands.
    slots: Vec<Option<Span>>,
    /// Fields whose value came under a name in another letter case, with that name.
    respelt: Vec<(usize, String)>,
    filled: usize,
    extra: Extra,
    row: Vec<u8>,
    hashed: Vec<u8>,
    /// Fields that were known when the page began, whether one of its records has one of them, and its records.
    known_fields: usize,
    met_known: bool,
    page_records: u64,
    /// Where [`RowKey::AnyOf`]'s fields stand, for a layout of so many fields.
    named: (usize, Vec<usize>),
}

impl PageWriter {
    /// For records of `stream`; `layout` has its fields, those included that the data brought.
    pub fn of(stream: &Stream, layout: Layout) -> Self {
        let time_path = stream.time_field.as_ref().map(ToString::to_string);
        // Documented fields come first, in the order of the columns.
        let ours = stream.columns.iter().enumerate().filter(|(_, column)| column.is_ours).map(|(at, _)| at).collect();
        Self { shared_second: stream.windows.shared_second, ours, ..Self::new(layout, RowKey::of(stream), time_path) }
    }

    /// `time_path` names the field that says when a row happened, where it is known.
    pub fn new(layout: Layout, key: RowKey, time_path: Option<String>) -> Self {
        Self {
            layout: Arc::new(layout),
            key,
            time_path,
            shared_second: true,
            ours: Vec::new(),
            window: None,
            chunk: Chunk::default(),
            chunk_weight: 0,
            buffers: SharedBuffers::default().of(CHUNK_ROOM),
            large: false,
            ready: Vec::new(),
            duplicates: DuplicateCounts::default(),
            batch_rows: 0,
            fingerprinter: None,
            path: String::new(),
            expected: 0,
            slots: Vec::new(),
            respelt: Vec::new(),
            filled: 0,
            extra: Extra::default(),
            row: Vec::new(),
            hashed: Vec::new(),
            known_fields: 0,
            met_known: false,
            page_records: 0,
            named: (0, Vec::new()),
        }
    }

    /// Writes into buffers that others of the process write into as well.
    #[must_use]
    pub fn sharing(self, buffers: &SharedBuffers) -> Self {
        Self { buffers: buffers.of(CHUNK_ROOM), ..self }
    }

    /// Compares the rows of a reading that begins, or goes on, with the last one.
    pub fn compare(&mut self, fingerprinter: Option<Fingerprinter>) {
        self.fingerprinter = fingerprinter;
        self.shape_changed();
    }

    /// What rows are compared with.
    pub const fn fingerprinter(&mut self) -> Option<&mut Fingerprinter> {
        self.fingerprinter.as_mut()
    }

    /// Whether a row says all in its key.
    pub const fn by_content(&self) -> bool {
        matches!(self.key, RowKey::Content) && self.ours.is_empty()
    }

    fn shape_changed(&mut self) {
        if let Some(fingerprinter) = &mut self.fingerprinter {
            fingerprinter.set_shape(fingerprint::shape(&self.layout));
        }
    }

    /// Begins a page, or begins it again: what was written since the last page ended is dropped.
    pub fn begin(&mut self, window: Option<RowWindow>) {
        self.window = window;
        // Small pages are not to hold a large buffer each.
        self.chunk = if self.large { self.next_chunk(0) } else { Chunk::default() };
        self.large = false;
        self.chunk_weight = 0;
        self.ready.clear();
        self.duplicates.clear();
        self.batch_rows = 0;
        (self.known_fields, self.met_known, self.page_records) = (self.layout.fields().len(), false, 0);
        if let Some(fingerprinter) = &mut self.fingerprinter {
            fingerprinter.begin_page();
        }
    }

    /// The chunks that are full; to be called often enough that they do not pile up.
    pub fn take_ready(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    /// Ends the page: all its remaining chunks, the last one ending a batch. Returns an error if none of many records has a
    /// field that was known before: they are something else than the stream's.
    pub fn finish(&mut self) -> Result<Vec<Chunk>, DecodeError> {
        let knew_fields = self.known_fields > self.ours.len();
        if knew_fields && !self.met_known && self.page_records >= FOREIGN_RECORDS_MIN {
            return Err(DecodeError::ForeignRecords { records: self.page_records });
        }
        self.end_batch();
        if let Some(fingerprinter) = &mut self.fingerprinter {
            fingerprinter.end_page();
        }
        Ok(self.take_ready())
    }

    fn end_batch(&mut self) {
        let mut duplicates = std::mem::take(&mut self.duplicates);
        duplicates.retain(|_, count| *count > 1);
        duplicates.shrink_to_fit();
        let fingerprint = self.fingerprinter.as_mut().map(Fingerprinter::end_batch);
        self.chunk.batch_end = Some(Box::new(BatchEnd { duplicates, fingerprint }));
        self.batch_rows = 0;
        self.seal();
    }

    fn seal(&mut self) {
        let is_full = self.chunk.data.len() >= CHUNK_BYTES;
        self.large |= is_full;
        let next = if is_full { self.next_chunk(self.chunk.ends.len()) } else { Chunk::default() };
        let mut chunk = std::mem::replace(&mut self.chunk, next);
        chunk.layout = Arc::clone(&self.layout);
        self.chunk_weight = 0;
        self.ready.push(chunk);
    }

    /// One that becomes full, with so many rows.
    fn next_chunk(&self, rows: usize) -> Chunk {
        Chunk {
            data: self.buffers.take(),
            ends: Vec::with_capacity(rows),
            kinds: Vec::with_capacity(rows),
            ..Chunk::default()
        }
    }

    fn seal_when_full(&mut self) {
        if self.batch_rows >= BATCH_ROWS_MAX {
            self.end_batch();
        } else if self.chunk.data.len() + self.chunk_weight >= CHUNK_BYTES {
            self.seal();
        }
    }

    fn reject(&mut self, reason: impl Into<String>, record: &[u8]) {
        let reject = Reject { reason: reason.into(), record: printable(record) };
        self.chunk_weight += reject.weight();
        self.chunk.rejects.push(reject);
    }

    /// Takes a member of the record itself if it is the one that mostly stands here: then nothing is looked up.
    fn is_next(&mut self, record: &str, name: &str, raw: &str) -> bool {
        let at = self.expected;
        let is_plain = !raw.starts_with(['{', 'n']);
        let is_known = self.layout.is_field(at, name);
        let has_room = self.filled < ROW_VALUES_MAX && self.record_fields() < RECORD_FIELDS_MAX;
        if !is_plain || !is_known || !has_room || self.slots.len() > at {
            return false;
        }
        let start = raw.as_ptr().addr() - record.as_ptr().addr();
        self.slots.resize(at, None);
        self.slots.push(Some(span(start, start + raw.len())));
        self.filled += 1;
        self.expected = at + 1;
        true
    }

    /// Takes the member at `self.path`. Whether an object falls apart must not depend on the columns met so far. What is not
    /// JSON fits no column, and gets none.
    fn member(&mut self, record: &str, raw: &str, is_json: bool, depth: usize) -> Result<(), Refusal> {
        if raw == "null" {
            return Ok(());
        }
        let known = self.layout.find(&self.path, self.expected);
        if raw.starts_with('{')
            && depth < FLATTEN_DEPTH_MAX
            && self.path.len() <= FIELD_BYTES_MAX
            && !self.layout.is_whole(&self.path, known)
            && has_members(raw)
        {
            return self.members(record, raw, depth + 1);
        }
        let start = raw.as_ptr().addr() - record.as_ptr().addr();
        let place = span(start, start + raw.len());
        match known.filter(|_| is_json && self.filled < ROW_VALUES_MAX) {
            Some(at) if self.is_filled(at) => self.collide(record, at, place),
            Some(at) => {
                if !self.layout.is_field(at, &self.path) {
                    self.respelt.push((at, self.path.clone()));
                }
                self.fill(at, place);
            }
            None => self.place_unknown(raw, place, is_json),
        }
        if self.record_fields() > RECORD_FIELDS_MAX {
            return Err(Refusal::Fields);
        }
        Ok(())
    }

    fn is_filled(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(Option::is_some)
    }

    fn fill(&mut self, at: usize, place: Span) {
        self.expected = at + 1;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        self.slots[at] = Some(place);
        self.filled += 1;
    }

    /// Places the value of a field that is not known, and may become so.
    fn place_unknown(&mut self, raw: &str, place: Span, is_json: bool) {
        let added = if is_json && self.filled < ROW_VALUES_MAX { self.add_field(raw) } else { None };
        match added {
            Some(at) => self.fill(at, place),
            // It says nothing about a type.
            None if raw == EMPTY => self.extra.push_empty(&self.path),
            None => self.extra.push(&self.path, place),
        }
    }

    /// Places the value of a field whose slot is taken: by the same name once more, or by one in another letter case. Two
    /// spellings in one record are two fields, unless the field is documented; the exact name has the slot, whichever of
    /// them comes first.
    fn collide(&mut self, record: &str, at: usize, place: Span) {
        if self.layout.is_documented(at) {
            return self.extra.push(&self.path, place);
        }
        if !self.layout.is_field(at, &self.path) {
            return self.place_unknown(cut(record, place), place, true);
        }
        let Some(respelt) = self.respelt.iter().position(|(taken, _)| *taken == at) else {
            return self.extra.push(&self.path, place);
        };
        let (_, name) = self.respelt.swap_remove(respelt);
        let exact = std::mem::replace(&mut self.path, name);
        if let Some(other) = self.slots[at].replace(place) {
            self.place_unknown(cut(record, other), other, true);
        }
        self.path = exact;
    }

    /// Fields of the record under way that hold something.
    fn record_fields(&self) -> usize {
        self.filled + self.extra.count() + self.extra.empty().len()
    }

    fn begin_record(&mut self) {
        self.chunk.counts.read += 1;
        self.slots.clear();
        self.respelt.clear();
        self.filled = 0;
        self.expected = 0;
        self.extra.clear();
        self.path.clear();
    }

    /// The record's members are known: it becomes a row, or is refused.
    fn end_record(&mut self, record: &str, outcome: Result<(), Refusal>) -> Result<(), DecodeError> {
        let is_empty = self.record_fields() == 0;
        self.met_known |= self.slots.iter().take(self.known_fields).any(Option::is_some);
        let outcome = outcome.and(if is_empty { Err(Refusal::Empty) } else { Ok(()) });
        match outcome.map_err(Refusal::reason) {
            Ok(()) => {
                self.page_records += 1;
                if let Err(reason) = self.write(record) {
                    self.reject(reason, record.as_bytes());
                }
            }
            Err(Some(reason)) => self.reject(reason, record.as_bytes()),
            Err(None) => return Err(DecodeError::Malformed { offset: 0, what: "a record is not JSON" }),
        }
        self.seal_when_full();
        Ok(())
    }

    fn write(&mut self, record: &str) -> Result<(), String> {
        let base = self.base_key(record)?;
        self.complete_key(record)?;
        let (happened, is_shared) = self.encode_fields(record);
        if let (Some(at), Some(window)) = (happened, self.window)
            && !(window.start..window.end).contains(&at)
        {
            if Moment::Instant(at).may_share_second(window.end) {
                self.chunk.counts.outside += 1;
                return Ok(());
            }
            self.chunk.counts.astray += 1;
        }
        let place = if matches!(self.key, RowKey::Content) {
            let count = self.duplicates.entry(base).or_insert(0);
            *count += 1;
            *count - 1
        } else {
            0
        };
        if let Some(window) = self.window
            && is_shared
            && place == 0
        {
            self.chunk.shared.push(SharedRecord { base, part_key: window.part_key(base) });
        }
        self.chunk.counts.extra += self.extra.count() as u64;
        self.extra.write(record, &mut self.row);
        self.batch_rows += 1;
        let key = row_key(base, place);
        let kind = match &mut self.fingerprinter {
            Some(fingerprinter) => fingerprinter.row(key, &self.row, is_shared),
            None if is_shared => Some(RowKind::Shared),
            None => Some(RowKind::New),
        };
        if let Some(kind) = kind {
            self.push_row(key, kind);
        }
        Ok(())
    }

    fn push_row(&mut self, key: u128, kind: RowKind) {
        let Chunk { data, ends, kinds, rows, .. } = &mut self.chunk;
        if matches!(self.key, RowKey::Columns(_)) {
            binary::null(data);
        } else {
            binary::uuid(key, data);
        }
        data.extend_from_slice(&self.row);
        // A chunk is far smaller than 4 GiB.
        ends.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        kinds.push(kind);
        *rows += 1;
    }
}

impl Sink for PageWriter {
    /// Refuses a header most of whose titles are no field of the table: it is a title line, a row of data, or another report.
    /// A file may have more columns than the table knows, or fewer.
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError> {
        let own = self.layout.fields().iter().filter(|field| field.variant.is_none());
        let fields = own.filter(|field| !added.contains(&&*field.path)).count();
        let known = titles.iter().filter(|title| self.layout.knows(title)).count();
        if known >= fields.min(titles.len()).div_ceil(2) { Ok(()) } else { Err(DecodeError::ForeignHeader) }
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.begin_record();
        let Ok(text) = std::str::from_utf8(record) else {
            self.reject("not UTF-8", record);
            self.seal_when_full();
            return Ok(());
        };
        let outcome = if text.starts_with('{') {
            self.members(text, text, 0)
        } else if raw::value(record).is_ok() {
            Err(Refusal::NoObject)
        } else {
            Err(Refusal::Malformed)
        };
        self.end_record(text, outcome)
    }

    fn flat_record(&mut self, flat: Flat<'_>) -> Result<(), DecodeError> {
        self.begin_record();
        let outcome = flat.members().try_for_each(|(name, raw)| {
            if self.is_next(flat.record, name, raw) {
                return Ok(());
            }
            self.path.clear();
            self.path.push_str(name);
            self.member(flat.record, raw, true, 0)
        });
        self.end_record(flat.record, outcome)
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.chunk.counts.read += 1;
        self.reject(reason, record);
        self.seal_when_full();
        Ok(())
    }
}

impl RowWindow {
    fn shares(&self, moment: Moment) -> bool {
        moment.may_share_second(self.start) || moment.may_share_second(self.end)
    }

    /// The key under which copies of a record in a shared second are counted: its own for every part of a slice.
    fn part_key(&self, base: u128) -> u128 {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&base.to_le_bytes());
        bytes[16..].copy_from_slice(&self.start.timestamp_micros().to_le_bytes());
        xxh3_128(&bytes)
    }
}

/// Whether an object, complete JSON, has any member.
fn has_members(object: &str) -> bool {
    object.as_bytes()[1..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'"')
}

/// The record as text that Postgres can hold and a reader can turn back.
fn printable(record: &[u8]) -> String {
    let mut text = String::with_capacity(record.len());
    for part in record.utf8_chunks() {
        text.push_str(&part.valid().replace('\0', "\\u0000"));
        for byte in part.invalid() {
            // Writing to a String cannot fail.
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
