//! The SQL that merges staged rows into a distributed table, and that which changes rows of any table.

use super::sql::{StatementParts, kept};
use crate::catalogue::Keep;

/// The merge into a distributed table. For the outer join of the one statement, Citus would bring every row of the
/// slice to the coordinator.
#[derive(Debug, Clone)]
pub struct ApartSql {
    /// `$1` connection, `$2` window start, `$3` run: writes the rows whose keys the table does not have.
    pub insert: String,
    /// The same parameters: changes the rows that differ.
    pub update: String,
    /// Counts the staged rows.
    pub staged: String,
}

impl StatementParts<'_> {
    pub(super) fn apart(&self) -> ApartSql {
        let Self { target, source, .. } = self;
        let (names, values) = self.new_row();
        ApartSql {
            insert: format!(
                "insert into {target} ({names})
select {values}
from {source} as staged
{order}on conflict ({conflict}) do nothing",
                order = self.order().map_or_else(String::new, |order| format!("{order}\n")),
                conflict = self.conflict(),
            ),
            update: self.changes(source),
            staged: format!("select count(*) from {source} as staged"),
        }
    }

    /// The statement that changes the rows of the table that differ from those of `source`.
    pub(super) fn changes(&self, source: &str) -> String {
        let columns: Vec<(String, Keep)> =
            self.columns().into_iter().filter(|(name, _)| !self.key.contains(name)).collect();
        let listed = |each: &dyn Fn(&str, Keep) -> String| {
            columns.iter().map(|(name, keep)| each(name, *keep)).collect::<Vec<_>>().join(", ")
        };
        let differs = format!(
            "({}) is distinct from ({})",
            listed(&|name, _| format!("present.{name}")),
            listed(&|name, keep| kept(name, keep, "present", "staged")),
        );
        let (differs, revive) = if self.marks() {
            (format!("({differs} or present._deleted_at is not null)"), ", _deleted_at = null")
        } else {
            (differs, "")
        };
        format!(
            "update {target} as present
set {assignments}, _run_id = $3, _loaded_at = now(){revive}
from {source} as staged
where
    present._connection = $1{window}
    and {same_key}
    and {differs}",
            target = self.target,
            assignments = listed(&|name, keep| format!("{name} = {}", kept(name, keep, "present", "staged"))),
            window = if self.windowed { "\n    and present._window_start = $2" } else { "" },
            same_key = self.same_key("present", "staged"),
        )
    }
}
