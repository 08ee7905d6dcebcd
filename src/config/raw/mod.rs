//! The configuration as it is written: every key is optional, unknown keys are refused, and nothing else is checked.
//!
//! Editors show the doc comments (`tidegate schema`). A test compares the stated defaults with the real ones. The keys
//! of connections are defined in [`crate::connector`].

mod job;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{LogFormat, MetricsPer, NotifyFormat, Partition, SslMode};
use crate::settings::{Bool, Credential, DurationText, Entries, Integer, Keep, Months};
use crate::store::distribution::Distribution;
use crate::store::topic::Topic;

pub(super) use job::*;

/// Configuration of Tidegate: connections to vendors, and the jobs that load their reports into Postgres.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    /// The Postgres database to load into.
    pub(super) database: Option<Database>,
    /// The private Postgres that is used when `database` names no server.
    pub(super) embedded: Option<Embedded>,
    /// How tables are divided, and how long their rows are kept.
    pub(super) warehouse: Option<Warehouse>,
    /// The HTTP server for status page, metrics and health.
    pub(super) server: Option<Server>,
    /// Whom the daemon tells of problems, and of their end.
    #[schemars(with = "Option<Vec<Notify>>")]
    pub(super) notify: Option<Vec<Option<Notify>>>,
    /// How this process works.
    pub(super) worker: Option<Worker>,
    /// How long history is kept.
    pub(super) history: Option<History>,
    /// What is logged.
    pub(super) log: Option<Log>,
    /// The views for analysts, in the schema `mart`.
    pub(super) mart: Option<Mart>,
    /// Accounts at vendors, by name.
    pub(super) connections: Option<Entries>,
    /// Jobs, by name: what is read and when.
    pub(super) jobs: Option<Entries>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    /// `postgres://user:password@host:5432/database`; without `url` and `host`, a private embedded Postgres is run.
    pub(super) url: Option<Credential>,
    /// Instead of `url`: a host name, an IP address, or the absolute path of a socket's folder.
    pub(super) host: Option<String>,
    /// With `host`: the port; the default is 5432.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<Integer>,
    /// With `host`: the database.
    pub(super) name: Option<String>,
    /// With `host`: the role.
    pub(super) user: Option<String>,
    /// With `host`: the role's password, not encoded.
    pub(super) password: Option<Credential>,
    /// With `host`: how the connection is encrypted; the default is `prefer`.
    pub(super) sslmode: Option<SslMode>,
    /// With `host`: a PEM file of additional authorities that may have signed the server's certificate.
    pub(super) sslrootcert: Option<String>,
    /// Maximum number of connections of this process to the database.
    #[schemars(range(min = 1, max = 1000), extend("default" = 8))]
    pub(super) max_connections: Option<Integer>,
    /// Where the rows of reports are: on the server (`none`), or on the nodes of a Citus cluster whose coordinator is
    /// named here (`citus`).
    #[schemars(extend("default" = "none"))]
    pub(super) distribute: Option<Distribution>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Embedded {
    /// The folder of the embedded Postgres cluster.
    #[schemars(extend("default" = "./data/postgres"))]
    pub(super) data_dir: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Warehouse {
    /// `month` divides tables of windows by the month of `_window_start`; `none` leaves every table as it is.
    #[schemars(extend("default" = "none"))]
    pub(super) partition: Option<Partition>,
    /// For how long rows are kept, in whole months or years: `36 months`. `0` keeps all.
    #[schemars(extend("default" = 0))]
    pub(super) keep: Option<Months>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    /// Address and port of status page, `/metrics`, `/healthz` and `/readyz`.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub(super) listen: Option<String>,
    /// Where people reach the status page, for links in messages: `https://tidegate.example.com`. Without it, messages
    /// have no links.
    pub(super) url: Option<String>,
    /// What this installation is called in messages, so that test and production differ.
    #[schemars(extend("default" = "Tidegate"))]
    pub(super) title: Option<String>,
    /// A login for pages, API and metrics. Without it, everyone who reaches the port can read them, and nobody can
    /// change anything there.
    pub(super) auth: Option<Auth>,
    /// What has values of its own in `/metrics`: every `stream` and job, or only every `connection`, which thousands of
    /// streams need.
    #[schemars(extend("default" = "stream"))]
    pub(super) metrics_per: Option<MetricsPer>,
    /// Further addresses under which people reach the pages, if a proxy changes the name:
    /// `https://tidegate.example.com`.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) origins: Option<Vec<Option<String>>>,
}

/// A receiver of notifications.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    /// Name in logs, metrics and `tidegate notify`; by default the host of `url`.
    pub(super) name: Option<String>,
    /// Where messages are sent. It is a credential.
    pub(super) url: Option<Credential>,
    /// `slack` for incoming webhooks of Slack, Mattermost and Rocket.Chat; `cloudevents` for programs.
    pub(super) format: Option<NotifyFormat>,
    /// What the target receives: kinds of problems, `recovered`, `run_finished` and `action`; by default all except
    /// `schema`, `run_finished` and `action`.
    #[schemars(with = "Option<Vec<Topic>>")]
    pub(super) on: Option<Vec<Option<Topic>>>,
    /// Only problems, runs and actions of these connections and jobs.
    pub(super) only: Option<NotifyOnly>,
    /// Additional headers of each request, such as `Authorization`. Their values are credentials.
    #[schemars(with = "Option<BTreeMap<String, Credential>>")]
    pub(super) headers: Option<BTreeMap<String, Option<Credential>>>,
    /// With `format: cloudevents`: `whsec_` and a key in base64, with which messages are signed.
    pub(super) secret: Option<Credential>,
    /// How often a reminder of a problem that stays open is sent.
    #[schemars(extend("default" = "24h"))]
    pub(super) repeat: Option<DurationText>,
}

