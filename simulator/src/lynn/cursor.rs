//! `lastDocument`: the last row of a page, encoded in one of several shapes and expected back byte for byte.

use serde::{Deserialize, Serialize};

use super::super::truth::Place;

/// The JSON type of `lastDocument` (undocumented, `facts/lynn.md §3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorShape {
    /// An Elasticsearch-like pair, with a space after the comma.
    #[default]
    Array,
    /// An integer far above 2^53.
    Number,
    /// A string with unnecessary escapes and characters outside the basic plane.
    Text,
    /// An object with spaces, an unusual number format and a duplicate key.
    Object,
}

/// Where reading continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub place: Place,
    /// The page that ended here, starting at 1.
    pub page: u16,
    /// A hash of report, window and size: a cursor is valid for its own query only.
    pub query: u32,
}

const QUERY_BITS: u32 = 24;
const DAY_OFFSET: i32 = 1 << 23;
/// A bit above all others, so that every cursor has the same number of digits.
const MARK: u128 = 1 << 120;
const DIGITS: usize = 31;

impl Cursor {
    pub fn json(&self, shape: CursorShape) -> String {
        let packed = self.pack();
        match shape {
            CursorShape::Array => format!("[{}, \"row-{packed:x}\"]", packed >> 90),
            CursorShape::Number => packed.to_string(),
            CursorShape::Text => format!(r#""\u0041\/\"\\ é 😀 \ud83d\ude00 row-{packed:x}""#),
            CursorShape::Object => {
                format!("{{ \"sort\" : [ 1.0e3 ,-0, null ],\t\"id\":\"row-{packed:x}\" , \"id2\": 1, \"id2\" :2 }}")
            }
        }
    }

    /// Parses a cursor of any shape. The caller checks whether it came back unchanged.
    pub fn read(json: &str) -> Option<(Self, CursorShape)> {
        let packed = match json.find("row-") {
            Some(at) => u128::from_str_radix(json.get(at + 4..at + 4 + DIGITS)?, 16).ok()?,
            None => json.parse().ok()?,
        };
        let cursor = Self::unpack(packed)?;
        let shapes = [CursorShape::Array, CursorShape::Number, CursorShape::Text, CursorShape::Object];
        shapes.into_iter().find(|&shape| cursor.json(shape) == json).map(|shape| (cursor, shape))
    }

    fn pack(&self) -> u128 {
        let day = u128::from(self.place.day.saturating_add(DAY_OFFSET).cast_unsigned() & 0xff_ffff);
        let position = u128::from(self.place.position & 0xff_ffff_ffff);
        let query = u128::from(self.query & ((1 << QUERY_BITS) - 1));
        MARK | day << 96 | position << 56 | u128::from(self.place.sub) << 40 | u128::from(self.page) << 24 | query
    }

    fn unpack(packed: u128) -> Option<Self> {
        let bits = |from: u32, count: u32| u64::try_from((packed >> from) & ((1 << count) - 1)).unwrap_or_default();
        if packed >> 120 != 1 {
            return None;
        }
        let day = i32::try_from(bits(96, 24)).ok()? - DAY_OFFSET;
        let place = Place { day, position: bits(56, 40), sub: u16::try_from(bits(40, 16)).ok()? };
        let (page, query) = (u16::try_from(bits(24, 16)).ok()?, u32::try_from(bits(0, QUERY_BITS)).ok()?);
        Some(Self { place, page, query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor { place: Place { day: 19_783, position: 7, sub: 2 }, page: 3, query: 0xab_cdef };

    #[test]
    fn a_cursor_round_trips_in_every_shape() {
        for shape in [CursorShape::Array, CursorShape::Number, CursorShape::Text, CursorShape::Object] {
            let json = CURSOR.json(shape);
            assert_eq!(Cursor::read(&json), Some((CURSOR, shape)), "{json}");
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
            let retyped = serde_json::from_str::<serde_json::Value>(&json).unwrap().to_string();
            assert_eq!(Cursor::read(&retyped), None, "{retyped}");
        }
    }

    #[test]
    fn nonsense_is_not_a_cursor() {
        for json in ["null", "\"\"", "[]", "\"row-xyz\"", "12", "\"row-1😀😀😀😀😀😀😀😀😀😀\""] {
            assert_eq!(Cursor::read(json), None, "{json}");
        }
    }
}
