//! The kinds of faults, and how each of them must show on the pages or in a notification.
//!
//! **An operator must act** ([`Appearance::Operator`]). These must show where an operator is made aware of them: on the
//! overview, in a notification, or in the list of events.
//!
//! - A refused login: only a new credential ends it. The storm demands the notification and that of its end.
//! - Refused rows: only a person can decide what to do about records that could not become rows.
//! - Responses without rows, or with half of them, if a slice is held for them: only a person can release it.
//! - Another account under the same name, whose rows would replace those of the first. It lasts for seconds, so that
//!   the check for problems may come too late: the event says when the configuration changed.
//!
//! **The daemon goes on by itself** ([`Appearance::Mended`]). These may also show in the lists behind the overview, in
//! probes and in metrics:
//!
//! - A daemon that is killed, stopped, or has few file descriptors, and an older copy: a new process continues the
//!   work. The system's list of processes has it.
//! - A daemon that is asleep: the other one takes over its runs. Its status port does not respond.
//! - A wrong clock: the clock of the database counts. A metric has the difference.
//! - A configuration that is saved again: it was an operator who did it. The event shows it, or the process that has
//!   it.
//! - Postgres restarted, silent or read-only: the daemons connect again. Meanwhile the overview cannot be read, so the
//!   probes show it, or a run that waits for the database.
//! - A full disk: what was refused is tried again, and it lasts seconds. A run waits for the database, or has failed
//!   with the error of Postgres.
//! - Errors, refusals for a quota, broken responses and expired tokens: the call is sent again within seconds. Metrics
//!   count it.
//! - Responses that cannot be read: the call, or the next run, reads again. Metrics count it, and the list of runs has
//!   the error.
//!
//! **It need not show** ([`Appearance::May`]): the reason is in the table.

use std::time::Duration;

/// Defines the kinds with their names, their weights and how they show, and the list of all.
macro_rules! faults {
    ($($kind:ident = $name:literal, $weight:literal, $appearance:expr;)+) => {
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

            /// How it must show, or why it need not.
            pub const fn appearance(self) -> Appearance {
                match self {
                    $(Self::$kind => $appearance,)+
                }
            }
        }
    };
}

