//! The content of JAICP's lists: the company's dialogs with the bot by turns, clients, labels, experiments.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::company::Company;
use super::super::company::jaicp::{Day, Dialog};
use super::super::company::people::{AGENTS, Customer};
use super::super::company::plan::Spot;
use super::super::conversations::Conversation;
use super::super::truth::{Dice, Record, Row, Source, Ticks, moment_text};

pub(super) const MESSAGES: usize = 0;
pub(super) const CLIENTS: usize = 1;
/// Sections by number.
const SECTIONS: [&str; 2] = ["messages", "clients"];

pub(super) fn names() -> Vec<Vec<String>> {
    SECTIONS.iter().map(|&name| vec![name.to_owned()]).collect()
}

/// JAICP's sections as functions of section, day and position.
pub(super) struct Rows {
    pub company: Arc<Company>,
    pub project: String,
}

/// `yyyy-MM-ddTHH:mm:ss.SSSZ`, the vendor's time format.
pub(super) fn millis_text(at: Ticks) -> String {
    let mut text = moment_text(at);
    text.replace_range(text.len() - 5.., "Z");
    text
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.company.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.company.chat.rows_on(SECTIONS[report], day)
    }

    fn moment(&self, report: usize, day: i32, position: u64) -> Option<Ticks> {
        self.company.chat.day(day).timelines.get(SECTIONS[report])?.at(position)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let day = self.company.chat.day(row.day);
        let section = SECTIONS[row.report];
        let Some(spot) = day.timelines.get(section).and_then(|timeline| timeline.spot(row.position)) else { return };
        if row.report == CLIENTS {
            self.write_client(row, spot, &day, record);
        } else {
            self.write_turn(row, spot, &day.dialogs[spot.event.of], record);
        }
    }
}

impl Rows {
    fn bot(&self) -> String {
        format!("{}-2000", self.project)
    }

    /// Copies are other persons.
    fn client_id(number: u64, copy: u64) -> u64 {
        10_000 + number + copy * 100_000_000_000
    }

    /// The id contains the day on which the session began, and its number.
    fn session_id(&self, dialog: &Dialog, copy: u64) -> String {
        let Dialog { channel, day, customer, .. } = dialog;
        let (client, number) = (Self::client_id(*customer, copy), dialog.number as u64 + copy * 100_000);
        format!("{channel}-{}-{client}.{}-{day}-{number}", self.bot(), dialog.texts.session)
    }

    /// A turn as in `messages/filter`, with the status that only the list by session returns (`§5`).
    fn write_turn(&self, row: Row, spot: Spot, dialog: &Dialog, record: &mut Record) {
        let turn = dialog.turns[spot.event.rank];
        let mut dice = Dice::new(self.company.seed, &[u64::from(row.day.cast_unsigned()), row.position, 43]);
        let (question, answer) = exchange(dialog.texts, spot.event.rank as u64);
        let (customer, client) =
            (Customer::of(self.company.seed, dialog.customer), Self::client_id(dialog.customer, spot.copy));
        let person = json!({ "id": client.to_string(), "firstName": customer.first, "lastName": customer.last,
            "username": customer.handle });
        let state = if turn.is_fallback { "/NoMatch" } else { "/Care" };
        let confidence = f64::from(u32::try_from(turn.confidence_percent).unwrap_or_default()) / 100.0;
        record
            .text("timestamp", &millis_text(row.at))
            .text("questionId", &format!("q-{}", dice.guid()))
            .text("sessionId", &self.session_id(dialog, spot.copy))
            .raw("isLivechat", turn.is_livechat)
            .text("question", question)
            .text("textAnswer", answer)
            .text("projectShortName", &self.project)
            .text("channelType", dialog.channel)
            .text("botId", &self.bot())
            .raw("client", person)
            .text("sessionStartTime", &millis_text(dialog.started.min(row.at)))
            .raw(
                "nlpInfo",
                json!({ "nlpState": state, "nlpClass": format!("/Care/{}", turn.intent), "confidence": confidence }),
            )
            .raw("requestData", json!({ "turn": spot.event.rank, "nested": { "deep": [1, 2] } }))
            .raw("processingTime", 40 + dice.below(900))
            .raw("labels", message_labels_of(&mut dice))
            .raw("cleaned", false);
        if let Some(agent) = dialog.agent.map(|agent| &AGENTS[agent]).filter(|_| turn.is_livechat) {
            let operator = json!({ "id": agent.jaicp_id, "firstName": agent.first, "lastName": agent.last,
                "channelType": dialog.channel });
            record.raw("operatorInfo", operator);
        }
        match dialog.channel {
            "viber" | "vk" => _ = record.text("status", "READ"),
            "telegram" | "TELEGRAM" => _ = record.text("status", "SENT"),
            "resterisk" => {
                // Larger than a double holds exactly.
                record.raw("callTaskId", 9_007_199_254_740_993_u64 + client);
                record.raw("isCallIncoming", dialog.is_incoming);
            }
            _ => {}
        }
    }

    /// `§6`; the row's time is the last activity.
    fn write_client(&self, row: Row, spot: Spot, day: &Day, record: &mut Record) {
        let (dialog, number) = (&day.dialogs[spot.event.of], day.visitor(spot.event.of, spot.event.rank));
        let customer = Customer::of(self.company.seed, number);
        let mut dice = Dice::new(self.company.seed, &[number, 47]);
        let session = match spot.event.rank {
            0 => self.session_id(dialog, spot.copy),
            rank => format!("{}-s-{}-{}-{rank}", dialog.channel, row.day, dialog.number),
        };
        record
            .text("id", &Self::client_id(number, spot.copy).to_string())
            .text("firstName", customer.first)
            .text("lastName", customer.last)
            .text("username", &customer.handle)
            .raw("accountId", 1000)
            .text("projectShortName", &self.project)
            .text("channelType", dialog.channel)
            .text("lastSessionId", &session)
            .text("joinDate", &millis_text(dialog.started.min(row.at)))
            .text("lastVisitDate", &millis_text(row.at))
            .raw("isBlocked", dice.once_in(20));
        // May be absent.
        if !dice.once_in(4) {
            record.text("botId", &self.bot());
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
