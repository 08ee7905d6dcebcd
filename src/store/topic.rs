//! The kinds of notifications: a problem of some kind, or its end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of problem, or the end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Topic {
    Failed,
    Held,
    Late,
    Gap,
    QuotaRefused,
    Rejects,
    Schema,
    ConfigRefused,
    PushUnknown,
    NotifyStuck,
    Recovered,
}

impl Topic {
    /// The kinds of problems.
    pub const PROBLEMS: [Self; 10] = [
        Self::Failed,
        Self::Held,
        Self::Late,
        Self::Gap,
        Self::QuotaRefused,
        Self::Rejects,
        Self::Schema,
        Self::ConfigRefused,
        Self::PushUnknown,
        Self::NotifyStuck,
    ];

    /// The name in the configuration, in `tidegate.problem` and in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Late => "late",
            Self::Gap => "gap",
            Self::QuotaRefused => "quota_refused",
            Self::Rejects => "rejects",
            Self::Schema => "schema",
            Self::ConfigRefused => "config_refused",
            Self::PushUnknown => "push_unknown",
            Self::NotifyStuck => "notify_stuck",
            Self::Recovered => "recovered",
        }
    }

    /// The kind of problem with this name.
    pub fn of_problem(name: &str) -> Option<Self> {
        Self::PROBLEMS.into_iter().find(|topic| topic.name() == name)
    }
}
