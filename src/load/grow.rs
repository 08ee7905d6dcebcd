//! Adapts a table to the data: new columns, wider numbers, variants.

use sqlx::{Connection as _, PgConnection};

use super::number_column::conversion;
use super::shape;
use super::table::{Cause, Table, TableColumn, lock_structure, record, run_ddl};
use super::{LoadError, key, upkeep};
use crate::catalogue::{ColumnNames, ColumnType, Stream};
use crate::rows::layout::{Field, Layout};
use crate::store::ident::{literal, quote, table as qualified};

impl Table {
    /// Adds columns and widens columns of numbers so that every field of `layout` has one, in a transaction of its own.
    ///
    /// Returns [`LoadError::Altered`] if a column has another type than its field and not both are numbers: the rows
    /// must be encoded again for the current table. Returns [`LoadError::Locked`] if another session has locked the
    /// table.
    pub async fn grow(
        &mut self,
        connection: &mut PgConnection,
        stream: &Stream,
        layout: &Layout,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let grown = self.grow_to(connection, stream, layout, cause).await;
        grown.map_err(|error| error.or_locked(self))
    }

    async fn grow_to(
        &mut self,
        connection: &mut PgConnection,
        stream: &Stream,
        layout: &Layout,
        cause: Cause<'_>,
    ) -> Result<(), LoadError> {
        let mut transaction = connection.begin().await?;
        lock_structure(&mut transaction, &self.schema, &self.name).await?;
        let mut now = Self::read(&mut transaction, stream, self.distribution).await?;
        if now.key_is_due && layout.has_key() {
            key::choose(&mut transaction, stream, layout, cause).await?;
            now = Self::read(&mut transaction, stream, self.distribution).await?;
        }
        if !now.missing.is_empty() {
            return Err(self.altered("columns of it were dropped or changed"));
        }
        let mut names = now.names(&mut transaction).await?;
        let mut new = Vec::new();
        for field in layout.fields().iter().filter(|field| field.child.is_none()) {
            match now.position(&field.path, field.variant) {
                None => new.push(now.new_column(field, &new, &mut names)),
                Some(at) => {
                    let variant = now.fit(&mut transaction, at, field, &mut names, cause).await?;
                    new.extend(variant);
                }
            }
        }
        let is_longer = !new.is_empty();
        now.add_columns(&mut transaction, new, cause).await?;
        if is_longer {
            upkeep::index_empty(&mut transaction, stream).await?;
        }
        let relation = shape::relation(&mut transaction, &self.schema, &self.name).await?;
        now.version = relation.map_or(0, |relation| relation.version);
        transaction.commit().await?;
        if !now.holds(layout) {
            return Err(now.altered("another worker gave a column another type"));
        }
        *self = now;
        Ok(())
    }

    /// The new column of a field that has none.
    fn new_column(&self, field: &Field, new: &[TableColumn], names: &mut ColumnNames) -> TableColumn {
        let name = match field.variant {
            None => names.assign(&field.path),
            Some(variant) => {
                // A new field may need a variant in the same batch.
                let own = self.column(&field.path, None).or_else(|| new.iter().find(|own| own.field == field.path));
                let own = own.map_or_else(|| names.assign(&field.path), |own| own.name.clone());
                names.assign_variant(&own, variant.word())
            }
        };
        TableColumn { variant: field.variant, ..TableColumn::new(&field.path, &name, field.kind) }
    }

