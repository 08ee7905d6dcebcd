//! Visits the members of a record in place: no map, no copies of values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::page::{PageWriter, RECORD_FIELDS_MAX};

/// Why a record is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    NoObject,
    Names,
    Fields,
}

impl Refusal {
    /// For `tidegate.rejected_record`; none when the body itself is broken.
    pub(super) fn reason(self) -> Option<String> {
        match self {
            Self::Malformed => None,
            Self::NoObject => Some("not an object".to_owned()),
            Self::Names => Some("a field's name is no valid text".to_owned()),
            Self::Fields => Some(format!("more than {RECORD_FIELDS_MAX} fields")),
        }
    }
}

impl PageWriter {
    /// Takes the members of `object`, which is `record` or a part of it; `self.path` is the object's own path.
    pub(super) fn members(&mut self, record: &str, object: &str, depth: usize) -> Result<(), Refusal> {
        let mut deserializer = serde_json::Deserializer::from_str(object);
        let parent = self.path.len();
        match (Members { writer: self, record, parent, depth }).deserialize(&mut deserializer) {
            Ok(outcome) => outcome,
            Err(_) if serde_json::from_str::<&RawValue>(object).is_ok() => Err(Refusal::Names),
            Err(_) => Err(Refusal::Malformed),
        }
    }
}

struct Members<'w, 'r> {
    writer: &'w mut PageWriter,
    record: &'r str,
    /// Length of the path of the object around.
    parent: usize,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Members<'_, '_> {
    type Value = Result<(), Refusal>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = Result<(), Refusal>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { writer, record, parent, depth } = self;
        let mut outcome = Ok(());
        // To its end even if it is refused already: what is not JSON fails the page.
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let raw: &RawValue = map.next_value()?;
            if outcome.is_ok() {
                writer.path.truncate(parent);
                if depth > 0 {
                    writer.path.push('.');
                }
                writer.path.push_str(&name.0);
                outcome = writer.member(record, raw.get(), depth);
            }
        }
        Ok(outcome)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
