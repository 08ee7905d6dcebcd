-- Lexer Activity (vendors/lexer.md §2, §4, §6): three lists, twelve reports, three CSV jobs. The files of the jobs may have
-- other columns than a document says; those get theirs as the data shows them (tidegate.table_column, tidegate.schema_change).

create schema lexer;
comment on schema lexer is 'Activity of Lexer Respond (lexer.io)';

create table lexer.users (
    _connection text not null,
    id bigint not null,
    email text,
    first_name text,
    last_name text,
    timezone text,
    gmtoffset double precision,
    sign_in_count bigint,
    last_sign_in_at timestamptz,
    archived boolean,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint users_pkey primary key (_connection, id)
);
comment on table lexer.users is 'Agents';
comment on column lexer.users.id is 'Id of the agent; `user_id` elsewhere, as text';
comment on column lexer.users.email is 'E-mail address';
comment on column lexer.users.first_name is 'First name';
comment on column lexer.users.last_name is 'Last name';
comment on column lexer.users.timezone is 'Zone of the agent, IANA style, e.g. Europe/Lisbon';
comment on column lexer.users.gmtoffset is 'Offset of that zone, hours';
comment on column lexer.users.sign_in_count is 'How often the agent signed in';
comment on column lexer.users.last_sign_in_at is 'When the agent last signed in; null if never';
comment on column lexer.users.archived is 'Whether the agent is archived';

create table lexer.user_groups (
    _connection text not null,
    user_id bigint not null,
    group_id bigint not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint user_groups_pkey primary key (_connection, user_id, group_id)
);
comment on table lexer.user_groups is 'Which agent is in which group';
comment on column lexer.user_groups.user_id is 'Id of the agent; `user_id` elsewhere, as text';
comment on column lexer.user_groups.group_id is 'Group of the agent; lexer.groups.id';

create table lexer.groups (
    _connection text not null,
    id bigint not null,
    name text,
    comment text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint groups_pkey primary key (_connection, id)
);
comment on table lexer.groups is 'Groups of agents';
comment on column lexer.groups.id is 'Id of the group';
comment on column lexer.groups.name is 'Name of the group';
comment on column lexer.groups.comment is 'Comment on the group';

create table lexer.forms (
    _connection text not null,
    id bigint not null,
    name text,
    title text,
    archived boolean,
    created_at timestamptz,
    nps boolean,
    form_url text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint forms_pkey primary key (_connection, id)
);
comment on table lexer.forms is 'Forms, NPS surveys among them';
comment on column lexer.forms.id is 'Id of the form; `form` in the NPS tables';
comment on column lexer.forms.name is 'Name of the form';
comment on column lexer.forms.title is 'Title that customers see';
comment on column lexer.forms.archived is 'Whether the form is archived';
comment on column lexer.forms.created_at is 'When the form was made';
comment on column lexer.forms.nps is 'Whether it is an NPS survey; only such forms have NPS reports';
comment on column lexer.forms.form_url is 'Address of the form; data, never fetched';

create table lexer.form_groups (
    _connection text not null,
    form_id bigint not null,
    group_id bigint not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint form_groups_pkey primary key (_connection, form_id, group_id)
);
comment on table lexer.form_groups is 'Which form belongs to which group';
comment on column lexer.form_groups.form_id is 'Id of the form; `form` in the NPS tables';
comment on column lexer.form_groups.group_id is 'Group of the form; lexer.groups.id';

create table lexer.summary (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    total_volume bigint,
    total_responded_to bigint,
    broke_sla bigint,
    broke_action_sla bigint,
    min_response_time double precision,
    median_response_time double precision,
    max_response_time double precision,
    avg_response_time double precision,
    min_action_response_time double precision,
    median_action_response_time double precision,
    max_action_response_time double precision,
    avg_action_response_time double precision,
    avg_response_time_min double precision,
    median_response_time_min double precision,
    avg_action_response_time_min double precision,
    median_action_response_time_min double precision,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint summary_pkey primary key (_connection, _window_start)
);
comment on table lexer.summary is 'What the team handled and how fast, one row per window; not additive over windows';
comment on column lexer.summary.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.summary.total_volume is 'Messages handled';
comment on column lexer.summary.total_responded_to is 'Messages responded to';
comment on column lexer.summary.broke_sla is 'Messages over the account''s SLA for the customer''s wait';
comment on column lexer.summary.broke_action_sla is 'Messages over the account''s SLA for the agent''s handling';
comment on column lexer.summary.min_response_time is 'Shortest wait of a customer, seconds';
comment on column lexer.summary.median_response_time is 'Median wait of a customer, seconds';
comment on column lexer.summary.max_response_time is 'Longest wait of a customer, seconds';
comment on column lexer.summary.avg_response_time is 'Average wait of a customer, seconds';
comment on column lexer.summary.min_action_response_time is 'Shortest response time of an agent, seconds';
comment on column lexer.summary.median_action_response_time is 'Median response time of an agent, seconds';
comment on column lexer.summary.max_action_response_time is 'Longest response time of an agent, seconds';
comment on column lexer.summary.avg_action_response_time is 'Average response time of an agent, seconds';
comment on column lexer.summary.avg_response_time_min is 'avg_response_time in minutes';
comment on column lexer.summary.median_response_time_min is 'median_response_time in minutes';
comment on column lexer.summary.avg_action_response_time_min is 'avg_action_response_time in minutes';
comment on column lexer.summary.median_action_response_time_min is 'median_action_response_time in minutes';

