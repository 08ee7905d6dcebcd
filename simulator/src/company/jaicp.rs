//! What happens in the chat with the bot, which JAICP reports on: dialogs of turns, some of which an agent takes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::conversations::{Conversation, pick, word};
use super::super::truth::{Dice, TICKS_PER_DAY, Ticks};
use super::calendar;
use super::people::{newcomer, on_duty};
use super::plan::{Days, Event, Plan, Timeline};

pub const INTENTS: &[&str] = &["greeting", "order_status", "billing", "cannot_sign_in", "cancel", "other"];
/// Dialogs per thousand rows of the largest report.
const SHARE: u64 = 75;
const TURNS: u64 = 4;
/// Visitors of one day who are no newcomers by a dialog have numbers from here on.
const SILENT: u64 = 5_000;

/// One question and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub at: Ticks,
    pub intent: &'static str,
    /// Whether the bot did not understand.
    pub is_fallback: bool,
    /// Whether an agent replied.
    pub is_livechat: bool,
    pub confidence_percent: u64,
}

#[derive(Debug, Clone)]
pub struct Dialog {
    pub day: i32,
    pub number: usize,
    pub started: Ticks,
    pub channel: &'static str,
    pub customer: u64,
    pub turns: Vec<Turn>,
    /// Who takes over, if anybody does.
    pub agent: Option<usize>,
    pub is_incoming: bool,
    pub texts: &'static Conversation,
}

/// One day.
#[derive(Debug, Default)]
pub struct Day {
    /// Those that began on it, then those of the day before whose last turn is on it, since a dialog never ends by
    /// itself (`facts/jaicp.md §4`).
    pub dialogs: Vec<Dialog>,
    pub begun: usize,
    pub timelines: BTreeMap<&'static str, Timeline>,
}

impl Day {
    /// The person of the `rank`th row of a dialog in the list of clients: its customer, then others who only looked.
    pub fn visitor(&self, of: usize, rank: usize) -> u64 {
        let dialog = &self.dialogs[of];
        if rank == 0 { dialog.customer } else { newcomer(dialog.day, rank as u64 * SILENT + dialog.number as u64) }
    }
}

pub struct Chat {
    pub plan: Plan,
    days: Days<Day>,
}

impl Chat {
    pub fn new(plan: Plan) -> Self {
        Self { plan, days: Days::default() }
    }

    pub fn day(&self, day: i32) -> Arc<Day> {
        self.days.get(day, || make(&self.plan, day))
    }

    /// Number of rows of a section.
    pub fn rows_on(&self, section: &str, day: i32) -> u64 {
        self.plan.exact_rows().unwrap_or_else(|| self.day(day).timelines.get(section).map_or(0, Timeline::len))
    }
}

fn make(plan: &Plan, day: i32) -> Day {
    let mut dialogs = dialogs(plan, day);
    let begun = dialogs.len();
    let (from, until) = (calendar::starts(day), calendar::starts(day.saturating_add(1)));
    let before = self::dialogs(plan, day.saturating_sub(1)).into_iter();
    dialogs.extend(before.filter(|dialog| dialog.turns.last().is_some_and(|turn| turn.at >= from)));
    let (mut messages, mut clients) = (Vec::new(), Vec::new());
    for (of, dialog) in dialogs.iter().enumerate() {
        let turns = dialog.turns.iter().enumerate().filter(|(_, turn)| from <= turn.at && turn.at < until);
        messages.extend(turns.map(|(rank, turn)| Event { at: turn.at, of, rank }));
        if of < begun {
            let last = dialog.turns.iter().rev().find(|turn| turn.at < until).map_or(dialog.started, |turn| turn.at);
            let rows = usize::try_from(plan.rows_of(of, begun, 1)).unwrap_or_default();
            clients.extend((0..rows).map(|rank| Event { at: last, of, rank }));
        }
    }
    let timelines = [("messages", messages), ("clients", clients)];
    Day { dialogs, begun, timelines: timelines.map(|(section, events)| (section, plan.timeline(events))).into() }
}

fn dialogs(plan: &Plan, day: i32) -> Vec<Dialog> {
    let moments = calendar::moments(plan.seed, day, plan.facts(day, SHARE, TURNS), plan.is_even(), 11);
    let count = moments.len();
    moments.into_iter().enumerate().map(|(number, started)| dialog(plan, day, (number, count), started)).collect()
}

fn dialog(plan: &Plan, day: i32, (number, count): (usize, usize), started: Ticks) -> Dialog {
    let even = plan.is_even();
    let mut dice = Dice::new(plan.seed, &[u64::from(day.cast_unsigned()), number as u64, 41]);
    let texts = pick(dice.roll());
    let channel = word(dice.roll(), &["telegram", "chatwidget", "viber", "vk", "resterisk", "TELEGRAM"]);
    let reason = word(dice.roll(), &INTENTS[1..]);
    let is_taken_over = if even { number.is_multiple_of(5) } else { reason == "other" || dice.once_in(5) };
    let agent = is_taken_over.then(|| on_duty(&mut dice, calendar::hour(started), |agent| agent.jaicp_id.is_some()));
    let with_bot = 1 + dice.below(4);
    let natural = with_bot + if is_taken_over { 1 + dice.below(3) } else { 0 };
    let turns = plan.rows_of(number, count, natural);
    let mut secs = 1 + dice.below(3);
    let mut made = Vec::new();
    for turn in 0..turns {
        let is_livechat = is_taken_over && (turn >= with_bot || turn + 1 == turns || even);
        if turn > 0 {
            let before = made.last().is_none_or(|turn: &Turn| !turn.is_livechat);
            let pause = if is_livechat && before { calendar::wait(&mut dice, started, 150, even) } else { 0 };
            secs = calendar::same_day(started, secs + pause + 5 + dice.below(60));
        }
        let intent = if turn == 0 { INTENTS[0] } else { reason };
        let is_fallback = !is_livechat && turn > 0 && (reason == "other" || dice.once_in(12));
        let confidence_percent = if is_fallback { 10 + dice.below(30) } else { 65 + dice.below(35) };
        made.push(Turn { at: calendar::after(started, secs), intent, is_fallback, is_livechat, confidence_percent });
    }
    // Somebody comes back the next day.
    if let Some(last) = made.last_mut().filter(|_| number % 7 == 3 && turns > 1) {
        let into_day = started.rem_euclid(TICKS_PER_DAY);
        let at = calendar::starts(day.saturating_add(1)) + into_day / 10 * 9;
        last.at = if at % 10_000_000 == 0 { at + 1 } else { at };
    }
    let customer = newcomer(day, number as u64);
    Dialog { day, number, started, channel, customer, turns: made, agent, is_incoming: dice.once_in(2), texts }
}
