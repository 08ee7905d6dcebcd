//! A warehouse table as it is now, and how it grows with the data.
//!
//! Two workers may meet the same new field at once: every change is made under one advisory lock per table, after reading
//! what the other has done, and loads notice that a table changed by the number of its last entry in
//! `tidegate.schema_change`.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::LoadError;
use super::ident::{literal, quote, table as qualified};
use super::layout::{Layout, join};
use crate::catalogue::{ColumnNames, ColumnType, Stream};

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
    /// In the order in which they came to be.
    pub columns: Vec<TableColumn>,
    by_field: HashMap<String, usize>,
    /// The last schema change that this picture knows of.
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    pub field: String,
    pub name: String,
    pub kind: ColumnType,
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
        let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(qualified(stream.schema, &stream.name))
            .fetch_one(&mut *connection)
            .await?;
        if !exists {
            create(connection, stream, cause).await?;
        }
        Self::read(connection, stream).await
    }

    async fn read(connection: &mut PgConnection, stream: &Stream) -> Result<Self, LoadError> {
        let version = version(connection, stream.schema, &stream.name).await?;
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
        let mut table = Self {
            schema: stream.schema.to_owned(),
            name: stream.name.to_string(),
            columns: Vec::new(),
            by_field: HashMap::new(),
            version,
        };
        for column in stream.columns.iter() {
            table.push(column.field.to_string(), column.name.to_string(), column.kind);
        }
        for column in added {
            let kind = ColumnType::from_sql(&column.kind).unwrap_or(ColumnType::Text);
            table.push(column.field, column.column_name, kind);
        }
        Ok(table)
    }

    fn push(&mut self, field: String, name: String, kind: ColumnType) {
        self.by_field.insert(field.clone(), self.columns.len());
        self.columns.push(TableColumn { field, name, kind });
    }

    /// The column that `field` fills.
    pub fn column(&self, field: &str) -> Option<&TableColumn> {
        self.by_field.get(field).map(|&at| &self.columns[at])
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
        let mut names = ColumnNames::new(now.columns.iter().map(|column| column.name.clone()));
        for field in layout.fields() {
            match now.by_field.get(&field.path).copied() {
                None => {
                    let name = names.assign(&field.path);
                    now.add_column(&mut transaction, &field.path, &name, field.kind, cause).await?;
                }
                Some(at) => {
                    let wider = join(now.columns[at].kind, field.kind);
                    if wider != now.columns[at].kind {
                        now.widen_column(&mut transaction, at, wider, cause).await?;
                    }
                }
            }
        }
        now.version = version(&mut transaction, &self.schema, &self.name).await?;
        transaction.commit().await?;
        *self = now;
        Ok(())
    }

    async fn add_column(
        &mut self,
        connection: &mut PgConnection,
        field: &str,
        name: &str,
        kind: ColumnType,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let table = qualified(&self.schema, &self.name);
        let column = quote(name);
        let meaning = format!("Vendor field {field}; undocumented, found in the data");
        let comment = literal(&meaning);
        run_ddl(connection, format!("alter table {table} add column {column} {}", kind.sql())).await?;
        run_ddl(connection, format!("comment on column {table}.{column} is {comment}")).await?;
        sqlx::query!(
            "
            insert into tidegate.table_column (table_schema, table_name, column_name, field, kind, added_at)
            values ($1, $2, $3, $4, $5, clock_timestamp())
            ",
            self.schema,
            self.name,
            name,
            field,
            kind.sql(),
        )
        .execute(&mut *connection)
        .await?;
        self.push(field.to_owned(), name.to_owned(), kind);
        record(connection, self, Some((name, field)), ("add_column", None, Some(kind)), cause).await
    }

    async fn widen_column(
        &mut self,
        connection: &mut PgConnection,
        at: usize,
        kind: ColumnType,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let table = qualified(&self.schema, &self.name);
        let TableColumn { field, name, kind: old } = self.columns[at].clone();
        let column = quote(&name);
        let converted = conversion(&column, old, kind);
        run_ddl(connection, format!("alter table {table} alter column {column} type {} using {converted}", kind.sql()))
            .await?;
        sqlx::query!(
            "
            update tidegate.table_column
            set kind = $4
            where table_schema = $1 and table_name = $2 and column_name = $3
            ",
            self.schema,
            self.name,
            name,
            kind.sql(),
        )
        .execute(&mut *connection)
        .await?;
        self.columns[at].kind = kind;
        record(connection, self, Some((&name, &field)), ("widen_column", Some(old), Some(kind)), cause).await
    }
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

/// The number of the table's last schema change.
pub async fn version(connection: &mut PgConnection, schema: &str, table: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select coalesce(max(id), 0) as "version!"
        from tidegate.schema_change
        where table_schema = $1 and table_name = $2
        "#,
        schema,
        table,
    )
    .fetch_one(connection)
    .await
}

async fn lock_shape(connection: &mut PgConnection, schema: &str, table: &str) -> Result<(), sqlx::Error> {
    run_ddl(connection, format!("set local lock_timeout = '{DDL_LOCK_TIMEOUT}'")).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("tidegate shape of {schema}.{table}"))
        .execute(connection)
        .await?;
    Ok(())
}

async fn create(connection: &mut PgConnection, stream: &Stream, cause: Cause<'_>) -> Result<(), LoadError> {
    let mut transaction = connection.begin().await?;
    lock_shape(&mut transaction, stream.schema, &stream.name).await?;
    let table = qualified(stream.schema, &stream.name);
    let exists: bool =
        sqlx::query_scalar("select to_regclass($1) is not null").bind(&table).fetch_one(&mut *transaction).await?;
    if exists {
        return Ok(());
    }
    let key = quote(&format!("{}_pkey", stream.name.get(..58).unwrap_or(&stream.name)));
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
    let made = Table {
        schema: stream.schema.to_owned(),
        name: stream.name.to_string(),
        columns: Vec::new(),
        by_field: HashMap::new(),
        version: 0,
    };
    record(&mut transaction, &made, None, ("add_table", None, None), cause).await?;
    transaction.commit().await?;
    Ok(())
}

async fn record(
    connection: &mut PgConnection,
    table: &Table,
    column: Option<(&str, &str)>,
    (change, old, new): (&str, Option<ColumnType>, Option<ColumnType>),
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
        column.map(|(name, _)| name),
        column.map(|(_, field)| field.replace('\0', "\\u0000")),
        change,
        old.map(ColumnType::sql),
        new.map(ColumnType::sql),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn run_ddl(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
