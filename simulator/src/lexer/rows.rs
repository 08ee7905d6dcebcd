//! The content of Lexer's lists and files, made from real conversations. The reports' figures are counted from the
//! files' rows, so that they agree with each other and with every edit.

use serde_json::{Value, json};

use super::super::conversations::{Conversation, Message, choose, pick, word};
use super::super::truth::{Dice, Record, Row, Source, TICKS_PER_SECOND, Ticks, Volume, seconds_text};

/// The files by number: their types, and their rows per thousand rows of the vendor's largest report.
const FILES: &[(&str, u64)] = &[("mention_sla_export", 500), ("case_details", 80), ("nps_submissions", 120)];
pub(super) const MENTIONS: usize = 0;
pub(super) const CASES: usize = 1;
pub(super) const SUBMISSIONS: usize = 2;

/// Maximum seconds from opening a case to closing it.
pub(super) const CASE_SECS_MAX: i64 = 3 * 86_400;
/// Separator of classifications in one cell; it is not documented.
pub(super) const SEPARATOR: &str = "; ";

pub(super) const CLASSIFICATIONS: &[(i64, &str)] =
    &[(7001, "billing"), (7002, "outage"), (7003, "praise, thanks"), (7004, "retour / Rückgabe")];
/// Most volume is in `closed` (`facts/lexer.md §5.2`).
const STATES: &[&str] = &[
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

/// An agent: id, first and last name, e-mail address.
pub(super) const AGENTS: &[(i64, &str, &str, &str)] = &[
    (41, "Ana", "Reis", "ana.reis@example.com"),
    (42, "Patrick", "O'Brien", "patrick@example.com"),
    (57, "小龍", "李", "xl@example.com"),
    (58, "Zoë \"Z\"", "Müller, Dr.", "zoe@example.com"),
];

/// A form: id, name, whether it is archived, whether it is an NPS survey.
pub(super) const FORMS: &[(i64, &str, bool, bool)] = &[
    (501, "CSAT after chat", false, false),
    (502, "NPS Survey", false, true),
    (503, "NPS Survey 2023", true, true),
    (504, "Call me back", true, false),
];

pub(super) fn names() -> Vec<Vec<String>> {
    FILES.iter().map(|(name, _)| vec![(*name).to_owned()]).collect()
}

/// The columns of a file, in order: for `mention_sla_export` those of the draft (`facts/lexer.md §6.2`), for the
/// others likely ones.
pub(super) fn columns(file: usize) -> &'static [&'static str] {
    match file {
        MENTIONS => &[
            "Account Name",
            "Source Type",
            "Agent First Name",
            "Agent Last Name",
            "Last Action Date (UTC)",
            "Customer Wait Time (min)",
            "In Queue (min)",
            "Agent Response Time (min)",
            "Within Customer SLA",
            "Within Agent SLA",
            "State",
            "Customer Publish Date (UTC)",
            "Customer Username",
            "Customer Fullname",
            "Customer Message",
            "Agent Reponse Date (UTC)",
            "Agent Response",
            "Classifications",
            "Agent Notes",
            "Customer Note",
        ],
        CASES => &[
            "Case ID",
            "Opened (UTC)",
            "Closed (UTC)",
            "First Reply Time (sec)",
            "Resolution Time (sec)",
            "Agents",
            "Interactions",
            "Classifications",
            "Customer Username",
        ],
        _ => &["Form ID", "Form", "Submitted At (UTC)", "Score", "Comment", "Agent", "Customer Username"],
    }
}

/// Lexer's files as functions of seed, file, day and position.
pub(super) struct Rows {
    pub seed: u64,
    pub volume: Volume,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.volume.rows_on(self.seed, report, day, FILES[report].1)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let day = u64::from(row.day.cast_unsigned());
        let mut dice = Dice::new(self.seed, &[row.report as u64, day, row.position, 37]);
        let conversation = pick(dice.roll());
        let message = choose(dice.roll(), &conversation.messages);
        let mut scene = Scene { row, conversation, message, dice };
        match row.report {
            MENTIONS => mention(&mut scene, record),
            CASES => case(&mut scene, record),
            _ => submission(&mut scene, record),
        }
    }
}

struct Scene {
    row: Row,
    conversation: &'static Conversation,
    message: &'static Message,
    dice: Dice,
}

/// `yyyy-MM-dd HH:mm:ss`, this many seconds later.
fn moment(at: Ticks, later: u64) -> String {
    let later = i64::try_from(later).unwrap_or_default();
    seconds_text(at + later * TICKS_PER_SECOND).replace('T', " ").replace('Z', "")
}

