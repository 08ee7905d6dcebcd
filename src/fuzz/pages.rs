//! From a damaged body to COPY rows: whatever the input, every row that the load path produces is valid.

use proptest::prelude::*;

use super::decoders::{CSV, JSON};
use super::{any_cuts, damaged, pieces};
use crate::catalogue::{Child, Column, ColumnType};
use crate::decode::csv::CsvSplitter;
use crate::decode::json::Splitter;
use crate::decode::{DecodeError, Sink};
use crate::rows::chunk::Chunk;
use crate::rows::layout::Layout;
use crate::rows::page::{KeyField, PageWriter, RowKey, RowWindow};
use crate::rows::{encode, jsonb, timestamp, unescape};

const COLUMNS: &[Column] = &[
    Column::new("timestamp", "timestamp", ColumnType::Timestamptz, ""),
    Column::new("session", "session", ColumnType::Text, "").or_empty(),
    Column::new("id", "id", ColumnType::Bigint, ""),
    Column::new("n", "n", ColumnType::Jsonb, ""),
    Column::new("a", "a", ColumnType::Double, ""),
];
const GROUPS: &[Column] = &[Column::new("", "group_id", ColumnType::Bigint, "")];

fn writers() -> Vec<PageWriter> {
    let child = Child {
        name: "groups".into(),
        meaning: "".into(),
        field: "groups".into(),
        parent: vec![].into(),
        columns: GROUPS.into(),
    };
    let documented = || Layout::new(COLUMNS, false).with_children(std::slice::from_ref(&child));
    let session = KeyField { path: "session".to_owned(), may_be_absent: true };
    vec![
        PageWriter::new(Layout::new(&[], true), RowKey::Content, None),
        PageWriter::new(documented(), RowKey::Content, Some("timestamp".to_owned())),
        PageWriter::new(documented(), RowKey::Columns(vec![session]), None),
        PageWriter::new(Layout::new(COLUMNS, true), RowKey::Fields(vec!["id".to_owned()]), None),
        PageWriter::new(Layout::new(&[], true), RowKey::AnyOf(vec!["id".to_owned(), "name".to_owned()]), None),
    ]
}

/// The chunks of a body, up to the first error. None if its records are foreign to the stream.
fn written(writer: &mut PageWriter, body: &[u8], cuts: &[usize]) -> Option<Vec<Chunk>> {
    let start = "2024-03-01T00:00:00Z".parse().unwrap();
    let end = "2024-03-02T00:00:00Z".parse().unwrap();
    writer.begin(Some(RowWindow { start, end }));
    let mut splitter = Splitter::new("result");
    let mut chunks = Vec::new();
    for piece in pieces(body, cuts) {
        if splitter.feed(piece, writer).is_err() {
            break;
        }
        chunks.extend(writer.take_ready());
    }
    chunks.extend(last_chunks(writer)?);
    Some(chunks)
}