/// The connections and jobs about which a target receives messages.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyOnly {
    /// Names of connections.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) connections: Option<Vec<Option<String>>>,
    /// Names of jobs.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) jobs: Option<Vec<Option<String>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    /// The name that people log in with.
    pub(super) user: Option<String>,
    /// The password of `user`: at least 12 characters.
    pub(super) password: Option<Credential>,
    /// For scripts and Prometheus, as a bearer token: at least 12 characters. Without it, only the password is
    /// accepted.
    pub(super) token: Option<Credential>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    /// Maximum number of concurrent runs in this process.
    #[schemars(range(min = 1, max = 256), extend("default" = 4))]
    pub(super) concurrency: Option<Integer>,
    /// A run whose worker is silent for this long is taken over by another.
    #[schemars(extend("default" = "60s"))]
    pub(super) lease: Option<DurationText>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the keys that users write")]
pub(super) struct History {
    /// How long runs that have ended are kept: a duration, or `forever`.
    #[schemars(extend("default" = "forever"))]
    pub(super) keep_runs: Option<Keep>,
    /// How long records that could not become rows are kept: a duration, or `forever`. They contain customers' texts.
    #[schemars(extend("default" = "90d"))]
    pub(super) keep_rejects: Option<Keep>,
    /// How long events and problems that are over are kept: a duration, or `forever`.
    #[schemars(extend("default" = "90d"))]
    pub(super) keep_events: Option<Keep>,
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

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mart {
    /// IANA zone of the column `day`.
    #[schemars(extend("default" = "UTC"))]
    pub(super) timezone: Option<String>,
    /// By table and field: the column that feeds the field. `tidegate mart` shows the fields.
    pub(super) fields: Option<BTreeMap<String, BTreeMap<String, Option<String>>>>,
    /// By vendor and channel as the vendor names it: the channel in the views.
    pub(super) channels: Option<BTreeMap<String, BTreeMap<String, Option<String>>>>,
    /// Store the rows of the large views and refresh them after runs, instead of computing them at every query: for
    /// warehouses of many millions of rows.
    #[schemars(extend("default" = false))]
    pub(super) materialize: Option<Bool>,
}
