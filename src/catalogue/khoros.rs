//! Khoros Care Analytics Reports: its exports and lists (`vendors/khoros_care.md §5, §6`).

use super::Stream;

/// Every stream.
pub(super) const fn streams() -> Vec<Stream> {
    Vec::new()
}
