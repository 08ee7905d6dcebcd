//! Turns the records of a page into COPY rows, chunk by chunk.
//!
//! A row is `_row_key`, `_place`, the layout's fields, `_extra`. A chunk's rows share one layout; a field that appears in
//! the middle of a page begins a new chunk. Every buffer is bounded, whatever the vendor sends.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::encode::{self, Encoded};
use super::layout::Layout;
use crate::decode::{DecodeError, Sink};

/// A chunk is handed on when it has grown to this.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Rows merged by one statement; also bounds the map that counts identical records.
pub const BATCH_ROWS_MAX: usize = 50_000;
/// Objects nested deeper than this are kept whole.
const FLATTEN_DEPTH_MAX: usize = 8;
/// Fields of one record beyond this are refused with it.
const RECORD_FIELDS_MAX: usize = 5_000;
/// An index entry may not be longer; a key beyond it could never be found again.
const KEY_BYTES_MAX: usize = 2_000;

/// COPY rows of one layout, or the end of what one statement merges.
#[derive(Debug, Default)]
pub struct Chunk {
    pub layout: Arc<Layout>,
    pub data: Vec<u8>,
    pub rows: u64,
    pub rejects: Vec<Reject>,
    pub counts: Counts,
    /// Keys of rows in the second that two neighbouring slices share.
    pub boundary: Vec<u128>,
    /// Set on the last chunk of a batch: identical records by the key of the first, where there is more than one.
    pub batch_end: Option<HashMap<u128, u32>>,
}

impl Chunk {
    /// About what the chunk takes in memory.
    pub fn weight(&self) -> usize {
        self.data.len() + self.rejects.iter().map(|reject| reject.record.len() + reject.reason.len()).sum::<usize>()
    }
}

/// A record that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub reason: String,
    /// As the vendor sent it, with what Postgres cannot hold escaped.
    pub record: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records met, rejects and those outside their slice included.
    pub read: u64,
    /// Records in the shared second at the end, left to the next slice.
    pub outside: u64,
    /// Records far outside their slice; they are kept.
    pub astray: u64,
    /// Values kept in `_extra`.
    pub extra: u64,
}

/// What identifies a row of the stream.
#[derive(Debug, Clone)]
pub enum RowKey {
    /// The whole content and the place among identical records.
    Content,
    /// These fields, by path; the later of two equal records wins.
    Fields(Vec<String>),
}

/// The half-open window that rows should lie in.
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
    window: Option<RowWindow>,
    chunk: Chunk,
    ready: Vec<Chunk>,
    twins: HashMap<u128, u32>,
    batch_rows: usize,
    slots: Vec<Option<(u32, u32)>>,
    extras: Vec<(String, u32, u32)>,
    row: Vec<u8>,
    hashed: Vec<u8>,
}

/// The key of the `place`th of several identical records whose content hashes to `base`.
pub fn row_key(base: u128, place: u32) -> u128 {
    if place == 0 {
        return base;
    }
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(&base.to_le_bytes());
    bytes[16..].copy_from_slice(&place.to_le_bytes());
    xxh3_128(&bytes)
}

impl PageWriter {
    /// `time_path` names the field that says when a row happened, where it is known.
    pub fn new(layout: Layout, key: RowKey, time_path: Option<String>) -> Self {
        Self {
            layout: Arc::new(layout),
            key,
            time_path,
            window: None,
            chunk: Chunk::default(),
            ready: Vec::new(),
            twins: HashMap::new(),
            batch_rows: 0,
            slots: Vec::new(),
            extras: Vec::new(),
            row: Vec::new(),
            hashed: Vec::new(),
        }
    }

    /// Begins a page, or begins it again: what was written since the last page ended is dropped.
    pub fn begin(&mut self, window: Option<RowWindow>) {
        self.window = window;
        self.chunk = Chunk::default();
        self.ready.clear();
        self.twins.clear();
        self.batch_rows = 0;
    }

