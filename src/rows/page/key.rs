//! Which row a record becomes: the hash of what identifies it, or the columns of the key.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::PageWriter;
use super::identity::{self, is_number, push_id, push_value};
use crate::catalogue::{Column, ColumnType, Key, Stream, Text, column_name};
use crate::rows::encode::{self, EMPTY, Encoded, Trust};
use crate::rows::extra::cut;
use crate::rows::layout::IdType;
use crate::rows::timestamp::{self, Moment};
use crate::rows::unescape::exact_text;
use crate::rows::{binary, number};

/// Limit for a key, which must fit an index entry.
const KEY_BYTES_MAX: usize = 2_000;

/// What identifies a row of the stream.
#[derive(Debug, Clone)]
pub enum RowKey {
    /// The whole content, and the number among identical records.
    Content,
    /// These fields, by path. Of two records with one key, the later wins.
    Fields(Vec<String>),
    /// The first of the fields whose column would have one of these names, else the whole content. Of two records with
    /// one key, the later wins.
    AnyOf(Vec<String>),
    /// Columns of the table's primary key, without a hash. Of two records with one key, the later wins.
    Columns(Vec<KeyField>),
}

/// A field that fills a column of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyField {
    pub path: String,
    /// A record without the field gets an empty string. Otherwise it is rejected.
    pub may_be_absent: bool,
}

impl RowKey {
    /// What identifies the records of `stream`.
    pub fn of(stream: &Stream) -> Self {
        let texts = |texts: &[Text]| texts.iter().map(ToString::to_string).collect();
        match &stream.key {
            Key::RowHash => Self::Content,
            Key::Fields(fields) => Self::Fields(texts(fields)),
            Key::AnyOf(names) => Self::AnyOf(names.iter().map(|name| column_name(name)).collect()),
            Key::Columns(names) => Self::columns(names, stream),
            Key::Chosen(names) => Self::columns(names, stream),
        }
    }

    fn columns(names: &[Text], stream: &Stream) -> Self {
        let columns = names.iter().filter_map(|name| stream.columns.iter().find(|column| column.name == *name));
        let may_be_absent = |column: &Column| column.may_be_absent && matches!(stream.key, Key::Columns(_));
        let field = |column: &Column| KeyField { path: column.field.to_string(), may_be_absent: may_be_absent(column) };
        Self::Columns(columns.map(field).collect())
    }

    /// Whether only the later of two records with one key counts. Otherwise both do.
    pub const fn latest_wins(&self) -> bool {
        !matches!(self, Self::Content)
    }
}

/// How the keys of identical records are made from the hash of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyForm {
    /// A hash.
    #[default]
    Hash,
    /// The time of the row in [`TIME_BITS`] bits, then a hash.
    Timed,
}

/// Seconds since 1970, so until 2106.
const TIME_BITS: u32 = 32;
const HASH_MASK: u128 = u128::MAX >> TIME_BITS;

impl KeyForm {
    /// The form of the keys of `stream`, as its table has them.
    pub fn of(stream: &Stream) -> Self {
        let is_timed = stream.row_time.is_some() && matches!(stream.key, Key::RowHash);
        if is_timed { Self::Timed } else { Self::Hash }
    }

    /// The key of number `place` of several identical records whose first one has the key `base`. Numbers begin with 0.
    pub fn row_key(self, base: u128, place: u32) -> u128 {
        if place == 0 {
            return base;
        }
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&base.to_le_bytes());
        bytes[16..].copy_from_slice(&place.to_le_bytes());
        let hash = xxh3_128(&bytes);
        match self {
            Self::Hash => hash,
            Self::Timed => (base & !HASH_MASK) | (hash & HASH_MASK),
        }
    }
}

/// What the key of a row with this time begins with, of a JSON value: whole seconds. 0 if the value is not a time; the
/// nearest number for a time that is too early or too late. A time without a zone counts as UTC.
fn seconds(raw: &str) -> u32 {
    let mut unescaped = Vec::new();
    let text = if raw.contains('\\') {
        exact_text(raw, &mut unescaped);
        std::str::from_utf8(&unescaped).unwrap_or_default()
    } else {
        raw.trim_matches('"')
    };
    let at = match timestamp::moment(text) {
        Some(Moment::Instant(at)) => at,
        Some(Moment::Local(at)) => at.and_utc(),
        None => return 0,
    };
    u32::try_from(at.timestamp().max(1)).unwrap_or(u32::MAX)
}

