//! Which key a table has. It is chosen when the first rows of the table are loaded, and stored in `tidegate.table_key`:
//! a key that a job states becomes the primary key, in types that the job, the documentation or the first ids give. A
//! table that has rows keeps its key.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::LoadError;
use super::create::{self, ColumnDefinition, Definition};
use super::grow::note;
use super::shape::{self, Attribute};
use super::table::{Cause, TableColumn, lock_structure, record, run_ddl};
use crate::catalogue::{Column, ColumnNames, ColumnType, Keep, Key, KeyType, Stream, Text, column_name};
use crate::rows::encode::Bound;
use crate::rows::layout::Layout;
use crate::rows::page::identity::has_identity;
use crate::store::distribution::Distribution;
use crate::store::ident::{quote, table as qualified};

/// Columns of a primary key that a job may choose; Postgres allows 32 in an index.
const COLUMNS_MAX: usize = 28;
/// SQLSTATE of an object that others depend on.
const DEPENDED_ON: &str = "2BP01";

/// The primary key of a table that a job has chosen, as stored. Without an entry, `_row_key` identifies rows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    /// Vendor fields that the job stated.
    fields: Vec<String>,
    /// The columns that hold them.
    columns: Vec<String>,
}

/// The stream as its table takes it: with the key that the table has, or gets with its first rows. Creates the table if
/// it is missing. Returns an error if the rows of the table are identified by other fields than the job states.
pub async fn of_table(
    connection: &mut PgConnection,
    stream: &Stream,
    types: &BTreeMap<String, ColumnType>,
    distribution: Distribution,
    cause: Cause<'_>,
) -> Result<Stream, LoadError> {
    if matches!(stream.key, Key::Columns(_) | Key::Chosen(_)) {
        return Ok(stream.clone());
    }
    let stream = identified(connection, stream, types, distribution, cause).await?;
    with_row_time(connection, stream).await
}

async fn identified(
    connection: &mut PgConnection,
    stream: &Stream,
    types: &BTreeMap<String, ColumnType>,
    distribution: Distribution,
    cause: Cause<'_>,
) -> Result<Stream, LoadError> {
    let definition = Definition::of(stream);
    if shape::relation(connection, stream.schema, &stream.name).await?.is_none() {
        create::create(connection, &definition, distribution, cause).await?;
    }
    let stored = read(connection, stream.schema, &stream.name).await?;
    let mut fields = fields_of(stream);
    // The same fields in another order, or spelt in another way, are the key that the table has.
    if let Some(stored) = stored.as_ref().filter(|stored| are_same(&stored.fields, &fields)) {
        fields.clone_from(&stored.fields);
    }
    if is_empty(connection, stream.schema, &stream.name).await? {
        let chosen = candidate(connection, stream, &fields, types).await?;
        if chosen.is_none() && stored.is_some() {
            let mut transaction = connection.begin().await?;
            rebuild(&mut transaction, &definition, stream, cause).await?;
            forget(&mut transaction, stream.schema, &stream.name).await?;
            transaction.commit().await?;
        }
        return Ok(chosen.unwrap_or_else(|| stream.clone()));
    }
    // Rows with hashes are replaced when their slices are read again, also by rows with hashes of other fields.
    let Some(stored) = stored else { return Ok(stream.clone()) };
    if stored.fields != fields {
        return Err(LoadError::Key {
            table: definition.full_name(),
            has: shown(&stored.fields, stream),
            wanted: shown(&fields, stream),
        });
    }
    let chosen = candidate(connection, stream, &fields, types).await?;
    chosen.ok_or_else(|| LoadError::Unfit {
        table: definition.full_name(),
        what: format!("a column of its key ({}) has a type that no key can have", stored.columns.join(", ")),
        remedy: format!(
            "alter table {} alter column … type bigint, or type text: the type that the column had",
            qualified(stream.schema, &stream.name)
        ),
    })
}

