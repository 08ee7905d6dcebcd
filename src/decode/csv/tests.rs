use proptest::prelude::*;

use super::*;
use crate::test_kit::Collected;

fn split(body: &[u8], delimiter: Option<u8>, chunk: usize) -> Result<(Collected, CsvEnd), DecodeError> {
    let mut kept = Collected::default();
    let mut splitter = CsvSplitter::new(delimiter);
    let fed = body.chunks(chunk).try_for_each(|part| splitter.feed(part, &mut kept));
    let end = fed.and_then(|()| splitter.finish(&mut kept));
    // Every record is UTF-8, even if the body is not read to its end.
    let counts = (kept.texts().len() as u64, kept.refused.len() as u64);
    let end = end?;
    assert_eq!((end.records, end.refused), counts);
    Ok((kept, end))
}

/// The same however the body is cut into chunks.
fn decode(body: impl AsRef<[u8]>) -> Result<(Collected, CsvEnd), DecodeError> {
    let body = body.as_ref();
    let whole = split(body, None, body.len().max(1));
    for chunk in 1..body.len() {
        assert_eq!(split(body, None, chunk), whole, "chunks of {chunk}");
    }
    whole
}

fn records(body: impl AsRef<[u8]>) -> Vec<String> {
    let (kept, _) = decode(body).unwrap();
    kept.accepted()
}

#[test]
fn rows_become_objects_and_empty_fields_and_rows_are_left_out() {
    assert_eq!(
        records("Account Name,State,Note\nAcme,open,\n,\"\",\n\"a, \"\"b\"\"\",\"two\r\nlines\",\u{1f600}\u{1}\\\n"),
        [
            r#"{"Account Name":"Acme","State":"open"}"#,
            r#"{"Account Name":"a, \"b\"","State":"two\r\nlines","Note":"😀\u0001\\"}"#
        ]
    );
}

