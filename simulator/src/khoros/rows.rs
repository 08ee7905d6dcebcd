//! The content of Khoros's exports and lists, made from real conversations. Every field of an export is a string
//! (`facts/khoros_care.md §7`); most fields are not documented, so all but a few are invented.

use super::super::conversations::{Conversation, Message, choose, pick, word};
use super::super::truth::{Dice, Record, Row, Source, Ticks, Volume, seconds_text};

/// Conversations that get closed are closed within this time.
pub(super) const CLOSED_WITHIN: Ticks = 2 * 864_000_000_000;
/// Number of agents of the account.
const AGENTS: u64 = 12;
const TEAMS: [&str; 3] = ["Soporte", "Billing \"EU\"", "Night shift"];

/// One export or list: its id, its rows per thousand rows of the largest one, and its metrics.
pub(super) struct Export {
    pub id: &'static str,
    share: u64,
    pub metrics: &'static [&'static str],
}

/// The lists are the rows of 1 January 1970, since they have no time.
const LISTS: &[(&str, u64)] = &[("user", AGENTS), ("teams", TEAMS.len() as u64)];

/// By number.
pub(super) const EXPORTS: &[Export] = &[
    Export {
        id: "conversation",
        share: 300,
        metrics: &[
            "CONVERSATION_ID",
            "STATUS",
            "ASSIGNED_AGENT_DISPLAY_ID",
            "COMPANY",
            "CREATED_TIME",
            "CLOSED_TIME",
            "MESSAGE_COUNT",
            "FIRST_MESSAGE_TEXT",
        ],
    },
    Export {
        id: "conversation_actions",
        share: 600,
        metrics: &["CONVERSATION_ID", "ACTION", "ACTION_TIME", "AGENT_DISPLAY_ID", "NOTE"],
    },
    Export {
        id: "conversation_history_action",
        share: 700,
        metrics: &["CONVERSATION_ID", "ORDINAL", "ACTION", "ACTION_TIME", "AGENT_DISPLAY_ID"],
    },
    Export {
        id: "incoming_post",
        share: 1000,
        metrics: &["POST_ID", "CONVERSATION_ID", "AUTHOR_UUID", "POST_TIME", "MESSAGE_TEXT"],
    },
    Export {
        id: "response",
        share: 800,
        metrics: &["RESPONSE_ID", "CONVERSATION_ID", "AGENT_DISPLAY_ID", "RESPONSE_TIME", "MESSAGE_TEXT"],
    },
    Export {
        id: "response_approval",
        share: 60,
        metrics: &["RESPONSE_ID", "APPROVER_DISPLAY_ID", "STEP", "STATE", "APPROVAL_TIME"],
    },
    Export { id: "combined", share: 200, metrics: &["TYPE", "CONVERSATION_ID", "TIME", "MESSAGE_TEXT"] },
    Export {
        id: "author",
        share: 150,
        metrics: &["AUTHOR_UUID", "AUTHOR_NAME", "NETWORK", "FOLLOWERS", "LAST_POST_TIME"],
    },
    Export {
        id: "raw_expert_help",
        share: 40,
        metrics: &["CONVERSATION_ID", "REQUESTED_BY", "REQUEST_TIME", "REQUEST_TEXT"],
    },
    Export {
        id: "raw_agent_states",
        share: 200,
        metrics: &["agent_name", "agent_email", "agent_id", "state", "state_start", "duration_seconds"],
    },
    Export {
        id: "team_performance",
        share: 20,
        metrics: &["AGENT_DISPLAY_ID", "TEAM_NAME", "RESPONSES", "AVG_HANDLE_TIME"],
    },
    Export {
        id: "team_performance_interval",
        share: 100,
        metrics: &["AGENT_DISPLAY_ID", "TEAM_NAME", "INTERVAL_START", "RESPONSES"],
    },
    Export {
        id: "user",
        share: 0,
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
    Export { id: "teams", share: 0, metrics: &[] },
    // A Publishing export: undocumented (`§5`).
    Export { id: "raw_brand_post", share: 30, metrics: &["BRAND_POST_ID", "POST_TIME", "MESSAGE_TEXT"] },
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

/// The exports as functions of seed, export, day and position.
pub(super) struct Rows {
    pub seed: u64,
    pub volume: Volume,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        let export = &EXPORTS[report];
        match LISTS.iter().find(|(id, _)| *id == export.id) {
            Some((_, rows)) if day == 0 => *rows,
            Some(_) => 0,
            None => self.volume.rows_on(self.seed, report, day, export.share),
        }
    }

    fn write(&self, row: Row, record: &mut Record) {
        let day = u64::from(row.day.cast_unsigned());
        let mut dice = Dice::new(self.seed, &[row.report as u64, day, row.position, 29]);
        let conversation = pick(dice.roll());
        let message = choose(dice.roll(), &conversation.messages);
        let made = Made { id: day * 1_000_000 + row.position, conversation, message, dice, row };
        match EXPORTS[row.report].id {
            "conversation" => made.conversation(record),
            "conversation_actions" | "conversation_history_action" => made.action(record),
            "incoming_post" => made.post(record, self.seed),
            "response" => made.response(record),
            "response_approval" => made.approval(record),
            "author" => made.author(record, self.seed),
            "raw_expert_help" => made.help(record),
            "raw_agent_states" => made.state(record),
            "team_performance" | "team_performance_interval" => made.performance(record),
            "user" => made.user(record),
            "teams" => made.team(record),
            "raw_brand_post" => made.brand_post(record),
            _ => made.combined(record),
        }
    }
}

/// The inputs of a row.
struct Made {
    /// The number of the entity within its export.
    id: u64,
    conversation: &'static Conversation,
    message: &'static Message,
    dice: Dice,
    row: Row,
}

impl Made {
    fn conversation(mut self, record: &mut Record) {
        let status = word(self.dice.roll(), &["Closed", "Closed", "Open", "Pending"]);
        let last = self.conversation.messages.last().map_or(0, |message| self.conversation.since_start(message));
        let closed = self.row.at + last.clamp(0, CLOSED_WITHIN - 1);
        let closed = if status == "Closed" { seconds_text(closed) } else { String::new() };
        record
            .text("CONVERSATION_ID", &self.id.to_string())
            .text("STATUS", status)
            .text("ASSIGNED_AGENT_DISPLAY_ID", word(self.dice.roll(), &["14", "27", "31", ""]))
            .text("COMPANY", &self.conversation.company)
            .text("CREATED_TIME", &seconds_text(self.row.at))
            .text("CLOSED_TIME", &closed)
            .text("MESSAGE_COUNT", &self.conversation.messages.len().to_string())
            .text("FIRST_MESSAGE_TEXT", &self.conversation.messages[0].text);
    }

    fn action(mut self, record: &mut Record) {
        let history = EXPORTS[self.row.report].id == "conversation_history_action";
        record.text("CONVERSATION_ID", &(self.id / 3).to_string());
        if history {
            record.text("ORDINAL", &(self.id % 3).to_string());
        }
        let agent = self.agent();
        record
            .text("ACTION", word(self.dice.roll(), &["ASSIGN", "CLOSE", "TAG", "REOPEN"]))
            .text("ACTION_TIME", &seconds_text(self.row.at))
            .text("AGENT_DISPLAY_ID", &agent);
        if !history {
            record.text("NOTE", if self.dice.once_in(3) { &self.message.text } else { "" });
        }
    }

    fn post(mut self, record: &mut Record, seed: u64) {
        let author = self.author_id(seed);
        record
            .text("POST_ID", &self.id.to_string())
            .text("CONVERSATION_ID", &(self.id / 2).to_string())
            .text("AUTHOR_UUID", &author)
            .text("POST_TIME", &seconds_text(self.row.at))
            .text("MESSAGE_TEXT", &self.message.text);
    }

    fn response(mut self, record: &mut Record) {
        let agent = self.agent();
        record
            .text("RESPONSE_ID", &self.id.to_string())
            .text("CONVERSATION_ID", &(self.id / 2).to_string())
            .text("AGENT_DISPLAY_ID", &agent)
            .text("RESPONSE_TIME", &seconds_text(self.row.at))
            .text("MESSAGE_TEXT", &self.conversation.resolution.text);
    }

    fn approval(mut self, record: &mut Record) {
        let agent = self.agent();
        record
            .text("RESPONSE_ID", &(self.id / 2).to_string())
            .text("APPROVER_DISPLAY_ID", &agent)
            .text("STEP", &(1 + self.id % 2).to_string())
            .text("STATE", word(self.dice.roll(), &["APPROVED", "REJECTED"]))
            .text("APPROVAL_TIME", &seconds_text(self.row.at));
    }

    fn combined(mut self, record: &mut Record) {
        record
            .text("TYPE", word(self.dice.roll(), &["POST", "RESPONSE"]))
            .text("CONVERSATION_ID", &(self.id / 2).to_string())
            .text("TIME", &seconds_text(self.row.at))
            .text("MESSAGE_TEXT", &self.message.text);
    }

    fn author(mut self, record: &mut Record, seed: u64) {
        let author = self.author_id(seed);
        record
            .text("AUTHOR_UUID", &author)
            .text("AUTHOR_NAME", &self.message.author)
            .text("NETWORK", word(self.dice.roll(), &["TWITTER", "FACEBOOK"]))
            .text("FOLLOWERS", &self.dice.below(10_000).to_string())
            .text("LAST_POST_TIME", &seconds_text(self.row.at));
    }

    fn help(mut self, record: &mut Record) {
        let agent = self.agent();
        record
            .text("CONVERSATION_ID", &(self.id / 2).to_string())
            .text("REQUESTED_BY", &agent)
            .text("REQUEST_TIME", &seconds_text(self.row.at))
            .text("REQUEST_TEXT", &self.message.text);
    }

    fn state(mut self, record: &mut Record) {
        let agent = self.agent();
        record
            .text("agent_name", &format!("Agent {agent}"))
            .text("agent_email", &format!("agent{agent}@example.com"))
            .text("agent_id", &agent)
            .text("state", word(self.dice.roll(), &["GREEN", "YELLOW", "RED"]))
            .text("state_start", &seconds_text(self.row.at))
            .text("duration_seconds", &self.dice.below(7200).to_string());
    }

    fn performance(mut self, record: &mut Record) {
        let agent = self.agent();
        record.text("AGENT_DISPLAY_ID", &agent).text("TEAM_NAME", word(self.dice.roll(), &TEAMS));
        if EXPORTS[self.row.report].id == "team_performance_interval" {
            record.text("INTERVAL_START", &seconds_text(self.row.at));
        }
        record.text("RESPONSES", &self.dice.below(80).to_string());
        if EXPORTS[self.row.report].id == "team_performance" {
            record.text("AVG_HANDLE_TIME", &format!("{}.{}", self.dice.below(600), self.dice.below(10)));
        }
    }

    fn user(mut self, record: &mut Record) {
        let (id, logged_in) = (14 + self.row.position, self.dice.below(86_400_000));
        record
            .text("AGENT_ID", &id.to_string())
            .text("AGENT_NAME", &format!("Agent {id}"))
            .text("AGENT_EMAIL", &format!("agent{id}@example.com"))
            .text("TEAM_NAME", word(self.dice.roll(), &TEAMS))
            .text("TOTAL_CONSOLE_LOGGED_IN_TIME", &format!("{} h", logged_in / 3_600_000))
            .text("TOTAL_CONSOLE_LOGGED_IN_TIME_MILLIS", &logged_in.to_string())
            .text("TOTAL_GREEN_STATE_TIME_MILLIS", &(logged_in / 3).to_string());
    }

    /// `facts/khoros_care.md §6`
    fn team(mut self, record: &mut Record) {
        let name = word(self.row.position, &TEAMS);
        let description = (!self.dice.once_in(3)).then(|| format!("{name}, all shifts"));
        record
            .text("uuid", &self.dice.guid())
            .raw("teamId", 11 + self.row.position)
            .text("name", name)
            .text_or_null("description", description.as_deref())
            .raw("numberOfMembers", self.dice.below(40));
    }

    fn brand_post(self, record: &mut Record) {
        record
            .text("BRAND_POST_ID", &self.id.to_string())
            .text("POST_TIME", &seconds_text(self.row.at))
            .text("MESSAGE_TEXT", &self.message.text);
    }

    fn agent(&mut self) -> String {
        (14 + self.dice.below(AGENTS)).to_string()
    }

    /// Authors recur: there are two hundred.
    fn author_id(&mut self, seed: u64) -> String {
        Dice::new(seed, &[self.dice.below(200), 31]).guid()
    }
}
