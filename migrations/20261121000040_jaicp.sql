-- JAICP Reporter: one table per stream (vendors/jaicp.md §14). The report_* tables get their columns from the data
-- (tidegate.table_column, tidegate.schema_change); all others have the vendor's documented fields.

create schema jaicp;
comment on schema jaicp is 'Sessions, messages, clients and statistics of JAICP';

create table jaicp.sessions (
    _connection text not null,
    project_short_name text not null,
    session_id text not null,
    channel_type text,
    bot_id text,
    client_id text,
    client_first_name text,
    client_last_name text,
    client_username text,
    start_time timestamptz,
    first_question text,
    last_question text,
    question_count bigint,
    duration bigint,
    call_task_id bigint,
    is_call_incoming boolean,
    session_result text,
    audio_file_url text,
    response_data jsonb,
    custom_fields jsonb,
    session_data jsonb,
    is_livechat boolean,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint sessions_pkey primary key (_connection, project_short_name, session_id)
);
comment on table jaicp.sessions is 'Sessions, with the labels of each in session_label_links';
comment on column jaicp.sessions.project_short_name is 'Short name of the project';
comment on column jaicp.sessions.session_id is 'Id of the session; holds the client''s id, which may be personal data';
comment on column jaicp.sessions.channel_type is 'Channel, spelled as it came: telegram, TELEGRAM';
comment on column jaicp.sessions.bot_id is 'Id of the bot''s channel';
comment on column jaicp.sessions.client_id is 'The client''s id within the channel; may be a phone number';
comment on column jaicp.sessions.client_first_name is 'The client''s first name';
comment on column jaicp.sessions.client_last_name is 'The client''s last name';
comment on column jaicp.sessions.client_username is 'The client''s user name in the channel';
comment on column jaicp.sessions.start_time is 'When the session began; the vendor tells no end';
comment on column jaicp.sessions.first_question is 'First phrase of the client';
comment on column jaicp.sessions.last_question is 'Last phrase of the client';
comment on column jaicp.sessions.question_count is 'Phrases of the client; the greatest number that any window was answered with';
comment on column jaicp.sessions.duration is 'Duration as it came; the unit is not documented, probably milliseconds';
comment on column jaicp.sessions.call_task_id is 'Id of the call campaign; phone only';
comment on column jaicp.sessions.is_call_incoming is 'Whether the client called; phone only';
comment on column jaicp.sessions.session_result is 'Result that the scenario has set';
comment on column jaicp.sessions.audio_file_url is 'Where the call''s recording is; phone only';
comment on column jaicp.sessions.response_data is 'Free data of the answer';
comment on column jaicp.sessions.custom_fields is 'Free fields of the client';
comment on column jaicp.sessions.session_data is 'What the scenario has kept for the session';
comment on column jaicp.sessions.is_livechat is 'Whether an agent took part';

create table jaicp.session_label_links (
    _connection text not null,
    project_short_name text not null,
    session_id text not null,
    label_id bigint not null,
    name text,
    priority bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint session_label_links_pkey primary key (_connection, project_short_name, session_id, label_id)
);
comment on table jaicp.session_label_links is 'Labels of sessions';
comment on column jaicp.session_label_links.project_short_name is 'Short name of the project';
comment on column jaicp.session_label_links.session_id is 'Id of the session; holds the client''s id, which may be personal data';
comment on column jaicp.session_label_links.label_id is 'Id of the label';
comment on column jaicp.session_label_links.name is 'Name of the label, as the session lists it';
comment on column jaicp.session_label_links.priority is 'Place of the label in the list';

