//! Whether anything needs a person, in a sentence: on the overview, in its document and in `tidegate status`.

use super::overview::StateCount;
use super::{OpenProblems, Surroundings};
use crate::store::status::LATE;

/// The states in which a stream is not well, and the verbs for one stream and for several.
pub(super) const UNWELL: [(&str, &str, &str); 4] = [
    ("failed", "failed", "failed"),
    ("held", "is held", "are held"),
    ("late", "is late", "are late"),
    ("gap", "has a gap", "have gaps"),
];

/// Whether Tidegate works, whatever the state of streams is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why no job runs on schedule, as a sentence without a final point.
    pub obstacle: Option<String>,
    /// Whether the configuration on disk was refused, so that the previous one is in force.
    pub config_refused: bool,
}

impl Standing {
    /// `config_refused`: whether this process has refused it. `in_daemon`: whether this process is a daemon.
    pub fn new(surroundings: &Surroundings, config_refused: bool, in_daemon: bool) -> Self {
        let Surroundings { only_reads, daemons, last_daemon, .. } = surroundings;
        let obstacle = match last_daemon {
            _ if *only_reads => Some("The database only reads, so nothing is loaded".to_owned()),
            _ if in_daemon || !daemons.is_empty() => None,
            None => Some("No daemon runs".to_owned()),
            Some(last) => {
                let seen_at = last.seen_at.format("%Y-%m-%d %H:%M:%S UTC");
                Some(format!("No daemon runs; one was last seen {seen_at}"))
            }
        };
        // The record of a daemon is renewed periodically, so a daemon knows better itself.
        let by_daemon = !in_daemon && daemons.iter().any(|daemon| daemon.config_refused);
        Self { obstacle, config_refused: config_refused || by_daemon }
    }

    /// What is wrong, as a sentence without a final point.
    pub fn trouble(&self) -> Option<&str> {
        self.obstacle.as_deref().or(self.config_refused.then_some(CONFIG_REFUSED))
    }
}

const CONFIG_REFUSED: &str = "The configuration on disk was refused; the previous one is in force";

/// The sentence. `streams`: how many are in each state. `late_and_wait`: how many of the late ones wait, which is not
/// reported.
///
/// An obstacle or a refused configuration comes first, since it may be the cause of what follows.
pub fn headline(standing: &Standing, open: &OpenProblems, streams: &[StateCount], late_and_wait: i64) -> String {
    let cause = standing.trouble();
    let needing = match open.needing {
        0 => None,
        1 => Some("1 thing needs you".to_owned()),
        number => Some(format!("{number} things need you")),
    };
    if let Some(needing) = needing {
        return cause.map_or_else(|| needing.clone(), |cause| format!("{cause}; {needing}"));
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
    if let Some(cause) = cause {
        // While nothing works, it is not promised that anything will be reported.
        return if unwell.is_empty() { cause.to_owned() } else { format!("{cause}; {}", unwell.join(", ")) };
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
    use crate::report::{Daemon, LastDaemon};

    fn said(needing: i64, muted: i64, streams: &[(&'static str, i64)]) -> String {
        said_while(0, needing, muted, streams)
    }

    /// The sentence while `waiting` of the late streams wait.
    fn said_while(waiting: i64, needing: i64, muted: i64, streams: &[(&'static str, i64)]) -> String {
        said_of(&Standing::default(), waiting, (needing, muted), streams)
    }

    fn said_of(
        standing: &Standing,
        waiting: i64,
        (needing, muted): (i64, i64),
        streams: &[(&'static str, i64)],
    ) -> String {
        let open = OpenProblems { needing, muted, total: needing + muted, ..OpenProblems::default() };
        let counts: Vec<StateCount> = streams.iter().map(|&(state, streams)| StateCount { state, streams }).collect();
        headline(standing, &open, &counts, waiting)
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

    #[test]
    fn nothing_needs_a_person_only_if_tidegate_works() {
        let last = LastDaemon { owner: "host-1".to_owned(), seen_at: "2026-11-30T17:00:05Z".parse().unwrap() };
        let daemon =
            |config_refused| Daemon { owner: "host-1".to_owned(), version: None, started_at: None, config_refused };
        let well = [("late", 0), ("on time", 3)];
        let with = |surroundings: &Surroundings, refused, in_daemon, needing, streams: &[(&'static str, i64)]| {
            said_of(&Standing::new(surroundings, refused, in_daemon), 0, (needing, 0), streams)
        };
        let runs = Surroundings { daemons: vec![daemon(false)], ..Surroundings::default() };
        assert_eq!(with(&runs, false, false, 0, &well), "Nothing needs you");
        let never = Surroundings::default();
        assert_eq!(with(&never, false, false, 0, &[]), "No daemon runs");
        assert_eq!(with(&never, false, true, 0, &well), "Nothing needs you", "the daemon itself reads this");
        let dead = Surroundings { last_daemon: Some(last), ..Surroundings::default() };
        let none = "No daemon runs; one was last seen 2026-11-30 17:00:05 UTC";
        assert_eq!(with(&dead, true, false, 0, &well), none);
        assert_eq!(with(&dead, false, false, 2, &well), format!("{none}; 2 things need you"));
        assert_eq!(
            with(&dead, false, false, 0, &[("late", 1), ("gap", 2)]),
            format!("{none}; 1 stream is late, 2 have gaps")
        );
        let only_reads = Surroundings { only_reads: true, ..dead };
        assert_eq!(with(&only_reads, true, true, 0, &well), "The database only reads, so nothing is loaded");
        let refused = "The configuration on disk was refused; the previous one is in force";
        assert_eq!(with(&runs, true, true, 0, &well), refused);
        assert_eq!(with(&runs, true, true, 1, &well), format!("{refused}; 1 thing needs you"));
        assert_eq!(with(&runs, true, true, 151, &[("failed", 151)]), format!("{refused}; 151 things need you"));
        assert_eq!(with(&runs, true, true, 0, &[("late", 1)]), format!("{refused}; 1 stream is late"));
        let refuses = Surroundings { daemons: vec![daemon(true)], ..Surroundings::default() };
        assert_eq!(with(&refuses, false, false, 0, &well), refused, "it has another environment than the command");
        assert_eq!(
            with(&refuses, false, true, 0, &well),
            "Nothing needs you",
            "the record is older than the correction"
        );
    }
}
