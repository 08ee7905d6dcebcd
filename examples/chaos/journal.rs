//! What was injected and what was seen, with times, and what follows from both.
//!
//! A sign shows a fault only if it is about what the fault concerns ([`Aim`]) and began between the injection and its
//! end plus the delay of the kind. What began before, or what follows from another fault, shows nothing. A fault that
//! need not show, because it had no effect or was covered by another one, is excused: what was seen meanwhile does not
//! count for its kind either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::aim::{Aim, Subject};
use super::fault::{FaultKind, Place, Sign};
use super::verify::Finding;

/// A call that a vendor refused for an expired token counts as a call with this action.
pub const UNAUTHORIZED: &str = "unauthorized";
/// A page that was stored without a rejected record counts as a call with this action.
pub const REJECTED: &str = "rejected record";
/// What a daemon counted this long before it was killed may not have been read.
const UNREAD: Duration = Duration::from_secs(2);
/// A fault of calls that no call has met for this long need not show: other faults may cause the same then.
const MET_WITHIN: Duration = Duration::from_mins(1);
/// A sign of such a fault may be read this long before the simulator is asked whether a call has met the fault.
const READ_FIRST: Duration = Duration::from_secs(2);

/// Whether a fault took effect, so that it must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Complete,
    /// When a call meets the simulator's action of this name.
    Met(String),
    /// It need not show, for this reason.
    None(&'static str),
}

#[derive(Debug)]
struct Injection {
    kind: FaultKind,
    began: Instant,
    /// Later than `began`, if the fault lasts.
    ended: Instant,
    effect: Effect,
    aim: Aim,
}

/// Something that a page, the API, a metric or a notification said for the first time.
#[derive(Debug)]
struct Sighting {
    at: Instant,
    /// When it was no longer said. `None` while it holds.
    until: Option<Instant>,
    place: Place,
    subject: Subject,
    text: String,
}

/// A call that met an action of the simulator.
#[derive(Debug)]
struct Met {
    at: Instant,
    action: String,
    /// What the call was about, if it is known.
    subject: Option<Subject>,
}

#[derive(Debug, Default)]
struct Entries {
    injections: Vec<Injection>,
    sightings: Vec<Sighting>,
    met: Vec<Met>,
    /// When daemons were killed or stopped, and which.
    ends: Vec<(Instant, usize)>,
    /// When an older copy replaced the database.
    replacements: Vec<Instant>,
}

/// Shared by everything that injects or sees.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Entries>>);

/// What became of the faults of one kind.
#[derive(Debug, Default)]
pub struct Line {
    pub injected: usize,
    /// Those that had an effect that must show.
    pub demanded: usize,
    /// Those that had an effect and were seen.
    pub seen: usize,
    /// Where they were seen first, and how often.
    pub places: BTreeMap<String, usize>,
    pub slowest: Duration,
    /// Why the others need not show.
    pub excuses: BTreeMap<&'static str, usize>,
}