    /// Widens a column of numbers so that it holds all numbers of the field's type. Returns the variant that takes them
    /// if the column cannot be widened.
    async fn fit(
        &mut self,
        connection: &mut PgConnection,
        at: usize,
        field: &Field,
        names: &mut ColumnNames,
        cause: Cause<'_>,
    ) -> Result<Option<TableColumn>, LoadError> {
        let column = &self.columns[at];
        let both_numbers = column.kind.is_number() && field.kind.is_number();
        let has_variant = self.position(&field.path, Some(ColumnType::Numeric)).is_some();
        if column.kind == field.kind || !both_numbers || column.kind == ColumnType::Numeric || has_variant {
            return Ok(None);
        }
        let kind = ColumnType::Numeric;
        if field.variant.is_none() && self.widen(connection, at, kind, cause).await? {
            return Ok(None);
        }
        let name = names.assign_variant(&self.columns[at].name, kind.word());
        Ok(Some(TableColumn { variant: Some(kind), ..TableColumn::new(&field.path, &name, kind) }))
    }

    /// Gives a column of numbers a wider type. Returns `false` if an object of the operator depends on it, such as a
    /// view or an index.
    async fn widen(
        &mut self,
        connection: &mut PgConnection,
        at: usize,
        kind: ColumnType,
        cause: Cause<'_>,
    ) -> Result<bool, LoadError> {
        let table = qualified(&self.schema, &self.name);
        let old = self.columns[at].clone();
        let column = quote(&old.name);
        let (sql, converted) = (kind.sql(), conversion(&column, old.kind));
        let mut attempt = connection.begin().await?;
        let widened =
            run_ddl(&mut attempt, format!("alter table {table} alter column {column} type {sql} using {converted}"))
                .await;
        match widened {
            Ok(()) => attempt.commit().await?,
            Err(error) if super::passes(&error) || error.as_database_error().is_none() => return Err(error.into()),
            Err(error) => {
                attempt.rollback().await?;
                tracing::warn!(%table, column = old.name, code = super::code(&error), "the column cannot be widened because something depends on it; numbers that it does not hold go to a variant");
                return Ok(false);
            }
        }
        self.columns[at].kind = kind;
        sqlx::query!(
            "
            update tidegate.table_column
            set kind = $4
            where table_schema = $1 and table_name = $2 and column_name = $3
            ",
            self.schema,
            self.name,
            old.name,
            sql,
        )
        .execute(&mut *connection)
        .await?;
        let changed = (&*old.name, Some(&*old.field), sql);
        record(connection, (&self.schema, &self.name), Some(changed), ("widen_column", Some(old.kind)), cause).await?;
        Ok(true)
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
            let own = self.column(&column.field, None).filter(|_| column.variant.is_some());
            let meaning = own.map_or_else(
                || format!("Vendor field {}; undocumented, found in the data", column.field),
                |own| format!("Vendor field {}; values that column {} does not hold", column.field, own.name),
            );
            let (word, change) = column.variant.map_or(("", "add_column"), |variant| (variant.word(), "add_variant"));
            let old = own.map(|own| own.kind);
            let meaning = literal(&meaning);
            run_ddl(connection, format!("comment on column {table}.{} is {meaning}", quote(&column.name))).await?;
            note(connection, (&self.schema, &self.name), &column, word).await?;
            let changed = (&*column.name, Some(&*column.field), column.kind.sql());
            record(connection, (&self.schema, &self.name), Some(changed), (change, old), cause).await?;
            self.push(column);
        }
        Ok(())
    }
}

/// Notes which field fills a column. Deletes what was noted about a former column or variant of the same field or name.
pub(super) async fn note(
    connection: &mut PgConnection,
    (schema, table): (&str, &str),
    column: &TableColumn,
    variant: &str,
) -> Result<(), LoadError> {
    sqlx::query!(
        "
        delete from tidegate.table_column
        where
            table_schema = $1
            and table_name = $2
            and (column_name = $3 or (field = $4 and variant = $5))
        ",
        schema,
        table,
        column.name,
        column.field,
        variant,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "
        insert into tidegate.table_column (table_schema, table_name, column_name, field, variant, kind, added_at)
        values ($1, $2, $3, $4, $5, $6, clock_timestamp())
        ",
        schema,
        table,
        column.name,
        column.field,
        variant,
        column.kind.sql(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
