//! The content of Khoros's exports and lists: the company's threads in social networks. Every field of an export is a
//! string (`facts/khoros_care.md §7`); most fields are not documented, so all but a few are invented.

use std::sync::Arc;

use super::super::company::Company;
use super::super::company::khoros::{CLOSED_WITHIN_DAYS, Day, State, Thread, conversation_id};
use super::super::company::people::{AGENTS, Customer, TEAMS};
use super::super::company::plan::Spot;
use super::super::conversations::pick;
use super::super::truth::{Dice, Record, Row, Source, TICKS_PER_DAY, Ticks, seconds_text};

/// Conversations that get closed are closed within this time.
pub(super) const CLOSED_WITHIN: Ticks = CLOSED_WITHIN_DAYS * TICKS_PER_DAY;

/// One export or list: its id and its metrics.
pub(super) struct Export {
    pub id: &'static str,
    pub metrics: &'static [&'static str],
}

/// The lists are the rows of 1 January 1970, since they have no time.
const LISTS: &[(&str, u64)] = &[("user", AGENTS.len() as u64), ("teams", TEAMS.len() as u64)];

/// By number.
pub(super) const EXPORTS: &[Export] = &[
    Export {
        id: "conversation",
        metrics: &[
            "CONVERSATION_ID",
            "STATUS",
            "ASSIGNED_AGENT_DISPLAY_ID",
            "COMPANY",
            "NETWORK",
            "CREATED_TIME",
            "CLOSED_TIME",
            "MESSAGE_COUNT",
            "FIRST_MESSAGE_TEXT",
        ],
    },
    Export {
        id: "conversation_actions",
        metrics: &["CONVERSATION_ID", "ACTION", "ACTION_TIME", "AGENT_DISPLAY_ID", "NOTE"],
    },
    Export {
        id: "conversation_history_action",
        metrics: &["CONVERSATION_ID", "ORDINAL", "ACTION", "ACTION_TIME", "AGENT_DISPLAY_ID"],
    },
    Export {
        id: "incoming_post",
        metrics: &["POST_ID", "CONVERSATION_ID", "AUTHOR_UUID", "NETWORK", "POST_TIME", "MESSAGE_TEXT"],
    },
    Export {
        id: "response",
        metrics: &["RESPONSE_ID", "CONVERSATION_ID", "AGENT_DISPLAY_ID", "RESPONSE_TIME", "MESSAGE_TEXT"],
    },
    Export {
        id: "response_approval",
        metrics: &["RESPONSE_ID", "APPROVER_DISPLAY_ID", "STEP", "STATE", "APPROVAL_TIME"],
    },
    Export { id: "combined", metrics: &["TYPE", "CONVERSATION_ID", "TIME", "MESSAGE_TEXT"] },
    Export { id: "author", metrics: &["AUTHOR_UUID", "AUTHOR_NAME", "NETWORK", "FOLLOWERS", "LAST_POST_TIME"] },
    Export { id: "raw_expert_help", metrics: &["CONVERSATION_ID", "REQUESTED_BY", "REQUEST_TIME", "REQUEST_TEXT"] },
    Export {
        id: "raw_agent_states",
        metrics: &["agent_name", "agent_email", "agent_id", "state", "state_start", "duration_seconds"],
    },
    Export { id: "team_performance", metrics: &["AGENT_DISPLAY_ID", "TEAM_NAME", "RESPONSES", "AVG_HANDLE_TIME"] },
    Export {
        id: "team_performance_interval",
        metrics: &["AGENT_DISPLAY_ID", "TEAM_NAME", "INTERVAL_START", "RESPONSES"],
    },
    Export {
        id: "user",
        metrics: &[
            "AGENT_ID",
            "AGENT_NAME",
            "AGENT_EMAIL",
            "TEAM_NAME",
            "TOTAL_CONSOLE_LOGGED_IN_TIME",
            "TOTAL_CONSOLE_LOGGED_IN_TIME_MILLIS",
            "TOTAL_GREEN_STATE_TIME_MILLIS",
        ],
    },
    Export { id: "teams", metrics: &[] },
    // A Publishing export: undocumented (`§5`).
    Export { id: "raw_brand_post", metrics: &["BRAND_POST_ID", "POST_TIME", "MESSAGE_TEXT"] },
];

pub(super) fn names() -> Vec<Vec<String>> {
    EXPORTS.iter().map(|export| vec![export.id.to_owned()]).collect()
}