/// What became of one fault.
#[derive(Debug)]
enum Verdict<'e> {
    /// By this sign, after this time.
    Seen(&'e Sighting, Duration),
    Unseen,
    /// It need not show, for this reason.
    Excused(&'static str),
}

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the beginning of a fault. Returns its number.
    pub fn begin(&self, kind: FaultKind) -> usize {
        let mut entries = self.entries();
        let now = Instant::now();
        let effect = Effect::None("it did not end");
        entries.injections.push(Injection { kind, began: now, ended: now, effect, aim: Aim::Everything });
        entries.injections.len() - 1
    }

    /// Records that the fault has been injected, and what it concerns; what follows from it may last.
    pub fn end(&self, number: usize, effect: Effect, aim: Aim) {
        if let Some(injection) = self.entries().injections.get_mut(number) {
            (injection.ended, injection.effect, injection.aim) = (Instant::now(), effect, aim);
        }
    }

    /// Records something that happened.
    pub fn saw(&self, place: Place, subject: Subject, text: impl Into<String>) {
        let at = Instant::now();
        self.entries().sightings.push(Sighting { at, until: Some(at), place, subject, text: text.into() });
    }

    /// Records a condition that holds from now on. Returns its number.
    pub fn holds(&self, place: Place, subject: Subject, text: impl Into<String>) -> usize {
        let mut entries = self.entries();
        let at = Instant::now();
        entries.sightings.push(Sighting { at, until: None, place, subject, text: text.into() });
        entries.sightings.len() - 1
    }

    /// Records that a condition no longer holds.
    pub fn is_over(&self, number: usize) {
        if let Some(sighting) = self.entries().sightings.get_mut(number) {
            sighting.until = Some(Instant::now());
        }
    }

    /// Records that `calls` met an action.
    pub fn met(&self, action: &str, subject: Option<&Subject>, calls: u64) {
        let at = Instant::now();
        let met = (0..calls).map(|_| Met { at, action: action.to_owned(), subject: subject.cloned() });
        self.entries().met.extend(met);
    }

    pub fn daemon_ended(&self, number: usize) {
        self.entries().ends.push((Instant::now(), number));
    }

    /// What was not seen yet is not stored any more.
    pub fn replaced(&self) {
        self.entries().replacements.push(Instant::now());
    }

    /// Everything that was seen, with the seconds since `began`.
    pub fn text(&self, began: Instant) -> String {
        let entries = self.entries();
        let mut lines: Vec<(Instant, String)> = Vec::new();
        for Injection { kind, began, effect, aim, .. } in &entries.injections {
            lines.push((*began, format!("fault        {} ({effect:?}, {aim:?})", kind.name())));
        }
        for sighting in &entries.sightings {
            lines.push((sighting.at, format!("{:12} {}", sighting.place.name(), sighting.text)));
        }
        for met in &entries.met {
            lines.push((met.at, format!("met          {}", met.action)));
        }
        lines.sort_by_key(|(at, _)| *at);
        let text = |(at, line): &(Instant, String)| {
            format!("{:8.2} {line}\n", at.saturating_duration_since(began).as_secs_f64())
        };
        lines.iter().map(text).collect()
    }

    /// What became of the faults, by kind.
    pub fn lines(&self) -> BTreeMap<FaultKind, Line> {
        let entries = self.entries();
        let mut lines: BTreeMap<FaultKind, Line> = BTreeMap::new();
        for injection in &entries.injections {
            let line = lines.entry(injection.kind).or_default();
            line.injected += 1;
            let verdict = entries.verdict(injection);
            if let Verdict::Excused(excuse) = verdict {
                *line.excuses.entry(excuse).or_default() += 1;
                continue;
            }
            line.demanded += usize::from(injection.kind.appearance().is_demanded());
            if let Verdict::Seen(sighting, delay) = verdict {
                line.seen += 1;
                *line.places.entry(format!("{}: {}", sighting.place.name(), sighting.text)).or_default() += 1;
                line.slowest = line.slowest.max(delay);
            }
        }
        lines
    }

    /// Whether each kind that had an effect which must show was seen.
    pub fn findings(&self) -> Vec<Finding> {
        let lines = self.lines();
        let unseen: Vec<_> = lines.iter().filter(|(_, line)| line.demanded > 0 && line.seen == 0).collect();
        let demanded = lines.values().filter(|line| line.demanded > 0).count();
        let what = format!("each of {demanded} kinds of faults that must show was seen");
        let fault = (!unseen.is_empty()).then(|| {
            let names: Vec<_> =
                unseen.iter().map(|(kind, line)| format!("{} ({})", kind.name(), line.demanded)).collect();
            format!("never seen: {}", names.join(", "))
        });
        vec![Finding::new(what, fault)]
    }
}

impl Injection {
    fn is_shown_by(&self, sighting: &Sighting) -> bool {
        let (signs, _) = self.kind.appearance().signs();
        signs.iter().any(|sign: &Sign| sign.is(sighting.place, &sighting.text)) && self.aim.has(&sighting.subject)
    }

