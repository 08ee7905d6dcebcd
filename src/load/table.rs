//! The current structure of a warehouse table.
//!
//! The columns are read from Postgres's catalogue; Tidegate's notes and the stream's definition only say which vendor
//! field fills which column. A missing column is created again, and a column with a type that Tidegate cannot write is
//! replaced by a variant.
//!
//! Two workers may find the same new field at the same time: every change is made under one lock per table, after
//! reading the current columns. The lock is a row in a table, because any login may take an advisory lock.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use sqlx::{AssertSqlSafe, PgConnection};

use super::create::{self, Definition};
use super::mend::{Missing, check_key, system_missing};
use super::shape::{self, Attribute, Relation};
use super::{LoadError, key};
use crate::catalogue::{Child, ColumnNames, ColumnType, Keep, KeyType, Mode, Stream};
use crate::rows::encode::Bound;
use crate::rows::layout::{Field, IdType, Layout};
use crate::rows::page;
use crate::store::distribution::Distribution;
use crate::store::ident::table as qualified;
use crate::store::lock;

/// DDL gives up after this wait: while it waits for a reader's long query, all other sessions wait for it.
const DDL_LOCK_TIMEOUT: &str = "3s";

/// A warehouse table and which vendor field fills which column.
#[derive(Debug, Clone)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub mode: Mode,
    /// Columns of the primary key after `_connection`, and `_window_start` if it is one of them.
    pub key: Vec<String>,
    /// Whether the table is empty, has another key, and gets this one with its first rows.
    pub(super) key_is_due: bool,
    /// Documented columns first, then those that the data brought, then variants.
    pub columns: Vec<TableColumn>,
    /// Arrays that fill child tables. They are staged with a row, but have no column in the table.
    pub links: Vec<Links>,
    by_field: HashMap<String, Vec<usize>>,
    /// Whether it is divided into partitions.
    pub partitioned: bool,
    /// Differs after every change of the columns.
    pub version: i64,
    /// Where its rows are, and so which statements suit it.
    pub distribution: Distribution,
    pub(super) missing: Vec<Missing>,
    /// Columns whose type was changed to one that can hold some of the values.
    retyped: Vec<Retyped>,
}

/// A column whose type was changed after Tidegate created it.
#[derive(Debug, Clone)]
struct Retyped {
    column: String,
    field: String,
    made: ColumnType,
    /// The type as Postgres prints it.
    found: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    pub field: String,
    /// `None` for the field's own column. A variant takes the values that that column does not hold.
    pub variant: Option<ColumnType>,
    pub name: String,
    pub kind: ColumnType,
    /// A limit of the column that is narrower than its type.
    pub bound: Bound,
    pub keep: Keep,
    /// Its number in Postgres's catalogue; 0 until it was read there.
    pub(super) number: i16,
}

/// An array that fills a child table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    pub child: Child,
    pub staged: TableColumn,
}

/// What caused a change, for `tidegate.schema_change`.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    pub run: i64,
    pub connection: &'a str,
}

/// A row of `tidegate.table_column`.
#[derive(Debug, Clone)]
struct Note {
    name: String,
    field: String,
    variant: String,
    kind: ColumnType,
}

impl TableColumn {
    pub(super) fn new(field: &str, name: &str, kind: ColumnType) -> Self {
        let (field, name) = (field.to_owned(), name.to_owned());
        Self { field, variant: None, name, kind, bound: Bound::None, keep: Keep::Latest, number: 0 }
    }

    /// Takes type and number from the attribute of the same name. Keeps the type if the attribute cannot be written.
    fn found(mut self, attribute: Option<&Attribute>) -> Self {
        if let Some((kind, bound)) = attribute.and_then(|attribute| attribute.usable) {
            (self.kind, self.bound) = (kind, bound);
        }
        self.number = attribute.map_or(0, |attribute| attribute.number);
        self
    }
}

