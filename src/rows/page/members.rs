//! Visits the members of a record in place: no map, no copies of values.
//!
//! Written by hand, for it is where most of the time of a load was spent: a member is looked at once, and only what is not
//! plain (a container, an escape) is left to `serde_json`.

use serde_json::value::RawValue;

use super::{PageWriter, RECORD_FIELDS_MAX};
use crate::decode::raw;

/// Why a record is not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    NoObject,
    Names,
    Fields,
    Empty,
}

impl Refusal {
    /// For `tidegate.rejected_record`; none when the body itself is broken.
    pub(super) fn reason(self) -> Option<String> {
        match self {
            Self::Malformed => None,
            Self::NoObject => Some("not an object".to_owned()),
            Self::Names => Some("a field's name is not a valid text".to_owned()),
            Self::Empty => Some("no field has a value".to_owned()),
            Self::Fields => Some(format!("more than {RECORD_FIELDS_MAX} fields")),
        }
    }
}

impl PageWriter {
    /// Takes the members of `object`, which is `record` or a part of it; `self.path` is the object's own path.
    pub(super) fn members(&mut self, record: &str, object: &str, depth: usize) -> Result<(), Refusal> {
        let mut members = Members::of(object)?;
        let parent = self.path.len();
        let mut outcome = Ok(());
        // To its end even if it is refused already: what is not JSON fails the page.
        while let Some((name, Value { raw, is_json })) = members.next()? {
            if outcome.is_err() || (depth == 0 && is_json && name.is_plain && self.is_next(record, name.inner(), raw)) {
                continue;
            }
            self.path.truncate(parent);
            if depth > 0 {
                self.path.push('.');
            }
            if name.is_plain {
                self.path.push_str(name.inner());
            } else if let Ok(text) = serde_json::from_str::<String>(name.raw) {
                self.path.push_str(&text);
            } else {
                outcome = Err(Refusal::Names);
                continue;
            }
            outcome = self.member(record, raw, is_json, depth);
        }
        outcome
    }
}

/// A string of JSON, with its quotes.
#[derive(Debug, Clone, Copy)]
struct Text<'r> {
    raw: &'r str,
    /// Whether it has no escapes.
    is_plain: bool,
}

impl<'r> Text<'r> {
    /// What stands between the quotes.
    fn inner(self) -> &'r str {
        &self.raw[1..self.raw.len() - 1]
    }
}

/// A member's value as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value<'r> {
    raw: &'r str,
    /// False for `NaN`, `Infinity`, `-Infinity`, and a container that holds one.
    is_json: bool,
}

/// The members of an object, one after the other.
struct Members<'r> {
    text: &'r str,
    at: usize,
    is_first: bool,
}

impl<'r> Members<'r> {
    fn of(text: &'r str) -> Result<Self, Refusal> {
        let mut members = Self { text, at: 0, is_first: true };
        members.expect(b'{')?;
        Ok(members)
    }

    /// Name and value; none behind the last.
    fn next(&mut self) -> Result<Option<(Text<'r>, Value<'r>)>, Refusal> {
        let first = std::mem::replace(&mut self.is_first, false);
        match self.peek()? {
            b'}' => return Ok(None),
            b',' if !first => self.at += 1,
            _ if first => {}
            _ => return Err(Refusal::Malformed),
        }
        if self.peek()? != b'"' {
            return Err(Refusal::Malformed);
        }
        let name = self.string()?;
        self.expect(b':')?;
        let json = |raw| Value { raw, is_json: true };
        let value = match self.peek()? {
            b'"' => json(self.string()?.raw),
            b'-' if self.text[self.at..].starts_with("-I") => self.bare("-Infinity")?,
            b'-' | b'0'..=b'9' => json(self.number()?),
            b't' => json(self.literal("true")?),
            b'f' => json(self.literal("false")?),
            b'n' => json(self.literal("null")?),
            b'N' => self.bare("NaN")?,
            b'I' => self.bare("Infinity")?,
            _ => self.container()?,
        };
        Ok(Some((name, value)))
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<u8, Refusal> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += blank;
        rest.get(blank).copied().ok_or(Refusal::Malformed)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.peek()? != byte {
            return Err(Refusal::Malformed);
        }
        self.at += 1;
        Ok(())
    }

