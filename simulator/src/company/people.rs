//! The company's agents and customers, with the ids that each vendor knows them by.

use super::super::conversations::word;
use super::super::truth::Dice;
use super::lynn;

/// An agent. Every vendor has an own id for the same person; the address is the same everywhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Agent {
    pub first: &'static str,
    pub last: &'static str,
    pub email: &'static str,
    pub team: &'static str,
    /// The local hours in which the agent works; the end may be after midnight.
    pub(super) shift: (u32, u32),
    /// Khoros knows everybody.
    pub khoros_id: &'static str,
    /// Lexer knows those who write mails.
    pub lexer_id: Option<i64>,
    /// JAICP knows those who take over chats of the bot. Lynn's desk knows agents by their address.
    pub jaicp_id: Option<&'static str>,
    /// Whether the agent works at Lynn's desk.
    pub has_desk: bool,
}

impl Agent {
    /// First and last name.
    pub fn name(&self) -> String {
        format!("{} {}", self.first, self.last)
    }

    /// The hours of the shift on one day: the night's last until midnight.
    pub(super) fn hours_today(&self) -> (u32, u32) {
        (self.shift.0, self.shift.1.min(24))
    }

    fn works_at(&self, hour: u32) -> bool {
        let (from, until) = self.shift;
        (from <= hour && hour < until) || hour + 24 < until
    }
}

pub const TEAMS: [&str; 3] = ["Soporte", "Billing \"EU\"", "Night shift"];

const EARLY: (u32, u32) = (7, 15);
const DAY: (u32, u32) = (9, 18);
const LATE: (u32, u32) = (14, 24);
const NIGHT: (u32, u32) = (22, 32);

#[rustfmt::skip]
const fn agent(
    (first, last, email): (&'static str, &'static str, &'static str), team: usize, shift: (u32, u32),
    khoros_id: &'static str, lexer_id: Option<i64>, jaicp_id: Option<&'static str>, has_desk: bool,
) -> Agent {
    Agent { first, last, email, team: TEAMS[team], shift, khoros_id, lexer_id, jaicp_id, has_desk }
}

/// By number. Those of the night are the last ones.
#[rustfmt::skip]
pub const AGENTS: [Agent; 12] = [
    agent(("Ana", "Reis", "ana.reis@example.com"), 0, DAY, "14", Some(41), Some("a-4"), true),
    agent(("Patrick", "O'Brien", "patrick@example.com"), 0, LATE, "15", Some(42), Some("a-5"), true),
    agent(("小龍", "李", "xl@example.com"), 1, EARLY, "16", Some(57), None, true),
    agent(("Zoë \"Z\"", "Müller, Dr.", "zoe@example.com"), 2, NIGHT, "17", Some(58), Some("a-6"), true),
    agent(("Robin", "Silva", "robin.silva@example.com"), 0, DAY, "18", None, Some("a-7"), true),
    agent(("María", "Núñez", "maria.nunez@example.com"), 0, DAY, "19", None, Some("a-8"), true),
    agent(("James", "Bond", "agent.007@example.com"), 1, LATE, "20", None, None, true),
    agent(("Luís", "da Costa", "luis@example.com"), 1, DAY, "21", None, None, false),
    agent(("Aoife", "Ní Bhriain", "aoife@example.com"), 0, EARLY, "22", None, Some("a-9"), false),
    agent(("Jürgen", "Groß", "juergen@example.com"), 1, LATE, "23", None, None, false),
    agent(("Sofia", "Lima", "sofia.lima@example.com"), 2, NIGHT, "24", None, None, true),
    agent(("Noor", "van Dijk", "noor@example.com"), 2, NIGHT, "25", None, Some("a-10"), false),
];

/// One of the agents that `may` work there, if possible one who is on duty at that local hour.
pub(super) fn on_duty(dice: &mut Dice, hour: u32, may: impl Fn(&Agent) -> bool) -> usize {
    let able = || AGENTS.iter().enumerate().filter(|(_, agent)| may(agent)).map(|(number, _)| number);
    let mut present: Vec<usize> = able().filter(|&number| AGENTS[number].works_at(hour)).collect();
    if present.is_empty() {
        present = able().collect();
    }
    let chosen = dice.below(present.len() as u64);
    present.get(usize::try_from(chosen).unwrap_or_default()).copied().unwrap_or_default()
}

const FIRST_NAMES: [&str; 24] = [
    "Inês",
    "João",
    "Marta",
    "Tiago",
    "Beatriz",
    "Rui",
    "Carla",
    "Pedro",
    "Emma",
    "Oliver",
    "Chloé",
    "Hugo",
    "Léa",
    "Jonas",
    "Mia",
    "Lukas",
    "Giulia",
    "Marco",
    "Katarzyna",
    "Piotr",
    "Yuki",
    "Chen",
    "Amina",
    "Björn",
];
const LAST_NAMES: [&str; 24] = [
    "Ferreira",
    "Sousa",
    "Carvalho",
    "Gomes",
    "Pinto",
    "Teixeira",
    "Smith",
    "O'Neill",
    "Murphy",
    "Dubois",
    "Lefèvre",
    "Schmidt",
    "Weiß",
    "Rossi",
    "Bianchi",
    "Nowak",
    "Kowalska",
    "Tanaka",
    "Wang",
    "Diallo",
    "Sørensen",
    "Lindqvist",
    "García",
    "Peña",
];

/// A customer. The number is the person; everything else follows from it, in every system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    pub number: u64,
    pub first: &'static str,
    pub last: &'static str,
    /// The name in social networks, unique.
    pub handle: String,
    pub email: String,
    pub phone: String,
    /// Khoros's id of the author, and Lynn's of the contact.
    pub uuid: String,
    pub followers: u64,
}