/// The chunks that end a page. None if none of its many records has a field of the stream.
fn last_chunks(writer: &mut PageWriter) -> Option<Vec<Chunk>> {
    match writer.finish() {
        Ok(chunks) => Some(chunks),
        Err(DecodeError::ForeignRecords { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

fn shown(chunks: &[Chunk]) -> String {
    let parts =
        chunks.iter().map(|chunk| format!("{:?}{:?}{:?}{:?}", *chunk.data, chunk.ends, chunk.rejects, chunk.counts));
    parts.collect()
}

/// Treats every record as text whose members are not known.
struct AsText<'w>(&'w mut PageWriter);

impl Sink for AsText<'_> {
    fn header(&mut self, titles: &[String], added: &[&str]) -> Result<(), DecodeError> {
        self.0.header(titles, added)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.0.record(record)
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.0.refuse(reason, record)
    }
}

/// Asserts that a body becomes the same rows whether it is read in one piece or in several, that every value has the
/// type of its column, and that every record becomes a row or is rejected.
fn assert_whole_rows(body: &[u8], cuts: &[usize]) {
    for (mut writer, mut other) in writers().into_iter().zip(writers()) {
        let chunks = written(&mut writer, body, &[usize::MAX]);
        let in_pieces = written(&mut other, body, cuts);
        let Some(chunks) = chunks else {
            assert!(in_pieces.is_none(), "foreign in one piece only");
            continue;
        };
        assert_eq!(shown(&chunks), shown(&in_pieces.unwrap()));
        let mut told = 0;
        for chunk in &chunks {
            let rows = chunk.shown();
            assert_eq!(rows.len() as u64, chunk.rows);
            for fields in rows {
                assert_eq!(fields.len(), chunk.layout.fields().len() + 2);
                assert!(fields.iter().flatten().all(|text| !text.contains('\0')));
                if let Some(extra) = fields.last().unwrap() {
                    assert!(jsonb::holds(extra), "{extra}");
                    assert!(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(extra).is_ok());
                }
                for (field, value) in chunk.layout.fields().iter().zip(&fields[1..]) {
                    let Some(value) = value else { continue };
                    let fits = match field.kind {
                        ColumnType::Bigint => value.parse::<i64>().is_ok(),
                        ColumnType::Double => value.parse::<f64>().is_ok_and(f64::is_finite),
                        ColumnType::Boolean => matches!(&**value, "true" | "false"),
                        ColumnType::Timestamptz => timestamp::parse(value).is_some(),
                        ColumnType::Jsonb => jsonb::holds(value),
                        ColumnType::Numeric => value.bytes().all(|byte| matches!(byte, b'-' | b'.' | b'0'..=b'9')),
                        ColumnType::Text => true,
                    };
                    assert!(fits, "{:?} {value}", field.kind);
                }
            }
            assert!(chunk.rejects.iter().all(|reject| !reject.record.contains('\0')));
            told += chunk.rows + chunk.rejects.len() as u64 + chunk.counts.outside;
        }
        // Nothing is lost except the records from the point at which the body broke.
        let read: u64 = chunks.iter().map(|chunk| chunk.counts.read).sum();
        assert!(told == read || told + 1 == read, "{told} of {read}");
    }
}

/// Bodies found by the property below.
#[test]
fn p5_bodies_that_once_failed_become_whole_rows_and_rejected_records() {
    for body in [
        &br#"[{"id":1,"name":"x","groups":[1,2]},{"id":2,"groups":[]}, 3, null, "s", [[]]]"#[..],
        br#"[{"id":1,"name":"x","groups":[1,2]},{"idgroups":[]}, 3, null, "s", [[]]]"#,
        format!("[{}]", vec![r#"{"other":1}"#; 52].join(",")).as_bytes(),
    ] {
        assert_whole_rows(body, &[1]);
    }
}

proptest! {
    #[test]
    fn p5_a_damaged_body_becomes_whole_rows_and_rejected_records(body in damaged(JSON), cuts in any_cuts()) {
        assert_whole_rows(&body, &cuts);
    }

    #[test]
    fn p5_a_row_with_known_members_equals_the_row_parsed_from_its_text(body in damaged(CSV), cuts in any_cuts()) {
        for (mut known, mut read) in writers().into_iter().zip(writers()) {
            let mut fed = Vec::new();
            for (writer, knows) in [(&mut known, true), (&mut read, false)] {
                writer.begin(None);
                let mut splitter = CsvSplitter::new(None);
                for piece in pieces(&body, &cuts) {
                    let outcome = if knows { splitter.feed(piece, writer) } else { splitter.feed(piece, &mut AsText(writer)) };
                    if outcome.is_err() {
                        break;
                    }
                }
                fed.push(last_chunks(writer).map(|chunks| shown(&chunks)));
            }
            prop_assert_eq!(&fed[0], &fed[1]);
        }
    }

    #[test]
    fn p5_damaged_values_are_checked_without_a_panic(value in damaged(JSON), time in "[0-9TtZz:.,+ -]{0,70}") {
        let value = String::from_utf8_lossy(&value);
        let _ = (jsonb::holds(&value), timestamp::parse(&value), timestamp::moment(&value), timestamp::moment(&time));
        if serde_json::from_str::<&serde_json::value::RawValue>(&value).is_ok() {
            let raw = value.trim();
            let _ = (encode::infer(raw), unescape::unescape(raw));
            // Every accepted value yields the same tree, unless a tree cannot represent it.
            if jsonb::holds(raw) && let Ok(tree) = serde_json::from_str::<serde_json::Value>(raw) {
                prop_assert!(jsonb::holds(&tree.to_string()));
            }
        }
    }
}

#[test]
fn p6_a_deep_or_wide_record_is_read_in_linear_time_and_space() {
    let started = std::time::Instant::now();
    let wide = |member: &dyn Fn(usize) -> String| (0..200_000).map(member).collect::<Vec<_>>().join(",");
    for record in [
        format!("{}1{}", "{\"a\":".repeat(400_000), "}".repeat(400_000)),
        format!("{{\"a\":{}{}}}", "[".repeat(800_000), "]".repeat(800_000)),
        format!("{{{}}}", wide(&|number| format!("\"f{number}\":{number}"))),
        format!("{{\"a\":{{{}}}}}", wide(&|number| format!("\"f{number}\":{number}"))),
        format!("{{\"a\":[{}]}}", wide(&|number| format!("{{\"f{number}\":{number}}}"))),
        format!("{{\"groups\":[{}]}}", wide(&|number| number.to_string())),
        format!("{{{}}}", wide(&|_| "\"a\":1".to_owned())),
    ] {
        for mut writer in writers() {
            writer.begin(None);
            writer.record(record.as_bytes()).unwrap();
            let held: usize = writer.finish().unwrap().iter().map(Chunk::weight).sum();
            assert!(held <= 4 * record.len(), "{held} bytes of {}: {}", record.len(), &record[..40]);
        }
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