impl Table {
    /// The current table of `stream`. Creates missing tables and columns. `types` has the types of undocumented columns
    /// by vendor field, where the job states them.
    pub async fn open(
        connection: &mut PgConnection,
        stream: &Stream,
        types: &BTreeMap<String, ColumnType>,
        distribution: Distribution,
        cause: Cause<'_>,
    ) -> Result<Self, LoadError> {
        let children = stream.children.iter().map(|child| Definition::of_child(stream, child));
        for definition in [Definition::of(stream)].into_iter().chain(children) {
            if shape::relation(connection, definition.schema, &definition.name).await?.is_none() {
                create::create(connection, &definition, distribution, cause).await?;
            }
        }
        let table = Self::read(connection, stream, distribution).await?;
        table.report_retyped(connection, cause).await?;
        if table.missing.is_empty() {
            return Ok(table);
        }
        let mended = table.mend(connection, stream, types, cause).await;
        mended.map_err(|error| error.or_locked(&table))?;
        let table = Self::read(connection, stream, distribution).await?;
        if table.missing.is_empty() { Ok(table) } else { Err(table.altered("columns of it disappear repeatedly")) }
    }

    /// Reads the table's columns, and which are missing.
    pub(super) async fn read(
        connection: &mut PgConnection,
        stream: &Stream,
        distribution: Distribution,
    ) -> Result<Self, LoadError> {
        let relation = table_named(connection, &Definition::of(stream)).await?;
        let attributes = shape::attributes(connection, relation.oid).await?;
        let stream = &with_found_types(stream, &attributes);
        let mut table = Self::new(stream, relation.version);
        table.distribution = distribution;
        table.partitioned = relation.is_partitioned();
        table.key_is_due = !key::is_there(connection, stream).await?;
        let definition = Definition::of(stream);
        let definition = if table.key_is_due { definition.without_key() } else { definition };
        table.check_system(connection, &definition, relation.oid, &attributes).await?;
        let notes = table.notes(connection).await?;
        for column in stream.columns.iter() {
            let wanted =
                TableColumn { keep: column.keep, ..TableColumn::new(&column.field, &column.name, column.kind) };
            if table.key_is_due && column.key_type.is_some() && !attributes.contains_key(&*column.name) {
                table.push(wanted);
            } else {
                table.take(wanted, &attributes, &notes);
            }
        }
        for note in notes.iter().filter(|note| note.variant.is_empty()) {
            if table.column(&note.field, None).is_none() {
                table.take(TableColumn::new(&note.field, &note.name, note.kind), &attributes, &notes);
            }
        }
        table.take_variants(&attributes, &notes);
        table.read_children(connection, stream).await?;
        Ok(table)
    }

    fn new(stream: &Stream, version: i64) -> Self {
        let links = stream.children.iter().enumerate().map(|(number, child)| Links {
            child: child.clone(),
            staged: TableColumn::new(&child.field, &format!("_links_{number}"), ColumnType::Jsonb),
        });
        let own_key = stream.primary_key().into_iter().filter(|name| !matches!(*name, "_connection" | "_window_start"));
        Self {
            schema: stream.schema.to_owned(),
            name: stream.name.to_string(),
            mode: stream.mode,
            key: own_key.map(ToOwned::to_owned).collect(),
            key_is_due: false,
            columns: Vec::new(),
            links: links.collect(),
            by_field: HashMap::new(),
            partitioned: false,
            version,
            distribution: Distribution::None,
            missing: Vec::new(),
            retyped: Vec::new(),
        }
    }

    /// Adds the column that a field fills, or its replacement if the column cannot be written.
    fn take(&mut self, wanted: TableColumn, attributes: &HashMap<String, Attribute>, notes: &[Note]) {
        match attributes.get(&wanted.name) {
            None => self.missing.push(Missing::Column(wanted.clone())),
            Some(attribute) if attribute.usable.is_some() => {
                if attribute.usable != Some((wanted.kind, Bound::None)) {
                    self.retyped.push(Retyped {
                        column: wanted.name.clone(),
                        field: wanted.field.clone(),
                        made: wanted.kind,
                        found: attribute.sql_type.clone(),
                    });
                }
                let column = wanted.found(Some(attribute));
                self.push(column);
                return;
            }
            Some(attribute) => {
                let replacement = notes
                    .iter()
                    .filter(|note| note.field == wanted.field && note.variant == wanted.kind.word())
                    .find(|note| {
                        attributes.get(&note.name).is_some_and(|found| found.usable == Some((wanted.kind, Bound::None)))
                    });
                if let Some(note) = replacement {
                    let column = TableColumn { name: note.name.clone(), ..wanted };
                    self.push(column.found(attributes.get(&note.name)));
                    return;
                }
                let found = attribute.sql_type.clone();
                self.missing.push(Missing::Foreign { column: wanted.clone(), found });
            }
        }
        self.push(wanted);
    }

