//! What happens in social networks, which Khoros reports on: threads of customers' posts and agents' replies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::conversations::{Conversation, pick, word};
use super::super::truth::{Dice, Ticks};
use super::calendar;
use super::people::{AGENTS, on_duty, visitor};
use super::plan::{Days, Event, Plan, Timeline};

/// Threads that get closed are closed before the end of the day after the one on which they began.
pub const CLOSED_WITHIN_DAYS: i64 = 2;
/// Threads per thousand rows of the largest report.
const SHARE: u64 = 300;
const CHANNEL: u64 = 1;

/// A conversation. Times are seconds after its first post.
#[derive(Debug, Clone)]
pub struct Thread {
    pub day: i32,
    pub number: usize,
    pub opened: Ticks,
    pub customer: u64,
    pub network: &'static str,
    /// By number; who is assigned, even if nobody replied.
    pub agent: usize,
    pub posts: Vec<u64>,
    pub replies: Vec<u64>,
    pub actions: Vec<(&'static str, u64)>,
    pub closed: Option<u64>,
    pub texts: &'static Conversation,
}

/// What a thread looks like at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    /// The last word is the agent's.
    Pending,
    Closed,
}

impl Thread {
    pub fn at(&self, secs: u64) -> Ticks {
        calendar::after(self.opened, secs)
    }

    pub fn state(&self, now: Ticks) -> State {
        let latest = |times: &[u64]| times.iter().rev().find(|&&secs| self.at(secs) <= now).copied();
        match self.closed {
            Some(closed) if self.at(closed) <= now => State::Closed,
            _ if latest(&self.replies) >= latest(&self.posts) => State::Pending,
            _ => State::Open,
        }
    }

    pub fn customers_words(&self, rank: usize) -> &'static str {
        &self.texts.messages[rank % self.texts.messages.len()].text
    }
}

/// An agent's state at the console.
#[derive(Debug, Clone)]
pub struct Console {
    pub agent: usize,
    pub state: &'static str,
    pub at: Ticks,
    pub secs: u64,
}

/// An agent's replies on a day, or in an hour of it.
#[derive(Debug, Clone)]
pub struct Performance {
    pub agent: usize,
    pub from: Ticks,
    pub until: Ticks,
    pub replies: u64,
    pub handle_secs: u64,
}

/// One day.
#[derive(Debug, Default)]
pub struct Day {
    /// Those that began on it, then those of the day before that were closed on it.
    pub threads: Vec<Thread>,
    pub begun: usize,
    pub consoles: Vec<Console>,
    pub performances: Vec<Performance>,
    pub intervals: Vec<Performance>,
    pub brand_posts: Vec<Ticks>,
    pub timelines: BTreeMap<&'static str, Timeline>,
}

pub struct Social {
    pub plan: Plan,
    days: Days<Day>,
}

impl Social {
    pub fn new(plan: Plan) -> Self {
        Self { plan, days: Days::default() }
    }

    pub fn day(&self, day: i32) -> Arc<Day> {
        self.days.get(day, || make(&self.plan, day))
    }

    /// Number of rows of an export.
    pub fn rows_on(&self, export: &str, day: i32) -> u64 {
        self.plan.exact_rows().unwrap_or_else(|| self.day(day).timelines.get(export).map_or(0, Timeline::len))
    }
}

fn make(plan: &Plan, day: i32) -> Day {
    let mut threads = threads(plan, day);
    let begun = threads.len();
    if !plan.is_even() {
        let today = calendar::starts(day);
        let before = self::threads(plan, day.saturating_sub(1)).into_iter();
        threads.extend(before.filter(|thread| thread.closed.is_some_and(|closed| thread.at(closed) >= today)));
    }
    let mut made = Day { threads, begun, ..Day::default() };
    made.consoles = consoles(plan, day);
    made.performances = performances(plan, &made.threads[..begun], day, 24);
    made.intervals = performances(plan, &made.threads[..begun], day, 1);
    made.brand_posts = calendar::moments(plan.seed, day, plan.facts(day, 30, 1), plan.is_even(), 3);
    made.timelines = timelines(plan, &made, day);
    made
}

fn threads(plan: &Plan, day: i32) -> Vec<Thread> {
    let count = plan.facts(day, SHARE, 1);
    let moments = calendar::moments(plan.seed, day, count, plan.is_even(), 1);
    moments.into_iter().enumerate().map(|(number, opened)| thread(plan, day, number, opened)).collect()
}

