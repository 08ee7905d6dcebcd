//! How the tables of reports are spread over servers. With Citus, each is distributed by `_connection`: the rows of a
//! connection are on one node, where the statements of its loads run. The control tables stay on the coordinator.
//!
//! The tables and functions of Citus exist only where its extension is, so these statements are not checked at compile
//! time.

use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::fitness::{self, Unfit};
use super::ident::{standard_literal, table as qualified};
use super::session::Deadline as _;
use super::{lock, migrate, migrations};

/// Where the rows of reports are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Distribution {
    /// On the server that `database` names.
    #[default]
    None,
    /// On the nodes of a Citus cluster, whose coordinator `database` names.
    Citus,
}

/// The column that decides on which node a row is. It is part of every key.
const COLUMN: &str = "_connection";

/// The tables of reports. `$1`: their schemas.
const WAREHOUSE: &str = "
    select class.oid, namespace.nspname::text as schema, class.relname::text as name
    from pg_catalog.pg_class as class
    inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
    where
        namespace.nspname = any($1)
        and class.relkind in ('r', 'p')
        and not class.relispartition
        and (
            select count(*)
            from pg_catalog.pg_attribute as attribute
            where
                attribute.attrelid = class.oid
                and attribute.attname in ('_connection', '_run_id')
                and not attribute.attisdropped
        ) = 2
";

/// A table of reports.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Name {
    schema: String,
    name: String,
}

impl Name {
    fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The statement that brings the table back to the coordinator.
    fn undistribute(&self) -> String {
        format!("select undistribute_table({});", standard_literal(&qualified(&self.schema, &self.name)))
    }
}

/// The tables of reports for which a condition holds. In it, `warehouse` is the table, and `part` its row in Citus's
/// catalogue, null if it has none.
async fn tables(connection: &mut PgConnection, condition: &str) -> Result<Vec<Name>, sqlx::Error> {
    let schemas: Vec<String> = migrations::schemas()
        .into_iter()
        .map(|schema| schema.name)
        .filter(|name| !matches!(&**name, "tidegate" | "mart"))
        .collect();
    let statement = format!(
        "
        select warehouse.schema, warehouse.name
        from ({WAREHOUSE}) as warehouse
        left join pg_catalog.pg_dist_partition as part on part.logicalrelid = warehouse.oid
        where {condition}
        order by warehouse.schema, warehouse.name
        "
    );
    sqlx::query_as(AssertSqlSafe(statement)).persistent(false).bind(schemas).fetch_all(connection).in_time().await
}

/// The version of Citus in this database. `None` without it.
async fn version(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let statement = "select extversion from pg_catalog.pg_extension where extname = 'citus'";
    sqlx::query_scalar(statement).fetch_optional(connection).in_time().await
}

/// Refuses a database that does not suit the setting.
pub(super) async fn require(connection: &mut PgConnection, distribution: Distribution) -> Result<(), fitness::Error> {
    let is_there = version(connection).await?.is_some();
    match (distribution, is_there) {
        (Distribution::None, false) => Ok(()),
        (Distribution::None, true) => require_undistributed(connection).await,
        (Distribution::Citus, false) => Err(without_extension(connection).await?.into()),
        (Distribution::Citus, true) => require_coordinator(connection).await,
    }
}

/// The statements for tables on one server are refused by Citus, or far too slow, if a table is distributed.
async fn require_undistributed(connection: &mut PgConnection) -> Result<(), fitness::Error> {
    let distributed = tables(connection, "part.logicalrelid is not null").await?;
    let Some(first) = distributed.first() else { return Ok(()) };
    let which = match distributed.len() {
        1 => format!("the table {} is", first.shown()),
        all => format!("{all} tables of reports, such as {}, are", first.shown()),
    };
    Err(fitness::Error::Unfit(Unfit {
        problems: vec![format!("{which} distributed with Citus, but `database.distribute` is `none`")],
        hint:
            "set `database.distribute` to `citus`. Or, to have all rows on the coordinator again, stop Tidegate, and \
               the owner of the tables runs"
                .to_owned(),
        statements: distributed.iter().map(Name::undistribute).collect(),
    }))
}