    /// Adds the variants. One that was dropped, or cannot be written, is created again when a value needs it.
    fn take_variants(&mut self, attributes: &HashMap<String, Attribute>, notes: &[Note]) {
        for note in notes {
            let variant = match &*note.variant {
                "numeric" => ColumnType::Numeric,
                "text" => ColumnType::Text,
                _ => continue,
            };
            let attribute = attributes.get(&note.name).filter(|attribute| attribute.usable.is_some());
            let is_replacement = self.columns.iter().any(|column| column.name == note.name);
            if attribute.is_some() && !is_replacement && self.column(&note.field, None).is_some() {
                let column = TableColumn::new(&note.field, &note.name, note.kind).found(attribute);
                self.push(TableColumn { variant: Some(variant), ..column });
            }
        }
    }

    /// Finds the missing columns of child tables. Values that a child table's column does not take go to its `_extra`.
    async fn read_children(&mut self, connection: &mut PgConnection, stream: &Stream) -> Result<(), LoadError> {
        for links in &mut self.links {
            let definition = Definition::of_child(stream, &links.child);
            let relation = table_named(connection, &definition).await?;
            let attributes = shape::attributes(connection, relation.oid).await?;
            self.missing.extend(system_missing(&definition, &attributes)?);
            check_key(connection, &definition, relation.oid).await?;
            let own = links.child.columns.iter().filter(|column| !definition.is_key(&column.name));
            for column in own.filter(|column| !attributes.contains_key(&*column.name)) {
                let column = definition.column(&column.name).cloned();
                self.missing.extend(column.map(|column| Missing::System { table: definition.name.clone(), column }));
            }
            let mut columns = links.child.columns.to_vec();
            columns.retain_mut(|column| match attributes.get(&*column.name).map(|attribute| attribute.usable) {
                Some(Some((kind, Bound::None))) => {
                    column.kind = kind;
                    true
                }
                Some(_) => false,
                None => true,
            });
            links.child.columns = columns.into();
        }
        Ok(())
    }

    /// Checks that system columns and key are as they were created.
    async fn check_system(
        &mut self,
        connection: &mut PgConnection,
        definition: &Definition,
        oid: i64,
        attributes: &HashMap<String, Attribute>,
    ) -> Result<(), LoadError> {
        self.missing.extend(system_missing(definition, attributes)?);
        if self.key_is_due { Ok(()) } else { check_key(connection, definition, oid).await }
    }

    /// Records each column type that was changed outside Tidegate, once, and logs where its values are written.
    async fn report_retyped(&self, connection: &mut PgConnection, cause: Cause<'_>) -> Result<(), LoadError> {
        for Retyped { column, field, made, found } in &self.retyped {
            let noted = sqlx::query_scalar!(
                "
                select new_type
                from tidegate.schema_change
                where table_schema = $1 and table_name = $2 and column_name = $3
                order by id desc
                limit 1
                ",
                self.schema,
                self.name,
                column,
            )
            .fetch_optional(&mut *connection)
            .await?;
            if noted.flatten().as_deref() == Some(found) {
                continue;
            }
            let changed = (&**column, Some(&**field), &**found);
            record(connection, (&self.schema, &self.name), Some(changed), ("retype_column", Some(*made)), cause)
                .await?;
            tracing::warn!(
                table = format!("{}.{}", self.schema, self.name),
                column,
                "the column has type {found}, but was created as {}: values that fit are still written to it, others to its variant, or to _extra if the column is documented",
                made.sql()
            );
        }
        Ok(())
    }