    /// The chunks that are full; to be called often enough that they do not pile up.
    pub fn take_ready(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    /// Ends the page: all its remaining chunks, the last one ending a batch.
    pub fn finish(&mut self) -> Vec<Chunk> {
        self.end_batch();
        self.take_ready()
    }

    fn end_batch(&mut self) {
        let mut twins = std::mem::take(&mut self.twins);
        twins.retain(|_, count| *count > 1);
        self.chunk.batch_end = Some(twins);
        self.batch_rows = 0;
        self.seal();
    }

    fn seal(&mut self) {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.layout = Arc::clone(&self.layout);
        self.ready.push(chunk);
    }

    fn reject(&mut self, reason: impl Into<String>, record: &[u8]) {
        self.chunk.rejects.push(Reject { reason: reason.into(), record: printable(record) });
        if self.chunk.rejects.len() >= 1000 || record.len() >= CHUNK_BYTES {
            self.seal();
        }
    }

    fn layout_mut(&mut self) -> &mut Layout {
        Arc::make_mut(&mut self.layout)
    }

    /// Where a field's column stands, adding the field if the stream may; none sends the value to `_extra`.
    fn slot(&mut self, path: &str, hint: usize, raw: &str) -> Option<usize> {
        if let Some(at) = self.layout.find(path, hint) {
            return Some(at);
        }
        // Rows written so far lack the new field, so they end their chunk with the old layout.
        if self.chunk.rows > 0 {
            let mut probe = Arc::clone(&self.layout);
            Arc::make_mut(&mut probe).add(path, encode::infer(raw))?;
            self.seal();
            self.layout = probe;
            return Some(self.layout.fields().len() - 1);
        }
        self.layout_mut().add(path, encode::infer(raw))
    }

    fn member(&mut self, record: &[u8], path: &str, raw: &str, hint: usize, depth: usize) -> Result<(), Refusal> {
        if raw == "null" {
            return Ok(());
        }
        let known = self.layout.find(path, hint);
        let flattens = raw.starts_with('{') && raw.len() > 2 && known.is_none() && depth < FLATTEN_DEPTH_MAX;
        if flattens && raw[1..raw.len() - 1].bytes().any(|byte| !byte.is_ascii_whitespace()) {
            return self.members(record, raw, Some(path), depth + 1);
        }
        let start = offset_in(record, raw);
        let place = (start, start + u32::try_from(raw.len()).unwrap_or(u32::MAX));
        match known.or_else(|| self.slot(path, hint, raw)) {
            Some(at) => {
                if self.slots.len() <= at {
                    self.slots.resize(at + 1, None);
                }
                if self.slots[at].is_some() {
                    self.extras.push((path.to_owned(), place.0, place.1));
                } else {
                    self.slots[at] = Some(place);
                }
            }
            None => self.extras.push((path.to_owned(), place.0, place.1)),
        }
        if self.slots.len() + self.extras.len() > RECORD_FIELDS_MAX {
            return Err(Refusal::Fields);
        }
        Ok(())
    }

    fn members(&mut self, record: &[u8], object: &str, prefix: Option<&str>, depth: usize) -> Result<(), Refusal> {
        let mut deserializer = serde_json::Deserializer::from_str(object);
        let seed = Members { writer: self, record, prefix, depth };
        match seed.deserialize(&mut deserializer) {
            Ok(outcome) => outcome,
            Err(_) if serde_json::from_str::<&RawValue>(object).is_ok() => Err(Refusal::Names),
            Err(_) => Err(Refusal::Malformed),
        }
    }

    /// The hash of what identifies the record, before its place among identical ones.
    fn base_key(&mut self, record: &str) -> Result<u128, String> {
        let mut sum = 0_u128;
        match &self.key {
            RowKey::Content => {
                for (field, slot) in self.layout.fields().iter().zip(&self.slots) {
                    if let Some(place) = slot {
                        sum = sum.wrapping_add(hash(&mut self.hashed, &field.path, cut(record, *place)));
                    }
                }
                for (path, start, end) in &self.extras {
                    sum = sum.wrapping_add(hash(&mut self.hashed, path, cut(record, (*start, *end))));
                }
            }
            RowKey::Fields(paths) => {
                for path in paths {
                    let slot = self.layout.find(path, 0).and_then(|at| self.slots.get(at).copied().flatten());
                    let place = slot.or_else(|| {
                        self.extras.iter().find(|(extra, ..)| extra == path).map(|(_, start, end)| (*start, *end))
                    });
                    let value =
                        place.map(|place| cut(record, place)).ok_or_else(|| format!("no key field `{path}`"))?;
                    if value.len() > KEY_BYTES_MAX {
                        return Err(format!("key field `{path}` is longer than {KEY_BYTES_MAX} bytes"));
                    }
                    sum = sum.wrapping_add(hash(&mut self.hashed, path, value));
                }
            }
        }
        Ok(sum)
    }

    /// Writes the fields of the record to `self.row`; answers the instants met and how many values went to `_extra`.
    fn encode_fields(&mut self, record: &str) -> (Option<DateTime<Utc>>, bool) {
        self.row.clear();
        let (mut happened, mut at_boundary) = (None, false);
        for at in 0..self.layout.fields().len() {
            self.row.push(b'\t');
            let Some(place) = self.slots.get(at).copied().flatten() else {
                self.row.extend_from_slice(b"\\N");
                continue;
            };
            let raw = cut(record, place);
            let field = &self.layout.fields()[at];
            let mut encoded = encode::value(field.kind, field.trust, raw, &mut self.row);
            if encoded == Encoded::Misfit
                && let Some(wider) = self.layout.wider(at, encode::infer(raw))
            {
                self.layout_mut().widen(at, wider);
                let field = &self.layout.fields()[at];
                encoded = encode::value(field.kind, field.trust, raw, &mut self.row);
            }
            match encoded {
                Encoded::Misfit => {
                    self.row.extend_from_slice(b"\\N");
                    self.extras.push((self.layout.fields()[at].path.clone(), place.0, place.1));
                }
                Encoded::Value => {}
                Encoded::Instant(instant) => {
                    at_boundary |= self
                        .window
                        .is_some_and(|w| shares_second(instant.at, w.start) || shares_second(instant.at, w.end));
                    if self.time_path.as_deref() == Some(self.layout.fields()[at].path.as_str()) {
                        happened = Some(instant.at);
                    }
                }
            }
        }
        (happened, at_boundary)
    }

    fn write_extra(&mut self, record: &str) {
        self.row.push(b'\t');
        if self.extras.is_empty() {
            self.row.extend_from_slice(b"\\N\n");
            return;
        }
        let mut json = String::from("{");
        for (number, (path, start, end)) in self.extras.iter().enumerate() {
            if number > 0 {
                json.push(',');
            }
            json.push_str(&quoted(&path.replace('\0', "\\u0000")));
            json.push(':');
            let raw = cut(record, (*start, *end));
            if encode::jsonb_holds(raw) {
                json.push_str(raw);
            } else {
                json.push_str("{\"_raw\":");
                json.push_str(&quoted(raw));
                json.push('}');
            }
        }
        json.push('}');
        encode::escape(&json, &mut self.row);
        self.row.push(b'\n');
        self.chunk.counts.extra += self.extras.len() as u64;
    }

    fn write(&mut self, record: &str) -> Result<(), String> {
        let base = self.base_key(record)?;
        let (happened, at_boundary) = self.encode_fields(record);
        if let (Some(at), Some(window)) = (happened, self.window)
            && !(window.start..window.end).contains(&at)
        {
            if shares_second(at, window.end) {
                self.chunk.counts.outside += 1;
                return Ok(());
            }
            self.chunk.counts.astray += 1;
        }
        let place = if matches!(self.key, RowKey::Content) {
            let count = self.twins.entry(base).or_insert(0);
            *count += 1;
            *count - 1
        } else {
            0
        };
        let key = row_key(base, place);
        if at_boundary && self.time_path.is_none() {
            self.chunk.boundary.push(key);
        }
        self.write_extra(record);
        // Writing to a Vec cannot fail.
        let _ = write!(self.chunk.data, "{key:032x}\t{}", self.batch_rows);
        self.chunk.data.extend_from_slice(&self.row);
        self.chunk.rows += 1;
        self.batch_rows += 1;
        Ok(())
    }
}

impl Sink for PageWriter {
    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.chunk.counts.read += 1;
        let Ok(text) = std::str::from_utf8(record) else {
            self.reject("not UTF-8", record);
            return Ok(());
        };
        self.slots.clear();
        self.extras.clear();
        let outcome = if text.starts_with('{') {
            self.members(record, text, None, 0).map_err(Some)
        } else if serde_json::from_str::<&RawValue>(text).is_ok() {
            Err(None)
        } else {
            Err(Some(Refusal::Malformed))
        };
        match outcome {
            Ok(()) => {
                if let Err(reason) = self.write(text) {
                    self.reject(reason, record);
                }
            }
            Err(None) => self.reject("not an object", record),
            Err(Some(Refusal::Malformed)) => {
                return Err(DecodeError::Malformed { offset: 0, what: "a record is not JSON" });
            }
            Err(Some(Refusal::Names)) => self.reject("a field's name is no valid text", record),
            Err(Some(Refusal::Fields)) => self.reject(format!("more than {RECORD_FIELDS_MAX} fields"), record),
        }
        if self.batch_rows >= BATCH_ROWS_MAX {
            self.end_batch();
        } else if self.chunk.data.len() >= CHUNK_BYTES {
            self.seal();
        }
        Ok(())
    }
}

