//! Gives tables what they lack for many rows: the index by business time, and the parameters of autovacuum.
//!
//! A table gets both when it is created; an empty table gets the index together with the column. This pass is for
//! tables that have rows already. Each table gets each of them once, which is noted in `tidegate.table_upkeep`: what
//! the operator removes or sets afterwards stays as it is.
//!
//! An index is built concurrently, so that no load waits for it. Such a build waits for transactions, so it may take
//! long, and leaves an invalid index when it fails, which the next attempt replaces. After each attempt that did not
//! succeed the pause is longer, also if its process ended. One process at a time builds.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

use super::table::run_ddl;
use super::{LoadError, key, shape, storage, time_index};
use crate::catalogue::Stream;
use crate::store::ident::table as qualified;
use crate::store::lock::Lease;
use crate::store::session::{self, Deadline as _};
use crate::store::trouble::chain;

/// How long a lock is waited for that loads could wait behind.
const LOCK_MAX: &str = "3s";
/// An index of a billion rows takes an hour; the build also waits for the longest transaction.
const BUILD_MAX: Duration = Duration::from_hours(12);
/// The lock of the process that builds indexes.
const BUILDER: &str = "index build";
/// For how long a process has that lock if it ends without giving it back.
const LEASE: Duration = Duration::from_mins(5);
/// SQLSTATEs of a lock that was not granted in time, and of an index that another process has begun.
const BUSY: [&str; 2] = ["55P03", "42P07"];

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Indexes that were created.
    pub indexes: u64,
    /// Tables, or partitions, that got parameters.
    pub parameters: u64,
    /// Tables that were locked, or have to wait because another process builds indexes. The next pass tries again.
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
    /// Whether it has an index of the column, of any kind.
    has_index: bool,
    /// Whether it has one that the index of the partitioned table can take over.
    has_own_index: bool,
    /// Names of invalid indexes of the column. They are in the schema of the table.
    invalid: Vec<String>,
}

/// Gives the tables of these streams what they lack. An error with one table does not keep the others from it.
pub async fn keep_up(pool: &PgPool, streams: &[&Stream]) -> Result<Upkeep, sqlx::Error> {
    let mut connection = pool.acquire().in_time().await?;
    let lacking = lacking(&mut connection, streams).await?;
    let wants_index = lacking.iter().any(|table| table.column.is_some());
    let lease = if wants_index { Lease::take(&mut connection, BUILDER, LEASE).await? } else { None };
    drop(connection);
    let Some(mut lease) = lease else { return complete_all(pool, &lacking, false).await };
    let done = prolonging(pool, &mut lease, Box::pin(complete_all(pool, &lacking, true))).await;
    if let Err(error) = lease.give_back(pool).await {
        tracing::debug!(error = chain(&error), "other processes wait until the lock of this one has expired");
    }
    done
}

/// Has the lock for as long as the work takes.
async fn prolonging<T>(pool: &PgPool, lease: &mut Lease, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(LEASE / 5) => {}
        }
        // Two processes that build at a time are slow, and nothing worse.
        match lease.prolong(pool, LEASE).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!("another process builds indexes too"),
            Err(error) => tracing::debug!(error = chain(&error), "the lock of the builder was not prolonged"),
        }
    }
}

