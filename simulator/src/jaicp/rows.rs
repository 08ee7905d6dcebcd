//! The content of JAICP's lists, made from real conversations: turns of sessions, clients, labels, experiments.
//!
//! Four turns in a row form one session. In every seventh session the last turn comes a day later, because a JAICP
//! session never ends by itself (`facts/jaicp.md §4`).

use serde_json::{Value, json};

use super::super::conversations::{Conversation, pick, word};
use super::super::truth::{Dice, Record, Row, Source, Ticks, Volume, moment_text};

pub(super) const MESSAGES: usize = 0;
pub(super) const CLIENTS: usize = 1;
/// Sections by number, with the share of rows of each.
const SECTIONS: &[(&str, u64)] = &[("messages", 300), ("clients", 60)];
/// Turns per session.
const TURNS: u64 = 4;
const TICKS_PER_MILLI: i64 = 10_000;
const MILLIS_PER_DAY: u64 = 86_400_000;

pub(super) fn names() -> Vec<Vec<String>> {
    SECTIONS.iter().map(|&(name, _)| vec![name.to_owned()]).collect()
}

/// JAICP's sections as functions of seed, section, day and position.
pub(super) struct Rows {
    pub seed: u64,
    pub volume: Volume,
    pub project: String,
}

/// `yyyy-MM-ddTHH:mm:ss.SSSZ`, the vendor's time format.
pub(super) fn millis_text(at: Ticks) -> String {
    let mut text = moment_text(at);
    text.replace_range(text.len() - 5.., "Z");
    text
}

/// One session, as its turns describe it.
struct Session {
    id: String,
    channel: &'static str,
    bot: String,
    client: u64,
    started: Ticks,
    conversation: &'static Conversation,
    is_livechat: bool,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.volume.rows_on(self.seed, report, day, SECTIONS[report].1)
    }

    fn write(&self, row: Row, record: &mut Record) {
        if row.report == CLIENTS { self.write_client(row, record) } else { self.write_turn(row, record) }
    }
}

impl Rows {
    /// The `number`th session that started on a day.
    fn session(&self, day: i32, number: u64) -> Session {
        let mut dice = Dice::new(self.seed, &[u64::from(day.cast_unsigned()), number, 41]);
        let conversation = pick(dice.roll());
        let channel = word(dice.roll(), &["telegram", "chatwidget", "viber", "vk", "resterisk", "TELEGRAM"]);
        let (bot, client) = (format!("{}-2000", self.project), 10_000 + dice.below(90_000));
        let width = (MILLIS_PER_DAY / self.rows_on(MESSAGES, day).max(1)).max(2);
        // Inserted rows may have any number; their sessions start within the day too.
        let turn = number % (MILLIS_PER_DAY / (TURNS * width)).max(1) * TURNS;
        let started = i64::from(day).cast_unsigned().wrapping_mul(MILLIS_PER_DAY).wrapping_add(turn * width);
        Session {
            id: format!("{channel}-{bot}-{client}.{}-{day}-{number}", conversation.session),
            channel,
            bot,
            client,
            started: started.cast_signed() * TICKS_PER_MILLI,
            conversation,
            is_livechat: dice.once_in(5),
        }
    }

    /// A turn as in `messages/filter`, with the status that only the list by session returns (`§5`).
    fn write_turn(&self, row: Row, record: &mut Record) {
        let (number, turn) = (row.position / TURNS, row.position % TURNS);
        let day = if number % 7 == 3 && turn == TURNS - 1 { row.day - 1 } else { row.day };
        let session = self.session(day, number);
        let mut dice = Dice::new(self.seed, &[u64::from(row.day.cast_unsigned()), row.position, 43]);
        let (question, answer) = exchange(session.conversation, turn);
        record
            .text("timestamp", &millis_text(row.at))
            .text("questionId", &format!("q-{}", dice.guid()))
            .text("sessionId", &session.id)
            .raw("isLivechat", session.is_livechat)
            .text("question", question)
            .text("textAnswer", answer)
            .text("projectShortName", &self.project)
            .text("channelType", session.channel)
            .text("botId", &session.bot)
            .raw("client", json!({ "id": session.client.to_string(), "firstName": session.conversation.company }))
            .text("sessionStartTime", &millis_text(session.started))
            .raw("nlpInfo", json!({ "nlpState": "/Care", "nlpClass": format!("/Care/{turn}"), "confidence": 0.91 }))
            .raw("requestData", json!({ "turn": turn, "nested": { "deep": [1, 2] } }))
            .raw("processingTime", 40 + dice.below(900))
            .raw("labels", message_labels_of(&mut dice))
            .raw("cleaned", false);
        if session.is_livechat {
            let agent = json!({ "id": "a-7", "firstName": "Robin", "channelType": session.channel });
            record.raw("operatorInfo", agent);
        }
        match session.channel {
            "viber" | "vk" => _ = record.text("status", "READ"),
            "telegram" | "TELEGRAM" => _ = record.text("status", "SENT"),
            "resterisk" => {
                // Larger than a double holds exactly.
                record.raw("callTaskId", 9_007_199_254_740_993_u64 + session.client);
                record.raw("isCallIncoming", session.client.is_multiple_of(2));
            }
            _ => {}
        }
    }

