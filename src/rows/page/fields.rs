//! Writes the fields of a record to their columns.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::PageWriter;
use super::identity::is_number;
use super::key::encode_key;
use crate::catalogue::ColumnType;
use crate::rows::encode::{self, EMPTY, Encoded};
use crate::rows::extra::{Span, cut};
use crate::rows::layout::{Detour, Layout};
use crate::rows::timestamp::Moment;
use crate::rows::{binary, links};

impl PageWriter {
    /// Adds the field at `self.path`, if the stream may add fields. Returns `None` if the value goes to `_extra`.
    pub(super) fn add_field(&mut self, raw: &str) -> Option<usize> {
        if raw == EMPTY || !self.layout.may_add(&self.path) {
            return None;
        }
        let kind = self.layout.type_for(&self.path, raw)?;
        self.end_shape();
        let added = Arc::make_mut(&mut self.layout).add(&self.path, kind);
        self.update_shape();
        added
    }

    /// Ends the chunk before the layout changes, because its rows have the old layout.
    pub(super) fn end_shape(&mut self) {
        if self.chunk.rows > 0 {
            self.seal();
        }
    }

    /// Writes the fields of the record to `self.row`. Returns the record's time, if the stream has a time field, and
    /// whether any of its timestamps lies in a second that the window shares with another.
    pub(super) fn encode_fields(&mut self, record: &str) -> (Option<DateTime<Utc>>, bool) {
        self.row.clear();
        let (mut time, mut is_shared) = (None, false);
        // A value may add a variant, whose position is after its field.
        let mut at = 0;
        while at < self.layout.fields().len() {
            let encoded = match self.slots.get(at).copied().flatten() {
                Some(place) => (self.encode_field(record, at, place), place),
                None => (Encoded::Empty, (0, 0)),
            };
            match encoded {
                (Encoded::Value, _) => {}
                (Encoded::Empty, _) if self.is_empty_key(at) => binary::bytes(b"", &mut self.row),
                (Encoded::Empty, _) => binary::null(&mut self.row),
                (Encoded::Nearest, place) => self.extra.push(&self.layout.fields()[at].path, place),
                (Encoded::Misfit, place) => {
                    binary::null(&mut self.row);
                    self.extra.push(&self.layout.fields()[at].path, place);
                }
                (Encoded::Moment(moment), _) => match &self.time_path {
                    None => {
                        is_shared |= self.shared_second && self.window.is_some_and(|window| window.shares(moment));
                    }
                    Some(path) => {
                        if let Moment::Instant(instant) = moment
                            && *path == self.layout.fields()[at].path
                        {
                            time = Some(instant);
                        }
                    }
                },
            }
            at += 1;
        }
        (time, is_shared)
    }

    /// Appends one value to `self.row`, or leaves it to a variant of its field.
    pub(super) fn encode_field(&mut self, record: &str, at: usize, place: Span) -> Encoded {
        let raw = cut(record, place);
        let encoded = self.encode(at, raw);
        if encoded != Encoded::Misfit {
            return encoded;
        }
        match self.layout.detour(at, raw) {
            Detour::Widen(kind) => {
                self.end_shape();
                Arc::make_mut(&mut self.layout).widen(at, kind);
                self.update_shape();
                self.encode(at, raw)
            }
            Detour::Variant(kind) => match self.variant(at, kind) {
                Some(variant) => {
                    if self.slots.len() <= variant {
                        self.slots.resize(variant + 1, None);
                    }
                    self.slots[variant] = Some(place);
                    Encoded::Empty
                }
                None => Encoded::Misfit,
            },
            Detour::Extra => Encoded::Misfit,
        }
    }

    /// The position of a field's variant, which is added if necessary and possible.
    fn variant(&mut self, home: usize, kind: ColumnType) -> Option<usize> {
        if let Some(at) = self.layout.variant(home, kind) {
            return Some(at);
        }
        if !self.layout.may_add_variant() {
            return None;
        }
        self.end_shape();
        let added = Arc::make_mut(&mut self.layout).add_variant(home, kind);
        self.update_shape();
        added
    }

    fn encode(&mut self, at: usize, raw: &str) -> Encoded {
        let field = &Layout::fields(&self.layout)[at];
        if let Some(child) = &field.child
            && !links::fit(child, raw)
        {
            return Encoded::Misfit;
        }
        let (kind, bound, trust) = (field.kind, field.bound, field.trust);
        if kind == ColumnType::Text && is_number(raw) && self.is_key_column(at) {
            return encode_key(kind, raw, &mut self.row);
        }
        encode::bounded(kind, bound, trust, raw, &mut self.row)
    }
}