    async fn notes(&self, connection: &mut PgConnection) -> Result<Vec<Note>, LoadError> {
        let notes = sqlx::query!(
            "
            select column_name, field, variant, kind
            from tidegate.table_column
            where table_schema = $1 and table_name = $2
            order by added_at, column_name
            ",
            self.schema,
            self.name,
        )
        .fetch_all(connection)
        .await?;
        let note = |kind: &str| ColumnType::from_sql(kind).unwrap_or(ColumnType::Text);
        let notes = notes.into_iter().map(|row| Note {
            kind: note(&row.kind),
            name: row.column_name,
            field: row.field,
            variant: row.variant,
        });
        Ok(notes.collect())
    }

    pub(super) fn push(&mut self, column: TableColumn) {
        self.by_field.entry(column.field.clone()).or_default().push(self.columns.len());
        self.columns.push(column);
    }

    /// Whether `_row_key` identifies rows.
    pub fn by_hash(&self) -> bool {
        self.key == ["_row_key"]
    }

    /// Whether rows may be compared with fingerprints: each belongs to one slice, has an identity that the writer can
    /// compute, and depends only on its record.
    pub fn fingerprinted(&self) -> bool {
        let plain = self.columns.iter().all(|column| column.keep == Keep::Latest);
        let identified =
            self.by_hash() || self.key.iter().all(|name| self.key_kind(name).is_some_and(page::identity::has_identity));
        self.mode == Mode::ReplaceWindow && identified && self.links.is_empty() && plain
    }

    /// How many columns the table has if all of them are known here.
    pub(super) fn columns_known(&self) -> usize {
        let system = ["_connection", "_extra", "_run_id", "_loaded_at"].len();
        let windowed = usize::from(self.mode == Mode::ReplaceWindow);
        let marked = usize::from(self.mode == Mode::Snapshot);
        self.columns.len() + system + windowed + marked + usize::from(self.by_hash())
    }

    /// The type of a column of the key; `None` for `_row_key`.
    pub(super) fn key_kind(&self, name: &str) -> Option<ColumnType> {
        self.columns.iter().find(|column| column.name == name).map(|column| column.kind)
    }

    /// The position of the column that `field` fills, or of a variant of it.
    pub(super) fn position(&self, field: &str, variant: Option<ColumnType>) -> Option<usize> {
        let positions = self.by_field.get(field)?;
        positions.iter().copied().find(|at| self.columns[*at].variant == variant)
    }

    /// The column that `field` fills, or a variant of it, or the column in which it is staged for a child table.
    pub fn column(&self, field: &str, variant: Option<ColumnType>) -> Option<&TableColumn> {
        let links = || self.links.iter().map(|links| &links.staged).find(|staged| staged.field == field);
        self.position(field, variant).map(|at| &self.columns[at]).or_else(links)
    }

    /// Sets the types of a layout's fields to those of the table's columns.
    pub fn teach(&self, layout: &mut Layout, stream: &Stream) {
        let (documented, added) = self.columns.split_at(stream.columns.len().min(self.columns.len()));
        for column in documented {
            layout.know_documented(&column.field, column.kind, column.bound);
        }
        for column in stream.columns.iter().filter(|column| column.key_type == Some(KeyType::Found)) {
            let is_new = self.key_is_due && self.column(&column.field, None).is_none_or(|column| column.number == 0);
            layout.know_id(&column.field, if is_new { IdType::Unseen } else { IdType::Found });
        }
        for links in &self.links {
            layout.know_child(&links.child);
        }
        for column in added {
            match column.variant {
                Some(variant) => layout.know_variant(&column.field, variant, column.kind, column.bound),
                None => {
                    if let Some(stated) = layout.know(&column.field, column.kind, column.bound) {
                        tracing::warn!(
                            table = format!("{}.{}", self.schema, self.name),
                            column = column.name,
                            found = column.kind.sql(),
                            stated = stated.sql(),
                            "the column keeps its type, although `types` states another one; if you drop the column, it is created again with the stated type"
                        );
                    }
                }
            }
        }
    }

