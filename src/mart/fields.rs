//! Fields that vendors do not document, and the names under which they may appear.
//!
//! The columns of these tables are known only once data have arrived. Each field of the mart lists candidate columns;
//! the first that the table has feeds it, unless `mart.fields` in the configuration names another.

use serde::Serialize;

use crate::catalogue::times;

/// The type of a field in the mart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Text,
    /// An instant: text as in ISO 8601, without an offset taken as UTC; a number as seconds or milliseconds since 1970.
    Time,
    /// A number that is too large for sums and averages is null. Of the text `95%` the number is 95.
    Number,
    /// A duration in seconds. The unit of a number follows from the end of the column's name: `_ms`, `_millis`, `_min`
    /// or `_hours`; otherwise seconds. Text may be `HH:MM:SS`.
    Seconds,
    /// Who sent a message: one of the words of [`DIRECTIONS`], in any case. Others are null.
    Direction,
}

/// Who sends a message, in the words of the mart. Each is followed by the words for it in English, Spanish and
/// Portuguese, in lower case and without accents.
pub const DIRECTIONS: [(&str, &[&str]); 3] = [
    (
        "customer",
        &[
            "customer",
            "client",
            "user",
            "contact",
            "consumer",
            "cliente",
            "usuario",
            "usuaria",
            "contacto",
            "contato",
            "consumidor",
            "consumidora",
        ],
    ),
    (
        "agent",
        &[
            "agent",
            "operator",
            "executive",
            "advisor",
            "agente",
            "asesor",
            "asesora",
            "operador",
            "operadora",
            "ejecutivo",
            "ejecutiva",
            "executivo",
            "executiva",
            "atendente",
            "assessor",
            "assessora",
            "consultor",
            "consultora",
            "supervisor",
            "supervisora",
        ],
    ),
    (
        "bot",
        &[
            "bot",
            "lynn",
            "system",
            "chatbot",
            "robot",
            "robo",
            "sistema",
            "virtual assistant",
            "asistente virtual",
            "assistente virtual",
        ],
    ),
];

impl Kind {
    /// The word in `tidegate mart`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Time => "time",
            Self::Number => "number",
            Self::Seconds => "seconds",
            Self::Direction => "sender",
        }
    }

    /// The values that are read, in the words of `tidegate mart`.
    pub const fn readable(self) -> &'static str {
        match self {
            Self::Text => "any text",
            Self::Time => "a time such as 2026-01-31T23:59:00Z",
            Self::Number => "a number such as 12.5 or 95%",
            Self::Seconds => "a duration such as 90 or 1:02:03",
            Self::Direction => "a word for the customer, an agent or a bot",
        }
    }

    /// The type of the field in the views.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Text | Self::Direction => "text",
            Self::Time => "timestamptz",
            Self::Number | Self::Seconds => "double precision",
        }
    }
}

/// A field of the mart that one table feeds.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// Columns, the most likely first.
    pub candidates: &'static [&'static str],
    /// The views convert the value only in rows where another field has one of these values, in any case.
    pub only_where: Option<(&'static str, &'static [&'static str])>,
}

/// A table whose columns are not documented.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub schema: &'static str,
    pub table: &'static str,
    /// Columns that the table always has and the views use as they are.
    pub keep: &'static [&'static str],
    pub fields: &'static [Field],
}

