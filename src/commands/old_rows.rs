//! What the next pass of a daemon drops by `warehouse.keep`, as `check` and `status` show it.

use super::output::Table;
use super::show;
use crate::store::keep::due::Due;

/// More partitions are shown as the first, the last and their number.
const PARTITIONS_MAX: usize = 2;

/// A row for each table. Empty without any.
pub(super) fn table(due: &[Due]) -> String {
    if due.is_empty() {
        return String::new();
    }
    let mut table = Table::new().left(&["TABLE", "KEPT FROM", "OLDEST"]).right(&["ROWS"]).left(&["PARTITIONS"]);
    for due in due {
        table.row([
            due.table.clone(),
            show::time(due.kept_from),
            due.oldest.map_or_else(|| show::NOTHING.to_owned(), show::time),
            due.rows.map_or_else(|| "not counted".to_owned(), |rows| rows.to_string()),
            partitions(&due.partitions),
        ]);
    }
    table.show()
}

fn partitions(names: &[String]) -> String {
    match names {
        [] => "none: row by row".to_owned(),
        [first, .., last] if names.len() > PARTITIONS_MAX => format!("{}: {first} to {last}", names.len()),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn what_is_too_old_is_shown_by_table() {
        let due = |partitions: &[&str], rows| Due {
            table: "lynn.marks".to_owned(),
            kept_from: DateTime::UNIX_EPOCH,
            partitions: partitions.iter().map(ToString::to_string).collect(),
            rows,
            oldest: None,
        };
        assert_eq!(table(&[]), "");
        let shown = table(&[due(&[], Some(12)), due(&["a", "b"], None), due(&["a", "b", "c"], Some(0))]);
        let expected = [
            "TABLE       KEPT FROM             OLDEST         ROWS  PARTITIONS",
            "lynn.marks  1970-01-01T00:00:00Z  -                12  none: row by row",
            "lynn.marks  1970-01-01T00:00:00Z  -       not counted  a, b",
            "lynn.marks  1970-01-01T00:00:00Z  -                 0  3: a to c",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }
}
