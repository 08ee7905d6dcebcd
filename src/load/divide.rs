//! Turns a table of windows into one that is partitioned by month of `_window_start`, without copying its rows: the
//! table becomes the partition of everything until the next month.
//!
//! A check constraint is validated first, which disturbs nobody. Because of it, the partition is attached without a
//! search of its rows, in one short transaction. In that transaction, what belongs to the table moves to the new one of
//! its name: comments, rights, indexes, and the views that read it. If something cannot move, nothing is changed.
//!
//! A table that Citus distributes is divided in the same way: the partitioned table is distributed while it is empty,
//! by the same column and in the same group, so that each of its shards takes a shard of the table as its partition.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::LoadError;
use super::partition::{Month, attach_new, free_name, instant, keep_private};
use super::shape;
use super::table::{lock_structure, run_ddl};
use crate::catalogue::{Mode, Stream};
use crate::store::distribution::{self, Distribution};
use crate::store::ident::{literal, quote, table as qualified};
use crate::store::{event, partitions};

/// Below the server's `deadlock_timeout`: this transaction gives up before it costs a reader its query.
const LOCK_TIMEOUT: &str = "500ms";
/// How the names of the check constraints begin.
pub(super) const CONSTRAINT: &str = "tidegate_until_";
/// SQLSTATE of a lock that was not granted in time.
const IN_USE: &str = "55P03";
/// SQLSTATE of rows that a constraint does not allow.
const CHECK_VIOLATION: &str = "23514";

/// Divides the table of `stream` by months, if that is `wanted` and its rows belong to windows. Returns whether the
/// table was changed. What stands in the way is logged, and the table stays as it is.
pub async fn arrange(
    connection: &mut PgConnection,
    stream: &Stream,
    distribution: Distribution,
    wanted: bool,
) -> Result<bool, LoadError> {
    if stream.mode != Mode::ReplaceWindow {
        return Ok(false);
    }
    let (schema, name) = (stream.schema, &*stream.name);
    let Some(relation) = shape::relation(connection, schema, name).await? else { return Ok(false) };
    if relation.is_partitioned() {
        return Ok(false);
    }
    if !wanted {
        if relation.has_checks {
            match forget_constraints(connection, schema, name, None).await {
                // They refuse only rows of a later month, and a load of those tries again.
                Err(LoadError::Database(error)) if super::code(&error).as_deref() == Some(IN_USE) => {}
                outcome => outcome?,
            }
        }
        return Ok(false);
    }
    by_month(connection, (schema, name), distribution).await
}

/// How a table with rows of windows stands to `warehouse.partition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// It is divided.
    Divided,
    /// It has rows, and `month` divides it.
    ToDivide,
    /// It has rows, and `month` does not divide it, for this reason.
    Obstacle(String),
}

/// How the table of `stream` stands to `warehouse.partition`. Changes nothing. `None` if it is empty or not there, if
/// its rows belong to no window, or if it is neither divided nor is that `wanted`.
pub async fn outlook(
    connection: &mut PgConnection,
    stream: &Stream,
    distribution: Distribution,
    wanted: bool,
) -> Result<Option<Outlook>, LoadError> {
    let (schema, name) = (stream.schema, &*stream.name);
    if stream.mode != Mode::ReplaceWindow {
        return Ok(None);
    }
    let Some(relation) = shape::relation(connection, schema, name).await? else { return Ok(None) };
    if relation.is_partitioned() {
        return Ok(Some(Outlook::Divided));
    }
    if !wanted || !relation.is_table() || is_empty(connection, schema, name).await? {
        return Ok(None);
    }
    let obstacle = obstacle(connection, (schema, name), distribution).await?;
    Ok(Some(obstacle.map_or(Outlook::ToDivide, Outlook::Obstacle)))
}

