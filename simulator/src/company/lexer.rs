//! What happens in the shared inbox, which Lexer reports on: cases of one or more messages, and the survey after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::conversations::{Conversation, pick, word};
use super::super::truth::{Dice, Ticks};
use super::calendar;
use super::people::{on_duty, visitor};
use super::plan::{Days, Event, Plan, Timeline};

/// Cases that get closed are closed within this time, so that reading the last day again sees it.
pub const CLOSED_WITHIN_SECS: u64 = 23 * 3600;
/// A customer's message is due within 2 hours, the agent's part of it within half an hour.
pub const DUE_SECS: u64 = 2 * 3600;
pub const AGENT_DUE_SECS: u64 = 1800;
/// The classifications by number: their ids and names.
pub const CLASSIFICATIONS: &[(i64, &str)] =
    &[(7001, "billing"), (7002, "outage"), (7003, "praise, thanks"), (7004, "retour / Rückgabe")];

/// Cases per thousand rows of the largest report.
const SHARE: u64 = 170;
const CHANNEL: u64 = 2;
/// Times are printed in tenths of a minute.
pub const TENTH_SECS: u64 = 6;

/// A customer's message. Times are seconds after the case's first message.
#[derive(Debug, Clone)]
pub struct Mention {
    pub sent: u64,
    /// Seconds in the queue, then with the agent.
    pub queue: u64,
    pub action: u64,
    /// The state in which it ends.
    pub state: &'static str,
}

impl Mention {
    /// Whether it was answered.
    pub fn is_answered(&self) -> bool {
        matches!(self.state, "closed" | "responded")
    }

    pub fn wait(&self) -> u64 {
        self.queue + self.action
    }
}

#[derive(Debug, Clone)]
pub struct Case {
    pub day: i32,
    pub number: usize,
    pub opened: Ticks,
    pub customer: u64,
    pub channel: &'static str,
    pub agent: usize,
    pub mentions: Vec<Mention>,
    /// Numbers of `CLASSIFICATIONS`.
    pub classifications: Vec<usize>,
    pub closed: u64,
    pub survey: Option<Survey>,
    pub texts: &'static Conversation,
}

/// A customer's answer to the question whether they would recommend the company.
#[derive(Debug, Clone, Copy)]
pub struct Survey {
    pub answered: u64,
    pub score: u64,
    pub is_archived_form: bool,
}

impl Case {
    pub fn at(&self, secs: u64) -> Ticks {
        calendar::after(self.opened, secs)
    }

    /// The seconds until the first reply, if there is one.
    pub fn first_reply(&self) -> Option<u64> {
        self.mentions.iter().filter(|mention| mention.is_answered()).map(|mention| mention.sent + mention.wait()).min()
    }
}

/// One day.
#[derive(Debug, Default)]
pub struct Day {
    pub cases: Vec<Case>,
    pub timelines: BTreeMap<&'static str, Timeline>,
}

pub struct Inbox {
    pub plan: Plan,
    days: Days<Day>,
}

impl Inbox {
    pub fn new(plan: Plan) -> Self {
        Self { plan, days: Days::default() }
    }

    pub fn day(&self, day: i32) -> Arc<Day> {
        self.days.get(day, || make(&self.plan, day))
    }

    /// Number of rows of a file.
    pub fn rows_on(&self, file: &str, day: i32) -> u64 {
        self.plan.exact_rows().unwrap_or_else(|| self.day(day).timelines.get(file).map_or(0, Timeline::len))
    }
}

fn make(plan: &Plan, day: i32) -> Day {
    let count = plan.facts(day, SHARE, 1);
    let moments = calendar::moments(plan.seed, day, count, plan.is_even(), 5);
    let cases: Vec<Case> =
        moments.into_iter().enumerate().map(|(number, opened)| case(plan, day, number, opened)).collect();
    let (mut mentions, mut opened, mut surveys) = (Vec::new(), Vec::new(), Vec::new());
    for (of, case) in cases.iter().enumerate() {
        opened.push(Event { at: case.opened, of, rank: 0 });
        let rank = |(rank, mention): (usize, &Mention)| Event { at: case.at(mention.sent), of, rank };
        mentions.extend(case.mentions.iter().enumerate().map(rank));
        surveys.extend(case.survey.map(|survey| Event { at: case.at(survey.answered), of, rank: 0 }));
    }
    let timelines = [("mention_sla_export", mentions), ("case_details", opened), ("nps_submissions", surveys)];
    Day { cases, timelines: timelines.map(|(file, events)| (file, plan.timeline(events))).into() }
}