create table lexer.states_volume (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    state text not null,
    interval_start timestamptz not null,
    granularity text not null,
    value bigint,
    interval_label text,
    utc_offset text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint states_volume_pkey primary key (_connection, _window_start, state, interval_start, granularity)
);
comment on table lexer.states_volume is 'Messages by workflow state and day (or hour)';
comment on column lexer.states_volume.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.states_volume.state is 'Workflow state';
comment on column lexer.states_volume.interval_start is 'Start of the interval: interval_label at utc_offset (that labels have the offset of the request is inferred)';
comment on column lexer.states_volume.granularity is 'Length of the interval, hour or day, told from the labels';
comment on column lexer.states_volume.value is 'Messages';
comment on column lexer.states_volume.interval_label is 'The vendor''s own label of the interval, local and without an offset';
comment on column lexer.states_volume.utc_offset is 'Offset that was asked with (`utc_offset` of the connection)';

create table lexer.response_volume (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    metric text not null,
    interval_start timestamptz not null,
    granularity text not null,
    value double precision,
    unit text,
    interval_label text,
    utc_offset text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint response_volume_pkey primary key (_connection, _window_start, metric, interval_start, granularity)
);
comment on table lexer.response_volume is 'Response times by day (or hour)';
comment on column lexer.response_volume.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.response_volume.metric is 'Name of the series, e.g. avg_response_time';
comment on column lexer.response_volume.interval_start is 'Start of the interval: interval_label at utc_offset (that labels have the offset of the request is inferred)';
comment on column lexer.response_volume.granularity is 'Length of the interval, hour or day, told from the labels';
comment on column lexer.response_volume.value is 'The raw number; its unit is in doubt, see `unit`';
comment on column lexer.response_volume.unit is 'Unit of value as the connection''s `response_volume_unit` says: unknown, seconds or minutes';
comment on column lexer.response_volume.interval_label is 'The vendor''s own label of the interval, local and without an offset';
comment on column lexer.response_volume.utc_offset is 'Offset that was asked with (`utc_offset` of the connection)';

create table lexer.classifications (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    classification_id bigint not null,
    classification text,
    state text not null,
    is_total boolean,
    volume bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint classifications_pkey primary key (_connection, _window_start, classification_id, state)
);
comment on table lexer.classifications is 'Messages by classification and workflow state, per window';
comment on column lexer.classifications.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.classifications.classification_id is 'Id of the classification';
comment on column lexer.classifications.classification is 'Name of the classification';
comment on column lexer.classifications.state is 'Workflow state, or all_states';
comment on column lexer.classifications.is_total is 'Whether state is all_states, the sum of the others (derived): leave it out when adding up';
comment on column lexer.classifications.volume is 'Messages; one with several classifications counts for each';