fn thread(plan: &Plan, day: i32, number: usize, opened: Ticks) -> Thread {
    let even = plan.is_even();
    let mut dice = Dice::new(plan.seed, &[u64::from(day.cast_unsigned()), number as u64, 29]);
    let texts = pick(dice.roll());
    let customer = visitor(&mut dice, day, CHANNEL);
    let network = word(customer, &["TWITTER", "FACEBOOK", "TWITTER", "INSTAGRAM"]);
    let agent = on_duty(&mut dice, calendar::hour(opened), |_| true);
    let (mut posts, mut replies) = (vec![0], Vec::new());
    let is_answered = !dice.once_in(16) || even;
    let turns = if even { 1 } else { 1 + dice.below(3) };
    let mut last = calendar::same_day(opened, calendar::wait(&mut dice, opened, 1100, even));
    for turn in 0..turns.saturating_mul(u64::from(is_answered)) {
        if turn > 0 {
            posts.push(calendar::same_day(opened, last + 60 + calendar::spread(&mut dice, 600)));
            last = posts.last().copied().unwrap_or(last);
            last = calendar::same_day(opened, last + 30 + calendar::spread(&mut dice, 500));
        }
        replies.push(last);
    }
    let closes = if is_answered { !dice.once_in(40) } else { dice.once_in(2) };
    let rest = if dice.once_in(8) { dice.below(20 * 3600) } else { calendar::spread(&mut dice, 1800) };
    let mut closed = closes.then_some(last + 120 + rest);
    if even {
        closed = closed.map(|closed| calendar::same_day(opened, closed)).filter(|_| number % 4 != 3);
    }
    let mut actions = vec![("ASSIGN", replies.first().copied().unwrap_or(last) / 2)];
    if dice.once_in(2) {
        actions.push(("TAG", last));
    }
    if let Some(closed) = closed {
        if dice.once_in(12) {
            actions.extend([("CLOSE", last + (closed - last) / 3), ("REOPEN", last + (closed - last) / 2)]);
        }
        actions.push(("CLOSE", closed));
    }
    Thread { day, number, opened, customer, network, agent, posts, replies, actions, closed, texts }
}

/// Each agent's states follow each other without gaps during the shift, or all day.
fn consoles(plan: &Plan, day: i32) -> Vec<Console> {
    let mut consoles = Vec::new();
    for (number, agent) in AGENTS.iter().enumerate() {
        let mut dice = Dice::new(plan.seed, &[u64::from(day.cast_unsigned()), number as u64, 23]);
        let states = plan.rows_of(number, AGENTS.len(), 8 + dice.below(8));
        let (from, until) = if plan.is_even() { (0, 24) } else { agent.hours_today() };
        let length = u64::from(until - from) * 3600 / states.max(1);
        for state in 0..states {
            let at = calendar::after(calendar::starts(day), u64::from(from) * 3600 + state * length);
            let state = word(dice.roll(), &["GREEN", "GREEN", "YELLOW", "RED"]);
            consoles.push(Console { agent: number, state, at: at + 1 + fraction(&mut dice), secs: length });
        }
    }
    consoles
}

fn fraction(dice: &mut Dice) -> i64 {
    i64::try_from(dice.below(9_000_000)).unwrap_or_default()
}

/// Replies per agent and per so many hours.
fn performances(plan: &Plan, threads: &[Thread], day: i32, hours: u64) -> Vec<Performance> {
    let length = hours * 3600;
    let mut counts: BTreeMap<(usize, u64), (u64, u64)> = BTreeMap::new();
    for thread in threads {
        for &reply in &thread.replies {
            let into = (thread.at(reply) - calendar::starts(day)) / super::super::truth::TICKS_PER_SECOND;
            let entry = counts.entry((thread.agent, into.unsigned_abs() / length)).or_default();
            entry.0 += 1;
            entry.1 += 60 + (reply - thread.replies[0]) / 4;
        }
    }
    if counts.is_empty() && plan.facts(day, 1000, 1) > 0 {
        counts.insert((0, 0), (0, 0));
    }
    let made = |(&(agent, part), &(replies, handled)): (&(usize, u64), &(u64, u64))| {
        let from = calendar::after(calendar::starts(day), part * length);
        let until = calendar::after(from, length) - 1 - i64::try_from(agent).unwrap_or_default();
        Performance { agent, from, until, replies, handle_secs: handled / replies.max(1) }
    };
    counts.iter().map(made).collect()
}

