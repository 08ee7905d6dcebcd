//! One record as raw JSON text, field by field, so that values that no JSON library would print can be served too.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::ops::Range;

/// Fields in writing order. One buffer is reused for all records.
#[derive(Debug, Default)]
pub struct Record {
    fields: Vec<(Cow<'static, str>, Range<usize>)>,
    values: String,
    whole: Option<String>,
}

impl Record {
    pub fn clear(&mut self) {
        self.fields.clear();
        self.values.clear();
        self.whole = None;
    }

    pub fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        let from = self.values.len();
        push_json_string(&mut self.values, value);
        self.fields.push((Cow::Borrowed(key), from..self.values.len()));
        self
    }

    /// A number, boolean or other raw JSON.
    pub fn raw(&mut self, key: &'static str, json: impl Display) -> &mut Self {
        let from = self.values.len();
        let _ = write!(self.values, "{json}");
        self.fields.push((Cow::Borrowed(key), from..self.values.len()));
        self
    }

    pub fn text_or_null(&mut self, key: &'static str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, range)| &self.values[range.clone()])
    }

    /// Replaces a field's value, or adds the field at the end.
    pub fn set(&mut self, key: &str, json: &str) {
        let from = self.values.len();
        self.values.push_str(json);
        let range = from..self.values.len();
        match self.fields.iter_mut().find(|(name, _)| name == key) {
            Some(field) => field.1 = range,
            None => self.fields.push((Cow::Owned(key.to_owned()), range)),
        }
    }

    /// Removes the field.
    pub fn remove(&mut self, key: &str) {
        self.fields.retain(|(name, _)| name != key);
    }

    /// Serves this JSON instead of an object of fields.
    pub fn replace(&mut self, json: &str) {
        self.whole = Some(json.to_owned());
    }

    pub fn write_to(&self, out: &mut String) {
        if let Some(whole) = &self.whole {
            return out.push_str(whole);
        }
        out.push('{');
        for (index, (key, range)) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_json_string(out, key);
            out.push(':');
            out.push_str(&self.values[range.clone()]);
        }
        out.push('}');
    }
}

/// Appends a JSON string; characters outside ASCII are unchanged.
pub fn push_json_string(out: &mut String, value: &str) {
    out.push('"');
    let mut clean = 0;
    for (index, byte) in value.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&value[clean..index]);
        clean = index + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
    }
    out.push_str(&value[clean..]);
    out.push('"');
}
