//! Whether the tables exist that the daemon cannot work without, and may be used by its role.

use sqlx::PgConnection;

use super::session::Deadline as _;

/// The tables and views that runs, quotas, pages, metrics and notifications need, and the rights to them. The metrics
/// are read together: without one of their tables there are none.
const NEEDED: [(&str, Rights); 42] = [
    ("connection", CHANGED_AND_DELETED),
    ("event", CHANGED_AND_DELETED),
    ("fingerprint", CHANGED_AND_DELETED),
    ("held_range", READ),
    ("instance", CHANGED_AND_DELETED),
    ("job", CHANGED),
    ("lock", CHANGED),
    ("mart_in_force", READ),
    ("mart_setting", CHANGED),
    ("mart_table", CHANGED_AND_DELETED),
    ("mart_view", CHANGED),
    ("notification", CHANGED_AND_DELETED),
    ("notification_agreed", READ),
    ("notification_statement", CHANGED_AND_DELETED),
    ("notification_target", CHANGED),
    ("open_problem", READ),
    ("pause", CHANGED_AND_DELETED),
    ("problem", CHANGED_AND_DELETED),
    ("quota_agreed", READ),
    ("quota_hour", CHANGED_AND_DELETED),
    ("quota_ledger", CHANGED),
    ("quota_limit", CHANGED),
    ("quota_spent", CHANGED_AND_DELETED),
    ("quota_statement", CHANGED_AND_DELETED),
    ("quota_use", CHANGED_AND_DELETED),
    ("quota_waiter", CHANGED_AND_DELETED),
    ("reconciliation", CHANGED_AND_DELETED),
    ("reconciliation_difference", CHANGED_AND_DELETED),
    ("rejected_record", CHANGED_AND_DELETED),
    ("row_time", CHANGED_AND_DELETED),
    ("run", CHANGED_AND_DELETED),
    ("schema_change", CHANGED),
    ("seen_row", CHANGED_AND_DELETED),
    ("setting", CHANGED),
    ("slice", CHANGED_AND_DELETED),
    ("stream", CHANGED_AND_DELETED),
    ("stream_state", READ),
    ("stream_wait", READ),
    ("table_column", CHANGED_AND_DELETED),
    ("table_key", CHANGED_AND_DELETED),
    ("table_upkeep", CHANGED_AND_DELETED),
    ("task", CHANGED),
];

/// The rights to a table.
type Rights = &'static [&'static str];

/// Of a view.
const READ: Rights = &["select"];
const CHANGED: Rights = &["select", "insert", "update"];
/// Of a table whose rows are deleted by themselves: those of `task` are deleted with their run.
const CHANGED_AND_DELETED: Rights = &["select", "insert", "update", "delete"];

/// What the session finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usable {
    /// Whether the server can be written to.
    pub is_writable: bool,
    /// Those of the tables that do not exist.
    pub missing: Vec<String>,
    /// Those to which the role lacks a right.
    pub refused: Vec<String>,
}

/// Reads only the catalogue, so it waits for no lock of a table.
pub async fn usable(conn: &mut PgConnection) -> Result<Usable, sqlx::Error> {
    let (names, rights): (Vec<String>, Vec<String>) = NEEDED
        .iter()
        .flat_map(|&(name, rights)| rights.iter().map(move |right| (name.to_owned(), (*right).to_owned())))
        .unzip();
    sqlx::query_as!(
        Usable,
        r#"
        select
            current_setting('transaction_read_only') = 'off' and not pg_is_in_recovery() as "is_writable!",
            coalesce(
                array_agg(distinct needed.name order by needed.name) filter (where class.oid is null),
                '{}'
            ) as "missing!",
            coalesce(
                array_agg(distinct needed.name order by needed.name) filter (
                    where
                    not (
                        has_schema_privilege(class.relnamespace, 'usage')
                        and has_table_privilege(class.oid, needed.privilege)
                    )
                ),
                '{}'
            ) as "refused!"
        from unnest($1::text[], $2::text[]) as needed (name, privilege)
        left join pg_class as class
            on needed.name = class.relname and class.relnamespace = to_regnamespace('tidegate')
        "#,
        &names,
        &rights,
    )
    .fetch_one(conn)
    .in_time()
    .await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::migrations::MIGRATOR;
    use super::*;

    /// Only `tidegate push`, the page about it and the check for its problems use them.
    const LEFT_OUT: [&str; 2] = ["push_batch", "push_row"];

    /// The names after `begin` in a text.
    fn named<'t>(text: &'t str, begin: &str) -> Vec<&'t str> {
        let end = |rest: &'t str| rest.split(|of: char| !of.is_ascii_alphanumeric() && of != '_').next();
        text.split(begin).skip(1).filter_map(end).collect()
    }

    fn migrations() -> Vec<&'static str> {
        MIGRATOR.iter().map(|migration| migration.sql.as_str()).collect()
    }

    /// The texts of this program.
    fn sources() -> Vec<String> {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut texts = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "sql") {
                    texts.push(std::fs::read_to_string(path).unwrap());
                }
            }
        }
        texts
    }

    #[test]
    fn p12_every_table_and_view_of_the_migrations_is_needed_or_left_out_on_purpose() {
        let of = |begin: &str| migrations().into_iter().flat_map(|text| named(text, begin)).collect::<BTreeSet<_>>();
        let (mut tables, views) = (of("create table tidegate."), of("create view tidegate."));
        tables.extend(of("create unlogged table tidegate."));
        assert!(tables.len() > 30 && views.len() > 3, "{tables:?} {views:?}");
        let known: BTreeSet<&str> = NEEDED.iter().map(|(name, _)| *name).chain(LEFT_OUT).collect();
        let all: BTreeSet<&str> = tables.union(&views).copied().collect();
        assert_eq!(known, all);
        assert_eq!(known.len(), NEEDED.len() + LEFT_OUT.len(), "each is named once");
        for (name, rights) in NEEDED {
            assert_eq!(rights == READ, views.contains(name), "{name}");
        }
    }

    #[test]
    fn p12_the_right_to_delete_is_needed_where_rows_are_deleted() {
        let (sources, begin) = (sources(), "delete from tidegate.");
        let texts = sources.iter().map(String::as_str).chain(migrations());
        let deleted: BTreeSet<&str> = texts
            .flat_map(|text| named(text, begin))
            .filter(|name| !name.is_empty() && !LEFT_OUT.contains(name))
            .collect();
        assert!(deleted.len() > 20, "{deleted:?}");
        let known = NEEDED.iter().filter(|(_, rights)| *rights == CHANGED_AND_DELETED).map(|(name, _)| *name);
        assert_eq!(known.collect::<BTreeSet<&str>>(), deleted);
    }
}
