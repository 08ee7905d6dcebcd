//! What happens at Lynn: sessions with the bot, of which some reach the desk of the agents, and outbound campaigns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::conversations::{Conversation, pick, word};
use super::super::truth::{Dice, Ticks};
use super::calendar;
use super::lexer::score;
use super::people::{newcomer, on_duty, visitor};
use super::plan::{Days, Event, Plan, Timeline};

/// The channels: ids and names.
pub const CHANNELS: &[(&str, &str)] = &[("26", "WhatsApp"), ("21", "Web Chat"), ("3", "Twitter"), ("7", "Teléfono")];
pub const INTENTS: &[&str] =
    &["greet", "billing_question", "cannot_sign_in", "cancel order", "speak_to_agent", "¿otro?", "order_status"];
/// An agent has to reply first within this time.
pub const DUE_SECS: u64 = 300;

/// Sessions per thousand rows of the largest report, of which there are about four each.
const SHARE: u64 = 250;
const MARKS: u64 = 4;
const CHANNEL: u64 = 3;

/// A session. Times are seconds after its start.
#[derive(Debug, Clone)]
pub struct Session {
    pub day: i32,
    pub number: usize,
    pub guid: String,
    pub started: Ticks,
    pub channel: (&'static str, &'static str),
    pub customer: u64,
    /// One for each mark.
    pub intents: Vec<&'static str>,
    /// When each mark is made.
    pub marks: Vec<u64>,
    /// Whether the customer stayed until the end.
    pub is_ended: bool,
    pub ended: u64,
    pub desk: Option<Desk>,
    pub survey: Option<Survey>,
    pub texts: &'static Conversation,
}

/// The part of a session with an agent.
#[derive(Debug, Clone, Copy)]
pub struct Desk {
    pub agent: usize,
    /// When the bot passed the session on.
    pub derived: u64,
    pub connected: u64,
    pub replied: u64,
    pub is_abandoned: bool,
}

impl Desk {
    /// From the bot to the agent.
    pub fn wait(&self) -> u64 {
        self.connected - self.derived
    }

    pub fn is_in_time(&self) -> bool {
        self.replied - self.derived <= DUE_SECS
    }
}

/// Who wrote a message of a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    Customer,
    Bot,
    /// By number.
    Agent(usize),
}

#[derive(Debug, Clone, Copy)]
pub struct Survey {
    pub answered: u64,
    pub kind: &'static str,
    pub value: &'static str,
    /// On the scale from 0 to 1.
    pub score: f64,
}

impl Session {
    pub fn at(&self, secs: u64) -> Ticks {
        calendar::after(self.started, secs)
    }

    /// Who wrote the message of that rank at that time. The company's side is the bot until an agent is connected.
    pub fn author(&self, rank: usize, at: Ticks) -> Author {
        if self.texts.messages[rank % self.texts.messages.len()].from == "client" {
            return Author::Customer;
        }
        let desk = self.desk.filter(|desk| self.at(desk.connected) <= at);
        desk.map_or(Author::Bot, |desk| Author::Agent(desk.agent))
    }

    pub fn customers_words(&self, rank: usize) -> &'static str {
        &self.texts.messages[rank % self.texts.messages.len()].text
    }
}

/// One day.
#[derive(Debug, Default)]
pub struct Day {
    pub sessions: Vec<Session>,
    /// Changes to the bot's flows: when, and by whom.
    pub changes: Vec<(Ticks, usize)>,
    pub timelines: BTreeMap<&'static str, Timeline>,
}

pub struct Bot {
    pub plan: Plan,
    days: Days<Day>,
}

impl Bot {
    pub fn new(plan: Plan) -> Self {
        Self { plan, days: Days::default() }
    }

    pub fn day(&self, day: i32) -> Arc<Day> {
        self.days.get(day, || make(&self.plan, day))
    }

    /// Number of rows of a report.
    pub fn rows_on(&self, report: &str, day: i32) -> u64 {
        self.plan.exact_rows().unwrap_or_else(|| self.day(day).timelines.get(report).map_or(0, Timeline::len))
    }
}

