//! Lexer Activity: lists, reports and CSV jobs (`facts/lexer.md §2, §4, §6`).
//!
//! Responses repeat neither the window nor the request, so the connector adds both: `window_end`, `form`,
//! `nps_category`, the offset of the labels. Window aggregates are not additive (`§4`), as the comments of their tables
//! state.

use std::borrow::Cow;

use crate::catalogue::ColumnType::{Bigint, Boolean, Double, Text as Words, Timestamptz};
use crate::catalogue::{Child, Column, ColumnType, Key, Mode, Stream, Text, Vendor, Windows, times};

pub const VENDOR: Vendor = Vendor::new("lexer_activity");

/// One request covers at most 12 months (`§1`).
const DAYS_MAX: u32 = 365;
/// Below the maximum, because requests of interval reports add whole days at both ends and one more (`§5.12, §8`).
const INTERVAL_DAYS_MAX: u32 = 360;
/// CSV jobs cover at most a month (`§8`).
const EXPORT_DAYS_MAX: u32 = 31;

/// A column with the vendor's name; all of these are snake_case already.
const fn column(name: &'static str, kind: ColumnType, meaning: &'static str) -> Column {
    Column::new(name, name, kind, meaning)
}

/// Column of every windowed stream. Tidegate adds it, so it does not distinguish records.
const WINDOW_END: Column = column(
    "window_end",
    Timestamptz,
    "Exclusive end of the window as it was asked for; before the slice's end while that is open",
)
.ours();

const USERS: &[Column] = &[
    column("id", Bigint, "Id of the agent; `user_id` elsewhere, as text"),
    column("email", Words, "E-mail address"),
    column("first_name", Words, "First name"),
    column("last_name", Words, "Last name"),
    column("timezone", Words, "Zone of the agent, IANA style, e.g. Europe/Lisbon"),
    column("gmtoffset", Double, "Offset of that zone, hours"),
    column("sign_in_count", Bigint, "How often the agent signed in"),
    column("last_sign_in_at", Timestamptz, "When the agent last signed in; null if never"),
    column("archived", Boolean, "Whether the agent is archived"),
];

const USER_GROUPS: &[Column] = &[Column::new("", "group_id", Bigint, "Group of the agent; lexer.groups.id")];

const GROUPS: &[Column] = &[
    column("id", Bigint, "Id of the group"),
    column("name", Words, "Name of the group"),
    column("comment", Words, "Comment on the group"),
];

const FORMS: &[Column] = &[
    column("id", Bigint, "Id of the form; `form` in the NPS tables"),
    column("name", Words, "Name of the form"),
    column("title", Words, "Title that customers see"),
    column("archived", Boolean, "Whether the form is archived"),
    column("created_at", Timestamptz, "When the form was made"),
    column("nps", Boolean, "Whether it is an NPS survey; only such forms have NPS reports"),
    column("form_url", Words, "Address of the form; data, never fetched"),
];

const FORM_GROUPS: &[Column] = &[Column::new("", "group_id", Bigint, "Group of the form; lexer.groups.id")];

/// `§5.1`
const SUMMARY: &[Column] = &[
    WINDOW_END,
    column("total_volume", Bigint, "Messages handled"),
    column("total_responded_to", Bigint, "Messages responded to"),
    column("broke_sla", Bigint, "Messages over the account's SLA for the customer's wait"),
    column("broke_action_sla", Bigint, "Messages over the account's SLA for the agent's handling"),
    column("min_response_time", Double, "Shortest wait of a customer, seconds"),
    column("median_response_time", Double, "Median wait of a customer, seconds"),
    column("max_response_time", Double, "Longest wait of a customer, seconds"),
    column("avg_response_time", Double, "Average wait of a customer, seconds"),
    column("min_action_response_time", Double, "Shortest response time of an agent, seconds"),
    column("median_action_response_time", Double, "Median response time of an agent, seconds"),
    column("max_action_response_time", Double, "Longest response time of an agent, seconds"),
    column("avg_action_response_time", Double, "Average response time of an agent, seconds"),
    column("avg_response_time_min", Double, "avg_response_time in minutes"),
    column("median_response_time_min", Double, "median_response_time in minutes"),
    column("avg_action_response_time_min", Double, "avg_action_response_time in minutes"),
    column("median_action_response_time_min", Double, "median_action_response_time in minutes"),
];

