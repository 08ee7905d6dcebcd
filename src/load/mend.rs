//! Creates missing columns of a table again.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};

use super::LoadError;
use super::create::{ColumnDefinition, distrust};
use super::grow::note;
use super::table::{Cause, Table, TableColumn, lock_shape, record, run_ddl};
use crate::catalogue::{Column, ColumnType, Stream};
use crate::store::ident::{literal, quote, table as qualified};

const AGAIN: &str = "existing rows have no value in it until they are read again, with `tidegate cursors reset` or \
                     `tidegate backfill`";

/// What a table lacks.
#[derive(Debug, Clone)]
pub(super) enum Missing {
    /// The column that a field fills.
    Column(TableColumn),
    /// A column that takes what the field's own column does not, whose type is none of ours.
    Foreign { column: TableColumn, found: String },
    /// A column that all tables have, or one of a child table.
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
        lock_shape(&mut transaction, &self.schema, &self.name).await?;
        let now = Self::read(&mut transaction, stream).await?;
        let mut told = Vec::new();
        for missing in &now.missing {
            told.push(match missing {
                Missing::Column(column) => {
                    let documented = stream.columns.iter().find(|documented| documented.name == column.name);
                    let stated = types.get(&column.field).filter(|_| documented.is_none());
                    let column = TableColumn { kind: stated.copied().unwrap_or(column.kind), ..column.clone() };
                    now.make_again(&mut transaction, documented, &column, cause).await?
                }
                Missing::Foreign { column, found } => now.replace(&mut transaction, column, found, cause).await?,
                Missing::System { table, column } => {
                    make_system(&mut transaction, (&self.schema, table), column, cause).await?
                }
            });
        }
        distrust(&mut transaction, &self.schema, &self.name).await?;
        transaction.commit().await?;
        for (table, column, what) in told {
            tracing::warn!(table = format!("{}.{table}", self.schema), column, "{what}; {AGAIN}");
        }
        Ok(())
    }

    async fn make_again(
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
            note(connection, self, column, "").await?;
        }
        let told = (&*column.name, Some(&*column.field), column.kind.sql());
        record(connection, (&self.schema, &self.name), Some(told), ("add_column", None), cause).await?;
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
        note(connection, self, &variant, word).await?;
        let told = (&*variant.name, Some(&*column.field), column.kind.sql());
        record(connection, (&self.schema, &self.name), Some(told), ("add_variant", None), cause).await?;
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

async fn make_system(
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
