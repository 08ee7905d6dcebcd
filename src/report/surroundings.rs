//! What every page shows: the number of open problems, the pauses, and whether anything can be loaded.

use sqlx::PgConnection;

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
}

impl Surroundings {
    pub async fn read(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query!(
            r#"
            select
                open.problems as "problems!",
                -- The transaction of a page is read only itself.
                current_setting('default_transaction_read_only') = 'on' or pg_is_in_recovery() as "only_reads!",
                pause.job as "job?",
                pause.until as "until?",
                pause.reason as "reason?",
                pause.actor as "actor?",
                pause.since as "since?"
            from (
                select count(*) as problems
                from tidegate.problem
                where
                    closed_at is null
                    and opened_at is not null
                    and kind <> 'schema'
                    and not coalesce(muted_until > statement_timestamp(), false)
            ) as open
            left join tidegate.pause on pause.until > statement_timestamp()
            order by pause.job
            "#
        )
        .fetch_all(conn)
        .in_time()
        .await?;
        let (problems, only_reads) = rows.first().map_or((0, false), |row| (row.problems, row.only_reads));
        let pauses = rows.into_iter().filter_map(|row| {
            Some(Pause { job: row.job?, until: row.until?, reason: row.reason?, actor: row.actor?, since: row.since? })
        });
        Ok(Self { problems, pauses: pauses.collect(), only_reads })
    }

    /// The pause of every job.
    pub fn pause_of_everything(&self) -> Option<&Pause> {
        self.pauses.iter().find(|pause| pause.job == EVERYTHING)
    }
}
