//! Gives tables what they lack for many rows: the index by business time, and the parameters of autovacuum.
//!
//! A table gets both when it is created; an empty table gets the index together with the column. This pass is for
//! tables that have rows already. Each table gets each of them once, which is noted in `tidegate.table_upkeep`: what
//! the operator removes or sets afterwards stays as it is.
//!
//! An index is built concurrently, so that no load waits for it. Such a build waits for transactions, so it may take
//! long, and leaves an invalid index when it fails, which the next attempt replaces. After each failure the pause is
//! longer.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

use super::table::run_ddl;
use super::{LoadError, key, shape, storage, time_index};
use crate::catalogue::Stream;
use crate::store::ident::table as qualified;
use crate::store::session::{self, Deadline as _};

/// How long a lock is waited for that loads could wait behind.
const LOCK_MAX: &str = "3s";
/// An index of a billion rows takes an hour; the build also waits for the longest transaction.
const BUILD_MAX: Duration = Duration::from_hours(12);
/// SQLSTATEs of a lock that was not granted in time, and of an index that another process has begun.
const BUSY: [&str; 2] = ["55P03", "42P07"];

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Indexes that were created.
    pub indexes: u64,
    /// Tables, or partitions, that got parameters.
    pub parameters: u64,
    /// Tables that were locked. The next pass tries again.
    pub busy: u64,
}

/// A table that lacks something.
#[derive(Debug)]
struct Lacking {
    schema: String,
    name: String,
    oid: i64,
    lacks_parameters: bool,
    /// The column that is to be indexed.
    column: Option<String>,
}

/// A table that has rows itself, or the partitioned table above it.
#[derive(Debug)]
struct Part {
    schema: String,
    name: String,
    is_partitioned: bool,
    has_parameters: bool,
    has_index: bool,
    /// Names of invalid indexes of the column. They are in the schema of the table.
    invalid: Vec<String>,
}

