//! Creates the table of a stream from the catalogue, as its migration would: for extra reports, and for tables that
//! were dropped.

use sqlx::{Connection as _, PgConnection};

use super::shape;
use super::table::{Cause, lock_structure, record, run_ddl};
use super::{LoadError, key, storage, time_index, upkeep};
use crate::catalogue::{self, Child, Key, Mode, Stream};
use crate::store::distribution::{self, Distribution};
use crate::store::migrations::schema_meaning;

use crate::store::ident::{literal, quote, table as qualified};

/// SQLSTATE of a table whose name belongs to a type.
const TYPE_EXISTS: &str = "42710";

/// A table and its columns.
#[derive(Debug, Clone)]
pub struct Definition {
    pub schema: &'static str,
    pub name: String,
    pub meaning: String,
    /// In the order of the table.
    pub columns: Vec<ColumnDefinition>,
    /// The primary key's columns.
    pub key: Vec<String>,
    /// The column with the business time, if it is documented.
    pub business_time: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ColumnDefinition {
    pub name: String,
    pub sql_type: &'static str,
    pub not_null: bool,
    pub meaning: String,
}

impl Definition {
    /// The table that a stream fills.
    pub fn of(stream: &Stream) -> Self {
        let key: Vec<String> = stream.primary_key().into_iter().map(ToOwned::to_owned).collect();
        let mut columns = vec![system("_connection", stream)];
        if stream.mode == Mode::ReplaceWindow {
            columns.push(system("_window_start", stream));
        }
        if key.iter().any(|name| name == "_row_key") {
            columns.push(system("_row_key", stream));
        }
        columns.extend(stream.columns.iter().map(|column| own(column, &key)));
        columns.extend(["_extra", "_run_id", "_loaded_at"].map(|name| system(name, stream)));
        if stream.mode == Mode::Snapshot {
            columns.push(system("_deleted_at", stream));
        }
        let meaning = stream.comment();
        let business_time = stream.documented_time().map(|column| column.name.to_string());
        Self { schema: stream.schema, name: stream.name.to_string(), meaning, columns, key, business_time }
    }

