//! The configuration as it is written: every key optional, unknown keys denied, nothing checked.
//!
//! The doc comments are what editors show (`tidegate schema`); the defaults beside them are held to the real ones by a
//! test. A new vendor is one struct here, one arm in `check::connection` and one in `schema`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::scalar::{Amount, Credential, Entries, Flag, Offset, Span, Whole};

/// Configuration of Tidegate: connections to vendors, and the jobs that load their reports into Postgres.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    /// The Postgres that is loaded into.
    pub(super) database: Option<Database>,
    /// The private Postgres that runs when `database.url` is left out.
    pub(super) embedded: Option<Embedded>,
    /// The HTTP server for status page, metrics and health.
    pub(super) server: Option<Server>,
    /// How this process works.
    pub(super) worker: Option<Worker>,
    /// How long the past is kept.
    pub(super) history: Option<History>,
    /// What is logged.
    pub(super) log: Option<Log>,
    /// Accounts at vendors, by name.
    pub(super) connections: Option<Entries>,
    /// What is read when, by name.
    pub(super) jobs: Option<Entries>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    /// `postgres://user:password@host:5432/database`; leave it out to run on a private embedded Postgres.
    pub(super) url: Option<Credential>,
    /// Connections to the database that this process may hold.
    #[schemars(range(min = 1, max = 1000), extend("default" = 8))]
    pub(super) max_connections: Option<Whole>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Embedded {
    /// Where the embedded Postgres keeps its cluster.
    #[schemars(extend("default" = "./data/postgres"))]
    pub(super) data_dir: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    /// Address and port of status page, `/metrics`, `/healthz` and `/readyz`.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub(super) listen: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    /// Runs at a time in this process.
    #[schemars(range(min = 1, max = 256), extend("default" = 4))]
    pub(super) concurrency: Option<Whole>,
    /// A run whose worker is silent for this long is taken over.
    #[schemars(extend("default" = "60s"))]
    pub(super) lease: Option<Span>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    /// How long runs that have ended are kept; left out, for good.
    pub(super) keep_runs: Option<Span>,
    /// How long records that could not become rows are kept; left out, for good.
    pub(super) keep_rejects: Option<Span>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// `pretty` for people, `json` for machines.
    #[schemars(extend("default" = "pretty"))]
    pub(super) format: Option<LogFormat>,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, with exceptions per module: `info,tidegate=debug`.
    #[schemars(extend("default" = "info"))]
    pub(super) level: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum LogFormat {
    Pretty,
    Json,
}

/// The keys of every vendor's connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Connection {
    /// The kind of source; it decides which further keys there are.
    pub(super) vendor: Option<String>,
    /// Where the vendor's API is; every vendor has a default.
    pub(super) base_url: Option<String>,
    /// Further hosts, as `host` or `host:port`, that URLs handed out by the vendor may point to.
    #[schemars(with = "Option<Vec<String>>", extend("default" = []))]
    pub(super) allowed_hosts: Option<Vec<Option<String>>>,
    /// How long one request may take.
    #[schemars(extend("default" = "60s"))]
    pub(super) request_timeout: Option<Span>,
    /// Retries of one request within seconds.
    pub(super) retry: Option<Retry>,
    /// Limits that differ from the vendor's documented ones, by the limit's name.
    #[schemars(extend("default" = {}))]
    pub(super) quotas: Option<BTreeMap<String, Quota>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// Tries of one request, the first included.
    #[schemars(range(min = 1, max = 20), extend("default" = 5))]
    pub(super) max_attempts: Option<Whole>,
    /// The wait before the second try; it doubles from there.
    #[schemars(extend("default" = "1s"))]
    pub(super) initial: Option<Span>,
    /// The longest wait between two tries.
    #[schemars(extend("default" = "60s"))]
    pub(super) max: Option<Span>,
}

/// At most `limit` within any `per`; what is left out stays as documented.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Quota {
    /// A number of calls, or a size such as `102400kB` for a limit that counts bytes.
    pub(super) limit: Option<Amount>,
    /// The period.
    pub(super) per: Option<Span>,
}

