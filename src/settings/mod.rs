//! Reads configuration files: text with positions, substitution, typed values, and all faults at once.
//!
//! `files` reads and merges, `yaml` keeps the line of every key, `overrides` and `substitute` apply the environment,
//! `read` converts text to types with the values of `scalar`, and `report` collects faults. It knows no section and no
//! vendor.

mod fault;
mod fields;
mod files;
mod overrides;
mod read;
mod report;
mod scalar;
mod source_file;
mod substitute;
mod suggest;
mod tree;
mod units;
mod yaml;

pub use fault::{Fault, Faults};
pub use fields::{credential, credential_problem, parse_base_url, stand_in};
pub use files::{cannot_read, merge, read as read_files, read_bounded, unread_folders};
pub use overrides::apply as apply_overrides;
pub use read::{keys_of, read};
pub use report::{Report, check_name, entries, flag, secs};
pub use scalar::{Amount, Bool, Credential, DurationText, Entries, Integer, Keep, Months, Offset, Percent};
pub use source_file::SourceFile;
pub use substitute::apply as substitute;
pub use suggest::{closest, fold, hint as closest_hint, zone as closest_zone};
pub use tree::{KeyPath, Kind, Node, Step};
pub use units::{duration, size};