#[test]
fn a_body_may_have_any_usual_form() {
    for (body, rows) in [
        ("a,b\r\n1,2\r\n3,4\r\n", 2),
        ("a,b\n1,2\n3,4", 2),
        ("a,b\r1,2\r3,4\r", 2),
        ("a,b\r\n1,2\r\n3,\"4\"", 2),
        ("\n \r\n a,b\n\n\n1,2\n\r\n3,4\n\n", 2),
        ("\u{feff}a,b\n1,2\n3,4\n", 2),
        ("\u{feff}\"a\",\"b\"\n1,2\n3,4\n", 2),
        ("a;b\n1;2\n3;4\n", 2),
        ("a\tb\n1\t2\n3\t4\n", 2),
        ("a|b\n1|2\n3|4\n", 2),
        ("a,b", 0),
        ("a,b\r", 0),
        ("\"a\",\"b\"", 0),
    ] {
        let expected = [r#"{"a":"1","b":"2"}"#, r#"{"a":"3","b":"4"}"#];
        assert_eq!(records(body), expected[..rows], "{body:?}");
        assert_eq!(decode(body).unwrap().1.titles, ["a", "b"], "{body:?}");
    }
}

#[test]
fn an_empty_body_has_no_records() {
    for body in ["", "\u{feff}", "\n", "\r\n\r\n", " \n\t\r\n "] {
        assert_eq!(decode(body), Ok((Collected::default(), CsvEnd::default())), "{body:?}");
    }
}

#[test]
fn the_delimiter_is_the_most_frequent_one_outside_quotes() {
    for (header, titles) in [
        ("a;b;c,d", vec!["a", "b", "c,d"]),
        ("\"a;;\";b,c,d", vec!["a;;;b", "c", "d"]),
        ("\"x,,\"\",,\";b", vec!["x,,\",,", "b"]),
        // Undecidable; a comma may be part of a word.
        ("a,b;c", vec!["a,b", "c"]),
        ("one", vec!["one"]),
        ("\n\ta\tb", vec!["column", "a", "b"]),
        ("a|b\t", vec!["a|b", "column"]),
        ("5\" screen,b", vec!["5\" screen", "b"]),
    ] {
        assert_eq!(decode(header).unwrap().1.titles, titles, "{header}");
    }
}

#[test]
fn p5_the_delimiter_is_detected_from_the_header_and_the_lines() {
    for (body, titles) in [
        // The header alone would suggest a comma.
        ("Agent;Wait (h, m)\nAnn;1\nBob;2\n", &["Agent", "Wait (h, m)"][..]),
        ("Agent;Wait (h, m, s)\nAnn;1\nBob;2\n", &["Agent", "Wait (h, m, s)"]),
        ("Agent;Wait (h,m,s)\nAnn;1\n", &["Agent", "Wait (h,m,s)"]),
        ("Agent\tA,B,C\nAnn\tx\n", &["Agent", "A,B,C"]),
        ("Agent|A;B;C\nAnn|x\n", &["Agent", "A;B;C"]),
        ("Agent,\"A;B;C;D\"\nAnn,x\n", &["Agent", "A;B;C;D"]),
        ("Agent,Note\nAnn,a;b;c\nBob,d;e\n", &["Agent", "Note"]),
        // Decimal commas.
        ("Agent;Wait (h,m)\nAnn;3,5\nBob;4,0\n", &["Agent", "Wait (h,m)"]),
        ("Agent;Wait;Total\nAnn;3,5;1,0\nBob;4,0;2,5\n", &["Agent", "Wait", "Total"]),
        // A space after each comma does not change the delimiter.
        ("Agent, Wait, Total\nAnn, 1, 2\n", &["Agent", "Wait", "Total"]),
        // Most lines decide, not all.
        ("Agent;A,B\nAnn;1\nBob\nCleo;2\nDan;3,4\n", &["Agent", "A,B"]),
        // Line ends inside quotes do not count.
        ("Agent;A,B,C\n\"Ann, of\nAtown, B\";1\nBob;2\n", &["Agent", "A,B,C"]),
        ("Agent;A,B,C\r\nAnn;1\r\n", &["Agent", "A,B,C"]),
        ("Agent;A,B,C\rAnn;1", &["Agent", "A,B,C"]),
        // Without lines, the delimiter with the most titles wins.
        ("Agent;A,B,C\n", &["Agent;A", "B", "C"]),
        ("Name\nSmith\n", &["Name"]),
    ] {
        let (kept, end) = decode(body).unwrap();
        assert_eq!(end.titles, titles, "{body:?}");
        assert!(end.records >= 1 || !body.contains("Ann"), "{body:?}: {kept:?}");
    }
}

#[test]
fn p10_rows_below_a_title_line_are_rejected_and_none_becomes_one_field() {
    for body in ["Report of March\na;b;c\n1;2;3\n", "Report of March\na,b,c\n1,2,3\n", "Report, March\na;b;c\n1;2;3\n"]
    {
        let (kept, _) = decode(body).unwrap();
        assert!(kept.records.is_empty() && kept.refused.len() == 2, "{body:?}: {kept:?}");
    }
}

#[test]
fn p6_few_lines_are_read_to_detect_the_delimiter() {
    let mut splitter = CsvSplitter::new(None);
    let mut kept = Collected::default();
    splitter.feed(b"Agent;A,B\n", &mut kept).unwrap();
    let mut fed = 0;
    while kept.records.is_empty() {
        splitter.feed(b"Ann;some words that take up room\n", &mut kept).unwrap();
        fed += 1;
    }
    assert!(fed <= 51, "{fed} lines");
    let long = format!("Ann;{}\n", "x".repeat(1 << 20));
    let (kept, end) = split(format!("Agent;A,B,C\n{long}{long}").as_bytes(), None, 1 << 12).unwrap();
    assert_eq!((kept.records.len(), end.titles.len()), (2, 2), "one long line is enough to look at");
}

#[test]
fn p5_a_delimiter_may_end_every_line() {
    for body in
        ["a;b;\n1;2;\n3;4;\n", "a;b\n1;2;\n3;4;\n", "a;b\n1;2;\n3;4\n", "a;b\n1;2;;;\n3;4;;;", "a,b\n1,2,\"\"\n3,4,\n"]
    {
        assert_eq!(records(body), [r#"{"a":"1","b":"2"}"#, r#"{"a":"3","b":"4"}"#], "{body:?}");
    }
    // Decided by the first line: otherwise the field may contain an unquoted delimiter.
    for (body, refused) in [
        ("a;b\n1;2\n3;4;\n", "3;4;"),
        ("a;b\n1;2;\n3;x;4\n", "3;x;4"),
        ("a;b\n1;2;\n3;4;;\n", "3;4;;"),
        ("a;b\n1;2;x\n3;4;\n", "1;2;x"),
    ] {
        let (kept, end) = decode(body).unwrap();
        assert_eq!(kept.refused[0].1, refused.as_bytes(), "{body:?}");
        assert!(end.refused >= 1 && end.records + end.refused == 2);
    }
}

#[test]
fn another_quote_character_can_be_configured() {
    let mut kept = Collected::default();
    let mut splitter = CsvSplitter::quoted(None, b'\'');
    splitter.feed(b"'a;;;';b\n'it''s; \"1\"';2\n\"x;3\ny\n'z';'\n", &mut kept).unwrap();
    splitter.feed(b"';1\n", &mut kept).unwrap();
    let end = splitter.finish(&mut kept).unwrap();
    assert_eq!(end.titles, ["a;;;", "b"]);
    assert_eq!(kept.texts(), [r#"{"a;;;":"it's; \"1\"","b":"2"}"#, r#"{"a;;;":"\"x","b":"3"}"#]);
    let refused: Vec<&[u8]> = kept.refused.iter().map(|(_, row)| row.as_slice()).collect();
    assert_eq!(refused, [&b"y"[..], b"z;'\n';1"], "written with its own quotes");
}

#[test]
fn a_configured_delimiter_is_always_used() {
    let (kept, end) = split(b"a,b;c,d,e^f\n1^2\n", Some(b'^'), 3).unwrap();
    assert_eq!(end.titles, ["a,b;c,d,e", "f"]);
    assert_eq!(kept.texts(), [r#"{"a,b;c,d,e":"1","f":"2"}"#]);
    assert_eq!(split(b"a;b\n1;2\n", Some(b','), 3).unwrap().0.texts(), [r#"{"a;b":"1;2"}"#]);
}

#[test]
fn p5_titles_are_trimmed_and_made_unique() {
    for (header, titles) in [
        (" a ,\tB\u{a0},\"\u{feff}c \"", vec!["a", "B", "c"]),
        ("a,A,a,a", vec!["a", "A", "a 2", "a 3"]),
        (",,x,", vec!["column", "column 2", "x", "column 3"]),
        ("a,a,a 2,a 2", vec!["a", "a 2", "a 2 2", "a 2 3"]),
        ("a 2,a,a", vec!["a 2", "a", "a 3"]),
    ] {
        assert_eq!(decode(header).unwrap().1.titles, titles, "{header}");
    }
    assert_eq!(records("a\"b,a\"b,\\\n1,2,3\n"), [r#"{"a\"b":"1","a\"b 2":"2","\\":"3"}"#]);
}

#[test]
fn titles_are_known_as_soon_as_the_header_is_read() {
    let mut splitter = CsvSplitter::new(Some(b','));
    splitter.feed(b"a,b", &mut Collected::default()).unwrap();
    assert!(splitter.titles().is_empty());
    splitter.feed(b"\n", &mut Collected::default()).unwrap();
    assert_eq!(splitter.titles(), ["a", "b"]);
}

#[test]
fn p5_a_row_that_does_not_fit_the_header_is_rejected_unchanged() {
    let (kept, end) =
        decode(b"a;b\n1\n\"x;\"\"\";2;3\n\xff;2\n\xc3;\xa9\n1;2\n1;\"two\nlines\";\n1;2;3".as_slice()).unwrap();
    assert_eq!(kept.texts(), [r#"{"a":"1","b":"2"}"#]);
    let refused = |reason: &str, row: &[u8]| (reason.to_owned(), row.to_vec());
    assert_eq!(
        kept.refused,
        [
            refused("1 fields where the header has 2", b"1"),
            refused("3 fields where the header has 2", b"\"x;\"\"\";2;3"),
            refused("not UTF-8", b"\xff;2"),
            refused("not UTF-8", b"\xc3;\xa9"),
            refused("3 fields where the header has 2", b"1;\"two\nlines\";"),
            refused("3 fields where the header has 2", b"1;2;3"),
        ]
    );
    assert_eq!((end.records, end.refused), (1, 6));
}

#[test]
fn p5_a_truncated_body_is_an_error() {
    for body in
        ["a,b\n1,2\n3", "a,b\n1,2\n3,\"4", "a,b\n\"", "a,\"b", "a,b\n1,\"2\n3,4\n", "\"", "a,b\n1,2\n3,\"4\"\"\n"]
    {
        assert_eq!(decode(body).unwrap_err(), DecodeError::Cut, "{body:?}");
    }
}

#[test]
fn a_body_that_is_not_csv_is_named_in_the_error() {
    for (body, what) in [
        (&b"<html>"[..], "HTML or XML"),
        (b"\xEF\xBB\xBF \n <?xml version='1.0'?>\n", "HTML or XML"),
        (br#"{"error":"expired"}"#, "JSON"),
        (b"\n[]", "JSON"),
        (b"a\0,\0b\0\n\0", "UTF-16 without a byte order mark"),
        (b"\0a\0,\0b\0\n", "UTF-16 without a byte order mark"),
        (b"\x1F\x8B\x08\x00", "gzip within gzip"),
        (b"PK\x03\x04\x14\0\n", "a ZIP archive (or XLSX)"),
        (b"a,\xff\n1,2\n", "text in another charset than the announced or configured one (UTF-8 without either)"),
        (b"\xc3,\xa9\n1,2\n", "text in another charset than the announced or configured one (UTF-8 without either)"),
    ] {
        assert_eq!(decode(body).unwrap_err(), DecodeError::NotCsv(what), "{}", body.escape_ascii());
    }
    assert_eq!(records("a\n<b>\n{c}\n"), [r#"{"a":"<b>"}"#, r#"{"a":"{c}"}"#]);
}

#[test]
fn p5_a_formula_is_text_like_any_other() {
    assert_eq!(
        records("a,b\n=1+1,\"@SUM(A1)\"\n+1,\"-2+cmd|'/c calc'!A1\"\n"),
        [r#"{"a":"=1+1","b":"@SUM(A1)"}"#, r#"{"a":"+1","b":"-2+cmd|'/c calc'!A1"}"#]
    );
}

/// Feeds `block` endlessly after `start`. Returns the error and the number of bytes held by then.
fn endless(start: &[u8], block: &[u8]) -> (Option<DecodeError>, usize) {
    let mut splitter = CsvSplitter::new(None);
    let mut kept = Collected::default();
    splitter.feed(start, &mut kept).unwrap();
    let rounds = (64 << 20) / block.len();
    let error = (0..rounds).find_map(|_| splitter.feed(block, &mut kept).err());
    assert!(kept.records.is_empty());
    (error, splitter.fields.capacity() + splitter.text.capacity() + splitter.ends.capacity() * size_of::<usize>())
}

#[test]
fn p6_an_endless_row_or_header_is_refused() {
    let block = vec![b'x'; 1 << 16];
    let record = Some(DecodeError::RecordTooLarge { max: RECORD_BYTES_MAX });
    let header = Some(DecodeError::HeaderTooLarge { max: HEADER_BYTES_MAX });
    let columns = Some(DecodeError::TooManyColumns { max: FIELDS_MAX });
    for (start, block, expected) in [
        (&b"a,b\n1,\""[..], &block[..], &record),
        (b"a,b\n1", &block, &record),
        (b"a,b\n1,\"", b"\n", &record),
        (b"", &block, &header),
        (b"a,b,\"", &block, &header),
        (b"a,b\n", b"1,", &columns),
        (b"", b"1,", &columns),
        (b"<", &block, &Some(DecodeError::NotCsv("HTML or XML"))),
        (b"", b"\r\n", &None),
        (b"a\n", b"\r\n", &None),
    ] {
        let (error, held) = endless(start, block);
        assert_eq!(error, *expected, "{}", start.escape_ascii());
        assert!(held < 2 * RECORD_BYTES_MAX, "{held} bytes held");
    }
}

#[test]
fn p6_escapes_do_not_raise_a_record_above_its_bound() {
    let body = format!("a,b\n1,{}\n", "\\".repeat(RECORD_BYTES_MAX / 2 + 1));
    let refused = split(body.as_bytes(), None, 1 << 16).unwrap_err();
    assert_eq!(refused, DecodeError::RecordTooLarge { max: RECORD_BYTES_MAX });
}

#[test]
fn the_maximum_of_columns_and_bytes_is_read() {
    let header: Vec<String> = (0..FIELDS_MAX).map(|column| format!("c{column}")).collect();
    let body = format!("{}\n{}1", header.join(","), ",".repeat(FIELDS_MAX - 1));
    assert_eq!(split(body.as_bytes(), None, 999).unwrap().0.texts(), [r#"{"c4999":"1"}"#]);
    let same = vec!["a"; FIELDS_MAX].join(",");
    assert_eq!(split(same.as_bytes(), None, 999).unwrap().1.titles[FIELDS_MAX - 1], "a 5000");
    let long = "x".repeat(RECORD_BYTES_MAX - r#"{"a":""}"#.len());
    let (kept, _) = split(format!("a\n{long}\n").as_bytes(), None, 1 << 16).unwrap();
    assert_eq!(kept.records[0].len(), RECORD_BYTES_MAX);
}

fn quoted(field: &str, delimiter: char, always: bool) -> String {
    if always || field.contains(['"', '\r', '\n', delimiter]) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

proptest! {
    #[test]
    fn p5_fields_of_any_content_round_trip(
        rows in proptest::collection::vec(proptest::collection::vec("([a-z ,;|\t\"\r\n\\\\é😀\u{0}]|\\PC){0,6}", 3), 0..6),
        delimiter in prop::sample::select(vec![',', ';', '\t', '|']),
        (line_end, last_line_end) in (prop::sample::select(vec!["\n", "\r\n", "\r"]), any::<bool>()),
        (always, chunk) in (any::<bool>(), 1_usize..40),
    ) {
        let mut lines = vec![["one", "two", "three"].join(&delimiter.to_string())];
        for row in &rows {
            let fields: Vec<String> = row.iter().map(|field| quoted(field, delimiter, always)).collect();
            lines.push(fields.join(&delimiter.to_string()));
        }
        let body = lines.join(line_end) + if last_line_end { line_end } else { "" };
        let (kept, _) = split(body.as_bytes(), None, chunk).unwrap();
        let rows: Vec<&Vec<String>> = rows.iter().filter(|row| row.iter().any(|field| !field.is_empty())).collect();
        prop_assert!(kept.refused.is_empty());
        prop_assert_eq!(kept.records.len(), rows.len());
        for (record, row) in kept.texts().into_iter().zip(rows) {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(record).unwrap();
            for (title, field) in ["one", "two", "three"].into_iter().zip(row) {
                let value = object.get(title).and_then(serde_json::Value::as_str);
                prop_assert_eq!(value.unwrap_or_default(), field);
                prop_assert_eq!(value.is_none(), field.is_empty());
            }
        }
    }

    #[test]
    fn any_bytes_are_handled_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..9) {
        prop_assert_eq!(split(&body, None, chunk), split(&body, None, 200));
    }

    #[test]
    fn any_punctuation_is_handled_without_a_panic(body in "[,;\"\r\n\u{feff}a1 ]{0,60}", chunk in 1_usize..9) {
        let parts = split(body.as_bytes(), None, chunk);
        prop_assert_eq!(&parts, &split(body.as_bytes(), None, 200));
        if let Ok((kept, _)) = parts {
            for record in kept.texts() {
                prop_assert!(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(record).is_ok());
            }
        }
    }
}