/// The keys of a Lynn Reporting connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LynnReporting {
    /// The tenant's number, shown in parentheses beside its name where a credential is created.
    #[schemars(range(min = 1))]
    pub(super) tenant: Option<Whole>,
    /// The credential's Token.
    pub(super) access_token: Option<Credential>,
    /// The credential's Secret Token.
    pub(super) access_token_secret: Option<Credential>,
    /// The subscription, which decides the quotas.
    #[schemars(extend("default" = "basic"))]
    pub(super) product: Option<LynnProduct>,
    /// `Ocp-Apim-Subscription-Key`; premium only, empty is none.
    pub(super) subscription_key: Option<Credential>,
    /// Paths below `base_url`.
    pub(super) paths: Option<LynnPaths>,
    /// The tenant's own reports, name: report id. Each becomes a stream and a table of that name.
    #[schemars(extend("default" = {}))]
    pub(super) reports: Option<BTreeMap<String, String>>,
    /// HTTP verb of the report call.
    #[schemars(extend("default" = "POST"))]
    pub(super) method: Option<HttpMethod>,
    /// Zone in which the vendor reads the start and end of a window.
    #[schemars(extend("default" = "UTC"))]
    pub(super) filter_timezone: Option<String>,
    /// How the start and end of a window are written, in strftime letters.
    #[schemars(extend("default" = "%Y-%m-%d %H:%M:%S"))]
    pub(super) date_format: Option<String>,
    /// Scheme word of the Authorization header.
    #[schemars(extend("default" = "bearer"))]
    pub(super) authorization_scheme: Option<String>,
    /// Rows asked for per page.
    #[schemars(range(min = 1, max = 10000), extend("default" = 10000))]
    pub(super) page_size: Option<Whole>,
    /// Read one more page when the last planned one was full; costs a call.
    #[schemars(extend("default" = true))]
    pub(super) probe_full_page: Option<Flag>,
    /// Fail a window whose answer is valid but lists errors.
    #[schemars(extend("default" = true))]
    pub(super) fail_on_errors: Option<Flag>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum LynnProduct {
    Basic,
    Premium,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(super) enum HttpMethod {
    Post,
    Get,
    Put,
}

/// Path templates; `{tenant}` and `{report_id}` are filled in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LynnPaths {
    /// Obtains a token.
    #[schemars(extend("default" = "/api/LynnReporting/CreateToken"))]
    pub(super) create_token: Option<String>,
    /// Runs a report; must hold `{report_id}`.
    #[schemars(extend("default" = "/api/LynnReporting/ExecuteReport/{tenant}/{report_id}"))]
    pub(super) execute_report: Option<String>,
}

/// The keys of a Lynn Outbound connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LynnOutbound {
    /// The tenant's number, shown in parentheses beside its name where a credential is created.
    #[schemars(range(min = 1))]
    pub(super) tenant: Option<Whole>,
    /// The credential's Token.
    pub(super) access_token: Option<Credential>,
    /// The credential's Secret Token.
    pub(super) access_token_secret: Option<Credential>,
    /// The subscription, which decides the quotas.
    #[schemars(extend("default" = "basic"))]
    pub(super) product: Option<LynnProduct>,
    /// `Ocp-Apim-Subscription-Key`; premium only, empty is none.
    pub(super) subscription_key: Option<Credential>,
    /// Scheme word of the Authorization header.
    #[schemars(extend("default" = "bearer"))]
    pub(super) authorization_scheme: Option<String>,
    /// The lists that may be read: `campaigns`, `contacts`, `dnd_contacts`. Their interface is not publicly documented, so
    /// none is read unless it is named here.
    #[schemars(with = "Option<Vec<OutboundStream>>", extend("default" = []))]
    pub(super) enabled_streams: Option<Vec<Option<OutboundStream>>>,
    /// Paths below `base_url`.
    pub(super) paths: Option<OutboundPaths>,
    /// HTTP verbs.
    pub(super) methods: Option<OutboundMethods>,
    /// The member of a contact that is its id, as the vendor spells it; left out, the first there is of `contact_id`,
    /// `id_contact` and `id`, in any spelling.
    pub(super) contact_id_field: Option<String>,
    /// Words that say how a load task ended.
    pub(super) task_words: Option<TaskWords>,
    /// How patiently load tasks are asked after.
    pub(super) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum OutboundStream {
    Campaigns,
    Contacts,
    DndContacts,
}