fn make(plan: &Plan, day: i32) -> Day {
    let moments = calendar::moments(plan.seed, day, plan.facts(day, SHARE, MARKS), plan.is_even(), 7);
    let count = moments.len();
    let sessions: Vec<Session> =
        moments.into_iter().enumerate().map(|(number, started)| session(plan, day, (number, count), started)).collect();
    let changes = calendar::moments(plan.seed, day, plan.facts(day, 30, 1), plan.is_even(), 9);
    let mut dice = Dice::new(plan.seed, &[u64::from(day.cast_unsigned()), 14]);
    let changes: Vec<(Ticks, usize)> =
        changes.into_iter().map(|at| (at, on_duty(&mut dice, calendar::hour(at), |agent| agent.has_desk))).collect();
    let timelines = timelines(plan, &sessions, &changes);
    Day { sessions, changes, timelines }
}

fn session(plan: &Plan, day: i32, (number, count): (usize, usize), started: Ticks) -> Session {
    let even = plan.is_even();
    let mut dice = Dice::new(plan.seed, &[u64::from(day.cast_unsigned()), number as u64, 17]);
    let (guid, texts) = (dice.guid(), pick(dice.roll()));
    let channel = CHANNELS[usize::try_from(dice.below(10).min(3)).unwrap_or_default()];
    let channel = if dice.once_in(2) { CHANNELS[0] } else { channel };
    let customer = visitor(&mut dice, day, CHANNEL);
    let marks = usize::try_from(plan.rows_of(number, count, 2 + dice.below(3) + dice.below(3))).unwrap_or_default();
    let is_ended = !dice.once_in(6);
    let step = 4 + dice.below(40);
    let mut times: Vec<u64> = (0..marks as u64).map(|mark| calendar::same_day(started, mark * step)).collect();
    let reason = word(dice.roll(), &INTENTS[1..]);
    let mut intents: Vec<&'static str> = (0..marks).map(|mark| if mark == 0 { "greet" } else { reason }).collect();
    let wants_agent = even && number % 3 != 2 || !even && (reason == "speak_to_agent" || dice.once_in(3));
    let (bot_ends, at) = (times.last().copied().unwrap_or_default(), calendar::hour(started));
    let desk = wants_agent.then(|| {
        let agent = on_duty(&mut dice, at, |agent| agent.has_desk);
        let connected = calendar::same_day(started, bot_ends + calendar::wait(&mut dice, started, 160, even));
        let replied = calendar::same_day(started, connected + 5 + calendar::spread(&mut dice, 40));
        let is_abandoned = connected - bot_ends > 400 && dice.once_in(2);
        Desk { agent, derived: bot_ends, connected, replied, is_abandoned }
    });
    if desk.is_some() && intents.len() > 1 {
        intents.pop();
        intents.push("speak_to_agent");
    }
    let talk = desk.map_or(bot_ends, |desk| desk.replied + 120 + calendar::spread(&mut dice, 420));
    let ended = calendar::same_day(started, talk);
    // The end of the session is its last mark.
    if let Some(last) = times.last_mut().filter(|_| is_ended && marks > 1) {
        *last = ended;
    }
    let asked = even || desk.is_some() && dice.once_in(2) || dice.once_in(5);
    let survey = asked.then(|| survey(&mut dice, calendar::same_day(started, ended + 10), desk));
    Session {
        day,
        number,
        guid,
        started,
        channel,
        customer,
        intents,
        marks: times,
        is_ended,
        ended,
        desk,
        survey,
        texts,
    }
}

fn survey(dice: &mut Dice, answered: u64, desk: Option<Desk>) -> Survey {
    const STARS: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    // Minutes at the desk weigh as much as hours in the inbox.
    let score = score(dice, Some(desk.map_or(900, |desk| desk.wait() * 6)));
    let (kind, value, score) = match dice.below(3) {
        0 if score >= 6 => ("LIKE", "YES", 1.0),
        0 => ("LIKE", "NO", 0.0),
        1 => {
            let stars = score.clamp(1, 9) - 1;
            ("STARS", word(stars, &STARS), f64::from(u32::try_from(stars).unwrap_or_default()) / 8.0)
        }
        _ if score >= 8 => ("FACES", "😀", 1.0),
        _ if score >= 5 => ("FACES", "😐", 0.5),
        _ => ("FACES", "😡", 0.0),
    };
    Survey { answered, kind, value, score }
}