/// Gives the tables of these streams what they lack. An error with one table does not keep the others from it.
pub async fn keep_up(pool: &PgPool, streams: &[&Stream]) -> Result<Upkeep, sqlx::Error> {
    let mut connection = pool.acquire().in_time().await?;
    let lacking = lacking(&mut connection, streams).await?;
    drop(connection);
    let (mut sum, mut failed) = (Upkeep::default(), None);
    for table in lacking {
        match complete(pool, &table, &mut sum).await {
            Ok(()) => {}
            Err(error) if is_busy(&error) => sum.busy += 1,
            Err(error) if session::is_lost(&error) => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(sum), Err)
}

/// Creates the index of the stream's table if that is empty and lacks it, in the transaction that holds the lock on its
/// structure.
pub(super) async fn index_empty(connection: &mut PgConnection, stream: &Stream) -> Result<(), LoadError> {
    let found = lacking(connection, &[stream]).await?.into_iter().find(|table| table.name == *stream.name);
    let Some(Lacking { schema, name, oid, column: Some(column), .. }) = found else { return Ok(()) };
    if !key::is_empty(connection, &schema, &name).await? {
        return Ok(());
    }
    if parts(connection, oid, Some(column.as_str())).await?.iter().all(|part| !part.has_index) {
        time_index::create(connection, (&schema, &name), &column).await?;
    }
    Ok(note_index(connection, (&schema, &name), oid, &column).await?)
}

/// Notes what a new table has. `column`: the one that is indexed.
pub(super) async fn note_new(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    column: Option<&str>,
) -> Result<(), sqlx::Error> {
    let oid = shape::relation(connection, schema, name).await?.map_or(0, |relation| relation.oid);
    note_parameters(connection, (schema, name), oid).await?;
    let Some(column) = column else { return Ok(()) };
    note_index(connection, (schema, name), oid, column).await
}

async fn complete(pool: &PgPool, table: &Lacking, sum: &mut Upkeep) -> Result<(), sqlx::Error> {
    let mut connection = session::connect_beside(pool).await?;
    let parts = parts(&mut connection, table.oid, table.column.as_deref()).in_time().await?;
    let full_name = (&*table.schema, &*table.name);
    limit_locks(&mut connection, LOCK_MAX).await?;
    if table.lacks_parameters {
        for part in parts.iter().filter(|part| !part.is_partitioned && !part.has_parameters) {
            let target = qualified(&part.schema, &part.name);
            run_ddl(&mut connection, format!("alter table {target} set ({})", storage::parameters())).in_time().await?;
            sum.parameters += 1;
        }
        note_parameters(&mut connection, full_name, table.oid).in_time().await?;
    }
    let Some(column) = &table.column else { return connection.close().await };
    for part in parts.iter().filter(|part| !part.is_partitioned && !part.has_index) {
        if let Err(error) = build(&mut connection, part, column).await {
            if !is_busy(&error) && !session::is_lost(&error) {
                note_failure(pool, full_name, table.oid).await?;
            }
            return Err(error);
        }
        sum.indexes += 1;
    }
    // Takes over the indexes of the partitions.
    for part in parts.iter().filter(|part| part.is_partitioned && !part.has_index) {
        let name = time_index::free_name(&mut connection, full_name, column).in_time().await?;
        run_ddl(&mut connection, time_index::statement((&part.schema, &part.name), column, &name, ""))
            .in_time()
            .await?;
    }
    note_index(&mut connection, full_name, table.oid, column).in_time().await?;
    connection.close().await
}

/// Builds the index of a table that has rows. Loads continue, also while this waits.
async fn build(connection: &mut PgConnection, part: &Part, column: &str) -> Result<(), sqlx::Error> {
    let (schema, table) = (&*part.schema, &*part.name);
    // Those of the operator, who may be building one, stay.
    let own = time_index::names(table, column);
    for invalid in part.invalid.iter().filter(|name| own.contains(name)) {
        // If another process is building it, this waits until its time is up.
        run_ddl(connection, format!("drop index concurrently {}", qualified(schema, invalid))).in_time().await?;
    }
    let name = time_index::free_name(connection, (schema, table), column).in_time().await?;
    tracing::info!(table = format!("{schema}.{table}"), column, "the index by time is being built");
    limit_locks(connection, "0").await?;
    let statement = time_index::statement((schema, table), column, &name, "concurrently ");
    run_ddl(connection, statement).within(BUILD_MAX).await?;
    limit_locks(connection, LOCK_MAX).await?;
    tracing::info!(table = format!("{schema}.{table}"), column, "the index by time was built");
    Ok(())
}

async fn limit_locks(connection: &mut PgConnection, limit: &str) -> Result<(), sqlx::Error> {
    run_ddl(connection, format!("set lock_timeout = '{limit}'")).in_time().await
}

fn is_busy(error: &sqlx::Error) -> bool {
    super::code(error).is_some_and(|code| BUSY.contains(&&*code))
}

/// The tables of these streams, and their child tables, that lack something. Only columns of type `timestamptz` are
/// indexed; a table without one lacks no index.
async fn lacking(connection: &mut PgConnection, streams: &[&Stream]) -> Result<Vec<Lacking>, sqlx::Error> {
    let mut wanted: BTreeMap<(String, String), String> = BTreeMap::new();
    for stream in streams {
        for child in stream.children.iter() {
            wanted.insert((stream.schema.to_owned(), child.name.to_string()), String::new());
        }
        // An array of arrays of different lengths does not exist. A line feed is in no column's name.
        wanted.insert((stream.schema.to_owned(), stream.name.to_string()), stream.business_time.join("\n"));
    }
    let (names, times): (Vec<(String, String)>, Vec<String>) = wanted.into_iter().unzip();
    let (schemas, names): (Vec<String>, Vec<String>) = names.into_iter().unzip();
    sqlx::query_as!(
        Lacking,
        r#"
        select
            wanted.schema as "schema!",
            wanted.name as "name!",
            class.oid::bigint as "oid!",
            upkeep.parameters_at is null as "lacks_parameters!",
            found.name as "column?"
        from unnest($1::text[], $2::text[], $3::text[]) as wanted (schema, name, times)
        inner join pg_catalog.pg_namespace as namespace on namespace.nspname = wanted.schema
        inner join pg_catalog.pg_class as class
            on class.relnamespace = namespace.oid and class.relname = wanted.name and class.relkind in ('r', 'p')
        left join tidegate.table_upkeep as upkeep
            on
                upkeep.table_schema = wanted.schema
                and upkeep.table_name = wanted.name
                and upkeep.table_oid = class.oid::bigint
        left join lateral (
            select candidate.name
            from unnest(string_to_array(wanted.times, e'\n')) with ordinality as candidate (name, rank)
            inner join pg_catalog.pg_attribute as attribute
                on attribute.attrelid = class.oid and attribute.attname = candidate.name
            where attribute.atttypid = 'timestamptz'::regtype and not attribute.attisdropped
            order by candidate.rank
            limit 1
        ) as found
            -- A column that was dropped and created again has another number, and lost its index.
            on not exists (
                select
                from pg_catalog.pg_attribute as noted
                where
                    noted.attrelid = class.oid
                    and noted.attnum = upkeep.index_attribute
                    and not noted.attisdropped
            )
            -- A time further ahead than a pause was stored while the clock was ahead.
            and coalesce(
                upkeep.next_attempt_at <= clock_timestamp()
                or upkeep.next_attempt_at > clock_timestamp() + interval '1 day',
                true
            )
        where upkeep.parameters_at is null or found.name is not null
        order by wanted.schema, wanted.name
        "#,
        &schemas,
        &names,
        &times,
    )
    .fetch_all(connection)
    .in_time()
    .await
}

/// The table itself or, if it is partitioned, that and its partitions that have rows. Indexes count whose first column
/// is `column`, of any kind.
async fn parts(connection: &mut PgConnection, oid: i64, column: Option<&str>) -> Result<Vec<Part>, sqlx::Error> {
    sqlx::query_as!(
        Part,
        r#"
        select
            namespace.nspname::text as "schema!",
            class.relname::text as "name!",
            class.relkind = 'p' as "is_partitioned!",
            exists (
                select
                from unnest(class.reloptions) as parameter (entry)
                where starts_with(parameter.entry, 'autovacuum_')
            ) as "has_parameters!",
            coalesce(bool_or(index.indisvalid and index.indpred is null), false) as "has_index!",
            coalesce(
                array_agg(index_class.relname::text) filter (
                    where not index.indisvalid and index.indpred is null and index.indnatts = 1
                ),
                '{}'
            ) as "invalid!"
        from pg_catalog.pg_class as class
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        left join pg_catalog.pg_attribute as attribute
            on attribute.attrelid = class.oid and attribute.attname = $2 and not attribute.attisdropped
        left join pg_catalog.pg_index as index
            on index.indrelid = class.oid and index.indkey[0] = attribute.attnum
        left join pg_catalog.pg_class as index_class on index_class.oid = index.indexrelid
        where
            class.oid = $1::bigint::oid
            or (
                class.relkind = 'r'
                and class.oid in (select relid from pg_partition_tree($1::bigint::oid::regclass) where isleaf)
            )
        group by class.oid, namespace.nspname, class.relname, class.relkind, class.reloptions
        order by class.oid
        "#,
        oid,
        column,
    )
    .fetch_all(connection)
    .await
}

async fn note_parameters(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    oid: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.table_upkeep as known (table_schema, table_name, table_oid, parameters_at)
        values ($1, $2, $3, clock_timestamp())
        on conflict (table_schema, table_name) do update
        set
            table_oid = excluded.table_oid,
            parameters_at = excluded.parameters_at,
            index_attribute = case when known.table_oid = excluded.table_oid then known.index_attribute end,
            index_at = case when known.table_oid = excluded.table_oid then known.index_at end
        ",
        schema,
        name,
        oid,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a build failed. The next one begins after a pause of 20 minutes, which doubles each time, up to a day.
async fn note_failure(pool: &PgPool, (schema, name): (&str, &str), oid: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.table_upkeep as known (table_schema, table_name, table_oid, failures, next_attempt_at)
        values ($1, $2, $3, 1, clock_timestamp() + interval '20 minutes')
        on conflict (table_schema, table_name) do update
        set
            table_oid = excluded.table_oid,
            parameters_at = case when known.table_oid = excluded.table_oid then known.parameters_at end,
            failures = known.failures + 1,
            next_attempt_at
            = clock_timestamp() + least(interval '20 minutes' * power(2, least(known.failures, 10)), interval '1 day')
        ",
        schema,
        name,
        oid,
    )
    .execute(pool)
    .in_time()
    .await?;
    Ok(())
}

async fn note_index(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    oid: i64,
    column: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.table_upkeep as known (table_schema, table_name, table_oid, index_attribute, index_at)
        select $1, $2, $3::bigint, attnum, clock_timestamp()
        from pg_catalog.pg_attribute
        where attrelid = $3::bigint::oid and attname = $4 and not attisdropped
        on conflict (table_schema, table_name) do update
        set
            table_oid = excluded.table_oid,
            parameters_at = case when known.table_oid = excluded.table_oid then known.parameters_at end,
            index_attribute = excluded.index_attribute,
            index_at = excluded.index_at,
            failures = 0,
            next_attempt_at = null
        ",
        schema,
        name,
        oid,
        column,
    )
    .execute(connection)
    .await?;
    Ok(())
}
