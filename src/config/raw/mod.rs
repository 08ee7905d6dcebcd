//! The configuration as it is written: every key optional, unknown keys denied, nothing checked.
//!
//! The doc comments are what editors show (`tidegate schema`); the defaults beside them are held to the real ones by a
//! test. A new vendor is one file here, one arm in `check::connection` and one in `schema`.

mod jaicp;
mod job;
mod khoros;
mod lexer;
mod lynn;
mod lynn_outbound;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Amount, Credential, Entries, Keep, Span, Whole};

pub(super) use jaicp::*;
pub(super) use job::*;
pub(super) use khoros::*;
pub(super) use lexer::*;
pub(super) use lynn::*;
pub(super) use lynn_outbound::*;

/// Configuration of Tidegate: connections to vendors, and the jobs that load their reports into Postgres.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    /// The Postgres that is loaded into.
    pub(super) database: Option<Database>,
    /// The private Postgres that runs when `database` names no server.
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
    /// `postgres://user:password@host:5432/database`; without `url` and `host`, a private embedded Postgres is run.
    pub(super) url: Option<Credential>,
    /// Instead of `url`: a host name, an IP address, or the absolute path of a socket's folder.
    pub(super) host: Option<String>,
    /// Beside `host`; left out, 5432.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<Whole>,
    /// Beside `host`: the database.
    pub(super) name: Option<String>,
    /// Beside `host`: the role.
    pub(super) user: Option<String>,
    /// Beside `host`: the role's password, as it is.
    pub(super) password: Option<Credential>,
    /// Beside `host`: how the connection is encrypted; left out, `prefer`.
    pub(super) sslmode: Option<SslMode>,
    /// Beside `host`: a PEM file of further authorities that may have signed the server's certificate.
    pub(super) sslrootcert: Option<String>,
    /// Connections to the database that this process may hold.
    #[schemars(range(min = 1, max = 1000), extend("default" = 8))]
    pub(super) max_connections: Option<Whole>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
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
    /// How long runs that have ended are kept: a duration, or `forever`.
    #[schemars(extend("default" = "forever"))]
    pub(super) keep_runs: Option<Keep>,
    /// How long records that could not become rows are kept: a duration, or `forever`. They hold texts of customers.
    #[schemars(extend("default" = "90d"))]
    pub(super) keep_rejects: Option<Keep>,
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

/// How CSV files are written; what is left out is told from each file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Csv {
    /// What separates fields, one ASCII character; left out, found from the header and the first lines.
    #[schemars(length(min = 1, max = 1))]
    pub(super) delimiter: Option<String>,
    /// What surrounds fields that hold a delimiter or a line end, one ASCII character.
    #[schemars(length(min = 1, max = 1), extend("default" = "\""))]
    pub(super) quote: Option<String>,
    /// What the text is in, such as `windows-1252`; left out, what the file's Content-Type names, else UTF-8. A byte order
    /// mark says more.
    pub(super) charset: Option<String>,
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
    /// A job that takes longer is given up, and requested again.
    #[schemars(extend("default" = "6h"))]
    pub(super) deadline: Option<Span>,
}
