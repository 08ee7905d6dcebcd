//! Splits small objects into members and writes them again without changing their values: a number keeps its digits,
//! and other members stay unchanged.

use std::borrow::Cow;

use super::raw::{self, Fault, MemberList, Raw};
use super::{FIELDS_MAX, push_text};

/// The members of an object in order, each value as raw text.
#[derive(Debug)]
pub struct Members<'a>(MemberList<'a>);

impl<'a> Members<'a> {
    /// `None` if the record is not an object of at most [`FIELDS_MAX`] members. The caller passes it on unchanged, and
    /// the loader rejects it.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        Self::read(record).ok()
    }

    /// The same, with the fault.
    pub fn read(record: &'a [u8]) -> Result<Self, Fault> {
        raw::members(record, FIELDS_MAX).map(Self)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Raw<'a>)> + Clone {
        self.0.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }

    /// The first member with exactly this name; `None` if it is absent or null.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.iter().find(|(other, _)| *other == name).map(|(_, raw)| raw).filter(|raw| raw.get() != "null")
    }

    /// A string, or a number with its original digits.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.get(name).filter(|raw| raw.is_json())?.get();
        match raw.as_bytes()[0] {
            b'"' => serde_json::from_str::<Text<'a>>(raw).ok().map(|text| text.0),
            b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
            _ => None,
        }
    }

    /// A whole number, written as a number or a string.
    pub fn i64(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// Whether the member is literally `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|raw| raw.get() == "true")
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes objects, one after the other, into one buffer.
#[derive(Debug, Default)]
pub struct ObjectWriter {
    json: Vec<u8>,
}

impl ObjectWriter {
    /// Begins an object and discards the previous one.
    pub fn begin(&mut self) {
        self.json.clear();
        self.json.push(b'{');
    }

    pub fn member_raw(&mut self, name: &str, raw: Raw<'_>) {
        self.name(name);
        self.json.extend_from_slice(raw.get().as_bytes());
    }

    pub fn member_str(&mut self, name: &str, text: &str) {
        self.name(name);
        push_text(text, &mut self.json);
    }

    pub fn member_i64(&mut self, name: &str, number: i64) {
        self.name(name);
        self.json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Ends the object and returns its text, which is valid until the next object begins.
    pub fn end(&mut self) -> &[u8] {
        self.json.push(b'}');
        &self.json
    }

    fn name(&mut self, name: &str) {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        push_text(name, &mut self.json);
        self.json.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_in_any_format() {
        let text = r#" {"id": 41, "user":"7 ", "big":12345678901234567890.10, "name":"a\"\u00e9", "on":true, "off":"true",
            "none":null, "id":2, "list":[1, 2], "half":"\ud800"} "#;
        let members = Members::parse(text.as_bytes()).unwrap();
        assert_eq!((members.i64("id"), members.i64("user"), members.i64("big")), (Some(41), Some(7), None));
        assert_eq!(members.text("big").as_deref(), Some("12345678901234567890.10"));
        assert_eq!(members.text("name").as_deref(), Some("a\"é"));
        assert_eq!((members.is_true("on"), members.is_true("off"), members.is_true("gone")), (true, false, false));
        assert!(members.get("none").is_none() && members.get("ID").is_none());
        assert_eq!(members.get("list").unwrap().get(), "[1, 2]");
        assert!(members.text("list").is_none() && members.text("half").is_none() && members.text("on").is_none());
        assert_eq!(members.iter().filter(|(name, _)| *name == "id").count(), 2);
    }

    #[test]
    fn p5_nan_is_a_member_without_text() {
        let members = Members::parse(br#"{"a":-Infinity,"b":7,"c":{"d":NaN}}"#).unwrap();
        assert_eq!((members.text("a"), members.i64("a"), members.i64("b")), (None, None, Some(7)));
        assert_eq!((members.get("a").unwrap().get(), members.get("c").unwrap().get()), ("-Infinity", r#"{"d":NaN}"#));
    }

    #[test]
    fn values_that_are_not_objects_are_not_records() {
        for record in [&b""[..], b"[1]", b"null", b"{", b"{\"a\":tru}", b"{\"a\":\"\xff\"}", br#"{"\ud800":1}"#, b"{}x"]
        {
            assert!(Members::parse(record).is_none(), "{}", record.escape_ascii());
        }
    }

    #[test]
    fn p6_members_are_bounded() {
        let of = |count: usize| format!("{{{}}}", vec![r#""":0"#; count].join(","));
        assert!(Members::parse(of(FIELDS_MAX).as_bytes()).is_some());
        assert!(Members::parse(of(FIELDS_MAX + 1).as_bytes()).is_none());
    }

    #[test]
    fn p5_an_object_that_is_written_again_keeps_every_digit() {
        let text = r#"{"a\n":1.50,"b":12345678901234567890123,"a\n":{"x": [ ]},"":null,"c":NaN,"d":[-Infinity]}"#;
        let mut writer = ObjectWriter::default();
        for _ in 0..2 {
            writer.begin();
            for (name, raw) in Members::parse(text.as_bytes()).unwrap().iter() {
                writer.member_raw(name, raw);
            }
            assert_eq!(std::str::from_utf8(writer.end()).unwrap(), text);
        }
        writer.begin();
        assert_eq!(writer.end(), b"{}");
        writer.begin();
        writer.member_i64("n", i64::MIN);
        writer.member_str("té\"xt", "a\\\u{1}\t😀");
        assert_eq!(
            std::str::from_utf8(writer.end()).unwrap(),
            r#"{"n":-9223372036854775808,"té\"xt":"a\\\u0001\t😀"}"#
        );
    }
}