/// `§5.8`
const CASE_SUMMARY: &[Column] = &[
    WINDOW_END,
    column("total_cases", Bigint, "Cases closed in the window"),
    column("first_reply_time", Double, "Average time to the first reply, seconds"),
    column("resolution_time", Double, "Average time to the resolution, seconds"),
    column("median_first_reply_time", Double, "Median time to the first reply, seconds"),
    column("median_resolution_time", Double, "Median time to the resolution, seconds"),
    column("agent_interactions", Double, "Average replies per case"),
    column("agents_involved", Double, "Average agents per case"),
];

const INTERVAL_START: Column = column(
    "interval_start",
    Timestamptz,
    "Start of the interval: interval_label at utc_offset (that labels have the offset of the request is inferred)",
);
const GRANULARITY: Column = column("granularity", Words, "Length of the interval, hour or day, told from the labels");
const INTERVAL_LABEL: Column =
    column("interval_label", Words, "The vendor's own label of the interval, local and without an offset");
const UTC_OFFSET: Column = column("utc_offset", Words, "Offset that was asked with (`utc_offset` of the connection)");

/// `§5.2`
const STATES_VOLUME: &[Column] = &[
    WINDOW_END,
    column("state", Words, "Workflow state"),
    INTERVAL_START,
    GRANULARITY,
    column("value", Bigint, "Messages"),
    INTERVAL_LABEL,
    UTC_OFFSET,
];

/// `§5.5`
const RESPONSE_VOLUME: &[Column] = &[
    WINDOW_END,
    column("metric", Words, "Name of the series, e.g. avg_response_time"),
    INTERVAL_START,
    GRANULARITY,
    column("value", Double, "The raw number; its unit is in doubt, see `unit`"),
    column("unit", Words, "Unit of value as the connection's `response_volume_unit` says: unknown, seconds or minutes"),
    INTERVAL_LABEL,
    UTC_OFFSET,
];

/// `§5.9`
const CASE_VOLUME: &[Column] = &[
    WINDOW_END,
    column("series", Words, "Name of the series, e.g. open"),
    INTERVAL_START,
    GRANULARITY,
    column("value", Bigint, "Cases active in the interval: a level, not a flow, do not add it up over time"),
    INTERVAL_LABEL,
    UTC_OFFSET,
];

/// `§5.4`
const CLASSIFICATIONS: &[Column] = &[
    WINDOW_END,
    column("classification_id", Bigint, "Id of the classification"),
    column("classification", Words, "Name of the classification"),
    column("state", Words, "Workflow state, or all_states"),
    column(
        "is_total",
        Boolean,
        "Whether state is all_states, the sum of the others (derived): leave it out when adding up",
    ),
    column("volume", Bigint, "Messages; one with several classifications counts for each"),
];

/// `§5.10`
const CASE_CLASSIFICATIONS: &[Column] = &[
    WINDOW_END,
    column("classification_id", Bigint, "Id of the classification"),
    column("classification", Words, "Name of the classification"),
    column("volume", Bigint, "Cases; each classification counts once per case"),
];

/// `§5.6`
const USER_SUMMARY: &[Column] = &[
    WINDOW_END,
    column("user_id", Words, "Agent; lexer.users.id as text"),
    column("first_name", Words, "First name"),
    column("last_name", Words, "Last name"),
    column("mentions_assigned", Bigint, "Messages assigned"),
    column("responded_to", Bigint, "Messages responded to"),
    column("responded_to_in_private", Bigint, "Messages responded to in private"),
    column("total_responded_to", Bigint, "Messages responded to, all"),
    column("broke_sla", Bigint, "Messages over the account's SLA for the customer's wait"),
    column("broke_action_sla", Bigint, "Messages over the account's SLA for the agent's handling"),
    column("avg_response_time", Double, "Average wait of a customer, seconds"),
    column("min_response_time", Double, "Shortest wait of a customer, seconds"),
    column("max_response_time", Double, "Longest wait of a customer, seconds"),
    column("avg_action_response_time", Double, "Average response time of the agent, seconds"),
    column("min_action_response_time", Double, "Shortest response time of the agent, seconds"),
    column("max_action_response_time", Double, "Longest response time of the agent, seconds"),
    column("avg_response_time_min", Double, "avg_response_time in minutes"),
    column("avg_action_response_time_min", Double, "avg_action_response_time in minutes"),
    column("fraction_responded_to", Double, "responded_to / mentions_assigned, 0 to 1, as the vendor gives it"),
    column(
        "fraction_responded_to_in_private",
        Double,
        "0 to 1, as the vendor gives it: by its examples of responded_to, by its text of mentions_assigned",
    ),
    column("fraction_broke_sla", Double, "broke_sla / responded_to, 0 to 1, as the vendor gives it"),
    column("fraction_broke_action_sla", Double, "broke_action_sla / responded_to, 0 to 1, as the vendor gives it"),
];

