//! When a reading is too doubtful to delete anything (promise 10).
//!
//! A vendor that reports no rows, half of its rows, or records that cannot be read looks just like one that has deleted
//! them. So rows are deleted only after a reading without rejects that does not shrink its slice or list sharply. Any
//! other reading adds and changes rows, and its slice is held.

/// A reading that lacks fewer rows never counts as sharply smaller: small slices vary by chance.
const ROWS_LACKING_MIN: i64 = 20;

/// What a finished reading found, compared with what its slice or list had when the reading began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    /// Rows that the table had.
    pub present: i64,
    /// Rows that the reading reported. In a list whose rows have their own keys, only those that were already in the
    /// table.
    pub reported: i64,
    /// Records of the reading that could not become rows.
    pub rejected: i64,
}

impl Evidence {
    /// Of a list in whose table `missing` rows were not reported. If these are more than there were when the reading
    /// began, others have inserted rows meanwhile, and the rows are counted as they are now.
    pub(crate) fn of_list(present: i64, reported: i64, missing: i64, rejected: i64) -> Self {
        if present > 0 && missing > present {
            let reported = reported.min(present);
            return Self { present: missing + reported, reported, rejected };
        }
        Self { present, reported: reported.min(present - missing).max(0), rejected }
    }
}

/// The doubtful reading that the operator saw before releasing its slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Released {
    /// Rows that it reported.
    pub reported: i64,
    /// Whether some of its records were refused.
    pub rejected: bool,
}

/// Returns why nothing may be deleted, or `None` if the reading may delete what it did not report. `hold_below` is in
/// percent; 0 switches the comparison of sizes off, but refused records are still doubtful. A release covers what the
/// operator saw: refused records if there were any, and as few rows as were reported then.
pub(crate) fn doubt(evidence: Evidence, hold_below: u8, released: Option<Released>) -> Option<String> {
    let Evidence { present, reported, rejected } = evidence;
    if rejected > 0 && !released.is_some_and(|released| released.rejected) {
        let records = if rejected == 1 { "1 record was" } else { &format!("{rejected} records were") };
        return Some(format!("{records} refused (`tidegate rejects` shows why)"));
    }
    let present = released.map_or(present, |released| present.min(released.reported));
    if hold_below == 0 || present == 0 {
        return None;
    }
    if reported == 0 {
        return Some(format!("the vendor reported none of {present} rows"));
    }
    let shrinks = i128::from(reported) * 100 < i128::from(present) * i128::from(hold_below);
    (shrinks && present - reported >= ROWS_LACKING_MIN)
        .then(|| format!("the vendor reported {reported} rows where there were {present}, less than {hold_below} %"))
}

/// Returns why rows of the child table `child` are kept. `evidence` counts the children of a batch's parents before and
/// after. `is_whole_list`: the parents are a whole list. Otherwise they are a part of a slice, and the few children of
/// a batch may all change together.
pub(crate) fn doubt_of_children(
    child: &str,
    evidence: Evidence,
    hold_below: u8,
    is_whole_list: bool,
) -> Option<String> {
    let Evidence { present, reported, .. } = evidence;
    if !is_whole_list && present - reported < ROWS_LACKING_MIN {
        return None;
    }
    doubt(evidence, hold_below, None).map(|reason| format!("{reason}, of child table {child}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_held(present: i64, reported: i64, rejected: i64, hold_below: u8) -> bool {
        doubt(Evidence { present, reported, rejected }, hold_below, None).is_some()
    }

    #[test]
    fn p10_a_reading_that_shrinks_a_slice_sharply_is_held() {
        for (present, reported, held) in [
            (100, 100, false),
            (100, 80, false),
            (100, 79, true),
            (100, 0, true),
            // Fewer than 20 rows may be missing, but not all of them.
            (24, 5, false),
            (25, 5, true),
            (3, 1, false),
            (3, 0, true),
            (1, 0, true),
            (0, 0, false),
            (0, 500, false),
            (100, 500, false),
            (i64::MAX, i64::MAX / 2, true),
        ] {
            assert_eq!(is_held(present, reported, 0, 80), held, "{reported} of {present}");
        }
    }

    #[test]
    fn p10_rows_that_others_inserted_during_a_reading_are_counted_as_not_reported() {
        let doubt = |present, reported, missing| doubt(Evidence::of_list(present, reported, missing, 0), 80, None);
        let reason = "the vendor reported 6 rows where there were 26, less than 80 %";
        assert_eq!(doubt(6, 6, 20).unwrap(), reason);
        assert_eq!(doubt(6, 0, 20).unwrap(), "the vendor reported none of 20 rows");
        assert_eq!((doubt(6, 6, 7), doubt(0, 0, 3), doubt(100, 120, 0)), (None, None, None));
        assert_eq!(doubt(100, 120, 50).unwrap(), "the vendor reported 50 rows where there were 100, less than 80 %");
        for (present, reported, missing) in [(6, 6, 20), (0, 5, 3), (4, 9, 4), (1, 0, 1)] {
            assert!(Evidence::of_list(present, reported, missing, 0).reported >= 0);
        }
    }

    #[test]
    fn p10_a_refused_record_always_holds_the_slice() {
        assert!(is_held(100, 100, 1, 80));
        assert!(is_held(100, 99, 1, 0), "also without the comparison of sizes");
        assert!(is_held(0, 99, 1, 80), "a refused record is missing, even in a first reading");
    }

    #[test]
    fn p10_a_release_covers_only_what_the_operator_saw() {
        let is_held = |(seen, refused): (i64, bool), reported: i64, rejected: i64| {
            let released = Some(Released { reported: seen, rejected: refused });
            doubt(Evidence { present: 100, reported, rejected }, 80, released).is_some()
        };
        for (seen, reported, rejected, held) in [
            ((50, false), 50, 0, false),
            ((50, false), 45, 0, false),
            ((50, false), 20, 0, true),
            ((50, false), 0, 0, true),
            ((50, false), 50, 1, true),
            ((0, false), 0, 0, false),
            ((0, false), 0, 1, true),
            ((99, true), 99, 1, false),
            ((99, true), 0, 1, true),
            ((0, true), 0, 5, false),
        ] {
            assert_eq!(is_held(seen, reported, rejected), held, "{seen:?}: {reported}, {rejected}");
        }
    }

    #[test]
    fn p10_children_that_vanish_together_are_kept_unless_they_are_few_of_a_slice() {
        let doubt = |present, reported, is_whole_list| {
            doubt_of_children("links", Evidence { present, reported, rejected: 0 }, 80, is_whole_list)
        };
        assert_eq!(doubt(5, 0, true).unwrap(), "the vendor reported none of 5 rows, of child table links");
        assert_eq!((doubt(5, 0, false), doubt(5, 1, true), doubt(0, 0, true)), (None, None, None));
        assert!(doubt(20, 0, false).is_some() && doubt(100, 79, false).is_some() && doubt(100, 80, true).is_none());
    }

    #[test]
    fn p10_the_comparison_of_sizes_can_be_set_and_switched_off() {
        assert!(!is_held(100, 0, 0, 0));
        assert!(!is_held(100, 50, 0, 50) && is_held(100, 49, 0, 50));
        assert!(is_held(100, 79, 0, 100) && !is_held(100, 81, 0, 100));
    }
}