/// Path templates; `{tenant}` is filled in. Each leads to the method that it is named after, and to no other.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboundPaths {
    /// Obtains a token.
    #[schemars(extend("default" = "/api/LynnService/CreateToken"))]
    pub(super) create_token: Option<String>,
    /// Lists the tenant's campaigns.
    #[schemars(extend("default" = "/api/LynnService/GetCampaigns/{tenant}"))]
    pub(super) get_campaigns: Option<String>,
    /// Lists the tenant's contacts.
    #[schemars(extend("default" = "/api/LynnService/GetContacts/{tenant}"))]
    pub(super) get_contacts: Option<String>,
    /// Lists the campaigns that have a contact on their blacklist, one call per contact; without `{contact_id}` one call
    /// for all.
    #[schemars(extend("default" = "/api/LynnService/GetDnDContact/{tenant}/{contact_id}"))]
    pub(super) get_dnd_contacts: Option<String>,
    /// Takes the records of `tidegate push`.
    #[schemars(extend("default" = "/api/LynnService/AddCampaingData/{tenant}"))]
    pub(super) add_campaign_data: Option<String>,
    /// Tells the state of a load task; must hold `{task_id}`.
    #[schemars(extend("default" = "/api/LynnService/GetTaskStatus/{tenant}/{task_id}"))]
    pub(super) get_task_status: Option<String>,
}

/// Only verbs that fit what is done.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboundMethods {
    #[schemars(extend("default" = "GET"))]
    pub(super) get_campaigns: Option<ReadMethod>,
    #[schemars(extend("default" = "GET"))]
    pub(super) get_contacts: Option<ReadMethod>,
    #[schemars(extend("default" = "GET"))]
    pub(super) get_dnd_contacts: Option<ReadMethod>,
    #[schemars(extend("default" = "POST"))]
    pub(super) add_campaign_data: Option<WriteMethod>,
    #[schemars(extend("default" = "GET"))]
    pub(super) get_task_status: Option<ReadMethod>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(super) enum ReadMethod {
    Get,
    Post,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(super) enum WriteMethod {
    Post,
    Put,
}

/// Compared in any case; any other word means that the task goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskWords {
    /// The records are loaded.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["done", "completed", "complete", "finished", "success", "succeeded", "successful", "ok", "processed", "200"])
    )]
    pub(super) done: Option<Vec<Option<String>>>,
    /// They are not, or not all.
    #[schemars(
        with = "Option<Vec<String>>",
        extend("default" = ["failed", "failure", "fail", "error", "faulted", "cancelled", "canceled", "aborted", "rejected", "invalid", "400", "500"])
    )]
    pub(super) failed: Option<Vec<Option<String>>>,
}

/// How patiently export jobs are asked after.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Polling {
    /// From the submission of a job to the first question after it; doubles with every further one.
    #[schemars(extend("default" = "5s"))]
    pub(super) initial: Option<Span>,
    /// The longest pause between two questions.
    #[schemars(extend("default" = "1m"))]
    pub(super) max: Option<Span>,
    /// A job that takes longer is given up, and asked for anew.
    #[schemars(extend("default" = "6h"))]
    pub(super) deadline: Option<Span>,
}

/// The keys of a Khoros Care connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KhorosCare {
    /// The tenant's key, from Analytics API Settings.
    pub(super) company_key: Option<Credential>,
    /// The API user's name.
    pub(super) username: Option<String>,
    /// The API user's password.
    pub(super) password: Option<Credential>,
    /// Language and date style of the files: `en`, `es`, `fr`, `de` or `tr`. A change renames the titles of CSV files.
    #[schemars(extend("default" = "en"))]
    pub(super) locale: Option<String>,
    /// How far from UTC dates are printed: `-06:00`, or milliseconds. It moves no window.
    #[schemars(extend("default" = 0))]
    pub(super) timezone_offset: Option<Offset>,
    /// Format of the files. JSON has more columns, and their names do not depend on `locale`.
    #[schemars(extend("default" = "json"))]
    pub(super) report_format: Option<KhorosFormat>,
    /// How export jobs are started.
    #[schemars(extend("default" = "post"))]
    pub(super) method: Option<KhorosMethod>,
    /// The columns to ask for, by export: the vendor's metric ids as it spells them. Left out, all that the company has
    /// enabled.
    #[schemars(with = "Option<BTreeMap<String, Vec<String>>>", extend("default" = {}))]
    pub(super) metrics: Option<BTreeMap<String, Vec<Option<String>>>>,
    /// Further parameters, by export: filters such as `teamIds`, and what is special about one, such as `timeInterval`.
    #[schemars(extend("default" = {}))]
    pub(super) parameters: Option<BTreeMap<String, BTreeMap<String, Values>>>,
    /// Publishing exports, name: export id. Each becomes a stream and a table `marketing_NAME`.
    #[schemars(extend("default" = {}))]
    pub(super) marketing: Option<BTreeMap<String, String>>,
    /// How far back the vendor serves. Windows before that are skipped.
    #[schemars(extend("default" = "546d"))]
    pub(super) history: Option<Span>,
    /// How patiently export jobs are asked after.
    pub(super) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum KhorosFormat {
    Json,
    Csv,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum KhorosMethod {
    Post,
    Get,
}

/// One value or a list of them. An item that was refused is none.
#[derive(Debug)]
pub(super) struct Values(pub(super) Vec<Option<String>>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a list of values")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(vec![Some(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Values, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(Values)
    }
}