enum Refusal {
    Malformed,
    Names,
    Fields,
}

/// Visits the members of one object in place.
struct Members<'w, 'r> {
    writer: &'w mut PageWriter,
    record: &'r [u8],
    prefix: Option<&'r str>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Members<'_, '_> {
    type Value = Result<(), Refusal>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = Result<(), Refusal>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut hint = 0;
        let mut outcome = Ok(());
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let raw: &RawValue = map.next_value()?;
            if outcome.is_err() {
                continue;
            }
            let path: Cow<'_, str> = match self.prefix {
                None => name.0,
                Some(prefix) => Cow::Owned(format!("{prefix}.{}", name.0)),
            };
            outcome = self.writer.member(self.record, &path, raw.get(), hint, self.depth);
            hint += 1;
        }
        Ok(outcome)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn shares_second(at: DateTime<Utc>, boundary: DateTime<Utc>) -> bool {
    at >= boundary && at < boundary + TimeDelta::seconds(1)
}

fn cut(record: &str, (start, end): (u32, u32)) -> &str {
    &record[start as usize..end as usize]
}

/// Where `part`, a slice of `record`, begins. Records are far smaller than 4 GiB.
fn offset_in(record: &[u8], part: &str) -> u32 {
    u32::try_from(part.as_ptr().addr() - record.as_ptr().addr()).unwrap_or(u32::MAX)
}