create table lexer.user_summary (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    user_id text not null,
    first_name text,
    last_name text,
    mentions_assigned bigint,
    responded_to bigint,
    responded_to_in_private bigint,
    total_responded_to bigint,
    broke_sla bigint,
    broke_action_sla bigint,
    avg_response_time double precision,
    min_response_time double precision,
    max_response_time double precision,
    avg_action_response_time double precision,
    min_action_response_time double precision,
    max_action_response_time double precision,
    avg_response_time_min double precision,
    avg_action_response_time_min double precision,
    fraction_responded_to double precision,
    fraction_responded_to_in_private double precision,
    fraction_broke_sla double precision,
    fraction_broke_action_sla double precision,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint user_summary_pkey primary key (_connection, _window_start, user_id)
);
comment on table lexer.user_summary is 'What each agent handled and how fast, per window; not additive over windows';
comment on column lexer.user_summary.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.user_summary.user_id is 'Agent; lexer.users.id as text';
comment on column lexer.user_summary.first_name is 'First name';
comment on column lexer.user_summary.last_name is 'Last name';
comment on column lexer.user_summary.mentions_assigned is 'Messages assigned';
comment on column lexer.user_summary.responded_to is 'Messages responded to';
comment on column lexer.user_summary.responded_to_in_private is 'Messages responded to in private';
comment on column lexer.user_summary.total_responded_to is 'Messages responded to, all';
comment on column lexer.user_summary.broke_sla is 'Messages over the account''s SLA for the customer''s wait';
comment on column lexer.user_summary.broke_action_sla is 'Messages over the account''s SLA for the agent''s handling';
comment on column lexer.user_summary.avg_response_time is 'Average wait of a customer, seconds';
comment on column lexer.user_summary.min_response_time is 'Shortest wait of a customer, seconds';
comment on column lexer.user_summary.max_response_time is 'Longest wait of a customer, seconds';
comment on column lexer.user_summary.avg_action_response_time is 'Average response time of the agent, seconds';
comment on column lexer.user_summary.min_action_response_time is 'Shortest response time of the agent, seconds';
comment on column lexer.user_summary.max_action_response_time is 'Longest response time of the agent, seconds';
comment on column lexer.user_summary.avg_response_time_min is 'avg_response_time in minutes';
comment on column lexer.user_summary.avg_action_response_time_min is 'avg_action_response_time in minutes';
comment on column lexer.user_summary.fraction_responded_to is 'responded_to / mentions_assigned, 0 to 1, as the vendor gives it';
comment on column lexer.user_summary.fraction_responded_to_in_private is '0 to 1, as the vendor gives it: by its examples of responded_to, by its text of mentions_assigned';
comment on column lexer.user_summary.fraction_broke_sla is 'broke_sla / responded_to, 0 to 1, as the vendor gives it';
comment on column lexer.user_summary.fraction_broke_action_sla is 'broke_action_sla / responded_to, 0 to 1, as the vendor gives it';

create table lexer.user_volume (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    user_id text not null,
    first_name text,
    last_name text,
    state text not null,
    is_total boolean,
    count bigint,
    extracted_at timestamptz,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint user_volume_pkey primary key (_connection, _window_start, user_id, state)
);
comment on table lexer.user_volume is 'Messages that each agent has, by workflow state: the counts of the moment of reading';
comment on column lexer.user_volume.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.user_volume.user_id is 'Agent; lexer.users.id as text';
comment on column lexer.user_volume.first_name is 'First name';
comment on column lexer.user_volume.last_name is 'Last name';
comment on column lexer.user_volume.state is 'Workflow state, or one of the totals all_states and all_closed_states';
comment on column lexer.user_volume.is_total is 'Whether state is one of the two totals (derived): leave it out when adding up';
comment on column lexer.user_volume.count is 'Messages that the agent has in the state';
comment on column lexer.user_volume.extracted_at is 'When it was read: the counts are those of that moment, whatever the window';

create table lexer.workflow_states (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    state text not null,
    is_total boolean,
    volume bigint,
    derived boolean,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint workflow_states_pkey primary key (_connection, _window_start, state)
);
comment on table lexer.workflow_states is 'Messages by workflow state, one row per window and state';
comment on column lexer.workflow_states.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.workflow_states.state is 'Workflow state';
comment on column lexer.workflow_states.is_total is 'Whether state is a total of others (derived): leave it out when adding up';
comment on column lexer.workflow_states.volume is 'Messages in the state';
comment on column lexer.workflow_states.derived is 'Whether volume was added up from the agents'' counts of Team Volume, because that is what came';

create table lexer.case_summary (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    total_cases bigint,
    first_reply_time double precision,
    resolution_time double precision,
    median_first_reply_time double precision,
    median_resolution_time double precision,
    agent_interactions double precision,
    agents_involved double precision,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint case_summary_pkey primary key (_connection, _window_start)
);
comment on table lexer.case_summary is 'Cases closed and how fast, one row per window; not additive over windows';
comment on column lexer.case_summary.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.case_summary.total_cases is 'Cases closed in the window';
comment on column lexer.case_summary.first_reply_time is 'Average time to the first reply, seconds';
comment on column lexer.case_summary.resolution_time is 'Average time to the resolution, seconds';
comment on column lexer.case_summary.median_first_reply_time is 'Median time to the first reply, seconds';
comment on column lexer.case_summary.median_resolution_time is 'Median time to the resolution, seconds';
comment on column lexer.case_summary.agent_interactions is 'Average replies per case';
comment on column lexer.case_summary.agents_involved is 'Average agents per case';

