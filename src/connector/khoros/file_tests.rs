use super::*;
use crate::fuzz;
use crate::secret::Secret;
use crate::test_kit::Collected;

/// The result of a body that arrives in pieces of these lengths.
pub(in super::super) fn outcome(
    format: ReportFormat,
    respelt: bool,
    body: &[u8],
    cuts: &[usize],
) -> (Collected, Result<(), StepError>) {
    let mut kept = Collected::default();
    let mut rows = Rows::new(format, &CsvForm::default(), respelt.then_some(spelling as csv::Spelling), -21_600_000);
    let fed = fuzz::pieces(body, cuts).try_for_each(|piece| rows.feed(piece, &mut kept).map_err(StepError::from));
    let end = fed.and_then(|()| rows.finish(&mut kept, &fuzz::redactor()));
    (kept, end)
}

fn read(format: ReportFormat, body: &str) -> Result<Vec<String>, StepError> {
    let mut kept = Collected::default();
    let mut rows = Rows::new(format, &CsvForm::default(), Some(spelling), -21_600_000);
    for chunk in body.as_bytes().chunks(7) {
        rows.feed(chunk, &mut kept)?;
    }
    rows.finish(&mut kept, &Redactor::new(vec![Secret::new("acme-t1")]))?;
    Ok(kept.accepted())
}

#[test]
fn the_key_is_found_in_any_spelling() {
    for title in ["Conversation ID", "conversationId", "CONVERSATION_ID", "conversation_id", "Conversation-ID."] {
        let same = title.eq_ignore_ascii_case(CONVERSATION_ID);
        let wanted = if same { title } else { CONVERSATION_ID };
        let rows = |title: &str| {
            vec![
                format!(r#"{{"Status":"Open","{title}":"9\"0","x":"\"{title}\":"}}"#),
                format!(r#"{{"{title}" : 1.50,"Conversation":"{title}"}}"#),
                r#"{"Status":"Closed"}"#.to_owned(),
                format!(r#"{{"y":"{title}","{title}":"8"}}"#),
            ]
        };
        // Only the name is replaced.
        let spelt: Vec<String> = rows(title)
            .into_iter()
            .map(|row| {
                let at = member(row.as_bytes(), &format!("\"{title}\""));
                at.map_or(row.clone(), |at| row[..=at].to_owned() + wanted + &row[at + 1 + title.len()..])
            })
            .collect();
        let body = format!("[{}]", rows(title).join(",\n"));
        assert_eq!(read(ReportFormat::Json, &body).unwrap(), spelt, "{title}");
        let csv = format!("\"Status\",\"{title}\"\r\nOpen,90\r\n");
        let title = if same && title != CONVERSATION_ID { CONVERSATION_ID } else { wanted };
        let row = format!(r#"{{"Status":"Open","{title}":"90"}}"#);
        assert_eq!(read(ReportFormat::Csv, &csv).unwrap(), [row]);
    }
}

#[test]
fn the_closing_time_is_an_instant_in_any_format() {
    for (title, value, read_as) in [
        ("CLOSED_TIME", r#""2026-03-01T10:00:00Z""#, r#","CLOSED_TIME":"2026-03-01T10:00:00Z""#),
        ("CLOSED_TIME", r#""2026-03-01T10:00:00+02:00""#, r#","CLOSED_TIME":"2026-03-01T10:00:00+02:00""#),
        ("closed_time", r#""2026-03-01 04:00:00""#, r#","closed_time":"2026-03-01T10:00:00Z""#),
        ("Closed Time", r#""2026-03-01T04:00""#, r#","CLOSED_TIME":"2026-03-01T10:00:00Z""#),
        ("Closed Time", r#""1772359200000""#, r#","CLOSED_TIME":"2026-03-01T10:00:00Z""#),
        ("CLOSED_TIME", "1772359200000", r#","CLOSED_TIME":"2026-03-01T10:00:00Z""#),
        ("CLOSED_TIME", r#""""#, ""),
        ("CLOSED_TIME", "null", r#","CLOSED_TIME":null"#),
        ("CLOSED_TIME", r#""Mar 1, 2026, 4:00 AM""#, r#","CLOSED_TIME":"Mar 1, 2026, 4:00 AM""#),
    ] {
        let row = |value: &str| format!(r#"{{"CONVERSATION_ID":"7","{title}":{value}}}"#);
        let body = format!("[{0},{1},{0}]", row(value), row(r#""2026-03-02T10:00:00Z""#));
        let read = read(ReportFormat::Json, &body).unwrap();
        let wanted = format!(r#"{{"CONVERSATION_ID":"7"{read_as}}}"#);
        assert_eq!((&read[0], &read[2]), (&wanted, &wanted), "{value}");
        assert!(read[1].ends_with(r#":"2026-03-02T10:00:00Z"}"#), "{}", read[1]);
    }
    let csv = read(ReportFormat::Csv, "Conversation ID,Closed Time\r\n7,2026-03-01 04:00:00\r\n").unwrap();
    assert_eq!(csv, [r#"{"CONVERSATION_ID":"7","CLOSED_TIME":"2026-03-01T10:00:00Z"}"#]);
}

#[test]
fn a_file_may_have_no_rows() {
    for empty in ["", " \n", "[]", "[ ]\n", "\u{feff}"] {
        assert!(read(ReportFormat::Json, empty).unwrap().is_empty(), "{empty:?}");
    }
    for empty in ["", "\r\n", "\"Conversation ID\",\"Status\"", "\"Conversation ID\",\"Status\"\r\n"] {
        assert!(read(ReportFormat::Csv, empty).unwrap().is_empty(), "{empty:?}");
    }
}

#[test]
fn a_body_that_is_not_a_file_is_named_in_the_error() {
    let refused = |body: &str| match read(ReportFormat::Json, body) {
        Err(StepError::Refused { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(r#"{"status":"FAIL","result":"no such acme-t1"}"#), "“no such ***”");
    assert_eq!(refused(r#"{"status":"FAIL","message":"later","result":null}"#), "“later”");
    for (body, error) in [
        ("<?xml version=\"1.0\"?><Error>", DecodeError::NotJson("HTML or XML")),
        ("a,b\n1,2", DecodeError::NotJson("text")),
        ("[{\"a\":1}", DecodeError::Cut),
    ] {
        assert!(
            matches!(read(ReportFormat::Json, body), Err(StepError::Unreadable(found)) if found == error),
            "{body}"
        );
    }
    assert!(matches!(read(ReportFormat::Json, r#"{"rows":[]}"#), Err(StepError::Shape(_))));
    let xml = read(ReportFormat::Csv, "<?xml version=\"1.0\"?><Error>\n");
    assert!(matches!(xml, Err(StepError::Unreadable(DecodeError::NotCsv("HTML or XML")))));
    let json = read(ReportFormat::Csv, "[{}]\n");
    assert!(matches!(json, Err(StepError::Unreadable(DecodeError::NotCsv("JSON")))));
}
