use proptest::prelude::*;

use super::*;
use crate::test_kit::Collected;

fn split(body: &[u8], chunk: usize) -> Result<(Vec<String>, Envelope), DecodeError> {
    split_by(Splitter::new("result"), body, chunk)
}

fn split_by(mut splitter: Splitter, body: &[u8], chunk: usize) -> Result<(Vec<String>, Envelope), DecodeError> {
    let mut kept = Collected::default();
    let fed = body.chunks(chunk.max(1)).try_for_each(|part| splitter.feed(part, &mut kept));
    assert!(kept.refused.is_empty(), "the splitter judges no record");
    fed?;
    let records = kept.records.iter().map(|record| String::from_utf8_lossy(record).into_owned());
    Ok((records.collect(), splitter.finish()?))
}

const PAGE: &str = r#" { "isValid": true, "Result" : [ {"a":"x\"]}\\"}, 12 ,null,[1,[2]],"s" ], "lastDocument":[17092911104560000000001, "r\u00e9-1" ],
    "errors":null,"pageCount":1 } "#;

#[test]
fn records_and_members_are_the_same_however_the_body_is_chunked() {
    for chunk in [1, 2, 3, 7, 16, 64, 4096] {
        let (records, envelope) = split(PAGE.as_bytes(), chunk).unwrap();
        assert_eq!(records, [r#"{"a":"x\"]}\\"}"#, "12", "null", "[1,[2]]", r#""s""#], "chunks of {chunk}");
        assert_eq!(envelope.member("lastDocument").unwrap().get(), r#"[17092911104560000000001, "r\u00e9-1" ]"#);
        assert_eq!(envelope.parsed::<u64>("PAGECOUNT"), Some(1));
        assert!(envelope.member("errors").is_none() && envelope.has("errors") && envelope.has_records);
    }
}

#[test]
fn a_bare_array_is_records_too() {
    let (records, envelope) = split(b"[{},{}]", 3).unwrap();
    assert_eq!(records.len(), 2);
    assert!(envelope.has_records);
    assert!(split(b"[]", 1).unwrap().0.is_empty());
}

#[test]
fn a_splitter_of_bare_arrays_keeps_all_members_of_an_object() {
    for chunk in 1..20 {
        let (records, envelope) = split_by(Splitter::bare(), b"[{\"a\":1}, {}]", chunk).unwrap();
        assert_eq!((records.len(), envelope.has_records, envelope.records), (2, true, 2));
        let body = br#"{"status":"FAIL","":[1],"result":[{}, 1]}"#;
        let (records, envelope) = split_by(Splitter::bare(), body, chunk).unwrap();
        assert_eq!((records.len(), envelope.has_records), (0, false));
        assert_eq!(envelope.parsed::<String>("status").as_deref(), Some("FAIL"));
        assert_eq!((envelope.member("result").unwrap().get(), envelope.member("").unwrap().get()), ("[{}, 1]", "[1]"));
    }
}

#[test]
fn null_or_missing_records_are_distinguished_from_an_array() {
    assert!(!split(br#"{"result":null}"#, 4).unwrap().1.has_records);
    assert!(!split(br#"{"isValid":false}"#, 4).unwrap().1.has_records);
    assert!(split(br#"{"result":[]}"#, 4).unwrap().1.has_records);
}

#[test]
fn p5_nan_stays_in_its_record_and_does_not_fail_the_page() {
    let body = br#"{"pageCount":NaN,"result":[{"a":NaN,"b":[-Infinity]},Infinity, NaN],"more":{"x":[Infinity,"NaN"]}}"#;
    for chunk in 1..40 {
        let (records, envelope) = split(body, chunk).unwrap();
        assert_eq!(records, [r#"{"a":NaN,"b":[-Infinity]}"#, "Infinity", "NaN"], "chunks of {chunk}");
        assert_eq!(envelope.parsed::<u64>("pageCount"), None);
        assert_eq!(envelope.parsed::<String>("pageCount").as_deref(), Some("NaN"));
        assert_eq!(envelope.member("more").unwrap().get(), r#"{"x":["Infinity","NaN"]}"#);
    }
    for broken in ["{\"a\":Nan}", "{\"a\":NaN \"b\":1}", "{\"a\":[NaN}", "{NaN:1}", "{\"a\":Infinity1}"] {
        assert!(split(broken.as_bytes(), 3).is_err(), "{broken}");
    }
}

#[test]
fn a_body_that_is_not_json_is_named_in_the_error() {
    assert_eq!(split(b"", 1).unwrap_err(), DecodeError::Empty);
    assert_eq!(split(b"  \n", 1).unwrap_err(), DecodeError::Empty);
    assert_eq!(split(b"<html>", 2).unwrap_err(), DecodeError::NotJson("HTML or XML"));
    let packed = DecodeError::NotJson("gzip without a Content-Encoding header");
    assert_eq!(split(b"\x1f\x8b\x08", 2).unwrap_err(), packed);
    assert_eq!(split(b"Service Unavailable", 2).unwrap_err(), DecodeError::NotJson("text"));
    for broken in [r#"{"a" 1}"#, "[1,]", r#"{"a":1,}"#, "[,1]", "{1:2}", "[1]x", r#"{"a":truu}"#, "[1}", r#"{"a":}"#] {
        assert!(matches!(split(broken.as_bytes(), 2), Err(DecodeError::Malformed { .. })), "{broken}");
    }
}

#[test]
fn a_body_truncated_at_any_byte_is_an_error() {
    let body = PAGE.trim();
    for end in 1..body.len() {
        assert!(split(&body.as_bytes()[..end], 5).is_err(), "cut at {end}");
    }
}

#[test]
fn p6_an_endless_record_is_refused() {
    let mut splitter = Splitter::new("result");
    let mut kept = Collected::default();
    splitter.feed(br#"{"result":[{"a":""#, &mut kept).unwrap();
    let block = vec![b'x'; 1 << 20];
    let refused = (0..32).find_map(|_| splitter.feed(&block, &mut kept).err());
    assert_eq!(refused, Some(DecodeError::RecordTooLarge { max: RECORD_BYTES_MAX }));
}

#[test]
fn p6_members_outside_the_records_are_bounded_together() {
    let value = "x".repeat(MEMBER_BYTES_MAX - 2);
    let member = |number: usize| format!(r#"{}"m{number}":"{value}""#, if number == 0 { '{' } else { ',' });
    let mut splitter = Splitter::new("result");
    let mut kept = Collected::default();
    let refused = (0..MEMBERS_MAX).find_map(|number| splitter.feed(member(number).as_bytes(), &mut kept).err());
    assert_eq!(refused, Some(DecodeError::MembersTooLarge { max: KEPT_BYTES_MAX }));
    let held: usize = splitter.envelope.members.values().map(|raw| raw.get().len()).sum();
    assert!(held + splitter.carry.capacity() < 2 * KEPT_BYTES_MAX, "{held}");
    // Repeating the same member does not circumvent the bound.
    let again = format!(r#"{{{}"m":1}}"#, format!(r#""m":"{value}","#).repeat(5));
    assert_eq!(split(again.as_bytes(), 1 << 20).unwrap_err(), DecodeError::MembersTooLarge { max: KEPT_BYTES_MAX });
}

#[test]
fn p7_a_member_that_is_too_large_is_not_named() {
    let body = format!(r#"{{"\u001b[2J\ns3cret":"{}"}}"#, "x".repeat(MEMBER_BYTES_MAX));
    assert_eq!(
        split(body.as_bytes(), 4096).unwrap_err().to_string(),
        "a member outside the records is larger than 1048576 bytes"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_handled_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..9) {
        let _ = split(&body, chunk);
    }

    #[test]
    fn any_json_punctuation_is_handled_without_a_panic(body in "[\\[\\]{}\",:\\\\a1 ]{0,60}", chunk in 1_usize..9) {
        let _ = split(body.as_bytes(), chunk);
    }
}
