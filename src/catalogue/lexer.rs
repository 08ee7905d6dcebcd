//! Lexer Activity: lists, reports and CSV jobs (`vendors/lexer.md §2, §4, §6`).

use super::Stream;

/// Every stream.
pub(super) const fn streams() -> Vec<Stream> {
    Vec::new()
}