impl JsonSchema for Values {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = ["string", "number", "boolean"];
        json_schema!({ "anyOf": [
            { "type": value },
            { "type": "array", "minItems": 1, "items": { "type": value } },
        ] })
    }
}

/// The keys of a Lexer Activity connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LexerActivity {
    /// The API token, of type Activity.
    pub(super) api_token: Option<Credential>,
    /// Where the status of CSV jobs is asked for: the vendor's second host. The token goes there too.
    #[schemars(extend("default" = "https://clients.lexer.io"))]
    pub(super) status_base_url: Option<String>,
    /// Ids of the forms that NPS reports are read for; left out, all that the vendor calls NPS surveys.
    #[schemars(with = "Option<Vec<Whole>>", extend("default" = []))]
    pub(super) forms: Option<Vec<Option<Whole>>>,
    /// Which submissions NPS reports count.
    #[schemars(extend("default" = "all"))]
    pub(super) nps_category: Option<String>,
    /// The one offset that windows are asked for with and intervals are local to.
    #[schemars(regex(pattern = r"^[+-][0-9]{2}:[0-9]{2}$"), extend("default" = "+00:00"))]
    pub(super) utc_offset: Option<String>,
    /// Further fields of every report's body, such as filters; a value that reads as a number or a flag is sent as one.
    #[schemars(extend("default" = {}))]
    pub(super) parameters: Option<BTreeMap<String, serde_json::Value>>,
    /// The report type that the stream `workflow_states` asks for.
    #[schemars(extend("default" = "user_volume"))]
    pub(super) workflow_states_type: Option<String>,
    /// What the column `unit` of `response_volume` says.
    #[schemars(extend("default" = "unknown"))]
    pub(super) response_volume_unit: Option<LexerUnit>,
    /// How patiently CSV jobs are asked after.
    pub(super) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum LexerUnit {
    Unknown,
    Seconds,
    Minutes,
}

/// The keys of a JAICP Reporter connection beyond those of every connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JaicpReporter {
    /// The API token: of the project (`api: legacy`), or of the account (`api: v1`).
    pub(super) token: Option<Credential>,
    /// Generation of the interface that the token is for.
    #[schemars(extend("default" = "legacy"))]
    pub(super) api: Option<JaicpApi>,
    /// Short name of the project, such as `my_bot-1000-abc`; `api: v1` needs it.
    pub(super) project: Option<String>,
    /// Rows asked for per page.
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    pub(super) page_size: Option<Whole>,
    /// Load the delivery status of messages in Telegram, Viber and VK too: one call more for every session.
    #[schemars(extend("default" = false))]
    pub(super) message_status: Option<Flag>,
    /// HTTP verb of the list of a session's messages; `auto` tries GET, then POST.
    #[schemars(extend("default" = "auto"))]
    pub(super) by_session_method: Option<JaicpBySession>,
    /// Language of the titles in reports, such as `en` or `ru`.
    #[schemars(extend("default" = "en"))]
    pub(super) language: Option<String>,
    /// Number sent as the `Timezone` header of statistics and reports; left out, none is sent.
    #[schemars(range(min = -86400, max = 86400))]
    pub(super) timezone_offset: Option<Whole>,
    /// How patiently report tasks are asked after.
    pub(super) polling: Option<Polling>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum JaicpApi {
    Legacy,
    V1,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum JaicpBySession {
    Auto,
    Get,
    Post,
}

/// What a job reads, or what `tidegate push` sends for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Name of the connection to read from, or to send to.
    pub(super) connection: Option<String>,
    /// The streams to read, or `"*"` for all but those off by default.
    pub(super) streams: Option<Streams>,
    /// Instead of `streams`: what `tidegate push` sends, at its command only.
    pub(super) push: Option<Push>,
    /// Cron expression of 5 fields, 6 with seconds, or `@hourly` and the like; left out, the job only runs by hand.
    pub(super) schedule: Option<String>,
    /// IANA zone in which the schedule fires and days begin.
    #[schemars(extend("default" = "UTC"))]
    pub(super) timezone: Option<String>,
    /// Firings missed while nothing ran: run the `latest` one, `all` of them or `none`.
    #[schemars(extend("default" = "latest"))]
    pub(super) catch_up: Option<CatchUp>,
    /// First day to read, in `timezone`.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub(super) start: Option<String>,
    /// Length of the windows that are read: whole days, or a part of a day that divides it evenly. Left out, every stream
    /// has its own, mostly `1d` (`tidegate streams`).
    pub(super) slice: Option<Span>,
    /// Finished slices this far behind are read again, for what the vendor changes late.
    #[schemars(extend("default" = "1d"))]
    pub(super) lookback: Option<Span>,
    /// Never read closer to now than this.
    #[schemars(extend("default" = "10m"))]
    pub(super) settle: Option<Span>,
    /// Higher goes first when a quota is scarce.
    #[schemars(range(min = -1000, max = 1000), extend("default" = 0))]
    pub(super) priority: Option<Whole>,
    /// A run that takes longer is stopped at its next checkpoint and fails.
    #[schemars(extend("default" = "6h"))]
    pub(super) timeout: Option<Span>,
    /// A paused job runs only when it is named.
    #[schemars(extend("default" = false))]
    pub(super) paused: Option<Flag>,
}