fn timelines(plan: &Plan, day: &Day, date: i32) -> BTreeMap<&'static str, Timeline> {
    let threads = &day.threads[..day.begun];
    // Rows of each thread: how many, and when.
    let of_threads = |natural: &dyn Fn(&Thread) -> u64, at: &dyn Fn(&Thread, usize) -> u64| {
        let mut events = Vec::new();
        for (of, thread) in threads.iter().enumerate() {
            let rows = plan.rows_of(of, threads.len(), natural(thread));
            events.extend((0..rows).map(|rank| {
                let rank = usize::try_from(rank).unwrap_or_default();
                Event { at: thread.at(at(thread, rank)), of, rank }
            }));
        }
        plan.timeline(events)
    };
    let when = |times: &[u64], rank: usize| times.get(rank).or(times.last()).copied().unwrap_or_default();
    let mut seen = BTreeSet::new();
    let latest: BTreeSet<usize> =
        threads.iter().rev().filter(|thread| seen.insert(thread.customer)).map(|thread| thread.number).collect();
    let single = |times: Vec<Ticks>| {
        let rows = |of: usize| plan.rows_of(of, times.len(), 1);
        let event = |(of, &at): (usize, &Ticks)| {
            (0..rows(of)).map(move |rank| Event { at, of, rank: usize::try_from(rank).unwrap_or_default() })
        };
        plan.timeline(times.iter().enumerate().flat_map(event).collect())
    };
    let approvals =
        |thread: &Thread| if thread.number.is_multiple_of(15) { 2 * thread.replies.len() as u64 } else { 0 };
    let mixed = |thread: &Thread| {
        if thread.number.is_multiple_of(4) { (thread.posts.len() + thread.replies.len()) as u64 } else { 0 }
    };
    BTreeMap::from([
        ("conversation", of_threads(&|_| 1, &|_, _| 0)),
        ("conversation_actions", actions(plan, day, date)),
        ("conversation_history_action", actions(plan, day, date)),
        ("incoming_post", of_threads(&|thread| thread.posts.len() as u64, &|thread, rank| when(&thread.posts, rank))),
        ("response", of_threads(&|thread| thread.replies.len() as u64, &|thread, rank| when(&thread.replies, rank))),
        (
            "response_approval",
            of_threads(&approvals, &|thread, rank| {
                when(&thread.replies, rank / 2).saturating_sub(20) + 8 * (rank % 2) as u64
            }),
        ),
        (
            "combined",
            of_threads(&mixed, &|thread, rank| match rank.checked_sub(thread.posts.len()) {
                None => when(&thread.posts, rank),
                Some(rank) => when(&thread.replies, rank),
            }),
        ),
        (
            "author",
            of_threads(&|thread| u64::from(latest.contains(&thread.number)), &|thread, _| {
                when(&thread.posts, usize::MAX)
            }),
        ),
        (
            "raw_expert_help",
            of_threads(&|thread| u64::from(thread.number % 20 == 7), &|thread, _| when(&thread.replies, 0) / 2),
        ),
        ("raw_agent_states", {
            let event = |(of, console): (usize, &Console)| Event { at: console.at, of, rank: 0 };
            plan.timeline(day.consoles.iter().enumerate().map(event).collect())
        }),
        ("team_performance", single(day.performances.iter().map(|of| of.until).collect())),
        ("team_performance_interval", single(day.intervals.iter().map(|of| of.until).collect())),
        ("raw_brand_post", single(day.brand_posts.clone())),
    ])
}

/// The actions on threads, those of the day before included.
fn actions(plan: &Plan, day: &Day, date: i32) -> Timeline {
    let (from, until) = (calendar::starts(date), calendar::starts(date.saturating_add(1)));
    let mut events = Vec::new();
    for (of, thread) in day.threads.iter().enumerate() {
        let rows = plan.rows_of(of, day.threads.len(), thread.actions.len() as u64);
        let event = |rank: u64| {
            let rank = usize::try_from(rank).unwrap_or_default() % thread.actions.len();
            Event { at: thread.at(thread.actions[rank].1), of, rank }
        };
        events.extend((0..rows).map(event).filter(|event| from <= event.at && event.at < until));
    }
    plan.timeline(events)
}

/// The id of a conversation.
pub fn conversation_id(day: i32, number: usize, copy: u64) -> u64 {
    copy * 100_000_000_000 + u64::from(day.cast_unsigned()) * 1_000_000 + number as u64
}
