//! The unit in which a page is passed on: COPY rows, rejects and counts. Its size is bounded, whatever the vendor
//! sends.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::buffer::Buffer;
use super::fingerprint::{BatchFingerprint, RowKind};
use super::key_hasher::KeyHasher;
use super::layout::Layout;

/// COPY rows of one layout. The last chunk of a batch also describes the batch.
#[derive(Debug, Default)]
pub struct Chunk {
    pub layout: Arc<Layout>,
    /// Each row's fields in COPY's binary format, row after row: `_row_key`, the layout's fields, `_extra`.
    pub data: Buffer,
    /// The end of each row in `data`.
    pub ends: Vec<u32>,
    /// The kind of each row, compared with the last reading.
    pub kinds: Vec<RowKind>,
    pub rows: u64,
    pub rejects: Vec<Reject>,
    pub counts: RecordCounts,
    /// Records in a second that two neighbouring slices, or two parts of this one, share.
    pub shared: Vec<SharedRecord>,
    /// Set on the last chunk of a batch.
    pub batch_end: Option<Box<BatchEnd>>,
}

/// What is known of a batch once it is complete.
#[derive(Debug, Default)]
pub struct BatchEnd {
    /// Records that have duplicates in the batch.
    pub duplicates: DuplicateCounts,
    /// `None` if rows are not compared with the last reading.
    pub fingerprint: Option<BatchFingerprint>,
}

impl Chunk {
    /// The rows, each with its kind.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], RowKind)> {
        let mut start = 0;
        self.ends.iter().zip(&self.kinds).map(move |(&end, &kind)| {
            let row = &self.data[start..end as usize];
            start = end as usize;
            (row, kind)
        })
    }

    /// Approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let rows = self.ends.len() * (size_of::<u32>() + size_of::<RowKind>());
        let fingerprint =
            self.batch_end.as_ref().and_then(|end| end.fingerprint.as_ref()).map_or(0, BatchFingerprint::weight);
        self.data.capacity() + rows + fingerprint + self.rejects.iter().map(Reject::weight).sum::<usize>()
    }
}

#[cfg(test)]
impl Chunk {
    /// Each row's fields as text, `None` for null: `_row_key` first, `_extra` last.
    pub fn shown(&self) -> Vec<Vec<Option<String>>> {
        use super::binary::tests::shown;
        use crate::catalogue::ColumnType;

        let row = |mut fields: &[u8]| {
            let key = shown_key(&mut fields);
            let kinds = self.layout.fields().iter().map(|field| field.kind).chain([ColumnType::Jsonb]);
            let rest: Vec<Option<String>> = kinds.map(|kind| shown(kind, &mut fields)).collect();
            assert!(fields.is_empty(), "a row has no more fields than its layout");
            [key].into_iter().chain(rest).collect()
        };
        self.rows().map(|(fields, _)| row(fields)).collect()
    }
}

#[cfg(test)]
fn shown_key(fields: &mut &[u8]) -> Option<String> {
    let (head, rest) = fields.split_first_chunk::<4>().unwrap();
    let length = usize::try_from(i32::from_be_bytes(*head)).ok();
    assert!(matches!(length, None | Some(16)), "a key is a uuid");
    let (key, rest) = rest.split_at(length.unwrap_or(0));
    *fields = rest;
    length.map(|_| hex::encode(key))
}

/// A record that cannot become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub reason: String,
    /// As the vendor sent it, with what Postgres cannot hold escaped.
    pub record: String,
}

impl Reject {
    /// Approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.record.len() + self.reason.len()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Records that were read, including rejects and those outside their slice.
    pub read: u64,
    /// Records in the shared second at the end, which belong to the next slice.
    pub outside: u64,
    /// Records far outside their slice; they are kept.
    pub astray: u64,
    /// Values kept in `_extra`, for any reason.
    pub extra: u64,
    /// Those of them whose fields may get columns later ([`awaiting_columns`]).
    ///
    /// [`awaiting_columns`]: super::page::PageWriter::awaiting_columns
    pub waiting: u64,
}

/// A record that the slices or parts on both sides of a boundary may report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedRecord {
    /// Hash of its content: the key of the first of its duplicates.
    pub base: u128,
    /// Key under which duplicates are counted within the requested part of the slice.
    pub part_key: u128,
}

/// Number of identical records, by the key of the first.
pub type DuplicateCounts = HashMap<u128, u32, BuildHasherDefault<KeyHasher>>;
