//! Columns that probably have the time of a row, in tables whose columns are not documented. The index by business time
//! is on the first one that the table has, and the mart reads it.

/// The time of a row of an export of Khoros of which nothing more is known.
pub const EXPORT_TIMES: &[&str] = &[
    "created_time",
    "conversation_created_time",
    "creation_time",
    "created_at",
    "created_date",
    "start_time",
    "conversation_start_time",
    "opened_time",
    "first_post_time",
    "action_time",
    "published_time",
    "time",
];
/// When a conversation of Khoros began: all of these but the last three, which have another meaning there.
pub const CONVERSATION_BEGAN: &[&str] = EXPORT_TIMES.split_at(9).0;
/// When an agent's response of Khoros was sent.
pub const RESPONSE_SENT: &[&str] =
    &["response_time", "published_time", "sent_time", "created_time", "response_published_time", "time"];
/// When a customer's post of Khoros was published.
pub const POST_SENT: &[&str] = &["post_time", "posted_time", "published_time", "created_time", "time"];
/// When a case of Lexer was opened.
pub const CASE_OPENED: &[&str] = &[
    "opened_utc",
    "opened_at_utc",
    "opened_date_utc",
    "opened_at",
    "opened",
    "created_utc",
    "created_at_utc",
    "created_at",
    "created_date_utc",
];
/// When a customer answered a survey of Lexer.
pub const SURVEY_ANSWERED: &[&str] = &[
    "submitted_at_utc",
    "submitted_utc",
    "submission_date_utc",
    "submitted_at",
    "received_at_utc",
    "received_at",
    "created_at_utc",
    "created_at",
];