faults! {
    Kill = "daemon killed (SIGKILL)", 8, PROCESS;
    Restart = "daemon stopped (SIGTERM) and started", 4, PROCESS;
    Sleep = "daemon asleep beyond its lease (SIGSTOP, SIGCONT)", 2, SLEEP;
    WrongClock = "daemon with a wrong clock that jumps", 3, CLOCK;
    FewFiles = "daemon with few file descriptors", 2, PROCESS;
    SaveConfig = "configuration saved again", 3, SAVED;
    SwapAccount = "configuration with another account", 2, SWAPPED;
    PostgresFast = "Postgres restarted, fast", 1, DATABASE;
    PostgresImmediate = "Postgres restarted, immediate", 1, DATABASE;
    EndSessions = "backends terminated", 4, LOST;
    CutPostgres = "line to Postgres cut", 4, LOST;
    SlowPostgres = "line to Postgres slow", 2, SLOW_DATABASE;
    Silence = "line to Postgres silent", 3, DATABASE;
    ReadOnly = "Postgres: read-only failover", 2, DATABASE;
    OlderCopy = "Postgres: older copy, taken or swapped in", 2, PROCESS;
    DiskFull = "Postgres: disk full", 3, DISK;
    CutVendors = "line to the vendors cut", 4, CUT;
    SlowVendors = "line to the vendors slow", 2, SLOW;
    ServerErrors = "vendor: server errors", 6, SERVER_ERROR;
    TooMany = "vendor: 429", 4, QUOTA;
    OutOfQuota = "vendor: 403 for a quota", 2, QUOTA;
    CutResponse = "vendor: response cut", 4, TRANSPORT;
    Reset = "vendor: connection reset", 4, TRANSPORT;
    SlowResponse = "vendor: slow response", 4, VALID;
    Drops = "vendor: body in drops", 2, VALID;
    Html = "vendor: HTML instead of a response", 2, UNREADABLE;
    EmptyBody = "vendor: empty body", 2, UNREADABLE;
    NoContent = "vendor: no content (204)", 1, NO_ROWS;
    GzipMembers = "vendor: gzip in several members", 3, VALID;
    ContentType = "vendor: another content type", 1, VALID;
    MalformedDocument = "vendor: malformed document", 2, UNREADABLE;
    ValidButEmpty = "vendor: valid but empty", 3, HELD;
    ValidButShort = "vendor: valid but short", 3, HELD;
    RefusedRows = "vendor: refused rows", 3, REJECTS;
    MissingPages = "vendor: announced pages missing", 3, MISSING;
    RefusedLogin = "vendor: login refused until the storm is over", 1, LOGIN;
    ExpiredTokens = "vendor: tokens expire", 2, TOKENS;
    ExportsFail = "vendor: exports fail", 2, NEW_EXPORTS;
    ForgottenExports = "vendor: export jobs forgotten", 2, FORGOTTEN;
    FlappingExports = "vendor: export states flap", 3, FLAPPING;
    EndlessExports = "vendor: exports never end", 1, NEW_EXPORTS;
    RowsVanish = "truth: rows vanish", 2, VANISHED;
    RowsChange = "truth: rows change", 4, ROWS;
    RowsLate = "truth: rows come late", 2, ROWS;
    RowsAppear = "truth: rows appear", 4, ROWS;
    IdenticalRows = "truth: identical rows", 2, ROWS;
    NewField = "truth: new field", 1, SCHEMA;
    ChangedType = "truth: changed type", 1, SCHEMA;
    Reader = "reader with an open transaction, and a new field", 2, READER;
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

    /// Whether an operator sees it without searching: on the overview, in a notification, or in the list of events.
    #[cfg(test)]
    pub const fn is_for_operators(self) -> bool {
        matches!(self, Self::State | Self::Waiting | Self::Problem | Self::Event | Self::Notification)
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
    /// An operator must act. One of the signs must be seen within this time, if the fault took effect. All signs are at
    /// places for operators.
    Operator { signs: &'static [Sign], within: Duration },
    /// The daemon goes on by itself, for this reason. The same is demanded, but the signs may be at any place.
    Mended { signs: &'static [Sign], within: Duration, because: &'static str },
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

impl Appearance {
    pub const fn signs(self) -> (&'static [Sign], Duration) {
        match self {
            Self::Operator { signs, within } | Self::Mended { signs, within, .. } => (signs, within),
            Self::May { signs, .. } => (signs, COUNTED_FOR),
        }
    }

    /// Whether it must show.
    pub const fn is_demanded(self) -> bool {
        matches!(self, Self::Operator { .. } | Self::Mended { .. })
    }

    /// Why no operator need see it.
    pub const fn because(self) -> Option<&'static str> {
        match self {
            Self::Operator { .. } => None,
            Self::Mended { because, .. } | Self::May { because, .. } => Some(because),
        }
    }
}

const fn operator(signs: &'static [Sign], within: Duration) -> Appearance {
    Appearance::Operator { signs, within }
}

const fn mended(signs: &'static [Sign], within: Duration, because: &'static str) -> Appearance {
    Appearance::Mended { signs, within, because }
}

const fn may(signs: &'static [Sign], because: &'static str) -> Appearance {
    Appearance::May { signs, because }
}

const REPEATED: &str = "the request is repeated within seconds; the metric of calls counts it";
const NO_FAULT: &str = "rows that change are not a fault";
const WITHOUT_DATABASE: &[Sign] = &[Sign(Place::Probe, "database"), Sign(Place::Waiting, "database")];

// An operator must act.
const LOGIN: Appearance =
    operator(&[Sign(Place::Problem, "failed"), Sign(Place::Notification, "opened failed")], PROBLEM);
const REJECTS: Appearance =
    operator(&[Sign(Place::Problem, "rejects"), Sign(Place::Notification, "opened rejects")], PROBLEM);
const HELD: Appearance = operator(
    &[Sign(Place::State, "held"), Sign(Place::Problem, "held"), Sign(Place::Notification, "opened held")],
    PROBLEM,
);
const SWAPPED: Appearance = operator(&[Sign(Place::Event, "reload")], START);

// The daemon goes on by itself.
const PROCESS: Appearance =
    mended(&[Sign(Place::Process, "")], START, "the new process continues where the last one stopped");
const SLEEP: Appearance = mended(&[Sign(Place::Probe, "no response")], PAGE, "the other daemon takes over its runs");
const CLOCK: Appearance = mended(&[Sign(Place::Clock, "")], START, "the clock of the database counts");
const SAVED: Appearance =
    mended(&[Sign(Place::Event, "reload"), Sign(Place::Config, "")], START, "it was an operator who saved it");
const DATABASE: Appearance =
    mended(WITHOUT_DATABASE, METRIC, "the daemons connect again; meanwhile the overview cannot be read");
const DISK: Appearance = mended(
    &[Sign(Place::FailedRun, "could not"), Sign(Place::Waiting, "database"), Sign(Place::Probe, "database")],
    RUN,
    "what was refused is tried again, and the disk is full for seconds only",
);
const SERVER_ERROR: Appearance = mended(&[Sign(Place::Calls, "server_error")], METRIC, REPEATED);
const QUOTA: Appearance = mended(&[Sign(Place::Calls, "quota")], METRIC, REPEATED);
const TRANSPORT: Appearance = mended(&[Sign(Place::Calls, "transport")], METRIC, REPEATED);
const TOKENS: Appearance = mended(&[Sign(Place::Calls, "unauthorized")], METRIC, REPEATED);
const UNREADABLE: Appearance = mended(
    &[Sign(Place::Calls, "unreadable"), Sign(Place::FailedRun, "cannot be read")],
    RUN,
    "the call is sent again, or the next run reads again",
);

// It need not show.
const LOST: Appearance =
    may(WITHOUT_DATABASE, "a lost connection is replaced at once; only a task whose statement was lost waits 5 s");
const SLOW_DATABASE: Appearance = may(WITHOUT_DATABASE, "slow responses are not a fault");
const CUT: Appearance = may(&[Sign(Place::Calls, "transport")], "there may be no call at that moment");
const SLOW: Appearance = may(&[Sign(Place::Calls, "timeout")], "slow responses are not a fault");
const VALID: Appearance = may(&[Sign(Place::Calls, "timeout")], "such a response is valid");
const NO_ROWS: Appearance = may(&[Sign(Place::Calls, "unreadable")], "such a response says that there are no rows");
const MISSING: Appearance = may(&[Sign(Place::FailedRun, "")], "the response may be the last page");
const NEW_EXPORTS: Appearance = may(&[Sign(Place::FailedRun, "export")], "there may be no new export meanwhile");
const FORGOTTEN: Appearance = may(&[Sign(Place::FailedRun, "export")], "there may be no export at that moment");
const FLAPPING: Appearance = may(&[Sign(Place::Waiting, "export")], REPEATED);
const VANISHED: Appearance = may(&[Sign(Place::State, "held"), Sign(Place::HeldRun, "")], NO_FAULT);
const ROWS: Appearance = may(&[], NO_FAULT);
const SCHEMA: Appearance =
    may(&[Sign(Place::Schema, "")], "the vendor's data may not support the change, or have it already");
const READER: Appearance =
    may(&[Sign(Place::Waiting, "table"), Sign(Place::Schema, "")], "the load continues without the column");

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
            let appearance = kind.appearance();
            let (signs, within) = appearance.signs();
            let is_visible = !signs.is_empty() && within >= Duration::from_secs(1);
            assert!(is_visible || !appearance.is_demanded(), "{}", kind.name());
            assert_ne!(appearance.because(), Some(""), "{}", kind.name());
        }
    }

    #[test]
    fn what_an_operator_must_act_on_is_demanded_on_the_overview_in_a_notification_or_as_an_event() {
        let mut kinds = 0;
        for kind in FaultKind::ALL {
            if let Appearance::Operator { signs, .. } = kind.appearance() {
                kinds += 1;
                assert!(signs.iter().all(|sign| sign.0.is_for_operators()), "{}", kind.name());
            }
        }
        assert!(kinds >= 5);
        assert!(!Place::Calls.is_for_operators() && !Place::FailedRun.is_for_operators());
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
