//! The SQL for records that come more than once: identical records of one reading, and those of neighbouring slices.

use super::sql::StatementParts;

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

/// For staged rows that a neighbouring slice has too.
#[derive(Debug, Clone)]
pub struct SharedSql {
    /// `$1` identities, `$2` connection, `$3` window start of one neighbour: the places and identities of those among
    /// these rows that it has in identical form. With several neighbours at once, a plan without statistics of the
    /// connection reads all of its rows.
    pub find: String,
    /// `$1` places.
    pub delete: String,
    /// `$1` identities: those of them that staged rows have.
    pub left: String,
}

impl StatementParts<'_> {
    pub(super) fn duplicates(&self) -> DuplicatesSql {
        let Self { target, stage, staged, .. } = self;
        DuplicatesSql {
            seen_before: format!(
                "select staged._row_key
from {stage} as staged
inner join tidegate.seen_row as seen on seen.slice_id = $1 and seen.row_key = staged._row_key"
            ),
            present_before: format!(
                "select staged._row_key
from {staged} as staged
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

    pub(super) fn shared(&self, latest_wins: bool) -> SharedSql {
        let Self { target, stage, .. } = self;
        let columns = self.columns();
        let listed =
            |alias: &str| columns.iter().map(|(name, _)| format!("{alias}{name}")).collect::<Vec<_>>().join(", ");
        // A key of some fields does not show whether the records are identical.
        let same_content = if latest_wins {
            format!("\n    and ({}) is not distinct from ({})", listed("neighbour."), listed("staged."))
        } else {
            String::new()
        };
        let find = format!(
            "select staged._place, staged._identity
from (
    select *, {identity} as _identity
    from {stage} as staged
    where {identity} = any($1)
    offset 0
) as staged
inner join {target} as neighbour
    on {same_key}
where
    neighbour._connection = $2
    and neighbour._window_start = $3{same_content}",
            identity = self.identity("staged"),
            same_key = self.same_key("neighbour", "staged"),
        );
        let identity = self.identity("staged");
        SharedSql {
            find,
            delete: format!("delete from {stage} where _place = any($1)"),
            left: format!("select {identity} from {stage} as staged where {identity} = any($1)"),
        }
    }
}
