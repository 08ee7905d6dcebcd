//! What every page shows: the number of open problems, the pauses, and whether anything can be loaded.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::store::pause::{EVERYTHING, Pause};
use crate::store::session::Deadline as _;

#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Open problems that need a person: those that are not muted and are not about changed columns.
    pub problems: i64,
    /// The pauses in force.
    pub pauses: Vec<Pause>,
    /// Whether the server can only be read, so that nothing is loaded.
    pub only_reads: bool,
    /// The daemons that run.
    pub daemons: Vec<Daemon>,
    /// The daemon that was seen last, if none runs.
    pub last_daemon: Option<LastDaemon>,
}

/// A daemon that was seen within the last minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    /// Host, process id and start.
    pub owner: String,
    pub version: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    /// Whether it has refused the configuration on disk, so that the previous one is in force.
    pub config_refused: bool,
}

/// A daemon that was not seen for more than a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LastDaemon {
    /// Host, process id and start.
    pub owner: String,
    pub seen_at: DateTime<Utc>,
}

impl Surroundings {
    pub async fn read(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query!(
            r#"
            select
                open.problems as "problems!",
                -- The transaction of a page is read only itself.
                current_setting('default_transaction_read_only') = 'on' or pg_is_in_recovery() as "only_reads!",
                daemon.running as "running!: Json<Vec<Daemon>>",
                daemon.last_owner as "last_owner?",
                daemon.last_seen_at as "last_seen_at?",
                pause.job as "job?",
                pause.until as "until?",
                pause.reason as "reason?",
                pause.actor as "actor?",
                pause.since as "since?"
            from (
                select count(*) as problems
                from tidegate.open_problem
                where needs_operator
            ) as open
            cross join (
                select
                    coalesce(
                        jsonb_agg(
                            jsonb_build_object(
                                'owner', owner,
                                'version', version,
                                'started_at', started_at,
                                'config_refused', config_refused
                            )
                            order by started_at, owner
                        ) filter (where is_alive),
                        '[]'
                    ) as running,
                    (array_agg(owner order by seen_at desc))[1] as last_owner,
                    max(seen_at) as last_seen_at
                from (
                    select
                        owner, version, started_at, config_refused, seen_at,
                        seen_at > clock_timestamp() - interval '1 minute' as is_alive
                    from tidegate.instance
                    -- Commands record no configuration.
                    where config_hash is not null
                ) as known
            ) as daemon
            left join tidegate.pause on pause.until > statement_timestamp()
            order by pause.job
            "#
        )
        .fetch_all(conn)
        .in_time()
        .await?;
        let (problems, only_reads) = rows.first().map_or((0, false), |row| (row.problems, row.only_reads));
        let daemons = rows.first().map_or_else(Vec::new, |row| row.running.0.clone());
        let last_daemon = rows
            .first()
            .filter(|_| daemons.is_empty())
            .and_then(|row| Some(LastDaemon { owner: row.last_owner.clone()?, seen_at: row.last_seen_at? }));
        let pauses = rows.into_iter().filter_map(|row| {
            Some(Pause { job: row.job?, until: row.until?, reason: row.reason?, actor: row.actor?, since: row.since? })
        });
        Ok(Self { problems, pauses: pauses.collect(), only_reads, daemons, last_daemon })
    }

    /// The pause of every job.
    pub fn pause_of_everything(&self) -> Option<&Pause> {
        self.pauses.iter().find(|pause| pause.job == EVERYTHING)
    }
}
