//! The generated SQL of a load: staging, merging, and deleting at the end of a slice.
//!
//! All of it is generated here from quoted names, and snapshots pin its text. A row that would not change is filtered
//! out before it is written, so it is neither locked nor rewritten.
//!
//! The statements are also those for tables that are distributed with Citus, except those that write what is new or
//! changed ([`Merge`], [`LinksSql::write`]). A join of a distributed table with a local one has the local one as a
//! subquery that is computed by itself (`… offset 0`): Citus sends its rows to the node that has those of the
//! connection. Postgres plans such a join as it does one without the subquery.

use xxhash_rust::xxh3::xxh3_64;

use super::apart_sql::ApartSql;
use super::child_sql::{LinksSql, links_of};
use super::duplicate_sql::{DuplicatesSql, SharedSql};
use super::number_column::conversion;
use super::table::{Links, Table};
use crate::catalogue::{ColumnType, Keep, Mode};
use crate::store::distribution::Distribution;
use crate::store::ident::{quote, table as qualified};

/// The statements for one table with its current columns.
#[derive(Debug, Clone)]
pub struct MergeSql {
    /// Creates the session's staging table if it does not exist.
    pub create_stage: String,
    /// Empties the staging table between two batches of one transaction.
    pub clear_stage: String,
    /// Writes the staged rows that are new or changed.
    pub merge: Merge,
    /// `$1` connection, `$2` window start, `$3` run: changes existing rows. `None` unless rows may have fingerprints.
    pub update: Option<String>,
    /// Deletes rows that are copied directly after it. `None` unless rows may have fingerprints, if a slice has one
    /// row, or if the table is distributed: places of rows mean nothing outside of their node.
    pub replace: Option<ReplaceSql>,
    /// `$1` connection, `$2` window start, `$3` window end, `$4` slice, `$5` batches: deletes the rows that are no
    /// longer in any batch.
    pub lost: Option<String>,
    /// Updates the child tables from the arrays of staged rows.
    pub links: Vec<LinksSql>,
    /// Deletes or marks rows that are no longer reported. `None` if they are kept.
    pub vanish: Option<VanishSql>,
    /// `$1` slice: notes the staged keys as seen.
    pub note_seen: String,
    /// `$1` connection, `$2` window start, `$3` window end, `$4` slice: counts the rows that the reading noted as seen.
    /// `None` if rows are kept, or known by their `_row_key`.
    pub count_seen: Option<String>,
    /// Numbers identical records. `None` if the later of two records with one key wins.
    pub duplicates: Option<DuplicatesSql>,
    /// Removes staged rows that a neighbouring slice has too. `None` if rows belong to no window.
    pub shared: Option<SharedSql>,
    pub stage: String,
}

/// How the staged rows are merged.
#[derive(Debug, Clone)]
pub enum Merge {
    /// One statement: `$1` connection, `$2` window start, `$3` run; returns inserted, updated and staged.
    Joined(String),
    Apart(ApartSql),
}

/// Statements that delete or mark the rows of a slice or list that the vendor no longer reports.
#[derive(Debug, Clone)]
pub struct VanishSql {
    /// `$1` connection, `$2` window start, `$3` window end, `$4` run: rows that the completely staged slice does not
    /// have.
    pub unstaged: String,
    /// `$1` connection, `$2` window start, `$3` window end, `$4` run, `$5` slice: rows that no page of the reading had.
    pub unseen: String,
    /// Count the rows that `unstaged` and `unseen` would mark. The last parameter is an instant or null: rows that were
    /// written since do not count. `None` except for lists whose rows have their own keys.
    pub unstaged_count: Option<String>,
    pub unseen_count: Option<String>,
    /// `$1` connection: rows of child tables whose parents are marked.
    pub links: Vec<String>,
}

/// What the statements are composed of.
pub(super) struct StatementParts<'t> {
    table: &'t Table,
    /// Quoted and qualified.
    pub(super) target: String,
    pub(super) stage: String,
    /// The staged rows, as a subquery.
    pub(super) staged: String,
    /// The same, one per key.
    pub(super) source: String,
    /// Quoted columns of the key after `_connection` and `_window_start`.
    pub(super) key: Vec<String>,
    /// Their types; none for `_row_key`.
    key_kinds: Vec<ColumnType>,
    pub(super) windowed: bool,
}