async fn without_extension(connection: &mut PgConnection) -> Result<Unfit, sqlx::Error> {
    let (is_installed, database): (bool, String) = sqlx::query_as(
        "
        select
            exists (select from pg_catalog.pg_available_extensions where name = 'citus'),
            format('%I', current_database())
        ",
    )
    .fetch_one(connection)
    .in_time()
    .await?;
    let problem = "`database.distribute` is `citus`, but the database has no extension citus".to_owned();
    Ok(if is_installed {
        Unfit {
            problems: vec![problem],
            hint: format!("a superuser runs in the database {database}, on the coordinator and on every worker"),
            statements: vec!["create extension citus;".to_owned()],
        }
    } else {
        Unfit {
            problems: vec![format!("{problem}, and the server does not offer it")],
            hint:
                "install Citus on the servers of the cluster and name its coordinator in `database`, as docs/citus.md \
                   shows; or set `database.distribute` to `none`"
                    .to_owned(),
            statements: Vec::new(),
        }
    })
}

async fn require_coordinator(connection: &mut PgConnection) -> Result<(), fitness::Error> {
    let (group, nodes, holding): (i32, i64, i64) = sqlx::query_as(
        "
        select
            coalesce((select max(groupid) from pg_catalog.pg_dist_local_group), 0),
            (select count(*) from pg_catalog.pg_dist_node),
            (
                select count(*)
                from pg_catalog.pg_dist_node
                where shouldhaveshards and isactive and noderole::text = 'primary'
            )
        ",
    )
    .fetch_one(&mut *connection)
    .in_time()
    .await?;
    let unfit = |problem: &str, hint: &str| {
        let (problems, hint) = (vec![problem.to_owned()], hint.to_owned());
        Err(fitness::Error::Unfit(Unfit { problems, hint, statements: Vec::new() }))
    };
    if group != 0 {
        return unfit("this server is a worker of the Citus cluster", "name the coordinator in `database`");
    }
    // A coordinator without any node holds the rows itself.
    if nodes > 0 && holding == 0 {
        return unfit(
            "no active node of the Citus cluster may hold rows",
            "a superuser adds a worker on the coordinator, with `select citus_add_node('HOST', PORT);`, or lets a node \
             hold rows, with `select citus_set_node_property('HOST', PORT, 'shouldhaveshards', true);`",
        );
    }
    let condition = "
        part.logicalrelid is not null
        and pg_catalog.column_to_column_name(part.logicalrelid, part.partkey) is distinct from '_connection'
    ";
    let otherwise = tables(connection, condition).await?;
    if otherwise.is_empty() {
        return Ok(());
    }
    let problem = |table: &Name| format!("the table {} is distributed, but not by `{COLUMN}`", table.shown());
    Err(fitness::Error::Unfit(Unfit {
        problems: otherwise.iter().map(problem).collect(),
        hint: "stop Tidegate; the owner of the tables runs what follows, and then `tidegate migrate` distributes them"
            .to_owned(),
        statements: otherwise.iter().map(Name::undistribute).collect(),
    }))
}

/// The cluster in a few words, for `tidegate check`. Only for a database that has Citus.
pub async fn describe(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let version = version(connection).await?.unwrap_or_default();
    let nodes: i64 =
        sqlx::query_scalar("select count(*) from pg_catalog.pg_dist_node where shouldhaveshards and isactive")
            .fetch_one(&mut *connection)
            .in_time()
            .await?;
    let nodes = match nodes {
        0 => "the coordinator holds the rows".to_owned(),
        1 => "1 node holds rows".to_owned(),
        nodes => format!("{nodes} nodes hold rows"),
    };
    let left = tables(connection, "part.logicalrelid is null").await?.len();
    Ok(match left {
        0 => format!("Citus {version}, {nodes}"),
        1 => format!("Citus {version}, {nodes}, 1 table is to be distributed by `tidegate migrate`"),
        left => format!("Citus {version}, {nodes}, {left} tables are to be distributed by `tidegate migrate`"),
    })
}

