//! The company's campaigns, the contacts that they reach, who are customers, and the blacklist.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::super::company::lynn::{CAMPAIGNS, CONTACTS, LISTED as DAY, blacklist, contact};
use super::super::super::company::people::Customer;
use super::super::super::conversations::{choose, pick, word};
use super::super::super::truth::{Dice, Record, Row, Source, Span, seconds_text, ticks};

/// By number.
const LISTS: &[&str] = &["campaigns", "contacts", "dnd_contacts"];

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
    fn customer(&self, position: u64) -> Customer {
        Customer::of(self.seed, contact(position))
    }

    /// `facts/lynn.md §6.2`; the member names are invented.
    fn campaign(row: Row, record: &mut Record) {
        let campaign = &CAMPAIGNS[usize::try_from(row.position).unwrap_or_default() % CAMPAIGNS.len()];
        record
            .raw("campaignId", CAMPAIGNS[0].id + row.position)
            .text("name", campaign.name)
            .text("type", campaign.kind)
            .text("executionMode", campaign.mode)
            .text("category", campaign.category)
            .text("validUntil", "2026-12-31T23:59:59Z")
            .raw("division", 1 + campaign.id % 2);
    }

    fn contact(&self, row: Row, record: &mut Record) {
        let mut dice = Dice::new(self.seed, &[1, row.position, 61]);
        let conversation = pick(dice.roll());
        let message = choose(dice.roll(), &conversation.messages);
        let customer = self.customer(row.position);
        record
            .text("id", &customer.uuid)
            .text("fullName", &customer.name())
            .text("email", &customer.email)
            .text("phone", &customer.phone)
            .text("channel", word(dice.roll(), &["WhatsApp", "SMS", "Facebook"]))
            .raw("correlationIds", json!([conversation.session, conversation.company]))
            .text("lastMessage", &message.text)
            .text("createdAt", &seconds_text(row.at))
            .raw("dnd", row.position.is_multiple_of(3));
    }

    /// Inserted entries repeat those of the list.
    fn dnd(&self, row: Row, record: &mut Record) {
        let entries = blacklist().count();
        let Some((contact, campaign)) = blacklist().nth(usize::try_from(row.position).unwrap_or_default() % entries)
        else {
            return;
        };
        record
            .text("contactId", &self.customer(contact).uuid)
            .raw("campaignId", campaign.id)
            .text("category", campaign.category)
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
            0 => CAMPAIGNS.len() as u64,
            1 => CONTACTS,
            _ => blacklist().count() as u64,
        }
    }

    fn write(&self, row: Row, record: &mut Record) {
        match row.report {
            0 => Self::campaign(row, record),
            1 => self.contact(row, record),
            _ => self.dnd(row, record),
        }
    }
}