/// `§5.7`
const USER_VOLUME: &[Column] = &[
    WINDOW_END,
    column("user_id", Words, "Agent; lexer.users.id as text"),
    column("first_name", Words, "First name"),
    column("last_name", Words, "Last name"),
    column("state", Words, "Workflow state, or one of the totals all_states and all_closed_states"),
    column("is_total", Boolean, "Whether state is one of the two totals (derived): leave it out when adding up"),
    column("count", Bigint, "Messages that the agent has in the state"),
    column("extracted_at", Timestamptz, "When it was read: the counts are those of that moment, whatever the window")
        .ours(),
];

/// `§5.3`
const WORKFLOW_STATES: &[Column] = &[
    WINDOW_END,
    column("state", Words, "Workflow state"),
    column("is_total", Boolean, "Whether state is a total of others (derived): leave it out when adding up"),
    column("volume", Bigint, "Messages in the state"),
    column(
        "derived",
        Boolean,
        "Whether volume was added up from the agents' counts of Team Volume, because that is what came",
    ),
];

const FORM: Column = column("form", Bigint, "Form that was asked for; lexer.forms.id");
const NPS_CATEGORY: Column = column("nps_category", Words, "Category of submissions that was asked for");

/// `§5.11`
const NPS_SUMMARY: &[Column] = &[
    WINDOW_END,
    FORM,
    NPS_CATEGORY,
    column("total_sent", Bigint, "Surveys sent"),
    column("total_received", Bigint, "Answers received"),
    column("total_promoters", Bigint, "Answers of 9 and 10"),
    column("total_passives", Bigint, "Answers of 7 and 8"),
    column("total_detractors", Bigint, "Answers under 7"),
    column(
        "nps_score",
        Double,
        "Percentage of promoters less that of detractors, of all received (-100 to 100); not additive",
    ),
];

/// `§5.12`
const NPS_VOLUME: &[Column] = &[
    WINDOW_END,
    FORM,
    NPS_CATEGORY,
    column(
        "timestamp",
        Timestamptz,
        "The vendor's time of the bucket, on local midnight of the offset asked with; whether it is its start or end is not documented",
    ),
    column("date", Timestamptz, "The same as the vendor writes it"),
    Column::new("data.total_sent", "data_total_sent", Bigint, "Surveys sent"),
    Column::new("data.total_received", "data_total_received", Bigint, "Answers received"),
    Column::new("data.total_promoters", "data_total_promoters", Bigint, "Answers of 9 and 10"),
    Column::new("data.total_passives", "data_total_passives", Bigint, "Answers of 7 and 8"),
    Column::new("data.total_detractors", "data_total_detractors", Bigint, "Answers under 7"),
    Column::new(
        "data.nps_score",
        "data_nps_score",
        Double,
        "Percentage of promoters less that of detractors, of all received (-100 to 100); 0 without answers; not additive",
    ),
];

const CASE_DETAILS: &[Column] = &[WINDOW_END];

const NPS_SUBMISSIONS: &[Column] =
    &[WINDOW_END, column("form_id", Bigint, "Form that was asked for; lexer.forms.id"), NPS_CATEGORY];

