//! Logs in to the database and to every connection.
//!
//! A login is a call like any other: it is reserved in the ledger before it is sent (promise 2), and the ledger is in
//! the database. So nothing is sent while the database is unreachable or has no schema.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::join_all;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::timeout;

use super::super::by_hand::{self, DATABASE_WITHIN, Failure};
use super::super::context::{newer, require_schema};
use super::super::{CommandError, Context};
use super::warehouse::Warehouse;
use crate::app::database_place;
use crate::config::Config;
use crate::connector::Connection;
use crate::mart::state::State;
use crate::store::distribution::{self, Distribution};
use crate::store::fitness::Unfit;
use crate::store::migrate::{self, ReaderRole};
use crate::store::session;
use crate::store::trouble::{chain, is_read_only};
use crate::worker::policy::{self, TaskError};
use crate::worker::{accounts, hint};

/// Maximum number of relations in a warning about missing rights.
const RELATIONS_MAX: usize = 10;

/// The result of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Finding {
    Ok {
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    Failed {
        error: String,
        hint: String,
        /// SQL that an administrator has to run.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        statements: Vec<String>,
    },
    #[default]
    NotChecked,
}

/// The findings, connections by name.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) database: Finding,
    pub(super) connections: BTreeMap<String, Finding>,
    pub(super) warehouse: Option<Warehouse>,
    /// Warnings about the database, which follow those about the configuration.
    pub(super) warnings: Vec<String>,
}

