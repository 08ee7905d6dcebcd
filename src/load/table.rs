//! A warehouse table as it is now, and how it grows with the data.
//!
//! Two workers may meet the same new field at once: every change is made under one advisory lock per table, after reading
//! what the other has done, and loads notice that a table changed by the number of its last entry in
//! `tidegate.schema_change`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::LoadError;
use super::ident::{literal, quote, table as qualified};
use super::layout::{Layout, join};
use crate::catalogue::{Child, ColumnNames, ColumnType, Keep, Mode, Stream};

/// DDL that waits longer gives way: a reader's long query must not make everyone queue behind it.
const DDL_LOCK_TIMEOUT: &str = "10s";

/// Columns that every row has beside its fields.
const SYSTEM_COLUMNS: &str = "_connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null";

/// A warehouse table and which vendor field fills which column.
#[derive(Debug, Clone)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub mode: Mode,
    /// Columns of the primary key behind `_connection`, and `_window_start` if it is one of them.
    pub key: Vec<String>,
    /// In the order in which they came to be.
    pub columns: Vec<TableColumn>,
    /// What fills child tables: staged with a row, but no column of the table.
    pub links: Vec<Links>,
    by_field: HashMap<String, usize>,
    /// The last schema change that this picture knows of.
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    pub field: String,
    pub name: String,
    pub kind: ColumnType,
    pub keep: Keep,
}

/// An array that fills a child table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    pub child: Child,
    /// Where the array is staged.
    pub staged: TableColumn,
}

/// Who asks for a change, for `tidegate.schema_change`.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    pub run: i64,
    pub connection: &'a str,
}

impl Table {
    /// The table of `stream` as it is now; the table of an extra report is made if it is missing.
    pub async fn open(connection: &mut PgConnection, stream: &Stream, cause: Cause<'_>) -> Result<Self, LoadError> {
        if !exists(connection, stream).await? {
            create(connection, stream, cause).await?;
        }
        Self::read(connection, stream).await
    }

    async fn read(connection: &mut PgConnection, stream: &Stream) -> Result<Self, LoadError> {
        let (version, _) = version_now(connection, stream.schema, &stream.name).await?;
        let added = sqlx::query!(
            "
            select column_name, field, kind
            from tidegate.table_column
            where table_schema = $1 and table_name = $2
            order by added_at, column_name
            ",
            stream.schema,
            &*stream.name,
        )
        .fetch_all(connection)
        .await?;
        let mut table = Self::new(stream, version);
        for column in added {
            let kind = ColumnType::from_sql(&column.kind).unwrap_or(ColumnType::Text);
            table.push(TableColumn { field: column.field, name: column.column_name, kind, keep: Keep::Latest });
        }
        Ok(table)
    }

    /// With the documented columns only.
    fn new(stream: &Stream, version: i64) -> Self {
        let links = stream.children.iter().enumerate().map(|(number, child)| Links {
            child: child.clone(),
            staged: TableColumn {
                field: child.field.to_string(),
                name: format!("_links_{number}"),
                kind: ColumnType::Jsonb,
                keep: Keep::Latest,
            },
        });
        let own_key = stream.primary_key().into_iter().filter(|name| !matches!(*name, "_connection" | "_window_start"));
        let mut table = Self {
            schema: stream.schema.to_owned(),
            name: stream.name.to_string(),
            mode: stream.mode,
            key: own_key.map(ToOwned::to_owned).collect(),
            columns: Vec::new(),
            links: links.collect(),
            by_field: HashMap::new(),
            version,
        };
        for column in stream.columns.iter() {
            let (field, name) = (column.field.to_string(), column.name.to_string());
            table.push(TableColumn { field, name, kind: column.kind, keep: column.keep });
        }
        table
    }

    fn push(&mut self, column: TableColumn) {
        self.by_field.insert(column.field.clone(), self.columns.len());
        self.columns.push(column);
    }

    /// Whether rows are told apart by `_row_key`.
    pub fn by_hash(&self) -> bool {
        self.key == ["_row_key"]
    }

    /// Whether rows may be compared with fingerprints: each belongs to one slice, has a hash as its key, and what becomes of
    /// it depends on nothing but its record.
    pub fn fingerprinted(&self) -> bool {
        let plain = self.columns.iter().all(|column| column.keep == Keep::Latest);
        self.mode == Mode::ReplaceWindow && self.by_hash() && self.links.is_empty() && plain
    }

    /// The column that `field` fills, or where it is staged for a child table.
    pub fn column(&self, field: &str) -> Option<&TableColumn> {
        let links = || self.links.iter().map(|links| &links.staged).find(|staged| staged.field == field);
        self.by_field.get(field).map(|&at| &self.columns[at]).or_else(links)
    }

