//! JSON values as raw text: found and checked, never changed.
//!
//! A value may also be `NaN`, `Infinity` or `-Infinity`, which are not JSON but which many programs write. Such a
//! value, and a container with one, is read and marked ([`Raw::is_json`]), so that neither its record nor its page is
//! lost.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::Scan;

/// Spellings that many programs use for numbers that JSON lacks.
const BARE: &[&str] = &["NaN", "Infinity", "-Infinity"];

/// The raw text of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    text: &'a str,
    is_json: bool,
}

impl<'a> Raw<'a> {
    pub const TRUE: Self = Self { text: "true", is_json: true };
    pub const FALSE: Self = Self { text: "false", is_json: true };

    pub const fn get(self) -> &'a str {
        self.text
    }

    /// Whether it is JSON. If not, it is `NaN`, `Infinity`, `-Infinity`, or a container with such a value.
    pub const fn is_json(self) -> bool {
        self.is_json
    }

    fn strict(raw: &'a RawValue) -> Self {
        Self { text: raw.get(), is_json: true }
    }
}

/// Name and value of each member of an object.
pub type MemberList<'a> = Vec<(Cow<'a, str>, Raw<'a>)>;

/// Why a text is not the requested value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is truncated.
    Cut,
    /// It is JSON, but of another type or with too many values.
    Other,
    /// It is not JSON; detected near this byte.
    Malformed { offset: usize },
}

/// The single value that makes up the text.
pub fn value(text: &[u8]) -> Result<Raw<'_>, Fault> {
    serde_json::from_slice(text)
        .map(Raw::strict)
        .or_else(|error| lenient(text, &error).map(|text| Raw { text: text.trim_ascii(), is_json: false }))
}

/// The members of an object that has bare values, or names that are not valid texts: each name as it is written, with
/// its quotes.
pub fn lenient_members(text: &str) -> Result<Parts<'_>, Fault> {
    let copy = quoted(text);
    let copy = copy.as_deref().unwrap_or(text);
    serde_json::from_str::<&RawValue>(copy).map_err(|error| fault(&error, copy.as_bytes()))?;
    Parts::of(text, '{').ok_or(Fault::Other)
}

/// The members of the object in the text, in order, at most `max`.
pub fn members(text: &[u8], max: usize) -> Result<MemberList<'_>, Fault> {
    strict(text, Gather(max)).or_else(|error| split(lenient(text, &error)?, '{', max).ok_or(Fault::Other))
}

/// The elements of the array in the text, at most `max`.
pub fn elements(text: &[u8], max: usize) -> Result<Vec<Raw<'_>>, Fault> {
    strict(text, GatherElements(max)).or_else(|error| {
        let elements = split(lenient(text, &error)?, '[', max).ok_or(Fault::Other)?;
        Ok(elements.into_iter().map(|(_, raw)| raw).collect())
    })
}

/// The text with every bare value replaced by a string; `None` if it has none. Does not check the rest of the JSON.
pub fn quoted(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut quoted: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'N' | b'I' | b'-' => match BARE.iter().find(|bare| is_value(&text[at..], bare)) {
                Some(bare) => {
                    let quoted = quoted.get_or_insert_default();
                    quoted.push_str(&text[copied..at]);
                    quoted.push('"');
                    quoted.push_str(bare);
                    quoted.push('"');
                    at += bare.len();
                    copied = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    let mut quoted = quoted?;
    quoted.push_str(&text[copied..]);
    Some(quoted)
}

/// Whether `text` begins with this bare value, and not with a member's name.
fn is_value(text: &str, bare: &str) -> bool {
    text.strip_prefix(bare).is_some_and(|after| !after.trim_ascii_start().starts_with(':'))
}

/// Where the string that begins at `start` ends.
pub(crate) fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

fn strict<'a, S: DeserializeSeed<'a>>(text: &'a [u8], seed: S) -> serde_json::Result<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let found = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// The text, if only bare values keep it from being JSON; otherwise the fault. `error` comes from the strict parser.
fn lenient<'a>(text: &'a [u8], error: &serde_json::Error) -> Result<&'a str, Fault> {
    let copy = std::str::from_utf8(text).ok().and_then(|text| Some((text, quoted(text)?)));
    let Some((text, copy)) = copy else { return Err(fault(error, text)) };
    match serde_json::from_str::<&RawValue>(&copy) {
        Ok(_) => Ok(text),
        Err(error) => Err(fault(&error, copy.as_bytes())),
    }
}

fn fault(error: &serde_json::Error, text: &[u8]) -> Fault {
    if error.is_eof() {
        return Fault::Cut;
    }
    if error.is_data() {
        return Fault::Other;
    }
    let lines = text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    Fault::Malformed { offset: lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1) }
}

/// The members or elements of a container that is known to be complete, one by one. Elements have empty names.
#[derive(Debug)]
pub struct Parts<'a> {
    rest: &'a str,
    has_names: bool,
}

impl<'a> Parts<'a> {
    /// Returns `None` if the text does not begin with `open`.
    fn of(text: &'a str, open: char) -> Option<Self> {
        Some(Self { rest: text.trim_ascii().strip_prefix(open)?, has_names: open == '{' })
    }

    fn part(&mut self) -> Option<(&'a str, Raw<'a>)> {
        let mut rest = self.rest.trim_ascii_start();
        let mut name = "";
        if self.has_names {
            (name, rest) = rest.split_at_checked(string_end(rest.as_bytes(), 0))?;
            rest = rest.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
        }
        let (value, rest) = rest.split_at_checked(Scan::length(rest.as_bytes())?)?;
        let rest = rest.trim_ascii_start();
        self.rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((name, Raw { text: value, is_json: quoted(value).is_none() }))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(&'a str, Raw<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_end = self.rest.trim_ascii_start().starts_with(['}', ']']);
        (!is_end).then(|| self.part().ok_or(Fault::Other))
    }
}

