//! A vendor's limits as data.

use std::time::Duration;

/// The kinds of calls that limits distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// Obtains a token.
    Login,
    /// Anything else.
    Data,
}

/// The calls that a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calls {
    Login,
    Data,
    Every,
}

impl Calls {
    /// Whether a call of `kind` counts.
    pub const fn include(self, kind: CallKind) -> bool {
        matches!((self, kind), (Self::Every, _) | (Self::Login, CallKind::Login) | (Self::Data, CallKind::Data))
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Calls,
    Bytes,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Bytes => "bytes",
        }
    }
}

/// A documented limit: at most `amount` within any `per_secs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSpec {
    pub name: &'static str,
    pub calls: Calls,
    pub unit: Unit,
    pub amount: u64,
    pub per_secs: u64,
}

impl LimitSpec {
    /// A limit on the number of data calls.
    pub const fn calls(name: &'static str, amount: u64, per_secs: u64) -> Self {
        Self { name, calls: Calls::Data, unit: Unit::Calls, amount, per_secs }
    }
}

/// A limit in force: the documented one, or what the configuration says instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub name: String,
    pub calls: Calls,
    pub unit: Unit,
    pub amount: u64,
    pub per: Duration,
}

impl Limit {
    /// The distance between calls that use the limit evenly.
    pub fn pace(&self) -> Duration {
        self.per / u32::try_from(self.amount).unwrap_or(u32::MAX).max(1)
    }
}

impl From<LimitSpec> for Limit {
    fn from(spec: LimitSpec) -> Self {
        Self {
            name: spec.name.to_owned(),
            calls: spec.calls,
            unit: spec.unit,
            amount: spec.amount,
            per: Duration::from_secs(spec.per_secs),
        }
    }
}
