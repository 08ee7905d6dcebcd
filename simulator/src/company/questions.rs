//! What an analyst would ask of the company, answered from the facts and not from the rows that vendors serve: the
//! truth for queries over all vendors.
//!
//! Days are days of a given zone. Copies of rows, which volumes above a few thousand rows a day have, are not counted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

use super::super::Vendor;
use super::super::truth::{TICKS_PER_DAY, TICKS_PER_SECOND, Ticks, ticks};
use super::people::{AGENTS, Agent, Customer};
use super::{Company, calendar, khoros, lexer, lynn, plan};

/// A conversation, session or case.
#[derive(Debug, Clone)]
pub struct Contact {
    /// The vendor's id; of JAICP's, only the last two parts.
    pub id: String,
    pub started: DateTime<Utc>,
    /// In the vendor's own words.
    pub channel: &'static str,
    /// The agent who is responsible, once one is.
    pub agent: Option<&'static Agent>,
    pub reached_agent: bool,
    pub customer: Customer,
    /// From the start, or at Lynn from the end of the bot's part, to the first reply of an agent.
    pub first_response_seconds: Option<f64>,
    /// From the start to the end, of contacts that have ended. At Lynn to the last event that is known.
    pub resolution_seconds: Option<f64>,
    /// Messages or turns of agents.
    pub replies: u64,
    pub state: &'static str,
}

/// Messages or sessions that were answered and had a promise, and how many of them broke it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sla {
    pub handled: u64,
    pub broken: u64,
    /// Messages without a reply.
    pub unanswered: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct AgentCount {
    pub contacts: u64,
    pub replies: u64,
}

/// Sessions in which the bot recognised an intent, and those of them whose last turn with the bot it was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IntentCount {
    pub sessions: u64,
    pub last: u64,
}