create table jaicp.messages (
    _connection text not null,
    project_short_name text not null,
    session_id text not null,
    question_id text not null,
    "timestamp" timestamptz,
    is_livechat boolean,
    channel_type text,
    bot_id text,
    client_id text,
    client_first_name text,
    client_last_name text,
    client_username text,
    session_start_time timestamptz,
    question text,
    text_answer text,
    event text,
    operator_info_id text,
    operator_info_first_name text,
    operator_info_last_name text,
    operator_info_photo_url text,
    operator_info_channel_type text,
    nlp_info_nlp_state text,
    nlp_info_nlp_class text,
    nlp_info_from_state text,
    nlp_info_pattern text,
    nlp_info_effective_pattern text,
    nlp_info_confidence double precision,
    nlp_info_rule text,
    nlp_info_rule_type text,
    page_name text,
    previous_page_name text,
    request_data jsonb,
    data jsonb,
    response_data jsonb,
    utterances_json jsonb,
    exception text,
    processing_time bigint,
    cleaned boolean,
    cleaned_at timestamptz,
    comment text,
    status text,
    call_task_id bigint,
    is_call_incoming boolean,
    session_labels jsonb,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint messages_pkey primary key (_connection, project_short_name, session_id, question_id)
);
comment on table jaicp.messages is 'Turns of sessions: a client''s phrase with its answer, with the labels of each in message_label_links';
comment on column jaicp.messages.project_short_name is 'Short name of the project';
comment on column jaicp.messages.session_id is 'Id of the session; holds the client''s id, which may be personal data';
comment on column jaicp.messages.question_id is 'Id of the turn: a client''s phrase with its answer';
comment on column jaicp.messages."timestamp" is 'When the turn was';
comment on column jaicp.messages.is_livechat is 'Whether an agent answered';
comment on column jaicp.messages.channel_type is 'Channel, spelled as it came: telegram, TELEGRAM';
comment on column jaicp.messages.bot_id is 'Id of the bot''s channel';
comment on column jaicp.messages.client_id is 'The client''s id within the channel; may be a phone number';
comment on column jaicp.messages.client_first_name is 'The client''s first name';
comment on column jaicp.messages.client_last_name is 'The client''s last name';
comment on column jaicp.messages.client_username is 'The client''s user name in the channel';
comment on column jaicp.messages.session_start_time is 'When the session began';
comment on column jaicp.messages.question is 'What the client said; null when the vendor has erased it';
comment on column jaicp.messages.text_answer is 'What bot or agent answered; null when the vendor has erased it';
comment on column jaicp.messages.event is 'Event that began the turn instead of a phrase';
comment on column jaicp.messages.operator_info_id is 'The agent''s id';
comment on column jaicp.messages.operator_info_first_name is 'The agent''s first name';
comment on column jaicp.messages.operator_info_last_name is 'The agent''s last name';
comment on column jaicp.messages.operator_info_photo_url is 'Where the agent''s picture is';
comment on column jaicp.messages.operator_info_channel_type is 'Channel of the agent';
comment on column jaicp.messages.nlp_info_nlp_state is 'State of the scenario that answered';
comment on column jaicp.messages.nlp_info_nlp_class is 'Class that the phrase was recognised as';
comment on column jaicp.messages.nlp_info_from_state is 'State of the scenario before';
comment on column jaicp.messages.nlp_info_pattern is 'Pattern that matched';
comment on column jaicp.messages.nlp_info_effective_pattern is 'Pattern that matched, expanded';
comment on column jaicp.messages.nlp_info_confidence is 'How sure the recognition is, 0 to 1';
comment on column jaicp.messages.nlp_info_rule is 'Rule that matched';
comment on column jaicp.messages.nlp_info_rule_type is 'Kind of that rule';
comment on column jaicp.messages.page_name is 'State (page) of the turn';
comment on column jaicp.messages.previous_page_name is 'State (page) of the turn before';
comment on column jaicp.messages.request_data is 'Free data of the request; null when the vendor has erased it';
comment on column jaicp.messages.data is 'Free data of the turn; null when the vendor has erased it';
comment on column jaicp.messages.response_data is 'Free data of the answer; null when the vendor has erased it';
comment on column jaicp.messages.utterances_json is 'Recognised utterances; null when the vendor has erased them';
comment on column jaicp.messages.exception is 'What the scenario failed with';
comment on column jaicp.messages.processing_time is 'Duration as it came; the unit is not documented, probably milliseconds';
comment on column jaicp.messages.cleaned is 'Whether the vendor has erased the texts';
comment on column jaicp.messages.cleaned_at is 'When Tidegate first saw that the texts are erased; null while they are not';
comment on column jaicp.messages.comment is 'Comment that a person left';
comment on column jaicp.messages.status is 'Delivery: SENT, NOT_SENT, DELIVERED, NOT_DELIVERED, READ; Telegram, Viber and VK only';
comment on column jaicp.messages.call_task_id is 'Id of the call campaign; phone only';
comment on column jaicp.messages.is_call_incoming is 'Whether the client called; phone only';
comment on column jaicp.messages.session_labels is 'Labels of the session, as the message lists them';

