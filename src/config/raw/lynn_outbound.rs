//! Lynn Outbound.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{LynnProduct, Polling};
use crate::config::scalar::{Credential, Whole};

/// The keys of a Lynn Outbound connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LynnOutbound {
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
    /// Scheme word of the Authorization header.
    #[schemars(extend("default" = "bearer"))]
    pub(in crate::config) authorization_scheme: Option<String>,
    /// The lists that may be read: `campaigns`, `contacts`, `dnd_contacts`. Their interface is not publicly documented, so
    /// none is read unless it is named here.
    #[schemars(with = "Option<Vec<OutboundStream>>", extend("default" = []))]
    pub(in crate::config) enabled_streams: Option<Vec<Option<OutboundStream>>>,
    /// Paths below `base_url`.
    pub(in crate::config) paths: Option<OutboundPaths>,
    /// HTTP verbs.
    pub(in crate::config) methods: Option<OutboundMethods>,
    /// The member of a contact that is its id, as the vendor spells it; left out, the first there is of `contact_id`,
    /// `id_contact` and `id`, in any spelling.
    pub(in crate::config) contact_id_field: Option<String>,
    /// Words that say how a load task ended.
    pub(in crate::config) task_words: Option<TaskWords>,
    /// How patiently load tasks are asked after.
    pub(in crate::config) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum OutboundStream {
    Campaigns,
    Contacts,
    DndContacts,
}

/// Path templates; `{tenant}` is filled in. Each leads to the method that it is named after, and to no other.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OutboundPaths {
    /// Obtains a token.
    #[schemars(extend("default" = "/api/LynnService/CreateToken"))]
    pub(in crate::config) create_token: Option<String>,
    /// Lists the tenant's campaigns.
    #[schemars(extend("default" = "/api/LynnService/GetCampaigns/{tenant}"))]
    pub(in crate::config) get_campaigns: Option<String>,
    /// Lists the tenant's contacts.
    #[schemars(extend("default" = "/api/LynnService/GetContacts/{tenant}"))]
    pub(in crate::config) get_contacts: Option<String>,
    /// Lists the campaigns that have a contact on their blacklist, one call per contact; without `{contact_id}` one call
    /// for all.
    #[schemars(extend("default" = "/api/LynnService/GetDnDContact/{tenant}/{contact_id}"))]
    pub(in crate::config) get_dnd_contacts: Option<String>,
    /// Takes the records of `tidegate push`.
    #[schemars(extend("default" = "/api/LynnService/AddCampaingData/{tenant}"))]
    pub(in crate::config) add_campaign_data: Option<String>,
    /// Tells the state of a load task; must hold `{task_id}`.
    #[schemars(extend("default" = "/api/LynnService/GetTaskStatus/{tenant}/{task_id}"))]
    pub(in crate::config) get_task_status: Option<String>,
}

/// Only verbs that fit what is done.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OutboundMethods {
    #[schemars(extend("default" = "GET"))]
    pub(in crate::config) get_campaigns: Option<ReadMethod>,
    #[schemars(extend("default" = "GET"))]
    pub(in crate::config) get_contacts: Option<ReadMethod>,
    #[schemars(extend("default" = "GET"))]
    pub(in crate::config) get_dnd_contacts: Option<ReadMethod>,
    #[schemars(extend("default" = "POST"))]
    pub(in crate::config) add_campaign_data: Option<WriteMethod>,
    #[schemars(extend("default" = "GET"))]
    pub(in crate::config) get_task_status: Option<ReadMethod>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(in crate::config) enum ReadMethod {
    Get,
    Post,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(in crate::config) enum WriteMethod {
    Post,
    Put,
}

/// Compared in any case; any other word means that the task goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TaskWords {
    /// The records are loaded.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["done", "completed", "complete", "finished", "success", "succeeded", "successful", "ok", "processed", "200"])
    )]
    pub(in crate::config) done: Option<Vec<Option<String>>>,
    /// They are not, or not all.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["failed", "failure", "fail", "error", "faulted", "cancelled", "canceled", "aborted", "rejected", "invalid", "400", "500"])
    )]
    pub(in crate::config) failed: Option<Vec<Option<String>>>,
}
