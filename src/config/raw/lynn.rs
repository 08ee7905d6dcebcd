//! Lynn Reporting.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Credential, Flag, Whole};

/// The keys of a Lynn Reporting connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LynnReporting {
    /// The tenant's number, shown in parentheses beside its name where a credential is created.
    #[schemars(range(min = 1))]
    pub(in crate::config) tenant: Option<Whole>,
    /// The credential's Token.
    pub(in crate::config) access_token: Option<Credential>,
    /// The credential's Secret Token.
    pub(in crate::config) access_token_secret: Option<Credential>,
    /// The subscription, which decides the quotas.
    #[schemars(extend("default" = "basic"))]
    pub(in crate::config) product: Option<LynnProduct>,
    /// `Ocp-Apim-Subscription-Key`; premium only, empty is none.
    pub(in crate::config) subscription_key: Option<Credential>,
    /// Paths below `base_url`.
    pub(in crate::config) paths: Option<LynnPaths>,
    /// The tenant's own reports, name: report id. Each becomes a stream and a table of that name.
    #[schemars(extend("default" = {}))]
    pub(in crate::config) reports: Option<BTreeMap<String, String>>,
    /// HTTP verb of the report call.
    #[schemars(extend("default" = "POST"))]
    pub(in crate::config) method: Option<HttpMethod>,
    /// Zone in which the vendor reads the start and end of a window.
    #[schemars(extend("default" = "UTC"))]
    pub(in crate::config) filter_timezone: Option<String>,
    /// How the start and end of a window are written, in strftime letters.
    #[schemars(extend("default" = "%Y-%m-%d %H:%M:%S"))]
    pub(in crate::config) date_format: Option<String>,
    /// Scheme word of the Authorization header.
    #[schemars(extend("default" = "bearer"))]
    pub(in crate::config) authorization_scheme: Option<String>,
    /// Rows asked for per page.
    #[schemars(range(min = 1, max = 10000), extend("default" = 10000))]
    pub(in crate::config) page_size: Option<Whole>,
    /// Read one more page when the last planned one was full; costs a call.
    #[schemars(extend("default" = true))]
    pub(in crate::config) probe_full_page: Option<Flag>,
    /// Fail a window whose answer is valid but lists errors.
    #[schemars(extend("default" = true))]
    pub(in crate::config) fail_on_errors: Option<Flag>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum LynnProduct {
    Basic,
    Premium,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(in crate::config) enum HttpMethod {
    Post,
    Get,
    Put,
}

/// Path templates; `{tenant}` and `{report_id}` are filled in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LynnPaths {
    /// Obtains a token.
    #[schemars(extend("default" = "/api/LynnReporting/CreateToken"))]
    pub(in crate::config) create_token: Option<String>,
    /// Runs a report; must hold `{report_id}`.
    #[schemars(extend("default" = "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}"))]
    pub(in crate::config) execute_report: Option<String>,
}
