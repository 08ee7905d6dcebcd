//! The decoders of bodies and of refusals.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::{any_cuts, damaged, pieces};
use crate::decode::csv::{CsvEnd, CsvSplitter};
use crate::decode::json::{Envelope, Splitter};
use crate::decode::list::{self, Lone};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::{DecodeError, RECORD_BYTES_MAX, raw};
use crate::http::Redactor;
use crate::quota::{Refusal, parse_wait};
use crate::secret::Secret;
use crate::test_kit::Collected;

pub(super) const JSON: &[&[u8]] = &[
    br#"{"isValid":true,"errors":null,"pageCount":2,"result":[{"timestamp":"2024-03-01T11:02:45.1230000Z","session":"a\"b\\","markName":"END","n":[1,{"x":null}]},{"a":-1.5e3}],"lastDocument":[17092911104560000000001,"r\u00e9-1"]}"#,
    br#" { "Result" : [ ] , "IsValid" : "True" , "lastDocument" : "x" } "#,
    br#"[{"id":1,"name":"x","groups":[1,2]},{"id":2,"groups":[]}, 3, null, "s", [[]]]"#,
    b"\xef\xbb\xbf[{\"a\":{\"b\":{\"c\":true}}}]",
    br#"{"status":"FAIL","message":"token eyJ.abc.def expired","data":{"a":[{"b":1}]}}"#,
    br#"{"result":{"rows":[{"x":1}]},"total":1}"#,
];

pub(super) const CSV: &[&[u8]] = &[
    b"Account Name,State,Note\nAcme,open,\n,\"\",\n\"a, \"\"b\"\"\",\"two\r\nlines\",x\n",
    b"\xef\xbb\xbf\"a\";\"b\"\r\n1;2\r\n\"3;\";\"4\"\r\n",
    b"a\tb\tc\n1\t2\t3\n=cmd|'/c calc'!A1\t@SUM(1)\t+1\n",
    b"a|a|a|\r1|2|3|4\r",
    b"one\n\"\n\"\n\"x\"\"\"\n",
];

const REFUSALS: &[&[u8]] = &[
    br#"{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 3 seconds." }"#,
    b"<html><body>Try again in <b>17</b>&nbsp;seconds</body></html>",
    b"Out of bandwidth quota. Quota will be replenished in 1.02:00:00.",
    br#"{"retryAfter":"00:00:05","retry_after": 30}"#,
    b"Sun, 01 Mar 2026 12:10:00 GMT",
];

/// What a body came to, without where in a chunk a fault was noticed.
fn json(splitter: fn() -> Splitter, body: &[u8], cuts: &[usize]) -> (Collected, Result<Envelope, DecodeError>) {
    let mut kept = Collected::default();
    let mut splitter = splitter();
    let mut fed = Ok(());
    for piece in pieces(body, cuts) {
        fed = splitter.feed(piece, &mut kept);
        assert!(splitter.held() <= 6 * body.len() + 64, "{} bytes held of {}", splitter.held(), body.len());
        if fed.is_err() {
            break;
        }
    }
    let end = fed.and_then(|()| splitter.finish());
    (kept, end.map_err(placeless))
}

fn placeless(error: DecodeError) -> DecodeError {
    match error {
        DecodeError::Malformed { what, .. } => DecodeError::Malformed { offset: 0, what },
        other => other,
    }
}

fn csv(body: &[u8], delimiter: Option<u8>, cuts: &[usize]) -> (Collected, Result<CsvEnd, DecodeError>) {
    let mut kept = Collected::default();
    let mut splitter = CsvSplitter::new(delimiter);
    let mut fed = Ok(());
    for piece in pieces(body, cuts) {
        fed = splitter.feed(piece, &mut kept);
        if fed.is_err() {
            break;
        }
    }
    let end = fed.and_then(|()| splitter.finish(&mut kept));
    (kept, end)
}

