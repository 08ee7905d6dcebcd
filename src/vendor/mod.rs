//! The one verb of every vendor, [`Source::step`], and its outcomes.
//!
//! A vendor answers one question: given a stream, a slice and the cursor inside it, send at most one logical call and
//! hand over a page of records with the next cursor, or "pending until T", or "finished". The cursor is opaque to
//! everyone else and holds all that a restart needs. Vendors know no SQL.

pub mod lynn;

use crate::quota::LimitSpec;

/// The vendor systems that the binary knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    LynnReporting,
}

impl Vendor {
    /// Every vendor, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::LynnReporting];

    /// The vendor's name in configuration and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LynnReporting => "lynn_reporting",
        }
    }

    /// The vendor of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|vendor| vendor.name() == name)
    }
}

/// What a connection says beyond what every vendor's connection says.
#[derive(Debug, Clone)]
pub enum Settings {
    LynnReporting(lynn::Settings),
}

impl Settings {
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::LynnReporting(_) => Vendor::LynnReporting,
        }
    }

    /// The vendor's documented limits for this account, before overrides.
    pub fn limits(&self) -> &'static [LimitSpec] {
        match self {
            Self::LynnReporting(settings) => settings.limits(),
        }
    }
}
