//! What Khoros's exports hold, made of real conversations. Every field is a string (`vendors/khoros_care.md §7`).

use serde_json::{Value, json};

use super::super::conversations::{choose, pick, word};
use super::super::truth::{Dice, Record, Row, Source, Volume, seconds_text};

/// The exports by number: their ids.
const EXPORTS: &[&str] = &["conversation"];

pub(super) fn names() -> Vec<Vec<String>> {
    EXPORTS.iter().map(|&name| vec![name.to_owned()]).collect()
}

/// Khoros's exports as functions of seed, export, day and position.
pub(super) struct Rows {
    pub seed: u64,
    pub volume: Volume,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.volume.rows_on(self.seed, report, day, 300)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let day = u64::from(row.day.cast_unsigned());
        let mut dice = Dice::new(self.seed, &[row.report as u64, day, row.position, 29]);
        let conversation = pick(dice.roll());
        let message = choose(dice.roll(), &conversation.messages);
        record
            .text("CONVERSATION_ID", &(day * 1_000_000 + row.position).to_string())
            .text("STATUS", word(dice.roll(), &["Closed", "Closed", "Open", "Pending"]))
            .text("ASSIGNED_AGENT_DISPLAY_ID", word(dice.roll(), &["14", "27", "31", ""]))
            .text("COMPANY", &conversation.company)
            .text("CREATED_TIME", &seconds_text(row.at))
            .text("MESSAGE_TIME", &seconds_text(row.at + conversation.since_start(message)))
            .text("MESSAGE_TEXT", &message.text);
    }
}

/// `vendors/khoros_care.md §6`
pub(super) fn teams(seed: u64) -> Vec<Value> {
    let mut dice = Dice::new(seed, &[31]);
    let mut team = |(id, name): (u32, &str)| {
        let description = (!dice.once_in(3)).then(|| format!("{name}, all shifts"));
        json!({ "uuid": dice.guid(), "teamId": id, "name": name, "description": description,
            "numberOfMembers": dice.below(40) })
    };
    [(11, "Soporte"), (12, "Billing \"EU\""), (19, "Night shift")].map(&mut team).to_vec()
}
