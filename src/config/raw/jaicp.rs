//! JAICP Reporter.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::{Csv, Polling};
use crate::config::scalar::{Credential, Flag, Whole};

/// The keys of a JAICP Reporter connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct JaicpReporter {
    /// The API token: of the project (`api: legacy`), or of the account (`api: v1`).
    pub(in crate::config) token: Option<Credential>,
    /// Generation of the interface that the token is for.
    #[schemars(extend("default" = "legacy"))]
    pub(in crate::config) api: Option<JaicpApi>,
    /// Short name of the project, such as `my_bot-1000-abc`; `api: v1` needs it.
    pub(in crate::config) project: Option<String>,
    /// Rows asked for per page.
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    pub(in crate::config) page_size: Option<Whole>,
    /// Load the delivery status of messages in Telegram, Viber and VK too: one call more for every session.
    #[schemars(extend("default" = false))]
    pub(in crate::config) message_status: Option<Flag>,
    /// HTTP verb of the list of a session's messages; `auto` tries GET, then POST.
    #[schemars(extend("default" = "auto"))]
    pub(in crate::config) by_session_method: Option<JaicpBySession>,
    /// Language of the titles in reports, such as `en` or `ru`.
    #[schemars(extend("default" = "en"))]
    pub(in crate::config) language: Option<String>,
    /// Number sent as the `Timezone` header of statistics and reports; left out, none is sent.
    #[schemars(range(min = -86400, max = 86400))]
    pub(in crate::config) timezone_offset: Option<Whole>,
    /// Filters by stream, in the vendor's own form: `key`, `type` and what that type has. They are sent beside the range of
    /// times, which Tidegate sets itself.
    #[schemars(extend("default" = {}))]
    pub(in crate::config) filters: Option<BTreeMap<String, Vec<JaicpFilter>>>,
    /// Length of the buckets of `stats_series`.
    #[schemars(extend("default" = "day"))]
    pub(in crate::config) stats_interval: Option<JaicpInterval>,
    /// How the reports' CSV files are written, where it cannot be told from them.
    pub(in crate::config) csv: Option<Csv>,
    /// How patiently report tasks are asked after.
    pub(in crate::config) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum JaicpApi {
    Legacy,
    V1,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum JaicpBySession {
    Auto,
    Get,
    Post,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum JaicpInterval {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// A filter as it is written; scalars are text.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(in crate::config) struct JaicpFilter(pub(in crate::config) BTreeMap<String, Value>);

impl JsonSchema for JaicpFilter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "JaicpFilter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "required": ["key", "type"],
            "properties": { "key": { "type": "string" }, "type": { "type": "string" } },
        })
    }
}