async fn complete_all(pool: &PgPool, lacking: &[Lacking], may_build: bool) -> Result<Upkeep, sqlx::Error> {
    let (mut sum, mut failed) = (Upkeep::default(), None);
    for table in lacking {
        match complete(pool, table, may_build, &mut sum).await {
            Ok(()) => {}
            Err(error) if is_busy(&error) => sum.busy += 1,
            Err(error) if session::is_lost(&error) => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(sum), Err)
}

/// How many tables of these streams have rows and lack their index.
pub async fn tables_without_index(pool: &PgPool, streams: &[&Stream]) -> Result<u64, sqlx::Error> {
    let mut connection = pool.acquire().in_time().await?;
    let mut count = 0;
    for Lacking { schema, name, oid, column, .. } in lacking(&mut connection, streams).await? {
        let Some(column) = column else { continue };
        let parts = parts(&mut connection, oid, Some(&column)).in_time().await?;
        let is_without = parts.iter().any(|part| !part.has_index);
        if is_without && !key::is_empty(&mut connection, &schema, &name).in_time().await? {
            count += 1;
        }
    }
    Ok(count)
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

async fn complete(pool: &PgPool, table: &Lacking, may_build: bool, sum: &mut Upkeep) -> Result<(), sqlx::Error> {
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
    if parts.iter().any(|part| !part.has_index) {
        if !may_build {
            sum.busy += 1;
            return connection.close().await;
        }
        // Before it begins: a build may end with its process, or with the server.
        note_attempt(&mut connection, full_name, table.oid).in_time().await?;
        match build_all(&mut connection, table, column, &parts, sum).await {
            Ok(true) => {}
            Ok(false) => {
                sum.busy += 1;
                forget_attempt(pool, full_name).await?;
                return connection.close().await;
            }
            Err(error) if is_busy(&error) => {
                forget_attempt(pool, full_name).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    note_index(&mut connection, full_name, table.oid, column).in_time().await?;
    connection.close().await
}

/// Builds the index of each part that lacks it, and that of the partitioned table, which takes those over. Returns
/// false if the table has got a partition without the index meanwhile.
async fn build_all(
    connection: &mut PgConnection,
    table: &Lacking,
    column: &str,
    parts: &[Part],
    sum: &mut Upkeep,
) -> Result<bool, sqlx::Error> {
    let Some(whole) = parts.iter().find(|part| part.is_partitioned && !part.has_index) else {
        for part in parts.iter().filter(|part| !part.has_index) {
            build(connection, part, column).await?;
            sum.indexes += 1;
        }
        return Ok(true);
    };
    for part in parts.iter().filter(|part| part.lacks_own_index()) {
        build(connection, part, column).await?;
        sum.indexes += 1;
    }
    // Otherwise this statement would build the index of a partition while nothing can be written to that.
    let parts = self::parts(connection, table.oid, Some(column)).in_time().await?;
    if parts.iter().any(Part::lacks_own_index) {
        return Ok(false);
    }
    let name = time_index::free_name(connection, (&table.schema, &table.name), column).in_time().await?;
    run_ddl(connection, time_index::statement((&whole.schema, &whole.name), column, &name, "")).in_time().await?;
    Ok(true)
}

impl Part {
    fn lacks_own_index(&self) -> bool {
        !self.is_partitioned && !self.has_own_index
    }
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
                bool_or(
                    index.indisvalid
                    and index.indpred is null
                    and index.indnatts = 1
                    and operators.opcname = 'timestamptz_minmax_multi_ops'
                    -- Not if it belongs to another index of the partitioned table.
                    and not index_class.relispartition
                ),
                false
            ) as "has_own_index!",
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
        left join pg_catalog.pg_opclass as operators on operators.oid = index.indclass[0]
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
            index_at = case when known.table_oid = excluded.table_oid then known.index_at end,
            failures = case when known.table_oid = excluded.table_oid then known.failures else 0 end,
            next_attempt_at = case when known.table_oid = excluded.table_oid then known.next_attempt_at end
        ",
        schema,
        name,
        oid,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a build begins. If it does not succeed, the next one begins after a pause of 20 minutes, which doubles
/// each time, up to a day.
async fn note_attempt(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    oid: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.table_upkeep as known (table_schema, table_name, table_oid, failures, next_attempt_at)
        values ($1, $2, $3, 1, clock_timestamp() + interval '20 minutes')
        on conflict (table_schema, table_name) do update
        set
            table_oid = excluded.table_oid,
            parameters_at = case when known.table_oid = excluded.table_oid then known.parameters_at end,
            index_attribute = case when known.table_oid = excluded.table_oid then known.index_attribute end,
            index_at = case when known.table_oid = excluded.table_oid then known.index_at end,
            failures = case when known.table_oid = excluded.table_oid then known.failures + 1 else 1 end,
            next_attempt_at = clock_timestamp() + case
                when known.table_oid = excluded.table_oid
                    then least(interval '20 minutes' * power(2, least(known.failures, 10)), interval '1 day')
                else interval '20 minutes'
            end
        ",
        schema,
        name,
        oid,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has the next pass try again, because another session had a lock.
async fn forget_attempt(pool: &PgPool, (schema, name): (&str, &str)) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.table_upkeep
        set failures = greatest(failures - 1, 0), next_attempt_at = null
        where table_schema = $1 and table_name = $2
        ",
        schema,
        name,
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