create table lexer.case_volume (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    series text not null,
    interval_start timestamptz not null,
    granularity text not null,
    value bigint,
    interval_label text,
    utc_offset text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint case_volume_pkey primary key (_connection, _window_start, series, interval_start, granularity)
);
comment on table lexer.case_volume is 'Active cases by day (or hour)';
comment on column lexer.case_volume.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.case_volume.series is 'Name of the series, e.g. open';
comment on column lexer.case_volume.interval_start is 'Start of the interval: interval_label at utc_offset (that labels have the offset of the request is inferred)';
comment on column lexer.case_volume.granularity is 'Length of the interval, hour or day, told from the labels';
comment on column lexer.case_volume.value is 'Cases active in the interval: a level, not a flow, do not add it up over time';
comment on column lexer.case_volume.interval_label is 'The vendor''s own label of the interval, local and without an offset';
comment on column lexer.case_volume.utc_offset is 'Offset that was asked with (`utc_offset` of the connection)';

create table lexer.case_classifications (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    classification_id bigint not null,
    classification text,
    volume bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint case_classifications_pkey primary key (_connection, _window_start, classification_id)
);
comment on table lexer.case_classifications is 'Cases by classification, per window';
comment on column lexer.case_classifications.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.case_classifications.classification_id is 'Id of the classification';
comment on column lexer.case_classifications.classification is 'Name of the classification';
comment on column lexer.case_classifications.volume is 'Cases; each classification counts once per case';

create table lexer.nps_summary (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    form bigint not null,
    nps_category text not null,
    total_sent bigint,
    total_received bigint,
    total_promoters bigint,
    total_passives bigint,
    total_detractors bigint,
    nps_score double precision,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint nps_summary_pkey primary key (_connection, _window_start, form, nps_category)
);
comment on table lexer.nps_summary is 'Net promoter score of each form, per window; not additive over windows';
comment on column lexer.nps_summary.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.nps_summary.form is 'Form that was asked for; lexer.forms.id';
comment on column lexer.nps_summary.nps_category is 'Category of submissions that was asked for';
comment on column lexer.nps_summary.total_sent is 'Surveys sent';
comment on column lexer.nps_summary.total_received is 'Answers received';
comment on column lexer.nps_summary.total_promoters is 'Answers of 9 and 10';
comment on column lexer.nps_summary.total_passives is 'Answers of 7 and 8';
comment on column lexer.nps_summary.total_detractors is 'Answers under 7';
comment on column lexer.nps_summary.nps_score is 'Percentage of promoters less that of detractors, of all received (-100 to 100); not additive';

create table lexer.nps_volume (
    _connection text not null,
    _window_start timestamptz not null,
    window_end timestamptz,
    form bigint not null,
    nps_category text not null,
    "timestamp" timestamptz not null,
    "date" timestamptz,
    data_total_sent bigint,
    data_total_received bigint,
    data_total_promoters bigint,
    data_total_passives bigint,
    data_total_detractors bigint,
    data_nps_score double precision,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint nps_volume_pkey primary key (_connection, _window_start, form, nps_category, "timestamp")
);
comment on table lexer.nps_volume is 'Net promoter score of each form by day';
comment on column lexer.nps_volume.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.nps_volume.form is 'Form that was asked for; lexer.forms.id';
comment on column lexer.nps_volume.nps_category is 'Category of submissions that was asked for';
comment on column lexer.nps_volume."timestamp" is 'The vendor''s time of the bucket, on local midnight of the offset asked with; whether it is its start or end is not documented';
comment on column lexer.nps_volume."date" is 'The same as the vendor writes it';
comment on column lexer.nps_volume.data_total_sent is 'Surveys sent';
comment on column lexer.nps_volume.data_total_received is 'Answers received';
comment on column lexer.nps_volume.data_total_promoters is 'Answers of 9 and 10';
comment on column lexer.nps_volume.data_total_passives is 'Answers of 7 and 8';
comment on column lexer.nps_volume.data_total_detractors is 'Answers under 7';
comment on column lexer.nps_volume.data_nps_score is 'Percentage of promoters less that of detractors, of all received (-100 to 100); 0 without answers; not additive';

create table lexer.case_details (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    window_end timestamptz,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint case_details_pkey primary key (_connection, _window_start, _row_key)
);
comment on table lexer.case_details is 'Cases that were worked on in the window';
comment on column lexer.case_details.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';