/// Whether the table is distributed. Only for a database that has Citus.
pub async fn is_distributed(connection: &mut PgConnection, schema: &str, name: &str) -> Result<bool, sqlx::Error> {
    let statement = "
        select exists (select from pg_catalog.pg_dist_partition where logicalrelid = to_regclass($1))
    ";
    sqlx::query_scalar(statement).persistent(false).bind(qualified(schema, name)).fetch_one(connection).in_time().await
}

/// Distributes the tables of reports that are not distributed yet, each in a transaction of its own. This has no
/// deadline, because rows that are there already are copied to the nodes; but no lock is waited for longer than 3 s.
pub(super) async fn distribute_all(connection: &mut PgConnection) -> Result<(), migrate::Error> {
    for table in tables(connection, "part.logicalrelid is null").await? {
        let distributed = distribute_committed(connection, &table).await;
        distributed.map_err(|source| migrate::Error::Distribute { table: table.shown(), source })?;
        tracing::info!(table = table.shown(), "the table is distributed by {COLUMN}");
    }
    // After the commit, so that no row is ever in neither place. They were copied, and nothing reads them any more.
    let has_copies = "
        part.logicalrelid is not null
        and pg_catalog.pg_relation_size(warehouse.oid)
            + coalesce(
                (select sum(pg_catalog.pg_relation_size(relid)) from pg_catalog.pg_partition_tree(warehouse.oid)), 0
            ) > 0
    ";
    for table in tables(connection, has_copies).await? {
        match remove_copies(connection, &table).await {
            Ok(()) => {}
            Err(error) if is_locked(&error) => {
                let table = table.shown();
                tracing::warn!(
                    table,
                    "the table is in use: the next start removes the coordinator's copies of its rows"
                );
            }
            Err(source) => return Err(migrate::Error::Distribute { table: table.shown(), source }),
        }
    }
    Ok(())
}

async fn remove_copies(connection: &mut PgConnection, table: &Name) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().in_time().await?;
    limit_locks(&mut transaction).await?;
    sqlx::query("select pg_catalog.truncate_local_data_after_distributing_table($1::regclass)")
        .persistent(false)
        .bind(qualified(&table.schema, &table.name))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Queries and loads of a table queue up behind a statement that waits for its lock.
async fn limit_locks(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("set local lock_timeout = '3s'").execute(transaction).in_time().await?;
    Ok(())
}

fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

async fn distribute_committed(connection: &mut PgConnection, table: &Name) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().in_time().await?;
    limit_locks(&mut transaction).await?;
    lock::hold(&mut transaction, &format!("structure of {}", table.shown())).await?;
    distribute(&mut transaction, &table.schema, &table.name).await?;
    transaction.commit().await
}

/// Distributes a table, in the transaction that may have created it. Leaves one alone that is distributed already.
///
/// The rows of one connection must be on one node in all tables, because child tables are joined with their parents. So
/// the first table begins a group of its own, and all others join it.
pub async fn distribute(connection: &mut PgConnection, schema: &str, name: &str) -> Result<(), sqlx::Error> {
    // Two workers that create the first two tables would begin two groups.
    lock::hold(connection, "distribution").await?;
    let distributed = tables(connection, "part.logicalrelid is not null").await?;
    if distributed.iter().any(|table| table.schema == schema && table.name == name) {
        return Ok(());
    }
    let group = distributed.first().map_or_else(|| "none".to_owned(), |table| qualified(&table.schema, &table.name));
    sqlx::query("select pg_catalog.create_distributed_table($1::regclass, $2, colocate_with => $3)")
        .persistent(false)
        .bind(qualified(schema, name))
        .bind(COLUMN)
        .bind(group)
        .execute(connection)
        .await?;
    Ok(())
}