    /// Whether a call that met its action may have met this fault.
    fn may_be_met_by(&self, met: &Met, action: &str) -> bool {
        met.action == action
            && (self.began..=self.ended + MET_WITHIN).contains(&met.at)
            && met.subject.as_ref().is_none_or(|subject| self.aim.has(subject))
    }
}

impl Sighting {
    /// Whether it began before `at`, and still held then.
    fn held_at(&self, at: Instant) -> bool {
        self.at < at && self.until.is_none_or(|until| until >= at)
    }

    /// Whether both say the same: each daemon shows the conditions of all of them.
    fn says_what(&self, other: &Self) -> bool {
        (self.place, &self.subject, &self.text) == (other.place, &other.subject, &other.text)
    }
}

impl Entries {
    /// When a fault took effect, or why it need not show.
    fn effect(&self, injection: &Injection) -> Result<Instant, &'static str> {
        match &injection.effect {
            Effect::Complete => Ok(injection.began),
            Effect::None(excuse) => Err(excuse),
            Effect::Met(action) => {
                let (_, within) = injection.kind.appearance().signs();
                let soon_after = |at: Instant, soon: Duration, other: Instant| (at..=at + soon).contains(&other);
                let is_lost = |at: Instant| {
                    self.ends.iter().any(|(end, _)| soon_after(at, UNREAD, *end))
                        || self.replacements.iter().any(|other| soon_after(at, within, *other))
                };
                let mut met = self.met.iter().filter(|met| injection.may_be_met_by(met, action)).peekable();
                if met.peek().is_none() {
                    return Err("no call met it in time");
                }
                met.map(|met| met.at)
                    .find(|at| !is_lost(*at))
                    .ok_or("the daemon ended before it could be asked, or its database was replaced")
            }
        }
    }

    fn verdict(&self, injection: &Injection) -> Verdict<'_> {
        let begin = match self.effect(injection) {
            Ok(begin) => begin,
            Err(excuse) => return Verdict::Excused(excuse),
        };
        let (_, within) = injection.kind.appearance().signs();
        let first = begin.checked_sub(READ_FIRST).unwrap_or(begin).max(injection.began);
        let last = begin.max(injection.ended) + within;
        let signs: Vec<&Sighting> = self.sightings.iter().filter(|sighting| injection.is_shown_by(sighting)).collect();
        let before: Vec<&Sighting> = signs.iter().copied().filter(|sign| sign.held_at(first)).collect();
        let shown = signs
            .iter()
            .copied()
            .filter(|sign| (first..=last).contains(&sign.at) && !before.iter().any(|other| other.says_what(sign)))
            .min_by_key(|sign| sign.at);
        if let Some(sign) = shown {
            return Verdict::Seen(sign, sign.at.saturating_duration_since(begin));
        }
        let follows = |at: &Instant| injection.ended < *at && *at <= last;
        let has_ended = |(at, number): &(Instant, usize)| {
            matches!(&injection.aim, Aim::Daemons(_)) && injection.aim.has(&Subject::daemon(*number)) && follows(at)
        };
        if !before.is_empty() {
            Verdict::Excused("the same showed already, for another reason")
        } else if self.replacements.iter().any(follows) {
            Verdict::Excused("its database was replaced before it could be seen")
        } else if self.ends.iter().any(has_ended) {
            Verdict::Excused("the daemon ended before it could be seen")
        } else {
            Verdict::Unseen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A journal with one fault that was injected in its first second.
    fn journal(kind: FaultKind, effect: Effect, aim: Aim) -> (Journal, Instant) {
        let (journal, began) = (Journal::default(), Instant::now() + 60 * SECOND);
        journal.entries().injections.push(Injection { kind, began, ended: began + SECOND, effect, aim });
        (journal, began)
    }

    fn asleep() -> (Journal, Instant) {
        journal(FaultKind::Sleep, Effect::Complete, Aim::Daemons(vec![(1, 4711)]))
    }

    /// A response of Lexer that is cut once a call meets it.
    fn cut() -> (Journal, Instant) {
        journal(FaultKind::CutResponse, Effect::Met("cut".to_owned()), Aim::connections(&["lexer"]))
    }

    fn see(journal: &Journal, at: Instant, place: Place, subject: Subject, text: &str) {
        let text = text.to_owned();
        journal.entries().sightings.push(Sighting { at, until: Some(at), place, subject, text });
    }

    fn see_until(journal: &Journal, (at, until): (Instant, Option<Instant>), subject: Subject, text: &str) {
        let (place, text) = (Place::Problem, text.to_owned());
        journal.entries().sightings.push(Sighting { at, until, place, subject, text });
    }

    fn meet(journal: &Journal, at: Instant, action: &str, subject: Option<Subject>) {
        journal.entries().met.push(Met { at, action: action.to_owned(), subject });
    }

    fn counts(journal: &Journal, kind: FaultKind) -> (usize, usize, u64) {
        let lines = journal.lines();
        let line = &lines[&kind];
        (line.demanded, line.seen, line.slowest.as_secs())
    }

    fn is_kept(journal: &Journal) -> bool {
        journal.findings().iter().all(|finding| finding.fault.is_none())
    }

    #[test]
    fn a_fault_is_seen_at_its_first_sign_within_the_delay() {
        let (journal, began) = asleep();
        assert!(!is_kept(&journal), "it was never seen");
        see(&journal, began + 7 * SECOND, Place::Probe, Subject::daemon(1), "no connection");
        see(&journal, began + 9 * SECOND, Place::Probe, Subject::daemon(1), "no response");
        see(&journal, began + 10 * SECOND, Place::Probe, Subject::daemon(1), "no response");
        assert_eq!(counts(&journal, FaultKind::Sleep), (1, 1, 9));
        assert!(is_kept(&journal));
    }

    #[test]
    fn a_sign_before_the_fault_or_after_the_delay_does_not_count() {
        let (journal, began) = asleep();
        see(&journal, began.checked_sub(SECOND).unwrap(), Place::Probe, Subject::daemon(1), "no response");
        see(&journal, began + 12 * SECOND, Place::Probe, Subject::daemon(1), "no response");
        assert_eq!(counts(&journal, FaultKind::Sleep), (1, 0, 0));
        assert!(!is_kept(&journal));
    }

    #[test]
    fn a_sign_of_another_daemon_or_connection_does_not_count() {
        let (journal, began) = asleep();
        see(&journal, began + 5 * SECOND, Place::Probe, Subject::daemon(0), "no response");
        assert!(!is_kept(&journal));

        let (journal, began) = cut();
        meet(&journal, began + SECOND, "cut", None);
        see(&journal, began + 2 * SECOND, Place::Calls, Subject::connection("jaicp"), "outcome=\"transport\"");
        assert!(!is_kept(&journal));
        see(&journal, began + 3 * SECOND, Place::Calls, Subject::connection("lexer"), "outcome=\"transport\"");
        assert!(is_kept(&journal));
    }

    #[test]
    fn a_fault_of_calls_must_show_once_a_call_meets_it() {
        let (journal, began) = cut();
        assert_eq!(counts(&journal, FaultKind::CutResponse), (0, 0, 0));
        assert!(is_kept(&journal), "no call met it");
        let lexer = || Subject::connection("lexer");
        see(&journal, began + 10 * SECOND, Place::Calls, lexer(), "outcome=\"transport\"");
        meet(&journal, began + 30 * SECOND, "cut", None);
        assert!(!is_kept(&journal), "a call met it later");
        see(&journal, began + 33 * SECOND, Place::Calls, lexer(), "outcome=\"transport\"");
        assert_eq!(counts(&journal, FaultKind::CutResponse), (1, 1, 3));
    }

    #[test]
    fn a_call_of_another_connection_or_long_after_the_fault_does_not_meet_it() {
        let (journal, began) = cut();
        meet(&journal, began + SECOND, "cut", Some(Subject::connection("jaicp")));
        meet(&journal, began + SECOND, "reset", None);
        meet(&journal, began + 2 * SECOND + MET_WITHIN, "cut", None);
        assert_eq!(journal.lines()[&FaultKind::CutResponse].excuses["no call met it in time"], 1);
    }

    #[test]
    fn what_a_daemon_counted_just_before_its_end_need_not_show() {
        let (journal, began) = cut();
        meet(&journal, began + 2 * SECOND, "cut", None);
        journal.entries().ends.push((began + 3 * SECOND, 0));
        assert!(is_kept(&journal));
        meet(&journal, began + 4 * SECOND, "cut", None);
        assert!(!is_kept(&journal));
    }

    #[test]
    fn a_fault_without_an_effect_need_not_show() {
        let (journal, _) = journal(FaultKind::DiskFull, Effect::None("no write was refused"), Aim::Everything);
        assert!(is_kept(&journal));
        assert_eq!(journal.lines()[&FaultKind::DiskFull].excuses["no write was refused"], 1);
    }

    #[test]
    fn what_an_excused_fault_seems_to_cause_does_not_count_for_its_kind() {
        let (journal, began) = asleep();
        let excused = Injection {
            kind: FaultKind::Sleep,
            began: began + 100 * SECOND,
            ended: began + 101 * SECOND,
            effect: Effect::None("it was too short"),
            aim: Aim::Daemons(vec![(1, 4711)]),
        };
        journal.entries().injections.push(excused);
        see(&journal, began + 102 * SECOND, Place::Probe, Subject::daemon(1), "no response");
        assert_eq!(counts(&journal, FaultKind::Sleep), (1, 0, 0));
        assert!(!is_kept(&journal));
    }

    #[test]
    fn a_condition_that_held_before_neither_shows_a_fault_nor_breaks_the_demand() {
        let aim = Aim::connections(&["lynn"]);
        let (journal, began) = journal(FaultKind::ValidButShort, Effect::Complete, aim);
        let lynn = || Subject::of(&serde_json::json!({ "connection": "lynn", "stream": "menu_detail" }));
        let before = began.checked_sub(20 * SECOND).unwrap();
        see_until(&journal, (before, began.checked_sub(10 * SECOND)), lynn(), "held lynn/menu_detail since 1");
        assert!(!is_kept(&journal), "it was over");
        see_until(&journal, (before, None), lynn(), "held lynn/menu_detail since 2");
        // The other daemon shows the same later.
        see_until(&journal, (began + 3 * SECOND, None), lynn(), "held lynn/menu_detail since 2");
        assert_eq!(counts(&journal, FaultKind::ValidButShort), (0, 0, 0));
        assert!(is_kept(&journal));
        see_until(&journal, (began + 4 * SECOND, None), lynn(), "held lynn/menu_detail since 3");
        assert_eq!(counts(&journal, FaultKind::ValidButShort), (1, 1, 4));
    }

    #[test]
    fn a_daemon_that_ends_again_before_it_is_listed_excuses_its_own_fault_only() {
        let (journal, began) = journal(FaultKind::Kill, Effect::Complete, Aim::Daemons(vec![(1, 4711)]));
        see(&journal, began + 2 * SECOND, Place::Process, Subject::owner("host/4712/0a0b0c0d"), "host/4712/0a0b0c0d");
        journal.entries().ends.push((began + 2 * SECOND, 0));
        assert!(!is_kept(&journal));
        journal.entries().ends.push((began + 2 * SECOND, 1));
        assert!(is_kept(&journal));
        see(&journal, began + 3 * SECOND, Place::Process, Subject::owner("host/4711/0a0b0c0d"), "host/4711/0a0b0c0d");
        assert_eq!(counts(&journal, FaultKind::Kill), (1, 1, 3));
    }

    #[test]
    fn what_was_stored_before_an_older_copy_replaced_the_database_need_not_show() {
        let (journal, began) = journal(FaultKind::SwapAccount, Effect::Complete, Aim::Everything);
        assert!(!is_kept(&journal));
        journal.entries().replacements.push(began + 4 * SECOND);
        assert!(is_kept(&journal));
    }
}
