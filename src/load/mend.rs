//! Finds missing system columns of a table, and creates missing columns again.

use std::collections::{BTreeMap, HashMap};

use sqlx::{Connection as _, PgConnection};

use super::LoadError;
use super::create::{ColumnDefinition, Definition, distrust};
use super::grow::note;
use super::shape::{self, Attribute};
use super::table::{Cause, Table, TableColumn, lock_structure, record, run_ddl};
use crate::catalogue::{Column, ColumnType, Stream};
use crate::store::ident::{literal, quote, table as qualified};

const AGAIN: &str = "existing rows have no value in it until they are read again, with `tidegate cursors reset` or \
                     `tidegate backfill`";

/// What is missing from a table.
#[derive(Debug, Clone)]
pub(super) enum Missing {
    /// The column that a field fills.
    Column(TableColumn),
    /// A replacement for a field's column, whose type cannot be written.
    Foreign { column: TableColumn, found: String },
    /// A system column, or a column of a child table.
    System { table: String, column: ColumnDefinition },
}

impl Table {
    /// Creates what is missing, in a transaction of its own.
    pub(super) async fn mend(
        &self,
        connection: &mut PgConnection,
        stream: &Stream,
        types: &BTreeMap<String, ColumnType>,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let mut transaction = connection.begin().await?;
        lock_structure(&mut transaction, &self.schema, &self.name).await?;
        let now = Self::read(&mut transaction, stream, self.distribution).await?;
        let mut created = Vec::new();
        for missing in &now.missing {
            created.push(match missing {
                Missing::Column(column) => {
                    let documented = stream.columns.iter().find(|documented| documented.name == column.name);
                    let stated = types.get(&column.field).filter(|_| documented.is_none());
                    let column = TableColumn { kind: stated.copied().unwrap_or(column.kind), ..column.clone() };
                    now.create_column(&mut transaction, documented, &column, cause).await?
                }
                Missing::Foreign { column, found } => now.replace(&mut transaction, column, found, cause).await?,
                Missing::System { table, column } => {
                    create_system_column(&mut transaction, (&self.schema, table), column, cause).await?
                }
            });
        }
        distrust(&mut transaction, &self.schema, &self.name).await?;
        transaction.commit().await?;
        for (table, column, what) in created {
            tracing::warn!(table = format!("{}.{table}", self.schema), column, "{what}; {AGAIN}");
        }
        Ok(())
    }

    async fn create_column(
        &self,
        connection: &mut PgConnection,
        documented: Option<&Column>,
        column: &TableColumn,
        cause: Cause<'_>,
    ) -> Result<(String, String, String), LoadError> {
        let meaning = documented.map_or_else(
            || format!("Vendor field {}; undocumented, found in the data", column.field),
            |documented| documented.meaning.to_string(),
        );
        self.add(connection, column, &meaning).await?;
        if documented.is_none() {
            note(connection, (&self.schema, &self.name), column, "").await?;
        }
        let changed = (&*column.name, Some(&*column.field), column.kind.sql());
        record(connection, (&self.schema, &self.name), Some(changed), ("add_column", None), cause).await?;
        Ok((self.name.clone(), column.name.clone(), "the column was missing and was created again".to_owned()))
    }

    /// Creates a column for the values of a field whose own column has a type that Tidegate cannot write.
    async fn replace(
        &self,
        connection: &mut PgConnection,
        column: &TableColumn,
        found: &str,
        cause: Cause<'_>,
    ) -> Result<(String, String, String), LoadError> {
        let word = column.kind.word();
        let name = self.names(connection).await?.assign_variant(&column.name, word);
        let meaning =
            format!("Vendor field {}; its values since column {} has type {found}", column.field, column.name);
        let variant = TableColumn { name, ..column.clone() };
        self.add(connection, &variant, &meaning).await?;
        note(connection, (&self.schema, &self.name), &variant, word).await?;
        let changed = (&*variant.name, Some(&*column.field), column.kind.sql());
        record(connection, (&self.schema, &self.name), Some(changed), ("add_variant", None), cause).await?;
        let what = format!("the column has type {found}, which Tidegate does not write; values go to {}", variant.name);
        Ok((self.name.clone(), column.name.clone(), what))
    }