/// The title of a metric's column in a CSV file: `CONVERSATION_ID` is `Conversation ID` (`§13`).
pub(super) fn display_name(metric: &str) -> String {
    if metric == "ASSIGNED_AGENT_DISPLAY_ID" {
        return "Assigned Agent ID".to_owned();
    }
    let words = metric.split('_').map(|word| match word.to_uppercase().as_str() {
        upper @ ("ID" | "UUID") => upper.to_owned(),
        upper => upper[..1].to_owned() + &upper[1..].to_lowercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The exports as functions of day and position.
pub(super) struct Rows(pub Arc<Company>);

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        let export = &EXPORTS[report];
        match LISTS.iter().find(|(id, _)| *id == export.id) {
            Some((_, rows)) if day == 0 => *rows,
            Some(_) => 0,
            None => self.0.social.rows_on(export.id, day),
        }
    }

    fn moment(&self, report: usize, day: i32, position: u64) -> Option<Ticks> {
        self.0.social.day(day).timelines.get(EXPORTS[report].id)?.at(position)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let row = self.0.known(row);
        let id = EXPORTS[row.report].id;
        if id == "user" || id == "teams" {
            let dice = Dice::new(self.0.seed, &[row.report as u64, row.position, 29]);
            return if id == "user" { user(row.position, dice, record) } else { team(row.position, dice, record) };
        }
        let day = self.0.social.day(row.day);
        let Some(spot) = day.timelines.get(id).and_then(|timeline| timeline.spot(row.position)) else { return };
        let made = Made { seed: self.0.seed, shift: row.at - spot.event.at, day: &day, spot, row };
        match id {
            "conversation" => made.conversation(record),
            "conversation_actions" | "conversation_history_action" => made.action(record),
            "incoming_post" => made.post(record),
            "response" => made.response(record),
            "response_approval" => made.approval(record),
            "author" => made.author(record),
            "raw_expert_help" => made.help(record),
            "raw_agent_states" => made.state(record),
            "team_performance" | "team_performance_interval" => made.performance(record),
            "raw_brand_post" => made.brand_post(record),
            _ => made.combined(record),
        }
    }
}

/// The id of a post or reply of a conversation.
fn message_id(conversation: u64, rank: usize) -> String {
    (conversation * 10 + rank as u64).to_string()
}

/// The inputs of a row.
struct Made<'a> {
    seed: u64,
    /// How much later this row is than the fact that it shows.
    shift: Ticks,
    day: &'a Day,
    spot: Spot,
    row: Row,
}

