//! The SQL that makes rows of a child table from the elements of an array.

use super::table::{Links, Table};
use crate::catalogue::{Column, ColumnType};
use crate::store::distribution::Distribution;
use crate::store::ident::{literal, quote, table as qualified};

/// Statements that update a child table from the arrays of staged parents. The child rows of a parent whose array is
/// missing, null or unreadable are kept.
#[derive(Debug, Clone)]
pub struct LinksSql {
    /// The child table's name.
    pub child: String,
    /// `$1` connection, `$2` an instant or null: counts the child rows of these parents as `present`, and those that
    /// are no longer reported as `gone`, both without rows that were written since the instant. `all_gone` includes
    /// those.
    pub count: String,
    /// `$1` connection: deletes the child rows that are no longer reported.
    pub delete: String,
    /// `$1` connection, `$2` run: write child rows that are new or changed, in this order.
    pub write: Vec<String>,
}

impl LinksSql {
    /// `source`: the staged rows of `table`. `None` for a child table without columns.
    pub(super) fn new(table: &Table, source: &str, links: &Links) -> Option<Self> {
        let Links { child, staged } = links;
        let id = child.columns.first()?;
        let target = qualified(&table.schema, &child.name);
        let array = quote(&staged.name);
        let of_parent = links_of(links, "present", "staged");
        let own = quote(&id.name);
        let is_gone =
            format!("not exists (select from {} where {} = present.{own})", elements(links), element(id, true));
        Some(Self {
            child: child.name.to_string(),
            count: count(table.distribution, &target, source, links, &is_gone)?,
            delete: format!(
                "delete from {target} as present
using {source} as staged
where
    present._connection = $1
    and staged.{array} is not null
    and {of_parent}
    and {is_gone}"
            ),
            write: write(table.distribution, &target, source, links),
        })
    }
}

/// The statement that counts the child rows of the staged parents. Few batches have rows to delete.
fn count(distribution: Distribution, target: &str, source: &str, links: &Links, is_gone: &str) -> Option<String> {
    let id = links.child.columns.first()?;
    let (own, array) = (quote(&id.name), quote(&links.staged.name));
    let of_parent = links_of(links, "present", "staged");
    let is_old = "($2::timestamptz is null or present._loaded_at < $2)";
    let counted = |is_gone: &str| {
        format!(
            "select
    count(*) filter (where {is_old}) as present,
    count(*) filter (where {is_old} and {is_gone}) as gone,
    count(*) filter (where {is_gone}) as all_gone
from {source} as staged"
        )
    };
    Some(match distribution {
        // The child rows of each parent are looked up by themselves. With a join, a plan without statistics of the
        // connection reads all of its rows.
        Distribution::None => format!(
            "{counted}
cross join lateral (
    select present._loaded_at, present.{own}
    from {target} as present
    where present._connection = $1 and {of_parent}
    offset 0
) as present
where staged.{array} is not null",
            counted = counted(is_gone),
        ),
        // Citus refuses such a look-up of a distributed table.
        Distribution::Citus => {
            let parents = links.child.parent.iter();
            let reported: Vec<String> = parents
                .map(|(theirs, ours)| format!("staged.{} as {}", quote(theirs), quote(ours)))
                .chain([format!("{} as {own}", element(id, true))])
                .collect();
            let same: Vec<String> = links
                .child
                .parent
                .iter()
                .map(|(_, ours)| quote(ours))
                .chain([own.clone()])
                .map(|name| format!("present.{name} = reported.{name}"))
                .collect();
            format!(
                "{counted}
inner join {target} as present on present._connection = $1 and {of_parent}
left join (
    select distinct {reported}
    from {source} as staged
    cross join lateral {elements}
    where staged.{array} is not null
) as reported on {same}
where staged.{array} is not null",
                counted = counted(&format!("reported.{own} is null")),
                reported = reported.join(", "),
                elements = elements(links),
                same = same.join(" and "),
            )
        }
    })
}

/// The elements of a staged parent's array.
fn elements(links: &Links) -> String {
    format!("jsonb_array_elements(staged.{}) as element", quote(&links.staged.name))
}

