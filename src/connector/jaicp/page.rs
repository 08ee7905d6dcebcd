//! One page of a list that is read by number and size.

/// The content of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Hashes of the ids of its rows, in order.
    pub(super) ids: Vec<u64>,
    /// Rows per page, according to the vendor.
    pub(super) size: i64,
    /// Rows of the part, according to the vendor.
    pub(super) total: u64,
    pub(super) bytes: u64,
}
