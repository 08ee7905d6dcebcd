//! What JAICP's sections hold, made of real conversations.

use serde_json::{Value, json};

use super::super::conversations::{pick, word};
use super::super::truth::{Dice, Record, Row, Source, Volume, moment_text};

/// The sections by number.
const REPORTS: &[&str] = &["sessions"];

pub(super) fn names() -> Vec<Vec<String>> {
    REPORTS.iter().map(|&name| vec![name.to_owned()]).collect()
}

/// JAICP's sections as functions of seed, section, day and position.
pub(super) struct Rows {
    pub seed: u64,
    pub volume: Volume,
    pub project: String,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.volume.rows_on(self.seed, report, day, 250)
    }

    /// `vendors/jaicp.md §4`, the required fields.
    fn write(&self, row: Row, record: &mut Record) {
        let day = u64::from(row.day.cast_unsigned());
        let mut dice = Dice::new(self.seed, &[row.report as u64, day, row.position, 41]);
        let conversation = pick(dice.roll());
        let channel = word(dice.roll(), &["telegram", "chatwidget", "resterisk"]);
        let (bot, client) = (format!("{}-2000", self.project), dice.below(100_000));
        // Milliseconds are what the vendor prints.
        let mut started = moment_text(row.at);
        started.replace_range(started.len() - 5.., "Z");
        let id = format!("{channel}-{bot}-{client}.{}-{day}-{}", conversation.session, row.position);
        record
            .text("sessionId", &id)
            .text("projectShortName", &self.project)
            .text("channelType", channel)
            .text("botId", &bot)
            .raw("client", json!({ "id": client.to_string(), "firstName": conversation.company }))
            .text("startTime", &started)
            .raw("isLivechat", dice.once_in(5));
    }
}

/// `vendors/jaicp.md §3`
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