proptest! {
    #[test]
    fn p6_damaged_json_is_split_or_refused_and_the_same_in_any_chunks(body in damaged(JSON), cuts in any_cuts()) {
        for splitter in [|| Splitter::new("result"), Splitter::bare] {
            let (kept, end) = json(splitter, &body, &[usize::MAX]);
            let (again, end_again) = json(splitter, &body, &cuts);
            prop_assert_eq!(&kept, &again);
            prop_assert!(kept.bytes() <= body.len());
            match (end, end_again) {
                (Ok(end), Ok(again)) => {
                    prop_assert_eq!(format!("{end:?}"), format!("{again:?}"));
                    prop_assert_eq!(end.records, kept.records.len() as u64);
                    // Splitting does not validate records, but a body of valid records is valid JSON.
                    if kept.records.iter().all(|record| raw::value(record).is_ok()) {
                        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
                        let starts = body.iter().position(|byte| matches!(byte, b'{' | b'[')).unwrap();
                        prop_assert!(raw::value(&body[starts..]).is_ok());
                    }
                }
                (end, again) => prop_assert_eq!(end.unwrap_err(), again.unwrap_err()),
            }
        }
    }

    #[test]
    fn p6_damaged_csv_is_split_or_refused_and_the_same_in_any_chunks(
        body in damaged(CSV), cuts in any_cuts(), delimiter in prop::option::of(prop::sample::select(&b",;\t|^"[..])),
    ) {
        let (kept, end) = csv(&body, delimiter, &[usize::MAX]);
        prop_assert_eq!((&kept, &end), {
            let again = csv(&body, delimiter, &cuts);
            (&{again.0}, &{again.1})
        });
        for record in &kept.records {
            let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(record);
            let is_text = |value: &serde_json::Value| value.as_str().is_some_and(|text| !text.is_empty());
            let holds = object.is_ok_and(|object| object.values().all(is_text));
            prop_assert!(holds, "{}", String::from_utf8_lossy(record));
        }
        // Each row repeats the header at most once, and escaping makes at most six bytes of one.
        let rows = kept.records.len() + kept.refused.len();
        prop_assert!(kept.bytes() <= (rows + 1) * (6 * body.len() + 64));
        if let Ok(end) = end {
            prop_assert_eq!((end.records, end.refused), (kept.records.len() as u64, kept.refused.len() as u64));
        }
    }

    #[test]
    fn p5_a_damaged_list_is_read_whole_or_refused(body in damaged(JSON)) {
        for lone in [Lone::Row { key: "id" }, Lone::Wrapper] {
            if let Ok(rows) = list::read(&body, lone) {
                // Half of a surrogate pair is valid JSON that a tree cannot hold.
                let text = serde_json::from_slice::<serde_json::Value>(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body));
                let Ok(text) = text else { continue };
                let count = |value: &serde_json::Value| value.as_array().map_or(0, Vec::len);
                let all = match (&text, lone) {
                    (serde_json::Value::Object(_), Lone::Row { .. }) => 1,
                    (serde_json::Value::Object(members), Lone::Wrapper) => members.values().map(count).max().unwrap_or(0),
                    _ => count(&text),
                };
                // A tree keeps only one of two members with the same name.
                prop_assert!(rows.len() == all || matches!(text, serde_json::Value::Object(_)));
            }
        }
    }

    #[test]
    fn p5_a_damaged_object_is_parsed_and_written_again_unchanged(body in damaged(JSON)) {
        if let Some(members) = Members::parse(&body) {
            let mut writer = ObjectWriter::default();
            writer.begin();
            for (name, raw) in members.iter() {
                let _ = (members.get(name), members.text(name), members.i64(name), members.is_true(name));
                writer.member_raw(name, raw);
            }
            let copy = writer.end().to_vec();
            let copied = Members::parse(&copy).unwrap();
            prop_assert!(members.iter().map(|(name, raw)| (name, raw.get())).eq(copied.iter().map(|(name, raw)| (name, raw.get()))));
        }
    }

    #[test]
    fn p2_a_damaged_refusal_yields_a_bounded_wait_or_none(
        body in damaged(REFUSALS), header in prop::option::of(damaged(REFUSALS)), status in prop::sample::select(&[403_u16, 429][..]),
    ) {
        let now: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        let header = header.map(|header| String::from_utf8_lossy(&header).into_owned());
        let refusal = parse_wait(status, header.as_deref(), "", &body, now);
        prop_assert!(refusal.wait().is_none_or(|wait| wait >= Duration::from_secs(1) && wait <= Duration::from_hours(48)));
        let limited = matches!(refusal, Refusal::RateLimited { .. });
        prop_assert_eq!(status == 429, limited);
    }

    #[test]
    fn p7_every_vendor_message_becomes_one_short_line_without_secrets(body in damaged(REFUSALS), tail in damaged(JSON), at in any::<prop::sample::Index>()) {
        let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("q\"uo/te\\d")]);
        let mut said = String::from_utf8_lossy(&body).into_owned();
        let at = said.floor_char_boundary(at.index(said.len() + 1));
        said.insert_str(at, "s3cret-value");
        said.push_str(&String::from_utf8_lossy(&tail));
        let shown = redactor.clean(&said);
        prop_assert!(!shown.contains("s3cret-value"));
        prop_assert!(!shown.chars().any(char::is_control) && shown.chars().count() <= 501);
    }
}