create table lexer.nps_submissions (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    window_end timestamptz,
    form_id bigint,
    nps_category text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint nps_submissions_pkey primary key (_connection, _window_start, _row_key)
);
comment on table lexer.nps_submissions is 'Answers to NPS surveys';
comment on column lexer.nps_submissions.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.nps_submissions.form_id is 'Form that was asked for; lexer.forms.id';
comment on column lexer.nps_submissions.nps_category is 'Category of submissions that was asked for';

create table lexer.mention_sla_export (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    window_end timestamptz,
    account_name text,
    source_type text,
    agent_first_name text,
    agent_last_name text,
    last_action_date_utc text,
    customer_wait_time_min text,
    in_queue_min text,
    agent_response_time_min text,
    within_customer_sla text,
    within_agent_sla text,
    state text,
    customer_publish_date_utc text,
    customer_username text,
    customer_fullname text,
    customer_message text,
    agent_reponse_date_utc text,
    agent_response text,
    classifications text,
    agent_notes text,
    customer_note text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint mention_sla_export_pkey primary key (_connection, _window_start, _row_key)
);
comment on table lexer.mention_sla_export is 'Every message that the team handled, with its waits';
comment on column lexer.mention_sla_export.window_end is 'Exclusive end of the window as it was asked for; before the slice''s end while that is open';
comment on column lexer.mention_sla_export.account_name is 'Account that was mentioned';
comment on column lexer.mention_sla_export.source_type is 'Network or channel';
comment on column lexer.mention_sla_export.agent_first_name is 'First name of the agent who handled the message';
comment on column lexer.mention_sla_export.agent_last_name is 'Last name of that agent';
comment on column lexer.mention_sla_export.last_action_date_utc is 'When the last action was taken';
comment on column lexer.mention_sla_export.customer_wait_time_min is 'Wait of the customer for a reply, minutes';
comment on column lexer.mention_sla_export.in_queue_min is 'Time in the queue, minutes';
comment on column lexer.mention_sla_export.agent_response_time_min is 'From claim to reply, minutes';
comment on column lexer.mention_sla_export.within_customer_sla is 'Whether the customer''s wait was within the SLA';
comment on column lexer.mention_sla_export.within_agent_sla is 'Whether the agent''s handling was within the SLA';
comment on column lexer.mention_sla_export.state is 'Workflow state at the time of the export';
comment on column lexer.mention_sla_export.customer_publish_date_utc is 'When the customer wrote';
comment on column lexer.mention_sla_export.customer_username is 'User name of the customer';
comment on column lexer.mention_sla_export.customer_fullname is 'Name of the customer';
comment on column lexer.mention_sla_export.customer_message is 'What the customer wrote; may begin like a spreadsheet formula';
comment on column lexer.mention_sla_export.agent_reponse_date_utc is 'When the agent replied; spelt as documented';
comment on column lexer.mention_sla_export.agent_response is 'What the agent replied';
comment on column lexer.mention_sla_export.classifications is 'Classifications, a list in one cell; its separator is not documented';
comment on column lexer.mention_sla_export.agent_notes is 'Notes of agents';
comment on column lexer.mention_sla_export.customer_note is 'Note on the customer';

-- What every table has beside its own columns.
do $$
declare
    system record;
begin
    for system in
        select attrelid::regclass as relation, attname, meaning
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid and relkind = 'r' and relnamespace = 'lexer'::regnamespace
        inner join (values
            ('_connection', 'Connection that the row was read from'),
            ('_window_start', 'Start of the slice that the row belongs to'),
            ('_row_key', 'Hash of the record and of its place among identical records of the slice'),
            ('_extra', 'Fields without a column and values that do not fit theirs; null when none'),
            ('_run_id', 'Run (tidegate.run.id) that last changed the row'),
            ('_loaded_at', 'When the row was last changed'),
            ('_deleted_at', 'Gone from the vendor''s list since then; null while it is listed')
        ) as known (name, meaning) on name = attname
        where attnum > 0
    loop
        execute format('comment on column %s.%I is %L', system.relation, system.attname, system.meaning);
    end loop;
end
$$;

do $$
begin
    if exists (select from pg_roles where rolname = 'tidegate_reader') then
        grant usage on schema lexer to tidegate_reader;
        grant select on all tables in schema lexer to tidegate_reader;
        alter default privileges in schema lexer grant select on tables to tidegate_reader;
    end if;
end
$$;
