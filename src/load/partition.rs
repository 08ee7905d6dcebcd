//! The monthly partitions of tables of windows: made when rows need them, and two months ahead.
//!
//! A new partition is made beside its table and attached, which does not disturb readers and writers of the table.
//! There is no default partition: it would have to be searched, under a lock, whenever another one is attached.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, Utc};
use sqlx::{Connection as _, PgConnection};

use super::LoadError;
use super::shape;
use super::table::{lock_structure, run_ddl};
use crate::store::ident::{literal, quote, table as qualified};
use crate::store::partitions::{self, Partition};

/// How many months after the needed one are made.
const AHEAD: u32 = 2;
/// Names of partitions that are tried if some are taken.
const NAMES_MAX: u32 = 100;

/// A month of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Month(NaiveDate);

impl Month {
    /// The month that contains `at`.
    pub(super) fn of(at: DateTime<Utc>) -> Self {
        let date = at.date_naive();
        Self(date.with_day(1).unwrap_or(date))
    }

    pub(super) fn after(self, months: u32) -> Self {
        Self(self.0.checked_add_months(Months::new(months)).unwrap_or(self.0))
    }

    pub(super) fn start(self) -> DateTime<Utc> {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    /// `2026-11`.
    pub(super) fn shown(self) -> String {
        self.0.format("%Y-%m").to_string()
    }

    /// `2026_11`.
    pub(super) fn in_name(self) -> String {
        self.0.format("%Y_%m").to_string()
    }
}

/// Makes a partition for rows with this `_window_start`, and for the next months, where a table that is divided by
/// `_window_start` has none.
pub(super) async fn make_room(
    connection: &mut PgConnection,
    table: (&str, &str),
    window_start: DateTime<Utc>,
) -> Result<(), LoadError> {
    let Some(present) = partitions::of_table(connection, table.0, table.1).await? else { return Ok(()) };
    let month = Month::of(window_start);
    let later = (1..=AHEAD).map(|months| month.after(months));
    let later: Vec<Month> = later.filter(|month| !has(&present, month.start())).collect();
    if !has(&present, window_start) {
        make(connection, table, window_start).await?;
    }
    for month in later {
        if let Err(error) = make(connection, table, month.start()).await {
            tracing::debug!(%error, table = table.1, month = month.shown(), "a partition is made later");
            break;
        }
    }
    Ok(())
}

fn has(partitions: &[Partition], window_start: DateTime<Utc>) -> bool {
    partitions.iter().any(|partition| partition.has(window_start))
}

/// Makes the partition for rows with this `_window_start` in a transaction of its own, unless another worker did.
async fn make(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    window_start: DateTime<Utc>,
) -> Result<(), LoadError> {
    let mut transaction = connection.begin().await?;
    lock_structure(&mut transaction, schema, name).await?;
    let present = partitions::of_table(&mut transaction, schema, name).await?.unwrap_or_default();
    if !has(&present, window_start) {
        let options = present.last().map(|last| last.options.clone()).unwrap_or_default();
        attach_new(&mut transaction, (schema, name), &present, window_start, &options).await?;
    }
    Ok(transaction.commit().await?)
}

/// Makes the partition of the month of `window_start`, as far as other partitions leave it free.
pub(super) async fn attach_new(
    connection: &mut PgConnection,
    (schema, name): (&str, &str),
    present: &[Partition],
    window_start: DateTime<Utc>,
    options: &[String],
) -> Result<(), LoadError> {
    let month = Month::of(window_start);
    let before = present.iter().filter_map(|part| part.to).filter(|to| *to <= window_start).max();
    let after = present.iter().filter_map(|part| part.from).filter(|from| window_start < *from).min();
    let from = before.map_or(month.start(), |before| before.max(month.start()));
    let to = after.map_or(month.after(1).start(), |after| after.min(month.after(1).start()));
    let part = free_name(connection, schema, name, &month.in_name()).await?;
    let (table, part) = (qualified(schema, name), qualified(schema, &part));
    let options: Vec<String> = options.iter().filter_map(|option| storage_parameter(option)).collect();
    let with = if options.is_empty() { String::new() } else { format!(" with ({})", options.join(", ")) };
    let meaning = format!("Rows of {schema}.{name} whose _window_start is in {} (UTC)", month.shown());
    for statement in [
        // Attaching it makes the indexes.
        format!(
            "create table {part} (like {table} including all excluding identity excluding indexes excluding statistics){with}"
        ),
        format!("comment on table {part} is {}", literal(&meaning)),
        format!("alter table {table} attach partition {part} for values from ({}) to ({})", instant(from), instant(to)),
    ] {
        run_ddl(connection, statement).await?;
    }
    keep_private(connection, &table, &part).await?;
    Ok(())
}

/// Gives a partition the owner of its table, and takes all rights on it from other roles. Rows are read and written
/// through the table, whose rights decide. Otherwise a role that must not read the table could read the partition, by
/// a default of the schema or a right that only the table lost.
pub(super) async fn keep_private(connection: &mut PgConnection, table: &str, part: &str) -> Result<(), sqlx::Error> {
    let statements: Vec<String> =
        sqlx::query_scalar(PRIVATE).bind(part).bind(table).fetch_all(&mut *connection).await?;
    for statement in statements {
        run_ddl(connection, statement).await?;
    }
    Ok(())
}

/// `$1` partition, `$2` table: the statements for [`keep_private`].
const PRIVATE: &str = r"
with part as (
    select class.oid, class.oid::regclass::text as name, class.relowner, class.relacl
    from pg_catalog.pg_class as class
    where class.oid = to_regclass($1)
),

granted as (
    select acl.grantee
    from part
    cross join aclexplode(part.relacl) as acl
    union
    select acl.grantee
    from part
    inner join pg_catalog.pg_attribute as attribute on attribute.attrelid = part.oid and not attribute.attisdropped
    cross join aclexplode(attribute.attacl) as acl
)

select statement
from (
    select
        1 as place,
        format(
            'revoke all on %s from %s cascade',
            part.name,
            case granted.grantee when 0 then 'public' else quote_ident(role.rolname) end
        ) as statement
    from part
    cross join granted
    left join pg_catalog.pg_roles as role on role.oid = granted.grantee
    where granted.grantee <> part.relowner and (granted.grantee = 0 or role.oid is not null)
    union all
    select 2, format('alter table %s owner to %I', part.name, pg_get_userbyid(parent.relowner))
    from part
    inner join pg_catalog.pg_class as parent on parent.oid = to_regclass($2)
    where parent.relowner <> part.relowner
) as statements
order by place, statement
";

/// `name=value`, as stored, for a `with` clause.
fn storage_parameter(option: &str) -> Option<String> {
    let (name, value) = option.split_once('=')?;
    Some(format!("{} = {}", quote(name), literal(value)))
}

pub(super) fn instant(at: DateTime<Utc>) -> String {
    literal(&at.to_rfc3339())
}

/// A name for a partition that no relation of the schema has.
pub(super) async fn free_name(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
    suffix: &str,
) -> Result<String, LoadError> {
    for number in 1..=NAMES_MAX {
        let suffix = if number == 1 { format!("_{suffix}") } else { format!("_{suffix}_{number}") };
        let name = format!("{}{suffix}", &table[..table.floor_char_boundary(63 - suffix.len())]);
        if shape::relation(connection, schema, &name).await?.is_none() {
            return Ok(name);
        }
    }
    let detail = format!("no name is free for its partition `{suffix}`");
    Err(LoadError::Altered { table: format!("{schema}.{table}"), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_utc() {
        let month = Month::of("2026-12-31T23:30:00-01:00".parse().unwrap());
        assert_eq!((month.shown(), month.in_name()), ("2027-01".to_owned(), "2027_01".to_owned()));
        assert_eq!(Month::of("2026-11-30T12:00:00Z".parse().unwrap()).after(2), month);
        assert_eq!(month.start().to_rfc3339(), "2027-01-01T00:00:00+00:00");
    }

    #[test]
    fn p7_storage_parameters_are_quoted() {
        assert_eq!(storage_parameter("fillfactor=90").unwrap(), "\"fillfactor\" = E'90'");
        assert_eq!(storage_parameter("a=1); drop table x; --").unwrap(), "\"a\" = E'1); drop table x; --'");
    }
}
