//! The documented fields of JAICP's entities. The meanings state if the vendor documents no unit.

use crate::catalogue::{Column, ColumnType, Keep};

const fn text(field: &'static str, name: &'static str, meaning: &'static str) -> Column {
    Column::new(field, name, ColumnType::Text, meaning)
}

const fn bigint(field: &'static str, name: &'static str, meaning: &'static str) -> Column {
    Column::new(field, name, ColumnType::Bigint, meaning)
}

const fn double(field: &'static str, name: &'static str, meaning: &'static str) -> Column {
    Column::new(field, name, ColumnType::Double, meaning)
}

const fn boolean(field: &'static str, name: &'static str, meaning: &'static str) -> Column {
    Column::new(field, name, ColumnType::Boolean, meaning)
}

const fn time(field: &'static str, name: &'static str, meaning: &'static str) -> Column {
    Column::new(field, name, ColumnType::Timestamptz, meaning)
}

const fn json(field: &'static str, name: &'static str, meaning: &'static str) -> Column {
    Column::new(field, name, ColumnType::Jsonb, meaning)
}

const PROJECT: Column = text("projectShortName", "project_short_name", "Short name of the project");
const SESSION_ID: Column =
    text("sessionId", "session_id", "Id of the session; holds the client's id, which may be personal data");
const CHANNEL_TYPE: Column = text("channelType", "channel_type", "Channel, spelled as it came: telegram, TELEGRAM");
const BOT_ID: Column = text("botId", "bot_id", "Id of the bot's channel");
const CLIENT_ID: Column = text("client.id", "client_id", "The client's id within the channel; may be a phone number");
const CLIENT_FIRST: Column = text("client.firstName", "client_first_name", "The client's first name");
const CLIENT_LAST: Column = text("client.lastName", "client_last_name", "The client's last name");
const CLIENT_USER: Column = text("client.username", "client_username", "The client's user name in the channel");
const OBSERVED_AT: Column = time("observedAt", "observed_at", "When Tidegate asked for it");
const CALL_TASK: Column = bigint("callTaskId", "call_task_id", "Id of the call campaign; phone only");
const INCOMING: Column = boolean("isCallIncoming", "is_call_incoming", "Whether the client called; phone only");

/// `facts/jaicp.md §4`
pub(super) const SESSIONS: &[Column] = &[
    PROJECT,
    SESSION_ID,
    CHANNEL_TYPE,
    BOT_ID,
    CLIENT_ID,
    CLIENT_FIRST,
    CLIENT_LAST,
    CLIENT_USER,
    time("startTime", "start_time", "When the session began; the vendor tells no end"),
    text("firstQuestion", "first_question", "First phrase of the client"),
    text("lastQuestion", "last_question", "Last phrase of the client"),
    bigint(
        "questionCount",
        "question_count",
        "Phrases of the client; the greatest number that any window was answered with",
    )
    .keep(Keep::Greatest),
    bigint("duration", "duration", "Duration as it came; the unit is not documented, probably milliseconds"),
    CALL_TASK,
    INCOMING,
    text("sessionResult", "session_result", "Result that the scenario has set"),
    text("audioFileUrl", "audio_file_url", "Where the call's recording is; phone only"),
    json("responseData", "response_data", "Free data of the answer"),
    json("customFields", "custom_fields", "Free fields of the client"),
    json("sessionData", "session_data", "What the scenario has kept for the session"),
    boolean("isLivechat", "is_livechat", "Whether an agent took part"),
];