create table jaicp.message_label_links (
    _connection text not null,
    project_short_name text not null,
    session_id text not null,
    question_id text not null,
    label_id bigint not null,
    name text,
    priority bigint,
    label_group jsonb,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint message_label_links_pkey primary key (_connection, project_short_name, session_id, question_id, label_id)
);
comment on table jaicp.message_label_links is 'Labels of messages';
comment on column jaicp.message_label_links.project_short_name is 'Short name of the project';
comment on column jaicp.message_label_links.session_id is 'Id of the session; holds the client''s id, which may be personal data';
comment on column jaicp.message_label_links.question_id is 'Id of the turn: a client''s phrase with its answer';
comment on column jaicp.message_label_links.label_id is 'Id of the label';
comment on column jaicp.message_label_links.name is 'Name of the label, as the message lists it';
comment on column jaicp.message_label_links.priority is 'Place of the label in the list';
comment on column jaicp.message_label_links.label_group is 'Group of the label: id, name, priority';

create table jaicp.clients (
    _connection text not null,
    project_short_name text not null,
    channel_type text not null,
    bot_id text not null,
    id text not null,
    first_name text,
    last_name text,
    username text,
    account_id bigint,
    last_session_id text,
    join_date timestamptz,
    last_visit_date timestamptz,
    is_blocked boolean,
    block_reason text,
    blocked_by bigint,
    block_date timestamptz,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint clients_pkey primary key (_connection, project_short_name, channel_type, bot_id, id)
);
comment on table jaicp.clients is 'Clients, as of their last activity that was read';
comment on column jaicp.clients.project_short_name is 'Short name of the project';
comment on column jaicp.clients.channel_type is 'Channel, spelled as it came: telegram, TELEGRAM';
comment on column jaicp.clients.bot_id is 'Id of the bot''s channel; empty where the vendor tells none';
comment on column jaicp.clients.id is 'The client''s id within the channel; may be a phone number';
comment on column jaicp.clients.first_name is 'First name';
comment on column jaicp.clients.last_name is 'Last name';
comment on column jaicp.clients.username is 'User name in the channel';
comment on column jaicp.clients.account_id is 'Account that the project belongs to';
comment on column jaicp.clients.last_session_id is 'Id of the last session';
comment on column jaicp.clients.join_date is 'First activity';
comment on column jaicp.clients.last_visit_date is 'Last activity';
comment on column jaicp.clients.is_blocked is 'Whether the client is blocked';
comment on column jaicp.clients.block_reason is 'Why the client is blocked';
comment on column jaicp.clients.blocked_by is 'Id of the user who blocked the client';
comment on column jaicp.clients.block_date is 'When the client was blocked';

create table jaicp.message_labels (
    _connection text not null,
    id bigint not null,
    name text,
    priority bigint,
    group_id bigint,
    group_name text,
    group_priority bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint message_labels_pkey primary key (_connection, id)
);
comment on table jaicp.message_labels is 'Labels that messages may have, of the whole account';
comment on column jaicp.message_labels.id is 'Id of the label';
comment on column jaicp.message_labels.name is 'Name; several labels may have the same';
comment on column jaicp.message_labels.priority is 'Place in the list';
comment on column jaicp.message_labels.group_id is 'Group of the label';
comment on column jaicp.message_labels.group_name is 'Name of the group';
comment on column jaicp.message_labels.group_priority is 'Place of the group in the list';