    /// The child table that the elements of an array fill.
    pub fn of_child(stream: &Stream, child: &Child) -> Self {
        let of_parent = child.parent.iter().filter_map(|(theirs, ours)| {
            let column = stream.columns.iter().find(|column| column.name == *theirs)?;
            Some(catalogue::Column { name: ours.clone(), ..column.clone() })
        });
        let columns: Vec<_> = of_parent.chain(child.columns.iter().cloned()).collect();
        let own_key = columns.iter().take(child.parent.len() + 1).map(|column| column.name.to_string());
        let key: Vec<String> = ["_connection".to_owned()].into_iter().chain(own_key).collect();
        let own = columns.iter().map(|column| own(column, &key));
        let last = ["_extra", "_run_id", "_loaded_at"].map(|name| system(name, stream));
        Self {
            schema: stream.schema,
            name: child.name.to_string(),
            meaning: child.meaning.to_string(),
            columns: [system("_connection", stream)].into_iter().chain(own).chain(last).collect(),
            key,
            business_time: None,
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&ColumnDefinition> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The definition without the columns that only the key has, for a table that gets its key later.
    #[must_use]
    pub(super) fn without_key(mut self) -> Self {
        let key = std::mem::take(&mut self.key);
        let is_ours = |name: &str| matches!(name, "_connection" | "_window_start");
        self.columns.retain(|column| is_ours(&column.name) || !key.contains(&column.name));
        self
    }

    pub fn is_key(&self, name: &str) -> bool {
        self.key.iter().any(|key| key == name)
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The preferred name of the primary key.
    pub(super) fn constraint(&self) -> String {
        format!("{}_pkey", &self.name[..self.name.floor_char_boundary(58)])
    }

    /// `constraint` names the primary key. If it is `None`, Postgres chooses a name.
    fn statements(&self, constraint: Option<&str>) -> Vec<String> {
        let table = qualified(self.schema, &self.name);
        let columns: Vec<String> = self.columns.iter().map(ColumnDefinition::sql).collect();
        let constraint = constraint.map_or_else(String::new, |name| format!("constraint {} ", quote(name)));
        let key: Vec<String> = self.key.iter().map(|name| quote(name)).collect();
        let create = format!(
            "create table {table} ({}, {constraint}primary key ({})) with ({})",
            columns.join(", "),
            key.join(", "),
            storage::parameters(),
        );
        let comments = self.columns.iter().map(|column| column.comment(&table));
        [create, format!("comment on table {table} is {}", literal(&self.meaning))]
            .into_iter()
            .chain(comments)
            .chain([format!(
                "do $$ begin
                    if exists (select from pg_roles where rolname = 'tidegate_reader') then
                        grant select on {table} to tidegate_reader;
                    end if;
                end $$"
            )])
            .collect()
    }
}

impl ColumnDefinition {
    pub(super) fn sql(&self) -> String {
        format!("{} {}{}", quote(&self.name), self.sql_type, if self.not_null { " not null" } else { "" })
    }

    pub(super) fn comment(&self, table: &str) -> String {
        format!("comment on column {table}.{} is {}", quote(&self.name), literal(&self.meaning))
    }
}

fn own(column: &catalogue::Column, key: &[String]) -> ColumnDefinition {
    ColumnDefinition {
        name: column.name.to_string(),
        sql_type: column.kind.sql(),
        not_null: key.iter().any(|key| *key == column.name),
        meaning: column.meaning.to_string(),
    }
}

/// A column that Tidegate adds to the columns of the stream.
fn system(name: &'static str, stream: &Stream) -> ColumnDefinition {
    let (sql_type, not_null, meaning) = match name {
        "_connection" => ("text", true, "Connection that the row was read from"),
        "_window_start" => ("timestamptz", true, "Start of the slice that the row belongs to"),
        "_row_key" => (
            "uuid",
            true,
            match stream.key {
                Key::Fields(_) => "Hash of the fields that identify the record",
                Key::AnyOf(_) => "Hash of the record's id, or of the whole record where none is found",
                _ => "Hash of the record and of its place among identical records of the slice",
            },
        ),
        "_extra" => ("jsonb", false, "Fields without a column and values that do not fit theirs; null when none"),
        "_run_id" => ("bigint", true, "Run (tidegate.run.id) that last changed the row"),
        "_loaded_at" => ("timestamptz", true, "When the row was last changed"),
        _ => ("timestamptz", false, "Gone from the vendor's list since then; null while it is listed"),
    };
    ColumnDefinition { name: name.to_owned(), sql_type, not_null, meaning: meaning.to_owned() }
}

/// Creates the table, unless another worker did.
pub(super) async fn create(
    connection: &mut PgConnection,
    definition: &Definition,
    distribution: Distribution,
    cause: Cause<'_>,
) -> Result<(), LoadError> {
    let mut transaction = connection.begin().await?;
    let (schema, name) = (definition.schema, &*definition.name);
    lock_structure(&mut transaction, schema, name).await?;
    if shape::relation(&mut transaction, schema, name).await?.is_some() {
        return Ok(());
    }
    create_schema(&mut transaction, schema).await?;
    // A table that was renamed still has the constraint of this name.
    let constraint = definition.constraint();
    let is_free = shape::relation(&mut transaction, schema, &constraint).await?.is_none();
    for statement in definition.statements(Some(&*constraint).filter(|_| is_free)) {
        match run_ddl(&mut transaction, statement).await {
            Err(error) if super::code(&error).as_deref() == Some(TYPE_EXISTS) => {
                return Err(LoadError::NotATable { table: definition.full_name(), what: "a type" });
            }
            done => done?,
        }
    }
    if distribution == Distribution::Citus {
        distribution::distribute(&mut transaction, schema, name).await?;
    }
    record(&mut transaction, (schema, name), None, ("add_table", None), cause).await?;
    key::forget_all(&mut transaction, schema, name).await?;
    if let Some(column) = &definition.business_time {
        time_index::create(&mut transaction, (schema, name), column).await?;
    }
    upkeep::note_new(&mut transaction, (schema, name), definition.business_time.as_deref()).await?;
    let lost = forget_rows(&mut transaction, schema, name).await?;
    transaction.commit().await?;
    if lost > 0 {
        tracing::warn!(
            table = definition.full_name(),
            slices = lost,
            "the table was missing and was created again, empty; the next runs read its slices again"
        );
    }
    Ok(())
}

/// Creates the schema if it was dropped, and grants the reader role its rights.
async fn create_schema(connection: &mut PgConnection, schema: &'static str) -> Result<(), LoadError> {
    let there = "select exists (select from pg_catalog.pg_namespace where nspname = $1)";
    if sqlx::query_scalar(there).bind(schema).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    // Another worker may be creating the same schema for another table.
    lock_structure(connection, schema, "").await?;
    if sqlx::query_scalar(there).bind(schema).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    let (name, meaning) = (quote(schema), literal(&schema_meaning(schema)));
    run_ddl(connection, format!("create schema {name}; comment on schema {name} is {meaning}")).await?;
    let readers = format!(
        "do $$ begin
            if exists (select from pg_roles where rolname = 'tidegate_reader') then
                grant usage on schema {name} to tidegate_reader;
                alter default privileges in schema {name} grant select on tables to tidegate_reader;
            end if;
        end $$"
    );
    run_ddl(connection, readers).await?;
    tracing::warn!(schema, "the schema was missing and was created again");
    Ok(())
}

/// Makes the slices of the table unread, because their rows are lost: they are not complete, and the next run reads
/// them. Returns the number of slices that had been read.
async fn forget_rows(connection: &mut PgConnection, schema: &str, name: &str) -> Result<i64, sqlx::Error> {
    let slices = sqlx::query!(
        r#"
        select slice.id, slice.finished_run is not null as "finished!"
        from tidegate.slice
        inner join tidegate.stream
            on stream.connection = slice.connection and stream.stream = slice.stream
        where
            stream.table_schema = $1
            and stream.table_name = $2
            and (slice.reading_run is not null or slice.finished_run is not null)
        "#,
        schema,
        name,
    )
    .fetch_all(&mut *connection)
    .await?;
    for slice in &slices {
        crate::store::reading::restart(connection, slice.id).await?;
        if slice.finished {
            crate::store::reading::forget(connection, slice.id).await?;
        }
    }
    distrust(connection, schema, name).await?;
    Ok(slices.iter().map(|slice| i64::from(slice.finished)).sum())
}

/// Deletes the fingerprints of the table after a change of its columns, so that unchanged rows are written again too.
pub(super) async fn distrust(connection: &mut PgConnection, schema: &str, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with known as (
            select slice.id
            from tidegate.slice
            inner join tidegate.stream
                on stream.connection = slice.connection and stream.stream = slice.stream
            where
                stream.table_schema = $1
                and stream.table_name = $2
                and (slice.fingerprinted or slice.reading_run is not null)
        ),

        gone as (
            delete from tidegate.fingerprint
            using known
            where slice_id = known.id
        )

        update tidegate.slice
        set fingerprinted = false, reading_batches = case when reading_run is null then 0 end
        from known
        where slice.id = known.id
        ",
        schema,
        name,
    )
    .execute(connection)
    .await?;
    Ok(())
}
