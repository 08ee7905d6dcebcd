//! The generated SQL of a load: staging, merging, and deleting at the end of a slice.
//!
//! All of it is generated here from quoted names, and snapshots pin its text. A row that would not change is filtered
//! out before the insert, so it is neither locked nor rewritten.

use xxhash_rust::xxh3::xxh3_64;

use super::child_sql::{LinksSql, links_of};
use super::number_column::conversion;
use super::table::{Links, Table, TableColumn};
use crate::catalogue::{ColumnType, Keep, Mode};
use crate::store::ident::{quote, table as qualified};

/// The statements for one table with its current columns.
#[derive(Debug, Clone)]
pub struct MergeSql {
    /// Creates the session's staging table if it does not exist.
    pub create_stage: String,
    /// Empties the staging table between two batches of one transaction.
    pub clear_stage: String,
    /// `$1` connection, `$2` window start, `$3` run; returns inserted and updated.
    pub merge: String,
    /// `$1` connection, `$2` window start, `$3` run: changes existing rows. `None` unless rows may have fingerprints.
    pub update: Option<String>,
    /// `$1` connection, `$2` window start, then an array for each column of the key: deletes the rows with these keys,
    /// which are copied directly after it. `None` unless rows may have fingerprints, or if a slice has one row.
    pub replace: Option<String>,
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
    /// `$1` identities, `$2` connection, `$3` neighbouring window starts: deletes staged rows that a neighbour has in
    /// identical form, and returns their identities. `None` if rows belong to no window.
    pub drop_shared: Option<String>,
    pub stage: String,
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

/// For rows whose key is a hash of their content.
#[derive(Debug, Clone)]
pub struct DuplicatesSql {
    /// `$1` slice: staged keys that an earlier page of this reading had.
    pub seen_before: String,
    /// `$1` connection, `$2` window start: staged keys that the table has.
    pub present_before: String,
    /// `$1` old keys, `$2` new keys.
    pub rename_staged: String,
    /// `$1` connection, `$2` window start, `$3` keys: the keys that the table has.
    pub present_among: String,
}

/// What the statements are composed of.
struct StatementParts<'t> {
    table: &'t Table,
    /// Quoted and qualified.
    target: String,
    stage: String,
    /// The staged rows, one per key.
    source: String,
    /// Quoted columns of the key after `_connection` and `_window_start`.
    key: Vec<String>,
    /// Their types; none for `_row_key`.
    key_kinds: Vec<ColumnType>,
    windowed: bool,
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
        let key: Vec<String> = table.key.iter().map(|name| quote(name)).collect();
        let source = if latest_wins && key.is_empty() {
            format!("(select * from {stage} order by _place desc limit 1)")
        } else if latest_wins {
            let key = key.join(", ");
            format!("(select distinct on ({key}) * from {stage} order by {key}, _place desc)")
        } else {
            stage.clone()
        };
        let windowed = table.mode == Mode::ReplaceWindow;
        let key_kinds = table.key.iter().filter_map(|name| table.key_kind(name)).collect();
        let parts = StatementParts { table, target, stage, source, key, key_kinds, windowed };
        Self {
            create_stage: format!(
                "create temporary table if not exists {} (_row_key uuid, _place integer{definitions}, _extra jsonb) on commit delete rows",
                parts.stage.trim_start_matches("pg_temp.")
            ),
            clear_stage: format!("truncate {}", parts.stage),
            merge: parts.merge(),
            update: table.fingerprinted().then(|| parts.update()),
            replace: (table.fingerprinted() && !parts.key.is_empty()).then(|| parts.replace()),
            lost: table.fingerprinted().then(|| parts.lost()),
            links: table.links.iter().filter_map(|links| LinksSql::new(&table.schema, &parts.source, links)).collect(),
            vanish: parts.vanish(),
            note_seen: parts.note_seen(),
            count_seen: parts.count_seen(),
            duplicates: (!latest_wins).then(|| parts.duplicates()),
            drop_shared: windowed.then(|| parts.drop_shared(latest_wins)),
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

impl StatementParts<'_> {
    fn by_hash(&self) -> bool {
        self.table.by_hash()
    }

    /// `one.k = other.k` for the key's columns. Without such columns, a slice has one row.
    fn same_key(&self, one: &str, other: &str) -> String {
        if self.key.is_empty() {
            return "true".to_owned();
        }
        self.key.iter().map(|name| format!("{one}.{name} = {other}.{name}")).collect::<Vec<_>>().join(" and ")
    }

    /// The expression for a row's identity, by which fingerprints and `tidegate.seen_row` know it: its `_row_key`, or a
    /// digest of the columns of its key as the writer computes it.
    fn identity(&self, alias: &str) -> String {
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
        let Self { table, target, source, .. } = self;
        let hash = if self.by_hash() { "_row_key, " } else { "" };
        let staged_hash = if self.by_hash() { "staged._row_key, " } else { "" };
        let (window, staged_window) = if self.windowed { ("_window_start, ", "$2, ") } else { ("", "") };
        let window_in_key = self.windowed.then(|| "_window_start".to_owned());
        let conflict: Vec<String> =
            ["_connection".to_owned()].into_iter().chain(window_in_key).chain(self.key.iter().cloned()).collect();
        let window_key = if self.windowed { " and present._window_start = $2" } else { "" };
        let extra = TableColumn::new("", "_extra", ColumnType::Jsonb);
        let columns: Vec<&TableColumn> = table.columns.iter().chain([&extra]).collect();
        let listed = |each: &dyn Fn(&str, &TableColumn) -> String| {
            columns.iter().map(|column| each(&quote(&column.name), column)).collect::<Vec<_>>().join(", ")
        };
        let (revived, revive) = match table.mode {
            Mode::Snapshot => ("\n        or present._deleted_at is not null", ", _deleted_at = null"),
            _ => ("", ""),
        };
        let is_key = |name: &str| self.key.iter().any(|key| key == name);
        let assignments: Vec<String> = columns
            .iter()
            .map(|column| (quote(&column.name), column.keep))
            .filter(|(name, _)| !is_key(name))
            .map(|(name, keep)| format!("{name} = {}", kept(&name, keep, "present", "excluded")))
            .collect();
        let order: Vec<String> = self.key.iter().map(|name| format!("staged.{name}")).collect();
        format!(
            "with merged as (
    insert into {target} as present (_connection, {window}{hash}{all}, _run_id, _loaded_at)
    select $1, {staged_window}{staged_hash}{staged}, $3, now()
    from {source} as staged
    left join {target} as present
        on present._connection = $1{window_key} and {same_key}
    where present._connection is null
        or ({present}) is distinct from ({written}){revived}
{order}    on conflict ({conflict}) do update
    set {assignments}, _run_id = excluded._run_id, _loaded_at = excluded._loaded_at{revive}
    returning {returned}
)

{counts}",
            all = listed(&|name, _| name.to_owned()),
            staged = listed(&|name, _| format!("staged.{name}")),
            present = listed(&|name, _| format!("present.{name}")),
            written = listed(&|name, column| kept(name, column.keep, "present", "staged")),
            same_key = self.same_key("present", "staged"),
            order = if order.is_empty() { String::new() } else { format!("    order by {}\n", order.join(", ")) },
            conflict = conflict.join(", "),
            assignments = assignments.join(", "),
            returned = if table.partitioned { "1 as written" } else { "xmax = 0 as inserted" },
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

    fn update(&self) -> String {
        let Self { table, target, stage, .. } = self;
        let names = table.columns.iter().map(|column| quote(&column.name)).chain([quote("_extra")]);
        let columns: Vec<String> = names.filter(|name| !self.key.contains(name)).collect();
        let listed = |alias: &str| columns.iter().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ");
        let assignments: Vec<String> = columns.iter().map(|name| format!("{name} = staged.{name}")).collect();
        format!(
            "update {target} as present
set {assignments}, _run_id = $3, _loaded_at = now()
from {stage} as staged
where
    present._connection = $1
    and present._window_start = $2
    and {same_key}
    and ({present}) is distinct from ({staged})",
            assignments = assignments.join(", "),
            same_key = self.same_key("present", "staged"),
            present = listed("present"),
            staged = listed("staged"),
        )
    }

    /// The rows of a window are in one partition, in which a `ctid` is unique.
    ///
    /// Each row is looked up by itself. With a join, a plan for a table without statistics may read the whole slice for
    /// every batch.
    fn replace(&self) -> String {
        let Self { target, key, .. } = self;
        let kinds: Vec<&str> =
            if self.by_hash() { vec!["uuid"] } else { self.key_kinds.iter().map(|kind| kind.sql()).collect() };
        let arrays: Vec<String> = kinds.iter().enumerate().map(|(at, kind)| format!("${}::{kind}[]", at + 3)).collect();
        format!(
            "delete from {target} as present
where
    present._connection = $1
    and present._window_start = $2
    and present.ctid = any(array(
        select (
            select found.ctid
            from {target} as found
            where found._connection = $1 and found._window_start = $2 and {same_key}
        )
        from unnest({arrays}) as changed ({names})
    ))",
            same_key = self.same_key("found", "changed"),
            arrays = arrays.join(", "),
            names = key.join(", "),
        )
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
        let Self { table, target, stage, .. } = self;
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
        from {stage} as staged
        where {same_key}{here}
    )",
            same_key = self.same_key("staged", "present"),
        );
        let unseen = format!(
            "
    present._connection = $1{window}
    and not exists (
        select
        from tidegate.seen_row as seen
        where seen.slice_id = $5 and seen.row_key = {identity}{here}
    )",
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
inner join tidegate.seen_row as seen on seen.slice_id = $4 and seen.row_key = {}
where
    present._connection = $1{}",
                self.target,
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

    fn duplicates(&self) -> DuplicatesSql {
        let Self { target, stage, .. } = self;
        DuplicatesSql {
            seen_before: format!(
                "select staged._row_key
from {stage} as staged
inner join tidegate.seen_row as seen on seen.slice_id = $1 and seen.row_key = staged._row_key"
            ),
            present_before: format!(
                "select staged._row_key
from {stage} as staged
inner join {target} as present
    on present._connection = $1 and present._window_start = $2 and present._row_key = staged._row_key"
            ),
            rename_staged: format!(
                "update {stage} as staged
set _row_key = renamed.new
from unnest($1::uuid[], $2::uuid[]) as renamed (old, new)
where staged._row_key = renamed.old"
            ),
            present_among: format!(
                "select _row_key
from {target}
where _connection = $1 and _window_start = $2 and _row_key = any($3)"
            ),
        }
    }

    fn drop_shared(&self, latest_wins: bool) -> String {
        let Self { table, target, stage, .. } = self;
        let names: Vec<String> =
            table.columns.iter().map(|column| quote(&column.name)).chain([quote("_extra")]).collect();
        let listed = |alias: &str| names.iter().map(|name| format!("{alias}{name}")).collect::<Vec<_>>().join(", ");
        // A key of some fields does not show whether the records are identical.
        let same_content = if latest_wins {
            format!("\n    and ({}) is not distinct from ({})", listed("neighbour."), listed("staged."))
        } else {
            String::new()
        };
        format!(
            "delete from {stage} as staged
using {target} as neighbour
where
    {identity} = any($1)
    and neighbour._connection = $2
    and neighbour._window_start = any($3)
    and {same_key}{same_content}
returning {identity}",
            identity = self.identity("staged"),
            same_key = self.same_key("neighbour", "staged"),
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

/// The bytes that stand for the value of a key's column in its row's identity.
fn bytes_of(value: &str, kind: ColumnType) -> String {
    match kind {
        ColumnType::Timestamptz => format!("timestamptz_send({value})"),
        ColumnType::Double => format!("float8send({value})"),
        // Equal numbers may have different scales.
        ColumnType::Numeric => format!("convert_to(trim_scale({value})::text, 'UTF8')"),
        ColumnType::Text => format!("convert_to({value}, 'UTF8')"),
        ColumnType::Bigint | ColumnType::Boolean | ColumnType::Jsonb => format!("convert_to({value}::text, 'UTF8')"),
    }
}

/// The value of a column after a row was written again.
fn kept(name: &str, keep: Keep, present: &str, new: &str) -> String {
    match keep {
        Keep::Latest => format!("{new}.{name}"),
        Keep::Greatest => format!("greatest({present}.{name}, {new}.{name})"),
        Keep::First => format!("coalesce({present}.{name}, {new}.{name})"),
        Keep::Known => format!("coalesce({new}.{name}, {present}.{name})"),
    }
}
