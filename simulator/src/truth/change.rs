//! Changes of a record at the vendor: new fields, other types, values that no column holds.

use serde::{Deserialize, Serialize};

use super::Record;
use super::record::push_json_string;

/// A change of one record. `json` is raw text and may be anything, valid or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Replaces the value, or adds the field.
    Set { field: String, json: String },
    /// The key is absent.
    Remove { field: String },
    /// `7` becomes `"7"`.
    NumberToString { field: String },
    /// `"x"` becomes `{"value":"x","changed":true}`.
    StringToObject { field: String },
    /// A string of this many bytes.
    LongString { field: String, bytes: usize },
    /// A string with `\u0000` in it.
    Nul { field: String },
    /// A string with half of a surrogate pair.
    LoneSurrogate { field: String },
    /// 2^70.
    HugeInteger { field: String },
    /// A number that no float can hold.
    HugeExponent { field: String },
    /// Arrays within arrays.
    Deep { field: String, depth: usize },
    /// An object that holds an object, an array of scalars and an array of objects.
    Nested { field: String },
    /// Three more keys that differ from the field's only by case or punctuation.
    LookalikeKeys { field: String },
    /// A key that is the empty string.
    EmptyKey,
    /// The record is this instead of an object.
    Whole { json: String },
}

impl Change {
    pub(super) fn apply(&self, record: &mut Record) {
        match self {
            Self::Set { field, json } => record.set(field, json),
            Self::Remove { field } => record.remove(field),
            Self::NumberToString { field } => {
                let quoted = format!("\"{}\"", record.get(field).unwrap_or("0").trim_matches('"'));
                record.set(field, &quoted);
            }
            Self::StringToObject { field } => {
                let object = format!("{{\"value\":{},\"changed\":true}}", record.get(field).unwrap_or("null"));
                record.set(field, &object);
            }
            Self::LongString { field, bytes } => {
                let mut json = String::with_capacity(bytes + 2);
                push_json_string(&mut json, &"long ".repeat(bytes / 5 + 1)[..*bytes]);
                record.set(field, &json);
            }
            Self::Nul { field } => record.set(field, r#""before\u0000after""#),
            Self::LoneSurrogate { field } => record.set(field, r#""before\ud83dafter""#),
            Self::HugeInteger { field } => record.set(field, "1180591620717411303424"),
            Self::HugeExponent { field } => record.set(field, "1.5e4932"),
            Self::Deep { field, depth } => {
                record.set(field, &format!("{}1{}", "[".repeat(*depth), "]".repeat(*depth)));
            }
            Self::Nested { field } => {
                record.set(field, r#"{"inner":{"a":1,"B":"zwei"},"list":[1,"two",null],"objects":[{"x":1},{"y":[]}]}"#);
            }
            Self::LookalikeKeys { field } => {
                for (number, key) in [field.to_uppercase(), format!("{field}."), format!(" {field}")].iter().enumerate()
                {
                    record.set(key, &format!("\"lookalike {number}\""));
                }
            }
            Self::EmptyKey => record.set("", "\"under an empty key\""),
            Self::Whole { json } => record.replace(json),
        }
    }
}
