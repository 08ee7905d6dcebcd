//! Likely names of the business time in tables whose columns the vendor does not document, the most likely first.
//!
//! Each list is used twice. The connectors offer it as [`Stream::business_time`](super::Stream::business_time), so that
//! the column is indexed. The mart finds its field for the time by it (`src/mart/fields.rs`). A query of the mart by
//! time can use the index only if both mean the same column.

/// When something happened, in an export of Khoros Care that has no list of its own.
pub const KHOROS_EVENT: &[&str] = &[
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

/// Start of a conversation of Khoros Care: the same without the names at the end, which may be those of another time.
pub const KHOROS_CONVERSATION: &[&str] = KHOROS_EVENT.split_at(9).0;

/// When an agent's response was sent, in Khoros Care.
pub const KHOROS_RESPONSE: &[&str] =
    &["response_time", "published_time", "sent_time", "created_time", "response_published_time", "time"];

/// When a customer's post was published, in Khoros Care.
pub const KHOROS_POST: &[&str] = &["post_time", "posted_time", "published_time", "created_time", "time"];

/// Start of a case of Lexer.
pub const LEXER_CASE: &[&str] = &[
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

/// When a survey of Lexer was answered.
pub const LEXER_SUBMISSION: &[&str] = &[
    "submitted_at_utc",
    "submitted_utc",
    "submission_date_utc",
    "submitted_at",
    "received_at_utc",
    "received_at",
    "created_at_utc",
    "created_at",
];

/// When something happened, in a report of Lynn that has no list of its own.
pub const LYNN_EVENT: &[&str] = &[
    "timestamp",
    "date",
    "start_date",
    "session_date",
    "connection_date",
    "message_date",
    "answer_date",
    "answered_at",
    "created_at",
];

/// Start of an interaction with an agent of Lynn.
pub const LYNN_INTERACTION: &[&str] = &["date", "start_date", "session_date", "connection_date", "timestamp"];

/// When a survey of Lynn was answered.
pub const LYNN_ANSWER: &[&str] = &["date", "answer_date", "answered_at", "timestamp", "created_at"];

/// When a message of a dialog of Lynn was sent.
pub const LYNN_MESSAGE: &[&str] = &["date", "message_date", "timestamp", "sent_at"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_starts_at_none_of_the_times_of_what_happens_in_it() {
        assert_eq!(KHOROS_CONVERSATION.last(), Some(&"first_post_time"));
        assert_eq!(KHOROS_EVENT[KHOROS_CONVERSATION.len()..], ["action_time", "published_time", "time"]);
    }
}
