//! The generated SQL of a load: stage, merge, and what leaves at the end of a slice.
//!
//! All of it is made here, from quoted names; snapshots pin the text. A row that would not change is filtered out before
//! the insert, so it is neither locked nor rewritten.

use xxhash_rust::xxh3::xxh3_64;

use super::ident::{quote, table as qualified};
use super::layout::Layout;
use super::table::{Table, conversion};

/// The statements for one table in its present shape.
#[derive(Debug, Clone)]
pub struct MergeSql {
    /// Makes the session's staging table unless it has it.
    pub create_stage: String,
    /// Empties the staging table between two batches of one transaction.
    pub clear_stage: String,
    /// `$1` connection, `$2` window start, `$3` run; answers inserted and updated.
    pub merge: String,
    /// `$1` connection, `$2` window start, `$3` window end: rows that the staged, complete slice no longer has.
    pub delete_unstaged: String,
    /// `$1` connection, `$2` window start, `$3` window end, `$4` slice: rows that no page of the reading had.
    pub delete_unseen: String,
    /// `$1` slice: notes the staged keys as seen.
    pub note_seen: String,
    /// `$1` slice: staged keys that an earlier page of this reading had already.
    pub seen_before: String,
    /// `$1` connection, `$2` window start: staged keys that the table has already.
    pub present_before: String,
    /// `$1` old keys, `$2` new keys.
    pub rename_staged: String,
    /// `$1` keys, `$2` connection, `$3` neighbouring window starts: drops staged rows that a neighbour has just so.
    pub drop_shared: String,
    /// `$1` connection, `$2` window start, `$3` keys: those of them that the table has.
    pub present_among: String,
    stage: String,
}

impl MergeSql {
    /// `latest_wins`: records are keyed by fields, and the later of two equal ones counts.
    #[expect(clippy::too_many_lines, reason = "one statement after another")]
    pub fn new(table: &Table, latest_wins: bool) -> Self {
        let target = qualified(&table.schema, &table.name);
        let names: Vec<String> =
            table.columns.iter().map(|column| quote(&column.name)).chain([quote("_extra")]).collect();
        let definitions: Vec<String> =
            table.columns.iter().map(|column| format!(", {} {}", quote(&column.name), column.kind.sql())).collect();
        let definitions = definitions.concat();
        let shape = xxh3_64(format!("{target}{definitions}").as_bytes());
        let stage = format!("pg_temp.{}", quote(&format!("stage_{shape:016x}")));
        let listed = |alias: &str| names.iter().map(|name| format!("{alias}{name}")).collect::<Vec<_>>().join(", ");
        let assignments = names.iter().map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
        let source = if latest_wins {
            format!("(select distinct on (_row_key) * from {stage} order by _row_key, _place desc)")
        } else {
            stage.clone()
        };
        // A key made of some fields does not tell whether the record is the same one.
        let same_content = if latest_wins {
            format!("\n    and ({}) is not distinct from ({})", listed("neighbour."), listed("staged."))
        } else {
            String::new()
        };
        Self {
            create_stage: format!(
                "create temporary table if not exists {} (_row_key uuid, _place integer{definitions}, _extra jsonb) on commit delete rows",
                stage.trim_start_matches("pg_temp.")
            ),
            clear_stage: format!("truncate {stage}"),
            merge: format!(
                "with merged as (
    insert into {target} (_connection, _window_start, _row_key, {all}, _run_id, _loaded_at)
    select $1, $2, staged._row_key, {staged}, $3, now()
    from {source} as staged
    left join {target} as present
        on present._connection = $1 and present._window_start = $2 and present._row_key = staged._row_key
    where present._row_key is null or ({present}) is distinct from ({staged})
    order by staged._row_key
    on conflict (_connection, _window_start, _row_key) do update
    set {assignments}, _run_id = excluded._run_id, _loaded_at = excluded._loaded_at
    returning xmax = 0 as inserted
)

select
    count(*) filter (where inserted) as inserted,
    count(*) filter (where not inserted) as updated,
    (select count(*) from {source} as staged) as staged
from merged",
                all = listed(""),
                staged = listed("staged."),
                present = listed("present."),
            ),
            delete_unstaged: format!(
                "delete from {target} as present
where
    present._connection = $1
    and present._window_start >= $2
    and present._window_start < $3
    and not exists (
        select
        from {stage} as staged
        where staged._row_key = present._row_key and present._window_start = $2
    )"
            ),
            delete_unseen: format!(
                "delete from {target} as present
where
    present._connection = $1
    and present._window_start >= $2
    and present._window_start < $3
    and not exists (
        select
        from tidegate.seen_row as seen
        where seen.slice_id = $4 and seen.row_key = present._row_key and present._window_start = $2
    )"
            ),
            note_seen: format!(
                "insert into tidegate.seen_row (slice_id, row_key)
select $1, _row_key
from {stage}
order by _row_key
on conflict do nothing"
            ),
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
            drop_shared: format!(
                "delete from {stage} as staged
using {target} as neighbour
where
    staged._row_key = any($1)
    and neighbour._connection = $2
    and neighbour._window_start = any($3)
    and neighbour._row_key = staged._row_key{same_content}"
            ),
            present_among: format!(
                "select _row_key
from {target}
where _connection = $1 and _window_start = $2 and _row_key = any($3)"
            ),
            stage,
        }
    }

    /// The statements that turn the staging table of `old` into this one's, rows kept: the table grew in the meantime.
    pub fn reshape_stage(&self, old: &Self, before: &Table, now: &Table) -> Vec<String> {
        if self.stage == old.stage {
            return Vec::new();
        }
        let mut statements = vec![format!("drop table if exists {}", self.stage)];
        for column in &now.columns {
            let name = quote(&column.name);
            let Some(known) = before.column(&column.field) else {
                statements.push(format!("alter table {} add column {name} {}", old.stage, column.kind.sql()));
                continue;
            };
            if known.name != column.name {
                statements.push(format!("alter table {} rename column {} to {name}", old.stage, quote(&known.name)));
            }
            if known.kind != column.kind {
                statements.push(format!(
                    "alter table {} alter column {name} type {} using {}",
                    old.stage,
                    column.kind.sql(),
                    conversion(&name, known.kind, column.kind)
                ));
            }
        }
        statements.push(format!("alter table {} rename to {}", old.stage, self.stage.trim_start_matches("pg_temp.")));
        statements
    }

    /// The COPY statement for rows of `layout`; none when the table lacks a column for one of its fields.
    pub fn copy(&self, table: &Table, layout: &Layout) -> Option<String> {
        let columns: Option<String> = layout
            .fields()
            .iter()
            .map(|field| Some(format!(", {}", quote(&table.column(&field.path)?.name))))
            .collect();
        Some(format!("copy {} (_row_key, _place{}, _extra) from stdin", self.stage, columns?))
    }
}
