//! Lexer Activity.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Csv, Polling};
use crate::config::scalar::{Credential, Whole};

/// The keys of a Lexer Activity connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LexerActivity {
    /// The API token, of type Activity.
    pub(in crate::config) api_token: Option<Credential>,
    /// Where the status of CSV jobs is asked for: the vendor's second host. The token goes there too.
    #[schemars(extend("default" = "https://clients.lexer.io"))]
    pub(in crate::config) status_base_url: Option<String>,
    /// Ids of the forms that NPS reports are read for; left out, all that the vendor calls NPS surveys.
    #[schemars(with = "Option<Vec<Whole>>", extend("default" = []))]
    pub(in crate::config) forms: Option<Vec<Option<Whole>>>,
    /// Which submissions NPS reports count.
    #[schemars(extend("default" = "all"))]
    pub(in crate::config) nps_category: Option<String>,
    /// What windows are asked for with and intervals are local to: an offset, or an IANA zone, of which each slice has the
    /// offset at its start.
    #[schemars(regex(pattern = r"^([+-][0-9]{2}:[0-9]{2}|[A-Za-z][A-Za-z0-9_+/-]*)$"), extend("default" = "+00:00"))]
    pub(in crate::config) utc_offset: Option<String>,
    /// What `states_volume`, `response_volume` and `case_volume` are counted by. Hours need slices of at most three days.
    #[schemars(extend("default" = "day"))]
    pub(in crate::config) intervals: Option<LexerIntervals>,
    /// Further fields of every report's body, such as filters; a value that reads as a number or a flag is sent as one.
    #[schemars(extend("default" = {}))]
    pub(in crate::config) parameters: Option<BTreeMap<String, serde_json::Value>>,
    /// The report type that the stream `workflow_states` asks for.
    #[schemars(extend("default" = "user_volume"))]
    pub(in crate::config) workflow_states_type: Option<String>,
    /// What the column `unit` of `response_volume` says.
    #[schemars(extend("default" = "unknown"))]
    pub(in crate::config) response_volume_unit: Option<LexerUnit>,
    /// How CSV files are written, where it cannot be told from them.
    pub(in crate::config) csv: Option<Csv>,
    /// How patiently CSV jobs are asked after.
    pub(in crate::config) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum LexerIntervals {
    Day,
    Hour,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum LexerUnit {
    Unknown,
    Seconds,
    Minutes,
}