impl Customer {
    pub fn of(seed: u64, number: u64) -> Self {
        let mut dice = Dice::new(seed, &[number, 31]);
        let (first, last) = (word(dice.roll(), &FIRST_NAMES), word(dice.roll(), &LAST_NAMES));
        let plain = |name: &str| name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
        let handle = format!("{}_{}{number}", plain(first), plain(last));
        Self {
            number,
            first,
            last,
            email: format!("{handle}@mail.example"),
            phone: format!("+3519{:08}", dice.below(100_000_000)),
            uuid: dice.guid(),
            followers: dice.below(10_000),
            handle,
        }
    }

    /// First and last name.
    pub fn name(&self) -> String {
        format!("{} {}", self.first, self.last)
    }

    /// JAICP's id of the client.
    pub fn jaicp_id(&self) -> String {
        (10_000 + self.number).to_string()
    }
}

/// Numbers of customers per day on which they first appear.
const NEW_PER_DAY: u64 = 20_000;
/// The newcomers of a day who also turn to other channels.
const SOCIABLE: u64 = 60;
/// The customers who only one channel knows, of each.
const LOYAL: u64 = 1_500;

/// The customer who appears first on that day, by number.
pub(super) fn newcomer(day: i32, number: u64) -> u64 {
    i64::from(day).rem_euclid(1 << 20).unsigned_abs() * NEW_PER_DAY + number % NEW_PER_DAY
}

/// Somebody who contacts the company on that day: now and then a contact of the campaigns or a recent newcomer, else
/// one whom only this channel knows.
pub(super) fn visitor(dice: &mut Dice, day: i32, channel: u64) -> u64 {
    if dice.once_in(12) {
        return lynn::contact(dice.below(lynn::CONTACTS));
    }
    if dice.once_in(3) {
        let before = i32::try_from(dice.below(5)).unwrap_or_default();
        return newcomer(day.saturating_sub(before), dice.below(SOCIABLE));
    }
    channel * 10_000 + dice.below(LOYAL)
}
