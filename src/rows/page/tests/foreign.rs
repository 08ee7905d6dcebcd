//! Records, pages and files that do not belong to the table, and names in another letter case.

use super::*;

#[test]
fn p10_a_record_without_a_value_is_refused() {
    let chunks = page(&mut undocumented(), &["{}", "{ }", r#"{"a":null}"#, r#"{"a":1}"#]);
    let reasons: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.rejects).map(|reject| &*reject.reason).collect();
    assert_eq!((reasons, rows(&chunks).len()), (vec!["no field has a value"; 3], 1));
}

#[test]
fn p5_another_letter_case_is_the_same_field_unless_a_record_has_both() {
    let mut writer = undocumented();
    let first = keys_of(&page(&mut writer, &[r#"{"t":1,"Key":"x"}"#]));
    let chunks = page(&mut writer, &[r#"{"T":1,"KEY":"x"}"#]);
    assert_eq!(
        (keys_of(&chunks), rows(&chunks)),
        (first, vec![vec!["1".to_owned(), "x".to_owned(), "\\N".to_owned()]])
    );
    for both in [r#"{"T":2,"t":1,"key":"y"}"#, r#"{"t":1,"key":"y","T":2}"#] {
        let chunks = page(&mut writer, &[both]);
        let paths: Vec<&str> = chunks[0].layout.fields().iter().map(|field| &*field.path).collect();
        assert_eq!(
            (&*paths, &rows(&chunks)[0][..3]),
            (&["t", "Key", "T"][..], &["1", "y", "2"].map(str::to_owned)[..])
        );
    }
    let twice = page(&mut writer, &[r#"{"t":1,"t":3}"#]);
    assert_eq!((rows(&twice)[0][0].as_str(), twice[0].counts.extra), ("1", 1), "a repeated name");
}

#[test]
fn p10_records_without_any_known_field_fail_the_page() {
    let mut writer = undocumented();
    page(&mut writer, &[r#"{"id":1,"name":"x"}"#]);
    let mut read = |records: &[&str], count: usize| {
        writer.begin(None);
        for record in records.iter().cycle().take(count) {
            writer.record(record.as_bytes()).unwrap();
        }
        writer.finish().map(drop)
    };
    let foreign = [r#"{"error":"overloaded"}"#, r#"{"x":1}"#];
    assert_eq!(read(&foreign, 20), Err(DecodeError::ForeignRecords { records: 20 }));
    assert_eq!(read(&foreign[..1], 19), Ok(()), "a few records may differ");
    assert_eq!(read(&[r#"{"x":1}"#, r#"{"ID":2}"#], 20), Ok(()));
}

#[test]
fn p10_a_header_without_known_titles_is_refused() {
    let titles = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let mut writer = undocumented();
    writer.header(&titles(&["Responses", "column"]), &[]).unwrap();
    page(&mut writer, &[r#"{"id":1,"score":2}"#]);
    for known in [&["id", "other"][..], &["SCORE"], &["id", "score", "a", "b", "c", "d"]] {
        writer.header(&titles(known), &[]).unwrap();
    }
    for foreign in [&["Responses", "column"][..], &["1", "2"], &["x"]] {
        assert_eq!(writer.header(&titles(foreign), &[]), Err(DecodeError::ForeignHeader), "{foreign:?}");
    }
    page(&mut writer, &[r#"{"a":1,"b":2}"#]);
    let one_of_four = titles(&["Report", "Score", "column", "column 2"]);
    assert_eq!(writer.header(&one_of_four, &[]), Err(DecodeError::ForeignHeader), "one title may match by chance");
    let mut writer = undocumented();
    page(&mut writer, &[r#"{"window_end":1}"#]);
    writer.header(&titles(&["Responses"]), &["window_end"]).unwrap();
    let stated = Layout::new(&[], true).with_types(&[("new".to_owned(), ColumnType::Text)].into());
    let mut writer = PageWriter::new(stated, RowKey::Content, None);
    page(&mut writer, &[r#"{"id":1}"#]);
    writer.header(&titles(&["new"]), &[]).unwrap();
}