    fn taken(&mut self, length: usize) -> &'r str {
        let start = self.at;
        self.at += length;
        &self.text[start..self.at]
    }

    fn string(&mut self) -> Result<Text<'r>, Refusal> {
        let inner = &self.text.as_bytes()[self.at + 1..];
        let length = memchr::memchr2(b'"', b'\\', inner).ok_or(Refusal::Malformed)?;
        if inner[length] == b'\\' {
            return Ok(Text { raw: self.anything().ok_or(Refusal::Malformed)?, is_plain: false });
        }
        // Without a way out of the loop the compiler makes vector instructions of it.
        let controls = inner[..length].iter().fold(0, |any, byte| any | u8::from(*byte < b' '));
        if controls > 0 {
            return Err(Refusal::Malformed);
        }
        Ok(Text { raw: self.taken(length + 2), is_plain: true })
    }

    fn number(&mut self) -> Result<&'r str, Refusal> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut length = usize::from(rest[0] == b'-');
        let whole = digits(length);
        if whole == 0 || (whole > 1 && rest[length] == b'0') {
            return Err(Refusal::Malformed);
        }
        length += whole;
        if rest.get(length) == Some(&b'.') {
            let fraction = digits(length + 1);
            if fraction == 0 {
                return Err(Refusal::Malformed);
            }
            length += 1 + fraction;
        }
        if matches!(rest.get(length), Some(b'e' | b'E')) {
            length += 1 + usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits(length);
            if exponent == 0 {
                return Err(Refusal::Malformed);
            }
            length += exponent;
        }
        Ok(self.taken(length))
    }

    fn literal(&mut self, literal: &str) -> Result<&'r str, Refusal> {
        if !self.text[self.at..].starts_with(literal) {
            return Err(Refusal::Malformed);
        }
        Ok(self.taken(literal.len()))
    }

    /// `NaN` or an infinity.
    fn bare(&mut self, literal: &str) -> Result<Value<'r>, Refusal> {
        Ok(Value { raw: self.literal(literal)?, is_json: false })
    }

    /// Any value, judged by `serde_json`; none when it is not JSON.
    fn anything(&mut self) -> Option<&'r str> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter::<&RawValue>();
        let raw = values.next()?.ok()?;
        Some(self.taken(raw.get().len()))
    }

    fn container(&mut self) -> Result<Value<'r>, Refusal> {
        if let Some(raw) = self.anything() {
            return Ok(Value { raw, is_json: true });
        }
        let raw = raw::first(&self.text[self.at..]).ok_or(Refusal::Malformed)?;
        self.taken(raw.get().len());
        Ok(Value { raw: raw.get(), is_json: raw.is_json() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Tree;

    use super::*;

    /// Name and value of each member, both as they stand; none for what is not an object.
    fn members(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut members = Members::of(text).ok()?;
        let mut found = Vec::new();
        while let Some((name, value)) = members.next().ok()? {
            found.push((name.raw, value.raw));
        }
        Some(found)
    }

    #[test]
    fn members_are_found_as_they_stand() {
        let text = "{ \"a\" : 1.50e+3 ,\"b\\u0041\":\"x\\\"}\",\n\"\":[1, {\"c\":null}],\"d\":{ },\"e\":-0,\"é\":true}";
        assert_eq!(
            members(text).unwrap(),
            [
                (r#""a""#, "1.50e+3"),
                (r#""b\u0041""#, r#""x\"}""#),
                (r#""""#, r#"[1, {"c":null}]"#),
                (r#""d""#, "{ }"),
                (r#""e""#, "-0"),
                (r#""é""#, "true")
            ]
        );
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn p5_nan_and_infinities_are_found_and_marked() {
        let text = r#"{"a":NaN,"b" : -Infinity , "c":Infinity,"d":[1,{"x":NaN}],"e":{"y":"NaN"},"f":-1}"#;
        let mut members = Members::of(text).unwrap();
        let mut found = Vec::new();
        while let Some((_, value)) = members.next().unwrap() {
            found.push((value.raw, value.is_json));
        }
        assert_eq!(
            found,
            [
                ("NaN", false),
                ("-Infinity", false),
                ("Infinity", false),
                (r#"[1,{"x":NaN}]"#, false),
                (r#"{"y":"NaN"}"#, true),
                ("-1", true)
            ]
        );
        for text in ["{\"a\":Na}", "{\"a\":NaNs}", "{\"a\":-In}", "{\"a\":[NaN}", "{\"a\":[NaN,]}", "{\"a\":{NaN:1}}"] {
            assert_eq!(self::members(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":1e+}",
            "{\"a\":tru}",
            "{\"a\":nul",
            "{\"a\":\"x}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":[1}",
            "{\"a\":1]",
            "{\"a\":+1}",
            "{\"a\":\"\\ud8\"}",
        ] {
            assert_eq!(members(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_as_strict_as_serde_json(
            text in r#"\{("[a\\n]{0,2}" ?: ?(-?[0-9]{1,2}(\.[0-9]?)?([eE][+-]?[0-9]?)?|"[a-b\\nu0 ]{0,6}"|true|null|\[1?\]|\{"x":1\}) ?,? ?){0,3}\}"#
        ) {
            let strict = serde_json::from_str::<&RawValue>(&text);
            let found = members(&text);
            prop_assert_eq!(strict.is_ok(), found.is_some(), "{}", text);
            if let (Ok(Tree::Object(map)), Some(found)) = (serde_json::from_str(&text), found) {
                let last: serde_json::Map<String, Tree> = found
                    .iter()
                    .map(|(name, value)| (serde_json::from_str(name).unwrap(), serde_json::from_str(value).unwrap()))
                    .collect();
                prop_assert_eq!(map, last);
            }
        }
    }
}