/// An agent's reply to a message.
#[derive(Debug, Clone, Copy)]
pub struct LexerReply {
    /// When the customer sent the message.
    pub asked: DateTime<Utc>,
    pub agent: &'static Agent,
    pub wait_seconds: f64,
    /// Whether it broke the promise to the customer.
    pub is_late: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Nps {
    pub received: u64,
    pub promoters: u64,
    pub detractors: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CampaignCount {
    pub id: u64,
    pub name: &'static str,
    /// Contacts on its blacklist.
    pub blacklisted: u64,
}

/// An agent, with the id that each vendor knows the agent by. Lynn knows addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub agent: &'static Agent,
    pub ids: BTreeMap<Vendor, String>,
}

impl Company {
    /// Everything that began in `[from, to)` as it stands at `now`, in order.
    pub fn contacts(&self, vendor: Vendor, from: DateTime<Utc>, to: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Contact> {
        let (from, to, now) = (ticks(from), ticks(to), ticks(now));
        let mut contacts = Vec::new();
        for day in days(from, to) {
            match vendor {
                Vendor::Khoros => contacts.extend(self.threads(day, now)),
                Vendor::Lexer => contacts.extend(self.cases(day, now)),
                Vendor::Lynn => contacts.extend(self.sessions(day, now)),
                Vendor::Jaicp => contacts.extend(self.dialogs(day, now)),
                Vendor::LynnOutbound => {}
            }
        }
        contacts.retain(|contact| {
            let at = ticks(contact.started);
            from <= at && at < to && at <= now
        });
        contacts
    }

    fn threads(&self, day: i32, now: Ticks) -> Vec<Contact> {
        let made = self.social.day(day);
        let contact = |thread: &khoros::Thread| {
            let known = |secs: &&u64| thread.at(**secs) <= now;
            let replies = thread.replies.iter().filter(known).count() as u64;
            Contact {
                id: khoros::conversation_id(thread.day, thread.number, 0).to_string(),
                started: calendar::moment(thread.opened),
                channel: thread.network,
                agent: thread.actions.first().filter(|(_, secs)| known(&secs)).map(|_| &AGENTS[thread.agent]),
                reached_agent: replies > 0,
                customer: Customer::of(self.seed, thread.customer),
                first_response_seconds: thread.replies.first().filter(known).copied().map(seconds),
                resolution_seconds: thread.closed.as_ref().filter(known).copied().map(seconds),
                replies,
                state: match thread.state(now) {
                    khoros::State::Open => "Open",
                    khoros::State::Pending => "Pending",
                    khoros::State::Closed => "Closed",
                },
            }
        };
        made.threads[..made.begun].iter().map(contact).collect()
    }

    fn cases(&self, day: i32, now: Ticks) -> Vec<Contact> {
        let contact = |case: &lexer::Case| {
            let known = |secs: &u64| case.at(*secs) <= now;
            let first = case.first_reply().filter(known);
            let is_answered =
                |mention: &&lexer::Mention| mention.is_answered() && known(&(mention.sent + mention.wait()));
            let closed = Some(case.closed).filter(known);
            Contact {
                id: lexer::case_id(case.day, case.number, 0),
                started: calendar::moment(case.opened),
                channel: case.channel,
                agent: Some(&AGENTS[case.agent]),
                reached_agent: first.is_some(),
                customer: Customer::of(self.seed, case.customer),
                first_response_seconds: first.map(seconds),
                resolution_seconds: closed.map(seconds),
                replies: case.mentions.iter().filter(is_answered).count() as u64,
                state: if closed.is_some() { "closed" } else { "open" },
            }
        };
        self.inbox.day(day).cases.iter().map(contact).collect()
    }

    fn sessions(&self, day: i32, now: Ticks) -> Vec<Contact> {
        let contact = |session: &lynn::Session| {
            let known = |secs: u64| session.at(secs) <= now;
            let desk = session.desk.filter(|desk| known(desk.connected));
            let replied = desk.filter(|desk| known(desk.replied));
            let end = Some(session.ended).filter(|&ended| session.desk.is_some() && known(ended));
            let last = session.marks.iter().copied().filter(|&secs| known(secs)).max().max(end);
            Contact {
                id: session.guid.clone(),
                started: calendar::moment(session.at(session.marks.first().copied().unwrap_or_default())),
                channel: session.channel.1,
                agent: desk.map(|desk| &AGENTS[desk.agent]),
                reached_agent: desk.is_some(),
                customer: Customer::of(self.seed, session.customer),
                first_response_seconds: replied.map(|desk| seconds(desk.replied - desk.derived)),
                resolution_seconds: last.map(seconds),
                replies: u64::from(replied.is_some()),
                state: if session.is_ended && known(session.ended) { "ended" } else { "open or left" },
            }
        };
        self.bot.day(day).sessions.iter().filter(|session| !session.marks.is_empty()).map(contact).collect()
    }

    fn dialogs(&self, day: i32, now: Ticks) -> Vec<Contact> {
        let made = self.chat.day(day);
        let contact = |dialog: &super::jaicp::Dialog| {
            let with_agent = || dialog.turns.iter().filter(|turn| turn.is_livechat && turn.at <= now);
            let first = with_agent().next().map(|turn| turn.at - dialog.started);
            #[expect(clippy::cast_precision_loss, reason = "less than a day")]
            let in_seconds = |length: Ticks| length as f64 / TICKS_PER_SECOND as f64;
            Contact {
                id: format!("{}-{}", dialog.day, dialog.number),
                started: calendar::moment(dialog.started),
                channel: dialog.channel,
                agent: dialog.agent.filter(|_| first.is_some()).map(|agent| &AGENTS[agent]),
                reached_agent: first.is_some(),
                customer: Customer::of(self.seed, dialog.customer),
                first_response_seconds: first.map(in_seconds),
                resolution_seconds: None,
                replies: with_agent().count() as u64,
                state: if first.is_some() { "livechat" } else { "bot" },
            }
        };
        let turned = |dialog: &&super::jaicp::Dialog| dialog.turns.first().is_some_and(|turn| turn.at <= now);
        made.dialogs[..made.begun].iter().filter(turned).map(contact).collect()
    }

    /// Conversations per day and channel.
    pub fn per_day_and_channel(
        &self,
        vendor: Vendor,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        zone: Tz,
    ) -> BTreeMap<(NaiveDate, &'static str), u64> {
        let mut counts = BTreeMap::new();
        for contact in self.contacts(vendor, from, to, DateTime::<Utc>::MAX_UTC) {
            let day = contact.started.with_timezone(&zone).date_naive();
            *counts.entry((day, contact.channel)).or_default() += 1;
        }
        counts
    }

    /// Promises of replies to what began in `[from, to)`: of messages at Lexer, of sessions at Lynn's desk. The others
    /// report none.
    pub fn sla(&self, vendor: Vendor, from: DateTime<Utc>, to: DateTime<Utc>) -> Sla {
        let (from, to) = (ticks(from), ticks(to));
        let mut sla = Sla::default();
        let mut count = |at: Ticks, is_broken: Option<bool>| {
            if from <= at && at < to {
                sla.handled += u64::from(is_broken.is_some());
                sla.broken += u64::from(is_broken == Some(true));
                sla.unanswered += u64::from(is_broken.is_none());
            }
        };
        for day in days(from, to) {
            if vendor == Vendor::Lexer {
                for case in &self.inbox.day(day).cases {
                    for mention in &case.mentions {
                        let is_late = mention.is_answered().then(|| mention.wait() > lexer::DUE_SECS);
                        count(case.at(mention.sent), is_late);
                    }
                }
            } else if vendor == Vendor::Lynn {
                for session in &self.bot.day(day).sessions {
                    if let Some(desk) = session.desk {
                        count(session.at(desk.derived), Some(!desk.is_in_time()));
                    }
                }
            }
        }
        sla
    }

    /// By address: of what began in `[from, to)`.
    pub fn agent_counts(
        &self,
        vendor: Vendor,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> BTreeMap<&'static str, AgentCount> {
        let mut counts: BTreeMap<_, AgentCount> = BTreeMap::new();
        for contact in self.contacts(vendor, from, to, DateTime::<Utc>::MAX_UTC) {
            let Some(agent) = contact.agent else { continue };
            let count = counts.entry(agent.email).or_default();
            count.contacts += 1;
            count.replies += contact.replies;
        }
        counts
    }

    /// Answers by the Monday of their week.
    pub fn nps_by_week(&self, from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> BTreeMap<NaiveDate, Nps> {
        let mut weeks: BTreeMap<NaiveDate, Nps> = BTreeMap::new();
        for (at, score, _) in self.nps_answers(from, to) {
            let day = at.with_timezone(&zone).date_naive();
            let monday = day - TimeDelta::days(i64::from(day.weekday().num_days_from_monday()));
            let week = weeks.entry(monday).or_default();
            week.received += 1;
            week.promoters += u64::from(score >= 9);
            week.detractors += u64::from(score < 7);
        }
        weeks
    }

    /// Answers to Lexer's surveys: when, the score from 0 to 10, and how long the customer had waited for the first
    /// reply, in seconds.
    pub fn nps_answers(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(DateTime<Utc>, u64, Option<u64>)> {
        let mut answers = Vec::new();
        for day in days(ticks(from), ticks(to)) {
            for case in &self.inbox.day(day).cases {
                if let Some(survey) = case.survey {
                    answers.push((calendar::moment(case.at(survey.answered)), survey.score, case.first_reply()));
                }
            }
        }
        answers.retain(|(at, ..)| from <= *at && *at < to);
        answers
    }

    /// The answers to a vendor's surveys on a scale from 0 to 1.
    pub fn survey_scores(&self, vendor: Vendor, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<f64> {
        if vendor == Vendor::Lexer {
            let scores = self.nps_answers(from, to).into_iter();
            return scores.map(|(_, score, _)| seconds(score) / 10.0).collect();
        }
        let mut scores = Vec::new();
        for day in days(ticks(from), ticks(to)).filter(|_| vendor == Vendor::Lynn) {
            for session in &self.bot.day(day).sessions {
                let survey = session.survey.map(|survey| (calendar::moment(session.at(survey.answered)), survey.score));
                scores.extend(survey.filter(|(at, _)| from <= *at && *at < to).map(|(_, score)| score));
            }
        }
        scores
    }

    /// Sessions with a bot, and how many of them reached an agent.
    pub fn containment(&self, vendor: Vendor, from: DateTime<Utc>, to: DateTime<Utc>) -> (u64, u64) {
        if !matches!(vendor, Vendor::Lynn | Vendor::Jaicp) {
            return (0, 0);
        }
        let contacts = self.contacts(vendor, from, to, DateTime::<Utc>::MAX_UTC);
        (contacts.len() as u64, contacts.iter().filter(|contact| contact.reached_agent).count() as u64)
    }

    /// Marks or turns of sessions that began in `[from, to)`, by intent.
    pub fn intents(&self, vendor: Vendor, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeMap<&'static str, u64> {
        let (from, to) = (ticks(from), ticks(to));
        let mut counts = BTreeMap::new();
        let mut count = |at: Ticks, intent: &'static str| {
            if from <= at && at < to {
                *counts.entry(intent).or_default() += 1;
            }
        };
        for day in days(from, to) {
            if vendor == Vendor::Lynn {
                for session in &self.bot.day(day).sessions {
                    session.intents.iter().for_each(|intent| count(session.started, intent));
                }
            } else if vendor == Vendor::Jaicp {
                let made = self.chat.day(day);
                for dialog in &made.dialogs[..made.begun] {
                    dialog.turns.iter().for_each(|turn| count(dialog.started, turn.intent));
                }
            }
        }
        counts
    }

    /// By intent: the sessions with a turn of the bot in `[from, to)`, whenever they began.
    pub fn intent_counts(
        &self,
        vendor: Vendor,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> BTreeMap<&'static str, IntentCount> {
        let (from, to) = (ticks(from), ticks(to));
        let mut turns: BTreeMap<(i32, usize), Vec<(Ticks, &'static str)>> = BTreeMap::new();
        let mut note = |of: (i32, usize), at: Ticks, intent: &'static str| {
            if from <= at && at < to {
                turns.entry(of).or_default().push((at, intent));
            }
        };
        for day in days(from, to) {
            if vendor == Vendor::Lynn {
                for session in &self.bot.day(day).sessions {
                    for (&secs, intent) in session.marks.iter().zip(&session.intents) {
                        note((session.day, session.number), session.at(secs), intent);
                    }
                }
            } else if vendor == Vendor::Jaicp {
                let (starts, ends) = (calendar::starts(day), calendar::starts(day.saturating_add(1)));
                for dialog in &self.chat.day(day).dialogs {
                    let today = dialog.turns.iter().filter(|turn| starts <= turn.at && turn.at < ends);
                    for turn in today.filter(|turn| !turn.is_livechat) {
                        note((dialog.day, dialog.number), turn.at, turn.intent);
                    }
                }
            }
        }
        let mut counts: BTreeMap<_, IntentCount> = BTreeMap::new();
        for turns in turns.values() {
            for intent in turns.iter().map(|(_, intent)| *intent).collect::<BTreeSet<_>>() {
                counts.entry(intent).or_default().sessions += 1;
            }
            if let Some((_, intent)) = turns.iter().max() {
                counts.entry(*intent).or_default().last += 1;
            }
        }
        counts
    }

    /// The replies to the messages that customers sent to Lexer in `[from, to)`.
    pub fn replies(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<LexerReply> {
        let mut replies = Vec::new();
        for day in days(ticks(from), ticks(to)) {
            for case in &self.inbox.day(day).cases {
                let answered = case.mentions.iter().filter(|mention| mention.is_answered());
                replies.extend(answered.map(|mention| LexerReply {
                    asked: calendar::moment(case.at(mention.sent)),
                    agent: &AGENTS[case.agent],
                    wait_seconds: seconds(mention.wait()),
                    is_late: mention.wait() > lexer::DUE_SECS,
                }));
            }
        }
        replies.retain(|reply| from <= reply.asked && reply.asked < to);
        replies
    }

    /// What agents wrote in JAICP's chats in `[from, to)`, by address: their turns, and as contacts the sessions of
    /// each day.
    pub fn chat_counts(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeMap<&'static str, AgentCount> {
        let (from, to) = (ticks(from), ticks(to));
        let mut counts: BTreeMap<_, AgentCount> = BTreeMap::new();
        for day in days(from, to) {
            let (starts, ends) = (calendar::starts(day).max(from), calendar::starts(day.saturating_add(1)).min(to));
            for dialog in &self.chat.day(day).dialogs {
                let today = dialog.turns.iter().filter(|turn| turn.is_livechat && starts <= turn.at && turn.at < ends);
                let turns = today.count() as u64;
                if let Some(agent) = dialog.agent.filter(|_| turns > 0) {
                    let count = counts.entry(AGENTS[agent].email).or_default();
                    count.contacts += 1;
                    count.replies += turns;
                }
            }
        }
        counts
    }

    /// The messages that agents wrote in Lynn's dialogs in `[from, to)`, by address.
    pub fn dialog_counts(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeMap<&'static str, u64> {
        let (from, to) = (ticks(from), ticks(to));
        let mut counts = BTreeMap::new();
        for day in days(from, to) {
            let made = self.bot.day(day);
            let Some(timeline) = made.timelines.get("show_dialogs") else { continue };
            let spots = (0..timeline.len()).filter_map(|position| timeline.spot(position));
            for plan::Spot { event, .. } in spots.filter(|spot| spot.copy == 0 && (from..to).contains(&spot.event.at)) {
                if let lynn::Author::Agent(agent) = made.sessions[event.of].author(event.rank, event.at) {
                    *counts.entry(AGENTS[agent].email).or_default() += 1;
                }
            }
        }
        counts
    }

    /// The messages that customers sent to Lexer in `[from, to)`, by the state in which they end.
    pub fn inbox_states(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeMap<&'static str, u64> {
        let (from, to) = (ticks(from), ticks(to));
        let mut counts = BTreeMap::new();
        for day in days(from, to) {
            for case in &self.inbox.day(day).cases {
                let sent = |mention: &&lexer::Mention| (from..to).contains(&case.at(mention.sent));
                for mention in case.mentions.iter().filter(sent) {
                    *counts.entry(mention.state).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Calls that JAICP's bot made, by customer: their turns in `[from, to)`.
    pub fn calls_made(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeMap<u64, u64> {
        let (from, to) = (ticks(from), ticks(to));
        let mut calls = BTreeMap::new();
        for day in days(from, to) {
            let (starts, ends) = (calendar::starts(day), calendar::starts(day.saturating_add(1)));
            for dialog in &self.chat.day(day).dialogs {
                let today = (starts.max(from)..ends.min(to), dialog.channel == "resterisk" && !dialog.is_incoming);
                let turns = dialog.turns.iter().filter(|turn| today.1 && today.0.contains(&turn.at)).count() as u64;
                if turns > 0 {
                    *calls.entry(dialog.customer).or_default() += turns;
                }
            }
        }
        calls
    }

    /// What began since `since` and is not closed at a moment, by state.
    pub fn backlog(&self, vendor: Vendor, since: DateTime<Utc>, at: DateTime<Utc>) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        if matches!(vendor, Vendor::Khoros | Vendor::Lexer) {
            for contact in self.contacts(vendor, since, at, at) {
                if !contact.state.eq_ignore_ascii_case("closed") {
                    *counts.entry(contact.state).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Every campaign.
    pub fn campaign_counts(&self) -> Vec<CampaignCount> {
        let blacklisted = |id: u64| lynn::blacklist().filter(|(_, campaign)| campaign.id == id).count() as u64;
        let count = |campaign: &lynn::Campaign| CampaignCount {
            id: campaign.id,
            name: campaign.name,
            blacklisted: blacklisted(campaign.id),
        };
        lynn::CAMPAIGNS.iter().map(count).collect()
    }

    /// Every agent with all ids.
    pub fn agents(&self) -> Vec<Identity> {
        let identity = |agent: &'static Agent| {
            let ids = [
                (Vendor::Khoros, Some(agent.khoros_id.to_owned())),
                (Vendor::Lexer, agent.lexer_id.map(|id| id.to_string())),
                (Vendor::Jaicp, agent.jaicp_id.map(ToOwned::to_owned)),
                (Vendor::Lynn, agent.has_desk.then(|| agent.email.to_owned())),
            ];
            Identity { agent, ids: ids.into_iter().filter_map(|(vendor, id)| Some((vendor, id?))).collect() }
        };
        AGENTS.iter().map(identity).collect()
    }

    /// The numbers of the customers who turned to a vendor in `[from, to)`; at Lynn Outbound, all contacts.
    pub fn customers(&self, vendor: Vendor, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeSet<u64> {
        if vendor == Vendor::LynnOutbound {
            return (0..lynn::CONTACTS).map(lynn::contact).collect();
        }
        let contacts = self.contacts(vendor, from, to, DateTime::<Utc>::MAX_UTC);
        contacts.into_iter().map(|contact| contact.customer.number).collect()
    }
}

/// The days that a span touches, UTC.
fn days(from: Ticks, to: Ticks) -> impl Iterator<Item = i32> {
    let day = |at: Ticks| i32::try_from(at.div_euclid(TICKS_PER_DAY)).unwrap_or_default();
    day(from)..if from < to { day(to - 1) + 1 } else { day(from) }
}

fn seconds(whole: u64) -> f64 {
    u32::try_from(whole).map_or(f64::MAX, f64::from)
}