/// Tenths of a minute as minutes.
fn minutes(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn classifications(dice: &mut Dice) -> String {
    let first = choose(dice.roll(), CLASSIFICATIONS).1;
    let second = choose(dice.roll(), CLASSIFICATIONS).1;
    match dice.below(4) {
        0 => String::new(),
        1 if first != second => format!("{first}{SEPARATOR}{second}"),
        _ => first.to_owned(),
    }
}

fn mention(scene: &mut Scene, record: &mut Record) {
    let at = scene.row.at;
    let (_, first, last, _) = *choose(scene.dice.roll(), AGENTS);
    let state = word(scene.dice.roll(), STATES);
    let (queue, action) = (scene.dice.below(1200), 1 + scene.dice.below(600));
    let wait = queue + action;
    let responded = matches!(state, "closed" | "responded");
    let answered = |text: String| if responded { text } else { String::new() };
    record
        .text("Account Name", &scene.conversation.company)
        .text("Source Type", word(scene.dice.roll(), &["twitter", "facebook", "email"]))
        .text("Agent First Name", first)
        .text("Agent Last Name", last)
        .text("Last Action Date (UTC)", &moment(at, wait * 6 + scene.dice.below(3600)))
        .text("Customer Wait Time (min)", &answered(minutes(wait)))
        .text("In Queue (min)", &minutes(queue))
        .text("Agent Response Time (min)", &answered(minutes(action)))
        .text("Within Customer SLA", if wait <= 1200 { "true" } else { "false" })
        .text("Within Agent SLA", if action <= 300 { "true" } else { "false" })
        .text("State", state)
        .text("Customer Publish Date (UTC)", &moment(at, 0))
        .text("Customer Username", &scene.message.author)
        .text("Customer Fullname", "")
        .text("Customer Message", &scene.message.text)
        .text("Agent Reponse Date (UTC)", &answered(moment(at, wait * 6)))
        .text("Agent Response", &answered(format!("=HYPERLINK(\"x\"), \n{}", scene.conversation.resolution.text)))
        .text("Classifications", &classifications(&mut scene.dice))
        .text("Agent Notes", if scene.dice.once_in(5) { "called back" } else { "" })
        .text("Customer Note", "");
}

fn case(scene: &mut Scene, record: &mut Record) {
    let at = scene.row.at;
    let resolution = 600 + scene.dice.below(CASE_SECS_MAX.unsigned_abs() - 600);
    let number = u64::from(scene.row.day.cast_unsigned()) * 100_000 + scene.row.position;
    record
        .text("Case ID", &format!("C-{number}"))
        .text("Opened (UTC)", &moment(at, 0))
        .text("Closed (UTC)", &moment(at, resolution))
        .text("First Reply Time (sec)", &scene.dice.below(600).to_string())
        .text("Resolution Time (sec)", &resolution.to_string())
        .text("Agents", &(1 + scene.dice.below(3)).to_string())
        .text("Interactions", &(1 + scene.dice.below(9)).to_string())
        .text("Classifications", &classifications(&mut scene.dice))
        .text("Customer Username", &scene.message.author);
}

fn submission(scene: &mut Scene, record: &mut Record) {
    let surveys: Vec<_> = FORMS.iter().filter(|form| form.3).collect();
    let (id, name, ..) = **choose(scene.dice.roll(), &surveys);
    let comment = if scene.dice.once_in(3) { "" } else { scene.message.text.as_str() };
    record
        .text("Form ID", &id.to_string())
        .text("Form", name)
        .text("Submitted At (UTC)", &moment(scene.row.at, 0))
        .text("Score", &scene.dice.below(11).to_string())
        .text("Comment", comment)
        .text("Agent", choose(scene.dice.roll(), AGENTS).1)
        .text("Customer Username", &scene.message.author);
}

/// `facts/lexer.md §2`
pub(super) fn list(name: &str) -> Vec<Value> {
    match name {
        "users" => AGENTS
            .iter()
            .enumerate()
            .map(|(number, (id, first, last, email))| {
                json!({
                    "id": id, "email": email, "first_name": first, "last_name": last, "timezone": "Europe/Lisbon",
                    "gmtoffset": if number == 2 { 9.5 } else { 1.0 }, "sign_in_count": 17 * number,
                    "last_sign_in_at": (number > 0).then_some("2024-02-29T23:59:58Z"), "archived": number == 3,
                    "groups": &[301, 302, 377][..number.min(3)],
                })
            })
            .collect(),
        "groups" => {
            let groups = [(301, "Soporte, LatAm", ""), (302, "Billing", "refunds \"only\""), (377, "夜勤", "nights")];
            groups.map(|(id, name, comment)| json!({ "id": id, "name": name, "comment": comment })).to_vec()
        }
        _ => FORMS
            .iter()
            .map(|(id, name, archived, nps)| {
                json!({
                    "id": id, "name": name, "title": format!("{name}!"), "archived": archived,
                    "created_at": "2022-11-01T00:00:00Z", "groups": [301], "nps": nps,
                    "form_url": format!("https://forms.example.com/f/{id}?a=1"),
                })
            })
            .collect(),
    }
}