impl MergeSql {
    /// `latest_wins`: of two records with one key, the later counts.
    pub fn new(table: &Table, latest_wins: bool) -> Self {
        let links = table.links.iter().map(|links| &links.staged);
        let definitions: Vec<String> = table
            .columns
            .iter()
            .chain(links)
            .map(|column| format!(", {} {}", quote(&column.name), column.kind.sql()))
            .collect();
        let definitions = definitions.concat();
        let target = qualified(&table.schema, &table.name);
        let shape = xxh3_64(format!("{target}{definitions}").as_bytes());
        let stage = format!("pg_temp.{}", quote(&format!("stage_{shape:016x}")));
        let staged = format!("(select * from {stage} offset 0)");
        let key: Vec<String> = table.key.iter().map(|name| quote(name)).collect();
        let source = if latest_wins && key.is_empty() {
            format!("(select * from {stage} order by _place desc limit 1)")
        } else if latest_wins {
            let key = key.join(", ");
            format!("(select distinct on ({key}) * from {stage} order by {key}, _place desc)")
        } else {
            staged.clone()
        };
        let windowed = table.mode == Mode::ReplaceWindow;
        let key_kinds = table.key.iter().filter_map(|name| table.key_kind(name)).collect();
        let parts = StatementParts { table, target, stage, staged, source, key, key_kinds, windowed };
        Self {
            create_stage: format!(
                "create temporary table if not exists {} (_row_key uuid, _place integer{definitions}, _extra jsonb) on commit delete rows",
                parts.stage.trim_start_matches("pg_temp.")
            ),
            clear_stage: format!("truncate {}", parts.stage),
            merge: match table.distribution {
                Distribution::None => Merge::Joined(parts.merge()),
                Distribution::Citus => Merge::Apart(parts.apart()),
            },
            update: table.fingerprinted().then(|| parts.changes(&parts.staged)),
            replace: (table.fingerprinted() && !parts.key.is_empty() && table.distribution == Distribution::None)
                .then(|| parts.replace()),
            lost: table.fingerprinted().then(|| parts.lost()),
            links: table.links.iter().filter_map(|links| LinksSql::new(table, &parts.source, links)).collect(),
            vanish: parts.vanish(),
            note_seen: parts.note_seen(),
            count_seen: parts.count_seen(),
            duplicates: (!latest_wins).then(|| parts.duplicates()),
            shared: windowed.then(|| parts.shared(latest_wins)),
            stage: parts.stage,
        }
    }

    /// The statements that change the staging table of `old` into this one's without losing its rows, after the table
    /// grew.
    pub fn reshape_stage(&self, old: &Self, before: &Table, now: &Table) -> Vec<String> {
        if self.stage == old.stage {
            return Vec::new();
        }
        let mut statements = vec![format!("drop table if exists {}", self.stage)];
        for column in &now.columns {
            let name = quote(&column.name);
            let Some(known) = before.column(&column.field, column.variant) else {
                statements.push(format!("alter table {} add column {name} {}", old.stage, column.kind.sql()));
                continue;
            };
            if known.kind != column.kind {
                statements.push(format!(
                    "alter table {} alter column {name} type {} using {}",
                    old.stage,
                    column.kind.sql(),
                    conversion(&name, known.kind)
                ));
            }
        }
        statements.push(format!("alter table {} rename to {}", old.stage, self.stage.trim_start_matches("pg_temp.")));
        statements
    }
}

/// Two ways to delete the rows with certain keys. `$1` connection, `$2` window start, then an array for each column of
/// the key.
#[derive(Debug, Clone)]
pub struct ReplaceSql {
    /// Looks each row up by itself. With a join, a plan for a table without statistics may read the whole slice for
    /// every batch.
    pub each: String,
    /// The last parameter: how many rows it reads at most. Reads rows in the order of the key, from the first key on,
    /// and deletes those that have one of the keys. If these are neighbours, this takes a fifth of the time.
    pub in_order: String,
}