/// At most `max` members or elements of a complete text. Returns `None` if the text does not begin with `open`, has
/// more of them, or has a name that is not a valid text.
fn split(text: &str, open: char, max: usize) -> Option<MemberList<'_>> {
    let mut members = Vec::new();
    for part in Parts::of(text, open)? {
        if members.len() == max {
            return None;
        }
        let (name, raw) = part.ok()?;
        let name = if name.is_empty() { Cow::Borrowed("") } else { serde_json::from_str::<Name<'_>>(name).ok()?.0 };
        members.push((name, raw));
    }
    Some(members)
}

#[derive(serde::Deserialize)]
pub struct Name<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Collects at most this many members.
struct Gather(usize);

impl<'de> DeserializeSeed<'de> for Gather {
    type Value = MemberList<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Gather {
    type Value = MemberList<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, raw)) = map.next_entry::<Name<'de>, &RawValue>()? {
            if members.len() == self.0 {
                return Err(A::Error::custom("too many members"));
            }
            members.push((name.0, Raw::strict(raw)));
        }
        Ok(members)
    }
}

/// Collects at most this many elements.
struct GatherElements(usize);

impl<'de> DeserializeSeed<'de> for GatherElements {
    type Value = Vec<Raw<'de>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for GatherElements {
    type Value = Vec<Raw<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(raw) = array.next_element()? {
            if elements.len() == self.0 {
                return Err(A::Error::custom("too many elements"));
            }
            elements.push(Raw::strict(raw));
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bare_values_are_read_in_any_position_and_marked() {
        let text = r#" {"a":NaN, "b" : -Infinity ,"NaN":"NaN","c":[1,{"d":Infinity}],"e":[-1], "f\n":null} "#;
        let read: Vec<_> = members(text.as_bytes(), 9).unwrap();
        let shown: Vec<_> = read.iter().map(|(name, raw)| (name.as_ref(), raw.get(), raw.is_json())).collect();
        assert_eq!(
            shown,
            [
                ("a", "NaN", false),
                ("b", "-Infinity", false),
                ("NaN", "\"NaN\"", true),
                ("c", r#"[1,{"d":Infinity}]"#, false),
                ("e", "[-1]", true),
                ("f\n", "null", true),
            ]
        );
        let read = elements(b"[ NaN ,1, [Infinity],{\"a\":\"Infinity\"}]", 9).unwrap();
        let shown: Vec<_> = read.iter().map(|raw| (raw.get(), raw.is_json())).collect();
        assert_eq!(shown, [("NaN", false), ("1", true), ("[Infinity]", false), (r#"{"a":"Infinity"}"#, true)]);
        assert!(!value(b" NaN\n").unwrap().is_json() && value(b"\"NaN\"").unwrap().is_json());
    }

    #[test]
    fn other_texts_that_are_not_json_are_refused() {
        for text in [
            "nan",
            "+Infinity",
            "Infinit",
            "NaNs",
            "-NaN",
            "1NaN",
            "[NaN,]",
            "[NaN Infinity]",
            "{NaN:1}",
            "[{NaN : 1}]",
            "{\"a\":NaN,}",
            "{\"a\" NaN}",
            "[NaN",
            "[NaN}",
            "Infinity-",
            "--Infinity",
            "[\"a\" NaN]",
            "NaN\"",
        ] {
            assert!(value(text.as_bytes()).is_err(), "{text}");
            assert!(members(text.as_bytes(), 9).is_err() && elements(text.as_bytes(), 9).is_err(), "{text}");
        }
        assert_eq!(elements(b"[NaN, 1", 9), Err(Fault::Cut));
        assert_eq!(members(b"[NaN]", 9), Err(Fault::Other));
        assert_eq!(elements(b"[NaN]\xff", 9), Err(Fault::Malformed { offset: 1 }));
    }

    #[test]
    fn p6_values_are_bounded_with_bare_ones_too() {
        assert!(elements(b"[NaN,1,2]", 3).is_ok() && members(b"{\"a\":NaN,\"b\":1}", 2).is_ok());
        assert_eq!(elements(b"[NaN,1,2]", 2), Err(Fault::Other));
        assert_eq!(elements(b"[0,1,2]", 2), Err(Fault::Other));
        assert_eq!(members(b"{\"a\":NaN,\"b\":1}", 1), Err(Fault::Other));
        assert_eq!(members(b"{\"a\":0,\"b\":1}", 1), Err(Fault::Other));
    }

    proptest! {
        #[test]
        fn accepted_text_is_json_after_bare_values_become_strings(
            text in r#"[\[{]("[aN\\":]{0,3}"|NaN|-?Infinity|-?1|null|[\[\]{},: ]){0,8}[\]}]?"#
        ) {
            let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
            let copy = quoted(&text);
            prop_assert_eq!(value(text.as_bytes()).is_ok(), is_json(copy.as_deref().unwrap_or(&text)), "{}", text);
            for raw in elements(text.as_bytes(), 99).unwrap_or_default() {
                prop_assert!(value(raw.get().as_bytes()).is_ok_and(|again| again == raw), "{} in {}", raw.get(), text);
                prop_assert_eq!(raw.is_json(), is_json(raw.get()));
            }
            if let Ok(members) = members(text.as_bytes(), 99) {
                let copy: serde_json::Value = serde_json::from_str(copy.as_deref().unwrap_or(&text)).unwrap();
                let names: std::collections::HashSet<_> = members.iter().map(|(name, _)| name.to_string()).collect();
                let expected: std::collections::HashSet<_> = copy.as_object().unwrap().keys().cloned().collect();
                prop_assert_eq!(names, expected);
            }
        }
    }
}