/// The stream with the field whose time the keys of its table begin with. It is chosen while the table is empty:
/// otherwise a record that is read again would get another key than its row has.
async fn with_row_time(connection: &mut PgConnection, mut stream: Stream) -> Result<Stream, LoadError> {
    if stream.key != Key::RowHash {
        stream.row_time = None;
        return Ok(stream);
    }
    let (schema, name) = (stream.schema, stream.name.to_string());
    let mut chosen = read_row_time(connection, schema, &name).await?;
    if chosen.is_none()
        && let Some(field) = &stream.row_time
        && is_empty(connection, schema, &name).await?
    {
        // This is committed before the first row, so all workers choose the same.
        sqlx::query!(
            "
            insert into tidegate.row_time (table_schema, table_name, field)
            values ($1, $2, $3)
            on conflict do nothing
            ",
            schema,
            name,
            &**field,
        )
        .execute(&mut *connection)
        .await?;
        chosen = read_row_time(connection, schema, &name).await?;
    }
    stream.row_time = chosen.map(Text::Owned);
    Ok(stream)
}

async fn read_row_time(connection: &mut PgConnection, schema: &str, name: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select field from tidegate.row_time where table_schema = $1 and table_name = $2",
        schema,
        name,
    )
    .fetch_optional(connection)
    .await
}

