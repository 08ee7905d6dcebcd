//! Campaigns, contacts and the blacklist, made from real conversations: everyone who wrote to a company is its contact.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::super::conversations::{choose, pick, word};
use super::super::super::truth::{Dice, Record, Row, Source, Span, seconds_text, ticks};

/// By number.
const LISTS: &[&str] = &["campaigns", "contacts", "dnd_contacts"];
const CAMPAIGNS: u64 = 5;
const CONTACTS: u64 = 40;
/// Every third contact is on two blacklists.
const DND: u64 = CONTACTS.div_ceil(3) * 2;
/// The date of all listed rows, 1 January 2024; inserted rows may be later that year.
const DAY: i32 = 19_723;

pub(super) fn names() -> Vec<Vec<String>> {
    LISTS.iter().map(|&name| vec![name.to_owned()]).collect()
}

/// The time span of these lists' truth, for reading and editing it.
pub fn listed() -> (DateTime<Utc>, DateTime<Utc>) {
    let at = |day: i32| DateTime::from_timestamp(i64::from(day) * 86_400, 0).unwrap_or_default();
    (at(DAY), at(DAY + 366))
}

pub(super) fn span() -> Span {
    let (from, until) = listed();
    Span { from: ticks(from), until: ticks(until) }
}

/// The lists as functions of seed, list and position.
pub(super) struct Rows {
    pub seed: u64,
}

impl Rows {
    fn contact_id(&self, position: u64) -> String {
        Dice::new(self.seed, &[1, position, 53]).guid()
    }

    /// `facts/lynn.md §6.2`; the member names are invented.
    fn campaign(&self, row: Row, record: &mut Record) {
        let mut dice = Dice::new(self.seed, &[0, row.position, 59]);
        let conversation = pick(dice.roll());
        record
            .raw("campaignId", 101 + row.position)
            .text("name", &format!("{} {}", conversation.company, row.position + 1))
            .text("type", word(dice.roll(), &["Single Message", "Multiple Message"]))
            .text("executionMode", word(dice.roll(), &["Manual", "Scheduled", "AlwaysOn"]))
            .text("category", word(dice.roll(), &["Service", "Billing", "News"]))
            .text("validUntil", "2026-12-31T23:59:59Z")
            .raw("division", 1 + dice.below(2));
    }

    fn contact(&self, row: Row, record: &mut Record) {
        let mut dice = Dice::new(self.seed, &[1, row.position, 61]);
        let conversation = pick(dice.roll());
        let message = choose(dice.roll(), &conversation.messages);
        record
            .text("id", &self.contact_id(row.position))
            .text("fullName", &message.author)
            .text("channel", word(dice.roll(), &["WhatsApp", "SMS", "Facebook"]))
            .raw("correlationIds", json!([conversation.session, conversation.company]))
            .text("lastMessage", &message.text)
            .text("createdAt", &seconds_text(row.at))
            .raw("dnd", row.position.is_multiple_of(3));
    }

    fn dnd(&self, row: Row, record: &mut Record) {
        let (third, second) = (row.position / 2, row.position % 2);
        record
            .text("contactId", &self.contact_id(third * 3))
            .raw("campaignId", 101 + (third % 3 + second) % CAMPAIGNS)
            .text("category", word(third, &["Service", "Billing", "News"]))
            .text("since", &seconds_text(row.at));
    }
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        match report {
            _ if day != DAY => 0,
            0 => CAMPAIGNS,
            1 => CONTACTS,
            _ => DND,
        }
    }

    fn write(&self, row: Row, record: &mut Record) {
        match row.report {
            0 => self.campaign(row, record),
            1 => self.contact(row, record),
            _ => self.dnd(row, record),
        }
    }
}