impl StatementParts<'_> {
    fn by_hash(&self) -> bool {
        self.table.by_hash()
    }

    /// `one.k = other.k` for the key's columns. Without such columns, a slice has one row.
    pub(super) fn same_key(&self, one: &str, other: &str) -> String {
        if self.key.is_empty() {
            return "true".to_owned();
        }
        self.key.iter().map(|name| format!("{one}.{name} = {other}.{name}")).collect::<Vec<_>>().join(" and ")
    }

    /// The expression for a row's identity, by which fingerprints and `tidegate.seen_row` know it: its `_row_key`, or a
    /// digest of the columns of its key as the writer computes it.
    pub(super) fn identity(&self, alias: &str) -> String {
        if self.by_hash() {
            return format!("{alias}._row_key");
        }
        let values: Vec<String> = self
            .key
            .iter()
            .zip(&self.key_kinds)
            .map(|(name, kind)| {
                let value = bytes_of(&format!("{alias}.{name}"), *kind);
                format!("int4send(octet_length({value})) || {value}")
            })
            .collect();
        if values.is_empty() { "md5('')::uuid".to_owned() } else { format!("md5({})::uuid", values.join(" || ")) }
    }

    fn merge(&self) -> String {
        let Self { target, source, .. } = self;
        let (names, values) = self.new_row();
        let window_key = if self.windowed { " and present._window_start = $2" } else { "" };
        let found = self.found();
        let columns = self.columns();
        let listed = |each: &dyn Fn(&str, Keep) -> String| {
            columns.iter().map(|(name, keep)| each(name, *keep)).collect::<Vec<_>>().join(", ")
        };
        let (revived, revive) = if self.marks() {
            ("\n        or present._deleted_at is not null", ", _deleted_at = null")
        } else {
            ("", "")
        };
        let assignments: Vec<String> = columns
            .iter()
            .filter(|(name, _)| !self.key.contains(name))
            .map(|(name, keep)| format!("{name} = {}", kept(name, *keep, "present", "excluded")))
            .collect();
        format!(
            "with merged as (
    insert into {target} as present ({names})
    select {values}
    from {source} as staged
    left join {found} as present
        on present._connection = $1{window_key} and {same_key}
    where present._connection is null
        or ({present}) is distinct from ({written}){revived}
{order}    on conflict ({conflict}) do update
    set {assignments}, _run_id = excluded._run_id, _loaded_at = excluded._loaded_at{revive}
    returning {returned}
)

{counts}",
            present = listed(&|name, _| format!("present.{name}")),
            written = listed(&|name, keep| kept(name, keep, "present", "staged")),
            same_key = self.same_key("present", "staged"),
            order = self.order().map_or_else(String::new, |order| format!("    {order}\n")),
            conflict = self.conflict(),
            assignments = assignments.join(", "),
            returned = if self.table.partitioned { "1 as written" } else { "xmax = 0 as inserted" },
            counts = self.merge_counts(window_key),
        )
    }

    /// Counts what the merge wrote. Partitioned tables return no system columns; there, the rows are new that the
    /// statement did not find in the table when it began.
    fn merge_counts(&self, window_key: &str) -> String {
        let Self { table, target, source, .. } = self;
        if !table.partitioned {
            return format!(
                "select
    count(*) filter (where inserted) as inserted,
    count(*) filter (where not inserted) as updated,
    (select count(*) from {source} as staged) as staged
from merged"
            );
        }
        format!(
            "select
    found.inserted,
    (select count(*) from merged) - found.inserted as updated,
    found.staged
from (
    select
        count(*) as staged,
        count(*) filter (where present._connection is null) as inserted
    from {source} as staged
    left join {target} as present
        on present._connection = $1{window_key} and {same_key}
) as found",
            same_key = self.same_key("present", "staged"),
        )
    }

    /// The rows of the table that have the keys of staged ones, for a join. If rows belong to no slice, each is looked
    /// up by itself: a plan without statistics of the connection takes it to have few rows, and reads them all.
    fn found(&self) -> String {
        if self.windowed {
            return self.target.clone();
        }
        format!(
            "lateral (
        select *
        from {} as known
        where known._connection = $1 and {}
        offset 0
    )",
            self.target,
            self.same_key("known", "staged"),
        )
    }

    /// The columns that the vendor's fields fill, quoted, and `_extra`.
    pub(super) fn columns(&self) -> Vec<(String, Keep)> {
        let columns = self.table.columns.iter().map(|column| (quote(&column.name), column.keep));
        columns.chain([(quote("_extra"), Keep::Latest)]).collect()
    }

    /// The columns of a new row, and their values from a staged one: `$1` connection, `$2` window start, `$3` run.
    pub(super) fn new_row(&self) -> (String, String) {
        let window = self.windowed.then(|| ("_window_start".to_owned(), "$2".to_owned()));
        let hash = self.by_hash().then(|| ("_row_key".to_owned(), "staged._row_key".to_owned()));
        let own = self.columns().into_iter().map(|(name, _)| {
            let value = format!("staged.{name}");
            (name, value)
        });
        let (names, values): (Vec<String>, Vec<String>) = [("_connection".to_owned(), "$1".to_owned())]
            .into_iter()
            .chain(window)
            .chain(hash)
            .chain(own)
            .chain([("_run_id".to_owned(), "$3".to_owned()), ("_loaded_at".to_owned(), "now()".to_owned())])
            .unzip();
        (names.join(", "), values.join(", "))
    }

    /// The columns of the primary key.
    pub(super) fn conflict(&self) -> String {
        let window = self.windowed.then_some("_window_start");
        let own = self.key.iter().map(String::as_str);
        ["_connection"].into_iter().chain(window).chain(own).collect::<Vec<_>>().join(", ")
    }

    /// Rows are written in the order of their keys, so that two transactions lock them in the same order.
    pub(super) fn order(&self) -> Option<String> {
        let key: Vec<String> = self.key.iter().map(|name| format!("staged.{name}")).collect();
        (!key.is_empty()).then(|| format!("order by {}", key.join(", ")))
    }

    /// Whether rows that are no longer reported are marked.
    pub(super) fn marks(&self) -> bool {
        self.table.mode == Mode::Snapshot
    }

    /// The rows of a window are in one partition, in which a `ctid` is unique.
    ///
    /// No other condition is on the rows that are deleted. While the table has no statistics, Postgres would find them
    /// by its index, and compare each row of the slice with each place: 19 s for 10,000 places in a slice of 300,000.
    fn replace(&self) -> ReplaceSql {
        let Self { target, key, .. } = self;
        let kinds: Vec<&str> =
            if self.by_hash() { vec!["uuid"] } else { self.key_kinds.iter().map(|kind| kind.sql()).collect() };
        let arrays: Vec<String> = kinds.iter().enumerate().map(|(at, kind)| format!("${}::{kind}[]", at + 3)).collect();
        let arrays = arrays.join(", ");
        let names = key.join(", ");
        let partition = if self.table.partitioned { "present._window_start = $2\n    and " } else { "" };
        let delete = |places: &str| {
            format!(
                "delete from {target} as present
where
    {partition}present.ctid = any(array(
{places}
    ))"
            )
        };
        let each = delete(&format!(
            "        select (
            select found.ctid
            from {target} as found
            where found._connection = $1 and found._window_start = $2 and {same_key}
        )
        from unnest({arrays}) as changed ({names})",
            same_key = self.same_key("found", "changed"),
        ));
        let in_order = delete(&format!(
            "        select found.ctid
        from (
            select ctid, {names}
            from {target}
            where
                _connection = $1
                and _window_start = $2
                and ({names}) >= (
                    select {names}
                    from unnest({arrays}) as changed ({names})
                    order by {names}
                    limit 1
                )
            order by {names}
            limit ${limit}
        ) as found
        inner join unnest({arrays}) as changed ({names}) on {same_key}",
            limit = key.len() + 3,
            same_key = self.same_key("found", "changed"),
        ));
        ReplaceSql { each, in_order }
    }

    fn lost(&self) -> String {
        format!(
            "delete from {target} as present
using (
    select gone.row_key
    from tidegate.fingerprint
    cross join lateral unnest(case when batch < $5 then gone else row_keys || gone end) as gone (row_key)
    where slice_id = $4
    except
    select here.row_key
    from tidegate.fingerprint
    cross join lateral unnest(row_keys) as here (row_key)
    where slice_id = $4 and batch < $5
) as lost
where
    present._connection = $1
    and present._window_start >= $2
    and present._window_start < $3
    and {identity} = lost.row_key",
            target = self.target,
            identity = self.identity("present"),
        )
    }

    /// Rows that are no longer reported are deleted from a slice, marked in a list, and kept otherwise.
    fn vanish(&self) -> Option<VanishSql> {
        let Self { table, target, staged, .. } = self;
        let (gone, window) = match table.mode {
            Mode::ReplaceWindow => (format!("delete from {target} as present\nwhere"), self.within_window()),
            Mode::Snapshot => (
                format!("update {target} as present\nset _deleted_at = now(), _run_id = $4, _loaded_at = now()\nwhere"),
                "\n    and present._deleted_at is null",
            ),
            Mode::Upsert | Mode::Observe => return None,
        };
        let here = if self.windowed { " and present._window_start = $2" } else { "" };
        let children = table.links.iter().map(|links| self.orphans(links)).collect();
        let unstaged = format!(
            "
    present._connection = $1{window}
    and not exists (
        select
        from {staged} as staged
        where {same_key}{here}
    )",
            same_key = self.same_key("staged", "present"),
        );
        let unseen = format!(
            "
    present._connection = $1{window}
    and not exists (
        select
        from {seen} as seen
        where seen.row_key = {identity}{here}
    )",
            seen = seen("$5"),
            identity = self.identity("present"),
        );
        // A row whose key is a hash of its content becomes a different row when it changes.
        let is_known = table.mode == Mode::Snapshot && !table.by_hash();
        let count = |rows: &str, base: &str| {
            let trusted = format!("({base}::timestamptz is null or present._loaded_at < {base})");
            is_known.then(|| format!("select count(*)\nfrom {target} as present\nwhere{rows}\n    and {trusted}"))
        };
        Some(VanishSql {
            unstaged_count: count(&unstaged, "$5"),
            unseen_count: count(&unseen, "$6"),
            unstaged: format!("{gone}{unstaged}"),
            unseen: format!("{gone}{unseen}"),
            links: children,
        })
    }

    /// The condition that a row belongs to the slice, if rows belong to slices.
    fn within_window(&self) -> &'static str {
        if self.windowed { "\n    and present._window_start >= $2\n    and present._window_start < $3" } else { "" }
    }

    fn count_seen(&self) -> Option<String> {
        let deletes = matches!(self.table.mode, Mode::ReplaceWindow | Mode::Snapshot);
        (deletes && !self.by_hash()).then(|| {
            format!(
                "select count(*)
from {} as present
inner join {} as seen on seen.row_key = {}
where
    present._connection = $1{}",
                self.target,
                seen("$4"),
                self.identity("present"),
                self.within_window(),
            )
        })
    }

    fn note_seen(&self) -> String {
        let identity = self.identity("staged");
        format!(
            "insert into tidegate.seen_row (slice_id, row_key)
select $1, {identity}
from {} as staged
order by 2
on conflict do nothing",
            self.stage
        )
    }

    /// Deletes child rows whose parents are marked.
    fn orphans(&self, links: &Links) -> String {
        let target = qualified(&self.table.schema, &links.child.name);
        format!(
            "delete from {target} as present
using {parent} as parent
where
    present._connection = $1
    and parent._connection = $1
    and parent._deleted_at is not null
    and {of_parent}",
            parent = self.target,
            of_parent = links_of(links, "present", "parent"),
        )
    }
}