impl Finding {
    pub(super) const fn is_bad(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    fn of(error: &anyhow::Error) -> Self {
        if let Some(unfit) = error.chain().find_map(|cause| cause.downcast_ref::<Unfit>()) {
            let Unfit { hint, statements, .. } = unfit.clone();
            return Self::Failed { error: unfit.to_string(), hint, statements };
        }
        let hint = match error.downcast_ref() {
            Some(CommandError::Failed { hint, .. }) => hint.clone(),
            _ if is_read_only(error.as_ref()) => session::ONLY_READS_HINT.to_owned(),
            _ => "see `database` and `embedded` in the configuration, and the server's log".to_owned(),
        };
        Self::failed(chain(error.as_ref()), hint)
    }

    const fn failed(error: String, hint: String) -> Self {
        Self::Failed { error, hint, statements: Vec::new() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { detail: Some(detail) } => write!(formatter, "ok, {detail}"),
            Self::Ok { detail: None } => formatter.write_str("ok"),
            Self::Failed { .. } => formatter.write_str("failed"),
            Self::NotChecked => formatter.write_str("not checked"),
        }
    }
}

/// The address of the database, without user and password.
pub(super) fn place(config: &Config) -> String {
    let embedded = || format!("embedded in {}", config.embedded.data_dir.display());
    database_place(&config.database.target).unwrap_or_else(embedded)
}

/// Checks everything that can be reached. An error means that the command was interrupted.
pub(super) async fn all(context: &Context) -> anyhow::Result<Probes> {
    if let Err(error) = context.require_cluster() {
        return Ok(Probes { database: Finding::of(&error.into()), ..Probes::default() });
    }
    let probing = context.with_database(async |database| {
        let reply = timeout(DATABASE_WITHIN, ask(&database.pool, &context.config));
        let Answer { detail, warehouse, warnings } = reply.await.unwrap_or_else(|_| Err(silent_database().into()))?;
        let logins = context
            .config
            .connections
            .values()
            .map(|connection| async { (connection.name.clone(), log_in(&database.pool, connection).await) });
        let connections = Box::pin(join_all(logins)).await.into_iter().collect();
        Ok(Probes { database: Finding::Ok { detail: Some(detail) }, connections, warehouse, warnings })
    });
    match Box::pin(probing).await {
        Err(error) if matches!(error.downcast_ref(), Some(CommandError::Interrupted)) => Err(error),
        Err(error) => Ok(Probes { database: Finding::of(&error), ..Probes::default() }),
        Ok(probes) => Ok(probes),
    }
}

fn silent_database() -> CommandError {
    CommandError::failed("it does not respond", "check its log and its load, then try again")
}

/// What the database says of itself.
struct Answer {
    /// A description.
    detail: String,
    warehouse: Option<Warehouse>,
    warnings: Vec<String>,
}

async fn ask(pool: &PgPool, config: &Config) -> anyhow::Result<Answer> {
    let (mart, distribution) = (&config.mart, config.database.distribution);
    let mut conn = pool.acquire().await?;
    match migrate::examine(pool, &mut conn, distribution).await {
        Err(migrate::Error::Newer(version)) => return Err(newer(version).into()),
        outcome => outcome?,
    };
    require_schema(&mut conn).await?;
    let version = sqlx::query_scalar!(r#"select current_setting('server_version') as "version!""#);
    let mut detail = format!("PostgreSQL {}", version.fetch_one(&mut *conn).await?);
    if distribution == Distribution::Citus {
        detail = format!("{detail}, {}", distribution::describe(&mut conn).await?);
    }
    let mut warnings: Vec<String> = migrate::reader_roles(&mut conn).await?.iter().filter_map(unready).collect();
    if !mart.columns.is_empty() {
        warnings.extend(super::super::mart::warnings(&State::read(&mut conn).await?.columns(), mart));
    }
    let warehouse = Warehouse::read(&mut conn, config).await?;
    Ok(Answer { detail, warehouse, warnings })
}

/// The warning about a role that does not exist or lacks rights. Users' programs need the role; Tidegate works without
/// it.
fn unready(role: &ReaderRole) -> Option<String> {
    let ReaderRole { name, is_there, lacking } = role;
    if !is_there {
        let what = if name == "tidegate_analyst" { "the mart without contact data" } else { "the reports" };
        return Some(format!(
            "the role `{name}` does not exist, so no user can get the right to read {what}: an administrator must run \
             `create role {name} nologin;`, then run `tidegate migrate`"
        ));
    }
    let (first, count) = (lacking.first()?, lacking.len());
    let schema = |relation: &str| relation.split_once('.').map_or("", |(schema, _)| schema).to_owned();
    let mut schemas: Vec<String> = lacking.iter().map(|relation| schema(relation)).collect();
    schemas.dedup();
    let (shown, more) = match count.checked_sub(RELATIONS_MAX) {
        Some(more @ 1..) => (&lacking[..RELATIONS_MAX], format!(" The same for {more} others.")),
        _ => (lacking.as_slice(), String::new()),
    };
    Some(format!(
        "the role `{name}` may not read {count} of its relations, such as {first}. If nobody revoked the right on \
         purpose, run `grant usage on schema {} to {name}; grant select on {} to {name};`.{more}",
        schemas.join(", "),
        shown.join(", "),
    ))
}

async fn log_in(pool: &PgPool, connection: &Connection) -> Finding {
    if let Err(error) = accounts::compare(pool, connection).await {
        let error = TaskError::from(error);
        let hint = hint::named(policy::hint(&error), "JOB", "S", &connection.name);
        return Finding::failed(error.to_string(), hint);
    }
    match by_hand::call(pool, connection, async |source, session| source.log_in(session).await).await {
        Ok(()) => Finding::Ok { detail: None },
        Err(Failure { error, hint }) => Finding::failed(error, hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_is_missing_or_lacks_rights_gets_a_warning_with_the_remedy() {
        let role = |is_there, lacking: &[&str]| ReaderRole {
            name: "tidegate_analyst".to_owned(),
            is_there,
            lacking: lacking.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(unready(&role(true, &[])), None);
        let missing = unready(&role(false, &[])).unwrap();
        assert!(missing.contains("`create role tidegate_analyst nologin;`, then run `tidegate migrate`"), "{missing}");
        let lacking = unready(&role(true, &["mart.agents", "mart.\"A\""])).unwrap();
        assert!(lacking.contains("2 of its relations") && lacking.ends_with(
            "`grant usage on schema mart to tidegate_analyst; grant select on mart.agents, mart.\"A\" to tidegate_analyst;`."
        ), "{lacking}");
        let many = unready(&role(true, &["mart.a"; 12])).unwrap();
        assert!(many.ends_with("The same for 2 others."), "{many}");
    }
}