fn fields_of(stream: &Stream) -> Vec<String> {
    match &stream.key {
        Key::Fields(fields) => fields.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// Whether two lists name the same fields.
fn are_same(some: &[String], others: &[String]) -> bool {
    some.len() == others.len() && some.iter().all(|field| others.iter().any(|other| is_same(field, other)))
}

/// Whether two spellings name one field: letter case is ignored, and the name of a column names its field.
fn is_same(field: &str, other: &str) -> bool {
    field.to_lowercase() == other.to_lowercase() || column_name(field) == column_name(other)
}

fn shown(fields: &[String], stream: &Stream) -> String {
    match &stream.key {
        _ if !fields.is_empty() => format!("`key: [{}]`", fields.join(", ")),
        Key::AnyOf(_) => "their id, or their whole content where they have none".to_owned(),
        _ => "their whole content".to_owned(),
    }
}

/// The stream with the columns of `fields` as its key. Returns `None` if they do not suit an index.
async fn candidate(
    connection: &mut PgConnection,
    stream: &Stream,
    fields: &[String],
    types: &BTreeMap<String, ColumnType>,
) -> Result<Option<Stream>, LoadError> {
    if fields.is_empty() || fields.len() > COLUMNS_MAX {
        return Ok(None);
    }
    let Some(relation) = shape::relation(connection, stream.schema, &stream.name).await? else { return Ok(None) };
    let attributes = shape::attributes(connection, relation.oid).await?;
    let known = sqlx::query!(
        "
        select column_name, field
        from tidegate.table_column
        where table_schema = $1 and table_name = $2 and variant = ''
        order by added_at, column_name
        ",
        stream.schema,
        &*stream.name,
    )
    .fetch_all(connection)
    .await?;
    let documented = stream.columns.iter().map(|column| column.name.to_string());
    let mut free = ColumnNames::new(attributes.keys().cloned().chain(documented));
    let mut chosen = stream.clone();
    let mut key: Vec<Text> = Vec::new();
    for field in fields {
        let is_documented = |column: &&Column| is_same(&column.field, field) || column.name == column_name(field);
        let documented = stream.columns.iter().find(is_documented);
        if let Some(column) = documented {
            let fits =
                attributes.get(&*column.name).is_none_or(|found| found.usable == Some((column.kind, Bound::None)));
            if !fits || !has_identity(column.kind) || column.keep != Keep::Latest {
                return Ok(None);
            }
            key.push(column.name.clone());
            continue;
        }
        let stated = types.iter().find(|(other, _)| is_same(other, field)).map(|(_, kind)| *kind);
        let there = known.iter().find(|row| is_same(&row.field, field)).and_then(|row| {
            let attribute = attributes.get(&row.column_name)?;
            Some((row.column_name.clone(), row.field.clone(), attribute.usable))
        });
        let (name, field, kind) = match there {
            Some((name, field, Some((kind, Bound::None)))) => (name, field, kind),
            Some(_) => return Ok(None),
            None => (free.assign(field), field.clone(), stated.unwrap_or(ColumnType::Bigint)),
        };
        if !has_identity(kind) {
            return Ok(None);
        }
        if let Some(stated) = stated.filter(|stated| *stated != kind) {
            tracing::warn!(
                table = format!("{}.{}", stream.schema, stream.name),
                column = name,
                found = kind.sql(),
                stated = stated.sql(),
                "the column of the key keeps its type, although `types` states another one; drop or rename the table to load it anew"
            );
        }
        key.push(name.clone().into());
        chosen.columns.to_mut().push(Column {
            field: field.clone().into(),
            name: name.into(),
            kind,
            meaning: format!("Vendor field {field}; undocumented, part of the key that the job states").into(),
            key_type: Some(if stated == Some(kind) { KeyType::Stated } else { KeyType::Found }),
            ..Column::new("", "", kind, "")
        });
    }
    chosen.key = Key::Chosen(key);
    Ok(Some(chosen))
}

/// Whether the table has the stream's chosen key already.
pub(super) async fn is_there(connection: &mut PgConnection, stream: &Stream) -> Result<bool, sqlx::Error> {
    let Key::Chosen(wanted) = &stream.key else { return Ok(true) };
    let stored = read(connection, stream.schema, &stream.name).await?;
    Ok(stored.is_some_and(|stored| stored.columns == **wanted))
}

/// Gives an empty table the stream's chosen key, with the types that the layout's fields have, in the transaction that
/// holds the lock on its structure.
pub(super) async fn choose(
    connection: &mut PgConnection,
    stream: &Stream,
    layout: &Layout,
    cause: Cause<'_>,
) -> Result<(), LoadError> {
    let Key::Chosen(key) = &stream.key else { return Ok(()) };
    let mut chosen = stream.clone();
    let mut fields = Vec::new();
    let columns = chosen.columns.to_mut();
    for name in key {
        let Some(column) = columns.iter_mut().find(|column| column.name == *name) else { continue };
        fields.push(column.field.to_string());
        if let Some(at) = layout.find(&column.field, 0) {
            column.kind = layout.fields()[at].kind;
        }
    }
    rebuild(connection, &Definition::of(&chosen), &chosen, cause).await?;
    let columns = key.iter().map(ToString::to_string).collect();
    Ok(write(connection, stream, &Stored { fields, columns }).await?)
}

/// Replaces the primary key of an empty table by that of `definition`.
async fn rebuild(
    connection: &mut PgConnection,
    definition: &Definition,
    stream: &Stream,
    cause: Cause<'_>,
) -> Result<(), LoadError> {
    let mut transaction = connection.begin().await?;
    let (schema, name) = (definition.schema, &*definition.name);
    let table = qualified(schema, name);
    lock_structure(&mut transaction, schema, name).await?;
    run_ddl(&mut transaction, format!("lock table {table} in access exclusive mode")).await?;
    if !is_empty(&mut transaction, schema, name).await? {
        let detail = "rows came while its key was chosen".to_owned();
        return Err(LoadError::Altered { table: definition.full_name(), detail });
    }
    drop_key(&mut transaction, definition).await?;
    let before = read(&mut transaction, schema, name).await?;
    let relation = shape::relation(&mut transaction, schema, name).await?;
    let attributes = shape::attributes(&mut transaction, relation.map_or(0, |relation| relation.oid)).await?;
    let former = before.map(|stored| stored.columns).unwrap_or_default();
    for column in former.iter().filter(|column| !definition.is_key(column) && attributes.contains_key(*column)) {
        run_ddl(&mut transaction, format!("alter table {table} alter column {} drop not null", quote(column))).await?;
    }
    if !definition.is_key(ROW_KEY) && attributes.contains_key(ROW_KEY) {
        drop_row_key(&mut transaction, &table).await?;
    }
    for column in definition.columns.iter().filter(|column| definition.is_key(&column.name)) {
        add(&mut transaction, definition, column, &attributes).await?;
        let brought = stream.columns.iter().find(|known| known.name == column.name && known.key_type.is_some());
        if let Some(brought) = brought.filter(|_| !attributes.contains_key(&column.name)) {
            let added = TableColumn::new(&brought.field, &brought.name, brought.kind);
            note(&mut transaction, (schema, name), &added, "").await?;
            let changed = (&*brought.name, Some(&*brought.field), brought.kind.sql());
            record(&mut transaction, (schema, name), Some(changed), ("add_column", None), cause).await?;
        }
    }
    let constraint = definition.constraint();
    let is_free = shape::relation(&mut transaction, schema, &constraint).await?.is_none();
    let constraint = if is_free { format!("constraint {} ", quote(&constraint)) } else { String::new() };
    let key: Vec<String> = definition.key.iter().map(|name| quote(name)).collect();
    run_ddl(&mut transaction, format!("alter table {table} add {constraint}primary key ({})", key.join(", "))).await?;
    transaction.commit().await?;
    tracing::info!(table = definition.full_name(), key = definition.key.join(", "), "the empty table got another key");
    Ok(())
}

const ROW_KEY: &str = "_row_key";

async fn drop_key(connection: &mut PgConnection, definition: &Definition) -> Result<(), LoadError> {
    let table = qualified(definition.schema, &definition.name);
    let constraint = sqlx::query_scalar!(
        r#"
        select conname::text as "name!"
        from pg_catalog.pg_constraint
        where conrelid = to_regclass($1) and contype = 'p'
        "#,
        table,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(constraint) = constraint else { return Ok(()) };
    let statement = format!("alter table {table} drop constraint {}", quote(&constraint));
    match run_ddl(connection, statement.clone()).await {
        Err(error) if super::code(&error).as_deref() == Some(DEPENDED_ON) => Err(LoadError::Unfit {
            table: definition.full_name(),
            what: "its primary key must be replaced by the one that the job states, but other objects depend on it"
                .to_owned(),
            remedy: format!("{statement} cascade"),
        }),
        done => Ok(done?),
    }
}

/// Drops `_row_key`. If a view reads it, it stays, without values.
async fn drop_row_key(connection: &mut PgConnection, table: &str) -> Result<(), LoadError> {
    let mut attempt = connection.begin().await?;
    match run_ddl(&mut attempt, format!("alter table {table} drop column {ROW_KEY}")).await {
        Ok(()) => attempt.commit().await?,
        Err(error) if super::code(&error).as_deref() == Some(DEPENDED_ON) => {
            attempt.rollback().await?;
            run_ddl(connection, format!("alter table {table} alter column {ROW_KEY} drop not null")).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Adds a column of the key, or makes the existing one `not null`.
async fn add(
    connection: &mut PgConnection,
    definition: &Definition,
    column: &ColumnDefinition,
    attributes: &HashMap<String, Attribute>,
) -> Result<(), LoadError> {
    let table = qualified(definition.schema, &definition.name);
    if attributes.contains_key(&column.name) {
        let name = quote(&column.name);
        run_ddl(connection, format!("alter table {table} alter column {name} set not null")).await?;
    } else {
        run_ddl(connection, format!("alter table {table} add column {}", column.sql())).await?;
        run_ddl(connection, column.comment(&table)).await?;
    }
    Ok(())
}

pub(super) async fn is_empty(connection: &mut PgConnection, schema: &str, name: &str) -> Result<bool, sqlx::Error> {
    let statement = format!("select 1 from {} limit 1", qualified(schema, name));
    let some: Option<i32> = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_optional(connection).await?;
    Ok(some.is_none())
}

async fn read(connection: &mut PgConnection, schema: &str, name: &str) -> Result<Option<Stored>, sqlx::Error> {
    let found = sqlx::query!(
        "select fields, columns from tidegate.table_key where table_schema = $1 and table_name = $2",
        schema,
        name,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|row| Stored { fields: row.fields, columns: row.columns }))
}

async fn write(connection: &mut PgConnection, stream: &Stream, key: &Stored) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into tidegate.table_key (table_schema, table_name, fields, columns)
        values ($1, $2, $3, $4)
        on conflict (table_schema, table_name) do update
        set fields = excluded.fields, columns = excluded.columns, chosen_at = excluded.chosen_at
        ",
        stream.schema,
        &*stream.name,
        &key.fields,
        &key.columns,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the key that a job has chosen for the table.
async fn forget(connection: &mut PgConnection, schema: &str, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.table_key where table_schema = $1 and table_name = $2", schema, name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets all choices that were made for a table that was dropped.
pub(super) async fn forget_all(connection: &mut PgConnection, schema: &str, name: &str) -> Result<(), sqlx::Error> {
    forget(connection, schema, name).await?;
    sqlx::query!("delete from tidegate.row_time where table_schema = $1 and table_name = $2", schema, name)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from tidegate.table_upkeep where table_schema = $1 and table_name = $2", schema, name)
        .execute(connection)
        .await?;
    Ok(())
}