    pub(super) async fn add(
        &self,
        connection: &mut PgConnection,
        column: &TableColumn,
        meaning: &str,
    ) -> Result<(), LoadError> {
        let table = qualified(&self.schema, &self.name);
        let name = quote(&column.name);
        run_ddl(connection, format!("alter table {table} add column {name} {}", column.kind.sql())).await?;
        run_ddl(connection, format!("comment on column {table}.{name} is {}", literal(meaning))).await?;
        Ok(())
    }
}

async fn create_system_column(
    connection: &mut PgConnection,
    (schema, table): (&str, &str),
    column: &ColumnDefinition,
    cause: Cause<'_>,
) -> Result<(String, String, String), LoadError> {
    let target = qualified(schema, table);
    let default = match (column.not_null, column.sql_type) {
        (false, _) => "",
        (true, "bigint") => " default 0",
        (true, _) => " default now()",
    };
    run_ddl(connection, format!("alter table {target} add column {}{default}", column.sql())).await?;
    if column.not_null {
        run_ddl(connection, format!("alter table {target} alter column {} drop default", quote(&column.name))).await?;
    }
    run_ddl(connection, column.comment(&target)).await?;
    record(connection, (schema, table), Some((&column.name, None, column.sql_type)), ("add_column", None), cause)
        .await?;
    Ok((table.to_owned(), column.name.clone(), "the column was missing and was created again".to_owned()))
}

/// The missing system columns, which can be created again. System columns and key columns must have their original
/// types.
pub(super) fn system_missing(
    definition: &Definition,
    attributes: &HashMap<String, Attribute>,
) -> Result<Vec<Missing>, LoadError> {
    let mut missing = Vec::new();
    for column in &definition.columns {
        let is_key = definition.is_key(&column.name);
        if !is_key && !column.name.starts_with('_') {
            continue;
        }
        let table = qualified(definition.schema, &definition.name);
        let name = quote(&column.name);
        let wanted = column.sql_type.replace("timestamptz", "timestamp with time zone");
        match attributes.get(&column.name) {
            Some(attribute) if attribute.sql_type == wanted => {}
            Some(attribute) => {
                return Err(LoadError::Unfit {
                    table: definition.full_name(),
                    what: format!("column {name} is {}, but must be {}", attribute.sql_type, column.sql_type),
                    remedy: format!(
                        "alter table {table} alter column {name} type {wanted} using {name}::{}",
                        column.sql_type
                    ),
                });
            }
            None if is_key => {
                return Err(LoadError::Unfit {
                    table: definition.full_name(),
                    what: format!("column {name} of its key is missing"),
                    // The table is renamed, not dropped: the vendor may no longer have these rows.
                    remedy: format!("alter table {table} rename to {}", quote(&aside(&definition.name))),
                });
            }
            None => missing.push(Missing::System { table: definition.name.clone(), column: column.clone() }),
        }
    }
    Ok(missing)
}

/// The new name for a table that must be replaced.
fn aside(name: &str) -> String {
    format!("{}_old", &name[..name.floor_char_boundary(59)])
}

pub(super) async fn check_key(
    connection: &mut PgConnection,
    definition: &Definition,
    oid: i64,
) -> Result<(), LoadError> {
    if shape::has_key(connection, oid, &definition.key).await? {
        return Ok(());
    }
    let key: Vec<String> = definition.key.iter().map(|name| quote(name)).collect();
    let table = qualified(definition.schema, &definition.name);
    Err(LoadError::Unfit {
        table: definition.full_name(),
        what: format!("no unique index has the columns of its key ({})", key.join(", ")),
        remedy: format!("alter table {table} add primary key ({})", key.join(", ")),
    })
}