/// In debug builds on a busy machine; what is quadratic takes minutes.
const SOON: Duration = Duration::from_mins(1);

#[test]
fn p6_bodies_built_to_be_slow_are_read_in_linear_time() {
    let started = Instant::now();
    let now: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
    for piece in ["<", "in 1", "in ", "1:", "9", "<a>", ".", "quota in 1.1:1:1 "] {
        parse_wait(429, Some(&piece.repeat(4_000)), "", piece.repeat((64 << 10) / piece.len()).as_bytes(), now);
    }
    let redactor = Redactor::new(vec![Secret::new("aaaaaaaaaaaaaaaaaaaaaaaab"), Secret::new("%41%41%41")]);
    for piece in ["a", "%41", "a.", "?a=", "/?", "é", "\u{1}", " ", "\""] {
        redactor.clean(&piece.repeat((128 << 10) / piece.len()));
    }
    for piece in ["[", "{\"a\":", "\"", "\\", "\\\"", "1", "{\"a\":1,\"b\":[", "\"\":", " "] {
        let body = format!("{{\"result\":[{}", piece.repeat((1 << 20) / piece.len()));
        let (kept, end) = json(|| Splitter::new("result"), body.as_bytes(), &[1000, 7]);
        assert!(end.is_err() && kept.bytes() <= body.len());
        let _ = list::read(body.as_bytes(), Lone::Wrapper);
    }
    for piece in ["\"", "\"\"", "a", ",", "\r", "\n", "\"\n", "a,", "\",\""] {
        csv(format!("a,b\n{}", piece.repeat((1 << 20) / piece.len())).as_bytes(), None, &[1000, 7]).1.ok();
        csv(piece.repeat((1 << 20) / piece.len()).as_bytes(), None, &[1000, 7]).1.ok();
    }
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn p6_an_endless_body_is_held_within_the_memory_bounds() {
    for (start, piece) in [
        ("{\"result\":[", "["),
        ("{\"result\":[", "{\"a\":"),
        ("{\"result\":[\"", "\\\\"),
        ("{\"result\":[", "1"),
        ("{\"", "x"),
        ("{\"a\":[", "[1],"),
        ("", "\u{feff}"),
        ("", " "),
    ] {
        let mut splitter = Splitter::new("result");
        let mut kept = Collected::default();
        let block = piece.repeat((1 << 16) / piece.len());
        let mut fed = splitter.feed(start.as_bytes(), &mut kept);
        for _ in 0..1_024 {
            if fed.is_err() {
                break;
            }
            fed = splitter.feed(block.as_bytes(), &mut kept);
            assert!(splitter.held() < 3 * RECORD_BYTES_MAX, "{} bytes held", splitter.held());
        }
        assert!(fed.is_err() || piece == " ", "{start}{piece}");
        assert!(kept.records.is_empty());
    }
}