create table jaicp.message_label_groups (
    _connection text not null,
    id bigint not null,
    name text,
    priority bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint message_label_groups_pkey primary key (_connection, id)
);
comment on table jaicp.message_label_groups is 'Groups of message labels, of the whole account; not in API v1';
comment on column jaicp.message_label_groups.id is 'Id of the group';
comment on column jaicp.message_label_groups.name is 'Name; several groups may have the same';
comment on column jaicp.message_label_groups.priority is 'Place in the list';

create table jaicp.session_labels (
    _connection text not null,
    id bigint not null,
    name text,
    priority bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint session_labels_pkey primary key (_connection, id)
);
comment on table jaicp.session_labels is 'Labels that sessions may have, of the whole account; not in API v1';
comment on column jaicp.session_labels.id is 'Id of the label';
comment on column jaicp.session_labels.name is 'Name; several labels may have the same';
comment on column jaicp.session_labels.priority is 'Place in the list';

create table jaicp.experiments (
    _connection text not null,
    key text not null,
    description text,
    status text,
    branches jsonb,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint experiments_pkey primary key (_connection, key)
);
comment on table jaicp.experiments is 'Experiments with scenarios';
comment on column jaicp.experiments.key is 'Key of the experiment';
comment on column jaicp.experiments.description is 'What it is about';
comment on column jaicp.experiments.status is 'CREATED, RUNNING or STOPPED';
comment on column jaicp.experiments.branches is 'Its branches, as in experiment_branches';

create table jaicp.experiment_branches (
    _connection text not null,
    experiment_key text not null,
    key text not null,
    description text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint experiment_branches_pkey primary key (_connection, experiment_key, key)
);
comment on table jaicp.experiment_branches is 'Branches of experiments';
comment on column jaicp.experiment_branches.experiment_key is 'Key of the experiment';
comment on column jaicp.experiment_branches.key is 'Key of the branch';
comment on column jaicp.experiment_branches.description is 'What it is about';

create table jaicp.experiment_counts (
    _connection text not null,
    key text not null,
    observed_at timestamptz not null,
    count bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint experiment_counts_pkey primary key (_connection, key, observed_at)
);
comment on table jaicp.experiment_counts is 'Sessions in experiments, as observed by each run';
comment on column jaicp.experiment_counts.key is 'Key of the experiment';
comment on column jaicp.experiment_counts.observed_at is 'When Tidegate asked for it';
comment on column jaicp.experiment_counts.count is 'Sessions that take part, of all branches';

create table jaicp.unique_clients (
    _connection text not null,
    project_short_name text not null,
    observed_at timestamptz not null,
    total_count bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint unique_clients_pkey primary key (_connection, project_short_name, observed_at)
);
comment on table jaicp.unique_clients is 'Clients of projects, as observed by each run';
comment on column jaicp.unique_clients.project_short_name is 'Short name of the project';
comment on column jaicp.unique_clients.observed_at is 'When Tidegate asked for it';
comment on column jaicp.unique_clients.total_count is 'Clients that the project has ever had';

create table jaicp.sessions_count (
    _connection text not null,
    project_short_name text not null,
    observed_at timestamptz not null,
    amount bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint sessions_count_pkey primary key (_connection, project_short_name, observed_at)
);
comment on table jaicp.sessions_count is 'Sessions of projects, as observed by each run';
comment on column jaicp.sessions_count.project_short_name is 'Short name of the project';
comment on column jaicp.sessions_count.observed_at is 'When Tidegate asked for it';
comment on column jaicp.sessions_count.amount is 'Sessions that the project has ever had';

create table jaicp.stats_series (
    _connection text not null,
    _window_start timestamptz not null,
    metric text not null,
    label_id bigint not null,
    interval_type text not null,
    step bigint not null,
    bucket timestamptz not null,
    label_name text,
    value double precision,
    timezone bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint stats_series_pkey primary key (_connection, _window_start, metric, label_id, interval_type, step, bucket)
);
comment on table jaicp.stats_series is 'The vendor''s statistics per day, one row per metric, label and bucket';
comment on column jaicp.stats_series.metric is 'messages, sessions, switched_sessions, session_labels or message_labels';
comment on column jaicp.stats_series.label_id is 'Id of the label that is counted; 0 for metrics without labels';
comment on column jaicp.stats_series.interval_type is 'Unit of a bucket''s length: DAY';
comment on column jaicp.stats_series.step is 'Length of a bucket in that unit';
comment on column jaicp.stats_series.bucket is 'Start of the bucket';
comment on column jaicp.stats_series.label_name is 'Name of the label';
comment on column jaicp.stats_series.value is 'Number of what is counted; buckets without any may be left out by the vendor';
comment on column jaicp.stats_series.timezone is 'Timezone header that it was asked with; null when none was sent';