impl PageWriter {
    /// The hash of what identifies the record, without its number among identical ones. 0 for a key of columns.
    pub(super) fn base_key(&mut self, record: &str) -> Result<u128, String> {
        let mut sum = 0_u128;
        match &self.key {
            RowKey::Content => {
                sum = self.content_key(record);
                if let Some(path) = &self.row_time {
                    let seconds = u128::from(self.row_seconds(record, path));
                    sum = (seconds << (u128::BITS - TIME_BITS)) | (sum & HASH_MASK);
                }
            }
            RowKey::Fields(paths) => {
                for path in paths {
                    let slot = self.layout.find(path, 0).and_then(|at| self.slots.get(at).copied().flatten());
                    let place =
                        slot.or_else(|| self.extra.iter().find(|(extra, _)| extra == path).map(|(_, place)| place));
                    let value = place.map(|place| cut(record, place));
                    if value == Some(EMPTY) || (value.is_none() && self.extra.empty().any(|extra| extra == path)) {
                        return Err(empty(path));
                    }
                    let value = value.ok_or_else(|| format!("no key field `{path}`"))?;
                    if !identifies(value) {
                        return Err(format!("key field `{path}` is not a value"));
                    }
                    let key = hash_id(&mut self.hashed, path, value)
                        .ok_or_else(|| format!("key field `{path}` is longer than {KEY_BYTES_MAX} bytes"))?;
                    sum = sum.wrapping_add(key);
                }
            }
            RowKey::AnyOf(names) => {
                if self.named.0 != self.layout.fields().len() {
                    self.named = (self.layout.fields().len(), self.layout.find_named(names));
                }
                let values = self.named.1.iter().filter_map(|at| Some(cut(record, self.slots.get(*at).copied()??)));
                let found = values.into_iter().find(|value| identifies(value)).or_else(|| {
                    // The id must not depend on whether its field has a column.
                    let mut extra = self.extra.iter().map(|(path, place)| (path, cut(record, place)));
                    let is_id = |path: &str, value: &str| names.contains(&column_name(path)) && identifies(value);
                    extra.find(|(path, value)| is_id(path, value)).map(|(_, value)| value)
                });
                return match found {
                    // Without the field's path: an id under another spelling of the name is the same entity.
                    Some(value) => hash_id(&mut self.hashed, "", value)
                        .ok_or_else(|| format!("the id is longer than {KEY_BYTES_MAX} bytes")),
                    None => Ok(self.content_key(record)),
                };
            }
            RowKey::Columns(_) => {}
        }
        Ok(sum)
    }

    /// The seconds that the key begins with. It depends only on the record: not on whether the field has a column, and
    /// not on the order of two spellings of its name.
    fn row_seconds(&self, record: &str, path: &str) -> u32 {
        let slot = self.layout.find(path, 0).and_then(|at| self.slots.get(at).copied().flatten());
        let extra = self.extra.iter().filter(|(other, _)| other.eq_ignore_ascii_case(path)).map(|(_, place)| place);
        slot.into_iter().chain(extra).map(|place| seconds(cut(record, place))).max().unwrap_or(0)
    }

    fn content_key(&mut self, record: &str) -> u128 {
        let mut sum = 0_u128;
        for (at, (field, slot)) in self.layout.fields().iter().zip(&self.slots).enumerate() {
            if let Some(place) = slot
                && !self.ours.contains(&at)
            {
                sum = sum.wrapping_add(hash(&mut self.hashed, &field.path, cut(record, *place)));
            }
        }
        for (path, place) in self.extra.iter() {
            // By the name in the layout: the key must not depend on the order of two spellings in one record.
            let known = self.layout.find(path, usize::MAX).map(|at| &*self.layout.fields()[at].path);
            sum = sum.wrapping_add(hash(&mut self.hashed, known.unwrap_or(path), cut(record, place)));
        }
        for path in self.extra.empty() {
            sum = sum.wrapping_add(hash(&mut self.hashed, path, EMPTY));
        }
        sum
    }

    /// Checks the key's columns, which cannot be null. An absent field becomes the empty string where that is allowed.
    /// Returns the row's identity, which Postgres computes from the columns too ([`crate::load::sql`]).
    pub(super) fn column_key(&mut self, record: &str) -> Result<u128, String> {
        self.hashed.clear();
        let key = std::mem::replace(&mut self.key, RowKey::Content);
        let fields = if let RowKey::Columns(fields) = &key { fields.as_slice() } else { &[] };
        let bytes = fields.iter().try_fold(0, |sum, field| Ok::<_, String>(sum + self.key_field(record, field)?));
        self.key = key;
        if bytes? > KEY_BYTES_MAX {
            return Err(format!("the key is longer than {KEY_BYTES_MAX} bytes"));
        }
        // Only fingerprints, and duplicates in a shared second, need the identity.
        let is_needed = self.fingerprinter.is_some() || self.shared_second;
        Ok(if is_needed { identity::of_columns(&self.hashed) } else { 0 })
    }

