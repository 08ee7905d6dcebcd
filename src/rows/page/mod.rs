//! Turns the records of a page into COPY rows, chunk by chunk.
//!
//! A row is `_row_key`, the layout's fields, `_extra`. All rows of a chunk have one layout, so a new field, a wider
//! type or a new variant begins a new chunk. Every buffer is bounded, whatever the vendor sends. The key of a record
//! and the fields that it is split into depend only on the record, so a slice that is read again has the same rows.

mod fields;
pub mod identity;
mod key;
mod members;
mod refill;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::xxh3_128;

pub use key::{KeyField, KeyForm, RowKey};
use members::Refusal;
pub use refill::Refilled;

use super::binary;
use super::buffer::{Buffers, SharedBuffers};
pub use super::chunk::{BatchEnd, Chunk, DuplicateCounts, RecordCounts, Reject, SharedRecord};
use super::extra::{Extra, Span};
pub use super::fingerprint::BATCH_ROWS_MAX;
use super::fingerprint::{self, Fingerprinter, RowKind};
use super::layout::Layout;
use super::timestamp::Moment;
use crate::catalogue::{Column, Stream};
use crate::decode::{DecodeError, Flat, Sink, raw};

/// Size at which a chunk is handed on.
pub const CHUNK_BYTES: usize = 128 << 10;
/// A chunk and the row that makes it full.
const CHUNK_CAPACITY: usize = CHUNK_BYTES + (8 << 10);
/// Objects nested deeper than this are not flattened.
const FLATTEN_DEPTH_MAX: usize = 8;
/// A record with more fields is rejected.
pub const RECORD_FIELDS_MAX: usize = 5_000;
/// Further values of a row go to `_extra`. A row must fit a block of 8 KiB, and Postgres does not move values of fewer
/// than 25 bytes out of it.
pub const ROW_VALUES_MAX: usize = 300;

/// It is not by chance that so many records of a page have none of the known fields.
const FOREIGN_RECORDS_MIN: u64 = 20;

/// The half-open window in which rows should lie: the slice, or the requested part of it.
#[derive(Debug, Clone, Copy)]
pub struct RowWindow {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// Encodes one stream's records as rows. Created once per task and reused for every page.
#[derive(Debug)]
pub struct PageWriter {
    layout: Arc<Layout>,
    key: RowKey,
    time_path: Option<String>,
    /// The field whose time the keys of [`RowKey::Content`] begin with.
    row_time: Option<String>,
    /// Whether neighbouring windows share their boundary second.
    shared_second: bool,
    /// Positions of fields that Tidegate adds, and that are not part of a record's content.
    ours: Vec<usize>,
    /// Positions of fields that only a job's `key` names. Records may turn out not to have them.
    named_by_job: Vec<usize>,
    /// Whether new fields may get columns later, and get none now.
    awaits_columns: bool,
    window: Option<RowWindow>,
    chunk: Chunk,
    chunk_weight: usize,
    buffers: Buffers,
    /// Whether the current page, or the previous one between two pages, filled a chunk.
    large: bool,
    ready: Vec<Chunk>,
    duplicates: DuplicateCounts,
    batch_rows: usize,
    /// `None` if rows are not compared with the last reading.
    fingerprinter: Option<Fingerprinter>,
    // The following fields belong to the current record.
    /// Path of the current member.
    path: String,
    /// Position of the field that the next member probably is.
    expected: usize,
    /// The value of each field.
    slots: Vec<Option<Span>>,
    /// Fields whose name in the record has another letter case, with that name.
    respelt: Vec<(usize, String)>,
    filled: usize,
    extra: Extra,
    row: Vec<u8>,
    hashed: Vec<u8>,
    // The following three belong to the page.
    /// Fields that were known when it began.
    known_fields: usize,
    /// Whether one of its records has one of them.
    met_known: bool,
    page_records: u64,
    /// Positions of [`RowKey::AnyOf`]'s fields, in a layout of this many fields.
    named: (usize, Vec<usize>),
}

impl PageWriter {
    /// A writer for records of `stream`. `layout` has its documented fields and those that were found in the data.
    pub fn of(stream: &Stream, layout: Layout) -> Self {
        let time_path = stream.time_field.as_ref().map(ToString::to_string);
        // Documented fields come first, in the order of the columns.
        let places = |of: fn(&Column) -> bool| {
            stream.columns.iter().enumerate().filter(|(_, column)| of(column)).map(|(at, _)| at).collect()
        };
        Self {
            row_time: stream
                .row_time
                .as_ref()
                .filter(|_| KeyForm::of(stream) == KeyForm::Timed)
                .map(ToString::to_string),
            shared_second: stream.windows.shared_second,
            ours: places(|column| column.is_ours),
            named_by_job: places(|column| column.key_type.is_some()),
            ..Self::new(layout, RowKey::of(stream), time_path)
        }
    }