/// `facts/jaicp.md §5`. A column that only the bulk list has keeps its value when the list by session is read, and
/// vice versa.
pub(super) const MESSAGES: &[Column] = &[
    PROJECT,
    SESSION_ID,
    text("questionId", "question_id", "Id of the turn: a client's phrase with its answer"),
    time("timestamp", "timestamp", "When the turn was"),
    boolean("isLivechat", "is_livechat", "Whether an agent answered"),
    CHANNEL_TYPE.keep(Keep::Known),
    BOT_ID.keep(Keep::Known),
    CLIENT_ID.keep(Keep::Known),
    CLIENT_FIRST.keep(Keep::Known),
    CLIENT_LAST.keep(Keep::Known),
    CLIENT_USER.keep(Keep::Known),
    time("sessionStartTime", "session_start_time", "When the session began").keep(Keep::Known),
    text("question", "question", "What the client said; null when the vendor has erased it"),
    text("textAnswer", "text_answer", "What bot or agent answered; null when the vendor has erased it"),
    text("event", "event", "Event that began the turn instead of a phrase"),
    text("operatorInfo.id", "operator_info_id", "The agent's id"),
    text("operatorInfo.firstName", "operator_info_first_name", "The agent's first name"),
    text("operatorInfo.lastName", "operator_info_last_name", "The agent's last name"),
    text("operatorInfo.photoUrl", "operator_info_photo_url", "Where the agent's picture is"),
    text("operatorInfo.channelType", "operator_info_channel_type", "Channel of the agent"),
    text("nlpInfo.nlpState", "nlp_info_nlp_state", "State of the scenario that answered"),
    text("nlpInfo.nlpClass", "nlp_info_nlp_class", "Class that the phrase was recognised as"),
    text("nlpInfo.fromState", "nlp_info_from_state", "State of the scenario before"),
    text("nlpInfo.pattern", "nlp_info_pattern", "Pattern that matched"),
    text("nlpInfo.effectivePattern", "nlp_info_effective_pattern", "Pattern that matched, expanded"),
    double("nlpInfo.confidence", "nlp_info_confidence", "How sure the recognition is, 0 to 1"),
    text("nlpInfo.rule", "nlp_info_rule", "Rule that matched"),
    text("nlpInfo.ruleType", "nlp_info_rule_type", "Kind of that rule"),
    text("pageName", "page_name", "State (page) of the turn"),
    text("previousPageName", "previous_page_name", "State (page) of the turn before"),
    json("requestData", "request_data", "Free data of the request; null when the vendor has erased it"),
    json("data", "data", "Free data of the turn; null when the vendor has erased it"),
    json("responseData", "response_data", "Free data of the answer; null when the vendor has erased it"),
    json("utterancesJson", "utterances_json", "Recognised utterances; null when the vendor has erased them"),
    text("exception", "exception", "What the scenario failed with"),
    bigint(
        "processingTime",
        "processing_time",
        "Duration as it came; the unit is not documented, probably milliseconds",
    ),
    boolean("cleaned", "cleaned", "Whether the vendor has erased the texts"),
    time("cleanedAt", "cleaned_at", "When Tidegate first saw that the texts are erased; null while they are not")
        .keep(Keep::First),
    text("comment", "comment", "Comment that a person left"),
    text("status", "status", "Delivery: SENT, NOT_SENT, DELIVERED, NOT_DELIVERED, READ; Telegram, Viber and VK only")
        .keep(Keep::Known),
    CALL_TASK.keep(Keep::Known),
    INCOMING.keep(Keep::Known),
    json("sessionLabels", "session_labels", "Labels of the session, as the message lists them").keep(Keep::Known),
];

/// `facts/jaicp.md §6`
pub(super) const CLIENTS: &[Column] = &[
    PROJECT,
    CHANNEL_TYPE,
    text("botId", "bot_id", "Id of the bot's channel; empty where the vendor tells none").or_empty(),
    text("id", "id", "The client's id within the channel; may be a phone number"),
    text("firstName", "first_name", "First name"),
    text("lastName", "last_name", "Last name"),
    text("username", "username", "User name in the channel"),
    bigint("accountId", "account_id", "Account that the project belongs to"),
    text("lastSessionId", "last_session_id", "Id of the last session"),
    time("joinDate", "join_date", "First activity"),
    time("lastVisitDate", "last_visit_date", "Last activity"),
    boolean("isBlocked", "is_blocked", "Whether the client is blocked"),
    text("blockReason", "block_reason", "Why the client is blocked"),
    bigint("blockedBy", "blocked_by", "Id of the user who blocked the client"),
    time("blockDate", "block_date", "When the client was blocked"),
];

