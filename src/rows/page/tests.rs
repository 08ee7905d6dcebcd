mod foreign;
mod keys;

use super::*;
use crate::catalogue::{Column, ColumnType};

pub(super) fn undocumented() -> PageWriter {
    PageWriter::new(Layout::new(&[], true), RowKey::Content, None)
}

fn documented() -> PageWriter {
    let column = |name: &'static str, kind| Column::new(name, name, kind, "");
    let columns = [column("id", ColumnType::Bigint), column("at", ColumnType::Timestamptz)];
    PageWriter::new(Layout::new(&columns, false), RowKey::Content, Some("at".to_owned()))
}

pub(super) fn page(writer: &mut PageWriter, records: &[&str]) -> Vec<Chunk> {
    writer.begin(None);
    for record in records {
        writer.record(record.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

/// The fields of each row as text, `_row_key` first.
pub(super) fn fields(chunks: &[Chunk]) -> Vec<Vec<String>> {
    // In COPY's text format.
    let spelled = |text: Option<String>| text.map_or_else(|| "\\N".to_owned(), |text| text.replace('\\', "\\\\"));
    let rows = chunks.iter().flat_map(Chunk::shown);
    rows.map(|row| row.into_iter().map(spelled).collect()).collect()
}

fn rows(chunks: &[Chunk]) -> Vec<Vec<String>> {
    fields(chunks).into_iter().map(|row| row[1..].to_vec()).collect()
}

fn keys_of(chunks: &[Chunk]) -> Vec<String> {
    fields(chunks).into_iter().map(|mut row| row.swap_remove(0)).collect()
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
fn p5_numbers_are_widened_and_other_values_go_to_a_variant() {
    let mut writer = undocumented();
    let chunks = page(
        &mut writer,
        &[
            r#"{"a":1}"#,
            r#"{"a":""}"#,
            r#"{"a":1.5}"#,
            r#"{"a":"x"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":3}"#,
            r#"{"a":null,"a":""}"#,
        ],
    );
    let shown = rows(&chunks);
    assert_eq!(shown[..3], [["1", "\\N"], ["\\N", "\\N"], ["1.5", "\\N"]]);
    assert_eq!(shown[3..], [["\\N", "x", "\\N"], ["\\N", "[1]", "\\N"], ["3", "\\N", "\\N"], ["\\N", "\\N", "\\N"]]);
    let last = &chunks.last().unwrap().layout;
    let fields: Vec<_> = last.fields().iter().map(|field| (&*field.path, field.variant, field.kind)).collect();
    let text = ColumnType::Text;
    assert_eq!(fields, [("a", None, ColumnType::Numeric), ("a", Some(text), text)]);
}

#[test]
fn an_empty_string_adds_no_column_but_is_part_of_the_content() {
    let mut writer = undocumented();
    let chunks = page(&mut writer, &[r#"{"a":""}"#, r#"{"b":""}"#, r#"{"a":"2024-03-01T00:00:00Z"}"#, r#"{"a":""}"#]);
    assert_eq!(rows(&chunks)[..2], [["\\N"], ["\\N"]]);
    assert_eq!(rows(&chunks)[3], ["\\N", "\\N"]);
    let keys = keys_of(&chunks);
    assert_ne!(keys[0], keys[1]);
    assert_eq!(chunks.iter().map(|chunk| chunk.counts.extra).sum::<u64>(), 0);
    let again = page(&mut writer, &[r#"{"a":""}"#]);
    assert_eq!(fields(&again)[0][0], keys[0], "it is the same record with and without a column");
}

#[test]
fn p5_no_type_is_inferred_from_a_value_that_no_type_holds() {
    let mut writer = undocumented();
    let chunks = page(&mut writer, &[r#"{"a":1e999}"#, r#"{"a":2}"#, r#"{"a":1e999}"#]);
    assert_eq!(rows(&chunks), [vec![r#"{"a":{"_raw":"1e999"}}"#], vec!["2", "\\N"], vec!["\\N", "1e999", "\\N"]]);
}

#[test]
fn p5_the_original_of_a_nearest_form_is_in_extra() {
    let mut writer = undocumented();
    let chunks = page(&mut writer, &[r#"{"t":"a\u0000","j":["\ud800"],"n":1}"#, r#"{"n":"\u0000"}"#]);
    assert_eq!(
        rows(&chunks),
        [
            vec![
                "a\u{fffd}",
                r#"["\\ufffd"]"#,
                "1",
                r#"{"j":{"_raw":"[\\"\\\\ud800\\"]"},"t":{"_raw":"\\"a\\\\u0000\\""}}"#
            ],
            vec!["\\N", "\\N", "\\N", "\u{fffd}", r#"{"n":{"_raw":"\\"\\\\u0000\\""}}"#],
        ]
    );
}

#[test]
fn a_repeated_member_does_not_fill_its_variant() {
    let mut writer = undocumented();
    page(&mut writer, &[r#"{"a":1}"#, r#"{"a":"x"}"#]);
    let chunks = page(&mut writer, &[r#"{"a":1,"a":"y"}"#]);
    assert_eq!(rows(&chunks), [["1", "\\N", r#"{"a":"y"}"#]]);
}

#[test]
fn a_stated_type_takes_the_values_of_a_documented_one_and_others_go_to_text() {
    let types = [("wait".to_owned(), ColumnType::Double), ("raw".to_owned(), ColumnType::Jsonb)].into();
    let mut writer = PageWriter::new(Layout::new(&[], true).with_types(&types), RowKey::Content, None);
    let chunks = page(&mut writer, &[r#"{"wait":"N/A","raw":{"b":1}}"#, r#"{"wait":"12.5"}"#, r#"{"wait":3}"#]);
    assert_eq!(
        rows(&chunks),
        [["\\N", r#"{"b":1}"#, "N/A", "\\N"], ["12.5", "\\N", "\\N", "\\N"], ["3", "\\N", "\\N", "\\N"]]
    );
}

#[test]
fn p5_what_does_not_fit_a_documented_column_is_kept_in_extra() {
    let mut writer = documented();
    let chunks = page(&mut writer, &[r#"{"id":99999999999999999999,"at":"x","new":{"a":"\u0000"},"id":2}"#]);
    let extra = r#"{"at":"x","id":{"_values":[2,99999999999999999999]},"new.a":{"_raw":"\\"\\\\u0000\\""}}"#;
    assert_eq!(rows(&chunks), [["\\N", "\\N", extra]]);
    assert_eq!(chunks[0].counts.extra, 4);
    let empty = page(&mut writer, &[r#"{"id":"","at":""}"#]);
    assert_eq!(rows(&empty), [["\\N", "\\N", "\\N"]]);
}

#[test]
fn p5_nan_is_kept_in_extra_and_other_fields_are_not_affected() {
    let mut writer = undocumented();
    let records = [
        r#"{"a":NaN,"b":1,"c":{"d":-Infinity,"e":2},"f":[Infinity]}"#,
        r#"{"b":Infinity,"a":NaN}"#,
        r#"{"a":"NaN","b":3}"#,
    ];
    let chunks = page(&mut writer, &records);
    let columns: Vec<_> =
        chunks.last().unwrap().layout.fields().iter().map(|field| (&*field.path, field.kind)).collect();
    assert_eq!(columns, [("b", ColumnType::Bigint), ("c.e", ColumnType::Bigint), ("a", ColumnType::Text)]);
    assert_eq!(
        rows(&chunks),
        [
            vec!["1", "2", r#"{"a":{"_raw":"NaN"},"c.d":{"_raw":"-Infinity"},"f":{"_raw":"[Infinity]"}}"#],
            vec!["\\N", "\\N", r#"{"a":{"_raw":"NaN"},"b":{"_raw":"Infinity"}}"#],
            vec!["3", "\\N", "NaN", "\\N"],
        ]
    );
    assert_eq!(chunks.iter().map(|chunk| chunk.counts.extra).sum::<u64>(), 5);
    assert!(chunks.iter().all(|chunk| chunk.rejects.is_empty()));
}

#[test]
fn p5_nan_fits_no_documented_column() {
    for kind in [
        ColumnType::Text,
        ColumnType::Bigint,
        ColumnType::Double,
        ColumnType::Numeric,
        ColumnType::Boolean,
        ColumnType::Timestamptz,
        ColumnType::Jsonb,
    ] {
        let columns = [Column::new("id", "id", ColumnType::Bigint, ""), Column::new("x", "x", kind, "")];
        for value in ["NaN", "Infinity", "-Infinity", r#"{"y":NaN}"#, "[1,NaN]"] {
            let mut writer = PageWriter::new(Layout::new(&columns, false), RowKey::Fields(vec!["id".to_owned()]), None);
            let chunks = page(&mut writer, &[&format!(r#"{{"id":7,"x":{value}}}"#)]);
            let raw = serde_json::json!({ "x": { "_raw": value } }).to_string().replace('\\', "\\\\");
            assert_eq!(rows(&chunks), [["7", "\\N", &raw]], "{kind:?} {value}");
        }
    }
    // NaN identifies nothing.
    let mut writer = PageWriter::new(Layout::new(&[], true), RowKey::AnyOf(vec!["id".to_owned()]), None);
    let chunks = page(&mut writer, &[r#"{"id":NaN,"x":1}"#, r#"{"id":NaN,"x":2}"#, "NaN"]);
    assert_ne!(keys_of(&chunks)[0], keys_of(&chunks)[1]);
    assert_eq!(chunks[0].rejects[0].reason, "not an object");
}

#[test]
fn p5_records_that_cannot_become_rows_are_kept_with_the_reason() {
    let mut writer = PageWriter::new(Layout::new(&[], true), RowKey::Fields(vec!["id".to_owned()]), None);
    writer.begin(None);
    let long = format!(r#"{{"id":"{}"}}"#, "k".repeat(5000));
    for record in
        [&b"\"text\""[..], b"null", b"[1]", br#"{"a":1}"#, b"{\"id\":\"\xff\0\"}", br#"{"\ud800":1}"#, long.as_bytes()]
    {
        writer.record(record).unwrap();
    }
    let chunks = writer.finish().unwrap();
    let reasons: Vec<_> = chunks.iter().flat_map(|c| &c.rejects).map(|reject| reject.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "not an object",
            "not an object",
            "not an object",
            "no key field `id`",
            "not UTF-8",
            "a field's name is not a valid text",
            "key field `id` is longer than 2000 bytes"
        ]
    );
    assert_eq!(chunks[0].rejects[4].record, r#"{"id":"\xff\u0000"}"#);
    assert!(chunks.iter().all(|chunk| chunk.rows == 0));
}

#[test]
fn p5_records_that_a_decoder_refuses_are_counted_and_kept() {
    let mut writer = undocumented();
    writer.begin(None);
    writer.record(br#"{"a":"1"}"#).unwrap();
    writer.refuse("2 fields where the header has 1", b"1,\xff").unwrap();
    writer.record(br#"{"a":"2"}"#).unwrap();
    let chunks = writer.finish().unwrap();
    assert_eq!((chunks[0].counts.read, chunks[0].rows), (3, 2));
    let reject = &chunks[0].rejects[0];
    assert_eq!((reject.reason.as_str(), reject.record.as_str()), ("2 fields where the header has 1", r"1,\xff"));
}

#[test]
fn a_record_that_is_not_json_fails_the_page() {
    let mut writer = undocumented();
    writer.begin(None);
    assert!(writer.record(b"{\"a\":tru}").is_err());
    assert!(writer.record(b"nul").is_err());
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
    for time in
        ["2024-03-01T00:00:00.000Z", "2024-03-01T23:59:59.9999999Z", "2024-03-02T00:00:00.4Z", "2024-03-05T00:00:00Z"]
    {
        writer.record(format!(r#"{{"id":1,"at":"{time}"}}"#).as_bytes()).unwrap();
    }
    let chunks = writer.finish().unwrap();
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
    for _ in 0..BATCH_ROWS_MAX * 2 + BATCH_ROWS_MAX / 2 {
        writer.record(record.as_bytes()).unwrap();
        for chunk in writer.take_ready() {
            largest = largest.max(chunk.data.len());
            batches += usize::from(chunk.batch_end.is_some());
        }
    }
    assert!(largest < CHUNK_BYTES + 2000, "{largest}");
    assert_eq!(batches, 2);
}

#[test]
fn p4_whether_an_object_is_flattened_depends_only_on_the_record() {
    let object = r#"{"a":{"b":1}}"#;
    let fresh = keys_of(&page(&mut undocumented(), &[object]));
    let mut used = undocumented();
    page(&mut used, &[r#"{"a":"x"}"#, r#"{"a":{}}"#]);
    assert_eq!(keys_of(&page(&mut used, &[object])), fresh);
    let paths: Vec<_> = used.layout.fields().iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["a", "a.b"]);
}

#[test]
fn p6_refused_records_are_passed_on_by_size() {
    let mut writer = undocumented();
    writer.begin(None);
    let record = format!("[\"{}\"]", "x".repeat(200_000));
    for _ in 0..10 {
        writer.record(record.as_bytes()).unwrap();
        assert!(writer.take_ready().iter().all(|chunk| chunk.weight() < 2 * CHUNK_BYTES));
        assert!(writer.chunk.weight() < CHUNK_BYTES);
        writer.refuse("not a row", record.as_bytes()).unwrap();
        assert!(writer.take_ready().iter().all(|chunk| chunk.weight() < 2 * CHUNK_BYTES));
        assert!(writer.chunk.weight() < CHUNK_BYTES);
    }
}

#[test]
fn p6_long_names_do_not_multiply() {
    let mut writer = undocumented();
    writer.begin(None);
    let members: Vec<String> = (0..1000).map(|number| format!(r#""f{number}":{number}"#)).collect();
    let record = format!(r#"{{"{}":{{{}}}}}"#, "n".repeat(100_000), members.join(","));
    writer.record(record.as_bytes()).unwrap();
    let chunks = writer.finish().unwrap();
    assert_eq!(chunks[0].counts.extra, 1, "the object is kept whole");
    assert!(chunks[0].data.len() < 200_000);
}

#[test]
fn p5_a_row_has_no_more_values_than_fit_a_block() {
    let mut writer = undocumented();
    let members: Vec<String> = (0..1000).map(|number| format!(r#""f{number}":{number}"#)).collect();
    let chunks = page(&mut writer, &[&format!("{{{}}}", members.join(","))]);
    assert_eq!(chunks[0].layout.fields().len(), ROW_VALUES_MAX);
    assert_eq!(chunks[0].counts.extra, 700);
}

#[test]
fn p4_duplicates_in_a_shared_second_are_reported_once_and_counted_per_part() {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let window = |start, end| Some(RowWindow { start: at(start), end: at(end) });
    let mut writer = undocumented();
    let mut shared = |window, time: &str| {
        let record = format!(r#"{{"at":"{time}","n":1}}"#);
        writer.begin(window);
        writer.record(record.as_bytes()).unwrap();
        writer.record(record.as_bytes()).unwrap();
        writer.finish().unwrap()[0].shared.clone()
    };
    let (midnight, noon) = ("2024-03-01T00:00:00Z", "2024-03-01T12:00:00Z");
    let morning = window(midnight, noon);
    let evening = window(noon, "2024-03-02T00:00:00Z");
    // Text with seven digits or without a zone is not an instant, but lies in the shared second too.
    for time in ["2024-03-01T12:00:00.5Z", "2024-03-01T12:00:00.1234567Z", "2024-03-01 09:00:00"] {
        let (before, behind) = (shared(morning, time), shared(evening, time));
        assert_eq!((before.len(), behind.len()), (1, 1), "{time}");
        assert_eq!(before[0].base, behind[0].base);
        assert_ne!(before[0].part_key, behind[0].part_key);
    }
    assert_eq!(shared(morning, "2024-03-01T12:00:01Z"), []);
    assert_eq!(shared(morning, "2024-03-01T11:59:59.999Z"), []);
    assert_eq!(shared(None, noon), []);
}