    /// Whether every field of `layout` has a column that takes it, and the table has its key or no row needs it.
    pub fn holds(&self, layout: &Layout) -> bool {
        let has_key = !self.key_is_due || !layout.has_key();
        has_key && layout.fields().iter().all(|field| self.takes(field))
    }

    fn takes(&self, field: &Field) -> bool {
        self.column(&field.path, field.variant).is_some_and(|column| {
            let has_variant = || self.position(&field.path, Some(ColumnType::Numeric)).is_some();
            let both_numbers = column.kind.is_number() && field.kind.is_number();
            // On the page that chose the type of the key.
            let was_widened = matches!(field.id, IdType::Open | IdType::Unseen) && column.kind == ColumnType::Text;
            column.kind == field.kind
                || was_widened
                || (both_numbers && (column.kind == ColumnType::Numeric || has_variant()))
        })
    }

    /// Whether rows that were staged for `before` can be merged into this table.
    pub(super) fn follows(&self, before: &Self) -> bool {
        before.columns.iter().all(|old| {
            self.column(&old.field, old.variant).is_some_and(|now| {
                let widened = old.kind.is_number() && now.kind == ColumnType::Numeric;
                let is_same = old.number == 0 || old.number == now.number;
                now.name == old.name && is_same && (now.kind == old.kind || widened)
            })
        })
    }

    /// The names of all columns in the database, including those that others added and system columns such as `xmin`.
    pub(super) async fn names(&self, connection: &mut PgConnection) -> Result<ColumnNames, LoadError> {
        let taken: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute where attrelid = to_regclass($1) and not attisdropped",
        )
        .bind(qualified(&self.schema, &self.name))
        .fetch_all(connection)
        .await?;
        Ok(ColumnNames::new(taken))
    }

    pub(super) fn altered(&self, detail: &str) -> LoadError {
        LoadError::Altered { table: format!("{}.{}", self.schema, self.name), detail: detail.to_owned() }
    }
}

/// The stream with the types that the columns of its key have in the table.
fn with_found_types<'s>(stream: &'s Stream, attributes: &HashMap<String, Attribute>) -> Cow<'s, Stream> {
    if stream.columns.iter().all(|column| column.key_type.is_none()) {
        return Cow::Borrowed(stream);
    }
    let mut stream = stream.clone();
    for column in stream.columns.to_mut().iter_mut().filter(|column| column.key_type.is_some()) {
        let found = attributes.get(&*column.name).and_then(|attribute| attribute.usable);
        if let Some((kind, Bound::None)) = found.filter(|(kind, _)| page::identity::has_identity(*kind)) {
            column.kind = kind;
        }
    }
    Cow::Owned(stream)
}

/// The relation of that name, which must be a table.
async fn table_named(connection: &mut PgConnection, definition: &Definition) -> Result<Relation, LoadError> {
    let table = definition.full_name();
    match shape::relation(connection, definition.schema, &definition.name).await? {
        Some(relation) if relation.is_table() => Ok(relation),
        Some(relation) => Err(LoadError::NotATable { table, what: relation.what() }),
        None => Err(LoadError::Altered { table, detail: "it was dropped".to_owned() }),
    }
}

pub(super) async fn lock_structure(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<(), sqlx::Error> {
    run_ddl(connection, format!("set local lock_timeout = '{DDL_LOCK_TIMEOUT}'")).await?;
    lock::hold(connection, &format!("structure of {schema}.{table}")).await
}

/// Records a change in `tidegate.schema_change`.
pub(super) async fn record(
    connection: &mut PgConnection,
    (schema, table): (&str, &str),
    column: Option<(&str, Option<&str>, &str)>,
    (change, old): (&str, Option<ColumnType>),
    cause: Cause<'_>,
) -> Result<(), LoadError> {
    let (name, field, kind) = column.map_or((None, None, None), |(name, field, kind)| (Some(name), field, Some(kind)));
    sqlx::query!(
        "
        insert into tidegate.schema_change (
            run_id, connection, table_schema, table_name, column_name, field, change, old_type, new_type
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ",
        cause.run,
        cause.connection,
        schema,
        table,
        name,
        field,
        change,
        old.map(ColumnType::sql),
        kind,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn run_ddl(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
