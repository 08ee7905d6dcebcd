//! Khoros Care Analytics Reports: its exports and lists (`facts/khoros_care.md §5, §6`).
//!
//! The columns of exports are not documented, so they are created from the files. Keys are guessed from the names of
//! ids; a job may set others (`key`).

use std::borrow::Cow;

use crate::catalogue::{Column, ColumnType, Key, Mode, Stream, Text, Vendor, Windows, column_name, times};

pub const VENDOR: Vendor = Vendor::new("khoros_care");

/// The longest window that an export may have (`§8`).
const DAYS_MAX: u32 = 90;

/// The metric that names a conversation (`§5.2`).
pub(super) const CONVERSATION_ID: &str = "CONVERSATION_ID";

/// The closing time of a conversation. The metric is not documented; the export has it if the company has enabled it.
pub(super) const CLOSED_TIME: &str = "CLOSED_TIME";

const CONVERSATION: &[Column] = &[
    Column::new(
        CONVERSATION_ID,
        "conversation_id",
        ColumnType::Text,
        "Id of the conversation; joins the exports of one conversation",
    ),
    Column::new(
        CLOSED_TIME,
        "closed_time",
        ColumnType::Timestamptz,
        "When the conversation was closed; null while it is open, or where the export has no such metric",
    ),
];

/// `§6`
const TEAMS: &[Column] = &[
    Column::new("uuid", "uuid", ColumnType::Text, "Id of the team as a UUID"),
    Column::new("teamId", "team_id", ColumnType::Bigint, "Id of the team, as exports are filtered by it"),
    Column::new("name", "name", ColumnType::Text, "Name of the team"),
    Column::new("description", "description", ColumnType::Text, "What the team is for"),
    Column::new("numberOfMembers", "number_of_members", ColumnType::Bigint, "Members of the team, a count"),
];

const fn named(name: &'static str) -> Text {
    Cow::Borrowed(name)
}

// Likely names of ids, the likeliest first; they are not documented (`§5`).
const AUTHOR_IDS: &[Text] = &[named("author_uuid"), named("author_id"), named("uuid"), named("id")];
const POST_IDS: &[Text] =
    &[named("post_id"), named("incoming_post_id"), named("post_uuid"), named("message_id"), named("uuid"), named("id")];
/// Not `post_id`: that may be the post to which an agent replied, and two replies to it are two rows.
const RESPONSE_IDS: &[Text] =
    &[named("response_id"), named("response_post_id"), named("response_uuid"), named("uuid"), named("id")];
const USER_IDS: &[Text] = &[named("agent_id"), named("user_id"), named("agent_uuid"), named("uuid"), named("id")];

/// Export id, merge mode, likely names of the row's id, and meaning (`§5`).
const EXPORTS: &[(&str, Mode, &[Text], &str)] = &[
    (
        "conversation",
        Mode::Upsert,
        &[named("conversation_id")],
        "A conversation that was created or closed in the window or is open now, as last reported (Raw Conversation)",
    ),
    ("conversation_actions", Mode::ReplaceWindow, &[], "An action taken on a conversation in the window"),
    (
        "conversation_history_action",
        Mode::ReplaceWindow,
        &[],
        "An action in a conversation's history; the vendor stops at 500 actions of a conversation, 2,000 with raiselimit",
    ),
    ("incoming_post", Mode::Upsert, POST_IDS, "A customer's post that was received in the window (Raw Incoming Post)"),
    ("response", Mode::Upsert, RESPONSE_IDS, "An agent's response that was sent in the window (Raw Response)"),
    ("response_approval", Mode::ReplaceWindow, &[], "A step in the approval of a response (Raw Response Approval)"),
    ("combined", Mode::ReplaceWindow, &[], "A row of the combined raw export; what it is, is not documented"),
    ("author", Mode::Upsert, AUTHOR_IDS, "An author with a post in the window (Raw Author)"),
    ("raw_expert_help", Mode::ReplaceWindow, &[], "A request for help (Raw Help Request)"),
    ("raw_agent_states", Mode::ReplaceWindow, &[], "A state of an agent, or its change (Agent State)"),
    ("team_performance", Mode::ReplaceWindow, &[], "An agent's figures over the whole window (Raw Team Performance)"),
    (
        "team_performance_interval",
        Mode::ReplaceWindow,
        &[],
        "An agent's figures in one interval of the window (Team Performance Interval)",
    ),
    ("user", Mode::Snapshot, USER_IDS, "An agent's account; total times are those of the 24 hours before the reading"),
];

/// Every stream.
pub(in crate::connector) fn streams() -> Vec<Stream> {
    EXPORTS.iter().map(|&(name, mode, ids, meaning)| export(name, mode, ids, meaning)).chain([teams()]).collect()
}

/// A Publishing export of the tenant: a stream whose columns are created from its data (`§11.18`).
pub fn marketing_export(name: &str, export_id: &str) -> Stream {
    Stream {
        name: marketing_name(name).into(),
        vendor_id: format!("{MARKETING_PATH}{export_id}").into(),
        meaning: format!("Publishing export {export_id}, named {name} in the configuration").into(),
        ..export("", Mode::ReplaceWindow, &[], "")
    }
}

/// The stream of the Publishing export that the configuration calls `name`.
pub(super) fn marketing_name(name: &str) -> String {
    column_name(&format!("marketing_{name}"))
}

/// Publishing exports have a path of their own (`§3.1`).
const MARKETING_PATH: &str = "marketing/";

fn export(name: &'static str, mode: Mode, ids: &'static [Text], meaning: &'static str) -> Stream {
    let known = name == "conversation";
    Stream {
        vendor: VENDOR,
        name: name.into(),
        schema: "khoros",
        vendor_id: name.into(),
        id_label: None,
        meaning: meaning.into(),
        mode,
        key: match ids {
            [] => Key::RowHash,
            ids if known => Key::Columns(ids.into()),
            ids => Key::AnyOf(ids.into()),
        },
        columns: if known { CONVERSATION.into() } else { Cow::Borrowed(&[]) },
        documented: false,
        time_field: None,
        row_time: None,
        business_time: match name {
            // An account or an author is no event.
            "user" | "author" => &[],
            "conversation" => times::KHOROS_CONVERSATION,
            "incoming_post" => times::KHOROS_POST,
            "response" => times::KHOROS_RESPONSE,
            _ => times::KHOROS_EVENT,
        },
        off_by_default: false,
        children: Cow::Borrowed(&[]),
        windows: Windows::daily(DAYS_MAX),
        exported: true,
    }
}

fn teams() -> Stream {
    Stream {
        key: Key::Columns([named("team_id")].to_vec().into()),
        columns: TEAMS.into(),
        documented: true,
        exported: false,
        business_time: &[],
        ..export("teams", Mode::Snapshot, &[], "A team of agents")
    }
}
