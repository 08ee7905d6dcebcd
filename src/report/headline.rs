//! Whether anything needs a person, in a sentence: on the overview, in its document and in `tidegate status`.

use super::OpenProblems;
use super::overview::StateCount;
use crate::store::status::LATE;

/// The states in which a stream is not well, and the verbs for one stream and for several.
pub(super) const UNWELL: [(&str, &str, &str); 4] = [
    ("failed", "failed", "failed"),
    ("held", "is held", "are held"),
    ("late", "is late", "are late"),
    ("gap", "has a gap", "have gaps"),
];

/// The sentence. `streams`: how many are in each state. `late_and_wait`: how many of the late ones wait, which is not
/// reported.
pub fn headline(open: &OpenProblems, streams: &[StateCount], late_and_wait: i64) -> String {
    match open.needing {
        0 => {}
        1 => return "1 thing needs you".to_owned(),
        number => return format!("{number} things need you"),
    }
    let mut unwell: Vec<String> = Vec::new();
    let mut total = 0;
    let parts = UNWELL.into_iter().flat_map(|(state, of_one, of_several)| {
        let number: i64 = streams.iter().filter(|count| count.state == state).map(|count| count.streams).sum();
        let waiting = if state == LATE { late_and_wait } else { 0 };
        [(number - waiting, of_one, of_several), (waiting, "is late and waits", "are late and wait")]
    });
    for (number, of_one, of_several) in parts {
        total += number;
        let noun = match (unwell.is_empty(), number) {
            (_, ..=0) => continue,
            (true, 1) => " stream",
            (true, _) => " streams",
            (false, _) => "",
        };
        unwell.push(format!("{number}{noun} {}", if number == 1 { of_one } else { of_several }));
    }
    if !unwell.is_empty() {
        let reported = match open.muted {
            0 if total == late_and_wait => "Nothing is reported".to_owned(),
            0 => "Nothing is reported yet".to_owned(),
            1 => "1 problem is muted".to_owned(),
            number => format!("{number} problems are muted"),
        };
        return format!("{reported}; {}", unwell.join(", "));
    }
    if streams.iter().all(|count| count.streams == 0) {
        return "No stream was read yet".to_owned();
    }
    "Nothing needs you".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(needing: i64, muted: i64, streams: &[(&'static str, i64)]) -> String {
        said_while(0, needing, muted, streams)
    }

    /// The sentence while `waiting` of the late streams wait.
    fn said_while(waiting: i64, needing: i64, muted: i64, streams: &[(&'static str, i64)]) -> String {
        let open = OpenProblems { needing, muted, total: needing + muted, ..OpenProblems::default() };
        let counts: Vec<StateCount> = streams.iter().map(|&(state, streams)| StateCount { state, streams }).collect();
        headline(&open, &counts, waiting)
    }

    #[test]
    fn nothing_needs_a_person_only_if_every_stream_is_well() {
        assert_eq!(said(0, 0, &[]), "No stream was read yet");
        assert_eq!(said(0, 0, &[("late", 0), ("on time", 0)]), "No stream was read yet");
        assert_eq!(said(0, 0, &[("on time", 3), ("waiting", 1)]), "Nothing needs you");
        assert_eq!(said(0, 1, &[("on time", 3)]), "Nothing needs you");
        assert_eq!(
            said(0, 0, &[("late", 1), ("gap", 1), ("on time", 3)]),
            "Nothing is reported yet; 1 stream is late, 1 has a gap"
        );
        assert_eq!(
            said(0, 0, &[("failed", 2), ("held", 1), ("gap", 2)]),
            "Nothing is reported yet; 2 streams failed, 1 is held, 2 have gaps"
        );
        assert_eq!(said(0, 1, &[("failed", 1)]), "1 problem is muted; 1 stream failed");
        assert_eq!(said(1, 1, &[("failed", 1), ("late", 1)]), "1 thing needs you");
        assert_eq!(said(2, 0, &[]), "2 things need you");
    }

    #[test]
    fn that_a_stream_is_late_and_waits_is_not_promised_to_be_reported() {
        let late = |streams| [("late", streams), ("on time", 3)];
        assert_eq!(said_while(1, 0, 0, &late(1)), "Nothing is reported; 1 stream is late and waits");
        assert_eq!(said_while(2, 0, 0, &late(2)), "Nothing is reported; 2 streams are late and wait");
        assert_eq!(said_while(1, 0, 0, &late(3)), "Nothing is reported yet; 2 streams are late, 1 is late and waits");
        assert_eq!(
            said_while(1, 0, 0, &[("late", 1), ("gap", 2)]),
            "Nothing is reported yet; 1 stream is late and waits, 2 have gaps"
        );
        assert_eq!(said_while(1, 0, 1, &late(1)), "1 problem is muted; 1 stream is late and waits");
        assert_eq!(said_while(1, 1, 0, &late(1)), "1 thing needs you");
    }
}
