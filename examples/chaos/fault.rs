//! The kinds of faults, and how each of them must show on the pages or in a notification.

use std::time::Duration;

/// Defines the kinds with their names and weights, and the list of all.
macro_rules! faults {
    ($($kind:ident = $name:literal, $weight:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $($kind,)+
        }

        impl FaultKind {
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// How often it is drawn, compared with the others.
            pub const fn weight(self) -> u32 {
                match self {
                    $(Self::$kind => $weight,)+
                }
            }
        }
    };
}

faults! {
    Kill = "daemon killed (SIGKILL)", 8;
    Restart = "daemon stopped (SIGTERM) and started", 4;
    Sleep = "daemon asleep beyond its lease (SIGSTOP, SIGCONT)", 2;
    WrongClock = "daemon with a wrong clock that jumps", 3;
    FewFiles = "daemon with few file descriptors", 2;
    SaveConfig = "configuration saved again", 3;
    SwapAccount = "configuration with another account", 2;
    PostgresFast = "Postgres restarted, fast", 1;
    PostgresImmediate = "Postgres restarted, immediate", 1;
    EndSessions = "backends terminated", 4;
    CutPostgres = "line to Postgres cut", 4;
    SlowPostgres = "line to Postgres slow", 2;
    Silence = "line to Postgres silent", 3;
    ReadOnly = "Postgres: read-only failover", 2;
    OlderCopy = "Postgres: older copy, taken or swapped in", 2;
    DiskFull = "Postgres: disk full", 3;
    CutVendors = "line to the vendors cut", 4;
    SlowVendors = "line to the vendors slow", 2;
    ServerErrors = "vendor: server errors", 6;
    TooMany = "vendor: 429", 4;
    OutOfQuota = "vendor: 403 for a quota", 2;
    CutResponse = "vendor: response cut", 4;
    Reset = "vendor: connection reset", 4;
    SlowResponse = "vendor: slow response", 4;
    Drops = "vendor: body in drops", 2;
    Html = "vendor: HTML instead of a response", 2;
    EmptyBody = "vendor: empty body", 2;
    NoContent = "vendor: no content (204)", 1;
    GzipMembers = "vendor: gzip in several members", 3;
    ContentType = "vendor: another content type", 1;
    MalformedPage = "vendor: malformed page", 2;
    ValidButEmpty = "vendor: valid but empty", 3;
    ValidButShort = "vendor: valid but short", 3;
    RefusedRows = "vendor: refused rows", 3;
    MissingPages = "vendor: announced pages missing", 3;
    ExpiredTokens = "vendor: tokens expire", 2;
    ExportsFail = "vendor: exports fail", 2;
    ForgottenExports = "vendor: export jobs forgotten", 2;
    FlappingExports = "vendor: export states flap", 3;
    EndlessExports = "vendor: exports never end", 1;
    RowsVanish = "truth: rows vanish", 2;
    RowsChange = "truth: rows change", 4;
    RowsLate = "truth: rows come late", 2;
    RowsAppear = "truth: rows appear", 4;
    IdenticalRows = "truth: identical rows", 2;
    NewField = "truth: new field", 1;
    ChangedType = "truth: changed type", 1;
    Reader = "reader with an open transaction, and a new field", 2;
}

/// Where something can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A state of streams on the overview: `failed acme/survey_result`.
    State,
    /// What a run waits for, on the overview.
    Waiting,
    /// An open problem on the overview: `held acme/survey_result`.
    Problem,
    /// An event: `reload configuration reloaded`.
    Event,
    /// A notification that the target received: `opened held acme/survey_result`.
    Notification,
    /// The error of a failed run.
    FailedRun,
    /// A run with a held stream.
    HeldRun,
    /// The metric of calls by outcome, which has risen.
    Calls,
    /// The metric of rejected records, which has risen.
    Rejected,
    /// A probe, a page or the status port itself says that it does not work.
    Probe,
    /// A process that was not listed before.
    Process,
    /// The configuration of a process, which has changed.
    Config,
    /// The metric of the clock's difference from that of the database.
    Clock,
    /// A change of a table.
    Schema,
}

impl Place {
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Waiting => "waiting",
            Self::Problem => "problem",
            Self::Event => "event",
            Self::Notification => "notification",
            Self::FailedRun => "failed run",
            Self::HeldRun => "held run",
            Self::Calls => "calls",
            Self::Rejected => "rejected",
            Self::Probe => "probe",
            Self::Process => "process",
            Self::Config => "config",
            Self::Clock => "clock",
            Self::Schema => "schema",
        }
    }
}

/// Something that shows a fault: a text with this word at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign(pub Place, pub &'static str);

impl Sign {
    pub fn is(self, place: Place, text: &str) -> bool {
        place == self.0 && text.contains(self.1)
    }
}