/// `facts/jaicp.md §8`
pub(super) const MESSAGE_LABELS: &[Column] = &[
    bigint("id", "id", "Id of the label"),
    text("name", "name", "Name; several labels may have the same"),
    bigint("priority", "priority", "Place in the list"),
    bigint("group.id", "group_id", "Group of the label"),
    text("group.name", "group_name", "Name of the group"),
    bigint("group.priority", "group_priority", "Place of the group in the list"),
];

pub(super) const MESSAGE_LABEL_GROUPS: &[Column] = &[
    bigint("id", "id", "Id of the group"),
    text("name", "name", "Name; several groups may have the same"),
    bigint("priority", "priority", "Place in the list"),
];

pub(super) const SESSION_LABELS: &[Column] = &[
    bigint("id", "id", "Id of the label"),
    text("name", "name", "Name; several labels may have the same"),
    bigint("priority", "priority", "Place in the list"),
];

/// Elements of `labels` in sessions.
pub(super) const SESSION_LABEL_LINKS: &[Column] = &[
    bigint("id", "label_id", "Id of the label"),
    text("name", "name", "Name of the label, as the session lists it"),
    bigint("priority", "priority", "Place of the label in the list"),
];

/// Elements of `labels` in messages.
pub(super) const MESSAGE_LABEL_LINKS: &[Column] = &[
    bigint("id", "label_id", "Id of the label"),
    text("name", "name", "Name of the label, as the message lists it"),
    bigint("priority", "priority", "Place of the label in the list"),
    json("group", "label_group", "Group of the label: id, name, priority"),
];

/// `facts/jaicp.md §9`
pub(super) const EXPERIMENTS: &[Column] = &[
    text("key", "key", "Key of the experiment"),
    text("description", "description", "What it is about"),
    text("status", "status", "CREATED, RUNNING or STOPPED"),
    json("branches", "branches", "Its branches, as in experiment_branches"),
];

pub(super) const EXPERIMENT_BRANCHES: &[Column] = &[
    text("experimentKey", "experiment_key", "Key of the experiment"),
    text("key", "key", "Key of the branch"),
    text("description", "description", "What it is about"),
];

pub(super) const EXPERIMENT_COUNTS: &[Column] = &[
    text("key", "key", "Key of the experiment"),
    OBSERVED_AT,
    bigint("count", "count", "Sessions that take part, of all branches"),
];

/// `facts/jaicp.md §7`
pub(super) const UNIQUE_CLIENTS: &[Column] =
    &[PROJECT, OBSERVED_AT, bigint("totalCount", "total_count", "Clients that the project has ever had")];

/// `facts/jaicp.md §4`
pub(super) const SESSIONS_COUNT: &[Column] =
    &[PROJECT, OBSERVED_AT, bigint("amount", "amount", "Sessions that the project has ever had")];

/// `facts/jaicp.md §7`
pub(super) const STATS_SERIES: &[Column] = &[
    text("metric", "metric", "messages, sessions, switched_sessions, session_labels or message_labels"),
    bigint("labelId", "label_id", "Id of the label that is counted; 0 for metrics without labels"),
    text(
        "intervalType",
        "interval_type",
        "Unit of a bucket's length: HOUR, DAY, WEEK, MONTH, QUARTER or YEAR; switched_sessions are always counted by DAY",
    ),
    bigint("step", "step", "Length of a bucket in that unit"),
    time("bucket", "bucket", "Start of the bucket"),
    text("labelName", "label_name", "Name of the label"),
    double("value", "value", "Number of what is counted; buckets without any may be left out by the vendor"),
    bigint("timezone", "timezone", "Timezone header that it was asked with; null when none was sent"),
];

pub(super) const TELEPHONY_DAILY: &[Column] = &[
    time("bucket", "bucket", "Start of the day, as the vendor has it"),
    double(
        "averageCallDurationInSeconds",
        "average_call_duration_in_seconds",
        "Average duration of the day's calls in seconds; the same in all buckets of a day",
    ),
    double("billingCount", "billing_count", "Calls that are charged for; null when the vendor lists none"),
    double("incomingCount", "incoming_count", "Calls that clients made; null when the vendor lists none"),
    double("outgoingCount", "outgoing_count", "Calls that the bot made; null when the vendor lists none"),
    bigint("timezone", "timezone", "Timezone header that it was asked with; null when none was sent"),
];