create table jaicp.telephony_daily (
    _connection text not null,
    _window_start timestamptz not null,
    bucket timestamptz not null,
    average_call_duration_in_seconds double precision,
    billing_count double precision,
    incoming_count double precision,
    outgoing_count double precision,
    timezone bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint telephony_daily_pkey primary key (_connection, _window_start, bucket)
);
comment on table jaicp.telephony_daily is 'The vendor''s statistics of calls per day';
comment on column jaicp.telephony_daily.bucket is 'Start of the day, as the vendor has it';
comment on column jaicp.telephony_daily.average_call_duration_in_seconds is 'Average duration of the day''s calls in seconds; the same in all buckets of a day';
comment on column jaicp.telephony_daily.billing_count is 'Calls that are charged for; null when the vendor lists none';
comment on column jaicp.telephony_daily.incoming_count is 'Calls that clients made; null when the vendor lists none';
comment on column jaicp.telephony_daily.outgoing_count is 'Calls that the bot made; null when the vendor lists none';
comment on column jaicp.telephony_daily.timezone is 'Timezone header that it was asked with; null when none was sent';

create table jaicp.report_sessions (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint report_sessions_pkey primary key (_connection, _window_start, _row_key)
);
comment on table jaicp.report_sessions is 'Report of sessions, by their start, as exported to CSV';

create table jaicp.report_messages (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint report_messages_pkey primary key (_connection, _window_start, _row_key)
);
comment on table jaicp.report_messages is 'Report of messages, by their time, as exported to CSV';

create table jaicp.report_clients (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint report_clients_pkey primary key (_connection, _window_start, _row_key)
);
comment on table jaicp.report_clients is 'Report of clients, by their last activity, as exported to CSV';

create table jaicp.report_telephony (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint report_telephony_pkey primary key (_connection, _window_start, _row_key)
);
comment on table jaicp.report_telephony is 'Report of calls, as exported to CSV';

do $$
declare
    listed record;
begin
    for listed in
        select relname as name, array_agg(attname::text) as columns
        from pg_class
        inner join pg_attribute on attrelid = pg_class.oid and attnum > 0
        where relnamespace = 'jaicp'::regnamespace and relkind = 'r'
        group by relname
    loop
        execute format('comment on column jaicp.%I._connection is %L', listed.name, 'Connection that the row was read from');
        if '_window_start' = any(listed.columns) then
            execute format(
                'comment on column jaicp.%I._window_start is %L', listed.name, 'Start of the slice that the row belongs to'
            );
        end if;
        if '_row_key' = any(listed.columns) then
            execute format(
                'comment on column jaicp.%I._row_key is %L',
                listed.name, 'Hash of the record and of its place among identical records of the slice'
            );
        end if;
        execute format(
            'comment on column jaicp.%I._extra is %L',
            listed.name, 'Fields without a column and values that do not fit theirs; null when none'
        );
        execute format('comment on column jaicp.%I._run_id is %L', listed.name, 'Run (tidegate.run.id) that last changed the row');
        execute format('comment on column jaicp.%I._loaded_at is %L', listed.name, 'When the row was last changed');
        if '_deleted_at' = any(listed.columns) then
            execute format(
                'comment on column jaicp.%I._deleted_at is %L',
                listed.name, 'Gone from the vendor''s list since then; null while it is listed'
            );
        end if;
    end loop;
end
$$;

do $$
begin
    if exists (select from pg_roles where rolname = 'tidegate_reader') then
        grant usage on schema jaicp to tidegate_reader;
        grant select on all tables in schema jaicp to tidegate_reader;
        alter default privileges in schema jaicp grant select on tables to tidegate_reader;
    end if;
end
$$;