impl Source {
    /// Schema and table, as in `mart.fields` of the configuration and in the templates of the views.
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SOURCES.iter().find(|source| source.name() == name)
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn text(name: &'static str, candidates: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Text, candidates, only_where: None }
}

const fn time(name: &'static str, candidates: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Time, candidates, only_where: None }
}

const fn number(name: &'static str, candidates: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Number, candidates, only_where: None }
}

const fn seconds(name: &'static str, candidates: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Seconds, candidates, only_where: None }
}

const fn direction(name: &'static str, candidates: &'static [&'static str]) -> Field {
    Field { name, kind: Kind::Direction, candidates, only_where: None }
}

/// Every table whose columns are found, in the order of the documentation.
pub const SOURCES: &[Source] = &[
    Source {
        schema: "khoros",
        table: "conversation",
        keep: &["_connection", "_loaded_at", "conversation_id"],
        fields: &[
            time("started_at", times::KHOROS_CONVERSATION),
            time(
                "ended_at",
                &[
                    "closed_time",
                    "conversation_closed_time",
                    "close_time",
                    "closed_at",
                    "closed_date",
                    "resolved_time",
                    "end_time",
                ],
            ),
            text("status", &["status", "conversation_status", "state", "conversation_state"]),
            text(
                "agent",
                &[
                    "assigned_agent_display_id",
                    "assigned_agent_id",
                    "agent_display_id",
                    "owner_display_id",
                    "agent_id",
                    "owner_id",
                    "assigned_agent",
                ],
            ),
            text(
                "channel",
                &["network", "channel", "source_network", "social_network", "network_type", "platform", "source"],
            ),
            text("customer", &["author_uuid", "author_id", "customer_id", "user_uuid"]),
            number("messages", &["message_count", "messages_count", "number_of_messages", "post_count", "messages"]),
            seconds(
                "first_response_seconds",
                &[
                    "first_response_time_seconds",
                    "first_response_seconds",
                    "first_response_time_millis",
                    "first_response_time_min",
                    "time_to_first_response",
                    "tfr",
                ],
            ),
        ],
    },
    Source {
        schema: "khoros",
        table: "response",
        keep: &["_connection", "_row_key", "_loaded_at"],
        fields: &[
            text("id", &["response_id", "post_id", "message_id", "id"]),
            text("conversation_id", &["conversation_id", "conversation_display_id", "conversation"]),
            text("agent", &["agent_display_id", "agent_id", "responder_id", "user_id", "agent"]),
            time("sent_at", times::KHOROS_RESPONSE),
            text("channel", &["network", "channel", "source_network", "social_network", "platform"]),
            text("delivery_status", &["delivery_status", "publish_status", "response_status"]),
            text("text", &["message_text", "response_text", "text", "content", "message"]),
        ],
    },
    Source {
        schema: "khoros",
        table: "incoming_post",
        keep: &["_connection", "_row_key", "_loaded_at"],
        fields: &[
            text("id", &["post_id", "message_id", "id"]),
            text("conversation_id", &["conversation_id", "conversation_display_id", "conversation"]),
            text("author", &["author_uuid", "author_id", "user_uuid", "author"]),
            time("sent_at", times::KHOROS_POST),
            text("channel", &["network", "channel", "source_network", "social_network", "platform"]),
            text("text", &["message_text", "post_text", "text", "content", "message"]),
        ],
    },
    Source {
        schema: "khoros",
        table: "author",
        keep: &["_connection", "_row_key", "_loaded_at"],
        fields: &[
            text("author", &["author_uuid", "author_id", "user_uuid", "id"]),
            text("name", &["author_name", "user_name", "screen_name", "name"]),
            text("channel", &["network", "channel", "source_network", "social_network", "platform"]),
        ],
    },
    Source {
        schema: "khoros",
        table: "user",
        keep: &["_connection", "_row_key", "_deleted_at", "_loaded_at"],
        fields: &[
            text("agent", &["agent_display_id", "agent_id", "user_id", "display_id", "id"]),
            text("name", &["agent_name", "user_name", "full_name", "name"]),
            text("email", &["agent_email", "user_email", "email_address", "email"]),
            text("team", &["team_name", "team", "teams"]),
        ],
    },
    Source {
        schema: "lexer",
        table: "case_details",
        keep: &["_connection", "_window_start", "_row_key", "_loaded_at"],
        fields: &[
            text("case_id", &["case_id", "id", "case_number", "case"]),
            time("started_at", times::LEXER_CASE),
            time(
                "ended_at",
                &[
                    "closed_utc",
                    "closed_at_utc",
                    "closed_date_utc",
                    "closed_at",
                    "closed",
                    "resolved_utc",
                    "resolved_at",
                ],
            ),
            text("status", &["status", "case_status", "state"]),
            text("channel", &["source_type", "channel", "source"]),
            text("agent", &["agent", "assigned_agent", "agent_name", "assignee", "closed_by"]),
            text("customer", &["customer_username", "customer_id", "customer", "username"]),
            seconds(
                "first_response_seconds",
                &[
                    "first_reply_time_sec",
                    "first_reply_time_seconds",
                    "first_reply_time_min",
                    "first_reply_time",
                    "first_response_time_sec",
                    "first_response_time",
                ],
            ),
            seconds(
                "resolution_seconds",
                &["resolution_time_sec", "resolution_time_seconds", "resolution_time_min", "resolution_time"],
            ),
            number("messages", &["interactions", "agent_interactions", "replies", "messages"]),
        ],
    },
    Source {
        schema: "lexer",
        table: "nps_submissions",
        keep: &["_connection", "_window_start", "_row_key", "_loaded_at", "form_id"],
        fields: &[
            time("answered_at", times::LEXER_SUBMISSION),
            number("score", &["score", "nps_score", "rating", "nps"]),
            text("answer", &["score", "nps_score", "rating", "nps"]),
            text("agent", &["agent", "agent_name", "assigned_agent", "sent_by"]),
            text("customer", &["customer_username", "customer_id", "customer", "username"]),
            text("comment", &["comment", "comments", "feedback", "reason"]),
        ],
    },
    Source {
        schema: "lynn",
        table: "current_interactions",
        keep: &["_connection", "_loaded_at"],
        fields: &[
            time("started_at", times::LYNN_INTERACTION),
            text("session", &["session_id", "session", "id_session"]),
            text("channel", &["channel", "channel_name", "channel_id"]),
            time("agent_at", &["agent_connection_date", "agent_date", "agent_start_date"]),
            text("agent", &["agent", "agent_name", "agent_user", "user"]),
            text("team", &["work_group", "workgroup", "group", "team"]),
            seconds(
                "first_response_seconds",
                &[
                    "first_response_service_level_sec",
                    "first_response_sec",
                    "first_response_time_sec",
                    "first_response_time",
                ],
            ),
            seconds(
                "duration_seconds",
                &["duration", "duration_sec", "session_duration", "interaction_service_level_sec"],
            ),
            number("compliance", &["compliance", "sla_compliance", "service_level_compliance"]),
        ],
    },
    Source {
        schema: "lynn",
        table: "survey_result",
        keep: &["_connection", "_window_start", "_row_key", "_loaded_at"],
        fields: &[
            time("answered_at", times::LYNN_ANSWER),
            text("session", &["session_id", "session", "id_session"]),
            text("agent", &["agent", "agent_name", "agent_user", "user"]),
            text("survey", &["survey_name", "survey", "name"]),
            text("scale", &["classification", "type", "survey_type", "scale"]),
            text("answer", &["value", "answer", "score", "result"]),
            // Answers on the other scales are words and emoji.
            Field {
                only_where: Some(("scale", &["stars", "nps"])),
                ..number("score", &["value", "answer", "score", "result"])
            },
            text("comment", &["comment", "comments", "observation"]),
        ],
    },
    Source {
        schema: "lynn",
        table: "show_dialogs",
        keep: &["_connection", "_window_start", "_row_key", "_loaded_at"],
        fields: &[
            time("sent_at", times::LYNN_MESSAGE),
            text("session", &["session_id", "session", "id_session"]),
            text("channel", &["channel", "channel_name", "channel_id"]),
            direction("sender", &["from", "sender", "origin", "author_type"]),
            text("author", &["author", "author_name", "agent", "user"]),
            text("text", &["text", "message", "content", "body"]),
        ],
    },
    Source {
        schema: "lynn",
        table: "campaigns",
        keep: &["_connection", "_deleted_at", "_loaded_at"],
        fields: &[
            text("id", &["campaign_id", "id", "id_campaign"]),
            text("name", &["name", "campaign_name", "description"]),
            text("type", &["type", "campaign_type"]),
            text("category", &["category", "campaign_category"]),
            time("valid_until", &["valid_until", "end_date", "expiration_date"]),
        ],
    },
    Source {
        schema: "lynn",
        table: "contacts",
        keep: &["_connection", "_deleted_at", "_loaded_at"],
        fields: &[
            text("id", &["id", "contact_id", "id_contact"]),
            text("name", &["full_name", "name", "contact_name"]),
            text("channel", &["channel", "channel_name", "channel_id"]),
        ],
    },
    Source {
        schema: "lynn",
        table: "dnd_contacts",
        keep: &["_connection", "_deleted_at", "_loaded_at"],
        fields: &[
            text("contact", &["contact_id", "id_contact", "id"]),
            text("campaign", &["campaign_id", "id_campaign", "campaign"]),
        ],
    },
];