    /// Tells a layout of the columns that earlier pages added.
    pub fn teach(&self, layout: &mut Layout, stream: &Stream) {
        for column in &self.columns[stream.columns.len().min(self.columns.len())..] {
            layout.know(&column.field, column.kind);
        }
    }

    /// Whether every field of `layout` has a column that holds it.
    pub fn holds(&self, layout: &Layout) -> bool {
        layout
            .fields()
            .iter()
            .all(|field| self.column(&field.path).is_some_and(|column| join(column.kind, field.kind) == column.kind))
    }

    /// Adds and widens columns until every field of `layout` has one; in a transaction of its own.
    pub async fn grow(
        &mut self,
        connection: &mut PgConnection,
        stream: &Stream,
        layout: &Layout,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let mut transaction = connection.begin().await?;
        lock_shape(&mut transaction, &self.schema, &self.name).await?;
        let mut now = Self::read(&mut transaction, stream).await?;
        let mut names = now.names(&mut transaction).await?;
        let mut new = Vec::new();
        for field in layout.fields().iter().filter(|field| field.child.is_none()) {
            match now.by_field.get(&field.path).copied() {
                None => new.push(TableColumn {
                    name: names.assign(&field.path),
                    field: field.path.clone(),
                    kind: field.kind,
                    keep: Keep::Latest,
                }),
                Some(at) => {
                    let wider = join(now.columns[at].kind, field.kind);
                    if wider != now.columns[at].kind {
                        now.widen_column(&mut transaction, at, wider, &mut names, cause).await?;
                    }
                }
            }
        }
        now.add_columns(&mut transaction, new, cause).await?;
        (now.version, _) = version_now(&mut transaction, &self.schema, &self.name).await?;
        transaction.commit().await?;
        *self = now;
        Ok(())
    }

    /// The names that are taken: of columns, of those that others added, and of what every table has (`xmin`, …).
    async fn names(&self, connection: &mut PgConnection) -> Result<ColumnNames, LoadError> {
        let taken: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute where attrelid = to_regclass($1) and not attisdropped",
        )
        .bind(qualified(&self.schema, &self.name))
        .fetch_all(connection)
        .await?;
        Ok(ColumnNames::new(taken))
    }

    async fn add_columns(
        &mut self,
        connection: &mut PgConnection,
        new: Vec<TableColumn>,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        if new.is_empty() {
            return Ok(());
        }
        let table = qualified(&self.schema, &self.name);
        let additions: Vec<String> =
            new.iter().map(|column| format!("add column {} {}", quote(&column.name), column.kind.sql())).collect();
        run_ddl(connection, format!("alter table {table} {}", additions.join(", "))).await?;
        for column in new {
            let meaning = format!("Vendor field {}; undocumented, found in the data", column.field);
            self.comment(connection, &column.name, &meaning).await?;
            sqlx::query!(
                "
                insert into tidegate.table_column (table_schema, table_name, column_name, field, kind, added_at)
                values ($1, $2, $3, $4, $5, clock_timestamp())
                ",
                self.schema,
                self.name,
                column.name,
                column.field,
                column.kind.sql(),
            )
            .execute(&mut *connection)
            .await?;
            record(connection, self, Some(&column), ("add_column", None), cause).await?;
            self.push(column);
        }
        Ok(())
    }

    /// Gives a column a wider type. Where something of the operator's stands in the way (a view, usually), the field goes
    /// on in a new column instead: a load does not fail because someone looks at it.
    async fn widen_column(
        &mut self,
        connection: &mut PgConnection,
        at: usize,
        kind: ColumnType,
        names: &mut ColumnNames,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let table = qualified(&self.schema, &self.name);
        let old = self.columns[at].clone();
        let column = quote(&old.name);
        let (sql, converted) = (kind.sql(), conversion(&column, old.kind, kind));
        let mut attempt = connection.begin().await?;
        let widened =
            run_ddl(&mut attempt, format!("alter table {table} alter column {column} type {sql} using {converted}"))
                .await;
        let mut change = ("widen_column", Some(old.kind));
        match widened {
            Ok(()) => attempt.commit().await?,
            Err(error) if stands_in_the_way(&error) => {
                attempt.rollback().await?;
                change = ("add_column", None);
                self.columns[at].name = names.assign(&old.field);
                let name = &self.columns[at].name;
                run_ddl(connection, format!("alter table {table} add column {} {sql}", quote(name))).await?;
                let meaning = format!(
                    "Vendor field {}; goes on from column {}, which something depends on so that it could not become {sql}",
                    old.field, old.name
                );
                self.comment(connection, name, &meaning).await?;
                tracing::warn!(%table, column = old.name, successor = name, "a view or the like keeps a column from being widened");
            }
            Err(error) => return Err(error.into()),
        }
        self.columns[at].kind = kind;
        sqlx::query!(
            "
            update tidegate.table_column
            set column_name = $4, kind = $5
            where table_schema = $1 and table_name = $2 and column_name = $3
            ",
            self.schema,
            self.name,
            old.name,
            self.columns[at].name,
            sql,
        )
        .execute(&mut *connection)
        .await?;
        record(connection, self, Some(&self.columns[at]), change, cause).await
    }

    async fn comment(&self, connection: &mut PgConnection, column: &str, meaning: &str) -> Result<(), LoadError> {
        let table = qualified(&self.schema, &self.name);
        let (column, meaning) = (quote(column), literal(meaning));
        run_ddl(connection, format!("comment on column {table}.{column} is {meaning}")).await?;
        Ok(())
    }
}