fn hash(buffer: &mut Vec<u8>, path: &str, raw: &str) -> u128 {
    buffer.clear();
    buffer.extend_from_slice(path.as_bytes());
    buffer.push(0);
    buffer.extend_from_slice(raw.as_bytes());
    xxh3_128(buffer)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The record as text that Postgres can hold and a reader can turn back.
fn printable(record: &[u8]) -> String {
    let mut text = String::with_capacity(record.len());
    for part in record.utf8_chunks() {
        text.push_str(&part.valid().replace('\0', "\\u0000"));
        for byte in part.invalid() {
            // Writing to a String cannot fail.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Column, ColumnType};

    fn undocumented() -> PageWriter {
        PageWriter::new(Layout::new(&[], true), RowKey::Content, None)
    }

    fn documented() -> PageWriter {
        let column =
            |name: &'static str, kind| Column { field: name.into(), name: name.into(), kind, meaning: "".into() };
        let columns = [column("id", ColumnType::Bigint), column("at", ColumnType::Timestamptz)];
        PageWriter::new(Layout::new(&columns, false), RowKey::Content, Some("at".to_owned()))
    }

    fn page(writer: &mut PageWriter, records: &[&str]) -> Vec<Chunk> {
        writer.begin(None);
        for record in records {
            writer.record(record.as_bytes()).unwrap();
        }
        writer.finish()
    }

    fn rows(chunks: &[Chunk]) -> Vec<Vec<String>> {
        chunks
            .iter()
            .flat_map(|chunk| std::str::from_utf8(&chunk.data).unwrap().lines())
            .map(|line| line.split('\t').skip(2).map(str::to_owned).collect())
            .collect()
    }

    fn keys(chunks: &[Chunk]) -> Vec<String> {
        let text: Vec<_> = chunks.iter().map(|chunk| std::str::from_utf8(&chunk.data).unwrap()).collect();
        text.iter().flat_map(|text| text.lines()).map(|line| line[..32].to_owned()).collect()
    }

    #[test]
    fn fields_get_columns_as_they_appear_and_rows_before_them_keep_their_layout() {
        let mut writer = undocumented();
        let chunks = page(&mut writer, &[r#"{"a":1}"#, r#"{"b":"x","a":2}"#, r#"{"a":3,"b":null}"#]);
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[0].layout.fields().len(), 1);
        assert_eq!(rows(&chunks), [vec!["1", "\\N"], vec!["2", "x", "\\N"], vec!["3", "\\N", "\\N"]]);
    }

    #[test]
    fn p5_a_changed_type_widens_and_loses_nothing() {
        let mut writer = undocumented();
        let chunks = page(&mut writer, &[r#"{"a":1}"#, r#"{"a":1.5}"#, r#"{"a":"x"}"#, r#"{"a":[1]}"#]);
        assert_eq!(rows(&chunks), [["1", "\\N"], ["1.5", "\\N"], ["x", "\\N"], ["[1]", "\\N"]]);
        assert_eq!(chunks.last().unwrap().layout.fields()[0].kind, ColumnType::Text);
    }

    #[test]
    fn p5_what_does_not_fit_a_documented_column_is_kept_in_extra() {
        let mut writer = documented();
        let chunks = page(&mut writer, &[r#"{"id":99999999999999999999,"at":"x","new":{"a":"\u0000"},"id":2}"#]);
        let extra = r#"{"new.a":{"_raw":"\\"\\\\u0000\\""},"id":2,"id":99999999999999999999,"at":"x"}"#;
        assert_eq!(rows(&chunks), [["\\N", "\\N", extra]]);
        assert_eq!(chunks[0].counts.extra, 4);
    }

    #[test]
    fn p5_records_that_are_no_rows_are_kept_with_the_reason() {
        let mut writer = PageWriter::new(Layout::new(&[], true), RowKey::Fields(vec!["id".to_owned()]), None);
        writer.begin(None);
        let long = format!(r#"{{"id":"{}"}}"#, "k".repeat(5000));
        for record in [
            &b"\"text\""[..],
            b"null",
            b"[1]",
            br#"{"a":1}"#,
            b"{\"id\":\"\xff\0\"}",
            br#"{"\ud800":1}"#,
            long.as_bytes(),
        ] {
            writer.record(record).unwrap();
        }
        let chunks = writer.finish();
        let reasons: Vec<_> = chunks.iter().flat_map(|c| &c.rejects).map(|reject| reject.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "not an object",
                "not an object",
                "not an object",
                "no key field `id`",
                "not UTF-8",
                "a field's name is no valid text",
                "key field `id` is longer than 2000 bytes"
            ]
        );
        assert_eq!(chunks[0].rejects[4].record, r#"{"id":"\xff\u0000"}"#);
        assert!(chunks.iter().all(|chunk| chunk.rows == 0));
    }

    #[test]
    fn a_record_that_is_not_json_fails_the_page() {
        let mut writer = undocumented();
        writer.begin(None);
        assert!(writer.record(b"{\"a\":tru}").is_err());
        assert!(writer.record(b"nul").is_err());
    }

    #[test]
    fn p1_the_key_does_not_depend_on_the_order_of_fields_and_twins_survive() {
        let mut writer = undocumented();
        let first = keys(&page(&mut writer, &[r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{"a":2,"b":1}"#]));
        assert_ne!(first[0], first[1], "identical records are told apart");
        let again =
            keys(&page(&mut undocumented(), &[r#"{"b":2,"a":1,"c":null}"#, r#"{"a":2,"b":1}"#, r#"{"a":1,"b":2}"#]));
        assert_eq!([&again[0], &again[2], &again[1]], [&first[0], &first[1], &first[2]]);
    }

    #[test]
    fn nested_objects_flatten_and_arrays_stay() {
        let mut writer = undocumented();
        let chunks = page(&mut writer, &[r#"{"a":{"b":{"c":1},"d":[{"e":1}]},"f":{}}"#]);
        let paths: Vec<_> = chunks[0].layout.fields().iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["a.b.c", "a.d", "f"]);
        assert_eq!(rows(&chunks), [["1", r#"[{"e":1}]"#, "{}", "\\N"]]);
    }

    #[test]
    fn p4_the_second_that_two_slices_share_belongs_to_the_later_one() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let mut writer = documented();
        writer.begin(Some(RowWindow { start: at("2024-03-01T00:00:00Z"), end: at("2024-03-02T00:00:00Z") }));
        for time in [
            "2024-03-01T00:00:00.000Z",
            "2024-03-01T23:59:59.9999999Z",
            "2024-03-02T00:00:00.4Z",
            "2024-03-05T00:00:00Z",
        ] {
            writer.record(format!(r#"{{"id":1,"at":"{time}"}}"#).as_bytes()).unwrap();
        }
        let chunks = writer.finish();
        let counts = chunks[0].counts;
        assert_eq!((chunks[0].rows, counts.read, counts.outside, counts.astray), (3, 4, 1, 1));
    }

    #[test]
    fn p6_chunks_and_batches_are_bounded() {
        let mut writer = undocumented();
        writer.begin(None);
        let record = format!(r#"{{"text":"{}"}}"#, "x".repeat(1000));
        let mut largest = 0;
        let mut batches = 0;
        for _ in 0..120_000 {
            writer.record(record.as_bytes()).unwrap();
            for chunk in writer.take_ready() {
                largest = largest.max(chunk.data.len());
                batches += usize::from(chunk.batch_end.is_some());
            }
        }
        assert!(largest < CHUNK_BYTES + 2000, "{largest}");
        assert_eq!(batches, 2);
    }
}