/// `§6.2`. The draft types all columns as text; these types follow from titles and meanings. The misspelled header is
/// documented.
const MENTION_SLA_EXPORT: &[Column] = &[
    WINDOW_END,
    Column::new("Account Name", "account_name", Words, "Account that was mentioned"),
    Column::new("Source Type", "source_type", Words, "Network or channel"),
    Column::new("Agent First Name", "agent_first_name", Words, "First name of the agent who handled the message"),
    Column::new("Agent Last Name", "agent_last_name", Words, "Last name of that agent"),
    Column::new("Last Action Date (UTC)", "last_action_date_utc", Timestamptz, "When the last action was taken"),
    Column::new(
        "Customer Wait Time (min)",
        "customer_wait_time_min",
        Double,
        "Wait of the customer for a reply, minutes",
    ),
    Column::new("In Queue (min)", "in_queue_min", Double, "Time in the queue, minutes"),
    Column::new("Agent Response Time (min)", "agent_response_time_min", Double, "From claim to reply, minutes"),
    Column::new(
        "Within Customer SLA",
        "within_customer_sla",
        Boolean,
        "Whether the customer's wait was within the SLA",
    ),
    Column::new("Within Agent SLA", "within_agent_sla", Boolean, "Whether the agent's handling was within the SLA"),
    Column::new("State", "state", Words, "Workflow state at the time of the export"),
    Column::new("Customer Publish Date (UTC)", "customer_publish_date_utc", Timestamptz, "When the customer wrote"),
    Column::new("Customer Username", "customer_username", Words, "User name of the customer"),
    Column::new("Customer Fullname", "customer_fullname", Words, "Name of the customer"),
    Column::new(
        "Customer Message",
        "customer_message",
        Words,
        "What the customer wrote; may begin like a spreadsheet formula",
    ),
    Column::new(
        "Agent Reponse Date (UTC)",
        "agent_reponse_date_utc",
        Timestamptz,
        "When the agent replied; spelt as documented",
    ),
    Column::new("Agent Response", "agent_response", Words, "What the agent replied"),
    Column::new(
        "Classifications",
        "classifications",
        Words,
        "Classifications, a list in one cell; its separator is not documented",
    ),
    Column::new("Agent Notes", "agent_notes", Words, "Notes of agents"),
    Column::new("Customer Note", "customer_note", Words, "Note on the customer"),
];

/// Every stream.
pub(in crate::connector) fn streams() -> Vec<Stream> {
    let mut streams = lists();
    streams.extend(reports());
    streams.extend(exports());
    streams
}

fn lists() -> Vec<Stream> {
    const USER: &[(Text, Text)] = &[(Text::Borrowed("id"), Text::Borrowed("user_id"))];
    const FORM: &[(Text, Text)] = &[(Text::Borrowed("id"), Text::Borrowed("form_id"))];
    let list = |name, meaning, columns, children| Stream {
        mode: Mode::Snapshot,
        key: Key::Columns(Cow::Borrowed(&[Text::Borrowed("id")])),
        children,
        ..stream(name, meaning, columns)
    };
    let child = |name: &'static str, meaning: &'static str, parent: &'static [(Text, Text)], columns| {
        let (name, meaning, field) = (name.into(), meaning.into(), "groups".into());
        let (parent, columns) = (Cow::Borrowed(parent), Cow::Borrowed(columns));
        vec![Child { name, meaning, field, parent, columns }].into()
    };
    let user_groups = child("user_groups", "Which agent is in which group", USER, USER_GROUPS);
    let form_groups = child("form_groups", "Which form belongs to which group", FORM, FORM_GROUPS);
    vec![
        list("users", "Agents", USERS, user_groups),
        list("groups", "Groups of agents", GROUPS, Cow::Borrowed(&[])),
        list("forms", "Forms, NPS surveys among them", FORMS, form_groups),
    ]
}

const INTERVALS: Windows = Windows { days: 7, days_max: INTERVAL_DAYS_MAX, shared_second: false };
const DAY: Windows = Windows::daily(DAYS_MAX);

/// Name, meaning, own key, windows, columns.
type ReportRow = (&'static str, &'static str, &'static [&'static str], Windows, &'static [Column]);