impl Made<'_> {
    fn thread(&self) -> &Thread {
        &self.day.threads[self.spot.event.of]
    }

    fn conversation_number(&self) -> u64 {
        let thread = self.thread();
        conversation_id(thread.day, thread.number, self.spot.copy)
    }

    fn conversation_id(&self) -> String {
        self.conversation_number().to_string()
    }

    fn agent(&self) -> &'static str {
        AGENTS[self.thread().agent].khoros_id
    }

    fn customer(&self) -> Customer {
        Customer::of(self.seed, self.thread().customer)
    }

    fn time(&self) -> String {
        seconds_text(self.row.at)
    }

    fn conversation(self, record: &mut Record) {
        let thread = self.thread();
        let now = self.row.now.saturating_sub(self.shift);
        let state = thread.state(now);
        let status = match state {
            State::Open => "Open",
            State::Pending => "Pending",
            State::Closed => "Closed",
        };
        let closed = thread.closed.filter(|_| state == State::Closed);
        let closed = closed.map(|closed| seconds_text(thread.at(closed) + self.shift)).unwrap_or_default();
        let so_far = |times: &[u64]| times.iter().filter(|&&secs| thread.at(secs) <= now).count();
        let is_assigned = thread.actions.first().is_some_and(|&(_, secs)| thread.at(secs) <= now);
        record
            .text("CONVERSATION_ID", &self.conversation_id())
            .text("STATUS", status)
            .text("ASSIGNED_AGENT_DISPLAY_ID", if is_assigned { self.agent() } else { "" })
            .text("COMPANY", &thread.texts.company)
            .text("NETWORK", thread.network)
            .text("CREATED_TIME", &self.time())
            .text("CLOSED_TIME", &closed)
            .text("MESSAGE_COUNT", &(so_far(&thread.posts) + so_far(&thread.replies)).to_string())
            .text("FIRST_MESSAGE_TEXT", &thread.texts.messages[0].text);
    }

    fn action(self, record: &mut Record) {
        let history = EXPORTS[self.row.report].id == "conversation_history_action";
        let rank = self.spot.event.rank;
        record.text("CONVERSATION_ID", &self.conversation_id());
        if history {
            record.text("ORDINAL", &rank.to_string());
        }
        record
            .text("ACTION", self.thread().actions[rank].0)
            .text("ACTION_TIME", &self.time())
            .text("AGENT_DISPLAY_ID", self.agent());
        if !history {
            let noted = self.thread().number.is_multiple_of(3);
            record.text("NOTE", if noted { self.thread().customers_words(rank) } else { "" });
        }
    }

    fn post(self, record: &mut Record) {
        let rank = self.spot.event.rank;
        record
            .text("POST_ID", &message_id(self.conversation_number(), rank))
            .text("CONVERSATION_ID", &self.conversation_id())
            .text("AUTHOR_UUID", &self.customer().uuid)
            .text("NETWORK", self.thread().network)
            .text("POST_TIME", &self.time())
            .text("MESSAGE_TEXT", self.thread().customers_words(rank));
    }

    fn response(self, record: &mut Record) {
        record
            .text("RESPONSE_ID", &message_id(self.conversation_number(), self.spot.event.rank))
            .text("CONVERSATION_ID", &self.conversation_id())
            .text("AGENT_DISPLAY_ID", self.agent())
            .text("RESPONSE_TIME", &self.time())
            .text("MESSAGE_TEXT", &self.thread().texts.resolution.text);
    }

    /// Somebody else approves. A first step that is rejected is followed by a second one.
    fn approval(self, record: &mut Record) {
        let (rank, thread) = (self.spot.event.rank, self.thread());
        let approver = AGENTS[(thread.agent + 1 + rank % 2) % AGENTS.len()].khoros_id;
        let is_rejected = rank.is_multiple_of(2) && thread.number.is_multiple_of(2);
        record
            .text("RESPONSE_ID", &message_id(self.conversation_number(), rank / 2))
            .text("APPROVER_DISPLAY_ID", approver)
            .text("STEP", &(1 + rank % 2).to_string())
            .text("STATE", if is_rejected { "REJECTED" } else { "APPROVED" })
            .text("APPROVAL_TIME", &self.time());
    }

    fn combined(self, record: &mut Record) {
        let thread = self.thread();
        let (kind, text) = match self.spot.event.rank {
            rank if rank < thread.posts.len() => ("POST", thread.customers_words(rank)),
            _ => ("RESPONSE", thread.texts.resolution.text.as_str()),
        };
        record
            .text("TYPE", kind)
            .text("CONVERSATION_ID", &self.conversation_id())
            .text("TIME", &self.time())
            .text("MESSAGE_TEXT", text);
    }

    fn author(self, record: &mut Record) {
        let customer = self.customer();
        record
            .text("AUTHOR_UUID", &customer.uuid)
            .text("AUTHOR_NAME", &customer.handle)
            .text("NETWORK", self.thread().network)
            .text("FOLLOWERS", &customer.followers.to_string())
            .text("LAST_POST_TIME", &self.time());
    }

    fn help(self, record: &mut Record) {
        record
            .text("CONVERSATION_ID", &self.conversation_id())
            .text("REQUESTED_BY", self.agent())
            .text("REQUEST_TIME", &self.time())
            .text("REQUEST_TEXT", self.thread().customers_words(0));
    }

    fn state(self, record: &mut Record) {
        let console = &self.day.consoles[self.spot.event.of];
        let agent = &AGENTS[console.agent];
        record
            .text("agent_name", &agent.name())
            .text("agent_email", agent.email)
            .text("agent_id", agent.khoros_id)
            .text("state", console.state)
            .text("state_start", &self.time())
            .text("duration_seconds", &console.secs.to_string());
    }

    fn performance(self, record: &mut Record) {
        let by_interval = EXPORTS[self.row.report].id == "team_performance_interval";
        let of = if by_interval { &self.day.intervals } else { &self.day.performances };
        let performance = &of[self.spot.event.of];
        let agent = &AGENTS[performance.agent];
        record.text("AGENT_DISPLAY_ID", agent.khoros_id).text("TEAM_NAME", agent.team);
        if by_interval {
            record.text("INTERVAL_START", &seconds_text(performance.from));
        }
        record.text("RESPONSES", &performance.replies.to_string());
        if !by_interval {
            record.text("AVG_HANDLE_TIME", &format!("{}.0", performance.handle_secs));
        }
    }

    fn brand_post(self, record: &mut Record) {
        let id = conversation_id(self.row.day, self.spot.event.of, self.spot.copy);
        let mut dice = Dice::new(self.seed, &[id, 33]);
        record
            .text("BRAND_POST_ID", &id.to_string())
            .text("POST_TIME", &self.time())
            .text("MESSAGE_TEXT", &pick(dice.roll()).resolution.text);
    }
}

fn user(position: u64, mut dice: Dice, record: &mut Record) {
    let agent = &AGENTS[usize::try_from(position).unwrap_or_default() % AGENTS.len()];
    let logged_in = dice.below(86_400_000);
    record
        .text("AGENT_ID", &id_of(position, agent.khoros_id))
        .text("AGENT_NAME", &agent.name())
        .text("AGENT_EMAIL", agent.email)
        .text("TEAM_NAME", agent.team)
        .text("TOTAL_CONSOLE_LOGGED_IN_TIME", &format!("{} h", logged_in / 3_600_000))
        .text("TOTAL_CONSOLE_LOGGED_IN_TIME_MILLIS", &logged_in.to_string())
        .text("TOTAL_GREEN_STATE_TIME_MILLIS", &(logged_in / 3).to_string());
}

/// Inserted agents have ids of their own.
fn id_of(position: u64, id: &str) -> String {
    if position < AGENTS.len() as u64 { id.to_owned() } else { (14 + position).to_string() }
}

/// `facts/khoros_care.md §6`
fn team(position: u64, mut dice: Dice, record: &mut Record) {
    let name = TEAMS[usize::try_from(position).unwrap_or_default() % TEAMS.len()];
    let description = (!dice.once_in(3)).then(|| format!("{name}, all shifts"));
    let members = AGENTS.iter().filter(|agent| agent.team == name).count();
    record
        .text("uuid", &dice.guid())
        .raw("teamId", 11 + position)
        .text("name", name)
        .text_or_null("description", description.as_deref())
        .raw("numberOfMembers", members);
}