/// Rows of the warehouse as records of a Lynn campaign.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Push {
    /// A query of the warehouse, one record a row. It runs in a read-only transaction.
    pub(super) query: Option<String>,
    /// The campaign that takes the records.
    pub(super) campaign_id: Option<String>,
    /// The WhatsApp template, a GUID.
    pub(super) template_id: Option<String>,
    /// The vendor documents 0 and no other value.
    #[schemars(range(min = 0, max = 2_147_483_647), extend("default" = 0))]
    pub(super) type_of_data: Option<Whole>,
    /// Label of a column of the template: column of the query.
    pub(super) columns: Option<BTreeMap<String, String>>,
    /// Columns of the query that identify a row: one that was sent is not sent again.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) key: Option<Vec<Option<String>>>,
    /// Rows sent in one call.
    #[schemars(range(min = 1, max = 10000), extend("default" = 100))]
    pub(super) batch_size: Option<Whole>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum CatchUp {
    Latest,
    All,
    None,
}

/// `"*"` or a list. An item that was refused is none, so that the others keep their numbers.
#[derive(Debug)]
pub(super) enum Streams {
    All,
    Listed(Vec<Option<Entry>>),
}

impl<'de> Deserialize<'de> for Streams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StreamsVisitor)
    }
}

struct StreamsVisitor;

impl<'de> Visitor<'de> for StreamsVisitor {
    type Value = Streams;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of streams or `\"*\"`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Streams, E> {
        match text {
            "*" => Ok(Streams::All),
            // The value may be a credential that stands in the wrong place: whoever shows faults knows.
            _ => Err(E::custom("is no list of streams; put it in brackets, or write `\"*\"` for all of them")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Streams, A::Error> {
        let entries = Vec::deserialize(SeqAccessDeserializer::new(items))?;
        let all = matches!(entries.as_slice(), [Some(Entry { name: Some(name), plain: true, .. })] if name == "*");
        Ok(if all { Streams::All } else { Streams::Listed(entries) })
    }
}

impl JsonSchema for Streams {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Streams".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<EntryMap>();
        json_schema!({ "anyOf": [
            { "const": "*" },
            { "type": "array", "minItems": 1, "items": { "anyOf": [{ "type": "string" }, entry] } },
        ] })
    }
}

/// One stream of a job: its name, or a map.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) slice: Option<Span>,
    pub(super) lookback: Option<Span>,
    pub(super) key: Option<Vec<Option<String>>>,
    pub(super) columns: Option<NewFields>,
    /// It was written as a name alone.
    pub(super) plain: bool,
}

/// A stream with settings of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EntryMap {
    /// Name of the stream.
    name: Option<String>,
    /// Instead of the job's.
    slice: Option<Span>,
    /// Instead of the job's.
    lookback: Option<Span>,
    /// The fields that identify a row, as the vendor names them, where you know better than the documentation.
    #[schemars(with = "Option<Vec<String>>")]
    key: Option<Vec<Option<String>>>,
    /// A field without a column is kept in `_extra` (`extra`) or gets a column (`add`).
    columns: Option<NewFields>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum NewFields {
    Extra,
    Add,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a stream, or a map with `name`")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Entry, E> {
        Ok(Entry { name: Some(name.to_owned()), plain: true, ..Entry::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        let EntryMap { name, slice, lookback, key, columns } = EntryMap::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Entry { name, slice, lookback, key, columns, plain: false })
    }
}