/// How a kind of fault shows.
#[derive(Debug, Clone, Copy)]
pub enum Appearance {
    /// One of the signs must be seen within this time, if the fault took effect.
    Must { signs: &'static [Sign], within: Duration },
    /// It need not show, for this reason. Signs are counted.
    May { signs: &'static [Sign], because: &'static str },
}

/// Signs of a fault that need not show are counted for this long.
const COUNTED_FOR: Duration = Duration::from_secs(15);
/// Pages are read at most every 5 s, and asked for once a second.
const PAGE: Duration = Duration::from_secs(10);
/// The start of a process on a busy machine, and a page.
const START: Duration = Duration::from_secs(45);
/// A metric of a process, which is asked for once a second. A daemon that waits for the database responds late.
const METRIC: Duration = Duration::from_secs(15);
/// The end of a run, and a page.
const RUN: Duration = Duration::from_mins(1);
/// The end of a run, a check for problems, and the delivery of a message.
const PROBLEM: Duration = Duration::from_mins(5);

const DATABASE: &[Sign] = &[Sign(Place::Probe, "database"), Sign(Place::Waiting, "database")];

impl Appearance {
    pub const fn signs(self) -> (&'static [Sign], Duration) {
        match self {
            Self::Must { signs, within } => (signs, within),
            Self::May { signs, .. } => (signs, COUNTED_FOR),
        }
    }
}

const fn must(signs: &'static [Sign], within: Duration) -> Appearance {
    Appearance::Must { signs, within }
}

const fn may(signs: &'static [Sign], because: &'static str) -> Appearance {
    Appearance::May { signs, because }
}

impl FaultKind {
    /// How it must show, or why it need not.
    pub const fn appearance(self) -> Appearance {
        const PROCESS: &[Sign] = &[Sign(Place::Process, "")];
        const REPEATED: &str = "the request is repeated within seconds; the metric of calls counts it";
        const NO_FAULT: &str = "rows that change are not a fault";
        match self {
            Self::Kill | Self::Restart | Self::FewFiles | Self::OlderCopy => must(PROCESS, START),
            Self::Sleep => must(&[Sign(Place::Probe, "no response")], PAGE),
            Self::WrongClock => must(&[Sign(Place::Clock, "")], START),
            Self::SaveConfig | Self::SwapAccount => {
                must(&[Sign(Place::Event, "reload"), Sign(Place::Config, ""), Sign(Place::Process, "")], START)
            }
            Self::PostgresFast | Self::PostgresImmediate | Self::Silence | Self::ReadOnly => must(DATABASE, METRIC),
            Self::DiskFull => must(
                &[
                    Sign(Place::FailedRun, "could not"),
                    Sign(Place::Waiting, "database"),
                    Sign(Place::Probe, "database"),
                ],
                RUN,
            ),
            Self::EndSessions | Self::CutPostgres => {
                may(DATABASE, "a lost connection is replaced at once; only a task whose statement was lost waits 5 s")
            }
            Self::SlowPostgres => may(DATABASE, "slow responses are not a fault"),
            Self::CutVendors => may(&[Sign(Place::Calls, "transport")], "there may be no call at that moment"),
            Self::SlowVendors => may(&[Sign(Place::Calls, "timeout")], "slow responses are not a fault"),
            Self::ServerErrors => must(&[Sign(Place::Calls, "server_error")], METRIC),
            Self::TooMany | Self::OutOfQuota => must(&[Sign(Place::Calls, "quota")], METRIC),
            Self::CutResponse | Self::Reset => must(&[Sign(Place::Calls, "transport")], METRIC),
            Self::SlowResponse | Self::Drops | Self::GzipMembers | Self::ContentType => {
                may(&[Sign(Place::Calls, "timeout")], "such a response is valid")
            }
            Self::Html | Self::EmptyBody | Self::NoContent | Self::MalformedPage => {
                must(&[Sign(Place::Calls, "unreadable"), Sign(Place::FailedRun, "cannot be read")], RUN)
            }
            Self::ValidButEmpty | Self::ValidButShort => may(
                &[Sign(Place::State, "held"), Sign(Place::Problem, "held"), Sign(Place::HeldRun, "")],
                "the slices concerned may not be read meanwhile",
            ),
            Self::RefusedRows => {
                must(&[Sign(Place::Problem, "rejects"), Sign(Place::Notification, "opened rejects")], PROBLEM)
            }
            Self::MissingPages => may(&[Sign(Place::FailedRun, "")], "the response may be the last page"),
            Self::ExpiredTokens => must(&[Sign(Place::Calls, "unauthorized")], METRIC),
            Self::ExportsFail | Self::EndlessExports => {
                may(&[Sign(Place::FailedRun, "export")], "there may be no new export meanwhile")
            }
            Self::ForgottenExports => may(&[Sign(Place::FailedRun, "export")], "there may be no export at that moment"),
            Self::FlappingExports => may(&[Sign(Place::Waiting, "export")], REPEATED),
            Self::RowsVanish => may(&[Sign(Place::State, "held"), Sign(Place::HeldRun, "")], NO_FAULT),
            Self::RowsChange | Self::RowsLate | Self::RowsAppear | Self::IdenticalRows => may(&[], NO_FAULT),
            Self::NewField | Self::ChangedType => {
                may(&[Sign(Place::Schema, "")], "the vendor's data may not support the change, or have it already")
            }
            Self::Reader => {
                may(&[Sign(Place::Waiting, "table"), Sign(Place::Schema, "")], "the load continues without the column")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_of_fault_has_a_name_of_its_own_and_a_weight() {
        let names: BTreeSet<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), FaultKind::ALL.len());
        assert!(FaultKind::ALL.iter().all(|kind| kind.weight() > 0));
    }

    #[test]
    fn each_kind_of_fault_must_show_within_a_delay_or_has_a_reason_not_to() {
        for kind in FaultKind::ALL {
            match kind.appearance() {
                Appearance::Must { signs, within } => {
                    assert!(!signs.is_empty() && within >= Duration::from_secs(1), "{}", kind.name());
                }
                Appearance::May { because, .. } => assert!(!because.is_empty(), "{}", kind.name()),
            }
        }
    }

    #[test]
    fn a_sign_is_a_word_at_its_place() {
        let sign = Sign(Place::Calls, "quota");
        assert!(sign.is(Place::Calls, "tidegate_vendor_calls_total{outcome=\"quota\"}"));
        assert!(!sign.is(Place::Calls, "tidegate_vendor_calls_total{outcome=\"transport\"}"));
        assert!(!sign.is(Place::Problem, "quota_refused acme"));
        assert!(Sign(Place::Process, "").is(Place::Process, "host/1/a"));
    }
}