/// Whether a column's type cannot change because of a view, a rule, a trigger, a default or a check that uses it.
fn stands_in_the_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("0A000" | "2BP01" | "42804" | "42883"))
}

/// The expression that carries a column's values into a wider type without loss.
pub(super) fn conversion(column: &str, from: ColumnType, to: ColumnType) -> String {
    match (from, to) {
        // A direct cast to numeric keeps only 15 digits.
        (ColumnType::Double, ColumnType::Numeric) => format!("{column}::text::numeric"),
        (ColumnType::Timestamptz, _) => {
            format!(r#"to_char({column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
        }
        _ => format!("{column}::{}", to.sql()),
    }
}

/// The number of the table's last schema change, and the time of the transaction.
pub async fn version_now(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<(i64, DateTime<Utc>), sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select coalesce(max(id), 0) as "version!", now() as "now!"
        from tidegate.schema_change
        where table_schema = $1 and table_name = $2
        "#,
        schema,
        table,
    )
    .fetch_one(connection)
    .await?;
    Ok((found.version, found.now))
}

async fn lock_shape(connection: &mut PgConnection, schema: &str, table: &str) -> Result<(), sqlx::Error> {
    run_ddl(connection, format!("set local lock_timeout = '{DDL_LOCK_TIMEOUT}'")).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("tidegate shape of {schema}.{table}"))
        .execute(connection)
        .await?;
    Ok(())
}

/// Asks the catalogue itself: a session may answer `to_regclass` from what it knew before it waited for a lock.
async fn exists(connection: &mut PgConnection, stream: &Stream) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from pg_catalog.pg_class
            inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
            where nspname = $1 and relname = $2
        ) as "exists!"
        "#,
        stream.schema,
        &*stream.name,
    )
    .fetch_one(connection)
    .await
}

async fn create(connection: &mut PgConnection, stream: &Stream, cause: Cause<'_>) -> Result<(), LoadError> {
    let mut transaction = connection.begin().await?;
    lock_shape(&mut transaction, stream.schema, &stream.name).await?;
    let table = qualified(stream.schema, &stream.name);
    if exists(&mut transaction, stream).await? {
        return Ok(());
    }
    let key = quote(&format!("{}_pkey", &stream.name[..stream.name.floor_char_boundary(58)]));
    run_ddl(
        &mut transaction,
        format!(
            "create table {table} ({SYSTEM_COLUMNS}, constraint {key} primary key (_connection, _window_start, _row_key))"
        ),
    )
    .await?;
    run_ddl(&mut transaction, format!("comment on table {table} is {}", literal(&stream.meaning))).await?;
    for (column, meaning) in [
        ("_connection", "Connection that the row was read from"),
        ("_window_start", "Start of the slice that the row belongs to"),
        ("_row_key", "Hash of the record and of its place among identical records of the slice"),
        ("_extra", "Fields without a column and values that do not fit theirs; null when none"),
        ("_run_id", "Run (tidegate.run.id) that last changed the row"),
        ("_loaded_at", "When the row was last changed"),
    ] {
        run_ddl(&mut transaction, format!("comment on column {table}.{column} is {}", literal(meaning))).await?;
    }
    let made = Table::new(stream, 0);
    record(&mut transaction, &made, None, ("add_table", None), cause).await?;
    transaction.commit().await?;
    Ok(())
}

async fn record(
    connection: &mut PgConnection,
    table: &Table,
    column: Option<&TableColumn>,
    (change, old): (&str, Option<ColumnType>),
    cause: Cause<'_>,
) -> Result<(), LoadError> {
    sqlx::query!(
        "
        insert into tidegate.schema_change (
            run_id, connection, table_schema, table_name, column_name, field, change, old_type, new_type
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ",
        cause.run,
        cause.connection,
        table.schema,
        table.name,
        column.map(|column| &*column.name),
        column.map(|column| &*column.field),
        change,
        old.map(ColumnType::sql),
        column.map(|column| column.kind.sql()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn run_ddl(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