    /// `time_path` names the field with the time of a row, if there is one.
    pub fn new(layout: Layout, key: RowKey, time_path: Option<String>) -> Self {
        Self {
            layout: Arc::new(layout),
            key,
            time_path,
            row_time: None,
            shared_second: true,
            ours: Vec::new(),
            named_by_job: Vec::new(),
            awaits_columns: false,
            window: None,
            chunk: Chunk::default(),
            chunk_weight: 0,
            buffers: SharedBuffers::default().of(CHUNK_CAPACITY),
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

    /// Takes buffers from a pool that several writers share.
    #[must_use]
    pub fn sharing(self, buffers: &SharedBuffers) -> Self {
        Self { buffers: buffers.of(CHUNK_CAPACITY), ..self }
    }

    /// For a table that gets columns for new fields later: what they hold is kept completely in `_extra` until then.
    #[must_use]
    pub fn awaiting_columns(self) -> Self {
        Self { awaits_columns: true, ..self }
    }

    /// The layout of the next row.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Compares the rows of the current reading with the last one.
    pub fn compare(&mut self, fingerprinter: Option<Fingerprinter>) {
        self.fingerprinter = fingerprinter;
        self.update_shape();
    }

    /// The comparison with the last reading, if there is one.
    pub const fn fingerprinter(&mut self) -> Option<&mut Fingerprinter> {
        self.fingerprinter.as_mut()
    }

    /// Whether a row's key is a hash of its whole content.
    pub const fn by_content(&self) -> bool {
        matches!(self.key, RowKey::Content) && self.ours.is_empty()
    }

    fn update_shape(&mut self) {
        if let Some(fingerprinter) = &mut self.fingerprinter {
            fingerprinter.set_shape(fingerprint::shape(&self.layout));
        }
    }

    /// Begins a page, or begins the current one again: rows that were written since the last page are dropped.
    pub fn begin(&mut self, window: Option<RowWindow>) {
        self.window = window;
        // Small pages must not hold a large buffer each.
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

    /// Returns the chunks that are full. Must be called often, so that they do not accumulate.
    pub fn take_ready(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    /// Ends the page and its batch; returns the remaining chunks. Returns an error if none of many records has a field
    /// that was known before: they are not records of this stream.
    pub fn finish(&mut self) -> Result<Vec<Chunk>, DecodeError> {
        let knew_fields = self.known_fields > self.ours.len() + self.named_by_job.len();
        if knew_fields && !self.met_known && self.page_records >= FOREIGN_RECORDS_MIN {
            return Err(DecodeError::ForeignRecords { records: self.page_records });
        }
        self.end_batch();
        if let Some(fingerprinter) = &mut self.fingerprinter {
            fingerprinter.end_page();
        }
        // The table gets its key with this page.
        if self.layout.is_open() && self.layout.has_key() {
            Arc::make_mut(&mut self.layout).close_key();
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

    /// A chunk with capacity for a full one of this many rows.
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

    /// Number of fields of the current record that have a value.
    fn record_fields(&self) -> usize {
        self.filled + self.extra.count() + self.extra.empty().len()
    }

    fn begin_record(&mut self) {
        self.chunk.counts.read += 1;
        self.clear_record();
    }

    fn clear_record(&mut self) {
        self.slots.clear();
        self.respelt.clear();
        self.filled = 0;
        self.expected = 0;
        self.extra.clear();
        self.path.clear();
    }

    /// Makes a row of the record, or rejects it.
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
        let base = match self.key {
            RowKey::Columns(_) => self.column_key(record)?,
            _ => self.base_key(record)?,
        };
        let (time, is_shared) = self.encode_fields(record);
        if let (Some(at), Some(window)) = (time, self.window)
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
        if self.awaits_columns {
            self.extra.keep_empty();
            let waits =
                |(field, _): &(&str, Span)| self.layout.find(field, 0).is_none_or(|at| !self.layout.is_documented(at));
            self.chunk.counts.waiting += self.extra.iter().filter(waits).count() as u64;
        }
        self.chunk.counts.extra += self.extra.count() as u64;
        self.extra.write(record, &mut self.row);
        self.batch_rows += 1;
        let form = if self.row_time.is_some() { KeyForm::Timed } else { KeyForm::Hash };
        let key = form.row_key(base, place);
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
        // A chunk is much smaller than 4 GiB.
        ends.push(u32::try_from(data.len()).unwrap_or(u32::MAX));
        kinds.push(kind);
        *rows += 1;
    }
}

impl Sink for PageWriter {
    /// Refuses a header if most of its titles are not fields of the table: it is a title line, a row of data, or
    /// another report. A file may have more columns than the table, or fewer.
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError> {
        let all = self.layout.fields().iter().enumerate();
        let own = all.filter(|(at, field)| field.variant.is_none() && !self.named_by_job.contains(at));
        let fields = own.filter(|(_, field)| !added.contains(&&*field.path)).count();
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
            self.record_members(text)
        } else if raw::value(record).is_ok() {
            Err(Refusal::NotAnObject)
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

    /// The key under which duplicates of a record in a shared second are counted. It differs between the parts of a
    /// slice.
    fn part_key(&self, base: u128) -> u128 {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&base.to_le_bytes());
        bytes[16..].copy_from_slice(&self.start.timestamp_micros().to_le_bytes());
        xxh3_128(&bytes)
    }
}

/// The record as text that Postgres can hold, with escapes from which the bytes can be restored.
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