    /// Appends the value of a key's field to `self.hashed`. Returns its length.
    fn key_field(&mut self, record: &str, field: &KeyField) -> Result<usize, String> {
        let found = self.layout.find(&field.path, 0).and_then(|at| Some((at, self.slots.get(at).copied().flatten()?)));
        let Some((at, place)) = found.filter(|(_, place)| cut(record, *place) != EMPTY) else {
            return match found {
                _ if field.may_be_absent => {
                    binary::bytes(b"", &mut self.hashed);
                    Ok(0)
                }
                Some(_) => Err(empty(&field.path)),
                None => Err(format!("no key field `{}`", field.path)),
            };
        };
        let raw = cut(record, place);
        self.choose_type(at, raw);
        self.row.clear();
        let known = &self.layout.fields()[at];
        let (kind, id) = (known.kind, known.id);
        let encoded = if id.holds(kind, raw) { encode_key(kind, raw, &mut self.row) } else { Encoded::Misfit };
        match (encoded, id) {
            (Encoded::Value | Encoded::Moment(_), _) => {}
            (_, IdType::Found | IdType::Open) if kind == ColumnType::Bigint => {
                return Err(format!(
                    "key field `{}` is not of type {}, which the first ids had; if it is right, state `types: {{ {0}: \
                     text }}` in the job, and drop or rename the table, so that it is loaded anew",
                    field.path,
                    kind.sql()
                ));
            }
            _ => return Err(format!("key field `{}` is not of type {}", field.path, kind.sql())),
        }
        identity::push_column(kind, &self.row, &mut self.hashed);
        // The length of the value as a string with its quotes, without the field's length prefix.
        Ok(self.row.len() - 2)
    }

    /// Chooses the type of a key's column by a value of the table's first page.
    fn choose_type(&mut self, at: usize, raw: &str) {
        let field = &self.layout.fields()[at];
        let (kind, id) = (field.kind, field.id);
        if !matches!(id, IdType::Unseen | IdType::Open) {
            return;
        }
        let is_whole = (id == IdType::Open || is_number(raw)) && id.holds(kind, raw);
        if id == IdType::Open && (is_whole || kind == ColumnType::Text) {
            return;
        }
        if !is_whole {
            // Earlier rows of the page have whole numbers, which are moved to the column of texts.
            self.end_shape();
        }
        let layout = Arc::make_mut(&mut self.layout);
        layout.set_id(at, IdType::Open);
        if !is_whole {
            layout.widen(at, ColumnType::Text);
        }
        self.update_shape();
    }

    /// Whether an absent field of the key is written as an empty string.
    pub(super) fn is_empty_key(&self, at: usize) -> bool {
        let RowKey::Columns(fields) = &self.key else { return false };
        fields.iter().any(|field| field.may_be_absent && field.path == self.layout.fields()[at].path)
    }

    /// Whether the field fills a column of the key.
    pub(super) fn is_key_column(&self, at: usize) -> bool {
        let RowKey::Columns(fields) = &self.key else { return false };
        fields.iter().any(|field| field.path == self.layout.fields()[at].path)
    }
}

/// Appends a value to a row as a field of the key: a number in a column of text is written in its canonical form.
pub(super) fn encode_key(kind: ColumnType, raw: &str, out: &mut Vec<u8>) -> Encoded {
    if kind == ColumnType::Text && is_number(raw) {
        let mut text = Vec::new();
        number::canonical(raw, &mut text);
        binary::bytes(&text, out);
        return Encoded::Value;
    }
    encode::value(kind, Trust::Documented, raw, out)
}

/// Whether a value can identify a record. An empty text cannot, and neither can `NaN` or `Infinity`.
fn identifies(raw: &str) -> bool {
    raw != EMPTY && !raw.starts_with(['N', 'I']) && !raw.starts_with("-I")
}

fn empty(path: &str) -> String {
    format!("key field `{path}` is empty")
}

/// The hash of a field that identifies a record, by value. Returns `None` if the value is too long for an id.
fn hash_id(buffer: &mut Vec<u8>, path: &str, raw: &str) -> Option<u128> {
    begin(buffer, path);
    let start = buffer.len();
    push_id(raw, buffer);
    (buffer.len() - start <= KEY_BYTES_MAX).then(|| xxh3_128(buffer))
}

/// The hash of a field that is part of a record's content, by value.
fn hash(buffer: &mut Vec<u8>, path: &str, raw: &str) -> u128 {
    begin(buffer, path);
    push_value(raw, buffer);
    xxh3_128(buffer)
}

fn begin(buffer: &mut Vec<u8>, path: &str) {
    buffer.clear();
    buffer.extend_from_slice(path.as_bytes());
    buffer.push(0);
}