/// The statements that write the child rows of the staged parents that are new or changed: one, or an insert and an
/// update. An outer join with a distributed table brings all of its rows to the coordinator.
#[expect(clippy::too_many_lines, reason = "three statements")]
fn write(distribution: Distribution, target: &str, source: &str, links: &Links) -> Vec<String> {
    let child = &links.child;
    let own: Vec<(String, String)> = child
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| (quote(&column.name), element(column, place == 0)))
        .collect();
    let parents: Vec<(String, String)> =
        child.parent.iter().map(|(parent, name)| (quote(name), format!("staged.{}", quote(parent)))).collect();
    let all: Vec<&(String, String)> = parents.iter().chain(&own).collect();
    let names = |pairs: &[&(String, String)], prefix: &str| {
        pairs.iter().map(|(name, _)| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
    };
    let key: Vec<&(String, String)> = parents.iter().chain(own.first()).collect();
    let rest: Vec<String> = own.iter().skip(1).map(|(name, _)| name.clone()).chain([quote("_extra")]).collect();
    let row = |alias: &str| rest.iter().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ");
    let assigned =
        |alias: &str| rest.iter().map(|name| format!("{name} = {alias}.{name}")).collect::<Vec<_>>().join(", ");
    let values: Vec<String> = all.iter().map(|(name, value)| format!("{value} as {name}")).collect();
    let same: Vec<String> = key.iter().map(|(name, _)| format!("present.{name} = fresh.{name}")).collect();
    let (key, same) = (names(&key, ""), same.join(" and "));
    let fresh = format!(
        "(
    select distinct on ({key}) {values}, {extra} as _extra
    from {source} as staged
    cross join lateral {elements}
    order by {key}
) as fresh",
        values = values.join(", "),
        extra = leftover(&child.columns),
        elements = elements(links),
    );
    let insert = format!(
        "insert into {target} (_connection, {all}, _extra, _run_id, _loaded_at)
select $1, {fresh_all}, fresh._extra, $2, now()
from {fresh}",
        all = names(&all, ""),
        fresh_all = names(&all, "fresh."),
    );
    let differs = format!("({}) is distinct from ({})", row("present"), row("fresh"));
    match distribution {
        Distribution::None => vec![format!(
            "{insert}
left join lateral (
    select *
    from {target} as present
    where present._connection = $1 and {same}
    offset 0
) as present on true
where present._connection is null
    or {differs}
on conflict (_connection, {key}) do update
set {assignments}, _run_id = excluded._run_id, _loaded_at = excluded._loaded_at",
            assignments = assigned("excluded"),
        )],
        Distribution::Citus => vec![
            format!(
                "{insert}
on conflict (_connection, {key}) do nothing"
            ),
            format!(
                "update {target} as present
set {assignments}, _run_id = $2, _loaded_at = now()
from {fresh}
where
    present._connection = $1
    and {same}
    and {differs}",
                assignments = assigned("fresh"),
            ),
        ],
    }
}

/// The condition that a child row belongs to a parent.
pub(super) fn links_of(links: &Links, child: &str, parent: &str) -> String {
    let pairs = links.child.parent.iter();
    pairs
        .map(|(theirs, ours)| format!("{child}.{} = {parent}.{}", quote(ours), quote(theirs)))
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The expression for a child's column, from an element of the array. `links::fit` has checked that it cannot fail.
fn element(column: &Column, is_id: bool) -> String {
    let (json, text) = if column.field.is_empty() {
        ("element".to_owned(), "(element #>> '{}')".to_owned())
    } else {
        let name = literal(&column.field);
        (format!("(element -> {name})"), format!("(element ->> {name})"))
    };
    match column.kind {
        // Different spellings of a number are the same id.
        ColumnType::Text if is_id => {
            format!("case jsonb_typeof({json}) when 'number' then trim_scale({text}::numeric)::text else {text} end")
        }
        ColumnType::Text => text,
        ColumnType::Jsonb => format!("nullif({json}, '\"\"')"),
        // `11.0` is a whole number.
        ColumnType::Bigint => format!("nullif({text}, '')::numeric::bigint"),
        kind => format!("nullif({text}, '')::{}", kind.sql()),
    }
}

/// The members of an element that have no column.
fn leftover(columns: &[Column]) -> String {
    if columns.iter().any(|column| column.field.is_empty()) {
        return "null::jsonb".to_owned();
    }
    let known: Vec<String> = columns.iter().map(|column| literal(&column.field)).collect();
    format!("nullif(element - array[{}], '{{}}')", known.join(", "))
}