fn timelines(plan: &Plan, sessions: &[Session], changes: &[(Ticks, usize)]) -> BTreeMap<&'static str, Timeline> {
    let of_sessions = |natural: &dyn Fn(&Session) -> u64, at: &dyn Fn(&Session, u64, u64) -> u64| {
        let mut events = Vec::new();
        for (of, session) in sessions.iter().enumerate() {
            let rows = plan.rows_of(of, sessions.len(), natural(session));
            events.extend((0..rows).map(|rank| {
                let at = session.at(at(session, rank, rows));
                Event { at, of, rank: usize::try_from(rank).unwrap_or_default() }
            }));
        }
        plan.timeline(events)
    };
    // Spread over the session.
    let within = |session: &Session, rank: u64, rows: u64| session.ended * rank / rows.max(1);
    let mark = |session: &Session, rank: u64, _| {
        session.marks.get(usize::try_from(rank).unwrap_or_default()).copied().unwrap_or(session.ended)
    };
    // Of one session, only an exact volume has several; they differ by their time.
    let later = |session: &Session, secs: u64, rank: u64| calendar::same_day(session.started, secs + rank);
    let answered = |session: &Session, rank: u64, _| {
        later(session, session.survey.map_or(session.ended, |survey| survey.answered), rank)
    };
    let number = |session: &Session| session.number as u64;
    let change = |(of, &(at, _)): (usize, &(Ticks, usize))| Event { at, of, rank: 0 };
    BTreeMap::from([
        ("show_dialogs", of_sessions(&|session| session.texts.messages.len() as u64, &within)),
        ("menu_detail", of_sessions(&|session| session.marks.len() as u64 / 2, &within)),
        ("show_error", of_sessions(&|session| u64::from(number(session) % 5 == 0), &within)),
        ("detail_performance", of_sessions(&|session| 1 + number(session) % 4, &within)),
        ("productivity_detail", plan.timeline(changes.iter().enumerate().map(change).collect())),
        ("survey_result", of_sessions(&|session| u64::from(session.survey.is_some()), &answered)),
        (
            "current_interactions",
            of_sessions(&|session| u64::from(session.desk.is_some()), &|session, rank, _| {
                later(session, session.desk.map_or(0, |desk| desk.derived), rank)
            }),
        ),
        ("navigation_marks", of_sessions(&|session| session.marks.len() as u64, &mark)),
    ])
}

/// A campaign of outbound messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    pub id: u64,
    pub name: &'static str,
    pub kind: &'static str,
    pub mode: &'static str,
    pub category: &'static str,
}

#[rustfmt::skip]
pub const CAMPAIGNS: [Campaign; 5] = [
    Campaign { id: 101, name: "Payment reminder", kind: "Single Message", mode: "Scheduled", category: "Billing" },
    Campaign { id: 102, name: "Outage in your area", kind: "Single Message", mode: "Manual", category: "Service" },
    Campaign { id: 103, name: "Spring offers", kind: "Multiple Message", mode: "Scheduled", category: "News" },
    Campaign { id: 104, name: "How did we do?", kind: "Single Message", mode: "AlwaysOn", category: "Service" },
    Campaign { id: 105, name: "Contrato \"Novo\"", kind: "Multiple Message", mode: "Manual", category: "Billing" },
];

/// Numbers of the contacts on blacklists, with the campaign: every third contact is on two.
pub fn blacklist() -> impl Iterator<Item = (u64, &'static Campaign)> {
    let numbers = (0..CONTACTS).step_by(3).zip(0_usize..);
    numbers
        .flat_map(|(contact, third)| [0, 1].map(|second| (contact, &CAMPAIGNS[(third % 3 + second) % CAMPAIGNS.len()])))
}

/// Number of contacts.
pub const CONTACTS: u64 = 40;

/// The customer of a contact: one who also wrote to the company elsewhere.
pub fn contact(number: u64) -> u64 {
    newcomer(LISTED, number)
}

/// The day since which the contacts are known, 1 January 2024.
pub const LISTED: i32 = 19_723;