/// Divides the table, unless it is already, or something stands in the way.
async fn by_month(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    distribution: Distribution,
) -> Result<bool, LoadError> {
    match divide(connection, (schema, name), distribution).await {
        Ok(Divided::Done) => {
            tracing::info!(table = format!("{schema}.{name}"), "the table is divided into monthly partitions now");
            Ok(true)
        }
        Ok(Divided::Already) => Ok(false),
        Ok(Divided::Obstacle(obstacle)) => {
            tracing::warn!(table = format!("{schema}.{name}"), "the table is not divided into partitions: {obstacle}");
            Ok(false)
        }
        // The next task tries again.
        Err(LoadError::Database(error)) if !super::passes(&error) && error.as_database_error().is_some() => {
            let code = super::code(&error);
            tracing::warn!(
                table = format!("{schema}.{name}"),
                code,
                "the table is not divided into partitions: a statement for it failed"
            );
            Ok(false)
        }
        Err(LoadError::Database(error)) if super::code(&error).as_deref() == Some(IN_USE) => {
            tracing::info!(
                table = format!("{schema}.{name}"),
                "the table is in use and will be divided into partitions later"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

enum Divided {
    Done,
    Already,
    /// Why it cannot be done.
    Obstacle(String),
}

async fn divide(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    distribution: Distribution,
) -> Result<Divided, LoadError> {
    if let Some(obstacle) = obstacle(connection, (schema, name), distribution).await? {
        if is_divided(connection, schema, name).await? {
            return Ok(Divided::Already);
        }
        forget_constraints(connection, schema, name, None).await?;
        return Ok(Divided::Obstacle(obstacle));
    }
    let until = boundary(connection, schema, name).await?;
    // Of an attempt in an earlier month.
    forget_constraints(connection, schema, name, Some(until)).await?;
    if !is_empty(connection, schema, name).await? {
        match validate(connection, schema, name, until).await {
            Ok(true) => {}
            Ok(false) => return Ok(Divided::Already),
            Err(error) if super::code(&error).as_deref() == Some(CHECK_VIOLATION) => {
                forget_constraints(connection, schema, name, None).await?;
                let month = until.shown();
                let rows = format!("it has rows whose _window_start is in {month} or later, in the future");
                return Ok(Divided::Obstacle(rows));
            }
            Err(error) => return Err(error.into()),
        }
    }
    swap(connection, (schema, name), until, distribution).await
}

/// The first month that the table's rows do not reach.
async fn boundary(connection: &mut PgConnection, schema: &str, name: &str) -> Result<Month, LoadError> {
    let newest = sqlx::query_scalar!(
        r#"
        select greatest(
            now(),
            (
                select max(slice.window_start)
                from tidegate.slice
                inner join tidegate.stream
                    on stream.connection = slice.connection and stream.stream = slice.stream
                where stream.table_schema = $1 and stream.table_name = $2
            )
        ) as "newest!"
        "#,
        schema,
        name,
    )
    .fetch_one(connection)
    .await?;
    Ok(Month::of(newest).after(1))
}

/// Whether the table is divided. Another task may have done that since this one has read its structure.
async fn is_divided(connection: &mut PgConnection, schema: &str, name: &str) -> Result<bool, sqlx::Error> {
    Ok(shape::relation(connection, schema, name).await?.is_some_and(|relation| relation.is_partitioned()))
}

/// Has Postgres check that all rows are before `until`, while others read and write the table. Returns false if another
/// task has divided the table meanwhile.
async fn validate(connection: &mut PgConnection, schema: &str, name: &str, until: Month) -> Result<bool, sqlx::Error> {
    let (table, constraint) = (qualified(schema, name), constraint_name(until));
    let mut transaction = connection.begin().await?;
    lock_structure(&mut transaction, schema, name).await?;
    // Only now: what was read before may be that of another task, which had the lock. A constraint of a divided table
    // would stay, and refuse the rows of the next month.
    if is_divided(&mut transaction, schema, name).await? {
        return Ok(false);
    }
    let known = sqlx::query_scalar!(
        "select convalidated from pg_catalog.pg_constraint where conrelid = to_regclass($1) and conname = $2",
        table,
        constraint,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let constraint = quote(&constraint);
    if known.is_none() {
        run_ddl(&mut transaction, format!("set local lock_timeout = '{LOCK_TIMEOUT}'")).await?;
        let until = instant(until.start());
        let add = format!("alter table {table} add constraint {constraint} check (_window_start < {until}) not valid");
        run_ddl(&mut transaction, add).await?;
    }
    transaction.commit().await?;
    if known != Some(true) {
        let mut transaction = connection.begin().await?;
        run_ddl(&mut transaction, format!("set local lock_timeout = '{LOCK_TIMEOUT}'")).await?;
        run_ddl(&mut transaction, format!("alter table {table} validate constraint {constraint}")).await?;
        transaction.commit().await?;
    }
    Ok(true)
}

fn constraint_name(until: Month) -> String {
    format!("{CONSTRAINT}{}", until.in_name())
}

/// Drops the check constraints of a division that was not completed: they would refuse the rows of a later month.
async fn forget_constraints(
    connection: &mut PgConnection,
    schema: &str,
    name: &str,
    except: Option<Month>,
) -> Result<(), LoadError> {
    let table = qualified(schema, name);
    let left = sqlx::query_scalar!(
        r#"
        select conname::text as "name!"
        from pg_catalog.pg_constraint
        where conrelid = to_regclass($1) and contype = 'c' and starts_with(conname::text, $2) and conname <> $3
        "#,
        table,
        CONSTRAINT,
        except.map(constraint_name).unwrap_or_default(),
    )
    .fetch_all(&mut *connection)
    .await?;
    if left.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    lock_structure(&mut transaction, schema, name).await?;
    run_ddl(&mut transaction, format!("set local lock_timeout = '{LOCK_TIMEOUT}'")).await?;
    for constraint in left {
        let constraint = quote(&constraint);
        run_ddl(&mut transaction, format!("alter table {table} drop constraint if exists {constraint}")).await?;
    }
    Ok(transaction.commit().await?)
}

/// Puts a partitioned table in the place of the table, which becomes its first partition; an empty one is dropped.
async fn swap(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    until: Month,
    distribution: Distribution,
) -> Result<Divided, LoadError> {
    let mut transaction = connection.begin().await?;
    lock_structure(&mut transaction, schema, name).await?;
    // Names in definitions of views are printed with their schemas.
    run_ddl(&mut transaction, format!("set local lock_timeout = '{LOCK_TIMEOUT}'; set local search_path = ''")).await?;
    let table = qualified(schema, name);
    run_ddl(&mut transaction, format!("lock table {table} in access exclusive mode")).await?;
    let before = shape::relation(&mut transaction, schema, name).await?.filter(|relation| !relation.is_partitioned());
    let Some(before) = before else { return Ok(Divided::Already) };
    if let Some(obstacle) = obstacle(&mut transaction, (schema, name), distribution).await? {
        return Ok(Divided::Obstacle(obstacle));
    }
    let is_empty = is_empty(&mut transaction, schema, name).await?;
    let moved = Belongings::of(&mut transaction, schema, name).await?;
    let part_name = free_name(&mut transaction, schema, name, &format!("until_{}", until.in_name())).await?;
    let part = qualified(schema, &part_name);
    run_ddl(&mut transaction, format!("alter table {table} rename to {}", quote(&part_name))).await?;
    for (number, index) in moved.indexes.iter().enumerate() {
        let other = free_name(&mut transaction, schema, &part_name, &format!("idx{number}")).await?;
        let index = qualified(schema, index);
        run_ddl(&mut transaction, format!("alter index {index} rename to {}", quote(&other))).await?;
    }
    run_ddl(
        &mut transaction,
        format!(
            "create table {table} (
                like {part} including all excluding identity excluding indexes excluding statistics
            ) partition by range (_window_start)"
        ),
    )
    .await?;
    let constraint = quote(&constraint_name(until));
    run_ddl(&mut transaction, format!("alter table {table} drop constraint if exists {constraint}")).await?;
    for statement in moved.before {
        run_ddl(&mut transaction, statement).await?;
    }
    move_upkeep(&mut transaction, (schema, name), before.oid).await?;
    if distribution == Distribution::Citus {
        // Citus allows no statement that runs on several shards at a time after one that changed the table.
        run_ddl(&mut transaction, "set local citus.multi_shard_modify_mode = 'sequential'".to_owned()).await?;
        distribution::distribute(&mut transaction, schema, name).await?;
    }
    if is_empty {
        attach_new(&mut transaction, (schema, name), &[], until.start(), &moved.options).await?;
    } else {
        let until_start = instant(until.start());
        let attach =
            format!("alter table {table} attach partition {part} for values from (minvalue) to ({until_start})");
        run_ddl(&mut transaction, attach).await?;
        run_ddl(&mut transaction, format!("alter table {part} drop constraint if exists {constraint}")).await?;
        let meaning = format!("Rows of {schema}.{name} whose _window_start is before {} (UTC)", until.shown());
        run_ddl(&mut transaction, format!("comment on table {part} is {}", literal(&meaning))).await?;
        keep_private(&mut transaction, &table, &part).await?;
        let present = partitions::of_table(&mut transaction, schema, name).await?.unwrap_or_default();
        attach_new(&mut transaction, (schema, name), &present, until.start(), &moved.options).await?;
    }
    for statement in moved.views {
        run_ddl(&mut transaction, statement).await?;
    }
    if is_empty {
        run_ddl(&mut transaction, format!("drop table {part}")).await?;
    }
    let summary = format!("the table {schema}.{name} was divided into monthly partitions by _window_start");
    event::of_table(&mut *transaction, &summary).await?;
    transaction.commit().await?;
    Ok(Divided::Done)
}

/// Has the note of what the table was given once ([`super::upkeep`]) describe the table that takes its place. Its
/// columns may have other numbers.
async fn move_upkeep(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    before: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update tidegate.table_upkeep as upkeep
        set
            table_oid = class.oid::bigint,
            index_attribute = (
                select attribute.attnum
                from pg_catalog.pg_attribute as former
                inner join pg_catalog.pg_attribute as attribute
                    on
                        attribute.attrelid = class.oid
                        and attribute.attname = former.attname
                        and not attribute.attisdropped
                where
                    former.attrelid = $3::bigint::oid
                    and former.attnum = upkeep.index_attribute
                    and not former.attisdropped
            )
        from pg_catalog.pg_class as class
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        where
            upkeep.table_schema = $1
            and upkeep.table_name = $2
            and upkeep.table_oid = $3::bigint
            and namespace.nspname = $1
            and class.relname = $2
        ",
        schema,
        name,
        before,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What of a table moves to the one that takes its place.
struct Belongings {
    /// Names of its indexes.
    indexes: Vec<String>,
    /// Statements that give the new table indexes, comment, owner and rights.
    before: Vec<String>,
    /// Statements that have views read the new table.
    views: Vec<String>,
    options: Vec<String>,
}

impl Belongings {
    async fn of(connection: &mut PgConnection, schema: &str, name: &str) -> Result<Self, LoadError> {
        let table = qualified(schema, name);
        let indexes: Vec<(String, String)> = sqlx::query_as(INDEXES).bind(&table).fetch_all(&mut *connection).await?;
        let (indexes, mut before): (Vec<String>, Vec<String>) = indexes.into_iter().unzip();
        let about: Vec<String> = sqlx::query_scalar(ABOUT).bind(&table).fetch_all(&mut *connection).await?;
        before.extend(about);
        let views: Vec<String> = sqlx::query_scalar(VIEWS).bind(&table).fetch_all(&mut *connection).await?;
        let options: Option<Vec<String>> =
            sqlx::query_scalar("select reloptions from pg_class where oid = $1::regclass")
                .bind(&table)
                .fetch_one(connection)
                .await?;
        Ok(Self { indexes, before, views, options: options.unwrap_or_default() })
    }
}

async fn is_empty(connection: &mut PgConnection, schema: &str, name: &str) -> Result<bool, sqlx::Error> {
    let statement = format!("select not exists (select from {})", qualified(schema, name));
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await
}

/// The first reason why the table cannot be divided.
async fn obstacle(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    distribution: Distribution,
) -> Result<Option<String>, LoadError> {
    let found: Option<String> =
        sqlx::query_scalar(OBSTACLES).bind(qualified(schema, name)).fetch_optional(&mut *connection).await?;
    if found.is_none()
        && distribution == Distribution::Citus
        && !distribution::is_distributed(connection, schema, name).await?
    {
        return Ok(Some("it is not distributed yet: run `tidegate migrate` first".to_owned()));
    }
    Ok(found)
}

/// `$1` table: what stands in the way, as the end of a sentence.
const OBSTACLES: &str = r"
with target as (
    select class.*
    from pg_catalog.pg_class as class
    where class.oid = to_regclass($1)
),

dependent as (
    select depend.classid, depend.objid, depend.deptype, depend.refclassid
    from target
    inner join pg_catalog.pg_type as type on type.oid = target.reltype
    inner join pg_catalog.pg_depend as depend
        on
            (depend.refclassid = 'pg_catalog.pg_class'::regclass and depend.refobjid = target.oid)
            or (
                depend.refclassid = 'pg_catalog.pg_type'::regclass
                and depend.refobjid in (type.oid, nullif(type.typarray, 0))
            )
),

reader as (
    select distinct
        rule.rulename,
        class.relkind,
        class.relowner,
        -- With its schema, also if the search path has that.
        (pg_catalog.pg_identify_object('pg_catalog.pg_class'::regclass, class.oid, 0)).identity as name
    from dependent
    inner join pg_catalog.pg_rewrite as rule
        on dependent.classid = 'pg_catalog.pg_rewrite'::regclass and rule.oid = dependent.objid
    inner join pg_catalog.pg_class as class on class.oid = rule.ev_class
)

select obstacle
from (
    select 1 as place, 'it belongs to a role of which this login is not a member' as obstacle
    from target
    where not pg_has_role(relowner, 'usage')
    union all
    select 2, 'it is not an ordinary table' from target where relkind <> 'r' or relpersistence <> 'p' or relispartition
    union all
    select 3, 'it has triggers or foreign keys'
    from target
    where
        exists (
            select
            from pg_catalog.pg_trigger as trigger
            -- Those of foreign keys are internal and belong to a constraint. Citus has an internal one without.
            where trigger.tgrelid = target.oid and (not trigger.tgisinternal or trigger.tgconstraint <> 0)
        )
    union all
    select 4, 'it has rules' from target where relhasrules
    union all
    select 5, 'it has policies of row-level security'
    from target
    where relrowsecurity or exists (select from pg_catalog.pg_policy where polrelid = target.oid)
    union all
    select 6, 'it is a part of an inheritance'
    from target
    where exists (select from pg_catalog.pg_inherits where inhparent = target.oid or inhrelid = target.oid)
    union all
    select 7, 'it is a part of a publication'
    from target
    where exists (select from pg_catalog.pg_publication_rel where prrelid = target.oid)
    union all
    select 8, format('the materialized view %s reads it; drop it, and make it again afterwards', name)
    from reader
    where relkind = 'm'
    union all
    select 9, format('a rule of %s uses it', name)
    from reader
    where relkind <> 'm' and (relkind <> 'v' or rulename <> '_RETURN')
    union all
    select 10, format('the view %s reads it and belongs to the role %I, of which this login is not a member', name, pg_get_userbyid(relowner))
    from reader
    where relkind = 'v' and not pg_has_role(relowner, 'usage')
    union all
    select 11, format('the function %s depends on it', (pg_catalog.pg_identify_object(classid, objid, 0)).identity)
    from dependent
    where classid = 'pg_catalog.pg_proc'::regclass
    union all
    select 12, format('a column of %s has the type of its rows', (pg_catalog.pg_identify_object(classid, objid, 0)).identity)
    from dependent
    where classid = 'pg_catalog.pg_class'::regclass and refclassid = 'pg_catalog.pg_type'::regclass
    union all
    select 13, format('its unique index %s does not contain the column _window_start', indexrelid::regclass)
    from target
    inner join pg_catalog.pg_index as index on index.indrelid = target.oid
    where
        indisunique
        and not exists (
            select
            from pg_catalog.pg_attribute as attribute
            where
                attribute.attrelid = target.oid
                and attribute.attname = '_window_start'
                and attribute.attnum = any(indkey[0:indnkeyatts - 1])
        )
    union all
    select 14, 'it has an exclusion constraint'
    from target
    where exists (select from pg_catalog.pg_constraint where conrelid = target.oid and contype = 'x')
    union all
    select 15, 'its column _window_start allows null, or is no timestamptz'
    from target
    where
        not exists (
            select
            from pg_catalog.pg_attribute as attribute
            where
                attribute.attrelid = target.oid
                and attribute.attname = '_window_start'
                and attribute.attnotnull
                and attribute.atttypid = 'timestamptz'::regtype
        )
    union all
    select 16, 'it has an identity column'
    from target
    where
        exists (
            select
            from pg_catalog.pg_attribute as attribute
            where attribute.attrelid = target.oid and attribute.attidentity <> '' and not attribute.attisdropped
        )
) as found
order by place
limit 1
";

/// `$1` table: the name of each index, and the statement that makes it.
const INDEXES: &str = r"
select
    class.relname::text,
    concat(
        case
            when constraint_of.oid is null then pg_get_indexdef(class.oid)
            else format(
                'alter table %s add constraint %I %s',
                index.indrelid::regclass, constraint_of.conname, pg_get_constraintdef(constraint_of.oid)
            )
        end,
        case
            when meaning.text is not null
                then format('; comment on index %I.%I is %L', namespace.nspname, class.relname, meaning.text)
        end
    )
from pg_catalog.pg_index as index
inner join pg_catalog.pg_class as class on class.oid = index.indexrelid
inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
left join pg_catalog.pg_constraint as constraint_of
    on constraint_of.conindid = class.oid and constraint_of.conrelid = index.indrelid and contype in ('p', 'u')
cross join lateral pg_catalog.obj_description(class.oid, 'pg_class') as meaning (text)
where index.indrelid = to_regclass($1) and index.indisvalid
order by contype = 'p' desc nulls last, class.relname
";

/// `$1` table: statements for its comment, its owner and its rights. Rights that the new table has by default are
/// revoked first.
const ABOUT: &str = r"
with target as (
    select class.oid, class.oid::regclass::text as name, class.relowner, class.relacl
    from pg_catalog.pg_class as class
    where class.oid = to_regclass($1)
),

granted as (
    select acl.grantee, acl.privilege_type, acl.is_grantable, '' as columns
    from target
    cross join aclexplode(target.relacl) as acl
    union all
    select acl.grantee, acl.privilege_type, acl.is_grantable, format(' (%I)', attribute.attname)
    from target
    inner join pg_catalog.pg_attribute as attribute on attribute.attrelid = target.oid and not attribute.attisdropped
    cross join aclexplode(attribute.attacl) as acl
)

select statement
from (
    select 1 as place, format('comment on table %s is %L', name, obj_description(oid, 'pg_class')) as statement
    from target
    where obj_description(oid, 'pg_class') is not null
    union all
    select 2, format('alter table %s owner to %I', name, pg_get_userbyid(relowner))
    from target
    where pg_get_userbyid(relowner) <> current_user
    union all
    select 3, format('revoke all on %s from public', name)
    from target
    union all
    select distinct 3, format('revoke all on %s from %I', target.name, pg_get_userbyid(acl.grantee))
    from target
    inner join pg_catalog.pg_class as class on class.oid = target.oid
    inner join pg_catalog.pg_default_acl as defaults
        on defaults.defaclnamespace in (0, class.relnamespace) and defaults.defaclobjtype = 'r'
    cross join aclexplode(defaults.defaclacl) as acl
    where acl.grantee not in (0, target.relowner)
    union all
    select
        4,
        format(
            'grant %s%s on %s to %s%s',
            granted.privilege_type,
            granted.columns,
            target.name,
            case granted.grantee when 0 then 'public' else format('%I', role.rolname) end,
            case when granted.is_grantable then ' with grant option' else '' end
        )
    from target
    cross join granted
    left join pg_catalog.pg_roles as role on role.oid = granted.grantee
    where granted.grantee <> target.relowner and (granted.grantee = 0 or role.oid is not null)
) as statements
order by place, statement
";

/// `$1` table: statements that define again the views that read it. They keep their identity, their rights and what
/// depends on them.
const VIEWS: &str = r"
select distinct
    format(
        'create or replace view %s%s as %s',
        class.oid::regclass,
        case when class.reloptions is not null then format(' with (%s)', array_to_string(class.reloptions, ', ')) end,
        pg_get_viewdef(class.oid)
    )
from pg_catalog.pg_depend as depend
inner join pg_catalog.pg_rewrite as rule on rule.oid = depend.objid
inner join pg_catalog.pg_class as class on class.oid = rule.ev_class and class.relkind = 'v'
where
    depend.classid = 'pg_catalog.pg_rewrite'::regclass
    and depend.refclassid = 'pg_catalog.pg_class'::regclass
    and depend.refobjid = to_regclass($1)
";