    /// `§6`; the row's time is the last activity.
    fn write_client(&self, row: Row, record: &mut Record) {
        let mut dice = Dice::new(self.seed, &[u64::from(row.day.cast_unsigned()), row.position, 47]);
        let conversation = pick(dice.roll());
        let channel = word(dice.roll(), &["telegram", "chatwidget", "viber"]);
        record
            .text("id", &format!("c-{}-{}", row.day, row.position))
            .text("firstName", &conversation.company)
            .raw("accountId", 1000)
            .text("projectShortName", &self.project)
            .text("channelType", channel)
            .text("lastSessionId", &format!("{channel}-s-{}-{}", row.day, row.position))
            .text("joinDate", &millis_text(row.at - 3_600 * 1_000 * TICKS_PER_MILLI))
            .text("lastVisitDate", &millis_text(row.at))
            .raw("isBlocked", dice.once_in(20));
        // May be absent.
        if !dice.once_in(4) {
            record.text("botId", &format!("{}-2000", self.project));
        }
    }
}

/// What was said in a turn.
fn exchange(conversation: &Conversation, turn: u64) -> (&str, &str) {
    let said = |by: &'static str| conversation.messages.iter().filter(move |message| message.from == by);
    let turn = usize::try_from(turn).unwrap_or_default();
    let questions = said("client").count().max(1);
    let question = said("client").nth(turn % questions).map_or("", |message| &*message.text);
    let answer = said("agent").nth(turn).map_or(&*conversation.resolution.text, |message| &*message.text);
    (question, answer)
}

fn message_labels_of(dice: &mut Dice) -> Value {
    let count = dice.below(5).saturating_sub(2);
    let first = dice.below(6);
    (0..count).map(|next| message_labels()[usize::try_from((first + next) % 6).unwrap_or_default()].clone()).collect()
}

/// Ids larger than a double holds exactly, and a duplicate name.
pub(super) fn message_labels() -> Vec<Value> {
    let label = |number: u64| {
        let group = json!({ "id": 71 + number % 2, "name": format!("group {}", number % 2), "priority": number % 2 });
        json!({ "id": 9_007_199_254_740_993_u64 + number, "name": format!("label {}", number % 5), "priority": number,
            "group": group })
    };
    (0..6).map(label).collect()
}

pub(super) fn message_label_groups() -> Vec<Value> {
    (0..2).map(|number| json!({ "id": 71 + number, "name": format!("group {number}"), "priority": number })).collect()
}

pub(super) fn session_labels() -> Vec<Value> {
    ["Solved", "Complaint", "Question", "Spam"]
        .iter()
        .zip(7..)
        .map(|(name, id)| json!({ "id": id, "name": name, "priority": id - 7 }))
        .collect()
}

/// The labels of a session.
pub(super) fn session_labels_of(seed: u64, session: &str) -> Value {
    let salt = session.bytes().fold(17_u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut dice = Dice::new(seed, &[salt]);
    let chance = |label: &Value| (label.clone(), dice.once_in(4));
    session_labels().iter().map(chance).filter(|(_, has)| *has).map(|(label, _)| label).collect()
}

/// `§9`
pub(super) fn experiments() -> Vec<Value> {
    let branches = json!([{ "key": "control" }, { "key": "short", "description": "fewer words" }]);
    vec![
        json!({ "key": "greeting", "description": "Which greeting works", "branches": branches, "status": "RUNNING" }),
        json!({ "key": "farewell", "branches": [{ "key": "control" }], "status": "STOPPED" }),
    ]
}

pub(super) fn experiment_counts() -> Vec<Value> {
    vec![json!({ "key": "greeting", "count": 4211 }), json!({ "key": "farewell", "count": 17 })]
}

/// `§3`
pub(super) fn filters() -> Vec<Value> {
    let filter = |(key, kind, label): (&str, &str, &str)| json!({ "key": key, "type": kind, "label": label, "isDefault": key == "SESSION_START_TIME", "isRequired": false });
    let filters = [
        ("SESSION_START_TIME", "DATE_TIME_RANGE", "Session start"),
        ("MESSAGE_TIME", "DATE_TIME_RANGE", "Message time"),
        ("WITHOUT_EMPTY_SESSIONS", "RADIO", "Hide empty sessions"),
        ("CHANNEL_TYPE", "CHECKBOX", "Channel"),
    ];
    filters.map(filter).to_vec()
}