/// The rows that a reading noted as seen, as a subquery. `slice`: the parameter.
fn seen(slice: &str) -> String {
    format!("(select row_key from tidegate.seen_row where slice_id = {slice} offset 0)")
}

/// The bytes that stand for the value of a key's column in its row's identity.
///
/// Each function in it is immutable: Citus refuses others, such as `convert_to`, where rows are changed. The encoding
/// of the database is UTF-8. A cast of a text to bytes reads escapes, so backslashes are doubled.
fn bytes_of(value: &str, kind: ColumnType) -> String {
    match kind {
        ColumnType::Timestamptz => format!("timestamptz_send({value})"),
        ColumnType::Double => format!("float8send({value})"),
        // Equal numbers may have different scales.
        ColumnType::Numeric => format!("trim_scale({value})::text::bytea"),
        ColumnType::Text => format!("replace({value}, '\\', '\\\\')::bytea"),
        ColumnType::Jsonb => format!("replace({value}::text, '\\', '\\\\')::bytea"),
        ColumnType::Bigint | ColumnType::Boolean => format!("{value}::text::bytea"),
    }
}

/// The value of a column after a row was written again.
pub(super) fn kept(name: &str, keep: Keep, present: &str, new: &str) -> String {
    match keep {
        Keep::Latest => format!("{new}.{name}"),
        Keep::Greatest => format!("greatest({present}.{name}, {new}.{name})"),
        Keep::First => format!("coalesce({present}.{name}, {new}.{name})"),
        Keep::Known => format!("coalesce({new}.{name}, {present}.{name})"),
    }
}
