//! What a target of notifications can receive: a problem of some kind, the end of one, runs that finished, and actions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of problem, the end of one, a run that finished, or an action of an operator.
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
    Stalled,
    Recovered,
    RunFinished,
    Action,
}

impl Topic {
    /// The kinds of problems.
    pub const PROBLEMS: [Self; 11] = [
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
        Self::Stalled,
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
            Self::Stalled => "stalled",
            Self::Recovered => "recovered",
            Self::RunFinished => "run_finished",
            Self::Action => "action",
        }
    }
}
