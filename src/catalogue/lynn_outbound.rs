//! Lynn Outbound: campaigns, contacts and the blacklist (`vendors/lynn.md §6`).

use super::Stream;

/// Every stream.
pub(super) const fn lists() -> Vec<Stream> {
    Vec::new()
}
