//! The baselines ("floors"): the same rows, loaded by psql in the same run, into a table of the same shape or into one
//! that has only the vendor's columns and key.

use std::path::{Path, PathBuf};

use sqlx::AssertSqlSafe;

use crate::process::{self, Ended};
use crate::server::Server;

/// psql's tables, next to the measured one.
const STAGE: &str = "floor_stage";
const KEYED: &str = "floor_keyed";
const PLAIN: &str = "floor_plain";

/// How psql loads a file of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// `\copy` directly into the keyed table, which is empty.
    Plain,
    /// `\copy` into an unlogged table, then `insert … on conflict do update`.
    Staged,
}

pub struct Floors<'a> {
    pub server: &'a Server,
    pub database: &'a str,
    /// The columns of psql's tables.
    columns: String,
    upsert: String,
}

impl<'a> Floors<'a> {
    /// Creates empty tables with the shape of `table`; with `natural_key`, with the vendor's columns and that key.
    pub async fn new(
        server: &'a Server,
        database: &'a str,
        table: &str,
        natural_key: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut connection = server.connect(database).await?;
        let columns: Vec<String> = sqlx::query_scalar(
            "select quote_ident(attname) from pg_attribute
            where attrelid = $1::regclass and attnum > 0 and not attisdropped and ($2 or attname !~ '^_')
            order by attnum",
        )
        .bind(table)
        .bind(natural_key.is_none())
        .fetch_all(&mut connection)
        .await?;
        let listed = columns.join(", ");
        let create = |name: &str| match natural_key {
            None => format!("create table {name} (like {table} including indexes);"),
            Some(key) => format!(
                "create table {name} as select {listed} from {table} with no data;
                alter table {name} add primary key ({key});"
            ),
        };
        let stage = format!("create unlogged table {STAGE} as select {listed} from {table} with no data;");
        server.execute(database, &[stage, create(KEYED), create(PLAIN)].concat()).await?;
        let key: Vec<String> = sqlx::query_scalar(
            "select quote_ident(attname) from pg_index inner join pg_attribute
                on attrelid = indrelid and attnum = any(indkey)
            where indrelid = $1::regclass and indisprimary",
        )
        .bind(KEYED)
        .fetch_all(&mut connection)
        .await?;
        let assignments: Vec<String> = columns
            .iter()
            .filter(|column| !key.contains(column))
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let upsert = format!(
            "insert into {KEYED} select * from {STAGE} on conflict ({}) do update set {}",
            key.join(", "),
            assignments.join(", ")
        );
        Ok(Self { server, database, columns: listed, upsert })
    }

    /// The rows of `table` ordered by `order`, in the format that psql reads.
    pub async fn export(&self, table: &str, order: &str, path: PathBuf) -> anyhow::Result<PathBuf> {
        let mut psql = self.server.psql(self.database);
        psql.args([
            "-c",
            &format!("\\copy (select {} from {table} order by {order}) to '{}'", self.columns, path.display()),
        ]);
        tokio::task::spawn_blocking(|| process::run(psql)).await??;
        Ok(path)
    }

    pub async fn load(&self, floor: Floor, file: &Path) -> anyhow::Result<Ended> {
        let mut psql = self.server.psql(self.database);
        let copy = |table: &str| format!("\\copy {table} from '{}'", file.display());
        match floor {
            Floor::Plain => psql.args(["-c", &copy(PLAIN)]),
            Floor::Staged => psql.args(["-c", &copy(STAGE), "-c", &self.upsert]),
        };
        tokio::task::spawn_blocking(|| process::run(psql)).await?
    }

    /// Empties what the next load must find empty.
    pub async fn clear(&self) -> anyhow::Result<()> {
        self.server.execute(self.database, &format!("truncate {STAGE}, {PLAIN}")).await
    }

    /// Whether psql's table equals `table`, except for who loaded the rows and when.
    pub async fn agrees(&self, table: &str) -> anyhow::Result<bool> {
        let digest = |table: &str| {
            format!(
                "select coalesce(sum(hashtextextended((to_jsonb(t) - '_run_id' - '_loaded_at')::text, 0) % 1000000007), 0)::bigint
                from (select {} from {table}) as t",
                self.columns
            )
        };
        let mut connection = self.server.connect(self.database).await?;
        let mut sums = Vec::new();
        for table in [table, KEYED] {
            let sum: i64 = sqlx::query_scalar(AssertSqlSafe(digest(table))).fetch_one(&mut connection).await?;
            sums.push(sum);
        }
        Ok(sums[0] == sums[1])
    }
}
