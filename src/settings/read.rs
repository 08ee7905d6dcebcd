//! Converts a [`Node`] to a raw struct with serde, and reports every fault, not only the first.
//!
//! serde stops at the first value that it cannot read. [`read`] reports it, removes it and tries again.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::report::Report;
use super::suggest;
use super::tree::{KeyPath, Kind, Node, Step};

/// Every attempt removes at least one node; this only bounds the work.
const TRIES_MAX: usize = 200;

/// Reads `node`, which is at `path`, and reports every key and value that `T` does not accept. `additional` are further
/// known keys; `whose` names the section in the fault.
pub fn read<T>(node: &Node, path: &KeyPath, additional: &[&str], whose: &str, report: &mut Report<'_>) -> T
where
    T: DeserializeOwned + Default,
{
    // Copied only to remove what is refused: there may be thousands of jobs.
    let mut node = Cow::Borrowed(node);
    for _ in 0..TRIES_MAX {
        let error = match T::deserialize(NodeDeserializer(&node)) {
            Ok(value) => return value,
            Err(error) => error,
        };
        let steps: Vec<Step> = error.steps.into_iter().rev().collect();
        let at = path.join(steps.iter().cloned());
        match error.problem {
            Problem::UnknownKey(known) => {
                let top = steps.len() == 1;
                let (additional, whose) = if top { (additional, whose) } else { (&[][..], "") };
                let known = known.iter().chain(additional).copied();
                report.unknown_key(&at, whose, known);
            }
            Problem::UnknownWord(word, known) => {
                report.refuse(&at, format!("is not known{}", suggest::hint(&word, known.iter().copied())));
            }
            Problem::Mismatch { found, expected } => {
                report.state(&at, &format!("expected {expected}, found {found}"));
            }
            Problem::Other(message) => report.refuse(&at, message),
        }
        if steps.is_empty() {
            break;
        }
        node.to_mut().remove(&steps);
    }
    T::default()
}

/// The field names of the struct `T`.
pub fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(KeyProbe) {
        Err(Error { problem: Problem::UnknownKey(keys), .. }) => keys,
        _ => &[],
    }
}

/// A deserializer that returns the requested field names.
struct KeyProbe;

impl<'de> Deserializer<'de> for KeyProbe {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Problem::Other("no struct".to_owned()).into())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Problem::UnknownKey(fields).into())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// What serde could not read, and where.
#[derive(Debug)]
pub(crate) struct Error {
    /// Innermost step first.
    steps: Vec<Step>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    UnknownKey(&'static [&'static str]),
    UnknownWord(String, &'static [&'static str]),
    Mismatch {
        found: &'static str,
        expected: String,
    },
    /// The text after the value in the fault.
    Other(String),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { steps: Vec::new(), problem }
    }
}

impl Error {
    fn within(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn mismatch(node: &Node, expected: impl Into<String>) -> Self {
        Problem::Mismatch { found: node.kind.name(), expected: expected.into() }.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a setting is wrong")
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::Other(message.to_string()).into()
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::from(Problem::UnknownKey(expected)).within(Step::Key(field.into()))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Problem::UnknownWord(variant.to_owned(), expected).into()
    }

    fn invalid_type(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        let found = match found {
            serde::de::Unexpected::Map => "a map",
            serde::de::Unexpected::Seq => "a list",
            serde::de::Unexpected::Unit => "nothing",
            _ => "a plain value",
        };
        Problem::Mismatch { found, expected: expected.to_string() }.into()
    }
}

/// Null counts as absent, as an empty list and as an empty map; scalars are text.
struct NodeDeserializer<'a>(&'a Node);

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Scalar(text) => visitor.visit_str(text),
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.kind {
            Kind::Scalar(text) => visitor.visit_str(text),
            _ => Err(Error::mismatch(self.0, "a plain value")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.kind {
            Kind::Null => visitor.visit_seq(Items { items: [].iter(), index: 0 }),
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            _ => Err(Error::mismatch(self.0, "a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.kind {
            Kind::Null => visitor.visit_map(Entries { entries: [].iter(), current: None }),
            Kind::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
            _ => Err(Error::mismatch(self.0, "a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.0.kind {
            Kind::Scalar(text) => visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(&**text)),
            _ => Err(Error::mismatch(self.0, format!("one of {}", variants.join(", ")))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(NodeDeserializer(node)).map(Some).map_err(|error| error.within(Step::Index(index)))
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (Arc<str>, Node)>,
    current: Option<&'a (Arc<str>, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((key, node)) = self.current else {
            return Err(Problem::Other("has no value".to_owned()).into());
        };
        seed.deserialize(NodeDeserializer(node)).map_err(|error| error.within(Step::Key(Arc::clone(key))))
    }
}