/// `§4`
const REPORTS: &[ReportRow] = &[
    ("summary", "What the team handled and how fast, one row per window; not additive over windows", &[], DAY, SUMMARY),
    (
        "states_volume",
        "Messages by workflow state and day (or hour)",
        &["state", "interval_start", "granularity"],
        INTERVALS,
        STATES_VOLUME,
    ),
    (
        "response_volume",
        "Response times by day (or hour)",
        &["metric", "interval_start", "granularity"],
        INTERVALS,
        RESPONSE_VOLUME,
    ),
    (
        "classifications",
        "Messages by classification and workflow state, per window",
        &["classification_id", "state"],
        DAY,
        CLASSIFICATIONS,
    ),
    (
        "user_summary",
        "What each agent handled and how fast, per window; not additive over windows",
        &["user_id"],
        DAY,
        USER_SUMMARY,
    ),
    (
        "user_volume",
        "Messages that each agent has, by workflow state: the counts of the moment of reading",
        &["user_id", "state"],
        DAY,
        USER_VOLUME,
    ),
    ("workflow_states", "Messages by workflow state, one row per window and state", &["state"], DAY, WORKFLOW_STATES),
    (
        "case_summary",
        "Cases closed and how fast, one row per window; not additive over windows",
        &[],
        DAY,
        CASE_SUMMARY,
    ),
    (
        "case_volume",
        "Active cases by day (or hour)",
        &["series", "interval_start", "granularity"],
        INTERVALS,
        CASE_VOLUME,
    ),
    ("case_classifications", "Cases by classification, per window", &["classification_id"], DAY, CASE_CLASSIFICATIONS),
    (
        "nps_summary",
        "Net promoter score of each form, per window; not additive over windows",
        &["form", "nps_category"],
        DAY,
        NPS_SUMMARY,
    ),
    (
        "nps_volume",
        "Net promoter score of each form by day",
        &["form", "nps_category", "timestamp"],
        INTERVALS,
        NPS_VOLUME,
    ),
];

fn reports() -> Vec<Stream> {
    let report = |&(name, meaning, key, windows, columns): &ReportRow| Stream {
        key: Key::Columns(key.iter().map(|&name| Text::Borrowed(name)).collect()),
        windows,
        // Its report type is unknown (`§5.3`).
        off_by_default: name == "workflow_states",
        ..stream(name, meaning, columns)
    };
    REPORTS.iter().map(report).collect()
}

/// A file may have other columns than documented (`§6.2`), so columns are created from the data.
fn exports() -> Vec<Stream> {
    let export = |name, meaning, columns| Stream {
        key: Key::RowHash,
        documented: false,
        windows: Windows::daily(EXPORT_DAYS_MAX),
        exported: true,
        ..stream(name, meaning, columns)
    };
    vec![
        export("case_details", "Cases that were worked on in the window", CASE_DETAILS),
        export("nps_submissions", "Answers to NPS surveys", NPS_SUBMISSIONS),
        export("mention_sla_export", "Every message that the team handled, with its waits", MENTION_SLA_EXPORT),
    ]
}

/// Columns with the business time. A row of another report describes its whole window.
fn business_time(stream: &str) -> &'static [&'static str] {
    match stream {
        "states_volume" | "response_volume" | "case_volume" => &["interval_start"],
        "nps_volume" => &["timestamp"],
        "mention_sla_export" => &["customer_publish_date_utc"],
        // The titles of these files are not documented.
        "case_details" => times::LEXER_CASE,
        "nps_submissions" => times::LEXER_SUBMISSION,
        _ => &[],
    }
}

/// The common parts of all streams, as a windowed report. The report's type is the stream's name (`§4`).
fn stream(name: &'static str, meaning: &'static str, columns: &'static [Column]) -> Stream {
    Stream {
        vendor: VENDOR,
        name: name.into(),
        schema: "lexer",
        vendor_id: name.into(),
        meaning: meaning.into(),
        mode: Mode::ReplaceWindow,
        key: Key::RowHash,
        columns: Cow::Borrowed(columns),
        documented: true,
        time_field: None,
        row_time: None,
        business_time: business_time(name),
        off_by_default: false,
        children: Cow::Borrowed(&[]),
        windows: Windows::daily(DAYS_MAX),
        id_label: None,
        exported: false,
    }
}
