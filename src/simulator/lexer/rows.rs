//! What Lexer's lists and files hold, made of real conversations.

use serde_json::{Value, json};

use super::super::conversations::{choose, pick, word};
use super::super::truth::{Dice, Record, Row, Source, Volume, seconds_text};

/// The reports by number: their types.
const REPORTS: &[&str] = &["mention_sla_export"];

pub(super) fn names() -> Vec<Vec<String>> {
    REPORTS.iter().map(|&name| vec![name.to_owned()]).collect()
}

/// Lexer's reports as functions of seed, report, day and position.
pub(super) struct Rows {
    pub seed: u64,
    pub volume: Volume,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.volume.rows_on(self.seed, report, day, 500)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let day = u64::from(row.day.cast_unsigned());
        let mut dice = Dice::new(self.seed, &[row.report as u64, day, row.position, 37]);
        let conversation = pick(dice.roll());
        let message = choose(dice.roll(), &conversation.messages);
        record
            .text("Account Name", &conversation.company)
            .text("Source Type", word(dice.roll(), &["twitter", "facebook", "email"]))
            .text("Customer Publish Date (UTC)", &seconds_text(row.at))
            .text("Customer Username", &message.author)
            .text("Customer Message", &message.text);
    }
}

/// `vendors/lexer.md §2`
pub(super) fn groups() -> Vec<Value> {
    let groups = [(301, "Soporte, LatAm", ""), (302, "Billing", "refunds \"only\""), (377, "夜勤", "nights")];
    groups.map(|(id, name, comment)| json!({ "id": id, "name": name, "comment": comment })).to_vec()
}