fn case(plan: &Plan, day: i32, number: usize, opened: Ticks) -> Case {
    let even = plan.is_even();
    let mut dice = Dice::new(plan.seed, &[u64::from(day.cast_unsigned()), number as u64, 37]);
    let texts = pick(dice.roll());
    let customer = visitor(&mut dice, day, CHANNEL);
    let channel = word(dice.roll(), &["twitter", "facebook", "email", "email"]);
    let agent = on_duty(&mut dice, calendar::hour(opened), |agent| agent.lexer_id.is_some());
    let mut mentions: Vec<Mention> = Vec::new();
    let number_of_mentions = if even { 1 } else { 1 + dice.below(3) + dice.below(3) };
    let mut sent = 0;
    for _ in 0..number_of_mentions {
        let mention = mention(&mut dice, opened, sent, even);
        sent = calendar::same_day(opened, sent + mention.wait() + 60 + calendar::spread(&mut dice, 1500));
        mentions.push(mention);
    }
    let last = mentions.last().map_or(0, |mention| mention.sent + mention.wait());
    let rest = if dice.once_in(6) { dice.below(16 * 3600) } else { calendar::spread(&mut dice, 3600) };
    let closed = (last + 300 + rest).clamp(600, CLOSED_WITHIN_SECS);
    let first = dice.below(CLASSIFICATIONS.len() as u64);
    let second = (first + 1 + dice.below(3)) % CLASSIFICATIONS.len() as u64;
    let classifications: Vec<u64> = match dice.below(4) {
        0 => Vec::new(),
        1 => vec![first, second],
        _ => vec![first],
    };
    let classifications = classifications.into_iter().filter_map(|number| usize::try_from(number).ok()).collect();
    let wait = mentions.iter().filter(|mention| mention.is_answered()).map(Mention::wait).min();
    let survey = (even || dice.once_in(2)).then(|| Survey {
        answered: calendar::same_day(opened, last + 120 + calendar::spread(&mut dice, 1800)),
        score: score(&mut dice, wait),
        is_archived_form: dice.once_in(if even { 2 } else { 12 }),
    });
    Case { day, number, opened, customer, channel, agent, mentions, classifications, closed, survey, texts }
}

fn mention(dice: &mut Dice, opened: Ticks, sent: u64, even: bool) -> Mention {
    const STATES: &[&str] = &[
        "closed",
        "closed",
        "closed",
        "closed",
        "closed",
        "closed",
        "responded",
        "responded",
        "assigned",
        "in_progress",
        "duplicate",
        "awaiting_approval",
        "irrelevant",
        "redirected",
        "no_response_required",
        "new",
    ];
    let in_tenths = |secs: u64| secs / TENTH_SECS * TENTH_SECS;
    let at = calendar::after(opened, sent);
    let wait = in_tenths(calendar::same_day(at, calendar::wait(dice, at, 2400, even)));
    let action = in_tenths(wait * (20 + dice.below(50)) / 100).min(in_tenths(calendar::spread(dice, 1000)));
    Mention { sent, queue: wait - action, action, state: word(dice.roll(), STATES) }
}

/// From 0 to 10: less for those who waited long, or in vain.
pub(super) fn score(dice: &mut Dice, wait_secs: Option<u64>) -> u64 {
    let lost = wait_secs.map_or(6, |secs| (secs / 900).min(8));
    (10 - lost + dice.below(2)).saturating_sub(dice.below(3)).min(10)
}

/// The id of a case.
pub fn case_id(day: i32, number: usize, copy: u64) -> String {
    format!("C-{}", copy * 100_000_000_000 + u64::from(day.cast_unsigned()) * 100_000 + number as u64)
}
