//! What was injected and what was seen, with times, and what follows from both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault::{Appearance, FaultKind, Place, Sign};
use super::verify::Finding;

/// A call that a vendor refused for an expired token counts as a call with this action.
pub const UNAUTHORIZED: &str = "unauthorized";
/// A page that was stored without a rejected record counts as a call with this action.
pub const REJECTED: &str = "rejected record";
/// What a daemon counted this long before it was killed may not have been read.
const UNREAD: Duration = Duration::from_secs(2);

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
}

/// Something that a page, the API, a metric or a notification said for the first time.
#[derive(Debug)]
struct Sighting {
    at: Instant,
    place: Place,
    text: String,
}

#[derive(Debug, Default)]
struct Entries {
    injections: Vec<Injection>,
    sightings: Vec<Sighting>,
    /// Calls that met an action of the simulator.
    met: Vec<(Instant, String)>,
    /// When daemons were killed or stopped.
    ends: Vec<Instant>,
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
    pub seen: usize,
    /// Where they were seen first, and how often.
    pub places: BTreeMap<String, usize>,
    pub slowest: Duration,
    /// Why the others need not show.
    pub excuses: BTreeMap<&'static str, usize>,
}

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the beginning of a fault. Returns its number.
    pub fn begin(&self, kind: FaultKind) -> usize {
        let mut entries = self.entries();
        let now = Instant::now();
        entries.injections.push(Injection { kind, began: now, ended: now, effect: Effect::None("it did not end") });
        entries.injections.len() - 1
    }

    /// Records that the fault has been injected; what follows from it may last.
    pub fn end(&self, number: usize, effect: Effect) {
        if let Some(injection) = self.entries().injections.get_mut(number) {
            (injection.ended, injection.effect) = (Instant::now(), effect);
        }
    }

    pub fn saw(&self, place: Place, text: impl Into<String>) {
        self.entries().sightings.push(Sighting { at: Instant::now(), place, text: text.into() });
    }

    /// Records that `calls` met an action.
    pub fn met(&self, action: &str, calls: u64) {
        let now = Instant::now();
        self.entries().met.extend((0..calls).map(|_| (now, action.to_owned())));
    }

    pub fn daemon_ended(&self) {
        self.entries().ends.push(Instant::now());
    }

    /// What was not seen yet is not stored any more.
    pub fn replaced(&self) {
        self.entries().replacements.push(Instant::now());
    }

    /// Everything that was seen, with the seconds since `began`.
    pub fn text(&self, began: Instant) -> String {
        let entries = self.entries();
        let mut lines: Vec<(Instant, String)> = Vec::new();
        for injection in &entries.injections {
            lines.push((injection.began, format!("fault        {} ({:?})", injection.kind.name(), injection.effect)));
        }
        for sighting in &entries.sightings {
            lines.push((sighting.at, format!("{:12} {}", sighting.place.name(), sighting.text)));
        }
        for (at, action) in &entries.met {
            lines.push((*at, format!("met          {action}")));
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
            let begin = entries.effect(injection);
            let seen = entries.sighting(injection, begin.unwrap_or(injection.began));
            match (begin, injection.kind.appearance()) {
                (Ok(_), Appearance::Must { .. }) => line.demanded += 1,
                (Ok(_), Appearance::May { .. }) => {}
                (Err(excuse), _) => *line.excuses.entry(excuse).or_default() += 1,
            }
            if let Some((sighting, delay)) = seen {
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

impl Entries {
    /// When a fault took effect, or why it need not show.
    fn effect(&self, injection: &Injection) -> Result<Instant, &'static str> {
        match &injection.effect {
            Effect::Complete => Ok(injection.began),
            Effect::None(excuse) => Err(excuse),
            Effect::Met(action) => {
                let (_, within) = injection.kind.appearance().signs();
                let soon_after = |at: Instant, soon: Duration| move |other: &Instant| (at..=at + soon).contains(other);
                let is_lost = |at: &Instant| {
                    self.ends.iter().any(soon_after(*at, UNREAD))
                        || self.replacements.iter().any(soon_after(*at, within))
                };
                let mut met = self
                    .met
                    .iter()
                    .filter(|(at, met)| met == action && *at >= injection.began)
                    .map(|(at, _)| *at)
                    .peekable();
                if met.peek().is_none() {
                    return Err("no call met it");
                }
                met.find(|at| !is_lost(at))
                    .ok_or("the daemon ended before it could be asked, or its database was replaced")
            }
        }
    }

    /// The first sign of a fault that took effect at `begin`, and its delay.
    fn sighting(&self, injection: &Injection, begin: Instant) -> Option<(&Sighting, Duration)> {
        let (signs, within) = injection.kind.appearance().signs();
        let last = begin.max(injection.ended) + within;
        let shows = |sighting: &&Sighting| {
            (injection.began..=last).contains(&sighting.at)
                && signs.iter().any(|sign: &Sign| sign.is(sighting.place, &sighting.text))
        };
        let first = self.sightings.iter().filter(shows).min_by_key(|sighting| sighting.at)?;
        Some((first, first.at.saturating_duration_since(begin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A journal with one fault that was injected in its first second.
    fn journal(kind: FaultKind, effect: Effect) -> (Journal, Instant) {
        let (journal, began) = (Journal::default(), Instant::now());
        journal.entries().injections.push(Injection { kind, began, ended: began + SECOND, effect });
        (journal, began)
    }

    fn see(journal: &Journal, at: Instant, place: Place, text: &str) {
        journal.entries().sightings.push(Sighting { at, place, text: text.to_owned() });
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
        let (journal, began) = journal(FaultKind::Sleep, Effect::Complete);
        assert!(!is_kept(&journal), "it was never seen");
        see(&journal, began + 7 * SECOND, Place::Probe, "no connection");
        see(&journal, began + 9 * SECOND, Place::Probe, "no response");
        see(&journal, began + 10 * SECOND, Place::Probe, "no response");
        assert_eq!(counts(&journal, FaultKind::Sleep), (1, 1, 9));
        assert!(is_kept(&journal));
    }

    #[test]
    fn a_sign_before_the_fault_or_after_the_delay_does_not_count() {
        let (journal, began) = journal(FaultKind::Sleep, Effect::Complete);
        see(&journal, began.checked_sub(SECOND).unwrap(), Place::Probe, "no response");
        see(&journal, began + 600 * SECOND, Place::Probe, "no response");
        assert_eq!(counts(&journal, FaultKind::Sleep), (1, 0, 0));
    }

    #[test]
    fn a_fault_of_calls_must_show_once_a_call_meets_it() {
        let (journal, began) = journal(FaultKind::CutResponse, Effect::Met("cut".to_owned()));
        assert_eq!(counts(&journal, FaultKind::CutResponse), (0, 0, 0));
        assert!(is_kept(&journal), "no call met it");
        journal.entries().met.push((began + 100 * SECOND, "cut".to_owned()));
        assert!(!is_kept(&journal), "a call met it");
        see(&journal, began + 103 * SECOND, Place::Calls, "outcome=\"transport\"");
        assert_eq!(counts(&journal, FaultKind::CutResponse), (1, 1, 3));
    }

    #[test]
    fn what_a_daemon_counted_just_before_its_end_need_not_show() {
        let (journal, began) = journal(FaultKind::CutResponse, Effect::Met("cut".to_owned()));
        journal.entries().met.push((began + 2 * SECOND, "cut".to_owned()));
        journal.entries().ends.push(began + 3 * SECOND);
        assert!(is_kept(&journal));
        journal.entries().met.push((began + 4 * SECOND, "cut".to_owned()));
        assert!(!is_kept(&journal));
    }

    #[test]
    fn a_fault_without_an_effect_need_not_show() {
        let (journal, _) = journal(FaultKind::DiskFull, Effect::None("no write was refused"));
        assert!(is_kept(&journal));
        assert_eq!(journal.lines()[&FaultKind::DiskFull].excuses["no write was refused"], 1);
    }
}
